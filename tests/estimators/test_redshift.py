# SPDX-License-Identifier: BSD-3-Clause
"""Redshifts: distributions, solutions, warnings, own templates, all kinds of input."""

import copy
import pickle

import h5py
import numpy as np
import pytest
import torch
from astropy import units
from astropy.table import Table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from skorch.dataset import Dataset, ValidSplit

from skastro import Pipeline, RebinSpectra, RedshiftRegressor
from skastro.estimators import ZWARNING

pytestmark = pytest.mark.once

WAVELENGTH = np.arange(4000.0, 8000.0, 2.0)
AT_REST = np.arange(3000.0, 8200.0, 1.0)
LINES = (3728, 3934, 3969, 4102, 4341, 4863, 4960, 5008, 5895, 6300, 6565, 6725)


def spectra_at(wavelength, redshift, seed=0):
    """Make spectra of random depths of lines at redshifts."""
    rng = np.random.default_rng(seed)
    flux = np.ones((len(redshift), len(wavelength)))
    for center in LINES:
        depth = rng.normal(scale=0.5, size=(len(redshift), 1))
        at = np.log(wavelength / center) - np.log1p(redshift)[:, None]
        flux += depth * np.exp(-0.5 * (at / 6e-4) ** 2)
    return flux


TEMPLATES = {"GALAXY": (AT_REST, spectra_at(AT_REST, np.zeros(30), 1))}

EIGENVECTORS = np.linalg.svd(TEMPLATES["GALAXY"][1] - 1, full_matrices=False)[2]


def observe(n_spectra, snr=20.0, high=0.1, seed=2):
    rng = np.random.default_rng(seed)
    z = rng.uniform(0, high, n_spectra)
    flux = spectra_at(WAVELENGTH, z, seed)
    return flux + rng.normal(scale=1 / snr, size=flux.shape), z


def small(**settings):
    return RedshiftRegressor(
        **{
            "module__width": 4,
            "module__n_blocks": 1,
            "module__n_features": 3,
            "module__n_templates": 2,
            "wavelength": WAVELENGTH,
            "redshift": {"GALAXY": (0, 0.1)},
            "templates": TEMPLATES,
            "max_epochs": 2,
            "batch_size": 32,
            "verbose": 0,
            "random_state": 0,
        }
        | settings
    )


@pytest.fixture(scope="module")
def data():
    return observe(180)


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    return small().fit(X[:150], y[:150])


@pytest.fixture(scope="module")
def network_alone(data):
    X, y = data
    return small(refine=False, max_epochs=1).fit(X[:150], y[:150])


@pytest.fixture
def test(data):
    return data[0][150:], data[1][150:]


# What is predicted ----------------------------------------------------------------


def test_redshifts_are_found(fitted, test):
    X, y = test
    z, std = fitted.predict(X, return_std=True)
    assert z.shape == std.shape == y.shape
    assert z.dtype == std.dtype == np.float64
    off = np.abs(z - y)
    assert np.mean(off < 5e-4) > 0.9
    assert (std > 0).all()
    assert np.median(off / std) < 3
    assert_array_equal(fitted.predict(X), z)
    assert fitted.score(X, y) > 0.8


@pytest.mark.parametrize("refine", [True, False])
def test_distributions_integrate_to_one(fitted, network_alone, test, refine):
    reg = fitted if refine else network_alone
    grid, pdf = reg.z_grid_, reg.predict_pdf(test[0])
    assert pdf.shape == (30, len(grid))
    assert pdf.dtype == np.float32
    assert (pdf >= 0).all()
    assert_allclose(np.trapezoid(pdf, grid, axis=1), 1, rtol=1e-4)
    assert_allclose(np.diff(np.log1p(grid)), np.log1p(grid[1]) - np.log1p(grid[0]))
    assert grid[0] == pytest.approx(0)
    assert 0.1 <= grid[-1] < 0.1015
    assert reg.redshift_range_ == (0, 0.1)


