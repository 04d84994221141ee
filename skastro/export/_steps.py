# SPDX-License-Identifier: BSD-3-Clause
"""Transformers as modules of torch, which the exporter turns into parts of a graph.

Each computes in single precision what its transformer computes in double precision.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from skastro.preprocessing import (
    CropPadImages,
    MinMaxSpectra,
    RebinSpectra,
    StandardizeSpectra,
)
from skastro.preprocessing._spectra_transformers import _SIGMA_PER_MAD


class Step(nn.Module):
    """Base of the steps of a graph.

    Graphs raise nothing, and some of their operations lose NaN. A graph therefore looks
    in the input of each step for what the step does not take.
    """

    takes_nan = False
    takes_infinity = False
    takes_bytes = False
    gives_nan = False


class _SpectraStep(Step):
    """A transformer of spectra, with the pixels on the last axis."""

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.takes_nan = step.nan_policy == "interpolate"
        self._is_last = step.channel_axis in (2, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform spectra in the layout in which they were given."""
        moves = self._is_last and x.ndim == 3
        x = x.movedim(-1, 1) if moves else x
        if self.takes_nan:
            x = fill_nan(x, self._positions(x))
        x = self._transform(x)
        return x.movedim(1, -1) if moves else x

    def _positions(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[-1], dtype=x.dtype)

    def _transform(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class MinMax(_SpectraStep):
    """:class:`~skastro.MinMaxSpectra`."""

    def __init__(self, step: MinMaxSpectra) -> None:
        super().__init__(step)
        self._range = tuple(map(float, step.feature_range))
        self._quantiles = tuple(float(q) / 100 for q in step.quantile_range)
        self._clips = step.clip

    def _transform(self, x: Tensor) -> Tensor:
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        if self._quantiles != (0, 1):
            ends = [quantile(x, q) for q in self._quantiles]
            is_flat = ends[0] == ends[1]
            low = torch.where(is_flat, low, ends[0])
            high = torch.where(is_flat, high, ends[1])
        width = high - low
        x = (x - low) / torch.where(width == 0, 1.0, width)
        bottom, top = self._range
        x = x * (top - bottom) + bottom
        return x.clamp(bottom, top) if self._clips else x


class Standardize(_SpectraStep):
    """:class:`~skastro.StandardizeSpectra`."""

    def __init__(self, step: StandardizeSpectra) -> None:
        super().__init__(step)
        self._robust, self._clip = step.robust, step.clip

    def _transform(self, x: Tensor) -> Tensor:
        if self._robust:
            x = x - quantile(x, 0.5)
            scale = _SIGMA_PER_MAD * quantile(x.abs(), 0.5)
            scale = torch.where(scale == 0, _root_mean_square(x), scale)
        else:
            # The mean of a constant spectrum has a round-off error.
            x = x - x[..., :1]
            x = x - x.mean(-1, keepdim=True)
            scale = _root_mean_square(x)
        x = x / torch.where(scale == 0, 1.0, scale)
        return x if self._clip is None else x.clamp(-self._clip, self._clip)


def _root_mean_square(x: Tensor) -> Tensor:
    largest = x.abs().amax(-1, keepdim=True)
    largest = torch.where(largest == 0, 1.0, largest)
    return largest * (x / largest).square().mean(-1, keepdim=True).sqrt()


class Rebin(_SpectraStep):
    """:class:`~skastro.RebinSpectra`, bound to one grid of its input."""

    index: Tensor
    weight: Tensor
    is_covered: Tensor
    centers: Tensor

    def __init__(self, step: RebinSpectra) -> None:
        super().__init__(step)
        centers, matrix = step._plan
        self._fill_value = float(step.fill_value)
        # Differences of wavelengths, which single precision would round.
        centers = torch.from_numpy(centers - centers[0]).float()
        index, weight = _entries(matrix)
        self.register_buffer("index", index)
        self.register_buffer("weight", weight)
        self.register_buffer("is_covered", weight.any(dim=1))
        self.register_buffer("centers", centers)

    def _positions(self, x: Tensor) -> Tensor:
        return self.centers

    def _transform(self, x: Tensor) -> Tensor:
        parts = x[..., self.index.flatten()].unflatten(-1, self.index.shape)
        total = (parts * self.weight).sum(-1)
        return torch.where(self.is_covered, total, self._fill_value)


def _entries(matrix: csr_array) -> tuple[Tensor, Tensor]:
    """List the columns and weights of each row, as many for each.

    Columns that fill up a row are of its own pixels, so that NaN of others stays away.
    """
    counts = np.diff(matrix.indptr)
    n_columns = max(int(counts.max()), 1)
    is_real = np.arange(n_columns) < counts[:, None]
    first = matrix.indices[np.minimum(matrix.indptr[:-1], matrix.nnz - 1)]
    index = np.repeat(first[:, None], n_columns, axis=1).astype(np.int64)
    weight = np.zeros(index.shape, dtype=np.float32)
    index[is_real], weight[is_real] = matrix.indices, matrix.data
    return torch.from_numpy(index), torch.from_numpy(weight)


class CropPad(Step):
    """:class:`~skastro.CropPadImages`."""

    takes_nan = takes_infinity = takes_bytes = True

    def __init__(self, step: CropPadImages) -> None:
        super().__init__()
        self._step = step

    def forward(self, x: Tensor) -> Tensor:
        """Cut and pad images."""
        step, sample_shape = self._step, tuple(x.shape[1:])
        shape = step._layout.image_shape_of(sample_shape)
        new_shape = step._new_image_shape(shape)
        images = x.reshape(x.shape[0], *shape)
        padding = []
        for length, new_length in zip(shape, new_shape, strict=True):
            before = new_length // 2 - length // 2
            padding.append((before, new_length - length - before))
        flat = [n for ends in reversed(padding) for n in ends]
        images = F.pad(images, flat, value=step.fill_value)
        return images.reshape(x.shape[0], *step._new_shape(sample_shape))


class Affine(Step):
    """A transformer of scikit-learn that is a matrix, a shift and a limit."""

    shift: Tensor
    scale: Tensor
    matrix: Tensor

    def __init__(
        self,
        shift: Any,
        scale: Any,
        matrix: Any = None,
        offset: Any = 0.0,
        limits: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        arrays = {"shift": shift, "scale": scale, "matrix": matrix, "offset": offset}
        for name, values in arrays.items():
            values = None if values is None else np.asarray(values, np.float32)
            self.register_buffer(
                name, None if values is None else torch.from_numpy(values)
            )
        self._limits = limits

    def forward(self, x: Tensor) -> Tensor:
        """Transform rows of features."""
        x = (x.float() - self.shift) * self.scale
        if self.matrix is not None:
            x = x @ self.matrix
        x = x + self.offset
        return x if self._limits is None else x.clamp(*self._limits)


def _standard_scaler(step: StandardScaler) -> Affine:
    mean = step.mean_ if step.with_mean else 0.0
    return Affine(mean, 1 / step.scale_ if step.with_std else 1.0)


def _min_max_scaler(step: MinMaxScaler) -> Affine:
    low, high = map(float, step.feature_range)
    limits = (low, high) if step.clip else None
    return Affine(step.data_min_, step.scale_, offset=low, limits=limits)


def _pca(step: PCA) -> Affine:
    matrix = step.components_.T
    if step.whiten:
        matrix = matrix / np.sqrt(step.explained_variance_)
    return Affine(step.mean_, 1.0, matrix)


# Subclasses may do anything else.
STEPS: dict[type, Callable[[Any], Step]] = {
    MinMaxSpectra: MinMax,
    StandardizeSpectra: Standardize,
    RebinSpectra: Rebin,
    CropPadImages: CropPad,
    StandardScaler: _standard_scaler,
    MinMaxScaler: _min_max_scaler,
    PCA: _pca,
}


def quantile(x: Tensor, q: float) -> Tensor:
    """Find a quantile along the last axis, which is kept, as numpy.quantile does."""
    position = q * (x.shape[-1] - 1)
    lower = int(position)
    count = min(2, x.shape[-1] - lower)
    # Of sorted numbers no graph needs more than this part.
    ends = x.topk(lower + count, largest=False, sorted=False).values
    values = ends.topk(count, sorted=True).values
    part = position - lower
    if not part:
        return values[..., -1:]
    return values[..., 1:] * (1 - part) + values[..., :1] * part


def fill_nan(x: Tensor, positions: Tensor) -> Tensor:
    """Interpolate NaN linearly between neighbors; at the ends repeat the outermost."""
    length = x.shape[-1]
    places = torch.arange(length)
    before = torch.where(x.isnan(), -1, places)
    after = torch.where(x.isnan(), length, places)
    reach = 1
    # Graphs know no running maximum: the reach doubles at each step.
    while reach < length:
        before = before.maximum(F.pad(before[..., :-reach], (reach, 0), value=-1))
        after = after.minimum(F.pad(after[..., reach:], (0, reach), value=length))
        reach *= 2
    none_before, none_after = before < 0, after >= length
    first = torch.where(none_before, after, before).clamp(max=length - 1)
    second = torch.where(none_after, before, after).clamp(min=0)
    low, high = x.gather(-1, first), x.gather(-1, second)
    start, end = positions[first], positions[second]
    width = torch.where(start == end, 1.0, end - start)
    return torch.where(x.isnan(), low + (high - low) * ((positions - start) / width), x)
