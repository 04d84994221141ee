# SPDX-License-Identifier: BSD-3-Clause
"""Values in the two forms that files hold: numbers, and text as UTF-8."""

import hashlib
import numbers
from typing import Any

import numpy as np

# Rows of a column that are looked at together.
_BATCH_ROWS = 2**16


def plain_values(values: Any, name: str) -> np.ndarray:
    """Bring values into a form that a file can hold: numbers, or UTF-8 of fixed width.

    Parameters
    ----------
    values : array-like
        Numbers or text, in an array of any type.
    name : str
        What the values are, for the message.

    Returns
    -------
    values : ndarray
        Of kind "biuf" in the machine's byte order, or of kind "S".

    Raises
    ------
    TypeError
        If the values are neither numbers nor text.
    """
    values = np.asarray(values)
    if values.dtype.kind in "biuf":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    objects = values.ravel().tolist() if values.dtype.kind in "OSTU" else [None]
    if all(isinstance(value, numbers.Real) for value in objects):
        plain = np.array(objects)
    elif all(isinstance(value, str) for value in objects):
        plain = np.array([value.encode() for value in objects], np.bytes_)
    elif all(isinstance(value, bytes) for value in objects):
        # There and back: what is no UTF-8 is found out here.
        return plain_values([value.decode() for value in objects], name)
    else:
        raise TypeError(
            f"{name} must be numbers or text, got values of type {values.dtype}."
        )
    return plain.reshape(values.shape)


def as_text(values: np.ndarray) -> list:
    """Write plain values as text: of floats the fewest digits that give them back.

    Parameters
    ----------
    values : ndarray
        What :func:`plain_values` gave.

    Returns
    -------
    text : list
        Of str, nested as deep as the array has axes.
    """
    if values.dtype.kind != "S":
        return values.astype(str).tolist()
    text = [value.decode() for value in values.ravel().tolist()]
    return np.array(text, object).reshape(values.shape).tolist()


class IdColumn:
    """Names or numbers of objects, read a few at a time.

    Parameters
    ----------
    ids : array-like of shape (n_rows,)
        The names; text or numbers.
    n_rows : int
        How many there must be.
    """

    def __init__(self, ids: Any, n_rows: int) -> None:
        if not hasattr(ids, "dtype"):
            ids = np.asarray(ids)
        self._ids = getattr(ids, "iloc", ids)
        shape = tuple(ids.shape)
        if shape != (n_rows,):
            raise ValueError(
                f"ids must hold one value a row of X, hence be of shape ({n_rows},); "
                f"got shape {shape}."
            )
        digest = hashlib.sha256()
        dtypes = set()
        for start in range(0, n_rows, _BATCH_ROWS):
            batch = self._read(start, min(start + _BATCH_ROWS, n_rows))
            dtypes.add(batch.dtype)
            is_text = batch.dtype.kind == "S"
            digest.update(b"\0".join([*batch, b""]) if is_text else batch.tobytes())
        if len({dtype.kind == "S" for dtype in dtypes}) > 1:
            raise TypeError("ids must be either text or numbers, got both.")
        self.dtype = np.result_type(*dtypes)
        self.digest = digest.hexdigest()

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the plain values of some rows."""
        return self._read(rows.start, rows.stop).astype(self.dtype, copy=False)

    def _read(self, start: int, stop: int) -> np.ndarray:
        return plain_values(self._ids[start:stop], "ids")
