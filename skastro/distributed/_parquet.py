# SPDX-License-Identifier: BSD-3-Clause
"""Surveys in Parquet, such as HATS catalogs: a column of spectra, a row an object."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skastro.datasets._parquet import (
    check_column,
    is_list,
    open_parquet,
    read_lists,
    scan_parquet,
)
from skastro.distributed._source import PARTITION_BYTES, Part, Rows, Source
from skastro.streaming._output import common_dtype, plain_values
from skastro.utils import plain_labels

_SPECTRA = "flux"
_IDS = ("id", "object_id", "_healpix_29")
# Row groups whose first spectra are compared between two runs.
_N_SAMPLES = 8


class _Groups(NamedTuple):
    """Neighboring row groups of a file."""

    path: str
    groups: list[int]
    n_rows: int


class _Columns(NamedTuple):
    spectra: str
    ids: str | None
    n_pixels: int


@dataclass(frozen=True)
class _ParquetPart(Part):
    rows: _Groups
    columns: _Columns

    def read(self) -> Rows:
        with open_parquet(self.rows.path) as file:
            names = [name for name in self.columns[:2] if name is not None]
            table = file.read_row_groups(self.rows.groups, columns=names)
        spectra = table[self.columns.spectra].combine_chunks()
        X, kept = _matrix(spectra, self.columns.n_pixels)
        failure = np.full(
            len(table), f"it has no {self.columns.n_pixels} values", object
        )
        failure[kept] = ""
        beside = {"failure": plain_values(failure, "failure")}
        if self.columns.ids is not None:
            ids = table[self.columns.ids]
            if ids.null_count:
                raise ValueError(
                    f"{self.rows.path}: the column {self.columns.ids} has "
                    f"{ids.null_count} missing values, but names the objects; choose "
                    "another one by ids=."
                )
            values = plain_labels(ids.to_numpy(), "ids", what="values")
            beside = {"id": plain_values(values, "ids"), **beside}
        return Rows(X, kept, len(table), beside)


def _matrix(spectra: Any, n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of the right length, and their rows."""
    import pyarrow.compute

    lengths = pyarrow.compute.list_value_length(spectra).fill_null(-1).to_numpy()
    kept = lengths == n_pixels
    values = (
        spectra.filter(pyarrow.array(kept)).flatten().to_numpy(zero_copy_only=False)
    )
    return values.reshape(-1, n_pixels), np.flatnonzero(kept)


class ParquetSource(Source):
    """Row groups of the files of a table."""

    kind = "Parquet"
    may_fail = True

    def __init__(self, paths: list[str], name: str | None, ids: str | None) -> None:
        from pyarrow.types import is_floating, is_integer

        self._groups: list[_Groups] = []
        id_types = set()
        self._digest = hashlib.sha256()
        paths = [str(Path(path).absolute()) for path in paths]
        for path, schema, groups in scan_parquet(paths):
            if path == paths[0]:
                self._name = _choose(schema, name)
                found = (column for column in _IDS if column in schema.names)
                self._ids = next(found, None) if ids is None else ids
            for column in self._name, self._ids:
                if column is not None:
                    check_column(path, schema, column)
            if self._ids is not None:
                kind = schema.field(self._ids).type
                is_number = is_integer(kind) or is_floating(kind)
                id_types.add(np.dtype(kind.to_pandas_dtype() if is_number else "S"))
            self._groups += [_Groups(path, [j], n) for j, n in groups.items()]
            # A file that was written anew may hold other objects.
            status = os.stat(path)
            named = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0"
            self._digest.update(named.encode())
        if not self._groups:
            raise ValueError("X has no rows, so there is nothing to predict.")
        if id_types:
            common_dtype(id_types, "ids")
        self.n_items = sum(group.n_rows for group in self._groups)
        self._n_pixels = len(next(self.samples())[0])
        self.most = max(1, PARTITION_BYTES // (8 * self._n_pixels))

    def split(self, size: int) -> list[_Groups]:
        """Return row groups, joined to `size` rows where they are smaller."""
        spans: list[_Groups] = []
        for path, groups, n_rows in self._groups:
            last = spans[-1] if spans else None
            if last and last.path == path and last.n_rows + n_rows <= size:
                spans[-1] = _Groups(path, last.groups + groups, last.n_rows + n_rows)
            else:
                spans.append(_Groups(path, groups, n_rows))
        return spans

    def size_of(self, span: _Groups) -> int:
        """Return the number of rows."""
        return span.n_rows

    def part(self, span: _Groups) -> _ParquetPart:
        """Return the file and its row groups."""
        columns = _Columns(self._name, self._ids, self._n_pixels)
        return _ParquetPart(span, columns)

    def name(self, span: _Groups) -> str:
        """Name the file."""
        first, last = span.groups[0], span.groups[-1]
        return f"row groups {first} to {last} of {span.path}"

    def columns(self) -> list[str]:
        """Name the columns beside the values."""
        return ["id"] * (self._ids is not None) + ["failure"]

    def samples(self, client: Any = None) -> Iterator[np.ndarray]:
        """Read the first spectrum of some row groups."""
        n_found = 0
        places = np.linspace(0, len(self._groups) - 1, _N_SAMPLES).round().astype(int)
        for place in np.unique(places):
            spectra = self._first(self._groups[place])
            if len(spectra):
                yield spectra[:1]
                n_found += 1
        if not n_found:
            raise ValueError(
                f"The column {self._name} has no spectra in the first rows of X."
            )

    def head(self, n_rows: int) -> np.ndarray:
        """Read the first spectra."""
        return self._first(self._groups[0])[:n_rows]

    def _first(self, rows: _Groups) -> np.ndarray:
        """Read the first spectra of a row group, without those that are missing."""
        spectra = next(read_lists(rows.path, rows.groups, self._name))
        if not len(spectra):
            return np.empty((0, 0))
        return _matrix(spectra, len(spectra[0]))[0]

    def about(self) -> dict[str, Any]:
        """Add the files and the column of ids."""
        return super().about() | {"files": self._digest.hexdigest(), "ids": self._ids}


def _choose(schema: Any, name: str | None) -> str:
    """Return the name of the column of spectra."""
    lists = [field.name for field in schema if is_list(field.type)]
    if name is None and _SPECTRA in lists:
        return _SPECTRA
    if name is None and len(lists) == 1:
        return lists[0]
    if name in lists:
        return str(name)
    wanted = "choose one by name=" if name is None else f"{name!r} is none of them"
    raise ValueError(
        f"X has {len(lists)} columns of lists, which can be spectra: "
        f"{', '.join(lists) or 'none'}; {wanted}."
    )
