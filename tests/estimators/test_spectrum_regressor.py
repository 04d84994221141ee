# SPDX-License-Identifier: BSD-3-Clause
"""Numbers measured in spectra: error bars, unknown targets, logarithms, real stars."""

import pickle

import numpy as np
import pytest
import torch
from astropy.table import Table
from scipy.ndimage import uniform_filter1d
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch.utils.data import Subset

from skastro import Pipeline, RebinSpectra, SpectrumRegressor
from skastro.datasets import read_spectra

pytestmark = pytest.mark.once

WAVELENGTH = np.linspace(4000, 5000, 120)


def lines(n_spectra, noise=0.03, seed=0):
    """Make spectra with two lines, and return their depths."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.1, 0.9, size=(n_spectra, 2))
    flux = 1 + rng.normal(scale=noise, size=(n_spectra, len(WAVELENGTH)))
    for center, of_line in zip((4300, 4700), depth.T, strict=True):
        profile = np.exp(-0.5 * ((WAVELENGTH - center) / 12) ** 2)
        flux -= of_line[:, None] * profile
    return flux, depth


def small(**settings):
    return SpectrumRegressor(
        **{
            "module__widths": (4, 8),
            "module__hidden": 16,
            "max_epochs": 15,
            "lr": 1e-2,
            "verbose": 0,
            "random_state": 0,
        }
        | settings
    )


def first_half_for_validation(dataset, y=None):
    half = len(dataset) // 2
    return Subset(dataset, range(half, len(dataset))), Subset(dataset, range(half))


@pytest.fixture(scope="module")
def data():
    return lines(300)


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    return small().fit(X[:250], y[:250])


def test_two_targets_with_errors(data, fitted):
    X, y = data[0][250:], data[1][250:]
    found, std = fitted.predict(X, return_std=True)
    assert found.shape == std.shape == y.shape
    assert r2_score(y, found) > 0.9
    assert (std > 0).all()
    np.testing.assert_array_equal(fitted.predict(X), found)
    assert fitted.score(X, y) == r2_score(y, found)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict(X, return_std=True)[1], std)


def test_nine_tenths_of_the_validation_are_within_the_error_bars(data):
    X, y = data
    others = torch.utils.data.TensorDataset(
        torch.from_numpy(X[200:].astype(np.float32)), torch.from_numpy(y[200:])
    )
    reg = small(train_split=predefined_split(others)).fit(X[:200], y[:200])
    found, std = reg.predict(X[200:], return_std=True)
    within = np.abs(found - y[200:]) <= 1.6449 * std
    # As many as hold nine tenths of these samples and of one to come.
    np.testing.assert_array_equal(within.sum(axis=0), [91, 91])


def test_error_bars_of_noisier_spectra_are_larger():
    X, y = lines(600)
    noisy = np.arange(600) % 2 == 0
    rng = np.random.default_rng(1)
    X[noisy] += rng.normal(scale=0.3, size=X[noisy].shape)
    reg = small(max_epochs=25).fit(X[:500], y[:500, 0])
    found, std = reg.predict(X[500:], return_std=True)
    assert found.shape == std.shape == (100,)
    off = np.abs(found - y[500:, 0])
    ratio = std[noisy[500:]].mean() / std[~noisy[500:]].mean()
    true_ratio = off[noisy[500:]].mean() / off[~noisy[500:]].mean()
    assert true_ratio / 2 < ratio < 2 * true_ratio


def test_unknown_targets_are_left_out(data):
    X, y = data[0], data[1].copy()
    y[:100, 0] = np.nan
    # What is hidden behind an unknown value does not matter.
    y[50:150, 1] = np.nan
    masked = np.ma.array(np.nan_to_num(y, nan=1e6), mask=np.isnan(y))
    reg = small().fit(X[:250], y[:250])
    other = small().fit(X[:250], masked[:250])
    test = data[0][250:], data[1][250:]
    found, std = reg.predict(test[0], return_std=True)
    assert r2_score(test[1], found) > 0.85
    np.testing.assert_array_equal(other.predict(test[0]), found)
    assert np.isfinite(std).all()
    known = ~np.isnan(y[:250])
    expected = [
        r2_score(y[:250][k, i], reg.predict(X[:250])[k, i])
        for i, k in enumerate(known.T)
    ]
    assert reg.score(X[:250], y[:250]) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("criterion", [torch.nn.MSELoss, torch.nn.HuberLoss])
def test_losses_without_errors(data, criterion):
    X, y = data[0], data[1].copy()
    y[::3, 0] = np.nan
    reg = small(criterion=criterion).fit(X[:250], y[:250])
    assert reg.module_.fc.out_features == 2
    assert r2_score(data[1][250:], reg.predict(X[250:])) > 0.85
    with pytest.raises(ValueError, match="knows no errors"):
        reg.predict(X, return_std=True)
    with pytest.raises(ValueError, match="y_std needs a criterion that knows errors"):
        reg.fit(X, y, y_std=np.ones_like(y))


def test_targets_that_are_never_known_are_named(data):
    X, y = data[0], data[1].copy()
    y[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"All values of y are NaN for.*\[1\]"):
        small().fit(X, y)
    with pytest.raises(ValueError, match="infinity"):
        small().fit(X, np.where(np.isnan(y), np.inf, y))


def test_measurement_errors_are_not_those_of_the_network(data):
    X, y = data[0], data[1][:, 0]
    rng = np.random.default_rng(2)
    y_std = np.where(np.arange(len(y)) % 2, 0.5, 0.01)
    measured = y + rng.normal(size=len(y)) * y_std
    settings = {"max_epochs": 30, "train_split": 0.3}
    aware = small(**settings).fit(X, measured, y_std=y_std)
    unaware = small(**settings).fit(X, measured)
    X_test, y_test = lines(500, seed=7)
    found, std = aware.predict(X_test, return_std=True)
    other, other_std = unaware.predict(X_test, return_std=True)
    # Noise of the targets is in the error bars of a network that is told nothing.
    assert std.mean() < 0.3 * other_std.mean()
    off = np.abs(found - y_test[:, 0])
    assert off.mean() < 0.6 * np.abs(other - y_test[:, 0]).mean()
    assert np.mean(off < 1.645 * std) > 0.7


def test_measurement_errors_follow_the_rows_of_weight_zero(data):
    X, y = data[0][:120], data[1][:120, 0]
    weight = (np.arange(120) % 3 > 0).astype(float)
    y_std = np.linspace(0, 0.2, 120)
    kept = weight > 0
    settings = {"train_split": None, "max_epochs": 2}
    some = small(**settings).fit(X, y, sample_weight=weight, y_std=y_std)
    alone = small(**settings).fit(X[kept], y[kept], y_std=y_std[kept])
    np.testing.assert_array_equal(some.predict(X), alone.predict(X))


@pytest.mark.parametrize(
    ("y_std", "message"),
    [
        (np.ones(3), r"y_std has shape \(3,\), but y \(300,\)"),
        (-np.ones(300), "negative"),
        (np.full(300, np.nan), "NaN"),
    ],
)
def test_measurement_errors_are_checked(data, y_std, message):
    with pytest.raises(ValueError, match=message):
        small().fit(data[0], data[1][:, 0], y_std=y_std)


def test_logarithms_with_measurement_errors_may_be_unknown(data):
    X, y = data[0][:60], data[1][:60] * [5000, 1]
    y[::3, 0] = np.nan
    reg = small(log_target=[True, False], max_epochs=2, calibrate=False)
    assert np.isfinite(reg.fit(X, y, y_std=0.1 * np.abs(y)).predict(X)).all()


@pytest.mark.parametrize("scale", [1e-50, 1e46])
def test_measurement_errors_in_any_unit(data, scale):
    X, y = data[0][:40], data[1][:40, 0]
    settings = {"max_epochs": 2, "train_split": 0.3}
    here = small(**settings).fit(X, y, y_std=np.full(40, 0.2))
    there = small(**settings).fit(X, scale * y, y_std=np.full(40, 0.2 * scale))
    np.testing.assert_allclose(there.predict(X) / scale, here.predict(X), rtol=1e-4)
    np.testing.assert_allclose(there.std_added_, here.std_added_, rtol=1e-4)


def test_measurement_errors_that_are_too_large_leave_error_bars(data):
    X, y = data[0], data[1][:, 0]
    with pytest.warns(UserWarning, match="y_std is as large as the differences"):
        reg = small(max_epochs=5).fit(X, y, y_std=np.full(len(y), 1.0))
    assert (reg.predict(X, return_std=True)[1] > 0).all()


def test_error_bars_stay_within_those_of_the_loss(data):
    X, y = data
    reg = small(max_epochs=1).fit(X, y)
    level, scale = reg.target_scale_ * reg.std_scale_, np.exp([-7.0, 5.0])
    for sign in (0, 1):
        with torch.no_grad():
            [*reg.module_.modules()][-1].bias[2:] = 2000.0 * sign - 1000
        std = reg.predict(X[:3], return_std=True)[1]
        np.testing.assert_allclose(std, [level * scale[sign]] * 3)


@pytest.mark.parametrize("case", ["validation", "weight"])
def test_targets_that_no_training_sample_knows_are_refused(data, case):
    X, y = data[0][:40], data[1][:40].copy()
    y[20:, 1] = np.nan
    split, weight = None, None
    if case == "weight":
        weight = np.repeat([0.0, 1.0], 20)
    else:
        split = first_half_for_validation
    reg = small(max_epochs=1, train_split=split)
    with pytest.raises(ValueError, match=r"No training sample has .* targets \[1\]"):
        reg.fit(X, y, sample_weight=weight)


def test_a_later_batch_may_know_nothing_of_a_target(data):
    X, y = data[0][:20], data[1][:20].copy()
    reg = small().partial_fit(X, y)
    y[:, 1] = np.nan
    assert np.isfinite(reg.partial_fit(X, y).predict(X)).all()


def test_scores_of_targets_that_are_hardly_known(data, fitted):
    X, y = data[0][250:], data[1][250:].copy()
    y[1:, 1] = np.nan
    expected = r2_score(y[:, 0], fitted.predict(X)[:, 0])
    assert fitted.score(X, y) == pytest.approx(expected)
    with pytest.raises(ValueError, match="No target has two known values"):
        fitted.score(X[:1], y[:1] * [np.nan, 1])
    with pytest.raises(ValueError, match=r"y has 1 targets, but the predictions 2"):
        fitted.score(X, y[:, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.score(X, y, np.ones(len(y) + 1))


def test_logarithms_of_some_targets(data):
    X, depth = data
    y = np.column_stack([depth[:, 0], 10 ** (4 * depth[:, 1])])
    reg = small(log_target=[False, True], max_epochs=25).fit(X[:250], y[:250])
    found, std = reg.predict(X[250:], return_std=True)
    assert (found[:, 1] > 0).all()
    relative = np.log10(found[:, 1] / y[250:, 1])
    assert np.abs(relative).mean() < 0.3
    within = np.abs(found - y[250:]) < 2 * std
    assert within[:, 1].mean() > 0.6
    # The same network, told the logarithm itself.
    log_y = np.column_stack([y[:, 0], np.log(y[:, 1])])
    same = small(max_epochs=25).fit(X[:250], log_y[:250])
    np.testing.assert_allclose(
        same.predict(X[250:])[:, 1], np.log(found[:, 1]), rtol=1e-5, atol=1e-5
    )
    log_std = same.predict(X[250:], return_std=True)[1][:, 1]
    np.testing.assert_allclose(std[:, 1] / found[:, 1], log_std, rtol=1e-4)


@pytest.mark.parametrize(
    ("log_target", "message"),
    [
        (True, r"not positive, in rows 3\b"),
        ([True, False, False], r"log_target has shape \(3,\) for 2 targets"),
    ],
)
def test_logarithms_are_checked(data, log_target, message):
    y = data[1].copy()
    y[3, 0] = -1
    with pytest.raises(ValueError, match=message):
        small(log_target=log_target).fit(data[0], y)


def test_logarithms_of_data_sets_are_checked(data):
    y = data[1][:40].astype("float32")
    y[5, 1] = -1
    reg = small(log_target=True, max_epochs=1, train_split=None)
    with pytest.raises(ValueError, match="Targets such as -1 cannot be transformed"):
        reg.fit(Dataset(data[0][:40].astype("float32"), y), None)


def test_error_bars_without_validation_are_announced(data):
    reg = small(train_split=None, max_epochs=2).fit(data[0], data[1])
    with pytest.warns(UserWarning, match="those of the training samples"):
        reg.predict(data[0], return_std=True)
    reg.predict(data[0])


def test_modules_without_errors_are_refused(data):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(120, 2))
    with pytest.raises(ValueError, match=r"two outputs a target.*MSELoss"):
        SpectrumRegressor(module, verbose=0).fit(*data)


def test_level_and_slope_of_the_continuum_do_not_matter(data):
    X, y = data
    slope = 1 + 0.3 * (WAVELENGTH - 4500) / 1000
    reg = small(normalization="continuum").fit(X, y)
    other = small(normalization="continuum").fit(1e-17 * X * slope, y)
    found, std = reg.predict(X, return_std=True)
    moved = np.abs(other.predict(1e-17 * X * slope) - found)
    assert moved.mean() < 0.5 * std.mean()


def test_mean_of_the_flux_does_not_matter_but_its_slope_does(data):
    X, y = data
    slope = 1 + 0.3 * (WAVELENGTH - 4500) / 1000
    reg = small(normalization="mean", max_epochs=1, train_split=None).fit(X, y)
    inner = reg.module_input(X)
    torch.testing.assert_close(reg.module_input(1e-17 * X), inner, atol=1e-4, rtol=0)
    assert (reg.module_input(X * slope) - inner).abs().mean() > 1
    over_mean = X / np.abs(X).mean(axis=1, keepdims=True)
    expected = (over_mean - over_mean.mean(axis=0)) / over_mean.std(axis=0)
    np.testing.assert_allclose(inner[:, 0].cpu(), expected.clip(-8, 8), atol=1e-3)


def test_continuum_is_a_running_mean_taken_twice(data):
    X = 1 + np.random.default_rng(0).uniform(size=(30, 151))
    options = {"normalization": "continuum", "train_split": None, "augment": None}
    reg = small(max_epochs=1, **options).fit(X, X[:, 0])
    mean = uniform_filter1d(uniform_filter1d(X, 11), 11)
    expected = (X / mean)[:, 10:-10]
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    inner = reg.module_input(X)[:, 0, 10:-10].cpu().numpy()
    np.testing.assert_allclose(inner, expected, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e37])
def test_flux_of_any_size(data, fitted, scale):
    found = fitted.predict(scale * data[0][:3])
    np.testing.assert_allclose(found, fitted.predict(data[0][:3]), atol=1e-4)


def test_search_and_pipeline(data):
    X, y = data
    grid = np.linspace(4000, 5000, 60)
    pipe = Pipeline([RebinSpectra(WAVELENGTH, grid), small(max_epochs=3)])
    name = "spectrumregressor__criterion__distribution"
    search = GridSearchCV(pipe, {name: ["laplace", "normal"]}, cv=2).fit(X, y)
    found, std = search.best_estimator_.predict(X, return_std=True)
    assert found.shape == std.shape == y.shape


def test_real_stars(data_dir):
    table = Table.read(data_dir / "lamost_parameters.csv")
    stars = read_spectra(data_dir / "lamost.fits", verbose=0)
    row_of = {name: row for row, name in enumerate(stars.table["id"])}
    table = table[[name in row_of for name in table["id"]]]
    rows = [row_of[name] for name in table["id"]]
    cool = np.asarray(table["teff"]) < 7000
    X = stars.flux[rows][cool].reshape(-1, 1000, 3).mean(axis=2)[:700]
    y = np.column_stack([table[name] for name in ("teff", "logg", "feh")])[cool][:700]
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:500], order[500:]
    reg = SpectrumRegressor(
        max_epochs=12, calibrate=True, train_split=0.2, verbose=0, random_state=0
    )
    found, std = reg.fit(X[train], y[train]).predict(X[test], return_std=True)
    scatter = 1.4826 * np.median(np.abs(found - y[test]), axis=0)
    # Constant predictions are off by 700 K, 0.4 and 0.3.
    assert (scatter < [250, 0.25, 0.25]).all()
    # 0.9, within 0.02 by the 200 stars and 0.03 by the 100 that scale the error bars.
    within = np.mean(np.abs(found - y[test]) < 1.645 * std, axis=0)
    assert (within > 0.8).all()
    assert (within < 0.98).all()


def test_logarithms_stay_those_of_the_training(data):
    X, y = data
    reg = small(log_target=True, max_epochs=2).fit(X, y)
    found = reg.predict(X)
    np.testing.assert_array_equal(reg.set_params(log_target=False).predict(X), found)
    with pytest.raises(ValueError, match="log_target=False, but the weights were"):
        reg.partial_fit(X, y)


def losses(reg):
    return np.array(reg.history[:, ("train_loss", "valid_loss")])


@pytest.mark.parametrize("weight", [1, 0.3])
def test_equal_weights_change_nothing(data, weight):
    X, y = data[0], data[1].copy()
    y[:100, 0] = np.nan
    plain = small(max_epochs=3).fit(X, y)
    weighted = small(max_epochs=3).fit(X, y, sample_weight=np.full(len(X), weight))
    np.testing.assert_array_equal(losses(weighted), losses(plain))
    np.testing.assert_array_equal(weighted.predict(X), plain.predict(X))


def test_unknown_targets_do_not_dilute_a_weighted_loss(data):
    X, y = data[0], data[1].copy()
    y[:200, 0] = np.nan
    settings = {"max_epochs": 1, "train_split": first_half_for_validation}
    plain = small(**settings).fit(X, y)
    # Errors of zero, and weights that do not differ among those known.
    exact = small(**settings).fit(X, y, y_std=np.zeros_like(y))
    np.testing.assert_allclose(losses(exact), losses(plain), rtol=1e-4)
    weight = np.where(np.arange(300) < 299, 1.0, 1.0001)
    weighted = small(**settings).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(losses(weighted), losses(plain), rtol=1e-3)
    every = small(**settings).fit(X, data[1], y_std=np.zeros_like(y))
    without = small(**settings).fit(X, data[1])
    np.testing.assert_allclose(losses(every), losses(without), rtol=1e-4)


def first_third_for_validation(dataset, y=None):
    third = len(dataset) // 3
    return Subset(dataset, range(third, len(dataset))), Subset(dataset, range(third))


def test_error_bars_of_noisy_targets_are_those_of_the_true_values():
    within = []
    for seed in range(3):
        X, true = lines(700, noise=0.1, seed=seed)
        rng = np.random.default_rng(10 + seed)
        # As large as the errors of the network.
        y_std = rng.uniform(0.05, 0.15, size=300)
        y = true[:300, 0] + y_std * rng.normal(size=300)
        reg = SpectrumRegressor(
            "mlp",
            module__hidden=(64,),
            max_epochs=30,
            lr=1e-2,
            train_split=first_third_for_validation,
            verbose=0,
            random_state=seed,
        ).fit(X[:300], y, y_std=y_std)
        found, std = reg.predict(X[300:], return_std=True)
        within.append(np.mean(np.abs(found - true[300:, 0]) < 1.645 * std))
    assert 0.87 < np.mean(within) < 0.97, within
