# SPDX-License-Identifier: BSD-3-Clause
"""Galaxies: stellar populations and nebular lines."""

import numpy as np
import pytest
from scipy import stats

from skastro.simulation import SPECTRAL_LINES
from skastro.simulation.spectra._galaxy_spectra import GalaxyModel, attenuation
from skastro.simulation.spectra._grid import LIGHT_SPEED, LogGrid

pytestmark = pytest.mark.once

SIGMA = 1 / 1800 / 2.3548
GRID = LogGrid(3650.0, 9300.0, SIGMA / 3, SIGMA)
OLD, INTERMEDIATE, POST_STARBURST, YOUNG = np.eye(4)


@pytest.fixture(scope="module")
def model():
    return GalaxyModel(GRID)


@pytest.fixture(scope="module")
def galaxies(model):
    return model.simulate(600, np.random.default_rng(0))


def break_4000(wavelength, flux):
    """D4000 with the narrow bands of Balogh et al. (1999)."""
    per_frequency = flux * wavelength**2
    red = (wavelength > 4000) & (wavelength < 4100)
    blue = (wavelength > 3850) & (wavelength < 3950)
    return per_frequency[red].mean() / per_frequency[blue].mean()


def starlight(model, weights, redshift=0.0, velocity=150.0):
    return model.stellar_flux(
        np.atleast_2d(weights),
        np.array([redshift]),
        np.array([velocity]),
        np.zeros(1),
    )[0]


def test_break_falls_with_youth(model):
    values = [
        break_4000(GRID.wavelength, starlight(model, population))
        for population in (OLD, INTERMEDIATE, POST_STARBURST, YOUNG)
    ]
    assert (np.diff(values) < 0).all()
    # Kauffmann et al. (2003, MNRAS 341, 33): from 2.1 for the oldest to about 1.
    assert 1.7 < values[0] < 2.2
    assert 0.9 < values[3] < 1.1


def test_break_of_drawn_types(galaxies):
    values = np.array(
        [
            break_4000(GRID.wavelength / (1 + z), flux)
            for z, flux in zip(galaxies["redshift"], galaxies["flux"], strict=True)
        ]
    )
    median = {
        name: np.median(values[galaxies["subclass"] == name])
        for name in np.unique(galaxies["subclass"])
    }
    assert 1.65 < median["PASSIVE"] < 2.0
    assert 1.3 < median["INTERMEDIATE"] < 1.65
    assert 1.1 < median["STARFORMING"] < 1.4
    assert 0.95 < median["STARBURST"] < 1.2


def test_redshift_moves_the_spectrum(model):
    rest = starlight(model, OLD)
    for redshift in (0.0371, 0.2034):
        shifted = starlight(model, OLD, redshift)
        expected = np.interp(GRID.wavelength / (1 + redshift), GRID.wavelength, rest)
        inside = (GRID.wavelength / (1 + redshift) > 3800) & (GRID.wavelength < 9000)
        np.testing.assert_allclose(shifted[inside], expected[inside], rtol=0.01)


def test_velocity_dispersion_broadens(model):
    slow, fast = (starlight(model, OLD, velocity=v) for v in (80.0, 350.0))
    rows = (GRID.wavelength > 5100) & (GRID.wavelength < 5400)
    assert np.diff(fast[rows]).std() < 0.5 * np.diff(slow[rows]).std()


def test_dust_reddens(model):
    weights, zero = OLD[None], np.zeros(1)
    clear = model.stellar_flux(weights, zero, zero + 100, zero)[0]
    dusty = model.stellar_flux(weights, zero, zero + 100, zero + 0.3)[0]
    magnitudes = -2.5 * np.log10(dusty / clear)
    blue, visual = np.interp([4405.0, 5494.5], GRID.wavelength, magnitudes)
    assert blue - visual == pytest.approx(0.3, rel=0.02)
    # Calzetti et al. (2000): A(V) = 4.05 E(B-V).
    assert visual == pytest.approx(4.05 * 0.3, rel=0.02)


def test_attenuation_is_the_published_law():
    # Calzetti et al. (2000), equation 4, by hand at 0.16, 0.44, 0.55 and 0.7 µm.
    expected = [9.9701, 5.0603, 4.0479, 3.0628]
    found = attenuation(np.array([1600.0, 4400.0, 5500.0, 7000.0]))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_ultraviolet_of_young_and_old_populations():
    model = GalaxyModel(GRID, 1.7)
    young = starlight(model, YOUNG, 1.5)
    old = starlight(model, OLD, 1.5)
    rest = GRID.wavelength / 2.5
    wavelength = np.array([1600.0, 2500.0])
    blue, red = np.interp(wavelength, rest, young)
    # Leitherer et al. (1999): -2.2 to -2.6 without dust, F ∝ λ^β.
    slope = np.log(red / blue) / np.log(wavelength[1] / wavelength[0])
    assert slope == pytest.approx(-2.3, abs=0.2)
    far = (rest > 1500) & (rest < 2600)
    assert old[far].max() < 0.2 * old[(rest > 3200) & (rest < 3600)].mean()


