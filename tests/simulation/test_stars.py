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
    main_sequence_gravity,
    spectral_type_temperature,
)

pytestmark = pytest.mark.once

SIGMA = 1 / 1800 / 2.3548
GRID = LogGrid(3700.0, 9100.0, SIGMA / 3, SIGMA)


@pytest.fixture(scope="module")
def library():
    return StellarLibrary(GRID)


def spectra(library, temperature, offset=0.0, metallicity=None):
    """Spectra of dwarfs, or with other log g (from theirs) and [Fe/H]."""
    temperature, offset, metallicity = np.broadcast_arrays(
        np.asarray(temperature, dtype=float), offset, metallicity or 0.0
    )
    strengths = library.strengths(temperature)
    if offset.any() or metallicity.any():
        gravity = main_sequence_gravity(temperature) + offset
        library.adjust(strengths, temperature, gravity, metallicity)
    return GRID.blur(library.flux(temperature, strengths), GRID.sigma())


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


# Passbands of Bessell (1990): wavelength in Å, transmission per photon; mean flux of a
# star of magnitude zero (Bessell, Castelli & Plez 1998), in 1e-11 erg/(s cm² Å).
BANDS = {
    "B": (3600, 3800, 3900, 4000, 4200, 4400, 4600, 4800, 5000, 5200, 5400, 5600),
    "V": (4700, 4900, 5000, 5100, 5300, 5500, 5700, 5900, 6100, 6300, 6600, 7000),
    "I": (7000, 7200, 7300, 7400, 7600, 8000, 8400, 8600, 8700, 8800, 8900, 9100),
}
ZERO = {"B": 632, "V": 363, "I": 113}
TRANSMISSION = {
    "B": (0, 0.13, 0.57, 0.92, 1, 0.94, 0.74, 0.54, 0.33, 0.15, 0.04, 0),
    "V": (0, 0.16, 0.46, 0.78, 1, 0.90, 0.68, 0.46, 0.27, 0.14, 0.03, 0),
    "I": (0, 0.23, 0.56, 0.79, 0.97, 1, 0.95, 0.86, 0.75, 0.56, 0.33, 0),
}


def test_colors_of_dwarfs():
    # Pecaut & Mamajek (2013), table 5: temperature, B-V, V-I.
    published = np.array(
        [
            (3430, 1.53, 2.42),
            (3850, 1.42, 1.77),
            (4440, 1.15, 1.27),
            (5290, 0.82, 0.85),
            (5770, 0.65, 0.71),
            (6550, 0.44, 0.51),
            (7760, 0.21, 0.24),
            (9700, 0.00, 0.00),
            (15700, -0.16, -0.17),
        ]
    )
    grid = LogGrid(3550.0, 9200.0, 2e-4)
    library = StellarLibrary(grid)
    temperature = published[:, 0]
    strengths = library.strengths(temperature)
    gravity = main_sequence_gravity(temperature)
    library.adjust(strengths, temperature, gravity, np.zeros(temperature.size))
    flux = library.flux(temperature, strengths).astype(float)
    magnitude = {}
    for name, knots in BANDS.items():
        weight = np.interp(grid.wavelength, knots, TRANSMISSION[name], 0, 0)
        weight *= grid.wavelength**2
        magnitude[name] = -2.5 * np.log10(flux @ weight / weight.sum() / ZERO[name])
    color = np.column_stack(
        [magnitude["B"] - magnitude["V"], magnitude["V"] - magnitude["I"]]
    )
    np.testing.assert_allclose(color, published[:, 1:], atol=0.08)


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


def test_balmer_wings_grow_with_gravity_in_hot_stars(library):
    width = equivalent_width(spectra(library, 14000.0, [-1.0, 0.0]), 4341.7, 40.0)
    # Gray & Corbally (2009): H gamma of B giants is a third to a half weaker.
    assert 0.4 < width[0] / width[1] < 0.75
    core = np.abs(GRID.wavelength - 4341.7) < 1.0
    giant, dwarf = spectra(library, 14000.0, [-1.0, 0.0])[:, core].min(axis=1)
    assert giant < 1.25 * dwarf
    cool = equivalent_width(spectra(library, 6500.0, [-1.0, 0.0]), 6564.6, 20.0)
    assert cool[0] == pytest.approx(cool[1], rel=0.1)


