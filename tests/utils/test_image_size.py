# SPDX-License-Identifier: BSD-3-Clause
"""Cutting, padding and resampling of one image."""

import numpy as np
import pytest

from skastro import CropPadImages
from skastro.utils import crop_pad, fit_into, fitting_factor, zoom, zoomed_shape

pytestmark = pytest.mark.once


def ramp(height: int, width: int) -> np.ndarray:
    """Return an image of the coordinates of its pixels' centers, in two channels."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x, y], axis=-1).astype(np.float32)


@pytest.mark.parametrize("size", [(8, 8), (3, 12), (9, 4)], ids=str)
@pytest.mark.parametrize("shape", [(5, 6), (6, 5, 3)], ids=str)
def test_cut_and_padded_as_by_the_transformer(shape, size):
    image = np.random.default_rng(0).normal(size=shape)
    expected = CropPadImages(size, channel_axis=-1, fill_value=-2.0).transform(
        image[None]
    )
    np.testing.assert_array_equal(crop_pad(image, size, -2.0), expected[0])


def test_each_channel_has_its_fill_value():
    image = crop_pad(np.zeros((1, 1, 2)), (3, 3), [1.0, 2.0])
    np.testing.assert_array_equal(image[0, 0], [1.0, 2.0])
    np.testing.assert_array_equal(image[1, 1], [0.0, 0.0])


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.7])
@pytest.mark.parametrize("shape", [(40, 41), (33, 64)], ids=str)
def test_centers_stay_and_pixels_lie_inside(shape, factor):
    image = zoom(ramp(*shape), factor)
    assert image.shape[:2] == zoomed_shape(shape, factor)
    for axis, channel in ((1, 0), (0, 1)):
        old, new = shape[axis], image.shape[axis]
        numbers = np.arange(new) - new // 2
        centers = old // 2 + 0.5 + factor * numbers
        assert centers[0] - factor / 2 > -1e-3
        assert centers[-1] + factor / 2 < old + 1e-3
        assert new >= (old - 1) / factor - 2
        # A ramp stays a ramp, but for the few pixels that sample the weights; near
        # the edge fewer contribute.
        inner = slice(3, -3)
        found = np.moveaxis(image[..., channel], axis, 0)[inner]
        expected = np.broadcast_to(centers[inner, None], found.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0.02 * factor)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_the_new_center_is_off_the_old_one(factor):
    offset = (5.25, -3.5)
    image = zoom(ramp(40, 41), factor, offset)
    assert image.shape[:2] == zoomed_shape((40, 41), factor, offset)
    height, width = image.shape[:2]
    found = image[height // 2, width // 2]
    np.testing.assert_allclose(found, [20.5 - 3.5, 20.5 + 5.25], atol=0.06 * factor)
    assert zoomed_shape((40, 41), factor, (30.0, 0.0))[0] == 0


def test_unit_factor_changes_nothing():
    image = np.random.default_rng(0).normal(size=(7, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(zoom(image, 1.0), image, rtol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 1.7, 3.0])
def test_a_star_keeps_its_place_and_its_sum(factor):
    y, x = np.mgrid[:120, :121] - 60.0
    star = np.exp(-0.5 * (x**2 + y**2) / 6**2).astype(np.float32)
    image = zoom(star, factor)
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    # Values per area are kept: the sum over the area is that of fewer pixels.
    assert image.sum() * factor**2 == pytest.approx(star.sum(), rel=1e-3)
    assert np.average(x, weights=image.sum(0)) == pytest.approx(0, abs=1e-3)
    assert np.average(y, weights=image.sum(1)) == pytest.approx(0, abs=1e-3)


def test_nothing_is_left_of_a_pixel():
    assert zoomed_shape((1, 9), 4.0) == (0, 1)
    assert zoomed_shape((3, 3), 4.0) == (0, 0)


@pytest.mark.parametrize("size", [(10, 10), (10, 20), (5, 16)], ids=str)
def test_the_largest_part_of_the_proportions(size):
    image = ramp(40, 60)
    factor = fitting_factor(image.shape, size)
    assert factor == min(40 / size[0], 60 / size[1])
    new = fit_into(image, size)
    assert new.shape == (*size, 2)
    middle = new.mean(axis=(0, 1))
    np.testing.assert_allclose(middle, [30, 20], atol=0.05)
    steps = np.diff(new[:, :, 0], axis=1)[:, 1:-1]
    np.testing.assert_allclose(steps, factor, rtol=0.02)


def test_bytes_stay_bytes():
    image = np.full((6, 6, 3), 255, np.uint8)
    for new in (fit_into(image, (4, 4)), zoom(image, 1.5), zoom(image, 0.4)):
        assert new.dtype == np.uint8
        assert (new == 255).all()