def test_distant_galaxies_have_interstellar_lines():
    model = GalaxyModel(GRID, 1.0)
    drawn = model.simulate(600, np.random.default_rng(0), (0.6, 1.0))
    widths = {}
    for name in ("STARFORMING", "PASSIVE"):
        for line in (2600.17, 2796.35):
            found = []
            for row in np.flatnonzero(drawn["subclass"] == name):
                rest = GRID.wavelength / (1 + drawn["redshift"][row])
                flux = drawn["flux"][row]
                found.append(-line_flux(rest, flux, line, 3.5) / flux.mean())
            widths[name, line] = np.median(found)
    assert 0.5 < widths["STARFORMING", 2600.17] < 3
    assert widths["STARFORMING", 2600.17] > 2 * widths["PASSIVE", 2600.17]
    assert 0.5 < widths["STARFORMING", 2796.35] < 5


@pytest.mark.parametrize("interval", [(0.0, 0.1), (0.5, 1.7), (1.0, 1.0)])
def test_redshifts_of_a_range(interval):
    model = GalaxyModel(GRID, interval[1])
    drawn = model.simulate(200, np.random.default_rng(0), interval)
    low, high = np.log1p(interval)
    shift = np.log1p(drawn["redshift"])
    if low == high:
        np.testing.assert_allclose(shift, low)
    else:
        assert stats.kstest((shift - low) / (high - low), "uniform").pvalue > 0.01
    assert np.isfinite(drawn["flux"]).all()
    assert (drawn["flux"].max(axis=1) > 0).all()


def test_types_and_redshifts(galaxies):
    assert set(galaxies["subclass"]) == {
        "PASSIVE",
        "INTERMEDIATE",
        "STARFORMING",
        "STARBURST",
        "AGN",
    }
    assert galaxies["redshift"].min() >= 0.003
    assert galaxies["redshift"].max() <= 0.7
    assert 0.05 < np.median(galaxies["redshift"]) < 0.2
    # The distant ones are red galaxies.
    distant = galaxies["subclass"][galaxies["redshift"] > 0.36]
    assert set(distant) <= {"PASSIVE", "INTERMEDIATE"}


def line_flux(wavelength, flux, center, half=14.0):
    """Flux of an emission line over a straight continuum."""
    line = np.abs(wavelength - center) < half
    side = (np.abs(wavelength - center) < 3 * half) & ~line
    slope, level = np.polyfit(wavelength[side] - center, flux[side], 1)
    excess = flux[line] - level - slope * (wavelength[line] - center)
    return (excess * np.gradient(wavelength)[line]).sum()


def test_oxygen_doublet_and_line_positions(galaxies):
    strong = np.flatnonzero(galaxies["subclass"] == "STARBURST")
    ratios = []
    for row in strong:
        redshift, flux = galaxies["redshift"][row], galaxies["flux"][row]
        rest = GRID.wavelength / (1 + redshift)
        weak = line_flux(rest, flux, SPECTRAL_LINES["[O III] 4960"].wavelength)
        bright = line_flux(rest, flux, SPECTRAL_LINES["[O III] 5008"].wavelength)
        if bright < 10 * flux.mean():
            continue
        ratios.append(bright / weak)
        near = np.abs(rest - 5008.24) < 10
        peak = GRID.wavelength[near][flux[near].argmax()]
        pixel = peak * GRID.step
        assert peak == pytest.approx(5008.24 * (1 + redshift), abs=1.01 * pixel)
    assert len(ratios) > 10
    # Storey & Zeippen (2000): 2.98.
    assert np.median(ratios) == pytest.approx(2.98, rel=0.05)


def test_equivalent_widths_follow_the_type(galaxies):
    medians = {}
    for name in ("PASSIVE", "STARFORMING", "STARBURST"):
        widths = []
        rows = np.flatnonzero(
            (galaxies["subclass"] == name) & (galaxies["redshift"] < 0.3)
        )
        for row in rows:
            rest = GRID.wavelength / (1 + galaxies["redshift"][row])
            flux = galaxies["flux"][row]
            window = np.abs(rest - 6564.61) < 4
            level = np.median(flux[np.abs(rest - 6564.61) < 120])
            widths.append(((flux[window] / level - 1) * rest[window]).sum() * GRID.step)
        medians[name] = np.median(widths)
    assert medians["PASSIVE"] < 1
    assert 6 < medians["STARFORMING"] < 35
    assert 40 < medians["STARBURST"] < 160


def test_line_width_is_instrument_and_gas(galaxies, model):
    (row,) = np.flatnonzero(galaxies["subclass"] == "STARBURST")[:1]
    sigma = GRID.sigma(100.0)
    flux = np.zeros((1, GRID.size))
    center = 5008.24 * (1 + galaxies["redshift"][[row]])
    GRID.add_lines(flux, center, sigma[None], np.ones(1))
    mean = (flux[0] @ GRID.ln_wavelength) / flux.sum()
    variance = flux[0] @ (GRID.ln_wavelength - mean) ** 2 / flux.sum()
    expected = SIGMA**2 + (100 / LIGHT_SPEED) ** 2
    assert variance == pytest.approx(expected, rel=0.01)