@pytest.mark.parametrize(
    ("center", "half", "sign"),
    [(5174.0, 20.0, 1), (5894.6, 12.0, 1), (8544.4, 12.0, -1)],
    ids=["Mg b", "Na D", "Ca II"],
)
def test_metals_change_with_gravity_in_cool_stars(library, center, half, sign):
    flux = spectra(library, 4500.0, [-2.5, -1.25, 0.0])
    width = equivalent_width(flux, center, half)
    assert (sign * np.diff(width) > 0).all()


def test_metal_lines_grow_more_slowly_than_the_abundance(library):
    rows = [
        spectra(library, [5500.0], metallicity=metallicity)
        for metallicity in (-2.2, -1.2, -0.2)
    ]
    width = equivalent_width(np.concatenate(rows), 5270.0, 8.0)
    growth = width[1:] / width[:-1]
    assert ((growth > 1.5) & (growth < 10**0.55)).all()
    # The spectrum of mean metallicity is that of the table.
    np.testing.assert_allclose(rows[-1], spectra(library, [5500.0]), rtol=1e-5)
    hydrogen = equivalent_width(np.concatenate(rows), 6564.6, 12.0)
    np.testing.assert_allclose(hydrogen, hydrogen.mean(), rtol=0.2)


def test_ultraviolet_of_the_sun_and_vega():
    grid = LogGrid(1400.0, 5600.0, 1e-4)
    library = StellarLibrary(grid)
    temperature = np.array([5772.0, 9600.0])
    flux = library.flux(temperature, library.strengths(temperature))

    def mean(low, high):
        return flux[:, (grid.wavelength > low) & (grid.wavelength < high)].mean(axis=1)

    # Thuillier et al. (2003), Bohlin (2014): flux over that at 5500 Å, to a factor 1.5.
    visual = mean(5450, 5550)
    for center, expected in ((2500, (0.033, 0.95)), (3100, (0.36, 0.9))):
        found = mean(center - 50, center + 50) / visual
        assert (np.abs(np.log(found / expected)) < np.log(1.5)).all()
    # The Sun has no light in the far ultraviolet, Vega has much.
    sun, vega = mean(1450, 1550) / visual
    assert sun < 1e-3
    assert 0.5 < vega < 2


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


def test_labels_of_stars():
    stars = StarModel(GRID).simulate(3000, np.random.default_rng(0))
    temperature, gravity, metallicity = (
        stars[name] for name in ("teff", "logg", "feh")
    )
    white_dwarf = stars["subclass"] == "WD"
    np.testing.assert_array_equal(np.isnan(metallicity), white_dwarf)
    assert ((gravity[white_dwarf] > 7) & (gravity[white_dwarf] < 9)).all()
    cool = (temperature < 5200) & ~white_dwarf
    giant = cool & (gravity < 3.6)
    assert giant.sum() == pytest.approx(0.4 * cool.sum(), rel=0.1)
    assert gravity[giant].min() >= 0.5
    assert ((gravity[cool & ~giant] > 4.1) & (gravity[cool & ~giant] < 5.4)).all()
    # Giants are the larger the cooler.
    assert np.corrcoef(temperature[giant], gravity[giant])[0, 1] > 0.8
    others = gravity[~cool & ~white_dwarf]
    assert ((others > 2.4) & (others < 5)).all()
    known = metallicity[~white_dwarf]
    assert known.min() >= -2.5
    assert known.max() <= 0.5
    assert 0.03 < (known < -1).mean() < 0.12
    # The type is that of the temperature.
    sun = np.abs(temperature - 5772) < 10
    assert set(stars["subclass"][sun]) <= {"G1", "G2"}


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
