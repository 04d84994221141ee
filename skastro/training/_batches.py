# SPDX-License-Identifier: BSD-3-Clause
"""Batches indexed from arrays, and their halving where they do not fit in memory."""

import contextlib
import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset, get_len
from torch.utils.data import DataLoader, Subset

from skastro.training._compute import adapt_threads
from skastro.training._device import (
    available_memory,
    on_device,
    place_on_device,
    placed_on_device,
)
from skastro.training._ranks import Deal, Ranks
from skastro.training._stream import stream_batches
from skastro.utils import as_lazy, is_lazy, lend_to_each, own_generator

Batch = tuple[Any, torch.Tensor]

_THIS_THREAD = threading.local()
# After this many steps the optimizer's state and the largest activations have been
# allocated on the device, so that the free memory is available for the data.
_STEPS_BEFORE_PLACING = 2
# The entry of a batch that holds the samples' weights, beside the entry "X".
SAMPLE_WEIGHT = "_sample_weight"
_MAIN = "X"
# torch does not select rows of the wider unsigned integers on every device.
_SIGNED = {
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
}


class NotFiniteError(ValueError):
    """A batch holds NaN or infinity."""


def separate_weight(X: Any) -> tuple[Any, Any]:
    """Separate a batch from the samples' weights; None where there are none."""
    if isinstance(X, dict) and SAMPLE_WEIGHT in X:
        return X[_MAIN], X[SAMPLE_WEIGHT]
    return X, None


@dataclass
class Source:
    """The arrays of a data set."""

    # The data set that owns the arrays; the whole data set for a ``Subset``.
    owner: Any
    # Tensor or LazyArray, or a dict of them, in which only the entry "X" may be lazy.
    X: Any
    y: torch.Tensor | None
    # The rows that belong to the data set, in its order; None for all.
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
        """Fetch X and y of some rows; y is zero if there is no target.

        ``X`` is the batch of the main array if it has been read already.
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
    """Find the arrays of a data set; tensors share their memory.

    Returns None if the data set does not consist of plain arrays: a user's own, or one
    whose ``transform`` or ``__getitem__`` does more than indexing.
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
    # joblib passes large arrays to its workers as read-only memory maps. Batches are
    # never written to, so torch's warning about them does not apply.
    if any(stride < 0 for stride in array.strides):
        # torch does not support negative strides, as of X[:, ::-1].
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


