# SPDX-License-Identifier: BSD-3-Clause
"""Rebinning against analytic results and an independent brute-force reference."""

import numpy as np
import pytest
from astropy import units
from numpy.testing import assert_allclose, assert_array_equal

from skastro.utils import apply_rebin_matrix, bin_edges, rebin, rebin_matrix

GRIDS = {
    "coarser": (np.linspace(3900, 9000, 300), np.linspace(4000, 8900, 71)),
    "finer": (np.linspace(3900, 9000, 60), np.linspace(4000, 8900, 401)),
    "log to linear": (np.geomspace(3690, 9100, 250), np.linspace(3900, 9000, 180)),
    "linear to log": (np.linspace(3690, 9100, 250), np.geomspace(3900, 9000, 180)),
    "random": (
        np.sort(np.random.default_rng(0).uniform(0, 1, 90)),
        np.sort(np.random.default_rng(1).uniform(-0.1, 1.1, 70)),
    ),
}


def brute_force(flux, wavelength, new_wavelength):
    """Rebin one spectrum bin by bin, by the definition."""
    edges, new_edges = bin_edges(wavelength), bin_edges(new_wavelength)
    rebinned = np.full(len(new_wavelength), np.nan)
    for i in range(len(new_wavelength)):
        integral = covered = 0.0
        for j in range(len(wavelength)):
            low = max(edges[j], new_edges[i])
            high = min(edges[j + 1], new_edges[i + 1])
            if high > low:
                integral += flux[j] * (high - low)
                covered += high - low
        if covered >= 0.5 * (new_edges[i + 1] - new_edges[i]):
            rebinned[i] = integral / covered
    return rebinned


@pytest.mark.parametrize("name", GRIDS)
def test_agrees_with_brute_force(name):
    wavelength, new_wavelength = GRIDS[name]
    flux = np.random.default_rng(2).normal(size=len(wavelength))
    expected = brute_force(flux, wavelength, new_wavelength)
    assert_allclose(rebin(flux, wavelength, new_wavelength), expected, rtol=1e-9)


def test_random_grids_include_uncovered_bins():
    wavelength, new_wavelength = GRIDS["random"]
    rebinned = rebin(np.ones(len(wavelength)), wavelength, new_wavelength)
    assert 0 < np.isnan(rebinned).sum() < 20
    assert_allclose(rebinned[~np.isnan(rebinned)], 1.0)


@pytest.mark.parametrize("name", ["coarser", "finer", "log to linear", "linear to log"])
def test_integral_is_conserved(name):
    # The new grid lies inside of the old one. Its integral is that of the old flux
    # between the outermost new edges, by the trapezium rule on the cumulative flux.
    wavelength, new_wavelength = GRIDS[name]
    flux = np.random.default_rng(3).gamma(2.0, size=len(wavelength))
    edges, new_edges = bin_edges(wavelength), bin_edges(new_wavelength)
    cumulative = np.concatenate([[0], np.cumsum(flux * np.diff(edges))])
    expected = np.diff(np.interp(new_edges[[0, -1]], edges, cumulative))[0]
    rebinned = rebin(flux, wavelength, new_wavelength)
    assert_allclose(np.sum(rebinned * np.diff(new_edges)), expected, rtol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 10])
def test_linear_flux_is_kept_at_the_centers_when_pixels_are_joined(factor):
    # The mean of a linear function over a bin is its value at the center, also where
    # it is sampled, as long as bins hold whole pixels.
    wavelength = 4000 + 2.0 * np.arange(60)
    new_wavelength = wavelength.reshape(-1, factor).mean(axis=1)
    rebinned = rebin(3 - 0.01 * wavelength, wavelength, new_wavelength)
    assert_allclose(rebinned, 3 - 0.01 * new_wavelength, rtol=1e-12)


@pytest.mark.parametrize("make", [np.linspace, np.geomspace])
def test_same_grid_is_the_identity(make):
    wavelength = make(3690, 9100, 3909)
    flux = np.random.default_rng(4).normal(size=(3, 3909)).astype(np.float32)
    flux[1, 100] = np.nan
    assert_array_equal(rebin(flux, wavelength, wavelength), flux)
    # Also where round-off moves the grid.
    moved = wavelength * (1 + 1e-15)
    assert_array_equal(rebin(flux, wavelength, moved), flux)


