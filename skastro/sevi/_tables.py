# SPDX-License-Identifier: BSD-3-Clause
"""The tables of SEVI files: their columns, and the matching of their rows."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from sklearn.utils import gen_batches

from skastro.datasets._hdf5 import describe_datasets
from skastro.sevi._electrons import N_BETAS
from skastro.utils import check_finite, check_memory, name_rows

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


class SEVITable:
    """A table of a SEVI file: a data set of one axis and a compound type."""

    def __init__(self, dataset: Any) -> None:
        self.where = f"{dataset.file.filename}: table {dataset.name.strip('/')!r}"
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.names is None:
            raise ValueError(
                f"{self.where} is not a table: expected a data set of a compound type, "
                "with one record per row."
            )
        if dataset.ndim != 1:
            raise ValueError(f"{self.where} has {dataset.ndim} axes; expected one.")
        self.dataset = dataset
        self.names = dataset.dtype.names
        self._stored = _unique_by_spelling(self.names, self.where)

    def __len__(self) -> int:
        return len(self.dataset)

    def name_of(self, column: str) -> str | None:
        """Return the stored name of a column, or None."""
        for spelling in _SPELLINGS[column]:
            if spelling in self._stored:
                return self._stored[spelling]
        return None

    def has(self, column: str) -> bool:
        """Return whether there is a column."""
        return self.name_of(column) is not None

    def require(self, *columns: str) -> None:
        """Check that the table has these columns."""
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
        if rows == slice(None):
            check_memory(8 * len(self), self.where)
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
        check_memory(self.dataset.nbytes, self.where)
        if vector is not None:
            values = self.dataset.fields(vector)[:]
        else:
            if sorted(numbered) != [*range(1, N_BETAS + 1)]:
                raise ValueError(
                    f"{self.where} has the columns {sorted(numbered.values())} of "
                    f"coefficients; expected 'beta1' to 'beta{N_BETAS}', those of P_2 "
                    f"to P_{2 * N_BETAS}."
                )
            records = self.dataset[:]
            values = np.stack([records[numbered[i]] for i in sorted(numbered)], axis=-1)
        if values.shape[1:] != (N_BETAS,) or values.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.where} has coefficients of shape {values.shape[1:]} and type "
                f"{values.dtype} per row; expected {N_BETAS} numbers, those of P_2 to "
                f"P_{2 * N_BETAS}, in a column 'beta' or in columns 'beta1' to "
                f"'beta{N_BETAS}'."
            )
        check_finite(values, input_name=f"{self.where}, column 'beta'")
        return values.astype(np.float64)

    def _checked(self, column: str, values: np.ndarray) -> np.ndarray:
        """Return int64 or float64, after checking for one finite number per row."""
        is_id = column.endswith("_id")
        if values.ndim != 1 or values.dtype.kind not in ("iu" if is_id else "iuf"):
            raise ValueError(
                f"{self.where}: column {self.name_of(column)!r} holds values of shape "
                f"{values.shape[1:]} and type {values.dtype}; expected one "
                f"{'integer' if is_id else 'number'} per row."
            )
        check_finite(values, input_name=f"{self.where}, column {column!r}")
        if is_id and len(values) and values.max() > np.iinfo(np.int64).max:
            raise ValueError(
                f"{self.where}: column {self.name_of(column)!r} has ids up to "
                f"{values.max()}; expected integers of 63 bits."
            )
        return values.astype(np.int64 if is_id else np.float64)


def find_tables(file: h5py.File) -> dict[str, SEVITable]:
    """Find the tables of a SEVI file, in groups too, by their published names."""
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
            f"expected tables out of {expected}."
        )
    return {name: SEVITable(item) for name, item in found.items()}


def simplify(name: str) -> str:
    """Remove case, underscores and spaces, and spell out Greek letters."""
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


@dataclass(frozen=True)
class Shells:
    """A table of shells, one per row; None for missing columns.

    `where` names file and table, and `image_id` the image of each shell.
    """

    where: str
    id: np.ndarray
    image_id: np.ndarray | None = None
    radius: np.ndarray | None = None
    radius_width: np.ndarray | None = None
    beta: np.ndarray | None = None


def read_shells(table: SEVITable) -> Shells:
    """Read the table of shells, in its order."""
    table.require("radius")
    if not len(table):
        raise ValueError(f"{table.where} has no rows; expected one per shell.")
    columns: dict[str, np.ndarray | None] = {"beta": table.read_beta()}
    for name in ("radius", "radius_width"):
        values = table.read(name) if table.has(name) else None
        if values is not None and (values < 0).any():
            raise ValueError(
                f"{table.where}, column {name!r} has negative values, down to "
                f"{values.min():g}; a radius and its scatter are not negative."
            )
        columns[name] = values
    has_id, has_image = table.has("shell_id"), table.has("image_id")
    return Shells(
        table.where,
        table.read("shell_id") if has_id else np.arange(len(table)),
        table.read("image_id") if has_image else None,
        **columns,
    )


def place_shells(
    shells: Shells, image_id: np.ndarray | None, n_shells: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Match shells to images.

    The first of these rules that applies is used: a column of image ids; shells with
    the same id are in the image of that id; the shells, sorted by id, are divided
    evenly among the images, sorted by id. Without `image_id` the shells determine the
    number of images. Returns the ids of the images, and the rows of the shells of each
    (n_images, most_shells), smallest radius first, -1 for missing shells.
    """
    if image_id is not None and len(np.unique(image_id)) < len(image_id):
        names, counts = np.unique(image_id, return_counts=True)
        raise ValueError(
            f"{shells.where} cannot be matched to images, because several have one id: "
            f"{name_rows(names[counts > 1])}."
        )
    owner = _owners(shells, image_id, n_shells)
    if image_id is None:
        image_id = np.unique(owner)
    _check_partners(shells, owner, image_id, n_shells)
    by_id = np.argsort(image_id)
    image = by_id[np.searchsorted(image_id, owner, sorter=by_id)]
    size = np.zeros(len(owner)) if shells.radius is None else shells.radius
    order = np.lexsort([size, image])
    counts = np.bincount(image, minlength=len(image_id))
    if n_shells is not None and (counts != n_shells).any():
        raise ValueError(
            f"{shells.where} has {counts.min()} to {counts.max()} shells per image, "
            f"but n_shells={n_shells}; set n_shells=None to read all shells."
        )
    place = np.full((len(image_id), counts.max()), -1)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    place[image[order], np.arange(len(order)) - first] = order
    return image_id, place


