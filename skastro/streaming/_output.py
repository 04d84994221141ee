# SPDX-License-Identifier: BSD-3-Clause
"""What a run writes: an estimator's output for rows, in an HDF5 file or a CSV table."""

import csv
import hashlib
import inspect
import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from scipy import sparse

from skastro.utils import (
    array_of_numbers,
    atomic_hdf5,
    atomic_write,
    check_space,
    plain_array,
    plain_labels,
    row_batches,
)

METHODS = (
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "predict",
    "transform",
)
_AUTO_METHODS = ("predict_proba", "predict", "transform")
# Methods with one column a class, and what stands before its name.
_ONE_COLUMN_A_CLASS = {
    "predict_proba": "probability",
    "predict_log_proba": "log_probability",
    "decision_function": "decision",
}
# Types with whole numbers that no float holds, and the largest of which all are held.
_BEYOND_FLOATS = {np.dtype(np.int64), np.dtype(np.uint64)}
_LARGEST_EXACT = 2**53
# Rows of a column that are read together.
_BATCH_ROWS = 2**16
# Chunks in which HDF5 stores a data set: large enough to read fast, small enough to
# pick out a few rows.
_HDF5_CHUNK_BYTES = 2**20

# Rows in order, their values as they are stored, and columns beside these, such as
# "id", whose types a writer is told beforehand.
Chunks = Iterable[tuple[slice, np.ndarray, dict[str, np.ndarray]]]
Columns = Mapping[str, np.dtype]


def choose_method(estimator: Any, method: str, return_std: bool = False) -> str:
    """Return the method that "auto" stands for, or check that the estimator has it.

    With `return_std` the method must know error bars.
    """
    if method not in ("auto", *METHODS):
        names = ", ".join(repr(name) for name in ("auto", *METHODS))
        raise ValueError(f"method must be one of {names}; got {method!r}.")
    available = [name for name in METHODS if hasattr(estimator, name)]
    wanted = _AUTO_METHODS if method == "auto" else (method,)
    found = next((name for name in wanted if name in available), None)
    if found is None:
        raise ValueError(
            f"{type(estimator).__name__} has no method {' or '.join(wanted)}; of those "
            f"that can be streamed it has: {', '.join(available) or 'none'}."
        )
    # A pipeline hands options on to its last step.
    last = estimator
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    takes_std = "return_std" in inspect.signature(getattr(last, found)).parameters
    if return_std and not takes_std:
        raise ValueError(
            f"{type(last).__name__}.{found} takes no return_std and gives no error "
            "bars; set return_std=False."
        )
    return found


def take_rows(X: Any, start: int, stop: int) -> Any:
    """Read contiguous rows of an array, a table or a list, and no others."""
    rows = X.iloc[start:stop] if hasattr(X, "iloc") else X[start:stop]
    is_numeric = isinstance(rows, np.ndarray) and rows.dtype.kind in "biuf"
    return plain_array(rows) if is_numeric or hasattr(rows, "detach") else rows


def call(
    estimator: Any, method: str, rows: Any, n_rows: int, return_std: bool = False
) -> np.ndarray:
    """Call a method of the estimator, and check that it returns one row per row.

    With `return_std` the second axis has the results and their errors.
    """
    name = f"{type(estimator).__name__}.{method}"
    if return_std:
        values, std = map(np.asarray, getattr(estimator, method)(rows, return_std=True))
        if values.shape != std.shape:
            raise ValueError(
                f"{name} gives results of shape {values.shape} with errors of shape "
                f"{std.shape}, but expected the same; set return_std=False."
            )
        values = np.stack([values, std], axis=min(1, values.ndim))
    else:
        values = getattr(estimator, method)(rows)
    if sparse.issparse(values):
        raise TypeError(
            f"{name} returns a sparse matrix, but a dense array is needed; "
            "set sparse_output=False if the estimator has that parameter."
        )
    if isinstance(values, list | tuple):
        raise TypeError(
            f"{name} returns {len(values)} arrays instead of one, as estimators of "
            "several targets do; use method='predict'."
        )
    values = np.asarray(values)
    if values.shape[:1] != (n_rows,):
        raise ValueError(
            f"{name} gives an array of shape {values.shape} for {n_rows} rows of X."
        )
    return values


