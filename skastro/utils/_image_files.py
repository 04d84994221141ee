# SPDX-License-Identifier: BSD-3-Clause
"""Image files as one array, lists of paths, and the layout of images in X."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import joblib
import numpy as np

from skastro._compat import Interval, Options
from skastro.utils._arrays import check_images_layout
from skastro.utils._files import check_file, check_memory, read_bytes
from skastro.utils._fits import read_fits_image
from skastro.utils._lazy import IMAGE_SUFFIXES, LazyArray

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
# Formats that Pillow decodes itself. Others start other programs, such as Ghostscript.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
# Names of files need not be UTF-8; other bytes are kept unchanged.
_ERRORS = "surrogateescape"
# More threads than this do not decode faster.
_MAX_THREADS = 8


class ImageFiles(LazyArray):
    """Image files as one array; images are decoded when they are indexed.

    It is a :class:`LazyArray`: integers and slices read images; a list, an array or a
    mask of rows gives a view and reads nothing. The header of the first file gives the
    shape; the other files are compared with it when they are read.

    Parameters
    ----------
    paths : sequence of path-like, or path-like
        The files, in order: PNG, JPEG, TIFF, BMP, GIF, WebP or FITS, plain or
        compressed. Their content decides, not their names. A single path is that of a
        text file that lists them, one per line, such as
        :func:`~skastro.datasets.select_images` writes; relative paths in it are
        relative to the working folder.
    channel_axis : {-1, 3, 1, -3}, default=-1
        Axis of the channels in the array of all images: the last, as in scikit-image,
        for ``(n, H, W, C)``, or the second for ``(n, C, H, W)``.
    hdu : int or str, default=None
        Number or name of the HDU of the image in FITS files. None stands for the only
        image in a file; several are an error.
    max_bytes : int, default=None
        Memory that one image may take; a larger one is an error. None means half of the
        memory that is available.

    Attributes
    ----------
    paths : list of str
        The files.
    shape : tuple of int
        ``(n, H, W)`` for gray images, ``(n, H, W, C)`` for others: three channels for
        RGB, four for RGBA, whose alpha channel is the last, and two for gray with
        alpha. A palette, as in GIF files, becomes RGB, or RGBA where it has
        transparent colors.
    dtype : numpy.dtype
        uint8 for 8-bit images; uint16, int32 or float32 for deeper gray images. The
        type of scaled pixels, as astropy gives it, for FITS files.

    Raises
    ------
    ValueError
        If there are no files, or if a file has another shape or data type than the
        first, several frames, colors of 16 bits, or colors other than brightness, such
        as CMYK: convert these with ``Image.convert("RGB")`` first.
    OSError
        If a file cannot be read, is larger than `max_bytes`, or there is no such text
        file.

    See Also
    --------
    skastro.datasets.read_images : Reads images of any size, with labels from a table.
    skastro.datasets.select_images : Lists the images of one shape in a folder.
    skastro.datasets.images_to_hdf5 : Packs images into one file.
    LazyArray : The same for arrays in HDF5, zarr and memory-mapped files.

    Notes
    -----
    Several files are decoded at a time, in threads. Images are taken as they are
    stored: an orientation in their EXIF data has no effect. The rows of FITS images are
    in the order of the file, as with :mod:`astropy.io.fits`, hence the lowest is the
    first; bands (``NAXIS3``) are channels, ``BSCALE`` and ``BZERO`` are applied, and
    pixels that are ``BLANK`` are NaN. Of more than three axes, those of one pixel are
    left out.

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
        hdu: int | str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        if isinstance(paths, str | os.PathLike):
            paths = _listed_paths(paths)
        super().__init__(_FileRows(paths, channel_axis, hdu, max_bytes))

    @property
    def paths(self) -> list[str]:
        """The files."""
        return self.source.paths

    def __repr__(self) -> str:
        return f"ImageFiles(shape={self.shape}, dtype={self.dtype})"


