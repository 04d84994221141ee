# SPDX-License-Identifier: BSD-3-Clause
"""Checks of input arrays that several rooms share."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from skastro.utils._batches import row_batches

_ROWS_NAMED = 10


def plain_array(X: Any) -> Any:
    """Give an array the machine's byte order, and write masked values as NaN.

    Arrays read from FITS files are big-endian, which torch refuses and numpy is slow
    with, and scikit-learn's validation would drop the mask of a masked array.

    Parameters
    ----------
    X : object
        Any input. What is not a numpy array comes back as it is.

    Returns
    -------
    X : object
        The same object where there was nothing to do.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.utils import plain_array
    >>> plain_array(np.array([1.0, 2.0], dtype=">f4")).dtype.isnative
    True
    >>> plain_array(np.ma.masked_equal([1.0, -99.0], -99.0))
    array([ 1., nan])
    """
    if not isinstance(X, np.ndarray):
        return X
    if not X.dtype.isnative:
        X = X.astype(X.dtype.newbyteorder("="))
    if isinstance(X, np.ma.MaskedArray):
        if np.ma.is_masked(X) and X.dtype.kind != "f":
            X = X.astype(np.float64)
        X = X.filled(np.nan) if np.ma.is_masked(X) else X.data
    return X


def check_finite(
    X: Any, *, input_name: str = "X", allow_nan: bool = False, advice: str = ""
) -> None:
    """Refuse NaN and infinite values, and say how many there are and where.

    Parameters
    ----------
    X : array of shape (n_rows, ...)
        The values. Anything with a ``shape``, a ``dtype`` and slicing by rows will do;
        it is read a few rows at a time. Other dtypes than real and complex floating
        point are finite by nature and not read at all.
    input_name : str, default="X"
        What the message calls the values.
    allow_nan : bool, default=False
        Refuse infinity only.
    advice : str, default=""
        A sentence at the end of the message: what the user can do.

    Raises
    ------
    ValueError
        If there are such values.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.utils import check_finite
    >>> check_finite(np.array([[0.0, 1.0], [np.nan, np.nan], [2.0, np.inf]]))
    Traceback (most recent call last):
        ...
    ValueError: Input X contains NaN and infinity: 2 NaN and 1 infinite value in 2 of
    3 rows (1, 2).
    """
    if X.dtype.kind not in "fc":
        return
    n_nan = n_infinite = 0
    bad_rows = []
    # What is on disk is read in its own blocks.
    blocks = X.blocks() if hasattr(X, "blocks") else row_batches(X.shape)
    for rows, block in _small_blocks(X, blocks):
        block = block.reshape(len(block), -1)
        if np.isfinite(block).all():
            continue
        infinite = np.isinf(block)
        nan = np.zeros_like(infinite) if allow_nan else np.isnan(block)
        n_infinite += np.count_nonzero(infinite)
        n_nan += np.count_nonzero(nan)
        bad_rows.extend(rows + np.flatnonzero((infinite | nan).any(axis=1)))
    if not bad_rows:
        return

    kinds, counts = [], []
    if n_nan:
        kinds.append("NaN")
        counts.append(f"{n_nan} NaN")
    if n_infinite:
        kinds.append("infinity")
        counts.append(f"{n_infinite} infinite value{'s' if n_infinite > 1 else ''}")
    message = (
        f"Input {input_name} contains {' and '.join(kinds)}: {' and '.join(counts)} in "
        f"{len(bad_rows)} of {X.shape[0]} rows ({name_rows(bad_rows)})."
    )
    raise ValueError(f"{message} {advice}".rstrip())


def _small_blocks(X: Any, blocks: Iterable[slice]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the values of pieces that fit the processor's cache."""
    for rows in blocks:
        block = np.asarray(X[rows])
        for piece in row_batches(block.shape):
            yield rows.start + piece.start, block[piece]


def name_rows(rows: Iterable[int]) -> str:
    """List row numbers for a message; of many, the first ten.

    Parameters
    ----------
    rows : iterable of int
        Row numbers.

    Returns
    -------
    text : str
        The numbers, separated by commas.

    Examples
    --------
    >>> from skastro.utils import name_rows
    >>> name_rows([3, 17])
    '3, 17'
    >>> name_rows(range(100))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 90 more'
    """
    rows = list(rows)
    text = ", ".join(str(row) for row in rows[:_ROWS_NAMED])
    hidden = len(rows) - _ROWS_NAMED
    return f"{text}, and {hidden} more" if hidden > 0 else text
