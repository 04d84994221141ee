# SPDX-License-Identifier: BSD-3-Clause
"""Right values, or clear errors, for input that is easily taken for something else."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from astropy import units
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from numpy.testing import assert_allclose, assert_array_equal
from tiny_estimators import make_tiny

from skastro import (
    CropPadImages,
    GalaxyClassifier,
    MinMaxSpectra,
    RebinSpectra,
    SpectrumClassifier,
    StandardizeSpectra,
)
from skastro.utils import plain_array, plain_labels, rebin

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 40))
y = np.repeat(["GALAXY", "STAR"], 6)


def tiny(cls=SpectrumClassifier, **params):
    return make_tiny(cls, module="mlp", **params, max_epochs=1)


def test_masked_pixels_are_interpolated():
    flux = Masked([[1, 2, 3, 1e6], [4, 5, 6, 7]], mask=[[0, 0, 0, 1], [0, 0, 0, 0]])
    scaled = MinMaxSpectra(nan_policy="interpolate").fit_transform(flux * units.Jy)
    assert_allclose(scaled[0], [0, 0.5, 1, 1])
    hidden = np.ma.masked_greater([1.0, 3.0, 1e6, 7.0], 100)
    assert_array_equal(rebin(hidden, np.arange(4.0), [0.5, 2.5]), [2, np.nan])


def test_masked_pixels_of_images_are_missing():
    images = np.ma.masked_equal(np.full((1, 4, 4), 7), 9)
    images[0, 1, 1] = np.ma.masked
    new = CropPadImages(4).fit_transform(images)
    assert np.isnan(new[0, 1, 1])
    assert_array_equal(new[0, 0], 7)


@pytest.mark.parametrize("shape", [(6, 40, 1), (6, 40, 3), (6, 16, 16)])
@pytest.mark.parametrize("cls", [StandardizeSpectra, MinMaxSpectra, RebinSpectra])
def test_swapped_axes_of_spectra(cls, shape):
    flux = rng.normal(size=shape)
    with pytest.raises(ValueError, match=r"If the shape is meant, give channel_axis=1"):
        cls().fit_transform(flux)
    as_meant = cls(channel_axis=1).fit_transform(flux)
    assert as_meant.shape == shape
    last = cls(channel_axis=-1).fit(flux).transform(flux)
    expected = cls(channel_axis=1).fit_transform(flux.transpose(0, 2, 1))
    assert_allclose(last, expected.transpose(0, 2, 1))


@pytest.mark.parametrize("shape", [(12, 40, 1), (12, 16, 16)])
def test_swapped_axes_of_spectra_for_networks(shape):
    flux = rng.normal(size=shape)
    advice = f"give module__n_channels={shape[1]}"
    with pytest.raises(ValueError, match=advice):
        tiny().fit(flux, y)
    # Channels first are fine, and so is what is meant.
    tiny().fit(rng.normal(size=(12, 3, 40)), y)
    net = tiny(module__n_channels=shape[1]).fit(flux, y)
    assert net.predict(flux).shape == (12,)


@pytest.mark.parametrize("shape", [(12, 3, 9, 9), (12, 10, 8, 8), (12, 6, 6, 13)])
def test_swapped_axes_of_images(shape):
    images = rng.normal(size=shape)
    for estimator in (tiny(GalaxyClassifier), CropPadImages(5)):
        with pytest.raises(ValueError, match=r"channel_axis=1; .*channel_axis=-1"):
            estimator.fit(images, y)
        for axis in (1, -1):
            estimator.set_params(channel_axis=axis).fit(images, y)
    assert CropPadImages(5, channel_axis=1).transform(images).shape == (
        *shape[:2],
        5,
        5,
    )


def test_spectra_are_no_images():
    with pytest.raises(ValueError, match="rows of 40 numbers, which look like spectra"):
        tiny(GalaxyClassifier).fit(X, y)
    tiny(GalaxyClassifier, image_shape=(1, 40)).fit(X, y)
    with pytest.raises(ValueError, match="are no images of one channel"):
        CropPadImages(8).fit(rng.normal(size=(64, 64, 3)))


def test_numbers_that_are_too_large_or_too_small():
    net = tiny().fit(X, y)
    large = np.where(np.arange(12)[:, None] == 2, 3e38, X)
    with pytest.raises(ValueError, match="NaN or infinity for some samples, in rows 2"):
        net.predict(large)
    with pytest.raises(ValueError, match="zero in single precision"):
        net.predict(X * 1e-60)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_text_and_units_are_refused():
    net = tiny().fit(X, y)
    for text in (X.astype(str), X.astype(str).tolist(), pd.DataFrame(X.astype(str))):
        with pytest.raises(TypeError, match="must hold numbers, but holds text"):
            net.predict(text)
    with pytest.raises(TypeError, match=r"unit Jy, which would be lost.*to_value"):
        net.predict(X * units.Jy)
    assert_array_equal(net.predict(units.Quantity(X)), net.predict(X))


def test_labels_of_bytes_are_text():
    net = tiny().fit(X, y.astype("S"))
    assert net.classes_.tolist() == ["GALAXY", "STAR"]
    assert net.score(X, y.astype("S")) == net.score(X, y)
    assert plain_labels([b"STAR ", b"QSO"]).tolist() == ["STAR", "QSO"]


def test_labels_are_not_rounded():
    assert plain_labels([2**63 + 1, 5]).tolist() == [2**63 + 1, 5]
    assert plain_labels([2**53, 0.5]).tolist() == [2**53, 0.5]
    for labels in ([2**63 + 1, -5], [2**53 + 1, 0.5]):
        with pytest.raises(
            TypeError, match=f"y holds {labels[0]} beside other numbers"
        ):
            plain_labels(labels)


def test_frames_hold_two_axes():
    flux = rng.normal(size=(4, 2, 40))
    with sklearn.config_context(transform_output="pandas"):
        for transformer in (MinMaxSpectra(), RebinSpectra(n_bins=5)):
            assert isinstance(transformer.fit_transform(flux), np.ndarray)
            assert isinstance(transformer.fit_transform(flux[:, 0]), pd.DataFrame)
        assert CropPadImages(4).fit_transform(flux[:, :, :2]).shape == (4, 4, 4)


def test_default_dtype_of_torch():
    expected = tiny().fit(X, y)
    torch.set_default_dtype(torch.float64)
    try:
        net = tiny().fit(X, y)
        probability = net.predict_proba(X)
    finally:
        torch.set_default_dtype(torch.float32)
    assert probability.dtype == expected.predict_proba(X).dtype == np.float32


def test_masks_that_numpy_has_dropped_are_noticed():
    teff = MaskedColumn([5000.0, 0.0], mask=[False, True], unit="K")
    with pytest.raises(ValueError, match=r"y was joined by .* numpy\.ma\.column_stack"):
        plain_array(np.column_stack([teff, teff]), "y")
    kept = plain_array(np.ma.column_stack([teff, teff]), "y")
    np.testing.assert_array_equal(kept, [[5000, 5000], [np.nan, np.nan]])