def in_place(values: np.ndarray | None, place: np.ndarray) -> np.ndarray | None:
    """Arrange values of shells by images; NaN, or -1 for integers, if missing."""
    if values is None:
        return None
    absent = np.full((1, *values.shape[1:]), -1 if values.dtype.kind == "i" else np.nan)
    return np.concatenate([values, absent.astype(values.dtype)])[place]


def _owners(
    shells: Shells, image_id: np.ndarray | None, n_shells: int | None
) -> np.ndarray:
    """Return the id of the image of each shell."""
    if shells.image_id is not None:
        return shells.image_id
    ids, n = shells.id, len(shells.id)
    if len(np.unique(ids)) < n:
        return ids
    if n_shells is None:
        if image_id is None or len(image_id) == n:
            return ids
        each, rest = divmod(n, len(image_id))
        if rest or np.ptp(ids) != n - 1:
            raise ValueError(
                f"{shells.where} does not tell in which image a shell is: it has no "
                f"column ImageId, and {n} different ids for {len(image_id)} images. "
                "If the shells, in the order of their ids, fill the images one after "
                "the other, set the number of shells per image by n_shells=...."
            )
    else:
        each = n_shells
    n_images = n // each if image_id is None else len(image_id)
    if n != each * n_images:
        raise ValueError(
            f"{shells.where} has {n} shells, which do not fill "
            f"{'images' if image_id is None else f'{n_images} images'} of {each} "
            "shells each; check n_shells."
        )
    owner = np.empty(n, dtype=np.int64)
    names = np.arange(n_images) if image_id is None else np.sort(image_id)
    if image_id is None and each == 1:
        names = np.sort(ids)
    owner[np.argsort(ids)] = np.repeat(names, each)
    return owner


def _check_partners(
    shells: Shells, owner: np.ndarray, image_id: np.ndarray, n_shells: int | None
) -> None:
    without_image = np.setdiff1d(owner, image_id)
    without_shell = np.setdiff1d(image_id, owner)
    if not len(without_image) and not len(without_shell):
        return
    complaints = []
    if len(without_image):
        complaints.append(f"no image with the id {name_rows(without_image)}")
    if len(without_shell):
        complaints.append(f"no shell for the image {name_rows(without_shell)}")
    advice = ""
    by_their_ids = shells.image_id is None and n_shells is None
    if by_their_ids and len(np.unique(owner)) == len(owner):
        advice = (
            " To match shells and images in the order of their ids, set n_shells=1."
        )
    raise ValueError(
        f"{shells.where} and the images do not belong together: there is "
        f"{' and '.join(complaints)}.{advice}"
    )


# Electrons that are read at once.
_ROWS_AT_ONCE = 2**20


