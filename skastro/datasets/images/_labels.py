# SPDX-License-Identifier: BSD-3-Clause
"""Tables of labels, and the rows of them that belong to image files."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.table import Column, Table
from astropy.utils.exceptions import AstropyWarning

from skastro.datasets.images._names import name_of
from skastro.datasets.spectra._fields import without_nulls
from skastro.utils import (
    check_file,
    error_text,
    is_missing,
    name_rows,
    open_fits,
    plain_array,
    plain_labels,
)

_CSV = (".csv", ".csv.gz")
# Double precision does not represent all larger integers.
_MOST_EXACT = 2**53
# Columns that are labels where none is named.
_LABELS = ("class", "label")


class Labels(NamedTuple):
    """A table, and the same as text, which keeps zeros at the start of a number."""

    table: Table
    texts: Table


class Join(NamedTuple):
    """The column of names, the row of each object that has one, and other names."""

    column: str
    row_of: dict[str, int]
    without_image: list[str]


def read_labels(table: Any) -> Labels:
    """Read a table from a file, or convert one in memory."""
    if isinstance(table, str | os.PathLike):
        labels = _read_file(os.fsdecode(table))
    elif hasattr(table, "to_numpy"):
        named = any(name is not None for name in table.index.names)
        table = Table.from_pandas(table.reset_index() if named else table)
        labels = Labels(table, table)
    else:
        try:
            table = Table(table)
        except Exception as error:
            raise TypeError(
                "table must be the path of a table, a Table of astropy, a DataFrame of "
                f"pandas or a structured array; got {type(table).__name__}: "
                f"{error_text(error)}."
            ) from error
        labels = Labels(table, table)
    if not len(labels.table) or not labels.table.colnames:
        raise ValueError("The table of labels has no rows.")
    return labels


def _read_file(path: str) -> Labels:
    table = read_table(path)
    is_text = path.lower().endswith(_CSV)
    return Labels(table, read_table(path, {"*": str}) if is_text else table)


def read_table(path: str, converters: dict[str, Any] | None = None) -> Table:
    """Read the table in a file; `converters` are those of columns of CSV."""
    check_file(path)
    try:
        with warnings.catch_warnings():
            # Spellings of units, for instance, are not the user's.
            warnings.simplefilter("ignore", AstropyWarning)
            with open(path, "rb") as file:
                start = file.read(12)
            if path.lower().endswith(_CSV):
                options: dict[str, Any] = {}
                if converters is not None:
                    options["converters"] = converters
                if start.startswith(b"\xef\xbb\xbf"):
                    options["encoding"] = "utf-8-sig"
                # The SkyServer of SDSS begins so, before the names of the columns.
                if re.match(rb"(\xef\xbb\xbf)?#Table\d+\r?\n", start):
                    options |= {"header_start": 1, "data_start": 2}
                return Table.read(path, format="ascii.csv", **options)
            if start.startswith(b"SIMPLE"):
                return _read_fits(path)
            return Table.read(path)
    # Readers of tables raise errors of many types.
    except Exception as error:
        reason = error_text(error).removeprefix(f"{path}: ")
        if isinstance(error, IORegistryError):
            # Its text lists all formats that there are.
            reason = "neither its name nor its contents tell the format"
        raise ValueError(
            f"{path}: cannot be read as a table: {reason}. Read it by "
            "astropy.table.Table.read, with its format, and give the result."
        ) from error


def _read_fits(path: str) -> Table:
    with open_fits(path) as hdul:
        tables = [
            number
            for number, hdu in enumerate(hdul)
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
            and not isinstance(hdu, fits.CompImageHDU)
        ]
        if len(tables) != 1:
            raise ValueError(
                f"expected one table, but HDUs {tables or 'none'} are tables; read one "
                "with hdu=..."
            )
        return Table.read(hdul, format="fits", hdu=tables[0]).copy()


def find_column(table: Table, wanted: str, parameter: str) -> str:
    """Find a column by its name, or else ignoring case."""
    columns = table.colnames
    found = _match(columns, wanted)
    if found is None:
        raise ValueError(
            f"The table has no column {parameter}={wanted!r}; its columns are "
            f"{name_rows(columns)}."
        )
    return found


def join_labels(labels: Labels, id_column: str | None, ids: Sequence[str]) -> Join:
    """Find the row of each image, by one column or by that which holds the names."""
    if id_column is not None:
        column = find_column(labels.table, id_column, "id_column")
        join = _join(labels, column, ids)
        if not join.row_of:
            example = labels.texts[column][0]
            raise ValueError(
                f"The column {column!r} holds none of the images: it begins with "
                f"{str(example)!r}, and the images with {ids[0]!r}. They are compared "
                "as text, in which zeros at the start of a number count."
            )
        return join
    joins: list[Join] = []
    # Columns that hold names, but not each once: how many, and what is wrong.
    faulty: dict[str, tuple[int, str]] = {}
    for column in labels.table.colnames:
        values = _names_column(labels, column)
        if getattr(values, "ndim", 0) != 1 or values.dtype.kind not in "iufUSO":
            continue
        try:
            join = _join(labels, column, ids)
        except (TypeError, ValueError) as error:
            if number := _count_named(values, ids):
                faulty[column] = number, error_text(error)
            continue
        joins += [join] if join.row_of else []
    if not joins and not faulty:
        row = [
            f"{name} ({str(labels.texts[name][0])!r})" for name in labels.table.colnames
        ]
        raise ValueError(
            f"No column of the table holds the names of the images, such as {ids[0]!r},"
            " each once; name it by id_column=.... The columns, and their first values,"
            f" are {name_rows(row)}."
        )
    best = max(joins, key=lambda join: len(join.row_of), default=Join("", {}, []))
    most = len(best.row_of)
    seen = [_describe_join(join, best, ids) for join in joins]
    seen = [description for description in seen if description]
    # Any column of numbers may hold a few names by chance, but not half of them.
    seen += [
        f"{column!r} names {number} of the {len(ids)} images, but cannot be used: "
        f"{reason}"
        for column, (number, reason) in faulty.items()
        if 2 * number >= most
    ]
    if seen:
        raise ValueError(
            "It is not certain which column of the table names the images. "
            f"{'. '.join(seen)}. Name it by id_column=..., with which images without a "
            "row are left out."
        )
    return best


def _describe_join(join: Join, best: Join, ids: Sequence[str]) -> str:
    """Tell why the column of a join, or the best instead of it, may be wrong."""
    where = f"{join.column!r} names {len(join.row_of)} of the {len(ids)} images"
    if join.row_of.items() - best.row_of.items():
        return f"{where}, in other rows than {best.column!r}"
    if join is best and len(join.row_of) < len(ids):
        lost = next(name for name in ids if name not in join.row_of)
        return f"{where}, but not {lost!r}"
    return ""


def _count_named(values: Any, ids: Sequence[str]) -> int:
    """Count images that a column names, whatever else it holds."""
    values = np.ma.asarray(values).compressed()
    if values.dtype.kind == "f":
        values = values[np.abs(values) < _MOST_EXACT]
        values = values[values == np.round(values)].astype(np.int64)
    elif values.dtype == object:
        values = np.array([item for item in values if not is_missing(item)], object)
    return len({*_names_in(np.unique(values.astype(str)), "")}.intersection(ids))


def _names_column(labels: Labels, column: str) -> Any:
    """Return the column as text, except whole numbers that end in .0.

    Whole numbers, some of them missing, are real ones in a data frame.
    """
    parsed, texts = labels.table[column], labels.texts[column]
    if parsed is not texts and parsed.dtype.kind == "f":
        known = np.ma.asarray(texts).compressed()
        if len(known) and np.char.endswith(known, ".0").all():
            return parsed
    return texts


def _join(labels: Labels, column: str, ids: Sequence[str]) -> Join:
    """Find the row of each image by a column."""
    where = f"the column {column!r} of the table"
    names = _names_in(_names_column(labels, column), where)
    wanted = {*ids}
    row_of = {name: row for row, name in enumerate(names) if name in wanted}
    number, name = max(
        ((number, name) for name, number in Counter(names).items() if name in wanted),
        default=(0, ""),
    )
    if number > 1:
        raise ValueError(
            f"The column {column!r} of the table holds {name!r} in {number} rows; keep "
            "one row of each image."
        )
    return Join(column, row_of, [name for name in names if name not in wanted])


def _names_in(values: Any, where: str) -> list[str]:
    """Return the names in a column as text, without endings of files."""
    values = plain_labels(
        values, where, what="names", advice="Leave these rows out of the table."
    )
    if values.ndim != 1:
        raise ValueError(f"{where} has the shape {values.shape}, not one name a row.")
    if values.dtype.kind == "f":
        whole = (values == np.round(values)) & (np.abs(values) < _MOST_EXACT)
        if not whole.all():
            raise ValueError(
                f"{where} holds real numbers, such as {values[~whole][0]}, which do "
                "not name images exactly; read it as text or whole numbers."
            )
        values = values.astype(np.int64)
    return [name_of(str(value).strip()) for value in values.tolist()]


def target_of(
    table: Table, label_column: str | Sequence[str] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the labels in one or several columns, and the different ones, if any.

    Unknown numbers are NaN, and unknown names "".
    """
    if label_column is None or isinstance(label_column, str):
        column = label_column
        if column is None:
            matches = (_match(table.colnames, name) for name in _LABELS)
            column = next((name for name in matches if name is not None), None)
            if column is None:
                return None, None
        target = _values(table[find_column(table, column, "label_column")])
        if target.dtype.kind == "f" or target.ndim > 1:
            return target, None
        names = np.unique(target)
        return target, names[names != ""] if names.dtype.kind == "U" else names
    columns = [find_column(table, name, "label_column") for name in label_column]
    if not columns:
        raise ValueError("label_column is an empty list; give at least one column.")
    parts = [_values(table[name]) for name in columns]
    for name, part in zip(columns, parts, strict=True):
        if part.dtype.kind not in "biuf" or part.ndim > 1:
            raise ValueError(
                "Several label_columns are numbers to regress, but the column "
                f"{name!r} holds values such as {part[0]!r}."
            )
    return np.stack(parts, axis=1), None


def _values(column: Any) -> np.ndarray:
    """Return a column as plain numbers or text."""
    if not isinstance(column, Column) and not hasattr(column, "unit"):
        raise ValueError(
            f"The column {column.info.name!r} of the table is a "
            f"{type(column).__name__}, but labels are numbers or text."
        )
    values = column.value
    if values.dtype.kind == "O":
        items = ["" if is_missing(item) else item for item in values.tolist()]
        if not all(isinstance(item, str) for item in items):
            return plain_array(values, f"the column {column.info.name!r}")
        values = np.array(items)
    values = without_nulls(values)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "U":
        return np.char.strip(values)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _match(columns: Sequence[str], wanted: str) -> str | None:
    if wanted in columns:
        return wanted
    return next((name for name in columns if name.lower() == wanted.lower()), None)