@pytest.mark.parametrize("refine", [True, False])
def test_solutions_sum_up_the_distribution(fitted, network_alone, test, refine):
    reg, X = fitted if refine else network_alone, test[0]
    found = reg.predict_solutions(X, k=4)
    assert found.shape == (30, 4)
    z, std = reg.predict(X, return_std=True)
    assert_array_equal(found["z"][:, 0], z)
    assert_array_equal(found["std"][:, 0], std)
    assert_equal_solutions(reg.predict_solutions(X, k=1), found[:, :1])
    assert_equal_solutions(reg.predict_solutions(X), found[:, :3])
    probability = found["probability"]
    assert (np.diff(probability, axis=1) <= 1e-12).all()
    assert (probability >= 0).all()
    assert (probability.sum(axis=1) < 1 + 1e-6).all()
    for first in range(3):
        rest = np.log1p(found["z"][:, first + 1 :])
        apart = np.abs(rest - np.log1p(found["z"][:, [first]]))
        known = probability[:, first + 1 :] > 0
        assert (apart[known] > 0.01 - 1e-6).all()
    # From the density itself: mean, standard deviation and integral within 1500 km/s.
    grid = np.log1p(reg.z_grid_)
    mass = reg.predict_pdf(X) * (1 + reg.z_grid_)
    mass /= mass.sum(axis=1, keepdims=True)
    for row, solution in zip(mass, found[:, 0], strict=True):
        near = np.abs(grid - np.log1p(solution["z"])) < 0.005 + 1e-9
        # The interval is where it holds most, which is not always around its mean.
        assert row[near].sum() <= solution["probability"] + 1e-5
    assert (std >= 0.9 * (grid[1] - grid[0]) / np.sqrt(12)).all()
    if refine:
        assert set(found["class"].ravel()) == {"GALAXY"}
        assert np.isfinite(found["gain"]).all()
        assert (found["gain"][:, 0] > 0).all()
    else:
        assert set(found["class"].ravel()) == {""}
        assert np.isnan(found["gain"]).all()
    table = Table(found[:, 0])
    assert table.colnames == ["z", "std", "probability", "gain", "class"]


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (-1, ValueError)])
def test_numbers_of_solutions_are_checked(fitted, test, k, error):
    with pytest.raises(error, match="k must be"):
        fitted.predict_solutions(test[0], k=k)
    with pytest.raises(TypeError, match="k must be"):
        fitted.predict_solutions(test[0], k=1.5)


def test_more_solutions_than_the_grid_holds(fitted, test):
    found = fitted.predict_solutions(test[0][:2], k=40)
    assert found.shape == (2, 40)
    assert not found["probability"][:, -1].any()
    is_one = found["probability"] > 0
    assert_array_equal(np.isfinite(found["z"]), is_one)
    assert_array_equal(found["class"] != "", is_one)
    with pytest.raises(ValueError, match="k must be from 1 to 100"):
        fitted.predict_solutions(test[0][:2], k=101)


# Warnings -------------------------------------------------------------------------


def assert_equal_solutions(found, expected):
    for name in expected.dtype.names:
        assert_array_equal(found[name], expected[name])


def flagged(flags, name):
    return (flags & ZWARNING[name]) != 0


def test_uncertain_solutions_are_flagged(fitted, test):
    noisy = np.concatenate([test[0], observe(30, snr=0.3)[0]])
    flags = fitted.zwarning(noisy)
    assert flags.shape == (60,)
    assert flags.dtype == np.int64
    probability = fitted.predict_solutions(noisy, 1)["probability"][:, 0]
    assert_array_equal(flagged(flags, "SMALL_DELTA"), probability < 0.95)
    assert flagged(flags, "SMALL_DELTA")[30:].mean() > 0.5
    assert (flags[:30] == 0).mean() > 0.8