class Lookup:
    """The rows of ids, which must all differ; `where` names them in messages."""

    def __init__(self, ids: np.ndarray, where: str) -> None:
        self.where = where
        self.order = np.argsort(ids, kind="stable")
        self.ids = ids[self.order]
        repeated = self.ids[1:][np.diff(self.ids) == 0]
        if len(repeated):
            raise ValueError(
                f"{where}: ids must be different, but several rows have the id "
                f"{name_rows(np.unique(repeated))}."
            )

    def find(self, wanted: np.ndarray, whose: str) -> np.ndarray:
        """Return the row of each id; `whose` names the ids in messages."""
        # Sorted ids are found much faster, because neighbors are close in memory.
        order = np.argsort(wanted)
        place = np.empty(len(wanted), dtype=np.intp)
        place[order] = np.searchsorted(self.ids, wanted[order])
        unknown = place == len(self.ids)
        unknown[~unknown] = self.ids[place[~unknown]] != wanted[~unknown]
        if unknown.any():
            raise ValueError(
                f"{whose}: there is no matching row in {self.where} for the id "
                f"{name_rows(np.unique(wanted[unknown]))}."
            )
        return self.order[place]


class Join:
    """The rows of generated electrons for detected ones.

    ``ElectronId`` of the detected electrons is looked up in the column of that name of
    the generated ones; if ids start again in each shell, together with the id of the
    shell. Without the column it is the number of the row, counted from zero; or from
    one, if the largest id is the number of rows and the smallest is not zero.
    """

    def __init__(self, generated: SEVITable, detected: SEVITable) -> None:
        self.generated, self.detected = generated, detected
        self.shell_id: Any = None  # An array, where the table has the column.
        if generated.has("shell_id"):
            self.shell_id = generated.read("shell_id")
        self.by_shell = False
        self._lookup, self._first = None, 0
        if not generated.has("electron_id"):
            low, high = id_limits(detected, "electron_id")
            self._first = int(low > 0 and high == len(generated))
            return
        ids = generated.read("electron_id")
        where = f"{generated.where}, column {generated.name_of('electron_id')!r}"
        both = self.shell_id is not None and detected.has("shell_id")
        if both and len(np.unique(ids)) < len(ids):
            self.by_shell = True
            self._low, self._span = ids.min(), np.ptp(ids) + 1
            names = np.unique(self.shell_id)
            self._shells = Lookup(names, f"{generated.where}, column of shells")
            ids = self._pair(ids, self.shell_id)
            where = f"{where} within a shell"
        self._lookup = Lookup(ids, where)

    def find(self, rows: slice) -> np.ndarray:
        """Return the rows of the generated electrons for rows of detected ones."""
        ids = self.detected.read("electron_id", rows)
        whose = f"{self.detected.where}, column {self.detected.name_of('electron_id')}"
        shells = None
        if self.shell_id is not None and self.detected.has("shell_id"):
            shells = self.detected.read("shell_id", rows)
        if self._lookup is None:
            found = ids - self._first
            outside = (found < 0) | (found >= len(self.generated))
            if outside.any():
                raise ValueError(
                    f"{whose}: there is no row in {self.generated.where}, of "
                    f"{len(self.generated)} rows, for the id "
                    f"{name_rows(np.unique(ids[outside]))}."
                )
        else:
            keys = self._pair(ids, shells) if self.by_shell else ids
            found = self._lookup.find(keys, whose)
        if shells is not None and (self.shell_id[found] != shells).any():
            raise ValueError(
                f"{whose}: electrons of the same id are in different shells here and "
                f"in {self.generated.where}."
            )
        return found

    def _pair(self, ids: np.ndarray, shells: np.ndarray) -> np.ndarray:
        """Encode the pairs of shell and electron as one number."""
        number = self._shells.find(shells, self.detected.where)
        outside = (ids < self._low) | (ids >= self._low + self._span)
        return np.where(outside, -1, number * self._span + ids - self._low)


def parts(table: SEVITable) -> list[slice]:
    """Split a table into slices that are read at once."""
    return list(gen_batches(len(table), _ROWS_AT_ONCE))


def different_ids(table: SEVITable, column: str) -> np.ndarray:
    """Return the different ids of a column, ascending."""
    found = [np.unique(table.read(column, rows)) for rows in parts(table)]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))


def id_limits(table: SEVITable, column: str) -> tuple[int, int]:
    """Return the smallest and the largest id of a column; zeros if it is empty."""
    ends = [
        (values.min(), values.max())
        for values in (table.read(column, rows) for rows in parts(table))
    ]
    low, high = zip(*ends, strict=True) if ends else ((0,), (0,))
    return int(min(low)), int(max(high))