def test_gaussian_line_keeps_flux_center_and_broadens_as_it_should():
    wavelength = np.arange(5000, 5200, 0.5)
    sigma, center = 8.0, 5101.3
    flux = np.exp(-0.5 * ((wavelength - center) / sigma) ** 2)
    new_wavelength = np.arange(5001.75, 5198, 4.0)
    rebinned = rebin(flux, wavelength, new_wavelength)
    total = rebinned.sum()
    assert_allclose(total * 4, sigma * np.sqrt(2 * np.pi), rtol=1e-9)
    mean = np.sum(rebinned * new_wavelength) / total
    assert_allclose(mean, center, atol=1e-6)
    # Joining eight pixels adds the variance of eight evenly spaced points.
    variance = np.sum(rebinned * (new_wavelength - mean) ** 2) / total
    assert_allclose(variance, sigma**2 + 0.5**2 * (8**2 - 1) / 12, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_pixels_affect_only_the_bins_they_touch(bad):
    flux = np.ones(12)
    flux[5] = bad
    wavelength = np.arange(12.0)
    rebinned = rebin(flux, wavelength, np.arange(1, 12, 3.0))
    assert_array_equal(np.isfinite(rebinned), [True, False, True, True])
    # A huge pixel costs the others no precision either.
    flux[5] = 1e25
    assert_array_equal(rebin(flux, wavelength, np.arange(1, 12, 3.0))[[0, 2, 3]], 1.0)


def test_partly_covered_bins():
    # Old range [-0.5, 9.5]; the last new bins cover [9, 10], [10, 11] and so on.
    flux = np.arange(10.0)
    new_wavelength = np.arange(-2.5, 13)
    rebinned = rebin(flux, np.arange(10.0), new_wavelength)
    inside = (new_wavelength >= -0.5) & (new_wavelength <= 9.5)
    assert_array_equal(np.isfinite(rebinned), inside)
    # Half covered: the mean over the covered half, here a half pixel.
    assert rebinned[inside][0] == 0.0
    assert rebinned[inside][-1] == 9.0
    filled = rebin(flux, np.arange(10.0), new_wavelength, fill_value=-1.0)
    assert_array_equal(filled[~inside], -1.0)
    assert_array_equal(filled[inside], rebinned[inside])


def test_no_overlap_gives_fill_value_only():
    assert np.isnan(rebin(np.ones(5), np.arange(5.0), np.arange(100.0, 104))).all()


@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (0,), (500,)])
def test_leading_axes(shape):
    wavelength, new_wavelength = GRIDS["log to linear"]
    flux = np.random.default_rng(5).normal(size=(*shape, 250))
    rebinned = rebin(flux, wavelength, new_wavelength)
    assert rebinned.shape == (*shape, 180)
    for index in list(np.ndindex(shape))[:5]:
        single = rebin(flux[index], wavelength, new_wavelength)
        assert_array_equal(rebinned[index], single)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("<f4", "f4"), (">f4", "f4"), (">f8", "f8"), ("i2", "f8"), ("f2", "f8")],
)
def test_dtypes(dtype, expected):
    flux = np.arange(6).astype(dtype)
    rebinned = rebin(flux, np.arange(6.0), [0.5, 2.5, 4.5])
    assert rebinned.dtype == np.dtype(expected)
    assert rebinned.dtype.isnative
    assert_array_equal(rebinned, [0.5, 2.5, 4.5])


def test_input_is_not_changed():
    flux = np.random.default_rng(6).normal(size=(4, 10))
    before = flux.copy()
    flux.setflags(write=False)
    rebin(flux, np.arange(10.0), np.arange(10.0))
    assert_array_equal(flux, before)


def test_units_are_converted():
    flux = np.arange(6.0)
    angstrom = np.arange(4000, 4060, 10) * units.AA
    nanometer = units.Quantity([400.5, 402.5, 404.5], "nm")
    assert_allclose(rebin(flux, angstrom, nanometer), [0.5, 2.5, 4.5], rtol=1e-9)
    with pytest.raises(ValueError, match="unit Angstrom, but new_wavelength has none"):
        rebin(flux, angstrom, [4005, 4025])
    with pytest.raises(ValueError, match="no unit, but new_wavelength has the unit nm"):
        rebin(flux, np.arange(6), nanometer)


def test_bin_edges():
    centers = np.array([1.0, 2.0, 4.0, 8.0])
    assert_allclose(bin_edges(centers), [0.5, 1.5, 3.0, 6.0, 10.0])
    assert_allclose(bin_edges([5.0]), [4.5, 5.5])


def test_rebin_matrix_propagates_variance():
    rng = np.random.default_rng(7)
    wavelength, new_wavelength = np.arange(20.0), np.arange(1.3, 17, 2.7)
    matrix = rebin_matrix(bin_edges(wavelength), bin_edges(new_wavelength))
    variance = rng.uniform(0.5, 2, size=20)
    noise = rng.normal(size=(20000, 20)) * np.sqrt(variance)
    scatter = apply_rebin_matrix(matrix, noise).var(axis=0)
    assert_allclose(matrix.power(2) @ variance, scatter, rtol=0.05)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([5.0, 4.0, 3.0], "wavelength must be strictly ascending. It is descending"),
        ([3.0, 4.0, 4.0], r"wavelength\[1\] = 4 is followed by 4"),
        ([3.0, np.nan, 4.0], "wavelength must be finite; 1 of its values"),
        ([[3.0, 4.0, 5.0]], r"one-dimensional.*got shape \(1, 3\)"),
        ([], r"at least 1 value\(s\)"),
    ],
)
def test_bad_grids(grid, message):
    with pytest.raises(ValueError, match=message):
        rebin(np.ones(len(grid)), grid, [1.0, 2.0])
    with pytest.raises(ValueError, match="new_wavelength must"):
        rebin([1.0, 2.0], [1.0, 2.0], grid)
    with pytest.raises(ValueError, match="centers must"):
        bin_edges(grid)


def test_length_mismatch_names_both():
    with pytest.raises(
        ValueError, match=r"shape \(2, 3\), but wavelength has 4 values"
    ):
        rebin(np.ones((2, 3)), np.arange(4.0), [1.0, 2.0])
    with pytest.raises(ValueError, match=r"shape \(\)"):
        rebin(1.0, [1.0], [1.0])
