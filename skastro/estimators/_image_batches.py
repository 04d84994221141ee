# SPDX-License-Identifier: BSD-3-Clause
"""Batches of images: their layout, what some of them tell of all, their channels."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import median_abs_deviation
from skorch import NeuralNet

from skastro.training import find_source
from skastro.utils import ImageLayout

# Enough images for a mean that is known to a thousandth of the scatter, taken in runs
# of neighbours, which are quick to read from a disk.
_N_SAMPLES = 4096
_RUN = 64
_PIXELS_IN_RUN = 2**15


class ImageBatches(ImageLayout, NeuralNet):
    """Images in X: which arrays are taken, and where their channels are."""

    _input_ndims: ClassVar[tuple[int, ...]] = (2, 3, 4)
    # Bytes stay bytes; all else becomes float32, the first of the list.
    _input_dtypes: ClassVar = (np.float32, np.uint8)

    def _to_images(self, X: torch.Tensor) -> torch.Tensor:
        """View a batch as ``(batch, channels, height, width)``."""
        X = X.reshape(len(X), *self._image_shape_of(tuple(X.shape[1:])))
        if X.ndim == 3:
            return X[:, None]
        return X.movedim(self._axis_in_sample() + 1, 1)

    def _to_samples(self, images: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Undo ``_to_images``: bring a batch into the layout in which X was given."""
        if len(self._image_shape_of(tuple(shape[1:]))) == 2:
            return images.reshape(shape)
        return images.movedim(1, self._axis_in_sample() + 1).reshape(shape)


def sky_of(batches: Iterable[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Measure the level and the noise of the sky in each channel.

    The median of the pixels and their median absolute deviation, as that of a normal
    distribution, are the sky's where the galaxies cover less than half of the pixels.
    """
    rng = np.random.default_rng(0)
    some = []
    for X in batches:
        pixels = X.movedim(1, 0).flatten(1).numpy()
        if pixels.shape[1] > _PIXELS_IN_RUN:
            pixels = pixels[:, rng.integers(pixels.shape[1], size=_PIXELS_IN_RUN)]
        some.append(pixels)
    pixels = np.concatenate(some, axis=1)
    sky = np.median(pixels, axis=1)
    noise = median_abs_deviation(pixels, axis=1, scale="normal")
    # Without noise any other measure of the pixels' size will do.
    noise = np.where(noise > 0, noise, pixels.std(axis=1))
    return sky, np.where(noise > 0, noise, 1.0)


@lru_cache(maxsize=16)
def channel_constants(
    mean: tuple[float, ...], scale: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Bring the channels' means and scales to a device, once."""
    # Kept for all later calls, of which some may need gradients.
    with torch.inference_mode(False):
        return tuple(
            torch.tensor(values, dtype=torch.float32, device=device)
            .reshape(1, -1, 1, 1)
            .contiguous()
            for values in (mean, scale)
        )


def spread_runs(n_samples: int, n_wanted: int = _N_SAMPLES) -> list[np.ndarray]:
    """List runs of rows: all rows, or about as many as wanted, spread over all."""
    starts = np.arange(0, n_samples, _RUN)
    n_runs = -(-n_wanted // _RUN)
    if len(starts) > n_runs:
        starts = np.linspace(0, n_samples - _RUN, n_runs).astype(np.int64)
    return [np.arange(start, min(start + _RUN, n_samples)) for start in starts]


def some_samples(dataset: Any, n_wanted: int = _N_SAMPLES) -> Iterator[np.ndarray]:
    """Yield samples of a training set, all or runs spread over it."""
    source = find_source(dataset)
    for index in spread_runs(len(dataset), n_wanted):
        if source is None:
            yield np.stack([np.asarray(dataset[row][0]) for row in index])
            continue
        rows = index if source.rows is None else source.rows.numpy()[index]
        if source.is_lazy:
            yield source.lazy.read_rows(rows)
        else:
            yield source.lazy.numpy()[rows]
