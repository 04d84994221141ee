# SPDX-License-Identifier: BSD-3-Clause
"""Stars: continua, and how lines depend on temperature."""

import numpy as np
import pytest
from astropy import constants, units
from astropy.modeling.physical_models import BlackBody

from skastro.simulation import planck_flux
from skastro.simulation.spectra._grid import LogGrid
from skastro.simulation.spectra._stars import (
    StarModel,
    StellarLibrary,
    spectral_type_temperature,
)

pytestmark = pytest.mark.once

SIGMA = 1 / 1800 / 2.3548
GRID = LogGrid(3700.0, 9100.0, SIGMA / 3, SIGMA)


@pytest.fixture(scope="module")
def library():
    return StellarLibrary(GRID)


def spectra(library, temperature):
    temperature = np.asarray(temperature, dtype=float)
    flux = library.flux(temperature, library.strengths(temperature))
    return GRID.blur(flux, GRID.sigma())


def equivalent_width(flux, center, half, gap=5.0, side=20.0):
    """Equivalent width (Å) over side bands on both sides, one a spectrum."""
    offset = GRID.wavelength - center
    line = np.abs(offset) <= half
    left = (offset < -half - gap) & (offset > -half - gap - side)
    right = (offset > half + gap) & (offset < half + gap + side)
    low, high = flux[:, left].mean(axis=1), flux[:, right].mean(axis=1)
    reach = half + gap + side / 2
    weight = (offset[line] + reach) / (2 * reach)
    continuum = low[:, None] * (1 - weight) + high[:, None] * weight
    widths = np.diff(GRID.edges)[line]
    return ((1 - flux[:, line] / continuum) * widths).sum(axis=1)


@pytest.mark.parametrize("temperature", [3000.0, 5772.0, 40000.0])
def test_planck_agrees_with_astropy(temperature):
    wavelength = np.linspace(2000.0, 12000.0, 50)
    unit = units.erg / (units.s * units.cm**2 * units.AA * units.sr)
    black_body = BlackBody(temperature * units.K, scale=1.0 * unit)
    expected = black_body(wavelength * units.AA).to_value(unit)
    np.testing.assert_allclose(
        planck_flux(wavelength, temperature), expected, rtol=1e-9
    )


def test_planck_follows_wien():
    wavelength = np.linspace(2000.0, 12000.0, 100_001)
    for temperature in (4000.0, 8000.0):
        peak = wavelength[planck_flux(wavelength, temperature).argmax()]
        displacement = constants.b_wien.to_value("AA K")
        assert peak == pytest.approx(displacement / temperature, abs=0.2)


def test_continuum_between_the_lines_is_a_black_body(library):
    # O stars have next to no absorption, and no correction of the temperature.
    (flux,) = spectra(library, [40000.0])
    clear = [(5550, 5800), (6000, 6450), (7200, 8000)]
    expected = planck_flux(GRID.wavelength, 40000.0) / planck_flux(5500.0, 40000.0)
    for low, high in clear:
        rows = (GRID.wavelength > low) & (GRID.wavelength < high)
        np.testing.assert_allclose(flux[rows], expected[rows], rtol=0.02)


@pytest.mark.parametrize("center", [4862.7, 4341.7, 6564.6])
def test_balmer_lines_are_strongest_near_a0(library, center):
    temperature = np.array([6800, 7500, 8500, 9500, 11000, 15000, 25000, 40000])
    width = equivalent_width(spectra(library, temperature), center, 60.0)
    assert 8500 <= temperature[width.argmax()] <= 11000
    assert 7 < width.max() < 20  # Å, A0 dwarfs: about 13 in Hβ
    rising, falling = np.split(width, [width.argmax()])
    assert (np.diff(rising) > 0).all()
    assert (np.diff(falling) < 0).all()


def test_calcium_k_grows_from_a_to_g(library):
    width = equivalent_width(
        spectra(library, [9500, 8000, 6500, 5500]), 3934.8, 11, 2, 6
    )
    assert (np.diff(width) > 0).all()
    assert width[0] < 0.8
    assert 5 < width[-1] < 15


def test_sodium_is_strongest_in_cool_stars(library):
    width = equivalent_width(spectra(library, [9500, 6500, 5000, 4200]), 5894.6, 16)
    assert (np.diff(width) > 0).all()
    assert 0.2 < width[1] < 2.5
    assert 4 < width[3] < 12


def test_calcium_triplet(library):
    width = equivalent_width(spectra(library, [5000.0]), 8544.4, 12)
    assert 2 < width[0] < 5


def test_titanium_oxide_only_in_m_and_late_k(library):
    flux = spectra(library, [3200.0, 3700.0, 5000.0, 8000.0])

    def mean(low, high):
        rows = (GRID.wavelength > low) & (GRID.wavelength < high)
        return flux[:, rows].mean(axis=1)

    # Index TiO5 (Reid, Hawley & Gizis 1995), bands moved to vacuum.
    index = mean(7128, 7137) / mean(7044, 7048)
    assert index[0] < index[1] < 0.9
    np.testing.assert_allclose(index[2:], 1.0, atol=0.06)


def test_ionised_helium_only_in_o_stars(library):
    width = equivalent_width(spectra(library, [42000, 15000, 9000]), 5413.0, 10)
    assert width[0] > 0.2
    np.testing.assert_allclose(width[1:], 0.0, atol=0.1)


def test_temperature_scale_falls():
    temperature = spectral_type_temperature(np.arange(5.0, 67.0))
    assert (np.diff(temperature) < 0).all()
    # The Sun is G2.
    assert spectral_type_temperature(42.0) == pytest.approx(5772, abs=60)


def test_drawn_stars():
    stars = StarModel(GRID).simulate(400, np.random.default_rng(0))
    assert stars["flux"].shape == (400, GRID.size)
    assert np.isfinite(stars["flux"]).all()
    velocity = stars["redshift"] * 299792.458
    assert np.abs(velocity).max() <= 300
    assert 50 < velocity.std() < 110
    letters = {name[0] for name in stars["subclass"]}
    assert letters == set("OBAFGKMW")
    assert ((stars["reddening"] >= 0) & (stars["reddening"] <= 1)).all()


def test_lines_lie_at_the_doppler_shifted_wavelength():
    stars = StarModel(GRID).simulate(300, np.random.default_rng(1))
    a_stars = np.flatnonzero([name[0] == "A" for name in stars["subclass"]])
    assert a_stars.size > 20
    window = np.abs(GRID.wavelength - 4862.7) < 25
    for row in a_stars:
        depth = stars["flux"][row, window].max() - stars["flux"][row, window]
        weight = np.where(depth > 0.6 * depth.max(), depth, 0.0)
        center = (weight * GRID.wavelength[window]).sum() / weight.sum()
        assert center == pytest.approx(4862.7 * (1 + stars["redshift"][row]), abs=1.0)


def test_white_dwarfs_have_broader_lines_than_a_stars(library):
    temperature = np.array([12000.0])
    dwarf = library.flux(temperature, library.strengths(temperature, white_dwarf=True))
    star = library.flux(temperature, library.strengths(temperature))
    wings = np.abs(np.abs(GRID.wavelength - 4862.7) - 40) < 10
    clear = np.abs(GRID.wavelength - 5400) < 50

    def depth(flux):
        return 1 - flux[0, wings].mean() / flux[0, clear].mean()

    slope = 1 - planck_flux(4862.7, 13000) / planck_flux(5400.0, 13000)
    assert depth(dwarf) - slope > 3 * max(depth(star) - slope, 0.02)
