# SPDX-License-Identifier: BSD-3-Clause
"""Walking through large arrays a few rows at a time."""

import math
from collections.abc import Iterator

# Values in a batch: small enough that a double-precision copy of it stays in the
# processor's cache, large enough that numpy's overhead per call is nothing.
_BATCH_VALUES = 2**18


def row_batches(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of an array into batches that fit the processor's cache.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array; its first axis holds the rows.

    Yields
    ------
    rows : slice
        The next rows; together the slices cover all rows in order.

    Examples
    --------
    >>> from skastro.utils import row_batches
    >>> list(row_batches((250, 3000)))
    [slice(0, 87, None), slice(87, 174, None), slice(174, 250, None)]
    """
    n_rows = shape[0]
    batch = max(1, _BATCH_VALUES // max(1, math.prod(shape[1:])))
    for start in range(0, n_rows, batch):
        yield slice(start, min(start + batch, n_rows))
