# SPDX-License-Identifier: BSD-3-Clause
"""Results in folders: a zarr store, and Parquet files in order."""

import json
import math
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skastro.streaming._output import Chunks, Columns, Output, as_text

# Large enough for the files of a store to be few, small enough for a reader of a part.
_ZARR_CHUNK_BYTES = 2**22
_PARQUET_ROWS = 2**17
_PARQUET_BYTES = 2**26


def write_zarr(
    path: Path, n_rows: int, output: Output, columns: Columns, chunks: Chunks
) -> None:
    """Write a zarr group, from chunks of rows in order."""
    import zarr

    with _new_folder(path) as folder, warnings.catch_warnings():
        # Text has no final place in the format of zarr yet.
        warnings.simplefilter("ignore")
        group = zarr.open_group(folder, mode="w")
        group.attrs.update(output.origin())
        for name, labels in (
            ("classes", output.classes),
            ("feature_names", output.feature_names),
        ):
            if labels is not None:
                labels = np.asarray(labels)
                _create(group, name, labels.shape, labels.dtype)[:] = _plain(labels)
        shape = (n_rows, *output.part_shape)
        for name in output.parts:
            _create(group, name, shape, output.dtype)
        for name, dtype in columns.items():
            _create(group, name, (n_rows,), dtype)
        written = {name: _Chunked(group[name]) for name in (*output.parts, *columns)}
        for _, chunk, labels in chunks:
            for name, part in output.parts.items():
                written[name].append(chunk[part])
            for name in columns:
                written[name].append(labels[name])


class _Chunked:
    """An array of zarr that grows by whole chunks, since a part rewrites its chunk."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._start = self._stop = 0
        self._waiting: list[np.ndarray] = []

    def append(self, values: np.ndarray) -> None:
        """Take the next rows; write what is complete."""
        self._waiting.append(values)
        self._stop += len(values)
        is_last = self._stop == self._array.shape[0]
        end = self._stop - (0 if is_last else self._stop % self._array.chunks[0])
        if end > self._start:
            rows = np.concatenate(self._waiting)
            n_written = end - self._start
            self._array[self._start : end] = _plain(rows[:n_written])
            self._start, self._waiting = end, [rows[n_written:]]


def _create(group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    chunk = (min(shape[0], max(1, _ZARR_CHUNK_BYTES // row_bytes)), *shape[1:])
    stored: Any = str if dtype.kind in "SU" else dtype
    return group.create_array(name, shape=shape, dtype=stored, chunks=chunk)


def _plain(values: np.ndarray) -> np.ndarray:
    """Return text as objects, which zarr stores in any length."""
    return np.array(as_text(values), object) if values.dtype.kind in "SU" else values


def write_parquet(
    path: Path, n_rows: int, output: Output, columns: Columns, chunks: Chunks
) -> None:
    """Write Parquet files, from chunks of rows in order."""
    import pyarrow
    import pyarrow.parquet

    schema = _schema(output, columns)
    with _new_folder(path) as folder:
        number, waiting, n_rows_waiting, n_bytes = 0, [], 0, 0
        for rows, chunk, labels in chunks:
            waiting.append(_table(schema, output, rows, chunk, labels))
            n_rows_waiting += len(chunk)
            n_bytes += waiting[-1].nbytes
            is_full = n_rows_waiting >= _PARQUET_ROWS or n_bytes >= _PARQUET_BYTES
            if is_full or rows.stop == n_rows:
                table = pyarrow.concat_tables(waiting)
                pyarrow.parquet.write_table(table, folder / f"part-{number:05}.parquet")
                number, waiting, n_rows_waiting, n_bytes = number + 1, [], 0, 0


def parquet_names(output: Output, columns: Iterable[str]) -> list[str]:
    """Name the columns of a table, or refuse names that stand for several."""
    beside = [*columns]
    names = ["row"] * ("id" not in beside) + beside
    names += ["class"] * _has_classes(output) + output.column_names()
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(
            f"A Parquet table would have several columns called {', '.join(double)}; "
            "let out end in .h5 or .zarr."
        )
    return names


def _has_classes(output: Output) -> bool:
    """Tell whether the values are probabilities of classes, one column each."""
    is_probability = output.method in ("predict_proba", "predict_log_proba")
    is_listed = output.classes is not None and output.shape == output.classes.shape
    return is_probability and is_listed


def _schema(output: Output, columns: Columns) -> Any:
    """Return the names and types of a table, the same for all partitions."""
    import pyarrow

    dtypes = [] if "id" in columns else [np.dtype(np.int64)]
    dtypes += columns.values()
    if _has_classes(output) and output.classes is not None:
        dtypes.append(output.classes.dtype)
    names = parquet_names(output, columns)
    dtypes += [output.dtype] * (len(names) - len(dtypes))
    types = [
        pyarrow.string() if dtype.kind == "S" else pyarrow.from_numpy_dtype(dtype)
        for dtype in dtypes
    ]
    fields = [*zip(names, types, strict=True)]
    return pyarrow.schema(fields, metadata=output.origin())


def _table(
    schema: Any,
    output: Output,
    rows: slice,
    chunk: np.ndarray,
    labels: dict[str, np.ndarray],
) -> Any:
    import pyarrow

    numbered = [] if "id" in labels else [np.arange(rows.start, rows.stop)]
    arrays = [*numbered, *map(_plain, labels.values())]
    if _has_classes(output) and output.classes is not None:
        known = ~np.isnan(chunk).any(axis=1)
        best = output.classes[np.where(known, chunk.argmax(axis=1), 0)]
        arrays.append(pyarrow.array(_plain(best), schema.field("class").type, ~known))
    for part in output.parts.values():
        arrays += [_plain(column) for column in chunk[part].reshape(len(chunk), -1).T]
    return pyarrow.table(arrays, schema=schema)


def check_folder(path: Path) -> None:
    """Refuse to replace what is not an earlier result."""
    if path.exists() and not (path.is_dir() and _is_result(path)):
        raise FileExistsError(
            f"{path} exists, and was not written by skastro.distributed.predict; "
            "choose another name for out, or move it away."
        )


def _is_result(folder: Path) -> bool:
    """Tell whether a folder has the metadata of a result."""
    about = folder / "zarr.json"
    if about.is_file():
        return "skastro_version" in json.loads(about.read_bytes()).get("attributes", {})
    table = folder / "part-00000.parquet"
    if not table.is_file():
        return False
    import pyarrow.parquet

    return b"skastro_version" in (pyarrow.parquet.read_schema(table).metadata or {})


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Make a folder that gets its name, and replaces an older one, when it is complete.

    The journal keeps other runs from writing a folder of the same name.
    """
    folder, older = (path.with_name(f".{path.name}.{end}") for end in ("part", "old"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
        # After a power cut the name must not stand for empty files.
        for file in folder.rglob("*"):
            if file.is_file():
                with open(file, "r+b") as opened:
                    os.fsync(opened)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(older, ignore_errors=True)
    if path.exists():
        path.rename(older)
    folder.rename(path)
    shutil.rmtree(older, ignore_errors=True)