def test_spectra_without_data_are_flagged(fitted, test):
    X = test[0][:4].copy()
    X[1] = 0
    # Less than a factor of 1.22 in wavelength.
    X[2, WAVELENGTH > 4700] = 0
    flags = fitted.zwarning(X)
    assert_array_equal(flagged(flags, "NODATA"), [False, True, False, False])
    assert_array_equal(flagged(flags, "LITTLE_COVERAGE"), [False, True, True, False])
    z, std = fitted.predict(X, return_std=True)
    assert_array_equal(np.isnan(z), [False, True, False, False])
    assert_array_equal(np.isnan(std), [False, True, False, False])
    assert np.isnan(fitted.predict_flux(X)[1]).all()
    assert_allclose(np.trapezoid(fitted.predict_pdf(X), fitted.z_grid_), 1, rtol=1e-4)


def test_redshifts_at_the_end_are_flagged(fitted):
    flux = spectra_at(WAVELENGTH, np.array([0.0, 0.05, 0.1]), 2)
    assert_array_equal(
        flagged(fitted.zwarning(flux), "Z_FITLIMIT"), [True, False, True]
    )


@pytest.mark.parametrize("value", [1.0, -1.0, 1e-38, 3e38, 0.0])
def test_constant_spectra_are_uncertain(fitted, value):
    X = np.full((2, WAVELENGTH.size), value)
    z, std = fitted.predict(X, return_std=True)
    # A flux of 0 is not known.
    assert (np.isnan([z, std]) == (value == 0)).all()
    assert np.isfinite(fitted.predict_pdf(X)).all()
    if value >= 0:
        assert (fitted.zwarning(X) != 0).all()


@pytest.mark.parametrize("scale", [1e-37, 1e-17, 1e17, 1e37])
def test_flux_of_any_size(fitted, test, scale):
    X = test[0][:5]
    assert_allclose(fitted.predict(scale * X), fitted.predict(X), atol=1e-6)


def test_fluxes_are_those_of_templates(data, fitted, network_alone, test):
    X, y = test
    clean = spectra_at(WAVELENGTH, data[1], 2)[150:]
    model = fitted.predict_flux(1e-17 * X) / 1e-17
    assert model.shape == X.shape
    off = np.std(model - clean, axis=1)[np.abs(fitted.predict(X) - y) < 5e-4]
    # The lines are more than that, and the noise is.
    assert np.median(off) < 0.5 * np.median(np.std(clean, axis=1))
    assert np.median(off) < 0.05
    for other in (X[:2].tolist(), np.asfortranarray(X[:2]), torch.from_numpy(X[:2])):
        assert_allclose(fitted.predict_flux(other), model[:2], rtol=1e-3)
    with pytest.raises(ValueError, match="refine=False knows no templates"):
        network_alone.predict_flux(X)
    features = RedshiftRegressor("mlp", max_epochs=1, verbose=0).fit(X[:, :50], y)
    with pytest.raises(NotFittedError, match="templates_"):
        features.predict_flux(X[:, :50])


def test_the_network_alone_after_a_fit_with_templates(fitted, test):
    other = pickle.loads(pickle.dumps(fitted)).set_params(refine=False)
    found = other.predict_solutions(test[0])
    assert set(found["class"].ravel()) == {""}
    assert_equal_solutions(
        other.set_params(refine=True).predict_solutions(test[0]),
        fitted.predict_solutions(test[0]),
    )
    off = np.abs(found["z"][:, 0] - test[1])
    assert off.mean() > np.abs(fitted.predict(test[0]) - test[1]).mean()


# Copies and files -----------------------------------------------------------------


@pytest.mark.parametrize("refine", [True, False])
def test_copies_predict_the_same(fitted, network_alone, test, tmp_path, refine):
    reg = fitted if refine else network_alone
    expected = reg.predict_solutions(test[0])
    for other in (pickle.loads(pickle.dumps(reg)), copy.deepcopy(reg)):
        assert_equal_solutions(other.predict_solutions(test[0]), expected)
    for safe in (True, False):
        reg.save_params(f_params=tmp_path / "weights", use_safetensors=safe)
        other = clone(reg)
        with pytest.raises(NotFittedError):
            other.predict(test[0])
        other.load_params(f_params=tmp_path / "weights", use_safetensors=safe)
        assert_equal_solutions(other.predict_solutions(test[0]), expected)
        assert_array_equal(other.zwarning(test[0]), reg.zwarning(test[0]))
        assert_array_equal(other.z_grid_, reg.z_grid_)


