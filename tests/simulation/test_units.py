# SPDX-License-Identifier: BSD-3-Clause
"""Quantities are converted wherever a unit is expected, and refused elsewhere."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose

from skastro.datasets import make_galaxies, make_spectra
from skastro.sevi import angular_density, bin_electrons, make_sevi, throw_electrons
from skastro.simulation import (
    GalaxyCamera,
    GalaxyPopulation,
    air_to_vacuum,
    extinction_curve,
    planck_flux,
    sersic_flux_fraction,
    simulate_galaxies,
    simulate_spectra,
)

pytestmark = pytest.mark.once

WAVELENGTH = [4000.0, 5000.0, 21660.0]
CAMERA = ("moffat", "poisson", (32.0,), (21.2,), 9.0)
RANGES = ("sersic", ("r",), (18, 20), (0.5, 1.0), (1, 1), (0, 0.5), (0, 1))


@pytest.mark.parametrize(
    "given",
    [
        WAVELENGTH * u.AA,
        [400, 500, 2166] * u.nm,
        (0.4 * u.um, 500 * u.nm, 21660 * u.AA),
        Column([0.4, 0.5, 2.166], unit="um"),
        Masked([400, 500, 2166] * u.nm),
        QTable({"wavelength": [400, 500, 2166] * u.nm})["wavelength"],
    ],
    ids=["angstrom", "nm", "mixed", "column", "masked", "table"],
)
def test_wavelengths_of_formulas(given):
    for function in (
        extinction_curve,
        air_to_vacuum,
        lambda wavelength: planck_flux(wavelength, 5772),
    ):
        found = function(given)
        assert type(found) is np.ndarray
        assert_allclose(found, function(WAVELENGTH), rtol=1e-12)


def test_values_of_published_formulas():
    # Cardelli et al. (1989), x = 0.4617 / µm: (0.574 - 0.527 / 3.1) x^1.61.
    law = (0.574 - 0.527 / 3.1) * (1 / 2.166) ** 1.61
    assert_allclose(extinction_curve(2166 * u.nm), law, rtol=1e-12)
    kelvin = [5.772, 5.772] * u.kK
    assert_allclose(planck_flux(0.5 * u.um, kelvin), planck_flux(5000, 5772))
    # The far ultraviolet of a cold body has no light, and gives no warning.
    assert planck_flux(1.0, 3.0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: extinction_curve(5000 * u.Jy), "wavelength has the unit Jy.*Angstrom"),
        (lambda: extinction_curve(5e14 * u.Hz), "Hz"),
        (lambda: extinction_curve(5000, 3.1 * u.mag), "r_v has the unit mag"),
        (lambda: extinction_curve(5000, 0), "r_v must be positive"),
        (lambda: extinction_curve(-5000), "wavelength must be positive and finite"),
        (lambda: planck_flux(5000, 5772 * u.AA), "temperature has the unit Angstrom"),
        (lambda: planck_flux(5772 * u.K, 5000), "wavelength has the unit K"),
        (lambda: planck_flux(5000, 5500 * u.deg_C), "temperature has the unit deg_C"),
        (lambda: extinction_curve(5000 * u.one), "cannot be converted to Angstrom"),
        (lambda: extinction_curve("5000"), "wavelength must hold numbers"),
        (lambda: planck_flux(5000, [5772, np.nan]), "1 of 2 values are not, such as n"),
        (lambda: planck_flux(0, 5772), "wavelength must be positive"),
        (lambda: air_to_vacuum(5000 * u.km / u.s), "wavelength has the unit km"),
        (lambda: air_to_vacuum(500), "at least 2000 Å"),
        (lambda: sersic_flux_fraction(2 * u.arcsec, 4), "radius has the unit arcsec"),
        (lambda: angular_density([1.0], 60 * u.deg), "cos_theta has the unit deg"),
        (lambda: angular_density([1.0], [0, 60]), "must hold cosines, from -1 to 1"),
        (lambda: bin_electrons([3] * u.mm, [4], 8), "x has the unit mm"),
        (
            lambda: throw_electrons([1.0], 3 * u.mm, 0.01, 9, np.random.default_rng(0)),
            "radius has the unit mm",
        ),
        (lambda: make_sevi(1, size=16, tilt=2 * u.mm), "tilt has the unit mm"),
        (lambda: make_sevi(1, size=16, radius=0.5 * u.mm), "radius has the unit mm"),
        (lambda: make_sevi(1, size=16, extent=1 * u.mm), "extent has the unit mm"),
        (lambda: make_spectra(1, wavelength=[1, 2] * u.Jy), "wavelength has the unit"),
        (lambda: make_spectra(1, resolution=1800 * u.AA), "resolution has the unit"),
        (lambda: GalaxyCamera(32, 0.2 * u.nm, *CAMERA), "pixel_scale has the unit nm"),
        (lambda: make_galaxies(1, psf_fwhm=(1, 2) * u.mm), "psf_fwhm has the unit mm"),
    ],
)
def test_wrong_dimensions_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_masked_values_are_no_numbers():
    wavelength = MaskedColumn([500, 999999], mask=[False, True], unit="nm")
    with pytest.raises(ValueError, match="must be positive and finite; 1 of 2"):
        extinction_curve(wavelength)
    with pytest.raises(ValueError, match="must be positive and finite; 1 of 2"):
        planck_flux(np.ma.array([5000.0, 1.0], mask=[0, 1]), 5772)


def test_simulated_spectra():
    options = {"snr": (5, 10), "resolution": 1800, "sky_residuals": 1}
    options |= {"cosmic_rays": 0, "bad_pixels": 0}
    plain, converted = (
        simulate_spectra(
            {"STAR": 2}, wavelength=grid, rng=np.random.default_rng(0), **options
        )
        for grid in (np.linspace(4000, 9000, 100), np.linspace(400, 900, 100) * u.nm)
    )
    assert_allclose(converted["flux"], plain["flux"], rtol=1e-4)
    column = Column(np.linspace(0.4, 0.9, 100), unit="um")
    assert_allclose(make_spectra(1, wavelength=column).wavelength[-1], 9000)


def test_simulated_galaxies():
    arcsec = (32, 0.2), RANGES
    others = (32, 200 * u.mas), (*RANGES[:3], (500, 1000) * u.mas, *RANGES[4:])
    images = []
    for camera, ranges in (arcsec, others):
        camera, population = GalaxyCamera(*camera, *CAMERA), GalaxyPopulation(*ranges)
        galaxies = population.draw(2, np.random.default_rng(0))
        galaxies |= {"psf_fwhm": np.full(2, 0.8), "stamp_size": np.full(2, 32)}
        galaxies |= {"offset_x": np.zeros(2), "offset_y": np.zeros(2)}
        if ranges is not RANGES:
            galaxies = QTable(galaxies)
            galaxies["psf_fwhm"] = [800, 800] * u.mas
            galaxies["half_light_radius"] = (
                galaxies["half_light_radius"] / 60 * u.arcmin
            )
        made = simulate_galaxies(
            galaxies, population=population, camera=camera, seed=0, n_neighbors=1
        )
        images.append(made["images"])
    assert_allclose(images[1], images[0], rtol=1e-3, atol=0.5)
    options = {"size": 32, "random_state": 0, "verbose": 0, "noise": None}
    plain = make_galaxies(1, pixel_scale=0.3, psf_fwhm=(0.7, 0.9), **options)
    fwhm = (700 * u.mas, 0.9 * u.arcsec)
    given = make_galaxies(1, pixel_scale=300 * u.mas, psf_fwhm=fwhm, **options)
    assert_allclose(given.images, plain.images, rtol=1e-4)
    assert given.pixel_scale == 0.3


def test_simulated_electrons():
    options = {"size": 16, "n_electrons": 1e3, "random_state": 0}
    plain = make_sevi(2, tilt=(-3, 3), **options)
    given = make_sevi(2, tilt=(-180, 180) * u.arcmin, **options)
    assert_allclose(given.tilt, plain.tilt, rtol=1e-12)
    np.testing.assert_array_equal(given.images, plain.images)


@pytest.mark.parametrize(
    "given",
    [
        pd.Series([0.5 * u.um, 600 * u.nm]),
        np.array([0.5 * u.um, 600 * u.nm], dtype=object),
        [0.5 * u.um, 6000],
        [[0.5 * u.um, 600 * u.nm]],
    ],
    ids=["series", "objects", "mixed", "nested"],
)
def test_units_of_items(given):
    expected = planck_flux([5000.0, 6000.0], 5000)
    assert_allclose(np.ravel(planck_flux(given, 5000)), expected)
