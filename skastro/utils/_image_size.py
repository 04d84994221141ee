# SPDX-License-Identifier: BSD-3-Clause
"""Cutting, padding and resampling of one image about its center."""

import math

import numpy as np
from numpy.typing import ArrayLike

# Tolerance in pixels of a scale that comes from a header.
_TOLERANCE = 1e-6


def shared_range(length: int, new_length: int) -> tuple[slice, slice]:
    """Return the range that an old and a new axis share, in the pixels of each.

    The pixel at ``length // 2`` moves to ``new_length // 2``.

    >>> shared_range(4, 6)
    (slice(0, 4, None), slice(1, 5, None))
    """
    shift = new_length // 2 - length // 2
    first, last = max(0, -shift), min(length, new_length - shift)
    return slice(first, last), slice(first + shift, last + shift)


def crop_pad(
    image: np.ndarray, size: tuple[int, int], fill_value: ArrayLike
) -> np.ndarray:
    """Cut and pad an image ``(height, width[, n_channels])``.

    `fill_value` is a number, or one of each channel.

    >>> crop_pad(np.array([[1, 2, 3]]), (1, 5), 0)
    array([[0, 1, 2, 3, 0]])
    """
    out = np.empty((*size, *image.shape[2:]), image.dtype)
    out[...] = fill_value
    lengths = zip(image.shape[:2], size, strict=True)
    old, new = zip(*(shared_range(*pair) for pair in lengths), strict=True)
    out[new] = image[old]
    return out


def zoomed_shape(
    shape: tuple[int, ...], factor: float, offset: tuple[float, float] = (0.0, 0.0)
) -> tuple[int, int]:
    """Return height and width of ``zoom(image, ...)``; 0 where nothing is left.

    >>> zoomed_shape((64, 66), 2.0), zoomed_shape((4, 4), 1.0)
    ((31, 32), (4, 4))
    """
    height, width = _zoomed_ranges(shape, factor, offset)
    return height[0], width[0]


def zoom(
    image: np.ndarray, factor: float, offset: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Resample an image to pixels that are `factor` old pixels wide.

    The center of the pixel at ``length // 2`` of an axis, or what is `offset` old
    pixels after it, becomes that of the pixel at ``new_length // 2``. New pixels lie
    within the old image.

    >>> zoom(np.full((4, 6), 3, np.float32), 2.0)
    array([[3., 3.]], dtype=float32)
    """
    ranges = _zoomed_ranges(image.shape, factor, offset)
    (height, top, bottom), (width, left, right) = ranges
    return _resample(image, (height, width), (left, top, right, bottom))


def fitting_factor(shape: tuple[int, ...], size: tuple[int, int]) -> float:
    """Return how many old pixels a new one of ``fit_into(image, size)`` is wide."""
    return min(old / new for old, new in zip(shape[:2], size, strict=True))


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample the largest central part of an image that has the proportions of `size`.

    >>> fit_into(np.eye(2, dtype=np.float32), (1, 1))
    array([[0.5]], dtype=float32)
    """
    factor = fitting_factor(image.shape, size)
    top, left = (
        max(0.0, (old - factor * new) / 2)
        for old, new in zip(image.shape[:2], size, strict=True)
    )
    height, width = image.shape[:2]
    return _resample(image, size, (left, top, width - left, height - top))


def linear_weights(length: int, new_length: int) -> np.ndarray:
    """Return the matrix that resamples an axis as `zoom` and `fit_into` do.

    float32, of shape ``(new_length, length)``.

    >>> linear_weights(2, 4)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]], dtype=float32)
    """
    # What becomes of an image of ones on the diagonal are the weights.
    eye = np.eye(length, dtype=np.float32)
    return _resample(eye, (new_length, length), (0.0, 0.0, length, length))


def _zoomed_ranges(
    shape: tuple[int, ...], factor: float, offset: tuple[float, float]
) -> list[tuple[int, float, float]]:
    pairs = zip(shape[:2], offset, strict=True)
    return [_zoomed_range(length, factor, shift) for length, shift in pairs]


def _zoomed_range(length: int, factor: float, shift: float) -> tuple[int, float, float]:
    """Return the number of new pixels, and the range of the old axis they cover."""
    center = length // 2 + 0.5 + shift
    before = math.floor(center / factor - 0.5 + _TOLERANCE)
    after = math.floor((length - center) / factor - 0.5 + _TOLERANCE)
    # The center of the new axis is its pixel at new_length // 2.
    after = min(after, before)
    before = min(before, after + 1)
    if after < 0:
        return 0, 0.0, 0.0
    start = center - (before + 0.5) * factor
    stop = center + (after + 0.5) * factor
    return before + after + 1, max(start, 0.0), min(stop, float(length))


def _resample(
    image: np.ndarray, shape: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Interpolate linearly, or average where new pixels are wider than old ones.

    `box` is the part of the old image: left, top, right, bottom.
    """
    from PIL import Image

    planes = np.moveaxis(image.reshape(*image.shape[:2], -1), -1, 0)
    resampled = [
        Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(
            (shape[1], shape[0]), Image.Resampling.BILINEAR, box
        )
        for plane in planes
    ]
    out = np.stack([np.asarray(plane) for plane in resampled], axis=-1)
    out = out.reshape(*shape, *image.shape[2:])
    return np.rint(out).astype(image.dtype) if image.dtype.kind in "iu" else out
