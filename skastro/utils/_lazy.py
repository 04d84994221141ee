# SPDX-License-Identifier: BSD-3-Clause
"""Arrays that are read a few rows at a time, such as arrays larger than memory."""

import math
import os
import pickle
from collections.abc import Callable, Iterator
from itertools import pairwise
from mmap import ALLOCATIONGRANULARITY
from pathlib import Path
from typing import Any

import numpy as np

from skastro.utils._arrays import plain_array
from skastro.utils._files import physical_memory

# Bytes to read at once: enough for a disk's full speed, and little memory.
_BLOCK_BYTES = 2**23
# Chunks up to this size are read whole, since part of a compressed one costs as much.
_WHOLE_CHUNK_BYTES = 2**26
# Reading this many more bytes takes about as long as a separate call (0.1 ms).
_GAP_BYTES = 2**18
# Values in a batch: a double-precision copy of it stays in the processor's cache, and
# numpy's overhead per call is negligible.
_BATCH_VALUES = 2**18
# Suffixes, in lower case, of files that are taken for images.
IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def row_batches(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of an array into batches that fit the processor's cache.

    >>> list(row_batches((250, 3000)))
    [slice(0, 87, None), slice(87, 174, None), slice(174, 250, None)]
    """
    n_rows = shape[0]
    batch = max(1, _BATCH_VALUES // max(1, math.prod(shape[1:])))
    for start in range(0, n_rows, batch):
        yield slice(start, min(start + batch, n_rows))


class LazyArray:
    """Rows of an array on disk that are read when they are indexed.

    Integers and slices read rows and give an array; a list, an array or a mask of rows
    gives another ``LazyArray`` and reads nothing. scikit-learn's ``cross_val_score``
    and ``train_test_split`` therefore split an array that is larger than memory without
    reading it.

    Parameters
    ----------
    source : array-like of shape (n_rows, ...)
        Anything with ``shape``, ``dtype`` and slicing by rows: an ``h5py.Dataset``,
        a ``numpy.memmap``, a ``zarr.Array``, a dask array, another ``LazyArray``. It
        must stay open while the array is used.
    rows : array-like of int of shape (n_samples,), default=None
        The rows of ``source`` that this array contains, in any order; repeats are
        allowed. None stands for all rows in order.

    Attributes
    ----------
    source : object
        The array that the rows are read from.
    rows : ndarray of shape (n_samples,) or None
        Their numbers in ``source``, counted from zero; None for all rows.
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        The stored data type, in the machine's byte order.

    Raises
    ------
    TypeError
        If ``source`` is not such an array, or does not hold numbers.
    IndexError
        If ``rows`` are not row numbers of ``source``.

    See Also
    --------
    ImageFiles : The same for image files.

    Notes
    -----
    A pickle does not contain the data: HDF5 data sets, zarr arrays and memory maps are
    stored as the path of their file, which is opened for reading when the array is
    unpickled. The workers of joblib thus read the file themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.datasets import LazyArray
    >>> X = LazyArray(np.arange(12.0).reshape(4, 3))
    >>> X[1:3]
    array([[3., 4., 5.],
           [6., 7., 8.]])
    >>> X[[3, 0]]
    LazyArray(ndarray, shape=(2, 3), dtype=float64)
    >>> X[[3, 0]][0]
    array([ 9., 10., 11.])
    """

    def __init__(self, source: Any, rows: Any = None) -> None:
        if (
            type(source) is not np.ndarray
            and not isinstance(source, np.memmap)
            and (
                isinstance(source, np.ndarray)
                or hasattr(source, "to_numpy")
                or hasattr(source, "detach")
            )
        ):
            # Arrays in memory; a mask or a unit would be lost on the way.
            source = plain_array(source, "source")
        _check_source(source)
        if rows is not None:
            rows = _row_numbers(rows, source.shape[0])
        if isinstance(source, LazyArray):
            rows = source._rows_of(rows)
            source = source.source
        n_rows = int(source.shape[0]) if rows is None else len(rows)
        self.source: Any = source
        self.rows = rows
        self.shape = (n_rows, *(int(length) for length in source.shape[1:]))
        self.dtype = np.dtype(source.dtype).newbyteorder("=")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take in memory once they are read."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        origin = type(self.source).__name__
        return f"LazyArray({origin}, shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, key: Any) -> Any:
        # scikit-learn indexes by array[key, ...].
        if isinstance(key, tuple) and len(key) in (1, 2) and key[1:] in ((), (...,)):
            key = key[0]
        if key is Ellipsis:
            key = slice(None)
        if isinstance(key, slice):
            return self.read_rows(np.arange(*key.indices(len(self))))
        if isinstance(key, tuple):
            raise IndexError(
                f"A lazy array is indexed by rows only, but got {key!r}; read rows "
                "first, as in X[:100][:, 0]."
            )
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            return self.read_rows([key])[0]
        return LazyArray(self, _row_numbers(key, len(self)))

    def __array__(
        self, dtype: np.dtype | None = None, copy: bool | None = None
    ) -> np.ndarray:
        """Read all rows into memory; a catalog larger than memory does not fit."""
        if copy is False:
            raise ValueError(
                "The rows of a lazy array are read from disk, which takes a copy; "
                "leave out copy=False."
            )
        array = self[:]
        return array if dtype is None else array.astype(dtype, copy=False)

    def read_rows(self, rows: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Read rows in any order; neighboring rows are read by one call.

        Parameters
        ----------
        rows : array-like of int of shape (n,)
            Row numbers in this array. Repeats are allowed; negative numbers count from
            the end.
        out : ndarray of shape (n, ...), default=None
            Array for the rows, C-contiguous and of this array's dtype. None allocates
            an array.

        Returns
        -------
        out : ndarray of shape (n, ...)
            The rows in the order of `rows`, in the machine's byte order.

        Raises
        ------
        IndexError
            If a row does not exist.
        """
        rows = _row_numbers(rows, len(self))
        if out is None:
            out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for _ in self.read_steps(rows, out):
            pass
        return out

    def read_steps(self, rows: np.ndarray, out: np.ndarray) -> Iterator[None]:
        """Read rows as ``read_rows`` does, in steps between which the caller may stop.

        Parameters
        ----------
        rows : ndarray of int of shape (n,)
            Row numbers in this array, counted from zero.
        out : ndarray of shape (n, ...)
            Array for the rows, C-contiguous and of this array's dtype.

        Yields
        ------
        step : None
            After each read of at most a block.
        """
        _check_open(self.source)
        rows = self._rows_of(rows)
        block = self.block_rows(_BLOCK_BYTES)
        if hasattr(self.source, "read_rows"):
            for start in range(0, len(rows), block):
                part = slice(start, start + block)
                self.source.read_rows(rows[part], out[part])
                yield
            return

        order = None
        if (np.diff(rows) < 0).any():
            order = np.argsort(rows, kind="stable")
            rows = rows[order]
        scratch = np.empty((0, *self.shape[1:]), self.dtype)
        for lo, hi in self._spans(rows, block):
            start, stop = rows[lo], rows[hi - 1] + 1
            if order is None and (np.diff(rows[lo:hi]) == 1).all():
                self._read_range(start, stop, out[lo:hi])
                yield
                continue
            if len(scratch) < stop - start:
                scratch = np.empty((stop - start, *self.shape[1:]), self.dtype)
            self._read_range(start, stop, scratch[: stop - start])
            for first in range(lo, hi, block):
                last = min(first + block, hi)
                index = rows[first:last] - start
                if order is None:
                    # Other modes of take make a copy first.
                    np.take(scratch, index, 0, out=out[first:last], mode="clip")
                else:
                    out[order[first:last]] = scratch[index]
            yield

    def blocks(self, max_bytes: int = _BLOCK_BYTES) -> list[slice]:
        """Cut the array into ranges of rows of bounded size.

        Parameters
        ----------
        max_bytes : int, default=2**23
            Maximum size of a range in memory. A range has at least one row, and chunks
            of HDF5 and zarr arrays, up to 64 MiB, are not split.

        Returns
        -------
        blocks : list of slice
            The ranges, which cover all rows in order. If the source is stored in chunks
            and the array contains all its rows, the ranges begin at chunk boundaries.
        """
        block = self.block_rows(max_bytes)
        n_rows = len(self)
        return [
            slice(start, min(start + block, n_rows))
            for start in range(0, n_rows, block)
        ]

    def block_rows(self, max_bytes: int = _BLOCK_BYTES) -> int:
        """Return the number of rows in each of ``blocks`` but the last.

        Parameters
        ----------
        max_bytes : int, default=2**23
            Maximum size of a block in memory.

        Returns
        -------
        n_rows : int
            Number of rows, a multiple of the length of chunks if there are any.
        """
        block = max(1, max_bytes // self._row_bytes)
        chunk = self._chunk_rows
        if chunk <= block:
            return block - block % chunk
        return chunk if chunk * self._row_bytes <= _WHOLE_CHUNK_BYTES else block

    def _rows_of(self, rows: np.ndarray | None) -> np.ndarray | None:
        """Convert row numbers of this array to those of the source."""
        if self.rows is None:
            return rows
        return self.rows if rows is None else self.rows[rows]

    @property
    def _row_bytes(self) -> int:
        return max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)

    @property
    def _chunk_rows(self) -> int:
        chunks = getattr(self.source, "chunks", None)
        length = chunks[0] if chunks else 1
        # dask lists the length of each chunk.
        return max(1, max(length) if isinstance(length, tuple) else length)

    def _spans(self, rows: np.ndarray, block: int) -> Iterator[tuple[int, int]]:
        """Group ascending rows into runs that are worth reading by one call."""
        gap = max(self._chunk_rows, _GAP_BYTES // self._row_bytes)
        apart = (np.diff(rows) > gap) | (np.diff(rows // block) > 0)
        if len(rows):
            yield from pairwise([0, *(np.flatnonzero(apart) + 1).tolist(), len(rows)])

    def _read_range(self, start: int, stop: int, out: np.ndarray) -> None:
        source = self.source
        if out.size == 0:
            # h5py 3.11 divides by the size.
            return
        if hasattr(source, "read_direct"):
            # Read the bytes as they are stored; numpy swaps them faster than HDF5.
            try:
                source.read_direct(out.view(source.dtype), np.s_[start:stop])
            except (OSError, RuntimeError) as error:
                raise OSError(
                    f"Cannot read rows {start} to {stop - 1} of {source.name!r} in "
                    f"{source.file.filename}: the file is damaged there or has been "
                    f"cut short ({error})."
                ) from error
            if not source.dtype.isnative:
                out.byteswap(inplace=True)
        else:
            block = plain_array(source[start:stop])
            if block.dtype.kind == "f" and out.dtype.kind != "f":
                raise ValueError(
                    f"Rows {start} to {stop - 1} of an array of integers hold masked "
                    "values; fill them, or make it floats, where they become NaN."
                )
            out[...] = block

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if hasattr(self.source, "read_direct"):
            state["source"] = _StoredDataset(self.source)
        elif isinstance(self.source, np.memmap):
            state["source"] = _StoredMemmap(self.source)
        elif _root_module(self.source) == "zarr":
            state["source"] = _StoredZarr(self.source)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.source, _StoredDataset | _StoredMemmap | _StoredZarr):
            self.source = self.source.open()


def _check_open(source: Any) -> None:
    # Closed files and data sets of h5py are false.
    if _root_module(source) == "h5py" and not source:
        raise ValueError(
            "The HDF5 file of a lazy array is closed; open it again, and keep it open "
            "while the array is used."
        )


def _check_source(source: Any) -> None:
    _check_open(source)
    wanted = "shape", "dtype", "__getitem__"
    missing = [name for name in wanted if not hasattr(source, name)]
    if missing:
        raise TypeError(
            "A lazy array is made of an h5py.Dataset, a numpy.memmap, a zarr.Array or "
            f"the like, but got {type(source).__name__}, which has no "
            f"{' and no '.join(missing)}."
        )
    if np.dtype(source.dtype).kind not in "biufc":
        raise TypeError(
            f"A lazy array holds numbers, but got an array of dtype {source.dtype}."
        )
    if not source.shape or any(math.isnan(length) for length in source.shape):
        raise ValueError(
            "A lazy array has a known number of rows, but got an array of shape "
            f"{source.shape}."
        )


def _row_numbers(rows: Any, n_rows: int) -> np.ndarray:
    """Convert row numbers, or a mask of rows, to row numbers counted from zero."""
    rows = np.asarray(rows)
    if rows.size == 0 and rows.ndim == 1 and rows.dtype.kind == "f":
        rows = rows.astype(np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "biu":
        raise IndexError(
            "Rows are given by an integer, a slice, or a 1-D list or array of row "
            f"numbers or of booleans, but got {rows.ndim}-D {rows.dtype}."
        )
    if rows.dtype.kind == "b":
        if len(rows) != n_rows:
            raise IndexError(
                f"A mask of {len(rows)} rows does not fit an array of {n_rows} rows."
            )
        return np.flatnonzero(rows)
    outside = (rows < -n_rows) | (rows >= n_rows)
    if outside.any():
        raise IndexError(f"Row {rows[outside][0]} is not in an array of {n_rows} rows.")
    rows = rows.astype(np.intp)
    rows[rows < 0] += n_rows
    return rows


def is_lazy(X: Any) -> bool:
    """Return whether an array is read a few rows at a time.

    True for a ``LazyArray`` (also ``ImageFiles``), an ``h5py.Dataset``, a
    ``zarr.Array``, a dask array, a ``numpy.memmap`` larger than half of the machine's
    memory, and a list or tuple of paths of image files.

    >>> is_lazy([[0.0, 1.0]]), is_lazy(["galaxy_1.jpg", "galaxy_2.jpg"])
    (False, True)
    """
    if isinstance(X, LazyArray):
        return True
    if isinstance(X, np.memmap):
        # joblib passes large arrays in memory to its workers as memory maps. They count
        # as arrays in memory, so that results do not depend on n_jobs.
        return X.nbytes > physical_memory() / 2
    if isinstance(X, list | tuple):
        return _are_image_paths(X)
    if not hasattr(X, "shape") or not hasattr(X, "dtype"):
        return False
    module = type(X).__module__
    return _root_module(X) in ("h5py", "zarr") or module.startswith("dask.array")


def as_lazy(X: Any) -> LazyArray:
    """Make a ``LazyArray`` of what ``is_lazy`` accepts, or of another array."""
    if isinstance(X, LazyArray):
        return X
    if isinstance(X, list | tuple) and _are_image_paths(X):
        from skastro.utils._image_files import ImageFiles

        return ImageFiles(X)
    return LazyArray(X)


class RowwiseSource:
    """An array on disk whose rows a function transforms when they are read.

    The function takes some rows and returns as many, each computed from the row at the
    same position; `row_shape` and `dtype` are those of a row that it returns. The array
    contains all rows of its source.
    """

    def __init__(
        self,
        array: LazyArray,
        function: Callable[[np.ndarray], np.ndarray],
        row_shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> None:
        self.array = LazyArray(array.source)
        self.function = function
        self.shape = (len(self.array), *row_shape)
        self.dtype = dtype

    @property
    def chunks(self) -> Any:
        """The chunks of the array on disk."""
        return getattr(self.array.source, "chunks", None)

    def __getitem__(self, rows: slice) -> np.ndarray:
        try:
            return self.function(self.array[rows])
        except ValueError as error:
            error.add_note(f"(Counted from row {rows.start} of the array on disk.)")
            raise


def _are_image_paths(items: list | tuple) -> bool:
    return bool(items) and all(
        isinstance(item, str | Path)
        and os.path.splitext(item)[1].lower() in IMAGE_SUFFIXES
        for item in items
    )


def _root_module(value: Any) -> str:
    """Return the name of the package that defines the type of a value."""
    return type(value).__module__.partition(".")[0]


class _StoredDataset:
    """File and name of an HDF5 data set, to open it again in another process."""

    def __init__(self, dataset: Any) -> None:
        if not dataset:
            raise pickle.PicklingError(
                "Cannot pickle a lazy array whose HDF5 file is closed; open the file "
                "and make the array again."
            )
        filename = dataset.file.filename
        if dataset.file.driver in ("core", "fileobj") or dataset.name is None:
            raise pickle.PicklingError(
                f"Cannot pickle a lazy array of HDF5 data in memory ({filename!r}); "
                "write them to a file on disk and open that."
            )
        self.filename = str(Path(os.fsdecode(filename)).absolute())
        self.name = dataset.name

    def open(self) -> Any:
        """Open the file for reading; it closes when the data set is deleted."""
        import h5py

        return h5py.File(self.filename, "r")[self.name]


class _StoredMemmap:
    """File, offset and shape of a memory map, to map it again in another process."""

    def __init__(self, array: np.memmap) -> None:
        mapped = getattr(array, "_mmap", None)
        advice = "pickle a LazyArray of the whole np.memmap, with rows=... for a part."
        if mapped is None or array.filename is None:
            raise pickle.PicklingError(
                "Cannot pickle a lazy array of a memory map that has no file; save it "
                f"with numpy.save, and {advice}"
            )
        if not array.flags.c_contiguous or array.mode == "c":
            raise pickle.PicklingError(
                "Cannot pickle a lazy array of a memory map that is strided, or open "
                f"in mode 'c'; {advice}"
            )
        self.filename = os.path.abspath(array.filename)
        self.shape, self.dtype = array.shape, array.dtype
        # numpy gives views the offset of the map that they are part of, and maps files
        # from a multiple of the page size.
        address = np.frombuffer(mapped, np.uint8).ctypes.data
        map_offset = array.offset - array.offset % ALLOCATIONGRANULARITY
        self.offset = map_offset + array.ctypes.data - address

    def open(self) -> np.memmap:
        """Map the file for reading."""
        return np.memmap(self.filename, self.dtype, "r", self.offset, self.shape)


class _StoredZarr:
    """Store and name of a zarr array, to open it again in another process.

    A pickle of zarr holds the description of the array. Where the store is not found,
    all its chunks would count as missing, hence as zeros.
    """

    def __init__(self, array: Any) -> None:
        root = getattr(array.store, "root", None)
        # Other stores, as in memory, describe themselves.
        self.store = array.store if root is None else Path(root).absolute()
        self.name = array.path

    def open(self) -> Any:
        """Open the array for reading."""
        import zarr

        return zarr.open_array(self.store, path=self.name, mode="r")
