# SPDX-License-Identifier: BSD-3-Clause
"""Surveys in arrays: in memory, in HDF5 files and zarr stores, and of dask."""

import math
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from skastro.distributed._source import Part, Rows, Source
from skastro.streaming._journal import probe_rows
from skastro.streaming._output import IdColumn, take_rows
from skastro.streaming._predict_stream import count_rows, default_chunk_size
from skastro.utils import LazyArray, plain_array

# Names of arrays of spectra, the first that exists counts.
_NAMES = ("flux", "X")
_IDS = "id"
# A description of rows that takes more is no description, but holds them.
_DESCRIPTION_BYTES = 2**20
# Blocks of a dask array that are computed for the comparison of two runs.
_N_BLOCKS = 3


@dataclass(frozen=True)
class _ArrayPart(Part):
    rows: Any

    def read(self) -> Rows:
        return Rows.all_of(self.rows)


@dataclass(frozen=True)
class _StoredPart(Part):
    # A pickle of the array, so that a task opens the file, and not the scheduler.
    array: bytes
    rows: slice | np.ndarray

    def read(self) -> Rows:
        return Rows.all_of(pickle.loads(self.array)[self.rows][:])


class ArraySource(Source):
    """Rows of an array, which workers read themselves where it is in a file."""

    kind = "array"

    def __init__(self, X: Any, ids: Any = None) -> None:
        # Rows of a table of pandas keep the names of its columns.
        self._array = X if hasattr(X, "iloc") else LazyArray(X)
        self.n_items = count_rows(self._array)
        self.ids = None if ids is None else IdColumn(ids, self.n_items)
        self.most = default_chunk_size(self._array)
        self._stored = _stored(self._array)

    def split(self, size: int) -> list[slice]:
        """Return ranges of rows."""
        return [
            slice(start, min(start + size, self.n_items))
            for start in range(0, self.n_items, size)
        ]

    def size_of(self, span: slice) -> int:
        """Return the number of rows."""
        return span.stop - span.start

    def part(self, span: slice) -> Part:
        """Return rows, or where they are on disk."""
        if self._stored is None:
            return _ArrayPart(take_rows(self._array, span.start, span.stop))
        rows = self._array.rows
        return _StoredPart(self._stored, span if rows is None else rows[span])

    def name(self, span: slice) -> str:
        """Name the rows."""
        return f"rows {span.start} to {span.stop - 1} of X"

    def samples(self, client: Any = None) -> Iterator[Any]:
        """Read rows spread over the array."""
        for row in probe_rows(self.n_items):
            yield take_rows(self._array, row, row + 1)

    def head(self, n_rows: int) -> Any:
        """Read the first rows."""
        return take_rows(self._array, 0, n_rows)

    def aligned(self, size: int) -> int:
        """Take whole chunks of the file."""
        if not isinstance(self._array, LazyArray):
            return size
        row_bytes = max(1, self._array.nbytes // self.n_items)
        return self._array.block_rows(size * row_bytes)


def _stored(array: Any) -> bytes | None:
    """Return a small pickle, by which another process can open an array on disk."""
    import cloudpickle

    if not isinstance(array, LazyArray) or type(array.source) is np.ndarray:
        return None
    try:
        content = cloudpickle.dumps(LazyArray(array.source))
    except (pickle.PicklingError, TypeError):
        return None
    return content if len(content) < _DESCRIPTION_BYTES else None


class DaskSource(Source):
    """Blocks of rows of a dask array."""

    kind = "dask array"

    def __init__(self, X: Any, ids: Any = None) -> None:
        self._array = one_block_a_row(X)
        self.n_items = count_rows(self._array)
        self.ids = None if ids is None else IdColumn(ids, self.n_items)
        # Blocks stay what they are unless the caller says so.
        self.most = self.fewest = max(self._array.chunks[0])

    def split(self, size: int) -> list[int]:
        """Return the numbers of the blocks."""
        if size != max(self._array.chunks[0]):
            self._array = self._array.rechunk({0: size})
        return list(range(len(self._array.chunks[0])))

    def size_of(self, span: int) -> int:
        """Return the number of rows."""
        return self._array.chunks[0][span]

    def part(self, span: int) -> Any:
        """Return the block."""
        return self._array.blocks[span]

    def name(self, span: int) -> str:
        """Name the rows."""
        start = sum(self._array.chunks[0][:span])
        return f"rows {start} to {start + self.size_of(span) - 1} of X"

    def samples(self, client: Any = None) -> Iterator[np.ndarray]:
        """Compute the first rows of some blocks."""
        lengths = np.array(self._array.chunks[0])
        filled = np.flatnonzero(lengths)
        for block in np.unique(
            filled[np.linspace(0, len(filled) - 1, _N_BLOCKS, dtype=int)]
        ):
            row = self._array.blocks[int(block)][:1]
            yield plain_array(client.compute(row, sync=True))

    def submit(self, client: Any, run: str, span: int, **options: Any) -> Any:
        """Let a worker predict a block."""
        import dask

        from skastro.distributed._worker import predict_part

        key = options.pop("key")
        task = dask.delayed(predict_part, pure=False)(
            run, self.part(span), dask_key_name=key
        )
        return client.compute(task, **options)


def one_block_a_row(X: Any) -> Any:
    """Return a dask array whose blocks hold whole rows, and whose length is known."""
    if not X.ndim or any(math.isnan(length) for length in X.shape):
        raise ValueError(
            f"X is a dask array of shape {X.shape}, but the number of rows must be "
            "known; call X.compute_chunk_sizes() before."
        )
    return X.rechunk({axis: -1 for axis in range(1, X.ndim)})


def open_store(path: Path, name: str | None, ids: Any) -> tuple[Any, Any]:
    """Open an array in an HDF5 file or a zarr store, and its ids beside it."""
    if path.is_dir():
        import zarr

        group, is_array = zarr.open(path, mode="r"), zarr.Array
    else:
        group, is_array = h5py.File(path, "r"), h5py.Dataset
    if isinstance(group, is_array):
        if name is not None:
            raise ValueError(
                f"{path} holds a single array, so leave out name={name!r}."
            )
        array, beside = group, {}
    else:
        array = group[_choose(path, group, name, is_array)]
        folder = os.path.dirname(array.name.strip("/"))
        beside = group[folder] if folder else group
    if isinstance(ids, str):
        if ids not in beside:
            raise ValueError(f"{path} holds no array {ids!r} beside that of X.")
        ids = beside[ids]
    elif ids is None and _IDS in beside and beside[_IDS].shape == array.shape[:1]:
        ids = beside[_IDS]
    return array, ids


def _choose(path: Path, group: Any, name: str | None, is_array: Any) -> str:
    """Return the name of the array of X."""
    arrays = [key for key in group if isinstance(group[key], is_array)]
    if name is not None:
        if name not in group or not isinstance(group[name], is_array):
            raise ValueError(
                f"{path} holds no array {name!r}; it holds: {', '.join(arrays)}."
            )
        return name
    found = [key for key in _NAMES if key in arrays]
    found = found or [key for key in arrays if group[key].ndim > 1]
    if not found or (len(found) > 1 and found[0] not in _NAMES):
        raise ValueError(
            f"{path} holds {len(found)} arrays of two or more axes, and none is called "
            f"{' or '.join(map(repr, _NAMES))}; choose one by name=, of: "
            f"{', '.join(arrays) or 'none'}."
        )
    return found[0]
