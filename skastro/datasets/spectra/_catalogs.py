# SPDX-License-Identifier: BSD-3-Clause
"""Catalogs of redshifts and classes, and how their labels join spectra."""

import os
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from skastro.datasets.spectra._fields import text, without_nulls
from skastro.datasets.spectra._fits import (
    column_names,
    is_table,
    read_column,
    read_fits,
)

# Column of a catalog: column of the table of spectra.
_LABELS = {
    "Z": "z",
    "ZERR": "z_error",
    "ZWARN": "zwarning",
    "ZWARNING": "zwarning",
    "SPECTYPE": "class",
    "CLASS": "class",
    "SUBTYPE": "subclass",
    "SUBCLASS": "subclass",
}
_KEYS = ("TARGETID", "ID", "OBJID")
_NAMES = ("REDSHIFTS", "ZBEST", "ZCATALOG", "ZALL_PIX", "ZALL_TILECUMULATIVE")


class Redshifts(NamedTuple):
    """Redshifts of a catalog, and the objects' names in their order."""

    ids: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, labels: Table) -> "Redshifts | None":
        """Take them from the labels of a catalog; None if it has no redshifts."""
        if "z" not in labels.colnames:
            return None
        order = np.argsort(labels["id"])
        values = np.ma.filled(without_nulls(labels["z"]).astype(np.float64), np.nan)
        return cls(np.asarray(labels["id"])[order], np.asarray(values)[order])

    def find(self, name: Any) -> float:
        """Return the redshift of an object, or refuse one that is unknown."""
        name = text(name)
        at = np.searchsorted(self.ids, name)
        is_held = at < len(self.ids) and self.ids[at] == name
        if not is_held or not np.isfinite(self.values[at]):
            raise ValueError(
                f"the catalog has no redshift of {name}, so that frame='rest' is "
                "unknown; read with frame=None, or leave the spectrum out"
            )
        return float(self.values[at])


def find_catalog(hdul: fits.HDUList) -> fits.BinTableHDU | None:
    """Find a table of redshifts by TARGETID, such as redrock's."""
    for hdu in hdul[1:]:
        if is_table(hdu) and {"TARGETID", "Z"} <= {*column_names(hdu)}:
            return hdu
    return None


def describe_catalog(hdu: fits.BinTableHDU) -> str:
    """Say what a catalog is and how it is used."""
    return (
        f"is a catalog of {hdu.header['NAXIS2']} redshifts and classes (table "
        f"{hdu.name}, as redrock writes it), and holds no spectra: pass it as catalog= "
        "to read_spectra with the file of its spectra, or read it with "
        f"astropy.table.Table.read(path, hdu={hdu.name!r})"
    )


def read_catalog(
    catalog: str | os.PathLike | Table, max_bytes: float | None = None
) -> Table:
    """Return the labels of a catalog and, as column "id", the objects as text."""
    if not isinstance(catalog, Table):
        catalog = read_fits(catalog, _read_table, max_bytes)
    names = {name.upper(): name for name in catalog.colnames}
    key = next((names[key] for key in _KEYS if key in names), None)
    found = {column: names[name] for name, column in _LABELS.items() if name in names}
    if key is None or not found:
        raise ValueError(
            f"catalog must have a column of {', '.join(_KEYS)} and one or more of "
            f"{', '.join(_LABELS)}; its columns are {', '.join(catalog.colnames)}"
        )
    labels = Table({"id": _as_text(catalog[key])})
    values, counts = np.unique(labels["id"], return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"the catalog has {counts.max()} rows of {key} {values[counts.argmax()]}; "
            "keep the best one of each object"
        )
    for column, name in found.items():
        labels[column] = catalog[name]
    return labels


def join_catalog(table: Table, labels: Table) -> None:
    """Write the labels to a table of spectra; those of absent objects are unknown."""
    key = find_key(table)
    row_of = {identifier: row for row, identifier in enumerate(labels["id"])}
    rows = np.array([row_of.get(name, -1) for name in _as_text(table[key])])
    if (rows < 0).all():
        raise ValueError(
            f"the catalog holds none of the spectra: their {key} begin with "
            f"{table[key][0]}, those of the catalog with {labels['id'][0]}"
        )
    for name in labels.colnames[1:]:
        values = np.ma.asanyarray(without_nulls(labels[name]))[rows]
        column = MaskedColumn(values, mask=rows < 0)
        is_text = column.dtype.kind in "SU"
        if is_text or column.dtype.kind == "f":
            table[name] = column.filled("" if is_text else np.nan)
        else:
            table[name] = column.filled(-1) if name == "zwarning" else column


def find_key(table: Table) -> str:
    """Find the column of a table of spectra by which a catalog joins them."""
    key = next((name for name in table.colnames if name.upper() in _KEYS), None)
    if key is None:
        raise ValueError(
            f"catalog joins spectra by {' or '.join(_KEYS)}, but the spectra have none"
        )
    return key


def _read_table(hdul: fits.HDUList) -> Table:
    hdu = find_catalog(hdul)
    if hdu is None:
        raise ValueError("it holds no table with the columns TARGETID and Z")
    names = column_names(hdu)
    wanted = [name for name in names if name in {*_LABELS, *_KEYS}]
    return Table({name: read_column(hdu, name) for name in wanted})


def _as_text(column: Any) -> np.ndarray:
    return np.array([text(value) for value in column], dtype=np.str_)
