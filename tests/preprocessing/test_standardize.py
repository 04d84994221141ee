# SPDX-License-Identifier: BSD-3-Clause
"""Scaling to zero mean and unit variance, and by median and absolute deviation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import median_abs_deviation

from skastro.preprocessing import StandardizeSpectra


@pytest.fixture
def flux():
    return np.random.default_rng(0).normal(50.0, 10.0, size=(8, 2, 201))


def test_mean_and_variance(flux):
    scaled = StandardizeSpectra().fit_transform(flux)
    mean, std = flux.mean(axis=-1), flux.std(axis=-1)
    expected = (flux - mean[..., None]) / std[..., None]
    assert_allclose(scaled, expected, rtol=1e-11, atol=1e-12)
    assert_allclose(scaled.mean(axis=-1), 0, atol=1e-14)
    assert_allclose(scaled.std(axis=-1), 1, rtol=1e-14)


def test_robust_against_an_independent_reference(flux):
    scaled = StandardizeSpectra(robust=True).fit_transform(flux)
    median = np.median(flux, axis=-1)[..., None]
    deviation = median_abs_deviation(flux, axis=-1, scale="normal")[..., None]
    assert_allclose(scaled, (flux - median) / deviation, rtol=1e-12, atol=1e-12)


def test_robust_withstands_spikes_and_agrees_on_normal_noise(flux):
    long = np.random.default_rng(1).normal(size=(1, 100_001))
    robust = StandardizeSpectra(robust=True)
    difference = robust.transform(long) - StandardizeSpectra().transform(long)
    assert np.abs(difference).max() < 0.05

    spoilt = flux.copy()
    spoilt[..., 100] = 1e6
    others = np.arange(201) != 100
    change = np.abs(robust.transform(spoilt) - robust.transform(flux))[..., others]
    assert change.max() < 0.2
    assert np.abs(StandardizeSpectra().transform(spoilt)[..., others]).max() < 0.1


@pytest.mark.parametrize("robust", [False, True])
def test_clip(robust, flux):
    flux[..., 100] = 1e6
    free = StandardizeSpectra(robust=robust).transform(flux)
    clipped = StandardizeSpectra(robust=robust, clip=2.5).transform(flux)
    assert free.max() > 10
    assert_array_equal(clipped, np.clip(free, -2.5, 2.5))


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4, 1e30])
@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_spectra_become_zero(value, robust, dtype):
    # The mean of many copies of 0.1 is not 0.1; the round-off must not be scaled up.
    constant = np.full((2, 3001), value, dtype=dtype)
    assert_array_equal(StandardizeSpectra(robust=robust).transform(constant), 0)


def test_mostly_zero_spectra_are_scaled_by_their_root_mean_square():
    flux = np.zeros((1, 100))
    flux[0, :4] = 5e4
    scaled = StandardizeSpectra(robust=True).transform(flux)
    assert_allclose(scaled[0, :4], 5.0)
    assert_array_equal(scaled[0, 4:], 0)


@pytest.mark.parametrize("clip", [0, -1.0, "3"])
def test_bad_clip(clip, flux):
    with pytest.raises(ValueError, match="'clip' parameter of StandardizeSpectra"):
        StandardizeSpectra(clip=clip).fit(flux)