def test_the_same_random_state_gives_the_same_redshifts(fitted, data, test):
    X, y = data
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = clone(fitted).fit(X[:150], y[:150])
    assert torch.equal(torch.get_rng_state(), state[0])
    assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert_array_equal(again.predict_pdf(test[0]), fitted.predict_pdf(test[0]))
    other = clone(fitted).set_params(random_state=1).fit(X[:150], y[:150])
    assert (other.predict_pdf(test[0]) != fitted.predict_pdf(test[0])).any()


@pytest.mark.parametrize(
    "method",
    ["predict", "predict_pdf", "predict_solutions", "zwarning", "predict_flux"],
)
def test_predictions_need_a_fit(test, method):
    reg = small()
    with pytest.raises(NotFittedError, match=r"not fitted|not initialized"):
        getattr(reg, method)(test[0])
    assert not hasattr(reg, "z_grid_")


def test_training_goes_on(data, test):
    X, y = data
    reg = small(warm_start=True, max_epochs=1).fit(X[:100], y[:100])
    reg.fit(X[100:150], y[100:150])
    assert len(reg.history_) == 2
    assert np.mean(np.abs(reg.predict(test[0]) - test[1]) < 5e-4) > 0.9
    reg = small(max_epochs=1)
    for rows in (slice(0, 75), slice(75, 150)):
        reg.partial_fit(X[rows], y[rows])
    assert np.mean(np.abs(reg.predict(test[0]) - test[1]) < 5e-4) > 0.9
    with pytest.raises(ValueError, match=r"outside the range 0 to 0.1, in rows 3\b"):
        reg.partial_fit(X[:5], [0.01, 0.02, 0.03, 0.2, 0.05])


# Input ----------------------------------------------------------------------------


def test_inverse_variances(data, test):
    X, y = data
    with_ivar = np.stack([X, np.full_like(X, 400)], axis=1)
    reg = small().fit(with_ivar[:150], y[:150])
    found = reg.predict(with_ivar[150:])
    assert np.mean(np.abs(found - test[1]) < 5e-4) > 0.9
    # What is not known may be anything.
    hidden = with_ivar[150:].copy()
    hidden[:, 1, 300:400] = hidden[:, 0, 300:400] = 0
    other = hidden.copy()
    other[:, 0, 300:400] = 1e9
    assert_allclose(reg.predict(other), reg.predict(hidden), atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        reg.predict(X[150:])


def test_wavelengths_of_fit_come_first(data, test):
    X, y = data
    reg = small(max_epochs=1, wavelength=WAVELENGTH + 100)
    reg.fit(X[:150], y[:150], wavelength=WAVELENGTH)
    assert_array_equal(reg.wavelength_, WAVELENGTH)
    assert np.mean(np.abs(reg.predict(test[0]) - test[1]) < 5e-4) > 0.9
    # They are not kept for the next fit.
    assert_array_equal(reg.fit(X[:50], y[:50]).wavelength_, WAVELENGTH + 100)


def test_wavelengths_have_units(data):
    X, y = data
    reg = small(max_epochs=1, refine=False, wavelength=WAVELENGTH / 10 * units.nm)
    assert_allclose(reg.fit(X[:30], y[:30]).wavelength_, WAVELENGTH)


@pytest.mark.parametrize(
    ("wavelength", "message"),
    [
        (None, "Redshifts need the wavelengths of the pixels: give wavelength to"),
        (WAVELENGTH[:-1], r"wavelength has 1999 values, but spectra have 2000 pixels"),
        (WAVELENGTH[::-1], "must ascend"),
        (WAVELENGTH / 10, "may be in Angstrom or in nanometers"),
        (WAVELENGTH + 8000, "has to overlap with 3500 to 10400"),
        (np.where(WAVELENGTH == 4000, np.nan, WAVELENGTH), "not finite"),
        (WAVELENGTH[None], "must be a vector"),
        (WAVELENGTH * units.s, "s"),
    ],
)
def test_wavelengths_are_checked(data, wavelength, message):
    with pytest.raises(ValueError, match=message):
        small(wavelength=wavelength).fit(*data)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((20, 3, 2000), "X has 3 channels"),
        ((20, 1, 2000), "X has 1 channels"),
        ((20, 2, 2000, 1), "shape"),
        ((2000,), "Expected 2D array"),
        ((0, 2000), r"0 sample\(s\)"),
        ((20, 0), r"0 feature\(s\)"),
    ],
)
def test_shapes_of_samples_are_checked(data, shape, message):
    with pytest.raises(ValueError, match=message):
        small().fit(np.ones(shape), data[1][: shape[0]])


