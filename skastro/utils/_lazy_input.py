# SPDX-License-Identifier: BSD-3-Clause
"""Telling arrays on disk from arrays in memory."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skastro.utils._image_files import IMAGE_SUFFIXES, ImageFiles
from skastro.utils._lazy import LazyArray
from skastro.utils._sources import root_module


def is_lazy(X: Any) -> bool:
    """Tell arrays that are read piece by piece from those that are in memory.

    Parameters
    ----------
    X : object
        Any input.

    Returns
    -------
    lazy : bool
        True for a ``LazyArray`` (``ImageFiles`` among them), an ``h5py.Dataset``, a
        ``zarr.Array``, a dask array, a ``numpy.memmap`` larger than half of the
        machine's memory, and a list or tuple of paths of image files.

    Examples
    --------
    >>> from skastro.utils import is_lazy
    >>> is_lazy([[0.0, 1.0]])
    False
    >>> is_lazy(["galaxy_1.jpg", "galaxy_2.jpg"])
    True
    """
    if isinstance(X, LazyArray):
        return True
    if isinstance(X, np.memmap):
        # joblib hands large arrays in memory to its workers as memory maps. They are
        # arrays like others, or else results would depend on n_jobs.
        return X.nbytes > _physical_memory() / 2
    if isinstance(X, list | tuple):
        return _are_image_paths(X)
    if not hasattr(X, "shape") or not hasattr(X, "dtype"):
        return False
    module = type(X).__module__
    return root_module(X) in ("h5py", "zarr") or module.startswith("dask.array")


def as_lazy(X: Any) -> LazyArray:
    """Put an array on disk, or a list of image files, behind one interface.

    Parameters
    ----------
    X : object
        What ``is_lazy`` accepts, or any other source of ``LazyArray``.

    Returns
    -------
    X : LazyArray
        The very object where it is one already.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.utils import as_lazy
    >>> as_lazy(np.zeros((2, 5)))
    LazyArray(ndarray, shape=(2, 5), dtype=float64)
    """
    if isinstance(X, LazyArray):
        return X
    if isinstance(X, list | tuple) and _are_image_paths(X):
        return ImageFiles(X)
    return LazyArray(X)


class RowwiseSource:
    """An array on disk whose rows pass through a function when they are read.

    Parameters
    ----------
    array : LazyArray
        The array; all of its source's rows are behind this one.
    function : callable
        Takes some rows and gives as many, each computed from the row in its place.
    row_shape : tuple of int
        Shape of a row after the function.
    dtype : numpy.dtype
        Its data type.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.utils import LazyArray, RowwiseSource
    >>> array = LazyArray(np.arange(6.0).reshape(3, 2))
    >>> LazyArray(RowwiseSource(array, np.sqrt, (2,), array.dtype))[2:]
    array([[2.        , 2.23606798]])
    """

    def __init__(
        self,
        array: LazyArray,
        function: Callable[[np.ndarray], np.ndarray],
        row_shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> None:
        self.array = LazyArray(array.source)
        self.function = function
        self.shape = (len(self.array), *row_shape)
        self.dtype = dtype

    @property
    def chunks(self) -> Any:
        """The chunks of what is on disk."""
        return getattr(self.array.source, "chunks", None)

    def __getitem__(self, rows: slice) -> np.ndarray:
        try:
            return self.function(self.array[rows])
        except ValueError as error:
            error.add_note(f"(Counted from row {rows.start} of the array on disk.)")
            raise


def _are_image_paths(items: list | tuple) -> bool:
    return bool(items) and all(
        isinstance(item, str | Path)
        and os.path.splitext(item)[1].lower() in IMAGE_SUFFIXES
        for item in items
    )


def _physical_memory() -> float:
    """Return the machine's memory in bytes; infinity where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
