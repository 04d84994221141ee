# SPDX-License-Identifier: BSD-3-Clause
"""Finding the tables of SEVI files, and their columns, however they are spelled."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from skastro.datasets._hdf5 import describe_datasets

# Each table by its published name, with the columns that it has.
SEVI_TABLES = {
    "FinalImage": "ImageId, Image",
    "Truth": "SphereId, R, sigma_R, beta",
    "Answer": "SphereId, R, beta",
    "DistributionParameters": "DistributionId, R, sigma_R, beta",
    "GeneratedElectrons": "r, cos_theta",
    "DetectedElectrons": "ElectronId, x, z",
}

# The spellings of each column, simplified, the usual one first.
_SPELLINGS = {
    "image_id": ("imageid",),
    "shell_id": ("sphereid", "distributionid", "shellid"),
    "electron_id": ("electronid",),
    "image": ("image",),
    "radius": ("r", "radius", "rmean", "meanr"),
    "radius_width": ("sigmar", "sigma", "rsigma", "radiuswidth", "stdr"),
    "beta": ("beta", "betas"),
    "cos_theta": ("costheta",),
    "x": ("x",),
    "z": ("z",),
}

# Coefficients β_1 … β_12 of P_2 … P_24.
_N_BETAS = 12


class SEVITable:
    """A table of a SEVI file.

    Parameters
    ----------
    dataset : h5py.Dataset
        The table: one axis, with a compound type.

    Raises
    ------
    ValueError
        If it is no table, or two of its columns differ in spelling only.
    """

    def __init__(self, dataset: Any) -> None:
        self.where = f"{dataset.file.filename}: table {dataset.name.strip('/')!r}"
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.names is None:
            raise ValueError(
                f"{self.where} is no table: expected a data set of a compound type, "
                "each record a row."
            )
        if dataset.ndim != 1:
            raise ValueError(f"{self.where} has {dataset.ndim} axes; expected one.")
        self.dataset = dataset
        self.names = dataset.dtype.names
        self._stored = _unique_by_spelling(self.names, self.where)

    def __len__(self) -> int:
        return len(self.dataset)

    def name_of(self, column: str) -> str | None:
        """Give the stored name of a column, None where there is none."""
        for spelling in _SPELLINGS[column]:
            if spelling in self._stored:
                return self._stored[spelling]
        return None

    def has(self, column: str) -> bool:
        """Tell whether there is a column."""
        return self.name_of(column) is not None

    def require(self, *columns: str) -> None:
        """Refuse a table that lacks a column."""
        for column in columns:
            if not self.has(column):
                raise ValueError(
                    f"{self.where} has no column {column!r}; it has the columns "
                    f"{list(self.names)}. Accepted spellings are "
                    f"{', '.join(_SPELLINGS[column])}, in any case, with underscores, "
                    "spaces and Greek letters."
                )

    def read(self, column: str, rows: slice = slice(None)) -> np.ndarray:
        """Read some rows of a column, in the machine's byte order."""
        self.require(column)
        values = self.dataset.fields(self.name_of(column))[rows]
        return self._checked(column, values)

    def read_beta(self) -> np.ndarray:
        """Read the coefficients, from a column of vectors or from numbered columns."""
        vector = self.name_of("beta")
        numbered = {
            int(match[1]): name
            for spelling, name in self._stored.items()
            if (match := re.fullmatch(r"beta(\d+)", spelling))
        }
        if vector is None and not numbered:
            self.require("beta")
        if vector is not None:
            values = self.dataset.fields(vector)[:]
        else:
            records = self.dataset[:]
            values = np.stack([records[numbered[i]] for i in sorted(numbered)], axis=-1)
        if values.shape[1:] != (_N_BETAS,) or values.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.where} has coefficients of shape {values.shape[1:]} and type "
                f"{values.dtype} a row; expected {_N_BETAS} numbers, those of P_2 to "
                f"P_{2 * _N_BETAS}, in a column 'beta' or in columns 'beta1' to "
                f"'beta{_N_BETAS}'."
            )
        return values.astype(np.float64)

    def _checked(self, column: str, values: np.ndarray) -> np.ndarray:
        """Give numbers as such, one a row, and refuse others."""
        is_id = column.endswith("_id")
        if values.ndim != 1 or values.dtype.kind not in ("iu" if is_id else "iuf"):
            raise ValueError(
                f"{self.where}: column {self.name_of(column)!r} holds values of shape "
                f"{values.shape[1:]} and type {values.dtype}; expected one "
                f"{'integer' if is_id else 'number'} a row."
            )
        return values.astype(np.int64 if is_id else np.float64)


def find_tables(file: h5py.File) -> dict[str, SEVITable]:
    """Find the tables of a SEVI file, in groups too.

    Parameters
    ----------
    file : h5py.File
        The open file.

    Returns
    -------
    tables : dict of str to SEVITable
        By their published names; at least one.

    Raises
    ------
    ValueError
        If there is none, or the same one twice.
    """
    names = {simplify(name).rstrip("s"): name for name in SEVI_TABLES}
    found: dict[str, Any] = {}

    def note(path: str, item: Any) -> None:
        name = names.get(simplify(path.rpartition("/")[2]).rstrip("s"))
        if name in found:
            raise ValueError(
                f"{file.filename}: both {found[name].name.strip('/')!r} and {path!r} "
                f"are tables {name!r}; expected one."
            )
        if name is not None:
            found[name] = item

    file.visititems(note)
    if not found:
        expected = "; ".join(f"{name} ({has})" for name, has in SEVI_TABLES.items())
        raise ValueError(
            f"{file.filename}: not a SEVI file: it holds {describe_datasets(file)}; "
            f"expected are tables among {expected}."
        )
    return {name: SEVITable(item) for name, item in found.items()}


def simplify(name: str) -> str:
    """Write a name without case, underscores, spaces and Greek letters.

    Examples
    --------
    >>> from skastro.datasets._sevi_tables import simplify
    >>> simplify("Σ_R"), simplify("cosθ"), simplify("β₁"), simplify("Image Id")
    ('sigmar', 'costheta', 'beta1', 'imageid')
    """
    text = unicodedata.normalize("NFKC", name).lower()
    for letter in set(text):
        greek = re.fullmatch("GREEK SMALL LETTER (.+)", unicodedata.name(letter, ""))
        if greek:
            text = text.replace(letter, greek[1].lower())
    return re.sub(r"[\W_]", "", text)


def _unique_by_spelling(names: tuple[str, ...], where: str) -> Mapping[str, str]:
    stored: dict[str, str] = {}
    for name in names:
        spelling = re.sub(r"0+(?=\d)", "", simplify(name))
        if spelling in stored:
            raise ValueError(
                f"{where}: the columns {stored[spelling]!r} and {name!r} differ in "
                "spelling only; expected one of them."
            )
        stored[spelling] = name
    return stored
