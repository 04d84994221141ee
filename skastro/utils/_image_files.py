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
    paths : sequence of str or path-like
        The files, in order: JPEG, PNG, TIFF or any other format that Pillow reads.
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
        If a file cannot be read.

    See Also
    --------
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
        self, paths: Sequence[str | os.PathLike], *, channel_axis: int = -1
    ) -> None:
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
        if isinstance(paths, str | bytes | os.PathLike):
            raise TypeError(
                f"paths must be a sequence of files, but got {paths!r}; give a list, "
                "as in sorted(folder.glob('*.jpg'))."
            )
        if channel_axis not in (-1, 3, 1, -3):
            raise ValueError(
                "channel_axis must be -1 (or 3) for images of shape (H, W, C), or 1 "
                f"(or -3) for (C, H, W), but got {channel_axis!r}."
            )
        self.paths = [os.fspath(path) for path in paths]
        if not self.paths:
            raise ValueError("paths holds no files; give at least one.")
        self.channels_first = channel_axis in (1, -3)
        self.image_shape, self.dtype = self._open(self.paths[0], _read_header)

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
        shape, dtype, pixels = self._open(path, _read_pixels)
        if shape != self.image_shape or dtype != self.dtype:
            raise ValueError(
                f"The images must all have one shape and data type, but {path!r} is "
                f"{shape} {dtype}, and the first, {self.paths[0]!r}, is "
                f"{self.image_shape} {self.dtype}; cut or convert them to one size and "
                "mode first."
            )
        out[...] = pixels

    @staticmethod
    def _open(path: str, read: Any) -> Any:
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
