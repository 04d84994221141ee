# SPDX-License-Identifier: BSD-3-Clause
"""Pretrained redshifts, of simulated and of real spectra."""

import pickle
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from astropy import units
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skastro import RedshiftRegressor
from skastro.base._pretrained import Pretrained
from skastro.datasets import make_spectra, read_spectra
from skastro.simulation import air_to_vacuum

FOLDER = files("skastro.estimators") / "pretrained"
pytestmark = pytest.mark.once
needs_weights = pytest.mark.skipif(
    not (FOLDER / "redshift.safetensors").is_file(),
    reason="tools/train_pretrained_redshift.py has not been run",
)
# |Δz| / (1 + z) of redshifts that are right.
TOLERANCE = {"GALAXY": 0.003, "QSO": 0.01, "STAR": 0.003}


def pretrained(wavelength, **settings):
    return RedshiftRegressor.from_pretrained(
        wavelength=wavelength, **({"verbose": 0, "device": "cpu"} | settings)
    )


@cache
def simulated(instrument="boss"):
    return make_spectra(
        24, instrument=instrument, snr=(10, 30), random_state=8, verbose=0
    )


def is_right(z, spectra):
    off = np.abs(z - spectra.redshift) / (1 + spectra.redshift)
    return off < np.array([TOLERANCE[name] for name in spectra.target])


@pytest.fixture(scope="module")
def boss():
    return pretrained(simulated().wavelength)


@needs_weights
def test_files():
    weights = (FOLDER / "redshift.safetensors").read_bytes()
    assert len(weights) < 5e6
    card = (FOLDER / "redshift.md").read_text(encoding="utf-8")
    assert 'from_pretrained("redshift"' in card
    training = Pretrained.read(FOLDER / "redshift.safetensors").settings
    assert training["redshift_range"][1] == pytest.approx(4.2, abs=0.1)


@needs_weights
@pytest.mark.parametrize("instrument", ["boss", "sdss", "lamost", "desi"])
def test_simulated_spectra(instrument):
    spectra = simulated(instrument)
    reg = pretrained(spectra.wavelength)
    check_is_fitted(reg)
    z, std = reg.predict(spectra.flux, return_std=True)
    assert is_right(z, spectra).mean() > 0.9
    assert (std > 0).all()


@needs_weights
def test_noise_may_be_given(boss):
    spectra = simulated()
    X = np.stack([spectra.flux, spectra.ivar], axis=1)
    reg = pretrained(spectra.wavelength, ivar=True)
    found = reg.predict_solutions(X, 1)[:, 0]
    assert is_right(found["z"], spectra).mean() > 0.9
    assert np.mean(found["class"] == spectra.target) > 0.9
    # It hardly differs from the noise that is measured.
    same = np.abs(found["z"] - boss.predict(spectra.flux)) < 1e-3
    assert same.mean() > 0.9


@needs_weights
def test_copies(boss, tmp_path):
    X = simulated().flux
    expected = boss.predict(X)
    again = pickle.loads(pickle.dumps(boss))
    assert_array_equal(again.predict(X), expected)
    boss.save_params(f_params=tmp_path / "weights.safetensors", use_safetensors=True)
    with pytest.raises(NotFittedError):
        clone(boss).predict(X)
    other = clone(boss)
    other.load_params(f_params=tmp_path / "weights.safetensors", use_safetensors=True)
    assert_array_equal(other.predict(X), expected)


@needs_weights
def test_wavelengths_in_nanometers(boss):
    spectra = simulated()
    reg = pretrained(spectra.wavelength / 10 * units.nm)
    # Rounded wavelengths may be those of other pixels.
    assert_allclose(reg.predict(spectra.flux), boss.predict(spectra.flux), atol=1e-5)


@needs_weights
def test_ranges_may_be_narrower_and_templates_fewer():
    spectra = simulated()
    galaxies = spectra.target == "GALAXY"
    reg = pretrained(spectra.wavelength, redshift={"GALAXY": (0, 1.0)})
    found = reg.predict_solutions(spectra.flux[galaxies], 1)[:, 0]
    assert set(found["class"]) <= {"GALAXY", ""}
    off = np.abs(found["z"] - spectra.redshift[galaxies])
    assert np.mean(off < 0.003 * (1 + found["z"])) > 0.8


@needs_weights
def test_network_alone():
    spectra = simulated()
    reg = pretrained(spectra.wavelength, refine=False)
    found = reg.predict_solutions(spectra.flux, 1)[:, 0]
    assert is_right(found["z"], spectra).mean() > 0.75
    assert np.isnan(found["gain"]).all()