class BatchIterator:
    """Iterate over a data set in batches, each fetched by one indexing operation.

    It replaces :class:`torch.utils.data.DataLoader` in skorch's ``iterator_train`` and
    ``iterator_valid``. What it does depends on the data:

    - arrays in memory are indexed as tensors that share their memory;
    - arrays on disk (see :class:`skastro.datasets.LazyArray`) are read in contiguous
      chunks;
    - both are copied to a CUDA device once, in their own dtype, and indexed there, if
      they fit into the memory that is free after the first steps of the training
      (arrays on disk: after the first epoch). Otherwise batches are copied from pinned
      memory while the network computes;
    - any other data set goes through a ``DataLoader``.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        The data: arrays in a :class:`skorch.dataset.Dataset` or in a ``Subset`` of it,
        which is not copied; or any other data set.
    batch_size : int, default=1
        Samples in a batch. The last batch may be smaller.
    shuffle : bool, default=False
        Draw a new order at each iteration, without replacement, from torch's generator,
        or from that of the estimator that is being trained.
        Arrays on disk are shuffled chunk by chunk, and row by row within `buffer_size`.
    sampling_weights : array of shape (len(dataset),), default=None
        If given, each iteration draws ``len(dataset)`` samples with replacement, with
        probabilities proportional to these weights; ``shuffle`` then has no effect.
    device : torch.device, default=None
        Device of the network. None leaves the batches on the device of the data.
    buffer_size : int, default=134217728
        Bytes in each of the two buffers through which arrays on disk are read.
    placed : dict, default=None
        Storage for the copies of data sets on the device; iterators with the same dict
        share them. None keeps them with the iterator.
    **loader_options
        Further parameters of ``DataLoader``, for data sets that need one
        (``num_workers``, ``collate_fn``, ...).

    Attributes
    ----------
    checks_finite : bool
        If True, a batch with NaN or infinity raises ``NotFiniteError`` after its use,
        when it is in the processor's cache. This costs less than a check of all of X
        beforehand.
    allows_nan : bool
        Whether only infinity counts.
    is_streamed : bool
        Whether the latest iteration reads from the disk, in another order than that of
        data on a device.
    ranks : Ranks or None
        The processes that train together, each of which gets its part of batches of
        ``ranks.size * batch_size`` samples.
    deal : Deal or None
        With `ranks`: how many samples of each batch each process has, after ``iter``.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch.dataset import Dataset, get_len
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
        device: torch.device | None = None,
        buffer_size: int = 2**27,
        placed: dict | None = None,
        **loader_options: Any,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.sampling_weights = sampling_weights
        self.device = torch.device("cpu" if device is None else device)
        self.buffer_size = buffer_size
        self.placed = {} if placed is None else placed
        self.checks_finite = False
        self.allows_nan = False
        self.is_streamed = False
        self._n_skipped = 0
        self._was_streamed: bool | None = None
        self.ranks: Ranks | None = None
        self.deal: Deal | None = None
        self._was_read = False
        self._generator: torch.Generator | None = None
        self._source = None if loader_options else find_source(dataset)
        if self._source is None:
            options = {"batch_size": batch_size, "sampler": self._loader_sampler()}
            if "batch_sampler" in loader_options:
                options = {}
            self._loader = DataLoader(dataset, **{**options, **loader_options})

    def __len__(self) -> int:
        """Count the batches of one iteration."""
        n_ranks = 1 if self.ranks is None else self.ranks.size
        return math.ceil(len(self.dataset) / (n_ranks * self.batch_size))

    def skip(self, n_batches: int, was_streamed: bool | None) -> None:
        """Leave the first batches out of the next iterations, which go on with others.

        These were streamed, or not, and so must be the next ones; None stands for both.
        """
        self._n_skipped = n_batches
        self._was_streamed = was_streamed

    def __iter__(self) -> Iterator[Batch]:
        """Draw the order of the samples, then yield pairs of X and y."""
        batches = self._begin()
        if self._was_streamed not in (None, self.is_streamed):
            raise ValueError(
                "The epoch cannot go on: its data were in the memory of a device, "
                "which cannot hold them now. Go on on a device like that one."
            )
        return batches

    def _begin(self) -> Iterator[Batch]:
        source = self._source
        self._generator = own_generator()
        self.is_streamed = False
        if source is None:
            if self.ranks is not None:
                raise ValueError(
                    "A training on several devices needs X and y as arrays, in memory "
                    "or on disk, and iterators without options of a DataLoader; got "
                    f"a {type(self.dataset).__name__}."
                )
            batches = lend_to_each(self._loader)
            for _ in range(self._n_skipped):
                next(batches)
            return self._checked(batches)
        if self.device.type == "cuda":
            return self._through_device(source)
        return self._from_host(source)

    def _checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        return (
            check_batches(batches, self.allows_nan) if self.checks_finite else batches
        )

    def _from_host(self, source: Source) -> Iterator[Batch]:
        batches = self._streamed(source) if source.is_lazy else self._indexed(source)
        return self._checked(batches)

    def _indexed(self, source: Source) -> Iterator[Batch]:
        """Draw an order, and index tensors on any device."""
        return self._take(source, self._plan(), self._n_skipped)

    @staticmethod
    def _take(
        source: Source, order: "_Order", first: int, last: int | None = None
    ) -> Iterator[Batch]:
        """Yield batches, from the first one to before the last one."""
        samples = order.samples
        if samples is not None:
            samples = samples.to(source.device)
        if source.rows is not None:
            samples = source.rows if samples is None else source.rows[samples]
        edges = np.append(0, order.ends)[first : None if last is None else last + 1]
        for start, stop in pairwise(edges.tolist()):
            yield source.take(
                slice(start, stop) if samples is None else samples[start:stop]
            )

    def _plan(self) -> "_Order":
        """Draw the order of the samples, and cut it into batches."""
        n_samples = len(self.dataset)
        samples = self._draw_order() if self._is_shuffled else None
        if self.ranks is None:
            ends = np.arange(self.batch_size, n_samples, self.batch_size)
            return _Order(samples, np.append(ends, n_samples)[: len(self)])
        self.deal, rows = self.ranks.deal(n_samples, self.batch_size)
        own = torch.from_numpy(rows)
        return _Order(own if samples is None else samples[own], self.deal.ends)

    def _streamed(self, source: Source) -> Iterator[Batch]:
        self.is_streamed = True
        n_samples = len(self.dataset)
        repeats = None
        if self.sampling_weights is not None:
            drawn = self._draw_order().numpy()
            repeats = np.bincount(drawn, minlength=n_samples)
        shuffle = self.shuffle or repeats is not None
        rows = None if source.rows is None else source.rows.numpy()
        self.deal, batches = stream_batches(
            source.lazy,
            rows,
            self.batch_size,
            ranks=self.ranks,
            shuffle=shuffle,
            repeats=repeats,
            seed=self._draw_seed() if shuffle else 0,
            buffer_bytes=self.buffer_size,
            pin_memory=self.device.type == "cuda",
            n_skipped=self._n_skipped,
        )
        return self._with_targets(source, batches)

    @staticmethod
    def _with_targets(source: Source, batches: Iterator) -> Iterator[Batch]:
        for positions, X in batches:
            index = positions if source.rows is None else source.rows[positions]
            yield source.take(index, X)

    def _through_device(self, source: Source) -> Iterator[Batch]:
        """Take batches from the device's memory once the data are on the device."""
        device = self.device
        # Data that are read once, as in prediction, are not copied.
        seen_again = self._is_shuffled
        placed = placed_on_device(source, device, self.placed)
        if placed is None and seen_again:
            if self._was_read or (source.is_lazy and self._was_streamed is False):
                placed = place_on_device(source, device, self.placed)
            else:
                # The peak measures the memory that later steps need.
                torch.cuda.reset_peak_memory_stats(device)
        if placed is not None:
            batches = self._indexed(placed)
        elif source.is_lazy or not seen_again:
            batches = on_device(self._from_host(source), device)
        else:
            batches = self._placing(source, self._plan())
        return self._until_read(batches)

    def _placing(self, source: Source, order: "_Order") -> Iterator[Batch]:
        """Place the data on the device after the first steps, if they fit."""
        device = self.device
        first = self._n_skipped
        n_before = first + _STEPS_BEFORE_PLACING
        yield from on_device(self._take(source, order, first, n_before), device)
        placed = place_on_device(source, device, self.placed)
        if placed is None:
            yield from on_device(self._take(source, order, n_before), device)
        else:
            yield from self._take(placed, order, n_before)

    def _until_read(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        yield from batches
        self._was_read = True

    @property
    def _is_shuffled(self) -> bool:
        return self.shuffle or self.sampling_weights is not None

    def _draw_order(self) -> torch.Tensor:
        # Always on the CPU: results must not depend on what fits on a device.
        n_samples = len(self.dataset)
        if self.sampling_weights is None:
            return torch.randperm(n_samples, generator=self._generator)
        # torch.multinomial stops at 2**24 samples.
        weights = torch.as_tensor(self.sampling_weights, dtype=torch.float64)
        edges = weights.cumsum(0)
        draws = torch.rand(n_samples, generator=self._generator, dtype=torch.float64)
        drawn = torch.searchsorted(edges, draws * edges[-1], right=True)
        return drawn.clamp_(max=n_samples - 1)

    def _draw_seed(self) -> int:
        return int(torch.randint(2**62, (), generator=self._generator))

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


@dataclass
class _Order:
    """Samples in the order of an iteration, and where its batches end."""

    # None: as they are in the data set.
    samples: torch.Tensor | None
    ends: np.ndarray


def check_batches(batches: Iterable[Batch], allows_nan: bool) -> Iterator[Batch]:
    """Yield batches, and check each one when the next is asked for.

    The batch is in the processor's cache by then, which makes the check cheap.
    """
    n_checked = 0
    for batch in batches:
        yield batch
        X = batch[0] if isinstance(batch, tuple | list) else batch
        X, _ = separate_weight(X)
        if not (isinstance(X, torch.Tensor) and X.is_floating_point()):
            continue
        # In the dtype of the network: float32 overflows before float64 does.
        X = X.float()
        # The sum is fast to compute and not finite if a term is not. It may also
        # overflow.
        if not math.isfinite(X.sum().item()):
            wrong = X.isinf() if allows_nan else ~X.isfinite()
            if wrong.any():
                row = n_checked + int(wrong.flatten(1).any(dim=1).nonzero()[0])
                raise NotFiniteError(f"Sample {row} of X has NaN or infinity.")
        n_checked += len(X)


def samples_at_once(device: torch.device, sample_size: int) -> int:
    """Choose how many samples of ``sample_size`` numbers to predict at once.

    On a CPU these are as many as make two megabytes, which leaves the first feature
    maps of a small network in its cache, or 256 where samples are larger, which pays
    for reading the weights of a large network, or 1024 of at most as many numbers,
    where calling a layer takes as long as computing it. On a CUDA device it is one
    number for each 2048 bytes of its memory, a quarter of which a residual network of
    64 maps then takes, and less where less is available.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        n_bytes = min(total, 4 * available_memory(device))
        return max(1, n_bytes // 2048 // sample_size)
    least = 1024 if sample_size <= 1024 else min(256, 2**22 // sample_size)
    return max(1, 2**19 // sample_size, least)


def current_ranks() -> Ranks | None:
    """Return the processes that train together in this thread, if there are any."""
    return getattr(_THIS_THREAD, "ranks", None)


@contextlib.contextmanager
def training_on(ranks: Ranks) -> Iterator[None]:
    """Let trainings in this block, in this thread, share their batches."""
    before = current_ranks()
    _THIS_THREAD.ranks = ranks
    try:
        yield
    finally:
        _THIS_THREAD.ranks = before


def samples_in_step(batch: Any) -> int:
    """Count the samples of a batch, those of other processes included."""
    ranks = current_ranks()
    return n_samples_in(batch) if ranks is None else ranks.n_whole


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
        _part_of(batch, slice(start, start + limit))
        for start in range(0, n_samples, limit)
    ]


def _part_of(batch: Any, rows: slice) -> Any:
    if isinstance(batch, tuple | list):
        return type(batch)(_part_of(part, rows) for part in batch)
    if isinstance(batch, dict):
        return {name: _part_of(part, rows) for name, part in batch.items()}
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
        adapt_threads()
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
