# SPDX-License-Identifier: BSD-3-Clause
"""Numbers that single precision cannot hold: too large, or too close to each other."""

from functools import partial

import h5py
import numpy as np
import pytest
from astropy import units as u
from tiny_estimators import make_tiny

from skastro import (
    EnsembleClassifier,
    GalaxyRegressor,
    Pipeline,
    SEVIRegressor,
    SpectrumClassifier,
    StandardizeSpectra,
    VAETransformer,
)
from skastro.base import BaseRegressor

tiny = partial(make_tiny, SpectrumClassifier, max_epochs=2)
# Julian dates of 40 nights.
DATES = 2_460_000.5 + np.arange(40) / 8

# Too large --------------------------------------------------------------------

TOO_LARGE = r"up to 1e\+300, in rows 3, but the largest one .* divide X"


@pytest.mark.parametrize(
    "container", [np.asarray, np.ndarray.tolist, np.asfortranarray]
)
def test_finite_numbers_beyond_single_precision(spectra, container):
    X, y = spectra[0].astype(float), spectra[1]
    net = tiny().fit(X, y)
    X[3, 7] = 1e300
    for call in (lambda X: tiny().fit(X, y), net.predict, net.module_input):
        with pytest.raises(ValueError, match=TOO_LARGE):
            call(container(X))
    X[3, 7] = np.inf
    with pytest.raises(ValueError, match="contains infinity"):
        net.predict(container(X))


def test_finite_numbers_beyond_single_precision_on_disk(spectra, tmp_path):
    X, y = spectra[0].astype(float), spectra[1]
    net = tiny().fit(X, y)
    X[3, 7] = 1e300
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file["flux"] = X
        for call in (lambda X: tiny().fit(X, y), net.predict):
            with pytest.raises(ValueError, match=TOO_LARGE):
                call(file["flux"])


# Too close --------------------------------------------------------------------

ROUNDED = "differ by .*, but single precision, .* rounds them to multiples of"


@pytest.fixture
def long_spectra():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 128))
    y = np.repeat(["GALAXY", "STAR"], 40)
    X[y == "STAR", 20:40] += 3
    return X, y


@pytest.mark.parametrize("normalization", ["robust", "training", None])
@pytest.mark.parametrize("offset", [1e9, -1e9, 1e7])
def test_a_small_signal_on_a_large_offset(long_spectra, normalization, offset):
    X, y = long_spectra
    net = tiny(normalization=normalization)
    with pytest.raises(ValueError, match=ROUNDED):
        net.fit(X + offset, y)
    net.fit(X, y)
    with pytest.raises(ValueError, match=ROUNDED):
        net.predict(X + offset)
    with pytest.raises(ValueError, match=ROUNDED):
        net.fit((1000 * (X + abs(offset))).astype(np.int64), y)


def test_a_small_signal_on_a_large_offset_on_disk(long_spectra, tmp_path):
    X, y = long_spectra
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file["flux"] = X + 1e9
        with pytest.raises(ValueError, match=ROUNDED):
            tiny().fit(file["flux"], y)


def test_other_estimators_refuse_it_too(long_spectra):
    X, y = long_spectra
    images = X.reshape(-1, 8, 16) + 1e9
    with pytest.raises(ValueError, match=ROUNDED):
        make_tiny(GalaxyRegressor).fit(images, X[:, 0])
    with pytest.raises(ValueError, match=ROUNDED):
        make_tiny(VAETransformer).fit(X + 1e9)
    with pytest.raises(ValueError, match=ROUNDED):
        EnsembleClassifier(tiny(), n_estimators=2).fit(X + 1e9, y)


def test_what_stands_in_front_keeps_the_digits(long_spectra):
    X, y = long_spectra
    for offset in (0.0, 1e9):
        pipe = Pipeline([StandardizeSpectra(), tiny(max_epochs=6)])
        assert pipe.fit(X + offset, y).score(X + offset, y) > 0.9


def test_offsets_that_leave_digits_are_taken(long_spectra):
    X, y = long_spectra
    net = tiny(max_epochs=6).fit(X, y)
    np.testing.assert_allclose(
        net.predict_proba(X + 1000), net.predict_proba(X), atol=0.02
    )
    # Rows that are constant but for the rounding, and a few of the many.
    X[:3] = 1e9 + X[:3]
    X[5] = 0.1 + 0.2 * np.ones(128) * (1 + 1e-16)
    assert len(net.predict(X)) == 80


def test_columns_of_dates():
    rng = np.random.default_rng(0)
    X = np.column_stack([DATES, rng.normal(size=(40, 3))])
    y = np.arange(40) % 2
    with pytest.warns(UserWarning, match=f"Column 0 of X .* {ROUNDED} 0.25"):
        tiny().fit(X, y)
    X[:, 0] -= DATES[0]
    tiny().fit(X, y)


def test_targets_keep_their_digits():
    """They are scaled in double precision."""
    X = np.linspace(-1, 1, 40)[:, None] * np.ones(8)
    net = make_tiny(GalaxyRegressor, max_epochs=30, normalization="training")
    predicted = net.fit(X[:, None, None, :].repeat(8, 1), DATES).predict(
        X[:, None, None, :].repeat(8, 1)
    )
    assert predicted.dtype == np.float64
    assert abs(predicted - DATES).mean() < 2


# Units of targets -------------------------------------------------------------


@pytest.mark.parametrize("cls", [GalaxyRegressor, SEVIRegressor, BaseRegressor])
@pytest.mark.parametrize("form", ["quantity", "list", "column"])
def test_targets_with_a_unit(cls, form):
    from astropy.table import Column

    y = {
        "quantity": np.ones(4) * u.mag,
        "list": [1 * u.mag] * 4,
        "column": Column(np.ones(4), unit="mag"),
    }[form]
    net = cls("resnet10") if cls is BaseRegressor else make_tiny(cls)
    with pytest.raises(ValueError, match=r"y has the unit mag.*y\.value") as error:
        net.fit(np.ones((4, 16, 16)), y)
    assert "classifier" not in str(error.value)
    with pytest.raises(ValueError, match="Take a classifier for labels"):
        net.fit(np.ones((4, 16, 16)), np.array(["a", "b", "a", "b"]))
