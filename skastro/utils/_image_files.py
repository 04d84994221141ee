# SPDX-License-Identifier: BSD-3-Clause
"""Images in files of their own as one array, read when they are asked for."""

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np

from skastro.utils._lazy import LazyArray
from skastro.utils._path_list import read_path_list

# The endings, in lower case, of files that are taken for images.
IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# The data type and number of channels (None: no axis for them) of Pillow's modes.
_LAYOUT_OF_MODE = {
    "L": ("uint8", None),
    "LA": ("uint8", 2),
    "RGB": ("uint8", 3),
    "RGBA": ("uint8", 4),
    "I;16": ("uint16", None),
    "I;16L": ("uint16", None),
    "I;16B": ("uint16", None),
    "I": ("int32", None),
    "F": ("float32", None),
}
# What Pillow raises on damaged files, depending on their format.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)
# More threads than this wait for each other rather than decode.
_MAX_THREADS = 8


class ImageFiles(LazyArray):
    """Images in files of their own as one array, decoded when they are asked for.

    It is a :class:`LazyArray`: integers and slices read images, a list, an array or a
    mask of rows gives a view and reads nothing. The first file's header tells the
    shape; the others are held against it when they are read.

    Parameters
    ----------
    paths : sequence of path-like, or path-like
        The files, in order: JPEG, PNG, TIFF or any other format that Pillow reads. A
        single path is that of a text file that lists them, one a line, such as
        :func:`~skastro.datasets.select_images` writes; relative paths in it count
        from the working folder, as everywhere.
    channel_axis : {-1, 3, 1, -3}, default=-1
        Axis of the channels in the array of all images: the last, as in scikit-image,
        for ``(n, H, W, C)``, or the second for ``(n, C, H, W)``.

    Attributes
    ----------
    paths : list of str
        The files.
    shape : tuple of int
        ``(n, H, W)`` for grey images, ``(n, H, W, C)`` for others: three channels for
        RGB, four for RGBA, whose alpha channel is the last, and two for grey with
        alpha.
    dtype : numpy.dtype
        uint8 for 8-bit images; uint16, int32 or float32 for deeper grey images.

    Raises
    ------
    ValueError
        If there are no files, or if a file has another shape or data type than the
        first, several frames, or colours that are no numbers of brightness (a palette,
        CMYK): convert these with ``Image.convert("RGB")`` first.
    OSError
        If a file cannot be read, or there is no such text file.

    See Also
    --------
    skastro.datasets.select_images : Lists the images of one shape in a folder.
    skastro.datasets.images_to_hdf5 : Packs images into one file.
    LazyArray : The same for arrays in HDF5, zarr and memory-mapped files.

    Notes
    -----
    Several files are decoded at a time, in threads. Images are taken as they are
    stored: an orientation in their EXIF data has no effect.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from PIL import Image
    >>> from skastro.datasets import ImageFiles
    >>> folder = TemporaryDirectory()
    >>> paths = [Path(folder.name, f"galaxy_{i}.png") for i in range(3)]
    >>> for path in paths:
    ...     Image.fromarray(np.zeros((6, 8, 3), dtype="uint8")).save(path)
    >>> images = ImageFiles(paths)
    >>> images
    ImageFiles(shape=(3, 6, 8, 3), dtype=uint8)
    >>> images[:2].shape
    (2, 6, 8, 3)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike] | str | os.PathLike,
        *,
        channel_axis: int = -1,
    ) -> None:
        if isinstance(paths, str | os.PathLike):
            paths = _listed_paths(paths)
        super().__init__(_FileRows(paths, channel_axis))

    @property
    def paths(self) -> list[str]:
        """The files."""
        return self.source.paths

    def __repr__(self) -> str:
        return f"ImageFiles(shape={self.shape}, dtype={self.dtype})"


class _FileRows:
    """The source of rows behind ``ImageFiles``."""

    def __init__(
        self, paths: Sequence[str | os.PathLike], channel_axis: int = -1
    ) -> None:
        if isinstance(paths, bytes):
            raise TypeError(f"paths must be a sequence of files, but got {paths!r}.")
        if channel_axis not in (-1, 3, 1, -3):
            raise ValueError(
                "channel_axis must be -1 (or 3) for images of shape (H, W, C), or 1 "
                f"(or -3) for (C, H, W), but got {channel_axis!r}."
            )
        self.paths = [os.fspath(path) for path in paths]
        if not self.paths:
            raise ValueError("paths holds no files; give at least one.")
        self.channels_first = channel_axis in (1, -3)
        self.image_shape, self.dtype = _open_image(self.paths[0], _read_header)

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.image_shape
        if self.channels_first and len(shape) == 3:
            shape = (shape[2], *shape[:2])
        return len(self.paths), *shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        numbers = np.arange(*rows.indices(len(self.paths)))
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        self.read_rows(numbers, out)
        return out

    def read_rows(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read files in any order into an array."""
        if self.channels_first and len(self.image_shape) == 3:
            out = np.moveaxis(out, 1, -1)
        jobs = [self.paths[row] for row in rows]
        n_threads = min(_MAX_THREADS, joblib.cpu_count(), len(jobs))
        if n_threads <= 1:
            for path, image in zip(jobs, out, strict=True):
                self._decode_into(image, path)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            # The list makes the first error known.
            list(pool.map(self._decode_into, out, jobs))

    def _decode_into(self, out: np.ndarray, path: str) -> None:
        shape, dtype, pixels = _open_image(path, _read_pixels)
        if shape != self.image_shape or dtype != self.dtype:
            raise ValueError(
                f"The images must all have one shape and data type, but {path!r} is "
                f"{shape} {dtype}, and the first, {self.paths[0]!r}, is "
                f"{self.image_shape} {self.dtype}; cut or convert them to one size and "
                "mode first."
            )
        out[...] = pixels


