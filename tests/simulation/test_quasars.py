# SPDX-License-Identifier: BSD-3-Clause
"""Quasars: lines, continuum, intergalactic absorption, hosts."""

import numpy as np
import pytest

from skastro.simulation.spectra._grid import LogGrid
from skastro.simulation.spectra._quasars import (
    LYMAN_LIMIT,
    IntergalacticMedium,
    QuasarModel,
    effective_optical_depth,
)

pytestmark = pytest.mark.once

SIGMA = 1 / 1800 / 2.3548
GRID = LogGrid(3850.0, 9050.0, SIGMA / 3, SIGMA)


@pytest.fixture(scope="module")
def quasars():
    return QuasarModel(GRID).simulate(400, np.random.default_rng(0))


def composite(quasars, rest_grid, low, high):
    """Median of spectra at rest, each scaled to its flux from `low` to `high`."""
    rows = []
    for redshift, flux in zip(quasars["redshift"], quasars["flux"], strict=True):
        rest = GRID.wavelength / (1 + redshift)
        if rest[0] < rest_grid[0] and rest[-1] > rest_grid[-1]:
            scale = np.median(flux[(rest > low) & (rest < high)])
            rows.append(np.interp(rest_grid, rest, flux / scale))
    assert len(rows) > 20
    return np.median(rows, axis=0)


@pytest.mark.parametrize(
    ("line", "low", "high", "width"),
    [
        (2798.75, 2650.0, 2950.0, (20, 45)),
        (1908.73, 1840.0, 1980.0, (10, 30)),
        (1549.06, 1480.0, 1610.0, (15, 40)),
    ],
)
def test_composite_has_the_broad_lines(quasars, line, low, high, width):
    rest = np.linspace(low, high, 600)
    flux = composite(quasars, rest, low, high)
    assert rest[flux.argmax()] == pytest.approx(line, rel=0.003)
    level = np.median(np.concatenate([flux[:60], flux[-60:]]))
    equivalent = ((flux / level - 1) * (rest[1] - rest[0])).sum()
    # Vanden Berk et al. (2001): 32, 21 and 24 Å.
    assert width[0] < equivalent < width[1]


def test_ultraviolet_slope(quasars):
    rest = np.array([1460.0, 2210.0])  # windows of Vanden Berk et al. with few lines
    ratios = []
    for redshift, flux in zip(quasars["redshift"], quasars["flux"], strict=True):
        wavelength = GRID.wavelength / (1 + redshift)
        if wavelength[0] < rest[0] and wavelength[-1] > rest[1]:
            blue, red = np.interp(rest, wavelength, flux)
            ratios.append(np.log(red / blue) / np.log(rest[1] / rest[0]))
    assert np.median(ratios) == pytest.approx(-1.45, abs=0.25)


def test_redshifts_and_types(quasars):
    redshift = quasars["redshift"]
    assert redshift.min() >= 0.05
    assert redshift.max() <= 5.0
    assert np.percentile(redshift, 90) > 2.3
    assert set(quasars["subclass"]) == {"BROADLINE", "BAL", "SEYFERT 1"}
    assert redshift[quasars["subclass"] == "SEYFERT 1"].max() < 0.9
    assert redshift[quasars["subclass"] == "BAL"].min() > 1.4
    assert np.isfinite(quasars["flux"]).all()
    assert (quasars["flux"] > -1e-3).all()


def test_blue_grids_have_no_quasar_beyond_lyman_alpha():
    grid = LogGrid(3000.0, 4000.0, SIGMA / 3, SIGMA)
    quasars = QuasarModel(grid).simulate(200, np.random.default_rng(0))
    assert quasars["redshift"].max() < 4000 / 1215.67 - 1
    assert (quasars["flux"].mean(axis=1) > 0.01).all()


def test_broad_absorption_is_bluewards_of_c_iv(quasars):
    rows = np.flatnonzero(
        (quasars["subclass"] == "BAL")
        & (quasars["redshift"] > 1.9)
        & (quasars["redshift"] < 3)
    )
    assert rows.size > 3
    deepest = []
    for row in rows:
        rest = GRID.wavelength / (1 + quasars["redshift"][row])
        flux = quasars["flux"][row]
        level = np.median(flux[(rest > 1600) & (rest < 1700)])
        trough = flux[(rest > 1440) & (rest < 1540)].min() / level
        assert flux[(rest > 1560) & (rest < 1800)].min() / level > 0.4
        deepest.append(trough)
    assert np.median(deepest) < 0.6


@pytest.mark.parametrize("redshift", [2.6, 3.5])
def test_forest_has_the_observed_mean_transmission(redshift):
    grid = LogGrid(3850.0, 9050.0, SIGMA / 3, SIGMA)
    medium = IntergalacticMedium(grid)
    flux = np.ones((300, grid.size), dtype=np.float32)
    medium.absorb(flux, np.full(300, redshift), np.random.default_rng(0))
    # Between Lyman beta and alpha, where only the one forest absorbs.
    alpha = 1215.67 * (1 + redshift)
    forest = (grid.wavelength > alpha * 0.93) & (grid.wavelength < alpha * 0.97)
    gas = grid.wavelength[forest].mean() / 1215.67 - 1
    expected = np.exp(-effective_optical_depth(np.array(gas)))
    # Damped systems take another few per cent.
    assert np.median(flux[:, forest].mean(axis=1)) == pytest.approx(expected, rel=0.06)
    assert (flux[:, grid.wavelength > alpha * 1.08] > 0.9).all()
    assert flux[:, forest].std() > 0.15


def test_forest_thickens_with_redshift():
    depth = effective_optical_depth(np.array([0.5, 2.0, 3.0, 4.0, 4.8]))
    assert depth[0] == 0.02
    assert (np.diff(depth) > 0).all()
    # Two thirds of the light pass at redshift 3, two fifths at 4.
    np.testing.assert_allclose(np.exp(-depth[2:4]), [0.67, 0.41], atol=0.03)


def test_lyman_limit_cuts_off():
    grid = LogGrid(3500.0, 9000.0, 1e-4, SIGMA)
    medium = IntergalacticMedium(grid)
    redshift = np.full(300, 4.5)
    rng = np.random.default_rng(0)
    depth = medium._limit_systems(grid.wavelength, redshift, rng)
    assert (depth[:, grid.wavelength > LYMAN_LIMIT * 5.5] == 0).all()
    # Absorbers with τ > 1 lie 0.25 in redshift apart here (Songaila & Cowie 2010).
    passed = np.exp(-depth).mean(axis=0)
    share = np.interp(
        LYMAN_LIMIT * (5.5 - np.array([0.05, 0.9])), grid.wavelength, passed
    )
    assert share[0] > 0.8
    assert share[1] < 0.25


def test_near_sources_are_left_alone():
    medium = IntergalacticMedium(GRID)
    flux = np.ones((3, GRID.size), dtype=np.float32)
    medium.absorb(flux, np.array([0.1, 1.0, 2.1]), np.random.default_rng(0))
    assert (flux == 1).all()
