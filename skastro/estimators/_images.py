# SPDX-License-Identifier: BSD-3-Clause
"""What estimators of images share: the layout of X, and its normalisation."""

import math
from collections.abc import Iterator
from functools import lru_cache
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import Interval, Options
from skorch import NeuralNet

from skastro.training import find_source

# Enough images for a mean that is known to a thousandth of the scatter, taken in runs
# of neighbours, which are quick to read from a disk.
_N_RUNS = 64
_RUN = 64


class ImageInput(NeuralNet):
    """Images in X: where their channels are, and how they are normalised."""

    _module_ndim = 2
    _input_ndims: ClassVar = (2, 3, 4)
    # Bytes stay bytes; all else becomes float32, the first of the list.
    _input_dtypes: ClassVar = (np.float32, np.uint8)
    _learned_from_rows: ClassVar = ("channel_mean_", "channel_scale_")
    _image_constraints: ClassVar[dict] = {
        "channel_axis": [Options(Integral, {-3, -2, -1, 1, 2, 3})],
        "image_shape": [None, tuple, list, Interval(Integral, 1, None, closed="left")],
    }

    def _image_shape_of(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Give the shape of one image as it stands in X or in ``image_shape``."""
        if len(sample_shape) > 1:
            return sample_shape
        if self.image_shape is None:
            return (1, *sample_shape)
        shape = tuple(np.atleast_1d(self.image_shape).tolist())
        if len(shape) not in (2, 3) or math.prod(shape) != sample_shape[0]:
            raise ValueError(
                f"image_shape={shape} does not fit X: its rows have {sample_shape[0]} "
                "numbers. Give (height, width), or (height, width, channels) with the "
                "channels where channel_axis says, whose product that is."
            )
        return shape

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        shape = list(self._image_shape_of(sample_shape))
        n_channels = shape.pop(self._axis_in_sample()) if len(shape) == 3 else 1
        return {"n_channels": n_channels, "input_size": tuple(shape)}

    def _axis_in_sample(self) -> int:
        axis = self.channel_axis
        return axis - 1 if axis > 0 else axis + 3

    def _to_images(self, X: torch.Tensor) -> torch.Tensor:
        """View a batch as ``(batch, channels, height, width)``."""
        X = X.reshape(len(X), *self._image_shape_of(tuple(X.shape[1:])))
        if X.ndim == 3:
            return X[:, None]
        return X.movedim(self._axis_in_sample() + 1, 1)

    def _normalize(self, X: torch.Tensor) -> torch.Tensor:
        X = self._to_images(X)
        return X.float() / 255 if X.dtype == torch.uint8 else X.float()

    def _to_module_layout(self, X: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "channel_mean_"):
            raise NotFittedError(
                f"This {type(self).__name__} knows no channel_mean_ and "
                "channel_scale_, by which images are normalised: load_params restores "
                "weights alone. Fit it, or load a pickle."
            )
        mean, scale = _constants(
            tuple(self.channel_mean_.tolist()),
            tuple(self.channel_scale_.tolist()),
            X.device,
        )
        return (X - mean) / scale

    def _learn_from_rows(self, dataset: Any) -> None:
        """Measure the channels of the training images."""
        if not self._takes_sizes or hasattr(self, "channel_mean_"):
            return
        n_pixels, total, squares = 0, 0.0, 0.0
        for images in _some_images(dataset):
            X = self._to_images(torch.as_tensor(images))
            X = X.double() / (255 if X.dtype == torch.uint8 else 1)
            n_pixels += X[:, 0].numel()
            total += X.sum(dim=(0, 2, 3)).numpy()
            squares += X.square().sum(dim=(0, 2, 3)).numpy()
        self.channel_mean_ = total / n_pixels
        variance = squares / n_pixels - self.channel_mean_**2
        # Of a channel with one value rounding leaves something, above or below zero.
        flat = variance <= 1e-12 * squares / n_pixels
        self.channel_scale_ = np.where(flat, 1.0, np.sqrt(np.abs(variance)))


@lru_cache(maxsize=16)
def _constants(
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


def _some_images(dataset: Any) -> Iterator[np.ndarray]:
    """Yield images of a training set, all or runs spread over it."""
    n_samples = len(dataset)
    starts = np.arange(0, n_samples, _RUN)
    if len(starts) > _N_RUNS:
        starts = np.linspace(0, n_samples - _RUN, _N_RUNS).astype(np.int64)
    source = find_source(dataset)
    for start in starts:
        index = np.arange(start, min(start + _RUN, n_samples))
        if source is None:
            yield np.stack([np.asarray(dataset[row][0]) for row in index])
            continue
        rows = index if source.rows is None else source.rows.numpy()[index]
        if source.is_lazy:
            yield source.lazy.read_rows(rows)
        else:
            yield source.lazy.numpy()[rows]