class _FileRows:
    """The source of rows of ``ImageFiles``."""

    def __init__(
        self,
        paths: Sequence[str | os.PathLike],
        channel_axis: int = -1,
        hdu: int | str | None = None,
        max_bytes: int | None = None,
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
        self.max_bytes = max_bytes
        self.hdu = hdu
        self.image_shape, self.dtype, _ = _open_image(
            self.paths[0], hdu, max_bytes, header_only=True
        )

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
            # list() raises the first error.
            list(pool.map(self._decode_into, out, jobs))

    def _decode_into(self, out: np.ndarray, path: str) -> None:
        shape, dtype, pixels = _open_image(
            path, self.hdu, self.max_bytes, header_only=False
        )
        if shape != self.image_shape or dtype != self.dtype:
            raise ValueError(
                f"The images must all have one shape and data type, but {path!r} is "
                f"{shape} {dtype}, and the first, {self.paths[0]!r}, is "
                f"{self.image_shape} {self.dtype}; cut or convert them to one size and "
                "mode first."
            )
        out[...] = pixels


def read_image_header(
    path: str | os.PathLike, hdu: int | str | None = None
) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape, ``(height, width[, n_channels])``, and the dtype of an image."""
    return _open_image(os.fspath(path), hdu, None, header_only=True)[:2]


def read_image(path: str | os.PathLike, max_bytes: float | None = None) -> np.ndarray:
    """Read the pixels of an image, ``(height, width[, n_channels])``."""
    pixels = _open_image(os.fspath(path), None, max_bytes, header_only=False)[2]
    return np.asarray(pixels)


def holds_fits(path: str | os.PathLike) -> bool:
    """Return whether a file begins as FITS does, plain or gzip-compressed."""
    with check_file(path).open("rb") as file:
        start = file.read(6)
    return start == b"SIMPLE" or start.startswith(b"\x1f\x8b")


def _listed_paths(path: str | os.PathLike) -> list[str]:
    """Read a text file of paths; raise if the argument is a folder or an image."""
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"{os.fspath(path)!r} is a folder; give its files, as in "
            "select_images(folder).paths or sorted(folder.glob('*.jpg')), or read it "
            "with its labels by skastro.datasets.read_images(folder, table)."
        )
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        raise TypeError(
            "paths must be a sequence of files, or a text file that lists them, but "
            f"got {path!r}; give a list of one: [path]."
        )
    return read_path_list(path)


@contextmanager
def open_image(path: str | os.PathLike) -> Iterator[Any]:
    """Open an image file by Pillow, whose errors become OSErrors that name the file."""
    from PIL import Image

    path = os.fspath(path)
    check_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    # Pillow raises errors of many kinds on damaged files.
    except Exception as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise OSError(f"Cannot read the image file {path!r}: {error}") from error


def _open_image(
    path: str, hdu: int | str | None, max_bytes: float | None, header_only: bool
) -> tuple[tuple[int, ...], np.dtype, np.ndarray | None]:
    """Return the shape of an image, its type and, unless `header_only`, its pixels."""
    if holds_fits(path):
        shape, dtype, pixels = read_fits_image(
            path, hdu, header_only=header_only, max_bytes=max_bytes
        )
        if pixels is not None and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        return (*shape[-2:], *shape[:-2]), dtype, pixels
    with open_image(path) as image:
        mode = image.mode
        if mode in ("P", "PA"):
            # A palette stands for the colors that it holds.
            mode = "RGBA" if image.has_transparency_data else "RGB"
        layout = mode in _LAYOUT_OF_MODE
        n_frames = getattr(image, "n_frames", 1)
        # Pillow drops the lower half of colors of 16 bits.
        stored = str([tile[3] for tile in image.tile])
        deep = mode in ("LA", "RGB", "RGBA") and re.search(";16[BLN]", stored)
        if layout and n_frames == 1 and not deep:
            shape, dtype = _read_header(image, mode)
            check_memory(math.prod(shape) * dtype.itemsize, path, max_bytes)
            if header_only:
                return shape, dtype, None
            pixels = image if mode == image.mode else image.convert(mode)
            return shape, dtype, np.asarray(pixels)
    if n_frames != 1:
        raise ValueError(
            f"{path!r} holds {n_frames} images; save each in a file of its own."
        )
    if deep:
        raise ValueError(
            f"{path!r} has several channels of 16 bits, of which Pillow reads 8; save "
            "the channels as gray images of 16 bits, or all of them as FITS."
        )
    raise ValueError(
        f"{path!r} is an image of mode {mode!r}, but expected gray levels or RGB "
        f"({', '.join(_LAYOUT_OF_MODE)}); convert it with Pillow's "
        "Image.convert('RGB') and save it again."
    )


def _read_header(image: Any, mode: str) -> tuple[tuple[int, ...], np.dtype]:
    dtype, n_channels = _LAYOUT_OF_MODE[mode]
    if mode == "I" and image.format == "PNG":
        # Older releases of Pillow open 16-bit PNG files as 32-bit integers.
        dtype = "uint16"
    width, height = image.size
    shape = (height, width) if n_channels is None else (height, width, n_channels)
    return shape, np.dtype(dtype)


@dataclass(frozen=True)
class ImageLayout:
    """Where images and channels are in X, by `channel_axis` and `image_shape`.

    Images are ``(n, height, width)``, or 4-D with the channels on `channel_axis`, or
    rows of pixels whose order is that of `image_shape`. A `channel_axis` of None is the
    last one, too, but then the user has not said so, and ``check`` looks at the shape.
    """

    channel_axis: int | None = None
    image_shape: int | tuple[int, ...] | None = None

    constraints: ClassVar[dict] = {
        "channel_axis": [None, Options(Integral, {-3, -2, -1, 1, 2, 3})],
        "image_shape": [None, tuple, list, Interval(Integral, 1, None, closed="left")],
    }

    def image_shape_of(self, sample_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the shape of one image, from X or from ``image_shape``.

        Lengths are int, or None where those of several images differ.
        """
        if len(sample_shape) > 1:
            return tuple(sample_shape)
        if self.image_shape is None:
            return (1, *sample_shape)
        shape = tuple(np.atleast_1d(self.image_shape).tolist())
        fits = (
            len(shape) in (2, 3)
            and all(isinstance(n, int) and n > 0 for n in shape)
            and math.prod(shape) == sample_shape[0]
        )
        if not fits:
            raise ValueError(
                f"image_shape={shape} does not fit X: its rows have {sample_shape[0]} "
                "numbers. Give (height, width), or three numbers with the channels on "
                f"channel_axis, whose product is {sample_shape[0]}."
            )
        return shape

    def check(self, sample_shape: tuple[Any, ...]) -> None:
        """Refuse a shape with swapped axes, unless `channel_axis` was given."""
        if self.channel_axis is None and None not in sample_shape:
            check_images_layout(tuple(sample_shape))

    @property
    def axis_in_sample(self) -> int:
        """The axis of the channels in a single image."""
        axis = -1 if self.channel_axis is None else self.channel_axis
        return axis - 1 if axis > 0 else axis + 3

    def sizes_of(self, sample_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Return the number of channels, and height and width."""
        self.check(sample_shape)
        shape = list(self.image_shape_of(sample_shape))
        n_channels = shape.pop(self.axis_in_sample) if len(shape) == 3 else 1
        return n_channels, tuple(shape)

    def to_images(self, X: Any) -> Any:
        """View an array or Tensor as ``(batch, channels, height, width)``."""
        X = X.reshape(X.shape[0], *self.image_shape_of(tuple(X.shape[1:])))
        if X.ndim == 3:
            return X[:, None]
        move = np.moveaxis if isinstance(X, np.ndarray) else type(X).movedim
        return move(X, self.axis_in_sample + 1, 1)

    def to_samples(self, images: Any, shape: tuple[int, ...]) -> Any:
        """Undo ``to_images`` for a Tensor: bring it into the shape that X had."""
        if len(self.image_shape_of(tuple(shape[1:]))) == 2:
            return images.reshape(shape)
        return images.movedim(1, self.axis_in_sample + 1).reshape(shape)


def read_path_list(path: str | os.PathLike) -> list[str]:
    r"""Read a text file of paths, one per line; relative paths stay relative.

    The file is UTF-8, and empty lines are ignored. Any other text is refused: one line
    at least must be a path that exists.
    """
    content = read_bytes(path).getvalue()
    if b"\0" in content:
        raise ValueError(
            f"{os.fspath(path)!r} is not a text file of paths, one per line. Give a "
            "single file as a list of one: [path]."
        )
    lines = content.decode("utf-8-sig", _ERRORS).split("\n")
    paths = [line for line in (line.removesuffix("\r") for line in lines) if line]
    if paths and not any(map(os.path.exists, paths)):
        raise ValueError(
            f"{os.fspath(path)!r} is read as a list of files, one per line, but none "
            f"of its {len(paths)} lines is a file; the first is {paths[0][:80]!r}, "
            f"sought from the folder {os.getcwd()}."
        )
    return paths


def format_path_list(paths: Iterable[str]) -> bytes:
    r"""Write paths as the content of a text file that :func:`read_path_list` reads.

    >>> format_path_list(["a.jpg", "b.jpg"])
    b'a.jpg\nb.jpg\n'
    """
    lines = [f"{path}\n" for path in paths]
    for line in lines:
        if "\n" in line[:-1] or "\r" in line:
            raise ValueError(
                f"{line[:-1]!r} has the end of a line in its name, so a text file "
                "of one path per line cannot list it; rename the file."
            )
    return "".join(lines).encode("utf-8", _ERRORS)