def test_samples_are_finite(data, fitted):
    X, y = data[0].copy(), data[1]
    X[7, 3] = np.inf
    message = "Set unknown pixels to NaN"
    for call in (lambda: small().fit(X, y), lambda: fitted.predict(X)):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("n_pixels", [1999, 2001])
def test_samples_have_the_shape_of_fit(fitted, n_pixels):
    with pytest.raises(ValueError, match="2000"):
        fitted.predict(np.ones((3, n_pixels)))


def test_one_sample_and_none(fitted, test):
    assert_allclose(fitted.predict(test[0][:1]), fitted.predict(test[0])[:1])
    with pytest.raises(ValueError, match=r"0 sample|no samples"):
        fitted.predict(test[0][:0])
    one = small(train_split=None, max_epochs=1).fit(test[0][:1], test[1][:1])
    assert np.isfinite(one.predict(test[0])).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"redshifts of -1 or less, in rows 3\b"),
        (-5.0, r"redshifts of -1 or less, in rows 3\b"),
        (0.2, r"outside the range 0 to 0.1, in rows 3\b"),
        (-0.05, r"outside the range 0 to 0.1, in rows 3\b"),
        (np.inf, "infinity"),
    ],
)
def test_redshifts_are_checked(data, value, message):
    y = data[1].copy()
    y[3] = value
    with pytest.raises(ValueError, match=message):
        small().fit(data[0], y)


def test_redshifts_are_one_number_each(data):
    X, y = data
    with pytest.raises(ValueError, match="y"):
        small().fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(X, y[:-1])


def test_unknown_redshifts_are_refused(data):
    y = data[1].copy()
    y[::30] = np.nan
    with pytest.raises(ValueError, match=r"y contains NaN: 6 NaN in 6 of 180 rows"):
        small().fit(data[0], y)


def test_unknown_pixels_are_nan_or_zero(fitted, test):
    X = test[0].copy()
    X[:, 500:700] = np.nan
    found = fitted.predict_solutions(X)
    assert_equal_solutions(fitted.predict_solutions(np.nan_to_num(X)), found)
    assert np.mean(np.abs(found["z"][:, 0] - test[1]) < 5e-4) > 0.8
    X[3] = np.nan
    assert flagged(fitted.zwarning(X), "NODATA").sum() == 1
    assert np.isfinite(fitted.predict_pdf(X)).all()


# Training -------------------------------------------------------------------------


def test_the_grid_extends_over_the_redshifts_of_y(data):
    X, y = data
    reg = small(redshift=None, templates=None, refine=False, max_epochs=1)
    reg.fit(X[:30], y[:30])
    low, high = reg.redshift_range_
    assert low <= 0
    assert y[:30].max() < high < 0.12
    assert reg.z_grid_[-1] >= high


def test_weight_zero_is_left_out(data, test):
    X, y = data[0][:150], data[1][:150]
    weight = (np.arange(150) % 3 > 0).astype(float)
    wrong = np.where(weight > 0, y, 0.1 - y)
    kept = weight > 0
    some = small(train_split=None).fit(X, wrong, sample_weight=weight)
    alone = small(train_split=None).fit(X[kept], y[kept])
    assert_allclose(some.predict_pdf(test[0]), alone.predict_pdf(test[0]), atol=1e-3)


