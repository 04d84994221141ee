# SPDX-License-Identifier: BSD-3-Clause
"""Samples as they can be drawn: images in grey or colours, spectra as lines."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from skastro.utils import ImageLayout, as_lazy, is_lazy

# Of the pixels of an image in floats, from black to white; and of a spectrum, of which
# lines are few pixels.
_PERCENTILES = (0.5, 99.5)
_PERCENTILES_OF_SPECTRUM = (0.1, 99.9)
_CHANNEL_AXES = (-3, -2, -1, 1, 2, 3)
# Left, right, bottom and top.
Box = tuple[float, float, float, float]


def read_samples(X: Any, rows: Any = None) -> np.ndarray:
    """Read some samples, of arrays on disk these alone.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        An array in memory or on disk, or a list of image files.
    rows : array-like of int of shape (n,), default=None
        Which samples. None reads all.

    Returns
    -------
    samples : ndarray of shape (n, ...)
        The samples.
    """
    if is_lazy(X):
        X = as_lazy(X)
        return X[:] if rows is None else X.read_rows(rows)
    X = np.asarray(X)
    return X if rows is None else X[rows]


class Pictures(ImageLayout):
    """Some samples that are to be drawn.

    Bytes go from 0 to 255, and so do colours in floats from 0 to 1. Of other images
    each has limits of its own, percentiles of its pixels. Three channels are colours;
    of other numbers of channels the mean is drawn.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, ...)
        Images ``(n, height, width)``, or 4-D with channels; or rows of numbers.
    channel_axis : int, default=-1
        The axis of 4-D samples, or in `image_shape`, that holds the channels.
    image_shape : tuple of int, default=None
        Shape of the images that the rows of 2-D samples hold. None: spectra.

    Attributes
    ----------
    are_spectra : bool
        Whether the samples are lines.
    height_to_width : float
        Of a picture; that of spectra is a matter of taste.

    Raises
    ------
    ValueError
        If the samples have another number of axes, or the layout does not fit them.
    """

    def __init__(
        self,
        samples: np.ndarray,
        channel_axis: int = -1,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        if samples.ndim not in (2, 3, 4):
            raise ValueError(
                "Samples can be drawn that are spectra, in 2-D X, or images, in 3-D or "
                f"4-D X (or 2-D X with image_shape), but got X of {samples.ndim} axes."
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
        elif not self.are_spectra and len(samples) and self._are_unit_colours():
            self._limits = (0.0, 1.0)

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, row: int, values: np.ndarray | None = None) -> np.ndarray:
        """Bring an image to numbers from 0 to 1.

        Parameters
        ----------
        row : int
            Which sample.
        values : ndarray of the shape of a sample, default=None
            Numbers in its place, such as its reconstruction, that are to be shown on
            its scale.

        Returns
        -------
        image : ndarray of shape (height, width) or (height, width, 3)
            What ``imshow`` draws.
        """
        own = self._brightness(self.samples[row])
        low, high = self._limits or _limits_of(own)
        shown = own if values is None else self._brightness(values)
        return np.clip((shown - low) / (high - low), 0, 1)

    def grey(self, values: np.ndarray) -> np.ndarray:
        """Bring numbers in the shape of a sample to one number a pixel.

        Parameters
        ----------
        values : ndarray of the shape of a sample
            The numbers.

        Returns
        -------
        image : ndarray of shape (height, width)
            Means over the channels, not scaled.
        """
        values = self._brightness(values)
        return values.mean(axis=2) if values.ndim == 3 else values

    def draw(
        self, ax: Axes, row: int, box: Box, *, zorder: float = 2.0, **line: Any
    ) -> None:
        """Draw a sample into a box.

        Parameters
        ----------
        ax : matplotlib Axes
            Where to draw; its limits are left for the caller to set.
        row : int
            Which sample.
        box : tuple of (float, float, float, float)
            Left, right, bottom and top, in the units of the axes.
        zorder : float, default=2.0
            What is drawn over what.
        **line : dict
            Properties of a spectrum's line.
        """
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
        """Bring a sample to one or three numbers a pixel."""
        shape = self._image_shape_of(np.shape(values))
        image = np.asarray(values, dtype=np.float64).reshape(shape)
        if image.ndim == 2:
            return image
        image = np.moveaxis(image, self._axis_in_sample(), -1)
        return image if image.shape[-1] == 3 else image.mean(axis=-1)

    def _are_unit_colours(self) -> bool:
        colours = self._brightness(self.samples[0]).ndim == 3
        return colours and self.samples.min() >= 0 and self.samples.max() <= 1


def _limits_of(
    values: np.ndarray, percentiles: tuple[float, float] = _PERCENTILES
) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, percentiles)
    return (low, high) if high > low else (low, low + 1.0)
