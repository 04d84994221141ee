# SPDX-License-Identifier: BSD-3-Clause
"""What stands behind a data set: tensors, or an array on disk, and rows of it."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset
from torch.utils.data import Subset

from skastro.utils import as_lazy, is_lazy

_MAIN = "X"
# torch does not select rows of the wider unsigned integers on every device.
_SIGNED = {
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
}


@dataclass
class Source:
    """The arrays of a data set.

    Attributes
    ----------
    owner : skorch.dataset.Dataset or None
        The data set whose arrays these are; of a ``Subset``, the whole.
    X : Tensor, LazyArray or dict of them
        The input; of a dict, only the entry ``"X"`` may be lazy.
    y : Tensor or None
        The target.
    rows : Tensor of int64 or None
        The rows that belong to the data set, in its order; None for all.
    """

    owner: Any
    X: Any
    y: torch.Tensor | None
    rows: torch.Tensor | None

    @property
    def lazy(self) -> Any:
        """The main array."""
        return self.X[_MAIN] if isinstance(self.X, dict) else self.X

    @property
    def is_lazy(self) -> bool:
        """Whether the main array is on disk."""
        return not isinstance(_first(self.X), torch.Tensor)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return _first(self.X).device

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        values = self.X.values() if isinstance(self.X, dict) else [self.X]
        arrays = [*values] if self.y is None else [*values, self.y]
        return sum(array.nbytes for array in arrays)

    def take(self, index: Any, X: torch.Tensor | None = None) -> tuple:
        """Fetch a batch.

        Parameters
        ----------
        index : Tensor of int64 or slice
            Rows of the arrays.
        X : Tensor, default=None
            The batch of the main array, where it has been read already.

        Returns
        -------
        X, y : tuple
            The batch; zeros for y where there is no target.
        """
        if isinstance(self.X, dict):
            batch = {
                name: X if name == _MAIN and X is not None else _rows_of(values, index)
                for name, values in self.X.items()
            }
            n_samples = len(batch[_MAIN]) if _MAIN in batch else len(_first(batch))
        else:
            batch = _rows_of(self.X, index) if X is None else X
            n_samples = len(batch)
        if self.y is None:
            return batch, torch.zeros(n_samples)
        return batch, _rows_of(self.y, index)

    def to(self, device: torch.device) -> "Source":
        """Copy the arrays to a device, those on disk chunk by chunk."""
        X = self.X
        if isinstance(X, dict):
            X = {name: _copy(values, device) for name, values in X.items()}
        else:
            X = _copy(X, device)
        y = None if self.y is None else self.y.to(device)
        rows = None if self.rows is None else self.rows.to(device)
        return replace(self, X=X, y=y, rows=rows)


def _copy(array: Any, device: torch.device) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array.to(device)
    first = torch.from_numpy(array[:1])
    whole = torch.empty(array.shape, dtype=first.dtype, device=device)
    for rows in array.blocks():
        whole[rows] = torch.from_numpy(array[rows]).to(device)
    return whole


def _rows_of(values: torch.Tensor, index: Any) -> torch.Tensor:
    if isinstance(index, slice):
        return values[index]
    signed = _SIGNED.get(values.dtype)
    if signed is None:
        return values.index_select(0, index)
    return values.view(signed).index_select(0, index).view(values.dtype)


def _first(X: Any) -> Any:
    if isinstance(X, dict):
        return X[_MAIN] if _MAIN in X else next(iter(X.values()))
    return X


def find_source(dataset: Any) -> Source | None:
    """Find what stands behind a data set; tensors share its memory.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        The data set.

    Returns
    -------
    source : Source or None
        None where the data set is not made of plain arrays: a user's own, or one whose
        ``transform`` or ``__getitem__`` does more than indexing.
    """
    rows = None
    while type(dataset) is Subset:
        indices = np.asarray(dataset.indices, dtype=np.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    if type(dataset) is not Dataset:
        return None
    X, y = dataset.X, dataset.y
    if y is not None and not _is_plain(y):
        return None
    if isinstance(X, dict):
        X = {name: _as_source(values) for name, values in X.items()}
        lazy = {n for n, values in X.items() if not isinstance(values, torch.Tensor)}
        if None in X.values() or lazy - {_MAIN}:
            return None
    else:
        X = _as_source(X)
        if X is None:
            return None
    y = None if y is None else _as_tensor(y)
    return Source(dataset, X, y, None if rows is None else torch.as_tensor(rows))


def _is_plain(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"


def _as_source(array: Any) -> Any:
    if is_lazy(array):
        return as_lazy(array)
    return _as_tensor(array) if _is_plain(array) else None


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    # joblib hands large arrays to its workers as read-only memory maps. Batches are
    # never written to, so that torch's warning about them would be noise.
    if any(stride < 0 for stride in array.strides):
        # torch knows no steps backwards, as in X[:, ::-1].
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
