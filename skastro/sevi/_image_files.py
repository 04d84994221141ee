# SPDX-License-Identifier: BSD-3-Clause
"""Reading images of electrons: in a table, or in files of their own."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from skastro.datasets._hdf5 import open_hdf5
from skastro.datasets._sevi_tables import SEVITable
from skastro.utils import IMAGE_SUFFIXES, LazyArray, RowwiseSource, plain_array

_OPENERS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DELIMITERS = (",", ";")


class ImageColumn:
    """The images of a table as an array that a LazyArray reads.

    Parameters
    ----------
    table : SEVITable
        The table, with a column of images.

    Raises
    ------
    ValueError
        If the column holds no images.
    """

    def __init__(self, table: SEVITable) -> None:
        table.require("image")
        self.dataset = table.dataset
        self.field = table.name_of("image")
        stored = self.dataset.dtype[self.field]
        if len(stored.shape) != 2 or stored.base.kind not in "iuf" or 0 in stored.shape:
            raise ValueError(
                f"{table.where}: column {self.field!r} holds values of shape "
                f"{stored.shape} and type {stored.base}; expected images, numbers of "
                "shape (height, width)."
            )
        if not len(table):
            raise ValueError(f"{table.where} has no rows; expected one an image.")
        self.shape = (len(table), *stored.shape)
        self.dtype = stored.base

    @property
    def chunks(self) -> Any:
        """The chunks of what is on disk."""
        return self.dataset.chunks

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.dataset.fields(self.field)[rows]

    def __getstate__(self) -> dict[str, Any]:
        place = os.path.abspath(self.dataset.file.filename), self.dataset.name
        return {**self.__dict__, "dataset": place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        path, name = state["dataset"]
        self.__dict__.update(state, dataset=open_hdf5(path)[name])


def arrange(images: LazyArray, transpose: bool, size: int | None) -> LazyArray:
    """Turn and shrink images as they are read.

    Parameters
    ----------
    images : LazyArray of shape (n, height, width)
        The images.
    transpose : bool
        Whether to swap rows and columns.
    size : int or None
        Height and width to which blocks of pixels are summed.

    Returns
    -------
    images : LazyArray of shape (n, height, width)
        The same where nothing is asked for.

    Raises
    ------
    ValueError
        If they cannot be brought to the size.
    """
    if not transpose and size is None:
        return images
    change = partial(_change, transpose=transpose, size=size)
    probe = change(np.zeros((1, *images.shape[1:]), images.dtype))
    return LazyArray(RowwiseSource(images, change, probe.shape[1:], probe.dtype))


def _change(images: np.ndarray, transpose: bool, size: int | None) -> np.ndarray:
    images = images.swapaxes(1, 2) if transpose else images
    return images if size is None else sum_pixels(images, size)


def sum_pixels(images: np.ndarray, size: int) -> np.ndarray:
    """Make images smaller by summing square blocks of pixels.

    Parameters
    ----------
    images : ndarray of shape (n, height, width)
        The images.
    size : int
        Height and width to get.

    Returns
    -------
    images : ndarray of shape (n, size, size), float32
        Sums.

    Raises
    ------
    ValueError
        If the images are not square, or `size` does not divide their height.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.datasets._sevi_images import sum_pixels
    >>> sum_pixels(np.ones((1, 4, 4)), 2).tolist()
    [[[4.0, 4.0], [4.0, 4.0]]]
    """
    n, height, width = images.shape
    block, rest = divmod(height, size)
    if height != width or rest or not block:
        raise ValueError(
            f"size={size} does not divide images of {height} x {width} pixels: blocks "
            "of pixels are summed, so height and width must be the same multiple of "
            "size. Leave size=None to get the images as they are."
        )
    blocks = images.reshape(n, size, block, size, block)
    return blocks.sum((2, 4), dtype=np.float64).astype(np.float32)


def read_plain_images(path: Path, lazy: bool) -> np.ndarray:
    """Read the images of a file that is not HDF5.

    Parameters
    ----------
    path : Path
        Text, an array of numpy, or any format of images that Pillow reads.
    lazy : bool
        Leave an array of numpy on disk.

    Returns
    -------
    images : ndarray of shape (n, height, width)
        Those of text are float32, others as stored.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    OSError
        If it cannot be read.
    ValueError
        If it holds no images of numbers.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file in it.")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    suffix = path.suffix.lower()
    if lazy and suffix != ".npy":
        raise ValueError(
            f"{path}: only images in tables FinalImage and in files .npy can be left "
            "on disk; say lazy=False."
        )
    if suffix == ".npy":
        images = _read_npy(path, lazy)
    elif suffix in IMAGE_SUFFIXES:
        images = _read_pages(path)
    else:
        images = _read_text(path)
    images = images[None] if images.ndim == 2 else images
    if images.ndim != 3 or images.dtype.kind not in "iuf" or 0 in images.shape:
        raise ValueError(
            f"{path}: holds an array of shape {images.shape} and type {images.dtype}; "
            "expected numbers of shape (height, width) or (n, height, width)."
        )
    return images if lazy else plain_array(images)


def _read_npy(path: Path, lazy: bool) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r" if lazy else None)
    except (ValueError, EOFError) as error:
        raise OSError(f"{path}: not a readable file of numpy: {error}") from error


def _read_pages(path: Path) -> np.ndarray:
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as file:
            pages = [np.array(page) for page in ImageSequence.Iterator(file)]
            mode = file.mode
    except (OSError, SyntaxError, EOFError) as error:
        raise OSError(f"Cannot read the image file {path}: {error}") from error
    if mode == "P" or pages[0].ndim != 2 or pages[0].dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: holds images of mode {mode!r}; expected grey levels (L, I;16, I "
            "or F): counts of electrons have no colour."
        )
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        shapes = sorted({f"{page.shape} {page.dtype}" for page in pages})
        raise ValueError(
            f"{path}: its pages must all have one shape and type; got "
            f"{', '.join(shapes)}."
        )
    return np.stack(pages)


def _read_text(path: Path) -> np.ndarray:
    opener = _OPENERS.get(path.suffix.lower(), open)
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            lines = (line.strip() for line in file)
            first = next((line for line in lines if line and line[0] != "#"), "")
            if not first:
                raise ValueError("it has no lines of numbers")
            delimiter = next((mark for mark in _DELIMITERS if mark in first), None)
            file.seek(0)
            image = np.loadtxt(file, dtype=np.float32, delimiter=delimiter, ndmin=2)
    except (EOFError, lzma.LZMAError, OSError) as error:
        raise OSError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(
            f"{path}: not an image as plain text, rows of as many numbers each: "
            f"{error}. Expected is this, an HDF5 file, an array of numpy (.npy) or an "
            f"image ({', '.join(sorted(IMAGE_SUFFIXES))})."
        ) from error
    return image


def is_hdf5(path: Path) -> bool:
    """Tell HDF5 files, and those that are named so, from others."""
    if path.suffix.lower() in (".h5", ".hdf5", ".hdf"):
        return True
    return path.is_file() and h5py.is_hdf5(path)
