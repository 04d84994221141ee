# SPDX-License-Identifier: BSD-3-Clause
"""Writing finished chunks as an HDF5 file or a CSV table."""

import csv
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from skastro.streaming._columns import IdColumn, as_text
from skastro.streaming._output import Output
from skastro.utils import row_batches

# Pieces in which HDF5 stores a data set: large enough to read fast, small enough to
# pick out a few rows.
_PIECE_BYTES = 2**20

Chunks = Iterable[tuple[slice, np.ndarray]]


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the target's name at the end.

    Unlike :func:`skastro.utils.atomic_write` it always gives the same path, so that
    what a killed run left there is written over by the next. Two runs must not write
    the same target, which the journal sees to.

    Parameters
    ----------
    target : Path
        The file to replace.

    Yields
    ------
    temporary : Path
        A path in the same folder.
    """
    temporary = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        yield temporary
        # The journal is deleted next: after a power cut one of the two must be there.
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_hdf5(
    path: Path, n_rows: int, output: Output, ids: IdColumn | None, chunks: Chunks
) -> None:
    """Write an HDF5 file.

    Parameters
    ----------
    path : Path
        The file.
    n_rows : int
        Number of rows.
    output : Output
        What the values are.
    ids : IdColumn or None
        Names of the rows.
    chunks : iterable of (slice, ndarray)
        The rows' values, in order.
    """
    with h5py.File(path, "w") as file:
        file.attrs["method"] = output.method
        file.attrs["estimator"] = output.estimator
        file.attrs["skastro_version"] = sys.modules["skastro"].__version__
        if output.classes is not None:
            classes = output.classes.view(_stored_as(output.classes.dtype))
            file.create_dataset("classes", data=classes)
        if output.feature_names is not None:
            dtype = h5py.string_dtype()
            file.create_dataset("feature_names", data=output.feature_names, dtype=dtype)
        values = _create(file, output.method, (n_rows, *output.shape), output.dtype)
        names = None if ids is None else _create(file, "id", (n_rows,), ids.dtype)
        for rows, chunk in chunks:
            values[rows] = chunk.view(values.dtype)
            if names is not None:
                names[rows] = ids[rows].view(names.dtype)


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> h5py.Dataset:
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    piece = (min(shape[0], max(1, _PIECE_BYTES // row_bytes)), *shape[1:])
    return file.create_dataset(name, shape, _stored_as(dtype), chunks=piece)


def _stored_as(dtype: np.dtype) -> np.dtype:
    """Mark fixed-width text as UTF-8."""
    return h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype


def write_csv(
    path: Path, n_rows: int, output: Output, ids: IdColumn | None, chunks: Chunks
) -> None:
    """Write a table with one line a row and a line of names at the top.

    Parameters
    ----------
    path : Path
        The file.
    n_rows : int
        Number of rows.
    output : Output
        What the values are.
    ids : IdColumn or None
        Names of the rows; None for their numbers.
    chunks : iterable of (slice, ndarray)
        The rows' values, in order.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row" if ids is None else "id", *output.column_names()])
        for rows, chunk in chunks:
            table = chunk.reshape(len(chunk), -1)
            for batch in row_batches(table.shape):
                part = slice(rows.start + batch.start, rows.start + batch.stop)
                if ids is None:
                    names = range(part.start, part.stop)
                else:
                    names = as_text(ids[part])
                lines = zip(names, as_text(table[batch]), strict=True)
                writer.writerows([name, *line] for name, line in lines)
