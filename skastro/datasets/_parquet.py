# SPDX-License-Identifier: BSD-3-Clause
"""Parquet tables, and a column of one as an array that is read by row groups."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from skastro.utils import LazyArray

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
# Lists that are read together where one is looked for.
_BATCH = 64
# A row group is decoded as a whole, whichever of its rows are wanted.
_MOST_GROUP_BYTES = 2**30


class ParquetColumn(LazyArray):
    """A column of a Parquet table, of any size and any number of files, as an array.

    It is a :class:`LazyArray`, with which an estimator is fitted to more data than fit
    into memory: integers and slices read rows; a list, an array or a mask of rows gives
    a view and reads nothing.

    Parameters
    ----------
    path : path-like or list of path-like
        A Parquet file, a list of them, or a folder, such as a HATS catalog: the files
        in it and in the folders below, in the order of their paths.
    column : str
        Name of the column: numbers, or lists of numbers that are equally long, such as
        spectra on one grid.

    Attributes
    ----------
    files : list of str
        The files, in the order of the rows. Columns that are no numbers are read by
        ``pyarrow.dataset.dataset(X.files).to_table(["class"])["class"].to_numpy()``.
    source : object
        What the rows are read from.
    rows : None
        All rows.
    shape : tuple of int
        ``(n_rows,)``, or ``(n_rows, n)`` for lists of `n` numbers.
    dtype : numpy.dtype
        The stored data type.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    FileNotFoundError
        If there is no such file, or no Parquet file in the folder.
    TypeError
        If the column does not hold numbers or lists of numbers.
    ValueError
        If a file is damaged, lacks the column or stores it in another type, if lists
        are not equally long, or if row groups are too large to be decoded. What a file
        holds beyond its first row is seen when it is read.

    See Also
    --------
    LazyArray : The same for arrays in HDF5, zarr and dask.

    Notes
    -----
    Missing numbers, and the numbers of missing lists, are NaN. Parquet is decoded a row
    group at a time, so write groups of 1 to 64 MiB:
    ``pyarrow.parquet.write_table(table, path, row_group_size=1000)``. A pickle holds
    the paths and not the data.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> import pyarrow.parquet
    >>> from skastro.datasets import ParquetColumn
    >>> table = pa.table({"flux": [[1.0, 2.0], [3.0, None]], "z": [0.1, 0.2]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pa.parquet.write_table(table, f"{folder}/part-0.parquet")
    ...     X, z = ParquetColumn(folder, "flux"), ParquetColumn(folder, "z")[:]
    ...     X.shape, X[1], z
    ((2, 2), array([ 3., nan]), array([0.1, 0.2]))
    """

    def __init__(
        self, path: str | os.PathLike | list[str | os.PathLike], column: str
    ) -> None:
        source = ParquetRows(_find_files(path), column)
        super().__init__(source)
        self.files = source.files


class ParquetRows:
    """What a ``LazyArray`` reads from: slices of rows of a column."""

    def __init__(self, files: list[str], column: str) -> None:
        self.files = files
        self.column = column
        self._type: Any = None
        # The file of each row group, its number there, and where its rows begin.
        self._groups: list[tuple[int, int]] = []
        starts = [0]
        for i, (name, schema, groups) in enumerate(scan_parquet(files)):
            self._check_schema(name, schema)
            for j, n_rows in groups.items():
                self._groups.append((i, j))
                starts.append(starts[-1] + n_rows)
        self._starts = np.array(starts)
        self._last: tuple[int, np.ndarray] = (-1, np.empty(0))
        has_lists, value_type = _value_type(self._type)
        self.dtype = np.dtype(value_type.to_pandas_dtype())
        self.shape: tuple[int, ...] = (starts[-1],)
        if has_lists:
            self.shape += (self._find_length(),)
        most = max(np.diff(self._starts), default=1)
        self.chunks = (int(most), *self.shape[1:])
        n_bytes = np.prod(self.chunks) * self.dtype.itemsize
        if n_bytes > _MOST_GROUP_BYTES:
            raise ValueError(
                f"The column {column!r} has row groups of {n_bytes / 2**30:.1f} GiB, "
                "which are decoded as a whole. Write the table with smaller ones, of 1 "
                "to 64 MiB: pyarrow.parquet.write_table(table, path, "
                "row_group_size=1000)."
            )

    def _check_schema(self, name: str, schema: Any) -> None:
        check_column(name, schema, self.column)
        found = schema.field(self.column).type
        if self._type is None:
            self._type = found
            _value_type(found)
        elif found != self._type:
            raise ValueError(
                f"The column {self.column!r} holds {found} in {name}, but {self._type} "
                f"in {self.files[0]}. Write all files with one schema."
            )

    def _find_length(self) -> int:
        """Return the length of the first list that is not missing."""
        for i, j in self._groups:
            for lists in read_lists(self.files[i], [j], self.column):
                if len(lists):
                    return len(lists[0])
        raise ValueError(f"The column {self.column!r} has no lists.")

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        done = start
        while done < stop:
            group = int(np.searchsorted(self._starts, done, side="right")) - 1
            values = self._read_group(group)
            first = done - self._starts[group]
            part = values[first : first + stop - done]
            out[done - start : done - start + len(part)] = part
            done += len(part)
        return out

    def _read_group(self, group: int) -> np.ndarray:
        last, values = self._last
        if last != group:
            i, j = self._groups[group]
            with open_parquet(self.files[i]) as file:
                column = file.read_row_group(j, columns=[self.column])[0]
            values = self._to_numpy(column.combine_chunks(), group)
            # Neighboring slices, as of a prediction, are often in one group.
            self._last = group, values
        return values

    def _to_numpy(self, column: Any, group: int) -> np.ndarray:
        import pyarrow.compute

        shape = len(column), *self.shape[1:]
        missing = np.zeros(len(column), bool)
        if len(shape) == 2:
            missing = column.is_null().to_numpy(zero_copy_only=False)
            lengths = pyarrow.compute.list_value_length(column).fill_null(shape[1])
            wrong = np.flatnonzero(lengths.to_numpy() != shape[1])
            if len(wrong):
                raise ValueError(
                    f"Row {self._starts[group] + wrong[0]} of the column "
                    f"{self.column!r} is a list of {lengths[wrong[0]]} numbers, but "
                    f"the first one has {shape[1]} ({self._name(group)}). Bring them "
                    "to one length, spectra to one grid by skastro.RebinSpectra."
                )
            column = column.flatten()
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype != self.dtype or (missing.any() and self.dtype.kind != "f"):
            raise ValueError(
                f"The column {self.column!r} of whole numbers has missing values in "
                f"{self._name(group)}; fill them, or store floats, where they become "
                "NaN."
            )
        if not missing.any():
            return values.reshape(shape)
        filled = np.full(shape, np.nan, self.dtype)
        filled[~missing] = values.reshape(-1, *shape[1:])
        return filled

    def _name(self, group: int) -> str:
        i, j = self._groups[group]
        return f"row group {j} of {self.files[i]}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": (-1, np.empty(0))}


@contextmanager
def open_parquet(path: str) -> Iterator[Any]:
    """Open a file; name it in the error where it is damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    # Damage is either of them.
    except (pyarrow.ArrowInvalid, OSError) as error:
        # The system names the file itself, as where it is missing.
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error


def scan_parquet(files: list[str]) -> Iterator[tuple[str, Any, dict[int, int]]]:
    """Yield each file, its schema, and the rows of its row groups that have any."""
    for name in files:
        with open_parquet(name) as file:
            n_rows = {
                group: file.metadata.row_group(group).num_rows
                for group in range(file.num_row_groups)
            }
            filled = {group: count for group, count in n_rows.items() if count}
            yield name, file.schema_arrow, filled


def check_column(path: str, schema: Any, column: str) -> None:
    """Refuse a file that lacks a column."""
    if column not in schema.names:
        raise ValueError(
            f"{path} has no column {column!r}; it has: {', '.join(schema.names)}."
        )


def read_lists(path: str, groups: list[int], column: str) -> Iterator[Any]:
    """Read a column of lists a few at a time, without those that are missing."""
    with open_parquet(path) as file:
        for batch in file.iter_batches(_BATCH, groups, columns=[column]):
            yield batch[0].drop_null()


def find_parquet(folder: Path) -> list[Path]:
    """Return the Parquet files at any depth of a folder, in the order of their paths.

    Files of metadata begin with an underscore, temporary ones with a dot.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PARQUET_SUFFIXES
        if path.name[0] not in "._" and path.is_file()
    )


def is_list(kind: Any) -> bool:
    """Tell whether a type of Arrow is one of lists."""
    from pyarrow import types

    return (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def _find_files(path: Any) -> list[str]:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ParquetColumn needs pyarrow: pip install 'skastro[scale]'"
        ) from error
    if isinstance(path, list | tuple):
        return [name for item in path for name in _find_files(item)]
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
        return [str(path.absolute())]
    found = find_parquet(path)
    if not found:
        raise FileNotFoundError(
            f"There are no Parquet files ({', '.join(PARQUET_SUFFIXES)}) in "
            f"{str(path)!r}."
        )
    return [str(item.absolute()) for item in found]


def _value_type(kind: Any) -> tuple[bool, Any]:
    """Tell whether a column holds lists, and the type of its numbers."""
    from pyarrow import types

    value_type = kind.value_type if is_list(kind) else kind
    if not (types.is_integer(value_type) or types.is_floating(value_type)):
        raise TypeError(
            f"A column must hold numbers or lists of numbers, but it holds {kind}. "
            "Read other columns by pyarrow.dataset."
        )
    return is_list(kind), value_type