def read_image_header(path: str | os.PathLike) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and the data type of an image, and no pixels.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    shape : tuple of int
        ``(height, width)`` of grey images, ``(height, width, n_channels)`` of others.
    dtype : numpy.dtype
        The pixels' type.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it holds several images, or colours that are no numbers of brightness.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skastro.utils import read_image_header
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "galaxy.png"
    ...     Image.new("RGB", (8, 6)).save(path)
    ...     read_image_header(path)
    ((6, 8, 3), dtype('uint8'))
    """
    return _open_image(os.fspath(path), _read_header)


def _listed_paths(path: str | os.PathLike) -> list[str]:
    """Read a text file of paths, and refuse what is likely meant otherwise."""
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"{os.fspath(path)!r} is a folder; give its files, as in "
            "select_images(folder).paths or sorted(folder.glob('*.jpg'))."
        )
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        raise TypeError(
            "paths must be a sequence of files, or a text file that lists them, but "
            f"got {path!r}; give a list of one: [path]."
        )
    return read_path_list(path)


def _open_image(path: str, read: Any) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as image:
            layout = image.mode in _LAYOUT_OF_MODE
            n_frames = getattr(image, "n_frames", 1)
            mode = image.mode
            if layout and n_frames == 1:
                return read(image)
    except FileNotFoundError:
        raise
    except _DECODING_ERRORS as error:
        raise OSError(f"Cannot read the image file {path!r}: {error}") from error
    if n_frames != 1:
        raise ValueError(
            f"{path!r} holds {n_frames} images; save each in a file of its own."
        )
    raise ValueError(
        f"{path!r} is an image of mode {mode!r}, but expected grey levels or RGB "
        f"({', '.join(_LAYOUT_OF_MODE)}); convert it with Pillow's "
        "Image.convert('RGB') and save it again."
    )


def _read_header(image: Any) -> tuple[tuple[int, ...], np.dtype]:
    dtype, n_channels = _LAYOUT_OF_MODE[image.mode]
    if image.mode == "I" and image.format == "PNG":
        # Older releases of Pillow open 16-bit PNG files as 32-bit integers.
        dtype = "uint16"
    width, height = image.size
    shape = (height, width) if n_channels is None else (height, width, n_channels)
    return shape, np.dtype(dtype)


def _read_pixels(image: Any) -> tuple[tuple[int, ...], np.dtype, np.ndarray]:
    return *_read_header(image), np.asarray(image)