@dataclass(frozen=True)
class Output:
    """Type, shape and names of what a method returns."""

    estimator: str
    method: str
    # Type as stored, where text is UTF-8 of fixed width, and shape for one row.
    dtype: np.dtype
    shape: tuple[int, ...]
    # The class labels as they are stored, and the column names of ``transform``; None
    # where the estimator has none.
    classes: np.ndarray | None
    feature_names: list[str] | None
    # Whether the first axis of a row has the results and their errors.
    with_std: bool = False

    @property
    def parts(self) -> dict[str, Any]:
        """Name what is written apart, and where in the rows of a chunk it is."""
        if not self.with_std:
            return {self.method: slice(None)}
        return {self.method: np.s_[:, 0], f"{self.method}_std": np.s_[:, 1]}

    @property
    def part_shape(self) -> tuple[int, ...]:
        """Shape of one part of a row."""
        return self.shape[self.with_std :]

    @classmethod
    def of(
        cls, estimator: Any, method: str, sample: np.ndarray, with_std: bool = False
    ) -> Self:
        """Describe the output by a sample, the output for a few rows."""
        name = f"{type(estimator).__name__}.{method}"
        shape = sample.shape[1:]
        if 0 in shape:
            raise ValueError(f"{name} returns rows of shape {shape}, without values.")
        dtype = plain_values(sample, name).dtype
        labels = None if method == "transform" else _all_labels(estimator)
        if dtype.kind == "S":
            if labels is None or labels.dtype.kind != "S":
                raise TypeError(
                    f"{name} gives text, whose width must be known beforehand, but "
                    f"{type(estimator).__name__} has no classes_ that list all labels."
                )
            dtype = np.result_type(labels.dtype, dtype, *_label_beside(estimator))
        # The classes of several targets, joined to one list, would be of no use.
        several = isinstance(getattr(estimator, "classes_", None), list | tuple)
        names = None
        if method == "transform":
            names = _feature_names(estimator, shape[with_std:])
        classes = None if several else labels
        return cls(
            type(estimator).__name__, method, dtype, shape, classes, names, with_std
        )

    def origin(self) -> dict[str, str]:
        """Name what has computed the values, for the attributes of a file."""
        return {
            "method": self.method,
            "estimator": self.estimator,
            "skastro_version": sys.modules["skastro"].__version__,
        }

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Convert the values of some rows to the type in which they are stored."""
        name = f"{self.estimator}.{self.method}"
        values = plain_values(values, name)
        if values.shape[1:] != self.shape or not np.can_cast(values.dtype, self.dtype):
            raise TypeError(
                f"{name} gives {values.dtype} of shape {values.shape[1:]} for a row, "
                f"but gave {self.dtype} of shape {self.shape} for the first."
            )
        if self.dtype.kind == "f":
            check_exact(values, name)
        return np.ascontiguousarray(values, dtype=self.dtype)

    def column_names(self) -> list[str]:
        """Name the columns by class, by feature, or by the method with a number."""
        shape = self.part_shape
        if len(shape) > 1:
            raise ValueError(
                f"{self.estimator}.{self.method} gives an array of shape {shape} for "
                "each row of X, which a row of a CSV table cannot hold; let out end in "
                ".h5."
            )
        names = self._names_of_values(shape)
        return [*names, *(f"{name}_std" for name in names if self.with_std)]

    def _names_of_values(self, shape: tuple[int, ...]) -> list[str]:
        if not shape:
            return [self.method]
        (n_columns,) = shape
        if self.feature_names is not None:
            return self.feature_names
        is_by_class = self.method in _ONE_COLUMN_A_CLASS
        if is_by_class and self.classes is not None and len(self.classes) == n_columns:
            stem = _ONE_COLUMN_A_CLASS[self.method]
            return [f"{stem}_{name}" for name in as_text(self.classes)]
        stem = "x" if self.method == "transform" else self.method
        return [f"{stem}{number}" for number in range(n_columns)]


def check_exact(values: np.ndarray, name: str) -> None:
    """Refuse whole numbers that become others where they are stored as floats."""
    if values.dtype in _BEYOND_FLOATS and values.size:
        for value in map(int, (values.min(), values.max())):
            if abs(value) > _LARGEST_EXACT:
                raise TypeError(
                    f"{name} gives {value}, which is rounded beside rows without a "
                    "result, since these make whole numbers floats; train with labels "
                    "of text, or of numbers up to 2**53."
                )


def _all_labels(estimator: Any) -> np.ndarray | None:
    """Return the labels that a classifier can give, of all targets if several."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return None
    if isinstance(classes, list | tuple):
        classes = np.concatenate([np.asarray(labels) for labels in classes])
    return plain_values(classes, f"{type(estimator).__name__}.classes_")


