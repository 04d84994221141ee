# SPDX-License-Identifier: BSD-3-Clause
"""Reading anything that has rows, a contiguous slice at a time."""

import math
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

# A chunk of this size is large enough for any device and small for any memory.
_CHUNK_BYTES = 2**26
# Rows of a chunk where their size is not known, as that of images behind their paths.
_ROWS_OF_UNKNOWN_SIZE = 1024


def count_rows(X: Any) -> int:
    """Count the rows of X without reading it.

    Parameters
    ----------
    X : array-like
        Anything with rows.

    Returns
    -------
    n_rows : int
        Their number, at least one.

    Raises
    ------
    TypeError
        If X has no length or cannot be sliced by rows.
    ValueError
        If X has no rows.
    """
    shape = getattr(X, "shape", None)
    is_sliced = hasattr(X, "__getitem__") and (shape or hasattr(X, "__len__"))
    if not is_sliced or isinstance(X, str | bytes | Mapping | Set):
        raise TypeError(
            "X must have a length and slices of rows, X[start:stop], as arrays, "
            f"memory maps, HDF5 data sets and lists have; got {type(X).__name__}."
        )
    n_rows = int(shape[0]) if shape else len(X)
    if n_rows == 0:
        raise ValueError("X has no rows, so there is nothing to predict.")
    return n_rows


def take_rows(X: Any, start: int, stop: int) -> Any:
    """Read some rows of X, and only these.

    Parameters
    ----------
    X : array-like
        Anything with rows.
    start, stop : int
        The first row and the one after the last.

    Returns
    -------
    rows : array-like of shape (stop - start, ...)
        What the slice of X is, such as an array or a list.
    """
    return X.iloc[start:stop] if hasattr(X, "iloc") else X[start:stop]


def default_chunk_size(X: Any) -> int:
    """Choose how many rows of X are about 64 MiB.

    Parameters
    ----------
    X : array-like
        Anything with rows.

    Returns
    -------
    chunk_size : int
        Number of rows, at least one; 1024 where their size is not known.
    """
    shape = getattr(X, "shape", None)
    if not shape:
        return _ROWS_OF_UNKNOWN_SIZE
    # A table has a type for each column, of eight bytes mostly.
    value_bytes = getattr(getattr(X, "dtype", None), "itemsize", 8)
    row_bytes = value_bytes * math.prod(shape[1:])
    return max(1, _CHUNK_BYTES // max(1, row_bytes))


def is_read_from(values: Any, path: Path) -> bool:
    """Tell whether an array lies in a file, which must then not be overwritten.

    Parameters
    ----------
    values : object
        Any array; memory maps and HDF5 data sets know their file, and lazy arrays the
        one or the other as their ``source``.
    path : Path
        The file, which need not exist.

    Returns
    -------
    is_read : bool
        Whether the array is read from that file.
    """
    while hasattr(values, "source"):
        values = values.source
    file = getattr(values, "file", None)
    name = getattr(values, "filename", None) or getattr(file, "filename", None)
    if not isinstance(name, str | os.PathLike) or not path.exists():
        return False
    return os.path.exists(name) and os.path.samefile(name, path)
