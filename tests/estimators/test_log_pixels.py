# SPDX-License-Identifier: BSD-3-Clause
"""Spectra on pixels of equal width in ln(wavelength): flux, information and noise."""

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from skastro.estimators._log_pixels import (
    LN_WAVELENGTH,
    N_PIXELS,
    STEP,
    LogPixels,
    running_mean,
)
from skastro.utils import bin_edges

pytestmark = pytest.mark.once

NEW = np.exp(LN_WAVELENGTH)
EDGES = np.exp(LN_WAVELENGTH[0] + STEP * (np.arange(N_PIXELS + 1) - 0.5))
rng = np.random.default_rng(0)
GRIDS = {
    "fine": np.arange(3700.0, 9300.0, 0.2),
    "like": np.arange(3700.0, 9300.0, 1.25),
    "coarse": np.arange(3700.0, 9300.0, 4.0),
    "log": np.geomspace(3700.0, 9300.0, 4001),
    "irregular": 3700.0 + np.cumsum(0.3 + 1.5 * rng.uniform(size=4000)),
    "two arms": np.append(np.arange(3700, 6000, 0.8), np.arange(6001.0, 9300, 2)),
    "wider than the new pixels reach": np.arange(3000.0, 11000.0, 1.5),
}
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def smooth(wavelength):
    """Give a spectrum with lines that all grids resolve."""
    flux = 2 + np.sin(wavelength / 700)
    for center, width in ((4300, 15), (6563, 12), (8200, 25)):
        flux = flux + 3 * np.exp(-0.5 * ((wavelength - center) / width) ** 2)
    return flux


def rebin(wavelength, flux, ivar=None):
    X = np.atleast_2d(flux)
    if ivar is not None:
        X = np.stack([X, np.broadcast_to(ivar, X.shape)], axis=1)
    return LogPixels(wavelength)(torch.from_numpy(X).float()).double().numpy()


def covered(wavelength):
    edges = bin_edges(wavelength)
    return (EDGES[:-1] >= edges[0]) & (EDGES[1:] <= edges[-1])


@grids
@pytest.mark.parametrize("with_ivar", [False, True])
def test_flux_over_its_mean(grid, with_ivar):
    flux = smooth(grid)
    found, ivar = rebin(grid, flux, 1.0 if with_ivar else None)[0]
    inside = covered(grid)
    np.testing.assert_array_equal(ivar[inside] > 0, True)
    # The mean within each new pixel is a difference of the integral.
    fine = np.arange(3400.0, 10600.0, 0.05)
    integral = PchipInterpolator(fine, smooth(fine)).antiderivative()
    expected = np.diff(integral(EDGES)) / np.diff(EDGES) / flux.mean()
    spacing = np.diff(grid).max()
    tolerance = 2e-3 + 2e-3 * spacing**2
    np.testing.assert_allclose(found[inside], expected[inside], atol=tolerance)


@grids
def test_pixels_beyond_the_spectrum_are_unknown(grid):
    found, ivar = rebin(grid, smooth(grid))[0]
    edges = bin_edges(grid)
    beyond = (EDGES[1:] <= edges[0]) | (EDGES[:-1] >= edges[-1])
    assert not found[beyond].any()
    assert not ivar[beyond].any()


@grids
@pytest.mark.parametrize("inverse_variance", ["constant", "varying"])
def test_information_is_conserved(grid, inverse_variance):
    flux = smooth(grid)
    ivar = np.full_like(flux, 9.0)
    if inverse_variance == "varying":
        ivar *= 2 + np.sin(grid / 300)
    new_flux, new_ivar = rebin(grid, flux, ivar)[0]
    inside = (grid > NEW[0]) & (grid < NEW[-1])
    expected = (ivar * flux**2)[inside].sum()
    # Pixels of random widths are interpolated to others than their share.
    tolerance = 0.04 if grid is GRIDS["irregular"] else 5e-3
    assert (new_ivar * new_flux**2).sum() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("case", ["zero flux", "no inverse variance"])
def test_unknown_pixels(case):
    grid = GRIDS["like"]
    flux, ivar = smooth(grid), np.full(grid.size, 4.0)
    hole = (grid > 5000) & (grid < 5050)
    good_flux, good_ivar = rebin(grid, flux, ivar)[0]
    if case == "zero flux":
        flux[hole], ivar = 0, None
        good_flux = rebin(grid, smooth(grid))[0, 0]
    else:
        # Whatever stands there counts for nothing.
        flux[hole], ivar[hole] = -1e6, 0
    found, found_ivar = rebin(grid, flux, ivar)[0]
    inside, far = (NEW > 5003) & (NEW < 5047), (NEW < 4990) | (NEW > 5060)
    assert not found[inside].any()
    assert not found_ivar[inside].any()
    # The mean of the flux is that of the other pixels.
    ratio = smooth(grid).mean() / smooth(grid)[~hole].mean()
    np.testing.assert_allclose(found[far], good_flux[far] * ratio, rtol=1e-5)
    if ivar is not None:
        np.testing.assert_allclose(
            found_ivar[far] * found[far] ** 2,
            good_ivar[far] * good_flux[far] ** 2,
            rtol=1e-4,
        )


def test_single_unknown_pixels_leave_the_flux_beside_them():
    grid = GRIDS["fine"]
    flux = smooth(grid)
    some = flux.copy()
    some[rng.uniform(size=grid.size) < 0.1] = 0
    expected = rebin(grid, flux)[0, 0] * flux.mean()
    found, ivar = rebin(grid, some)[0]
    found = found * some[some != 0].mean()
    known = covered(grid) & (ivar > 0)
    assert known.sum() > 0.95 * covered(grid).sum()
    np.testing.assert_allclose(found[known], expected[known], rtol=0.03)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-17, 1.0, 1e30, 1e37])
