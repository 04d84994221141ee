# SPDX-License-Identifier: BSD-3-Clause
"""Thumbnails: images in gray or color, spectra as lines."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from skastro.utils import ImageLayout, as_lazy, is_lazy, plain_array

# Percentiles of the pixels of an image in floats, from black to white, and of those of
# a spectrum, whose lines have few pixels.
_PERCENTILES = (0.5, 99.5)
_PERCENTILES_OF_SPECTRUM = (0.1, 99.9)
_CHANNEL_AXES = (-3, -2, -1, 1, 2, 3)


def channels_first(
    X: np.ndarray, channel_axis: int, image_shape: tuple[int, ...] | None
) -> np.ndarray:
    """View images as (n_samples, n_channels, height, width), in the same memory."""
    return ImageLayout(channel_axis, image_shape).to_images(X)


def read_samples(X: Any, rows: Any = None) -> np.ndarray:
    """Read samples; only the given rows of arrays on disk."""
    if is_lazy(X):
        X = as_lazy(X)
        return X[:] if rows is None else X.read_rows(rows)
    X = plain_array(X, any_unit=True)
    return X if rows is None else X[rows]


class Thumbnails:
    """Samples to draw: images, or rows of numbers that are spectra.

    The range of bytes is 0 to 255, that of colors in floats 0 to 1. The limits of other
    images are percentiles of their pixels. Three channels are colors; the mean of other
    numbers of channels is drawn.
    """

    def __init__(
        self,
        samples: np.ndarray,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        if samples.ndim not in (2, 3, 4):
            raise ValueError(
                "Samples to draw must be spectra, in 2-D X, or images, in 3-D or 4-D X "
                f"(or 2-D X with image_shape), but got X of {samples.ndim} axes."
            )
        if channel_axis not in _CHANNEL_AXES:
            raise ValueError(
                "channel_axis must be the axis of 4-D X that holds the channels, one "
                f"of {_CHANNEL_AXES}, but got {channel_axis!r}."
            )
        self.channel_axis, self.image_shape = channel_axis, image_shape
        self.are_spectra = samples.ndim == 2 and image_shape is None
        self.samples = samples
        self.height_to_width = 0.6
        if not self.are_spectra and len(samples):
            height, width = self._brightness(samples[0]).shape[:2]
            self.height_to_width = height / width
        self._limits = None
        if samples.dtype in (np.uint8, bool):
            self._limits = (0.0, 255.0 if samples.dtype == np.uint8 else 1.0)
        elif not self.are_spectra and len(samples) and self._are_unit_colors():
            self._limits = (0.0, 1.0)

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, row: int, values: np.ndarray | None = None) -> np.ndarray:
        """Return an image, shape (height, width[, 3]), scaled to the range from 0 to 1.

        `values` are drawn instead, on the same scale, such as its reconstruction.
        """
        own = self._brightness(self.samples[row])
        low, high = self._limits or _limits_of(own)
        shown = own if values is None else self._brightness(values)
        return np.clip((shown - low) / (high - low), 0, 1)

    def gray(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over the channels of numbers in the shape of a sample."""
        values = self._brightness(values)
        return values.mean(axis=2) if values.ndim == 3 else values

    def draw(
        self,
        ax: Axes,
        row: int,
        box: tuple[float, float, float, float],
        *,
        zorder: float = 2.0,
        **line: Any,
    ) -> None:
        """Draw a sample between left, right, bottom and top, a spectrum as a line."""
        left, right, bottom, top = box
        if self.are_spectra:
            flux = np.asarray(self.samples[row], dtype=np.float64)
            low, high = _limits_of(flux, _PERCENTILES_OF_SPECTRUM)
            place = np.linspace(left, right, len(flux))
            height = np.clip((flux - low) / (high - low), 0, 1)
            height = bottom + (0.06 + 0.88 * height) * (top - bottom)
            ax.plot(place, height, zorder=zorder, **line)
            return
        ax.imshow(
            self.image(row),
            extent=box,
            aspect="auto",
            cmap="gray",
            vmin=0,
            vmax=1,
            zorder=zorder,
        )

    def _brightness(self, values: np.ndarray) -> np.ndarray:
        """Reduce a sample to one or three numbers per pixel."""
        images = np.asarray(values, dtype=np.float64)[None]
        images = channels_first(images, self.channel_axis, self.image_shape)
        image = np.moveaxis(images[0], 0, -1)
        return image if image.shape[-1] == 3 else image.mean(axis=-1)

    def _are_unit_colors(self) -> bool:
        colors = self._brightness(self.samples[0]).ndim == 3
        return colors and self.samples.min() >= 0 and self.samples.max() <= 1


def _limits_of(
    values: np.ndarray, percentiles: tuple[float, float] = _PERCENTILES
) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, percentiles)
    return (low, high) if high > low else (low, low + 1.0)
