# SPDX-License-Identifier: BSD-3-Clause
"""Batches from arrays larger than memory, read ahead by a thread."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from skastro.training._ranks import Deal, Ranks
from skastro.utils import LazyArray

# Rows that a shuffle reads together into the buffer.
_BLOCK_BYTES = 2**22
# A buffer is filled from at least this many places, so that it mixes distant rows.
_MIN_BLOCKS = 16
# torch supports gathering rows of the wider unsigned integers only in some cases.
_GATHERED_AS = {"uint16": "int16", "uint32": "int32", "uint64": "int64"}
# Sequential reading gains nothing from larger blocks.
_IN_ORDER_BYTES = 2**25

Batch = tuple[torch.Tensor, torch.Tensor]


def stream_batches(
    array: LazyArray,
    rows: np.ndarray | None,
    batch_size: int,
    *,
    ranks: Ranks | None = None,
    shuffle: bool = False,
    repeats: np.ndarray | None = None,
    seed: int = 0,
    buffer_bytes: int = 2**27,
    pin_memory: bool = False,
    n_skipped: int = 0,
) -> tuple[Deal | None, Iterator[Batch]]:
    """Stream an array on disk in batches, reading ahead in a thread.

    Returns who has which samples, None without `ranks`, and the batches: the positions
    (n_batch,) of samples in the data set, which `rows` of `array` make up in their
    order (None: all), and the samples, in the stored data type. With `shuffle`, blocks
    of neighboring rows are read in random order, as many as fill a buffer, whose rows
    are then shuffled; a data set that fits into one buffer is shuffled exactly.
    `repeats` (n_samples,) says how many times each sample is drawn; samples that are
    not drawn are not read. There are two buffers of `buffer_bytes`: one is filled while
    the other is used. With `pin_memory`, tensors are in page-locked memory, from which
    copies to a CUDA device run beside the computation; it has no effect where there is
    no CUDA device. The first `n_skipped` batches are left out, and not read.

    With `ranks` these are this process's parts of batches of ``ranks.size *
    batch_size``. Where the samples fit into one buffer, their order and the batches are
    those of one process. Otherwise each process reads blocks of its own, and its
    samples are spread evenly over the batches. Arrays of too few blocks are read in
    whole by all.

    >>> import numpy as np
    >>> from skastro.training._stream import stream_batches
    >>> from skastro.utils import LazyArray
    >>> array = LazyArray(np.arange(10, dtype="uint8").reshape(5, 2))
    >>> _, batches = stream_batches(array, np.array([4, 0, 2]), batch_size=2)
    >>> for positions, X in batches:
    ...     print(positions.tolist(), X.tolist())
    [0, 1] [[8, 9], [0, 1]]
    [2] [[4, 5]]
    """
    for name, value in ("batch_size", batch_size), ("buffer_bytes", buffer_bytes):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, but got {value}.")
    dtype = _torch_dtype(array.dtype)
    view = array if rows is None else array[np.asarray(rows)]
    entries = np.arange(len(view))
    if repeats is not None:
        repeats = np.asarray(repeats)
        if repeats.shape != entries.shape or repeats.dtype.kind not in "iu":
            raise ValueError(
                f"repeats must be {len(view)} whole numbers, one per sample, got an "
                f"array of shape {repeats.shape} and dtype {repeats.dtype}."
            )
        if (repeats < 0).any():
            raise ValueError(f"repeats must not be negative, but got {repeats.min()}.")
        entries = np.repeat(entries, repeats)
    pin_memory = pin_memory and torch.cuda.is_available()
    deal: Deal | None = None
    loads: Iterator[_Load] = iter(())
    if len(entries) and shuffle:
        deal, loads = _shuffled_loads(
            view, entries, buffer_bytes, seed, batch_size, ranks
        )
    elif len(entries):
        loads = _loads_in_order(view, entries, buffer_bytes)
    if ranks is not None and deal is None:
        deal, own = ranks.deal(len(entries), batch_size)
        loads = _own_parts(loads, own)
    ends = np.append(np.arange(batch_size, len(entries), batch_size), len(entries))
    if deal is not None:
        ends = deal.ends
    sizes = np.diff(ends, prepend=0)
    if n_skipped:
        loads = _own_parts(loads, np.arange(ends[n_skipped - 1], ends[-1]))
        sizes = sizes[n_skipped:]
    return deal, _batches(view, loads, sizes[sizes > 0], dtype, pin_memory)


@dataclass
class _Load:
    """Samples that are in memory at the same time, in the order of the batches."""

    # Rows of the source to read, ascending, each once.
    rows: np.ndarray
    # For each sample: its position in the data set, and that of its row in `rows`.
    positions: np.ndarray
    index: np.ndarray
    # The most rows of any load.
    most_rows: int


def _torch_dtype(dtype: np.dtype) -> torch.dtype:
    try:
        return torch.from_numpy(np.empty(0, dtype)).dtype
    except TypeError as error:
        raise TypeError(
            f"torch has no data type for {dtype}; store the data as float32 or another "
            "type that torch supports."
        ) from error


def _source_rows(view: LazyArray, entries: np.ndarray) -> np.ndarray:
    return entries if view.rows is None else view.rows[entries]


def _row_bytes(view: LazyArray) -> int:
    return max(1, view.nbytes // max(1, len(view)))


def _loads_in_order(
    view: LazyArray, entries: np.ndarray, buffer_bytes: int
) -> Iterator[_Load]:
    rows = _source_rows(view, entries)
    if (np.diff(rows) >= 0).all():
        buffer_bytes = min(buffer_bytes, _IN_ORDER_BYTES)
    size = max(1, buffer_bytes // _row_bytes(view))
    block = view.block_rows(min(_BLOCK_BYTES, buffer_bytes))
    size = max(block, size - size % block)
    for start in range(0, len(entries), size):
        part = slice(start, start + size)
        distinct, index = np.unique(rows[part], return_inverse=True)
        yield _Load(distinct, entries[part], index, min(size, len(entries)))


def _shuffled_loads(
    view: LazyArray,
    entries: np.ndarray,
    buffer_bytes: int,
    seed: int,
    batch_size: int,
    ranks: Ranks | None,
) -> tuple[Deal | None, Iterator[_Load]]:
    """Draw blocks; with `ranks` those of this process, unless all have to read all."""
    generator = np.random.default_rng(seed)
    rows = _source_rows(view, entries)
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        entries, rows = entries[order], rows[order]
    block_rows = view.block_rows(min(_BLOCK_BYTES, buffer_bytes // _MIN_BLOCKS))
    # Positions among the samples at which the blocks of the source begin and end.
    starts = np.flatnonzero(np.diff(rows // block_rows, prepend=-1))
    stops = np.append(starts[1:], len(rows))
    n_distinct = np.add.reduceat(np.diff(rows, prepend=-1) > 0, starts, dtype=np.intp)

    blocks = generator.permutation(len(starts))
    capacity = max(1, buffer_bytes // _row_bytes(view))
    deal = None
    if ranks is not None and n_distinct.sum() > capacity:
        shares = np.cumsum((stops - starts)[blocks]) * ranks.size
        parts = np.minimum((shares - 1) // len(rows), ranks.size - 1)
        counts = np.bincount(parts, (stops - starts)[blocks], ranks.size).astype(int)
        deal = ranks.spread(counts, batch_size)
        if deal is not None:
            blocks = blocks[parts == ranks.rank]
            generator = np.random.default_rng([seed, ranks.rank])
    cuts = _cuts(n_distinct[blocks], capacity)
    most_rows = int(np.add.reduceat(n_distinct[blocks], cuts[:-1]).max())

    def draw() -> Iterator[_Load]:
        for lo, hi in pairwise(cuts):
            chosen = np.sort(blocks[lo:hi])
            samples = np.concatenate([np.arange(starts[b], stops[b]) for b in chosen])
            generator.shuffle(samples)
            distinct, index = np.unique(rows[samples], return_inverse=True)
            yield _Load(distinct, entries[samples], index, most_rows)

    return deal, draw()


def _own_parts(loads: Iterator[_Load], own: np.ndarray) -> Iterator[_Load]:
    """Leave some samples of all loads, given by their ascending places."""
    n_before = 0
    for load in loads:
        n_samples = len(load.positions)
        lo, hi = np.searchsorted(own, [n_before, n_before + n_samples])
        mine = own[lo:hi] - n_before
        n_before += n_samples
        if len(mine):
            used, index = np.unique(load.index[mine], return_inverse=True)
            yield _Load(load.rows[used], load.positions[mine], index, load.most_rows)


def _cuts(counts: np.ndarray, capacity: int) -> list[int]:
    """Cut a sequence of blocks into parts of about equal size, up to a capacity.

    Equal parts mix the last samples as well as the first.
    """
    total = int(counts.sum())
    n_parts = 1
    if total > capacity:
        # A part ends with the block that takes it past its share.
        n_parts = -(-total // max(1, capacity - int(counts.max())))
    part = (np.cumsum(counts) - counts) * n_parts // total
    return [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(counts)]


def _batches(
    view: LazyArray,
    loads: Iterator[_Load],
    sizes: np.ndarray,
    dtype: torch.dtype,
    pin_memory: bool,
) -> Iterator[Batch]:
    filled: queue.SimpleQueue = queue.SimpleQueue()
    spare: queue.SimpleQueue = queue.SimpleQueue()
    stop = threading.Event()
    as_type = _GATHERED_AS.get(view.dtype.name, view.dtype)
    for _ in range(2):
        spare.put(None)
    reader = threading.Thread(
        target=_read_loads,
        args=(view.source, loads, filled, spare, stop),
        name="skastro-reader",
        daemon=True,
    )
    reader.start()
    try:
        n_left, n_held, size = int(sizes.sum()), 0, 0
        coming = iter(sizes.tolist())
        while n_left:
            load, buffer = filled.get()
            if isinstance(load, BaseException):
                raise load
            rows = torch.from_numpy(buffer.view(as_type))
            positions = torch.from_numpy(load.positions)
            index = torch.from_numpy(load.index)
            start = 0
            while start < len(index):
                if n_held == 0:
                    size = next(coming)
                    place = torch.empty(size, dtype=torch.int64, pin_memory=pin_memory)
                    X = torch.empty(
                        (size, *view.shape[1:]),
                        dtype=rows.dtype,
                        pin_memory=pin_memory,
                    )
                count = min(size - n_held, len(index) - start)
                here, there = slice(n_held, n_held + count), slice(start, start + count)
                place[here] = positions[there]
                # Seven times as fast as buffer[index] for images of bytes.
                torch.index_select(rows, 0, index[there], out=X[here])
                start, n_held, n_left = start + count, n_held + count, n_left - count
                if n_held == size:
                    n_held = 0
                    yield place, X.view(dtype)
            spare.put(buffer)
    finally:
        stop.set()
        spare.put(None)
        if reader is not threading.current_thread():
            reader.join()


def _read_loads(
    source: Any,
    loads: Iterator[_Load],
    filled: queue.SimpleQueue,
    spare: queue.SimpleQueue,
    stop: threading.Event,
) -> None:
    """Fill buffers, in a thread, until the loads are read or the event is set.

    ``spare`` yields a buffer to fill, or None to allocate one.
    """
    try:
        array = LazyArray(source)
        for load in loads:
            buffer = spare.get()
            if stop.is_set():
                return
            if buffer is None:
                buffer = np.empty((load.most_rows, *array.shape[1:]), array.dtype)
            for _ in array.read_steps(load.rows, buffer[: len(load.rows)]):
                if stop.is_set():
                    return
            filled.put((load, buffer))
    except BaseException as error:
        filled.put((error, None))