def test_groups_stay_together(data):
    X, y = data
    groups = np.arange(180) // 20
    reg = small(train_split=ValidSplit(GroupKFold(3)), refine=False, max_epochs=1)
    reg.fit(X, y, groups=groups)
    assert "valid_loss" in reg.history_[-1]


def test_data_sets(data, fitted, test):
    dataset = Dataset(data[0][:150].astype("float32"), data[1][:150])
    reg = small().fit(dataset, None)
    assert_allclose(reg.predict(test[0]), fitted.predict(test[0]), atol=1e-3)
    of_dataset = reg.predict(Dataset(test[0].astype("float32"), None))
    assert_array_equal(of_dataset, reg.predict(test[0]))


def test_arrays_on_disk(data, fitted, test, tmp_path):
    X, y = test
    memory_map = np.memmap(tmp_path / "X.bin", np.float64, "w+", shape=X.shape)
    memory_map[...] = X
    assert_array_equal(fitted.predict(memory_map), fitted.predict(X))
    with h5py.File(tmp_path / "X.h5", "w") as file:
        file["X"] = X
        assert_array_equal(fitted.predict(file["X"]), fitted.predict(X))
        assert_array_equal(fitted.zwarning(file["X"]), fitted.zwarning(X))
        reg = small(max_epochs=1).fit(file["X"], y)
        assert np.isfinite(reg.predict_pdf(file["X"])).all()


def test_streams(fitted, test, tmp_path):
    X = test[0]
    out = fitted.predict_stream(X, 7, out=tmp_path / "a.h5", return_std=True, verbose=0)
    z, std = fitted.predict(X, return_std=True)
    with h5py.File(out) as file:
        assert_allclose(file["predict"][:], z, atol=1e-6)
        assert_allclose(file["predict_std"][:], std, rtol=1e-3)


def test_pipelines(data, fitted, test):
    X, y = data
    grid = np.arange(4100.0, 7900.0, 3.0)
    pipe = Pipeline([RebinSpectra(WAVELENGTH, grid), small(wavelength=grid)])
    pipe.fit(X[:150], y[:150])
    z, std = pipe.predict(test[0], return_std=True)
    assert np.mean(np.abs(z - test[1]) < 5e-4) > 0.9
    assert std.shape == z.shape
    assert_array_equal(pipe.predict(test[0]), z)


def test_searches(data):
    X, y = data[0][:80], data[1][:80]
    reg = small(max_epochs=1)
    grid = {"module__width": [2, 4], "refine": [True, False]}
    search = GridSearchCV(reg, grid, cv=2, refit=False).fit(X, y)
    score = search.cv_results_["mean_test_score"]
    assert np.isfinite(score).all()
    refined = np.array([p["refine"] for p in search.cv_results_["params"]])
    assert score[refined].min() > score[~refined].max()
    assert cross_val_score(reg, X, y, cv=2).min() > 0.5


@pytest.mark.parametrize("refine", [True, False])
def test_ranges_of_few_points(data, refine):
    reg = small(redshift={"GALAXY": (0, 1e-5)}, refine=refine, max_epochs=1)
    reg.fit(data[0][:30], np.zeros(30))
    found = reg.predict_solutions(data[0][:2], k=2)
    assert (np.abs(found["z"][:, 0]) < 1e-3).all()
    assert_allclose(found["probability"].sum(axis=1), 1, rtol=1e-5)
    pdf = reg.predict_pdf(data[0][:2])
    assert_allclose(np.trapezoid(pdf, reg.z_grid_), 1, rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, -5.0])
def test_data_sets_with_unknown_redshifts_do_not_train(data, value):
    y = data[1][:40].copy()
    y[3] = value
    reg = small(max_epochs=1, refine=False)
    with pytest.raises(Exception, match="the loss or a weight was NaN"):
        reg.fit(Dataset(data[0][:40].astype("float32"), y), None)