def test_size_of_the_flux_does_not_matter(scale):
    grid = GRIDS["coarse"]
    flux = smooth(grid) + rng.normal(scale=0.1, size=grid.size)
    here, there = rebin(grid, flux), rebin(grid, scale * flux)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    if 1e-38 < (0.1 * scale) ** -2 < 1e38:
        here = rebin(grid, flux, 100.0)
        there = rebin(grid, scale * flux, 100.0 / scale**2)
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("flux", [0.0, -1.0, 3e38, -3e38, 1e-40])
@pytest.mark.parametrize("ivar", [None, 0.0, -1.0, 1.0, 3e38, 1e-40])
def test_results_are_finite(flux, ivar):
    grid = GRIDS["coarse"]
    found = rebin(grid, np.full(grid.size, flux), ivar)
    assert np.isfinite(found).all()
    assert (found[:, 1] >= 0).all()


@pytest.mark.parametrize("sigma", [0.02, 0.3])
@pytest.mark.parametrize("name", ["like", "coarse"])
def test_noise_is_measured(sigma, name):
    grid = GRIDS[name]
    flux = smooth(grid) + rng.normal(scale=sigma, size=(8, grid.size))
    measured = rebin(grid, flux)[:, 1]
    given = rebin(grid, flux, sigma**-2)[:, 1]
    inside = covered(grid)
    ratio = np.median(measured[:, inside] / given[:, inside])
    # Lines are some of the scatter of neighbors.
    assert ratio == pytest.approx(1, rel=0.15)


def test_measured_noise_varies_along_the_spectrum():
    grid = GRIDS["like"]
    sigma = np.where(grid < 6000, 0.3, 0.05)
    flux = 1 + sigma * rng.normal(size=(8, grid.size))
    ivar = rebin(grid, flux)[:, 1]
    blue = np.median(ivar[:, (NEW > 3800) & (NEW < 5700)])
    red = np.median(ivar[:, (NEW > 6300) & (NEW < 9000)])
    # Pixels of equal width in ln(wavelength) hold more of them in the red.
    assert red / blue == pytest.approx(36 * 7650 / 4750, rel=0.2)


def test_glitches_are_no_noise():
    grid = GRIDS["like"]
    flux = 1 + rng.normal(scale=0.05, size=(4, grid.size))
    glitches = flux.copy()
    glitches[:, ::150] = 30
    clean, found = rebin(grid, flux)[:, 1], rebin(grid, glitches)[:, 1]
    inside = covered(grid)
    # In units of a mean that the glitches raise.
    scale = (glitches.mean() / flux.mean()) ** 2
    ratio = np.median(found[:, inside] / clean[:, inside])
    assert ratio / scale == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("n_pixels", [1, 2, 3, 4, 5, 6, 50])
def test_few_pixels(n_pixels):
    grid = np.linspace(5000.0, 5200.0, n_pixels) if n_pixels > 1 else np.array([5000.0])
    for ivar in (None, 1.0):
        found = rebin(grid, np.ones((2, n_pixels)), ivar)
        assert found.shape == (2, 2, N_PIXELS)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("grid", [[1000.0, 2000.0, 2900.0], [11000.0, 12000.0]])
def test_spectra_of_other_ranges_are_refused(grid):
    with pytest.raises(ValueError, match=r"has to overlap with 3500 to 10400 Å"):
        LogPixels(np.array(grid))


def test_running_means_against_a_loop():
    x, weight = rng.normal(size=(2, 30)), rng.uniform(size=(2, 30))
    found = running_mean(torch.from_numpy(x), torch.from_numpy(weight), 7, n_times=1)
    for i in range(30):
        near = slice(max(i - 3, 0), i + 4)
        expected = np.average(x[:, near], axis=1, weights=weight[:, near])
        np.testing.assert_allclose(found[:, i], expected)


def test_nothing_is_known_between_two_arms():
    wavelength = np.concatenate(
        [np.arange(4950.0, 5350, 1), np.arange(6300.0, 6800, 1)]
    )
    full = np.arange(4950.0, 6800, 1)
    flux = np.random.default_rng(0).uniform(0.5, 1.5, size=(3, full.size))
    kept = np.isin(full, wavelength)
    with_nan = np.where(kept, flux, np.nan)
    for ivar in (None, np.full_like(flux, 25.0)):
        X, Y = with_nan, flux[:, kept]
        if ivar is not None:
            X, Y = np.stack([X, ivar], axis=1), np.stack([Y, ivar[:, kept]], axis=1)
        expected = LogPixels(full)(torch.from_numpy(X))
        found = LogPixels(wavelength)(torch.from_numpy(Y))
        pixels = np.exp(LN_WAVELENGTH)
        gap = (pixels > 5350) & (pixels < 6299)
        assert (found[:, :, gap] == 0).all()
        inner = (pixels > 4952) & (pixels < 6798)
        inner &= (pixels < 5347) | (pixels > 6302)
        assert (found[:, 1, inner] > 0).all()
        # Without it, the noise is measured on other pixels.
        n_same = 1 if ivar is None else 2
        torch.testing.assert_close(
            found[:, :n_same, inner], expected[:, :n_same, inner], rtol=1e-5, atol=1e-5
        )
