# SPDX-License-Identifier: BSD-3-Clause
"""Scaling to a range by plain and by robust limits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skastro.preprocessing import MinMaxSpectra


@pytest.fixture
def flux():
    return np.random.default_rng(0).normal(50.0, 10.0, size=(8, 201))


def test_formula(flux):
    scaled = MinMaxSpectra().fit_transform(flux)
    low, high = flux.min(axis=1)[:, None], flux.max(axis=1)[:, None]
    assert_allclose(scaled, (flux - low) / (high - low), rtol=1e-13, atol=1e-15)
    assert_array_equal(scaled.min(axis=1), 0)
    assert_array_equal(scaled.max(axis=1), 1)


@pytest.mark.parametrize("feature_range", [(-1, 1), (0.25, 0.5), [5, 7]])
def test_feature_range(feature_range, flux):
    scaled = MinMaxSpectra(feature_range).transform(flux)
    assert_allclose(scaled.min(axis=1), feature_range[0], rtol=1e-14)
    assert_allclose(scaled.max(axis=1), feature_range[1], rtol=1e-14)


def test_independent_of_scale_and_offset(flux):
    scaled = MinMaxSpectra().transform(flux)
    assert_allclose(MinMaxSpectra().transform(2e4 * flux - 1e3), scaled, atol=1e-12)


def test_quantiles_withstand_spikes(flux):
    robust = MinMaxSpectra(quantile_range=(1.0, 99.0))
    clean = robust.transform(flux)
    low, high = np.quantile(flux, [0.01, 0.99], axis=1)[..., None]
    assert_allclose(clean, (flux - low) / (high - low), rtol=1e-12, atol=1e-12)

    spoilt = flux.copy()
    spoilt[:, 100] = 1e4
    others = np.arange(201) != 100
    change = np.abs(robust.transform(spoilt) - clean)[:, others]
    assert change.max() < 0.15
    plain = MinMaxSpectra().transform(spoilt)[:, others]
    assert plain.max() < 0.02


def test_clip(flux):
    flux[:, 100] = 1e4
    options = {"feature_range": (-1, 1), "quantile_range": (2.0, 98.0)}
    free = MinMaxSpectra(**options).transform(flux)
    clipped = MinMaxSpectra(**options, clip=True).transform(flux)
    assert free.max() > 100
    assert_array_equal(clipped, np.clip(free, -1, 1))


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
@pytest.mark.parametrize("quantile_range", [(0.0, 100.0), (5.0, 95.0)])
def test_constant_spectra_become_the_lower_end(value, quantile_range):
    constant = np.full((3, 2, 3001), value, dtype=np.float32)
    scaled = MinMaxSpectra((-1, 1), quantile_range=quantile_range).transform(constant)
    assert_array_equal(scaled, -1)


def test_coinciding_quantiles_fall_back_to_plain_limits():
    flux = np.zeros((1, 200))
    flux[0, :3] = [-1.0, 1.0, 3.0]
    scaled = MinMaxSpectra(quantile_range=(5.0, 95.0)).transform(flux)
    assert_array_equal(scaled, MinMaxSpectra().transform(flux))
    assert_array_equal(scaled[0, :4], [0, 0.5, 1, 0.25])


def test_large_single_precision_flux_does_not_overflow():
    flux = np.array([[-3e38, 0.0, 3e38]], dtype=np.float32)
    assert_array_equal(MinMaxSpectra().transform(flux), [[0, 0.5, 1]])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"quantile_range": (99.0, 1.0)},
            "quantile_range must be two .* from 0 to 100",
        ),
        ({"quantile_range": (0.0, 101.0)}, r"got \(0.0, 101.0\)"),
        ({"quantile_range": (1.0,)}, r"quantile_range .* got \(1.0,\)"),
        ({"quantile_range": ("a", "b")}, "quantile_range must be two finite numbers"),
        ({"feature_range": (1, 1)}, "feature_range must be two finite numbers, the"),
        ({"feature_range": (0, np.inf)}, r"got \(0, inf\)"),
        ({"feature_range": 3}, "'feature_range' parameter .* must be an instance of"),
        ({"clip": 3}, "'clip' parameter of MinMaxSpectra must be"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_bad_parameters(parameters, message, method, flux):
    with pytest.raises(ValueError, match=message):
        getattr(MinMaxSpectra(**parameters), method)(flux)
