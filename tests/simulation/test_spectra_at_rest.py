# SPDX-License-Identifier: BSD-3-Clause
"""Simulated spectra at rest, without dust in front and without noise."""

import numpy as np
import pytest

from skastro.simulation import spectra_at_rest

pytestmark = pytest.mark.once

PIXELS = np.arange(np.log(3600), np.log(9000), 2.3e-4)


def at_rest(name, n_samples=100, pixels=PIXELS, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return spectra_at_rest(name, n_samples, pixels, rng, **settings)


@pytest.mark.parametrize("name", ["GALAXY", "QSO", "STAR"])
def test_spectra_are_positive_and_differ(name):
    flux = at_rest(name)
    assert flux.shape == (100, PIXELS.size)
    assert flux.dtype == np.float32
    assert np.isfinite(flux).all()
    assert (flux >= 0).all()
    np.testing.assert_array_equal(at_rest(name), flux)
    assert len(np.unique(flux[:, 1000])) > 90
    assert (at_rest(name, seed=1) != flux).any()


@pytest.mark.parametrize(
    ("name", "first", "line"),
    [
        ("GALAXY", 3600, 6564.6),
        ("GALAXY", 3600, 5008.2),
        ("QSO", 3600, 6564.6),
        ("QSO", 1100, 1549.5),
    ],
)
def test_lines_are_at_their_vacuum_wavelengths(name, first, line):
    pixels = np.arange(np.log(first), np.log(9000), 2.3e-4)
    flux = at_rest(name, 200, pixels)
    mean = np.mean(flux / np.median(flux, axis=1, keepdims=True), axis=0)
    near = np.abs(pixels - np.log(line)) < 0.01
    peak = np.exp(pixels[near][mean[near].argmax()])
    # Winds of quasars shift their lines.
    assert peak == pytest.approx(line, rel=3e-4 if name == "GALAXY" else 4e-3)


def test_stars_absorb_in_balmer_lines():
    flux = at_rest("STAR", 200)
    line = np.abs(PIXELS - np.log(4862.7)) < 5e-4
    beside = (np.abs(PIXELS - np.log(4862.7)) < 0.012) & ~(
        np.abs(PIXELS - np.log(4862.7)) < 0.008
    )
    depth = flux[:, line].mean(axis=1) / flux[:, beside].mean(axis=1)
    assert np.median(depth) < 0.97


def test_resolution():
    sharp, blurred = at_rest("GALAXY", resolution=4000), at_rest("GALAXY")
    # Lines are higher at a finer resolution; the flux within them is the same.
    near = np.abs(PIXELS - np.log(5008.2)) < 4e-3
    assert sharp[:, near].max(axis=1).mean() > blurred[:, near].max(axis=1).mean()
    np.testing.assert_allclose(
        sharp[:, near].mean(axis=1), blurred[:, near].mean(axis=1), rtol=0.03
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "NEBULA"}, "name must be one of"),
        ({"n_samples": 0}, "n_samples must be"),
        ({"pixels": PIXELS[:1]}, "equally spaced"),
        ({"pixels": np.exp(PIXELS)}, "equally spaced"),
        ({"pixels": PIXELS[::-1]}, "ascending"),
        ({"resolution": 0}, "resolution must be"),
    ],
)
def test_arguments_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        at_rest(**({"name": "GALAXY"} | settings))
