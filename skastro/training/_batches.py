# SPDX-License-Identifier: BSD-3-Clause
"""Batches by index from arrays in memory, in place of one Python call a sample."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, Subset

Batch = tuple[Any, torch.Tensor]


class BatchIterator:
    """Iterate over a data set in batches, each fetched by one indexing operation.

    It takes the place of :class:`torch.utils.data.DataLoader` in skorch's
    ``iterator_train`` and ``iterator_valid``. Data sets that are not plain arrays
    behind :class:`skorch.dataset.Dataset` (or a ``Subset`` of it) go through a
    ``DataLoader`` all the same.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        The data. Arrays are shared, not copied.
    batch_size : int, default=1
        Samples in a batch. The last batch holds what is left.
    shuffle : bool, default=False
        Draw a new order, without replacement, at each iteration, from torch's
        generator.
    sampling_weights : array of shape (len(dataset),), default=None
        Where given, each iteration draws ``len(dataset)`` samples with replacement and
        with probabilities in proportion to these weights; ``shuffle`` has no effect.
    **loader_options
        Further parameters of ``DataLoader``, for data sets that need one
        (``num_workers``, ``collate_fn``, ...).

    Examples
    --------
    >>> import numpy as np
    >>> from skorch.dataset import Dataset
    >>> from skastro.training import BatchIterator
    >>> dataset = Dataset(np.zeros((10, 3), dtype="float32"), np.arange(10))
    >>> [len(y) for X, y in BatchIterator(dataset, batch_size=4)]
    [4, 4, 2]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampling_weights: np.ndarray | None = None,
        **loader_options: Any,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.sampling_weights = sampling_weights
        self._source = None if loader_options else _arrays_behind(dataset)
        if self._source is None:
            self._loader = DataLoader(
                dataset, batch_size, sampler=self._loader_sampler(), **loader_options
            )

    def __len__(self) -> int:
        """Count the batches of one iteration."""
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield pairs of X and y."""
        if self._source is None:
            yield from self._loader
            return
        X, y, rows = self._source
        order = self._draw_order()
        n_samples = len(self.dataset)
        for start in range(0, n_samples, self.batch_size):
            stop = min(start + self.batch_size, n_samples)
            index = slice(start, stop) if order is None else order[start:stop]
            if rows is not None:
                index = rows[index]
            target = torch.zeros(stop - start) if y is None else y[index]
            yield _take(X, index), target

    def _draw_order(self) -> torch.Tensor | None:
        if self.sampling_weights is not None:
            weights = torch.as_tensor(self.sampling_weights, dtype=torch.float64)
            return torch.multinomial(weights, len(weights), replacement=True)
        if self.shuffle:
            return torch.randperm(len(self.dataset))
        return None

    def _loader_sampler(self) -> torch.utils.data.Sampler | None:
        if self.sampling_weights is not None:
            return torch.utils.data.WeightedRandomSampler(
                self.sampling_weights, len(self.sampling_weights)
            )
        if self.shuffle and not isinstance(
            self.dataset, torch.utils.data.IterableDataset
        ):
            return torch.utils.data.RandomSampler(self.dataset)
        return None


def _take(X: Any, index: Any) -> Any:
    if isinstance(X, dict):
        return {name: values[index] for name, values in X.items()}
    return X[index]


def _arrays_behind(dataset: Any) -> tuple[Any, Any, torch.Tensor | None] | None:
    """Find X, y and the rows of a data set, as tensors that share its memory.

    None where the data set is not a plain array: a user's own data set, or one whose
    ``transform`` or ``__getitem__`` does more than indexing.
    """
    rows = None
    while type(dataset) is Subset:
        indices = np.asarray(dataset.indices)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    if type(dataset) is not Dataset:
        return None
    X = dataset.X
    values = X.values() if isinstance(X, dict) else [X]
    arrays = [*values] if dataset.y is None else [*values, dataset.y]
    if not all(isinstance(a, np.ndarray) and a.dtype.kind in "biuf" for a in arrays):
        return None
    if isinstance(X, dict):
        X = {name: _as_tensor(values) for name, values in X.items()}
    else:
        X = _as_tensor(X)
    y = None if dataset.y is None else _as_tensor(dataset.y)
    return X, y, None if rows is None else torch.as_tensor(rows)


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    # joblib hands large arrays to its workers as read-only memory maps. Batches are
    # never written to, so that torch's warning about them would be noise.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
