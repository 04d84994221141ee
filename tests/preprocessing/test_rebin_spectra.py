# SPDX-License-Identifier: BSD-3-Clause
"""Rebinning as a transformer; the numerics are tested with the function."""

import numpy as np
import pytest
from astropy import units
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skastro.preprocessing import RebinSpectra
from skastro.utils import bin_edges, rebin

WAVELENGTH = np.geomspace(3690, 9100, 300)
NEW_WAVELENGTH = np.linspace(3900, 9000, 120)


@pytest.fixture
def flux():
    return np.random.default_rng(0).gamma(2.0, size=(5, 300))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_rebin(dtype, flux):
    flux = flux.astype(dtype)
    transformer = RebinSpectra(WAVELENGTH, NEW_WAVELENGTH).fit(flux)
    expected = rebin(flux, WAVELENGTH, NEW_WAVELENGTH)
    assert_array_equal(transformer.transform(flux), expected)
    assert_array_equal(transformer.new_wavelength_, NEW_WAVELENGTH)


def test_default_grid_is_even_and_conserves_the_flux(flux):
    transformer = RebinSpectra(WAVELENGTH).fit(flux)
    new_wavelength = transformer.new_wavelength_
    assert new_wavelength.shape == (300,)
    assert_allclose(np.diff(new_wavelength), np.ptp(bin_edges(WAVELENGTH)) / 300)
    integral = flux @ np.diff(bin_edges(WAVELENGTH))
    new_integral = transformer.transform(flux) @ np.diff(bin_edges(new_wavelength))
    assert_allclose(new_integral, integral, rtol=1e-12)


def test_without_grids_nothing_changes(flux):
    assert_array_equal(RebinSpectra().fit_transform(flux), flux)


@pytest.mark.parametrize("n_bins", [1, 7, 100, 300, 1000])
def test_n_bins(n_bins, flux):
    transformer = RebinSpectra(n_bins=n_bins).fit(flux)
    rebinned = transformer.transform(flux)
    assert rebinned.shape == (5, n_bins)
    assert_allclose(rebinned.mean(axis=1), flux.mean(axis=1), rtol=1e-12)
    assert transformer.new_wavelength_.shape == (n_bins,)
    assert len(transformer.get_feature_names_out()) == n_bins


def test_whole_pixels_are_averaged(flux):
    expected = flux.reshape(5, 100, 3).mean(axis=-1)
    assert_allclose(RebinSpectra(n_bins=100).transform(flux), expected, rtol=1e-12)


def test_channels(flux):
    transformer = RebinSpectra(n_bins=50).fit(flux.reshape(1, 5, 300))
    rebinned = transformer.transform(flux.reshape(1, 5, 300))
    assert_array_equal(rebinned[0], RebinSpectra(n_bins=50).transform(flux))
    # Names belong to the second axis.
    assert len(transformer.get_feature_names_out()) == 5


def test_fill_value(flux):
    grid = np.linspace(3000, 9000, 120)
    # Less than half of a new pixel is covered where its center is beyond the old edge.
    outside = grid < bin_edges(WAVELENGTH)[0]
    assert 0 < outside.sum() < 120
    rebinned = RebinSpectra(WAVELENGTH, grid).transform(flux)
    assert_array_equal(np.isnan(rebinned).any(axis=0), outside)
    filled = RebinSpectra(WAVELENGTH, grid, fill_value=0.0).transform(flux)
    assert_array_equal(filled[:, outside], 0)
    assert_array_equal(filled[:, ~outside], rebinned[:, ~outside])


def test_interpolates_along_wavelength():
    # Flux linear in wavelength survives a gap on an uneven grid.
    flux = 2 * WAVELENGTH[None] + 1
    broken = flux.copy()
    broken[0, 40:90] = np.nan
    transformer = RebinSpectra(WAVELENGTH, NEW_WAVELENGTH, nan_policy="interpolate")
    expected = transformer.transform(flux)
    assert_allclose(transformer.transform(broken), expected, rtol=1e-12)


def test_units(flux):
    quantity = NEW_WAVELENGTH / 10 * units.nm
    transformer = RebinSpectra(WAVELENGTH * units.AA, quantity).fit(flux)
    assert_allclose(transformer.new_wavelength_, NEW_WAVELENGTH)
    expected = RebinSpectra(WAVELENGTH, NEW_WAVELENGTH).transform(flux)
    assert_allclose(clone(transformer).transform(flux), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="give both of them a unit, or neither"):
        RebinSpectra(WAVELENGTH, quantity).fit(flux)


@pytest.mark.parametrize("method", ["fit", "transform"])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"wavelength": WAVELENGTH[:-1]},
            "spectra of 300 pixels, but wavelength has 299 values",
        ),
        ({"wavelength": WAVELENGTH[None]}, r"but wavelength has shape \(1, 300\)"),
        ({"wavelength": WAVELENGTH[::-1]}, "strictly ascending. It is descending"),
        ({"new_wavelength": [2.0, 1.0]}, "strictly ascending"),
        (
            {"wavelength": WAVELENGTH, "new_wavelength": NEW_WAVELENGTH / 10},
            r"from 387.* to 902.*, lies outside of the input, from 3684.* same unit",
        ),
        ({"new_wavelength": [1.0], "n_bins": 3}, "set one of them to None"),
        ({"n_bins": 0}, "'n_bins' parameter of RebinSpectra must be an int"),
        ({"n_bins": 2.5}, "'n_bins' parameter of RebinSpectra must be an int"),
        ({"fill_value": "0"}, "'fill_value' parameter of RebinSpectra"),
    ],
)
def test_bad_parameters(parameters, message, method, flux):
    with pytest.raises(ValueError, match=message):
        getattr(RebinSpectra(**parameters), method)(flux)


def test_magnitudes_are_converted_and_not_multiplied():
    wavelength, grid = np.linspace(5000, 6000, 200), np.linspace(5100, 5900, 20)
    ones = np.ones(200)
    spectra = [(wavelength, ones * units.Jy), (wavelength, 16.4 * ones * units.ABmag)]
    found = RebinSpectra(new_wavelength=grid).fit_transform(spectra)
    expected = (16.4 * units.ABmag).to_value(units.Jy)
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)
    np.testing.assert_allclose(found[0], 1, rtol=1e-6)
    with pytest.raises(ValueError, match="does not convert to Jy"):
        RebinSpectra(new_wavelength=grid).fit_transform(
            [(wavelength, ones * units.Jy), (wavelength, ones * units.STmag)]
        )
