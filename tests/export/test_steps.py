# SPDX-License-Identifier: BSD-3-Clause
"""The modules that stand for transformers give what these give."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skastro import CropPadImages, MinMaxSpectra, RebinSpectra, StandardizeSpectra
from skastro.export._steps import STEPS
from skastro.preprocessing._collect_spectra import SpectraBlock

pytestmark = pytest.mark.once
rng = np.random.default_rng(0)

SCALERS = [
    MinMaxSpectra(),
    MinMaxSpectra((-1, 2)),
    MinMaxSpectra(quantile_range=(1.0, 99.0)),
    MinMaxSpectra(quantile_range=(25.0, 60.0), clip=True),
    StandardizeSpectra(),
    StandardizeSpectra(clip=1.5),
    StandardizeSpectra(robust=True),
    StandardizeSpectra(robust=True, clip=2.0),
]


def assert_alike(transformer, X):
    """Compare a transformer in double precision with its module in single."""
    expected = transformer.fit(X).transform(X)
    if isinstance(transformer, RebinSpectra):
        transformer = transformer._bind(SpectraBlock(X))
    step = STEPS[type(transformer)](transformer)
    dtype = np.uint8 if X.dtype == np.uint8 else np.float32
    found = step(torch.from_numpy(X.astype(dtype))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def odd_spectra(n_pixels):
    """Make spectra with an offset, a spike, zeros, a constant, and tiny numbers."""
    X = 3 + rng.normal(size=(6, n_pixels))
    X[1, n_pixels // 2] = 1e5
    X[2] = np.where(np.arange(n_pixels) % 5 == 0, X[2], 0)
    X[3] = 7.3
    X[4] *= 1e-17
    return X


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("n_pixels", [1, 2, 3, 8, 101, 102])
def test_scalers(scaler, n_pixels):
    assert_alike(scaler, odd_spectra(n_pixels))


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_missing_pixels(scaler):
    X = odd_spectra(53)
    X[0, :4] = X[0, 9] = X[0, 20:31] = X[0, -2:] = np.nan
    X[5, 1:] = np.nan
    scaler = type(scaler)(**{**scaler.get_params(), "nan_policy": "interpolate"})
    assert_alike(scaler, X)


@pytest.mark.parametrize("channel_axis", [None, 1, 2, -1])
@pytest.mark.parametrize(
    "step",
    [
        MinMaxSpectra(quantile_range=(5, 95), nan_policy="interpolate"),
        StandardizeSpectra(robust=True),
        RebinSpectra(n_bins=17),
    ],
    ids=str,
)
def test_channels(step, channel_axis):
    X = rng.normal(size=(4, 2, 31))
    X = X if channel_axis in (None, 1) else np.moveaxis(X, 1, 2)
    assert_alike(type(step)(**{**step.get_params(), "channel_axis": channel_axis}), X)


@pytest.mark.parametrize(
    "rebin",
    [
        RebinSpectra(n_bins=13),
        RebinSpectra(np.geomspace(4000, 9000, 60), np.geomspace(3900, 9100, 31)),
        RebinSpectra(
            np.geomspace(4000, 9000, 60),
            np.linspace(3900, 9100, 150),
            fill_value=-1.0,
            nan_policy="interpolate",
        ),
    ],
    ids=["bins", "coarse", "fine"],
)
def test_rebinning(rebin):
    X = 10 + rng.normal(size=(3, 60))
    if rebin.nan_policy == "interpolate":
        X[0, 3:8] = X[1, -4:] = np.nan
    assert_alike(rebin, X)


def test_nan_reaches_no_other_pixel():
    rebin = RebinSpectra(n_bins=20)
    X = rng.normal(size=(1, 60)).astype(np.float32)
    step = STEPS[RebinSpectra](rebin.fit(X)._bind(SpectraBlock(X)))
    X[0, 0] = np.nan
    found = step(torch.from_numpy(X)).numpy()
    assert np.flatnonzero(np.isnan(found)).tolist() == [0]


@pytest.mark.parametrize("size", [5, (4, 9), (12, 3)])
@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((3, 7, 6), {}),
        ((3, 7, 6, 2), {}),
        ((3, 2, 7, 6), {"channel_axis": 1}),
        ((3, 42), {"image_shape": (7, 6)}),
    ],
)
def test_images(size, shape, params):
    images = rng.integers(0, 256, size=shape, dtype=np.uint8)
    assert_alike(CropPadImages(size, fill_value=3, **params), images)
    assert_alike(CropPadImages(size, **params), rng.normal(size=shape))


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 2)),
        MinMaxScaler(clip=True),
        PCA(3),
        PCA(3, whiten=True),
    ],
    ids=str,
)
def test_scalers_of_features(scaler):
    assert_alike(scaler, rng.normal(5, 2, size=(30, 8)))
