# SPDX-License-Identifier: BSD-3-Clause
"""Spectra are normalized within the estimator, whatever their unit."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from tiny_estimators import make_tiny
from torch import nn

from skastro import MinMaxSpectra, SpectrumClassifier, StandardizeSpectra
from skastro.augmentation import AUGMENTATIONS

pytestmark = pytest.mark.once

tiny = partial(make_tiny, SpectrumClassifier, max_epochs=4)

SCALINGS = {
    "cgs": lambda X: X * 1e-17,
    "largest float32": lambda X: X / np.abs(X).max() * 3e38,
    "smallest float32": lambda X: X * 1e-36,
    "offset": lambda X: X * 0.01 - 3,
    "each its own": lambda X: X * np.geomspace(1e-3, 1e3, len(X))[:, None],
    "minmax": MinMaxSpectra().transform,
    "standardized": StandardizeSpectra().transform,
    "robust": StandardizeSpectra(robust=True, clip=8).transform,
}


@pytest.fixture(scope="module")
def data():
    """Return spectra of two classes, which differ by a line, with some spikes."""
    rng = np.random.default_rng(0)
    X = rng.standard_t(3, size=(120, 150)) + np.linspace(0, 3, 150)
    y = np.repeat(["GALAXY", "STAR"], 60)
    X[y == "STAR", 40:60] += 3
    return X, y


@pytest.fixture(scope="module")
def plain(data):
    """Fit on the spectra as they are."""
    return tiny().fit(*data)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_any_scaling_in_front_gives_the_same_answer(data, plain, scaling):
    X, y = data
    scaled = SCALINGS[scaling](X)
    expected = plain.predict_proba(X)
    assert plain.score(X, y) > 0.9
    clf = tiny().fit(scaled, y)
    np.testing.assert_allclose(clf.predict_proba(scaled), expected, atol=0.01)
    np.testing.assert_allclose(plain.predict_proba(scaled), expected, atol=0.01)


@pytest.mark.parametrize("length", [150, 151])
def test_robust_is_what_the_transformer_does(length):
    X = np.random.default_rng(0).standard_t(2, size=(24, 2, length))
    X[0], X[1, 0, : length - 9] = 7.0, 7.0
    clf = tiny().fit(X, np.arange(24) % 2)
    assert clf.normalization_ == "robust"
    expected = StandardizeSpectra(robust=True, clip=8).transform(X)
    np.testing.assert_allclose(clf.module_input(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-17, 1e17])
def test_short_rows_keep_their_level(scale):
    """Features of any kind are standardized by what the training rows have."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 5)) * [1, 10, 100, 1e-3, 1] + [0, 50, 0, 1, 3]
    y = X[:, 0] > 0
    clf = tiny(train_split=None, max_epochs=20).fit(X * scale, y)
    assert clf.normalization_ == "training"
    seen = clf.module_input(X * scale)[:, 0].numpy()
    np.testing.assert_allclose(seen, (X - X.mean(0)) / X.std(0), atol=1e-4)
    assert clf.score(X * scale, y) > 0.9
    # The first scaling stays.
    mean = clf.pixel_mean_
    assert clf.partial_fit(X * scale + 1, y).pixel_mean_ is mean


def test_level_counts_where_it_is_asked_for():
    X = np.random.default_rng(0).normal(size=(80, 120))
    y = np.arange(80) % 2
    X[y == 1] += 1
    assert tiny(max_epochs=10).fit(X, y).score(X[::-1] + 0, y[::-1]) < 1
    assert tiny(normalization="training", max_epochs=10).fit(X, y).score(X, y) == 1


@pytest.mark.parametrize("name", SpectrumClassifier._recipes)
def test_recipes_leave_scaling_to_the_step_in_front(name):
    assert SpectrumClassifier.from_recipe(name).normalization is None


def test_nothing_is_done_without_normalization(data):
    X, y = data
    clf = tiny(normalization=None).fit(X, y)
    np.testing.assert_allclose(clf.module_input(X)[:, 0], X, rtol=1e-6)


def test_noise_for_spectra_from_0_to_1_means_the_same(data, plain):
    X, _ = data
    spectra = plain.module_input(X)[:, 0]
    clf = tiny(augment="wang2020").fit(*data)
    torch.manual_seed(0)
    varied = clf._augment(spectra)
    torch.manual_seed(0)
    low, high = spectra.amin(1, keepdim=True), spectra.amax(1, keepdim=True)
    expected = AUGMENTATIONS["wang2020"]((spectra - low) / (high - low))
    torch.testing.assert_close(
        (varied - low) / (high - low), expected, atol=1e-5, rtol=0
    )
    # Bad pixels are as low as the lowest.
    assert (((varied - low).abs() < 1e-5).sum(dim=1) >= 1).all()


def test_a_network_that_gets_odd_numbers_is_warned_of(data):
    X, y = data
    message = r"numbers of about 1.\de-17 .*StandardizeSpectra\(robust=True, clip=8\)"
    for clf in (tiny(normalization=None), tiny(nn.Linear(150, 2), lr=1e-3)):
        with pytest.warns(UserWarning, match=message):
            clf.fit(X * 1e-17, y)
        assert clf.fit(X, y).normalization_ is None


def test_files_and_fitted_state(data, plain, tmp_path):
    X, _ = data
    expected = plain.predict_proba(X)
    plain.save_params(tmp_path / "w.pt")
    other = tiny(normalization=None)
    other.load_params(tmp_path / "w.pt")
    np.testing.assert_allclose(other.predict_proba(X), expected, atol=1e-6)
    short = tiny().fit(X[:, :40], data[1])
    torch.save(short.module_.state_dict(), tmp_path / "weights.pt")
    bare = tiny(module__n_channels=1, module__input_size=40, module__n_outputs=2)
    bare.initialize().load_params(tmp_path / "weights.pt")
    with pytest.raises(NotFittedError, match="pixel_mean_"):
        bare.predict(X[:, :40])


def test_one_huge_pixel_leaves_the_others(data):
    net, X = tiny().fit(*data), data[0].copy()
    X[:, 0] = 1e6
    expected = net.module_input(X)
    X = X * 1e-17
    X[:, 0] = 1e30
    np.testing.assert_allclose(net.module_input(X), expected, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-24, 1e-19, 1e-17, 1e-10, 1.0, 1e12, 1e30])
@pytest.mark.parametrize("kind", ["noise", "few differ", "lines on zeros"])
def test_units_of_flux_do_not_count(kind, scale):
    flux = np.random.default_rng(0).normal(1, 0.3, size=(40, 100)).astype(np.float32)
    if kind == "few differ":
        flux[:, np.arange(100) % 10 > 0] = 1
    if kind == "lines on zeros":
        flux[:, np.arange(100) % 10 > 0] = 0
    clf = tiny(max_epochs=1).fit(flux, np.arange(40) % 2)
    # Rows of other sizes stand beside them.
    mixed = np.concatenate([flux * np.float32(scale), flux[:1] * 1e25, 0 * flux[:1]])
    expected = clf.module_input(flux)
    np.testing.assert_allclose(clf.module_input(mixed)[:40], expected, atol=2e-4)
    np.testing.assert_allclose(
        clf.module_input(flux * np.float32(scale)), expected, atol=2e-4
    )