@needs_weights
def test_training_goes_on():
    spectra = simulated()
    reg = pretrained(spectra.wavelength, lr=1e-5, train_split=None)
    weights = reg.weights_
    for _ in range(2):
        reg.partial_fit(spectra.flux, spectra.redshift)
    # No validation tells others.
    assert reg.weights_ == weights
    assert is_right(reg.predict(spectra.flux), spectra).mean() > 0.9


@needs_weights
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"source": "redshifts"}, ValueError, "redshift"),
        ({"redshift": {"GALAXY": (0, 9)}}, ValueError, "fit a network of your own"),
        ({"redshift": {"NEBULA": (0, 1)}}, ValueError, "there are no templates"),
        ({"module__width": 7}, ValueError, "module__width"),
        ({"speed": 3}, TypeError, "speed"),
        ({"wavelength": [11000.0, 12000.0]}, ValueError, "has to overlap with"),
        ({"wavelength": [5000.0, 4000.0]}, ValueError, "must ascend"),
        ({"refine": "yes"}, ValueError, "'refine' parameter"),
        ({"templates": {"GALAXY": 3}}, ValueError, "must be a pair"),
    ],
)
def test_arguments_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        RedshiftRegressor.from_pretrained(
            **({"wavelength": np.arange(4000.0, 9000.0)} | settings)
        )


def test_wavelengths_must_be_given():
    with pytest.raises(TypeError, match="wavelength"):
        RedshiftRegressor.from_pretrained()


@needs_weights
def test_real_spectra(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits", verbose=0)
    classes = np.asarray(spectra.class_name)
    # All galaxies, and some of the others.
    rows = [np.flatnonzero(classes == "GALAXY")]
    rows += [np.flatnonzero(classes == name)[::6] for name in ("QSO", "STAR")]
    rows = np.concatenate(rows)
    z = pretrained(spectra.wavelength).predict(spectra.flux[rows])
    true = np.asarray(spectra.redshift)[rows]
    off = np.abs(z - true) / (1 + true)
    for name, least in (("GALAXY", 0.97), ("QSO", 0.85), ("STAR", 0.9)):
        assert np.mean(off[classes[rows] == name] < TOLERANCE[name]) >= least, name


@needs_weights
def test_real_galaxies_of_another_survey(data_dir):
    spectra = read_spectra(data_dir / "galaxies_6dfgs.fits", verbose=0)
    # They are stored at rest, in air.
    at_rest, rows = air_to_vacuum(spectra.wavelength), slice(0, None, 12)
    right = []
    for flux, true in zip(spectra.flux[rows], spectra.redshift[rows], strict=True):
        reg = pretrained(at_rest * (1 + true))
        right.append(abs(reg.predict(flux[None])[0] - true) < 0.003 * (1 + true))
    assert np.mean(right) > 0.8


def test_a_network_fitted_to_simulated_spectra_measures_real_galaxies(data_dir):
    spectra = read_spectra(data_dir / "spectra.fits", verbose=0)
    reg = RedshiftRegressor(
        wavelength=spectra.wavelength,
        redshift={"GALAXY": (0, 0.6)},
        module__width=8,
        module__n_blocks=1,
        max_epochs=1,
        verbose=0,
        random_state=0,
    ).fit_simulator(600)
    true = np.asarray(spectra.redshift)
    rows = (np.asarray(spectra.class_name) == "GALAXY") & (true < 0.6)
    off = np.abs(reg.predict(spectra.flux[rows]) - true[rows]) / (1 + true[rows])
    assert np.mean(off < 0.003) >= 0.9


@needs_weights
def test_a_gap_between_arms_is_unknown():
    spectra = simulated()
    wavelength = np.asarray(spectra.wavelength)
    kept = (wavelength < 5800) | (wavelength > 7000)
    with_nan = np.where(kept, spectra.flux, np.nan)
    whole, arms = pretrained(wavelength), pretrained(wavelength[kept])
    flux = spectra.flux[:, kept]
    assert_allclose(arms.predict(flux), whole.predict(with_nan), atol=1e-4)
    assert_array_equal(arms.zwarning(flux), whole.zwarning(with_nan))


@needs_weights
def test_what_is_set_afterwards_is_checked():
    reg = pretrained(np.arange(4000.0, 8000, 4))
    reg.set_params(redshift={"QSO": (4.6, 5.0)})
    with pytest.raises(ValueError, match="permits none of the"):
        reg.predict(np.ones((1, 1000)))
    reg.set_params(redshift=None, wavelength=np.arange(4300.0, 8300, 4))
    with pytest.raises(ValueError, match="wavelength has changed"):
        reg.predict(np.ones((1, 1000)))