def _label_beside(estimator: Any) -> list[np.dtype]:
    """Return the type of the label for rejected rows, which is none of the classes."""
    while not hasattr(estimator, "reject_label_"):
        steps = getattr(estimator, "steps", None)
        if steps is None and not hasattr(estimator, "best_estimator_"):
            return []
        # A pipeline, or a search of parameters, has it inside.
        estimator = estimator.best_estimator_ if steps is None else steps[-1][1]
    return [plain_values(estimator.reject_label_, "reject_label_").dtype]


def _feature_names(estimator: Any, shape: tuple[int, ...]) -> list[str] | None:
    """Ask a transformer for names; a pipeline may have the method without names."""
    try:
        names = [str(name) for name in estimator.get_feature_names_out()]
    except (AttributeError, ValueError):
        return None
    return names if (len(names),) == shape else None


def plain_values(values: Any, name: str) -> np.ndarray:
    """Convert values to numbers or to UTF-8 of fixed width, which a file can hold."""
    values = np.asarray(values)
    if values.dtype.kind in "biuf":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    objects: list[Any] = (
        values.ravel().tolist() if values.dtype.kind in "OSTU" else [None]
    )
    if all(isinstance(value, numbers.Real) for value in objects):
        plain = array_of_numbers(objects, name)
        if plain.dtype == object:
            raise TypeError(f"{name} must be numbers of at most 64 bits, or text.")
    elif all(isinstance(value, str) for value in objects):
        plain = np.array([value.encode() for value in objects], np.bytes_)
    elif all(isinstance(value, bytes) for value in objects):
        # Decoding fails on bytes that are not UTF-8.
        return plain_values([value.decode() for value in objects], name)
    else:
        raise TypeError(
            f"{name} must be numbers or text, got values of type {values.dtype}."
        )
    return plain.reshape(values.shape)


def as_text(values: np.ndarray) -> list:
    """Write plain values as text, floats with the fewest digits that restore them."""
    if values.dtype.kind != "S":
        return values.astype(str).tolist()
    text = [value.decode() for value in values.ravel().tolist()]
    return np.array(text, object).reshape(values.shape).tolist()


def common_dtype(dtypes: Iterable[np.dtype], name: str) -> np.dtype:
    """Return the type that holds values of several types and changes none."""
    dtypes = {*dtypes}
    if len({dtype.kind == "S" for dtype in dtypes}) > 1:
        raise TypeError(f"{name} must be either text or numbers, got both.")
    dtype = np.result_type(*dtypes)
    if dtype.kind == "f" and dtypes & _BEYOND_FLOATS:
        names = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(
            f"{name} are of the types {names}, which only floats hold together, so "
            "that large whole numbers would be rounded; give all in one type, or as "
            "text."
        )
    return dtype


