# SPDX-License-Identifier: BSD-3-Clause
"""Which generated electron a detected one is."""

import numpy as np

from skastro.datasets._sevi_tables import SEVITable
from skastro.utils import name_rows

# Electrons that are read at once.
_ROWS_AT_ONCE = 2**20


class Lookup:
    """The rows at which ids stand.

    Parameters
    ----------
    ids : ndarray of shape (n,), int64
        Ids, all different.
    where : str
        What the ids are of, for messages.

    Raises
    ------
    ValueError
        If an id occurs twice.
    """

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
        """Give the row of each id, and refuse those without.

        Parameters
        ----------
        wanted : ndarray of shape (m,), int64
            Ids to look up.
        whose : str
            What has these ids, for messages.

        Returns
        -------
        rows : ndarray of shape (m,), int
            Where they stand.
        """
        # Sorted ids are found much faster, since neighbours are close in memory.
        order = np.argsort(wanted)
        place = np.empty(len(wanted), dtype=np.intp)
        place[order] = np.searchsorted(self.ids, wanted[order])
        unknown = place == len(self.ids)
        unknown[~unknown] = self.ids[place[~unknown]] != wanted[~unknown]
        if unknown.any():
            raise ValueError(
                f"{whose}: there is no partner in {self.where} for the id "
                f"{name_rows(np.unique(wanted[unknown]))}."
            )
        return self.order[place]


class Join:
    """The rows of generated electrons for detected ones.

    ``ElectronId`` of the detected electrons is looked up in the column of that name of
    the generated ones; where ids start again in each shell, together with the id of the
    shell. Without the column it is the number of the row, counted from zero; or from
    one, if the largest id is the number of rows and the smallest is not zero.

    Parameters
    ----------
    generated, detected : SEVITable
        The tables.

    Raises
    ------
    ValueError
        If generated electrons have the same id.
    """

    def __init__(self, generated: SEVITable, detected: SEVITable) -> None:
        self.generated, self.detected = generated, detected
        self.shell_id = None
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
        """Give the generated electrons of some detected ones.

        Parameters
        ----------
        rows : slice
            Rows of the detected electrons.

        Returns
        -------
        found : ndarray of shape (n,), int
            Rows of the generated electrons.

        Raises
        ------
        ValueError
            If there is none, or one of another shell.
        """
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
        """Write the pairs of shell and electron as one number."""
        number = self._shells.find(shells, self.detected.where)
        outside = (ids < self._low) | (ids >= self._low + self._span)
        return np.where(outside, -1, number * self._span + ids - self._low)


def parts(table: SEVITable) -> list[slice]:
    """Cut a table into parts that are read at once."""
    return [
        slice(first, min(first + _ROWS_AT_ONCE, len(table)))
        for first in range(0, len(table), _ROWS_AT_ONCE)
    ]


def different_ids(table: SEVITable, column: str) -> np.ndarray:
    """Give the different ids of a column, ascending."""
    found = [np.unique(table.read(column, rows)) for rows in parts(table)]
    return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))


def id_limits(table: SEVITable, column: str) -> tuple[int, int]:
    """Give the smallest and the largest id of a column; zeros of an empty one."""
    ends = [
        (values.min(), values.max())
        for values in (table.read(column, rows) for rows in parts(table))
    ]
    low, high = zip(*ends, strict=True) if ends else ((0,), (0,))
    return int(min(low)), int(max(high))
