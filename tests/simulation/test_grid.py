# SPDX-License-Identifier: BSD-3-Clause
"""The logarithmic grid: lines, convolution, shifts, mixtures."""

import numpy as np
import pytest

from skastro.simulation.spectra._grid import LIGHT_SPEED, LogGrid, mix

pytestmark = pytest.mark.once


def gaussian(grid, center, sigma):
    return np.exp(-0.5 * ((grid.ln_wavelength - np.log(center)) / sigma) ** 2)


def test_covers_the_range():
    grid = LogGrid(3000.0, 9000.0, 1e-3)
    assert grid.wavelength[0] == pytest.approx(3000.0)
    assert grid.wavelength[-1] >= 9000.0
    np.testing.assert_allclose(np.diff(grid.ln_wavelength), 1e-3)
    assert grid.edges.size == grid.size + 1
    np.testing.assert_allclose(
        np.sqrt(grid.edges[1:] * grid.edges[:-1]), grid.wavelength
    )


def test_blur_of_a_gaussian_is_a_gaussian():
    grid = LogGrid(4000.0, 6000.0, 1e-4)
    narrow, wide = 5e-4, 1.2e-3
    blurred = grid.blur(
        gaussian(grid, 5000, narrow)[None], np.sqrt(wide**2 - narrow**2)
    )
    expected = gaussian(grid, 5000, wide) * narrow / wide
    np.testing.assert_allclose(blurred[0], expected, atol=1e-10)


def test_blur_takes_one_width_and_shift_a_row():
    grid = LogGrid(4000.0, 6000.0, 1e-4)
    rows = np.tile(gaussian(grid, 5000, 5e-4), (2, 1))
    shift = np.array([0.37e-4, -20.5e-4])
    moved = grid.blur(rows, np.array([0.0, 1e-3]), shift)
    widths = (5e-4, np.hypot(5e-4, 1e-3))
    for row, sigma, offset in zip(moved, widths, shift, strict=True):
        expected = gaussian(grid, 5000 * np.exp(offset), sigma) * 5e-4 / sigma
        np.testing.assert_allclose(row, expected, atol=1e-9)


def test_blur_keeps_single_precision():
    grid = LogGrid(4000.0, 4100.0, 1e-4)
    rows = np.ones((2, grid.size), dtype=np.float32)
    blurred = grid.blur(rows, 1e-3, 1e-4)
    assert blurred.dtype == np.float32
    np.testing.assert_allclose(blurred, 1.0, rtol=1e-5)


@pytest.mark.parametrize("sigma", [1e-6, 3e-4, 5e-3])
def test_lines_conserve_flux_whatever_their_width(sigma):
    grid = LogGrid(4000.0, 6000.0, 1e-4)
    flux = np.zeros((2, grid.size))
    centers = np.array([4700.3, 5200.7])
    grid.add_lines(flux, centers, np.full(2, sigma), np.array([3.0, -2.0]))
    total = flux @ np.diff(grid.edges)
    np.testing.assert_allclose(total, [3.0, -2.0], rtol=5e-4)
    mean = (flux @ grid.ln_wavelength) / flux.sum(axis=1)
    # A line much narrower than a pixel can be no better placed than the pixel.
    tolerance = 0.01 if sigma > grid.step else 0.5 * grid.step * 5000
    np.testing.assert_allclose(np.exp(mean), centers, atol=tolerance)


def test_lines_beyond_the_ends():
    grid = LogGrid(4000.0, 6000.0, 1e-4)
    flux = np.zeros((3, grid.size))
    centers = np.array([1000.0, grid.edges[0], 9000.0])
    grid.add_lines(flux, centers, np.full(3, 1e-3), np.ones(3))
    # Half of the line at the very edge lies on the grid.
    np.testing.assert_allclose(flux @ np.diff(grid.edges), [0.0, 0.5, 0.0], atol=1e-3)


def test_profile_sums_peaks():
    grid = LogGrid(4000.0, 6000.0, 2e-5)
    profile = grid.profile([4500.0, 5500.0], [1.0, 0.4], velocity=50.0)
    at = np.searchsorted(grid.wavelength, [4500.0, 5500.0])
    np.testing.assert_allclose(profile[at], [1.0, 0.4], rtol=0.01)
    above = np.flatnonzero(profile[: grid.size // 2] > 0.5)
    fwhm = (above[-1] - above[0] + 1) * grid.step * LIGHT_SPEED
    assert fwhm == pytest.approx(50.0 * 2.3548, rel=0.08)


def test_mix_starts_each_row_at_its_own_pixel():
    bank = np.arange(20.0).reshape(2, 10)
    mixed = mix(bank, np.array([[1.0, 0.0], [0.5, 2.0]]), np.array([0, 3]), 4)
    np.testing.assert_array_equal(mixed[0], bank[0, :4])
    np.testing.assert_array_equal(mixed[1], 0.5 * bank[0, 3:7] + 2 * bank[1, 3:7])