@pytest.mark.parametrize("n_pixels", [3, 10, 99])
def test_features_of_any_kind(n_pixels):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, n_pixels))
    reg = RedshiftRegressor("mlp", max_epochs=1, verbose=0, random_state=0)
    reg.fit(X, rng.uniform(0, 3, 60))
    assert np.isfinite(reg.predict(X)).all()
    assert not hasattr(reg, "templates_")
    assert reg.predict_solutions(X)["class"][0, 0] == ""


def test_modules_give_as_many_outputs_as_the_grid_has(data):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(7))
    reg = RedshiftRegressor(module, wavelength=WAVELENGTH, verbose=0)
    with pytest.raises(ValueError, match=r"outputs of shape \(7,\); give it n_outputs"):
        reg.fit(*data)


# Ranges and templates -------------------------------------------------------------


@pytest.mark.parametrize(
    ("redshift", "templates", "message"),
    [
        ({}, None, "redshift names no class"),
        ({"NEBULA": (0, 1)}, None, r"names \['NEBULA'\], of which there are no temp"),
        ({"GALAXY": (1, 0)}, None, "redshift of GALAXY"),
        ({"GALAXY": (0, np.nan)}, None, "redshift of GALAXY"),
        ({"GALAXY": (-2, 1)}, None, "redshift of GALAXY"),
        ({"GALAXY": 1}, None, r"redshift of \['GALAXY'\] is one number"),
        ({"GALAXY": "all"}, None, "redshift of GALAXY"),
        (None, {"NEBULA": TEMPLATES["GALAXY"]}, r"\['NEBULA'\], which have no range"),
        (None, {"GALAXY": 3}, r"templates\['GALAXY'\] must be a pair"),
        (None, {"GALAXY": (AT_REST[1:], TEMPLATES["GALAXY"][1])}, "has shape"),
        (None, {"GALAXY": (AT_REST, np.full((2, 5200), np.nan))}, r"spectra \[0 1\] "),
        (None, {"GALAXY": (AT_REST[::-1], TEMPLATES["GALAXY"][1])}, "ascend"),
        (
            None,
            {"GALAXY": (AT_REST, np.zeros(5200))},
            r"spectra \[0\] .* no finite flux",
        ),
        (None, {"GALAXY": (AT_REST, np.ones(5200))}, "have no lines over their cont"),
        (None, {"GALAXY": (AT_REST[:2], [1, 1])}, "have no lines over their cont"),
        (None, {"GALAXY": (AT_REST, EIGENVECTORS)}, "give spectra, not eigenvectors"),
    ],
)
def test_ranges_and_templates_are_checked(data, redshift, templates, message):
    reg = small(redshift=redshift, templates=templates, max_epochs=1)
    with pytest.raises((ValueError, TypeError), match=message):
        reg.fit(data[0][:30], data[1][:30])
    # That is before any training.
    assert not reg.__dict__.get("history_")


@pytest.mark.parametrize("value", [[("GALAXY", (0, 1))], "GALAXY", 3])
def test_ranges_and_templates_are_dictionaries(data, value):
    for name in ("redshift", "templates"):
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            small(**{name: value}).fit(*data)


def test_templates_of_other_classes(data, test):
    X, y = data
    flat = np.ones((3, AT_REST.size)) + spectra_at(AT_REST * 1.3, np.zeros(3))
    reg = small(
        redshift={"GALAXY": (0, 0.1), "LRG": (0, 0.05)},
        templates={**TEMPLATES, "LRG": (AT_REST * units.Angstrom, flat)},
        max_epochs=5,
    )
    reg.fit(X[:150], y[:150])
    assert set(reg.templates_) == {"GALAXY", "LRG"}
    assert set(reg.weights_) == {
        "network",
        "gain GALAXY",
        "constant GALAXY",
        "gain LRG",
        "constant LRG",
    }
    found = reg.predict_solutions(test[0], 1)[:, 0]
    assert np.mean(found["class"] == "GALAXY") > 0.9
    assert np.mean(np.abs(found["z"] - test[1]) < 5e-4) > 0.8