Writer = Callable[[Path, int, Output, Columns, Chunks], None]


class IdColumn:
    """Names or numbers of objects, ``(n_rows,)``, read a few at a time."""

    def __init__(self, ids: Any, n_rows: int) -> None:
        if not hasattr(ids, "dtype"):
            ids = plain_labels(ids, "ids", what="values")
        self._ids = getattr(ids, "iloc", ids)
        shape = tuple(ids.shape)
        if shape != (n_rows,):
            raise ValueError(
                f"ids must hold one value per row of X, an array of shape "
                f"({n_rows},); got shape {shape}."
            )
        digest = hashlib.sha256()
        dtypes: set[np.dtype] = set()
        for start in range(0, n_rows, _BATCH_ROWS):
            batch = self._read(start, min(start + _BATCH_ROWS, n_rows))
            dtypes.add(batch.dtype)
            is_text = batch.dtype.kind == "S"
            digest.update(b"\0".join([*batch, b""]) if is_text else batch.tobytes())
        self.dtype = common_dtype(dtypes, "ids")
        self.digest = digest.hexdigest()

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the plain values of some rows."""
        return self._read(rows.start, rows.stop).astype(self.dtype, copy=False)

    def _read(self, start: int, stop: int) -> np.ndarray:
        ids = plain_labels(self._ids[start:stop], "ids", what="values", first_row=start)
        return plain_values(ids, "ids")


def write_hdf5(
    path: Path, n_rows: int, output: Output, columns: Columns, chunks: Chunks
) -> None:
    """Write an HDF5 file, from chunks of rows in order."""
    row_bytes = math.prod(output.shape) * output.dtype.itemsize
    row_bytes += sum(dtype.itemsize for dtype in columns.values())
    with atomic_hdf5(path) as file:
        check_space(path, n_rows * row_bytes)
        file.attrs.update(output.origin())
        if output.classes is not None:
            classes = output.classes.view(_stored_as(output.classes.dtype))
            file.create_dataset("classes", data=classes)
        if output.feature_names is not None:
            dtype = h5py.string_dtype()
            file.create_dataset("feature_names", data=output.feature_names, dtype=dtype)
        shape = (n_rows, *output.part_shape)
        values = {
            name: _create(file, name, shape, output.dtype) for name in output.parts
        }
        beside = {
            name: _create(file, name, (n_rows,), dtype)
            for name, dtype in columns.items()
        }
        for rows, chunk, labels in chunks:
            for name, part in output.parts.items():
                values[name][rows] = chunk[part].view(values[name].dtype)
            for name, stored in beside.items():
                stored[rows] = labels[name].astype(columns[name]).view(stored.dtype)


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> h5py.Dataset:
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    chunk = (min(shape[0], max(1, _HDF5_CHUNK_BYTES // row_bytes)), *shape[1:])
    return file.create_dataset(name, shape, _stored_as(dtype), chunks=chunk)


def _stored_as(dtype: np.dtype) -> np.dtype:
    """Mark fixed-width text as UTF-8."""
    return h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype


def write_csv(
    path: Path, n_rows: int, output: Output, columns: Columns, chunks: Chunks
) -> None:
    """Write a CSV table with a line of names, from chunks of rows in order."""
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        numbered = ["row"] * ("id" not in columns)
        writer.writerow([*numbered, *columns, *output.column_names()])
        for rows, chunk, labels in chunks:
            table = chunk.reshape(len(chunk), -1)
            for batch in row_batches(table.shape):
                beside: list[Sequence] = [
                    as_text(labels[name][batch]) for name in columns
                ]
                if numbered:
                    first, stop, _ = batch.indices(len(table))
                    beside.insert(0, range(rows.start + first, rows.start + stop))
                lines = zip(*beside, as_text(table[batch]), strict=True)
                writer.writerows([*names, *line] for *names, line in lines)
