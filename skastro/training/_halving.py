# SPDX-License-Identifier: BSD-3-Clause
"""Halving of batches that are too large for the device's memory."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from skorch.dataset import get_len


def n_samples_in(batch: Any) -> int:
    """Count the samples in a batch: X and y, or X alone."""
    return get_len(batch[0] if isinstance(batch, tuple | list) else batch)


def split_batch(batch: Any, limit: int | None) -> list[Any]:
    """Split a batch, in any nesting that skorch knows, into parts of at most ``limit``.

    >>> import torch
    >>> from skastro.training import split_batch
    >>> [part.tolist() for part in split_batch(torch.arange(5), 3)]
    [[0, 1, 2], [3, 4]]
    """
    if limit is None or n_samples_in(batch) <= limit:
        return [batch]
    n_samples = n_samples_in(batch)
    return [
        _rows_of(batch, slice(start, start + limit))
        for start in range(0, n_samples, limit)
    ]


def _rows_of(batch: Any, rows: slice) -> Any:
    if isinstance(batch, tuple | list):
        return type(batch)(_rows_of(part, rows) for part in batch)
    if isinstance(batch, dict):
        return {name: _rows_of(part, rows) for name, part in batch.items()}
    return batch[rows]


class BatchHalving:
    """Run a function on batches; halve those that are too large for the memory.

    When the device's memory runs out, the batch is halved and a warning names the new
    size. Later batches are split to that size at once. ``setting`` is the parameter
    that the warning advises to set.

    >>> import torch
    >>> from skastro.training import BatchHalving
    >>> halving = BatchHalving()
    >>> for batch, total in halving.run(torch.sum, torch.arange(4)):
    ...     print(batch.tolist(), total.item())
    [0, 1, 2, 3] 6
    """

    def __init__(self, setting: str = "batch_size") -> None:
        self.setting = setting
        self._limit: int | None = None

    def run(
        self, function: Callable[[Any], Any], batch: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each part of the batch with the result of the function.

        Raises torch.OutOfMemoryError if the memory is too small for one sample.
        """
        todo = split_batch(batch, self._limit)[::-1]
        while todo:
            part = todo.pop()
            result, fits = _attempt(function, part)
            if fits:
                yield part, result
            else:
                self._limit = _halve(part, self.setting)
                smaller = [split_batch(p, self._limit)[::-1] for p in [*todo, part]]
                todo = [part for parts in smaller for part in parts]


def _attempt(function: Callable[[Any], Any], batch: Any) -> tuple[Any, bool]:
    """Call a function; False if the device's memory was too small."""
    try:
        return function(batch), True
    except torch.OutOfMemoryError:
        if n_samples_in(batch) == 1:
            raise
    # Outside of the handler, whose traceback keeps the tensors of the failed call.
    return None, False


def _halve(batch: Any, setting: str) -> int:
    n_samples = n_samples_in(batch)
    limit = math.ceil(n_samples / 2)
    warnings.warn(
        f"The device's memory is too small for a batch of {n_samples} samples; "
        f"continuing with batches of {limit}. Set {setting}={limit} to start with it.",
        RuntimeWarning,
        stacklevel=2,
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return limit


def concatenate(parts: list[Any]) -> Any:
    """Join outputs of a module, tensors or tuples of tensors, along the samples."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
    return torch.cat(parts)