def test_templates_with_unknown_ends_in_nanometers(data, test):
    X, y = data
    flux = TEMPLATES["GALAXY"][1].copy()
    flux[:, :50] = flux[::2, -200:] = np.nan
    templates = {"GALAXY": (AT_REST / 10 * units.nm, flux)}
    reg = small(templates=templates, max_epochs=1).fit(X[:150], y[:150])
    assert np.mean(np.abs(reg.predict(test[0]) - test[1]) < 5e-4) > 0.9


def test_one_template(data):
    flux = TEMPLATES["GALAXY"][1][0]
    reg = small(templates={"GALAXY": (AT_REST, flux)}, max_epochs=1)
    reg.fit(data[0][:60], data[1][:60])
    true = np.array([0.02, 0.07])
    X = np.array([np.interp(WAVELENGTH / (1 + z), AT_REST, flux) for z in true])
    X += np.random.default_rng(0).normal(scale=0.01, size=X.shape)
    assert_allclose(reg.predict(X), true, atol=3e-4)


def test_simulated_galaxies():
    reg = small(templates=None, module__width=8, max_epochs=3)
    reg.fit_simulator(150, snr=(20, 40))
    assert_array_equal(reg.wavelength_, WAVELENGTH)
    assert set(reg.templates_) == {"GALAXY"}
    from skastro.datasets import make_spectra

    spectra = make_spectra(
        30,
        wavelength=WAVELENGTH,
        class_proportions={"GALAXY": 1},
        redshift={"GALAXY": (0, 0.1)},
        snr=(20, 40),
        random_state=5,
        verbose=0,
    )
    off = np.abs(reg.predict(spectra.flux) - spectra.redshift)
    assert np.mean(off < 1e-3) > 0.9


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"redshift": {"GALAXY": (1.6, 2)}}, {}, "redshift of GALAXY is 1.6 to 2, but"),
        ({"redshift": {"GALAXY": (-0.05, 0)}}, {}, "simulated spectra have 0 to 1.5"),
        ({}, {"n_samples": 3}, "n_samples must be"),
        ({}, {"snr": (5, 1)}, "snr must be"),
        ({}, {"instrument": "hubble"}, "instrument must be"),
    ],
)
def test_simulations_are_checked(settings, arguments, message):
    reg = small(**({"templates": None} | settings))
    with pytest.raises(ValueError, match=message):
        reg.fit_simulator(**({"n_samples": 20} | arguments))


def test_simulated_spectra_with_own_templates_and_inverse_variances():
    at_rest = np.arange(3000.0, 11000.0)
    templates = {"GALAXY": (at_rest, spectra_at(at_rest, np.zeros(30), 1))}
    reg = small(max_epochs=1, wavelength=None, templates=templates)
    reg.fit_simulator(30, instrument="boss", ivar=True)
    assert reg.sample_shape_ == (2, len(reg.wavelength_))


def test_no_redshift_beyond_the_ranges_that_are_asked_for(data, test):
    X, y = data
    reg = small(redshift={"GALAXY": (0, 0.04), "QSO": (0.06, 0.1)}, templates=None)
    inside = (y < 0.04) | (y > 0.06)
    reg.set_params(max_epochs=1).fit(X[inside], y[inside])
    for refine in (True, False):
        pdf = reg.set_params(refine=refine).predict_pdf(test[0][:5])
        between = (reg.z_grid_ > 0.0401) & (reg.z_grid_ < 0.0599)
        assert not pdf[:, between].any()
        assert_allclose(np.trapezoid(pdf, reg.z_grid_, axis=1), 1, rtol=1e-4)


def test_what_is_no_redshift_is_refused(data):
    X, y = data
    with pytest.raises(ValueError, match="divide velocities by the speed of light"):
        small(redshift=None, templates=None).fit(X, 3e5 * y)
    long_name = "a class with a long name"
    reg = small(
        redshift={long_name: (0, 0.1)}, templates={long_name: TEMPLATES["GALAXY"]}
    )
    found = reg.fit(X[:60], y[:60]).predict_solutions(X[:3], k=1)
    assert set(found["class"][:, 0]) == {long_name}
    assert reg.zwarning(X[:3]).dtype == np.int64
