# SPDX-License-Identifier: BSD-3-Clause
"""Opening FITS files: headers are checked before memory is spent on their data."""

import gzip
import io
import math
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from skastro.utils._files import check_memory, free_memory, gzip_limit
from skastro.utils._validation import check_number

_LOCK = threading.Lock()
_IMAGE_HDUS = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)

_BLOCK, _CARD = 2880, 80
# Relative difference of width and height of pixels that count as square.
_SQUARE = 0.01
# Keywords of the size of pixels; by default they are of a degree.
_SIZE_OF_PIXELS = re.compile(r"(CDELT|CD|PC)\d.*")
# Longer headers do not occur; without a limit a file without END is read to its end.
_MOST_BLOCKS = 4000
_MOST_AXES = _MOST_COLUMNS = 999
_GZIP_MAGIC = b"\x1f\x8b"
_STRUCTURE = re.compile(
    rb"SIMPLE|XTENSION|BITPIX|Z?NAXIS\d*|ZBITPIX|ZIMAGE|PCOUNT|GCOUNT|GROUPS|TFIELDS"
    rb"|TFORM\d+"
)
_BYTES_OF_FORM = {**dict.fromkeys("LBA", 1), "I": 2, **dict.fromkeys("JE", 4)}
_BYTES_OF_FORM |= {**dict.fromkeys("KDCP", 8), **dict.fromkeys("MQ", 16)}


@contextmanager
def open_fits(
    path: str | os.PathLike, *, max_bytes: float | None = None
) -> Iterator[fits.HDUList]:
    """Open a FITS file, plain or gzip-compressed, that is complete and consistent.

    The sizes in all headers are compared with each other and with the file before
    astropy sees it, because astropy neither ends for some damaged headers nor notices
    missing data. `max_bytes` limits the size of the unpacked file and of each
    compressed image. None means half of the free memory and, for a gzip-compressed
    file above 64 MiB, 200 times its size. A file that is refused is an ``OSError`` that
    begins with the path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fits.PrimaryHDU([[1, 2, 3]]).writeto(f"{folder}/a.fits")
    ...     with open_fits(f"{folder}/a.fits") as hdul:
    ...         print(hdul[0].shape)
    (1, 3)
    """
    path = Path(path)
    if max_bytes is not None:
        check_number(max_bytes, "max_bytes", least=0)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, not a FITS file.")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if not path.is_file():
        raise OSError(f"{path}: is not a regular file.")
    try:
        with path.open("rb") as start:
            packed = start.read(2) == _GZIP_MAGIC
        if max_bytes is None:
            max_bytes = gzip_limit(path) if packed else free_memory() / 2
        with gzip.open(path) if packed else path.open("rb") as file:
            size = _check_hdus(file, max_bytes)
            if packed:
                file.seek(0)
                content = io.BytesIO(file.read(size))
        # Astropy reads scaled images without a memory map where memmap is None.
        hdul = fits.open(content if packed else path, lazy_load_hdus=False)
    # Astropy and zlib raise errors of many types for damaged files.
    except Exception as error:
        raise OSError(
            f"{path}: not a readable FITS file: {error_text(error)}."
        ) from error
    with hdul:
        yield hdul


def read_fits_image(
    path: str | os.PathLike,
    hdu: int | str | None = None,
    *,
    header_only: bool = False,
    max_bytes: float | None = None,
) -> tuple[tuple[int, ...], np.dtype, np.ndarray | None]:
    """Read an image of two axes or, with bands first, of three, as astropy does.

    Returns its shape, data type and pixels, None with `header_only`. Pixels are scaled,
    in astropy's order, and NaN where they are BLANK. Of more axes, those of length 1
    that come first are dropped. `hdu` is a number or name; None stands for the only
    image in the file.
    """
    with _open_image(path, hdu, max_bytes) as (_, found):
        return _read_pixels(found, path, header_only, max_bytes)


def describe_fits_image(
    path: str | os.PathLike,
    hdu: int | str | None = None,
    *,
    max_bytes: float | None = None,
) -> tuple[tuple[int, ...], np.dtype, float, np.ndarray | None]:
    """Return shape, data type, pixel scale and place of the first image of a file.

    `hdu` names another one. The scale is in arcsec, and NaN where the header states
    none or pixels are not square. The place are unit vectors to the central pixel,
    ``length // 2`` on both axes, and to those at its right and above; None where the
    header has no celestial coordinates. An image in an extension without coordinates
    has those of a primary header without an image.
    """
    with _open_image(path, hdu, max_bytes, first=True) as (hdul, found):
        shape, dtype, _ = _read_pixels(found, path, True, max_bytes)
        wcs = _celestial_wcs(found.header)
        if wcs is None and not hdul[0].shape:
            wcs = _celestial_wcs(hdul[0].header)
        return shape, dtype, _pixel_scale(wcs), _place(wcs, shape)


def read_masked_fits_image(
    path: str | os.PathLike,
    hdu: int | str | None = None,
    mask: int | str | None = None,
    *,
    max_bytes: float | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the first image of a file, or that in `hdu`, and where its mask is not 0.

    `mask` is the number or name of the HDU of the mask, of the shape of the image or of
    one band; without it there is no mask.
    """
    with _open_image(path, hdu, max_bytes, first=True) as (hdul, found):
        pixels = _read_pixels(found, path, False, max_bytes)[2]
        if mask is None:
            return pixels, None
        masked = _find_image(hdul, os.fspath(path), mask, name="mask")
        shape, _, values = _read_pixels(masked, path, False, max_bytes)
        if shape not in (pixels.shape, pixels.shape[-2:]):
            raise OSError(
                f"{os.fspath(path)}: its mask={mask!r} has the shape {shape}, but its "
                f"image {pixels.shape}"
            )
        return pixels, np.broadcast_to(values != 0, pixels.shape)


@contextmanager
def _open_image(
    path: str | os.PathLike,
    hdu: int | str | None,
    max_bytes: float | None,
    *,
    first: bool = False,
) -> Iterator[tuple[fits.HDUList, Any]]:
    """Open a file and find its image; errors while it is read name the file."""
    # Filters of warnings belong to all threads.
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        with open_fits(path, max_bytes=max_bytes) as hdul:
            found = _find_image(hdul, os.fspath(path), hdu, first=first)
            try:
                yield hdul, found
            # Astropy raises errors of many types for damaged data.
            except Exception as error:
                if str(error).startswith(f"{os.fspath(path)}: "):
                    raise
                raise OSError(
                    f"{os.fspath(path)}: its image is damaged: {error_text(error)}."
                ) from error


def _read_pixels(
    hdu: Any, path: str | os.PathLike, header_only: bool, max_bytes: float | None
) -> tuple[tuple[int, ...], np.dtype, Any]:
    """Return the shape of an image, its type and, unless `header_only`, its pixels."""
    shape = _without_single_axes(hdu.shape)
    # A section has the type of the scaled pixels, and reads one of them.
    first = hdu.section[(slice(1),) * len(hdu.shape)]
    dtype = first.dtype.newbyteorder("=")
    blank = hdu.header.get("BLANK")
    if blank is not None and dtype.kind in "iu":
        dtype = np.result_type(dtype, np.float32)
    check_memory(math.prod(shape) * dtype.itemsize, path, max_bytes)
    if header_only:
        return shape, dtype, None
    stored = hdu.data
    pixels = np.array(stored, dtype)
    if blank is not None and stored.dtype.kind == "u":
        # Astropy passes over BLANK in unsigned integers.
        zero = 2 ** (8 * stored.itemsize - 1)
        pixels[stored == blank + zero] = np.nan
    return shape, pixels.dtype, pixels.reshape(shape)


def _without_single_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop axes of length 1 of more than three, such as those of radio images."""
    shape = tuple(shape)
    if len(shape) > 3:
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
    return shape


def _celestial_wcs(header: fits.Header) -> Any:
    """Return the celestial coordinates of a header, or None."""
    from astropy.wcs import WCS

    # A header whose coordinates astropy cannot read states none.
    with suppress(Exception):
        wcs = WCS(header)
        if wcs.has_celestial and any(map(_SIZE_OF_PIXELS.fullmatch, header)):
            return wcs.celestial
    return None


def _pixel_scale(wcs: Any) -> float:
    """Return the width of a square pixel in arcsec, or NaN."""
    from astropy.wcs.utils import proj_plane_pixel_scales

    with suppress(Exception):
        scales = 3600 * proj_plane_pixel_scales(wcs)
        scale = math.sqrt(prod(scales))
        if 0 < scale < math.inf and np.ptp(scales) <= _SQUARE * scale:
            return scale
    return math.nan


def _place(wcs: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return unit vectors to the central pixel, its right and its upper neighbor."""
    with suppress(Exception):
        y, x = (length // 2 for length in shape[-2:])
        world = wcs.pixel_to_world_values([x, x + 1, x], [y, y, y + 1])
        lon, lat = (np.deg2rad(world[axis]) for axis in (wcs.wcs.lng, wcs.wcs.lat))
        place = np.stack(
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1
        )
        return place if np.isfinite(place).all() else None
    return None


def _find_image(
    hdul: fits.HDUList,
    path: str,
    hdu: int | str | None,
    *,
    first: bool = False,
    name: str = "hdu",
) -> Any:
    """Return the HDU of the image, or refuse what could be meant otherwise."""
    shapes = {
        number: tuple(item.shape)
        for number, item in enumerate(hdul)
        if isinstance(item, _IMAGE_HDUS) and item.shape
    }
    named = None
    if hdu is None:
        numbers = list(shapes)
        if first:
            numbers = [n for n in numbers if _is_image(shapes[n])][:1]
    else:
        with suppress(KeyError, IndexError):
            named = hdul[hdu]
        numbers = [number for number in shapes if hdul[number] is named]
    found = ", ".join(
        f"{number} ({hdul[number].name or 'no name'}): {shape}"
        for number, shape in shapes.items()
    )
    if len(numbers) != 1:
        which = "one image" if hdu is None else f"an image {name}={hdu!r}"
        raise ValueError(
            f"{path}: expected {which}, but its images are {found or 'none'}. Name one "
            f"by {name}=..., a number or a name."
        )
    shape = shapes[numbers[0]]
    if not _is_image(shape):
        raise ValueError(
            f"{path}: its image has the shape {shape}, but expected (height, width) or "
            "(n_bands, height, width)."
        )
    return hdul[numbers[0]]


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(_without_single_axes(shape)) in (2, 3) and 0 not in shape


def error_text(error: Exception) -> str:
    """Describe an exception in one line without a final period."""
    text = " ".join(str(error).split()).rstrip(".")
    if text and isinstance(error, OSError | ValueError | TypeError | fits.VerifyError):
        return text
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def _check_hdus(file: io.BufferedIOBase, max_bytes: float) -> int:
    """Check the headers, the end of each HDU and of the file; return the last end."""
    end = index = 0
    size = None if isinstance(file, gzip.GzipFile) else _size_of(file)
    while header := _read_header(file, index):
        where = f"the header of HDU {index}"
        n_bytes = _data_size(header, where)
        start = file.tell()
        end = start + -(-n_bytes // _BLOCK) * _BLOCK
        memory = max(end, _image_size(header, where, "Z") if b"ZIMAGE" in header else 0)
        complete = size is None or end <= size
        if complete and memory > max_bytes:
            raise OSError(
                f"it needs {memory} bytes of memory, more than the {max_bytes:.0f} that"
                " are allowed; set max_bytes to read it"
            )
        if n_bytes:
            padding = b""
            if complete:
                file.seek(start + n_bytes - 1)
                padding = file.read(end - start - n_bytes + 1)[1:]
                complete = file.tell() == end
            if not complete:
                raise OSError(
                    f"it is truncated: {_size_of(file)} bytes where its headers "
                    f"announce {end}"
                )
            if padding.strip(b"\0 "):
                raise OSError(
                    f"{where} announces {n_bytes} bytes of data, but more follow"
                )
        index += 1
    file.seek(end)
    length, blank = 0, True
    while part := file.read(2**20):
        length, blank = length + len(part), blank and not part.strip(b"\0 ")
        # A few bytes or zeros behind the last HDU are harmless.
        if length >= _BLOCK and not blank:
            raise OSError(
                f"data follow its last HDU, number {index - 1}, at byte {end}: the "
                "sizes in a header are wrong"
            )
        if end + length > max_bytes and isinstance(file, gzip.GzipFile):
            raise OSError(f"it unpacks to more than the {max_bytes:.0f} bytes allowed")
    return end


def _size_of(file: io.BufferedIOBase) -> int:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size


def _read_header(file: io.BufferedIOBase, index: int) -> dict[bytes, bytes]:
    """Read the cards that determine an HDU's size; empty if no HDU begins here."""
    first = b"XTENSION" if index else b"SIMPLE  "
    header: dict[bytes, bytes] = {}
    for number in range(_MOST_BLOCKS):
        block = file.read(_BLOCK)
        if number == 0 and not block.startswith(first):
            if index:
                return {}
            if not block:
                raise OSError("it is empty (0 bytes)")
            packed = isinstance(file, gzip.GzipFile)
            raise OSError(
                "it is gzip-compressed, but its content is not FITS"
                if packed
                else "it does not begin with the keyword SIMPLE"
            )
        for position in range(0, len(block), _CARD):
            card = block[position : position + _CARD]
            key = card[:8].rstrip(b" ")
            if key == b"END" and len(block) == _BLOCK:
                return header
            if card[8:10] == b"= " and _STRUCTURE.fullmatch(key):
                if key in header:
                    raise OSError(f"the header of HDU {index} repeats {key.decode()}")
                header[key] = card[10:].split(b"/")[0].strip(b" '")
        if len(block) < _BLOCK:
            raise OSError(f"it is truncated: it ends inside the header of HDU {index}")
    raise OSError(f"the header of HDU {index} has no END card")


def _data_size(header: dict[bytes, bytes], where: str) -> int:
    """Return the number of bytes of an HDU's data without padding."""
    if header.get(b"SIMPLE", b"T") != b"T":
        raise OSError(f"{where} does not follow the FITS standard: SIMPLE is not T")
    size = _image_size(header, where)
    kind = header.get(b"XTENSION")
    if kind in (b"BINTABLE", b"TABLE", b"A3DTABLE"):
        n_columns = _integer(header, "TFIELDS", where, 0, _MOST_COLUMNS)
        if kind != b"TABLE":
            row = sum(_width(header, n, where) for n in range(1, n_columns + 1))
            announced = _integer(header, "NAXIS1", where)
            if row != announced:
                raise OSError(
                    f"{where} has columns of {row} bytes a row, but NAXIS1 = "
                    f"{announced}"
                )
    return size


def _image_size(header: dict[bytes, bytes], where: str, prefix: str = "") -> int:
    """Return the number of bytes of an array, which with prefix Z is a packed one."""
    bits = abs(_integer(header, f"{prefix}BITPIX", where, -64, 64))
    if bits not in (8, 16, 32, 64):
        raise OSError(f"{where} has {prefix}BITPIX = {bits}")
    n_axes = _integer(header, f"{prefix}NAXIS", where, 0, _MOST_AXES)
    axes = [_integer(header, f"{prefix}NAXIS{n + 1}", where) for n in range(n_axes)]
    if not axes:
        return 0
    if axes[0] == 0 and header.get(b"GROUPS") == b"T":
        axes = axes[1:]
    n_groups = _integer(header, "GCOUNT", where, 1) if b"GCOUNT" in header else 1
    extra = _integer(header, "PCOUNT", where) if b"PCOUNT" in header else 0
    return bits // 8 * n_groups * (extra + prod(axes))


def _width(header: dict[bytes, bytes], column: int, where: str) -> int:
    """Return the number of bytes of a column in a row of a binary table."""
    form = header.get(f"TFORM{column}".encode(), b"").decode("ascii", "replace")
    match = re.match(r"(\d*)([LXBIJKAEDCMPQ])", form)
    if match is None:
        raise OSError(f"{where} has no valid TFORM{column}: {form!r}")
    repeat = int(match[1] or 1)
    return -(-repeat // 8) if match[2] == "X" else repeat * _BYTES_OF_FORM[match[2]]


def _integer(
    header: dict[bytes, bytes],
    key: str,
    where: str,
    least: int = 0,
    most: int = 2**62,
) -> int:
    """Return an integer of a header within limits."""
    value = header.get(key.encode())
    if value is None:
        raise OSError(f"{where} has no {key}")
    if not re.fullmatch(rb"[+-]?\d{1,20}", value) or not least <= int(value) <= most:
        raise OSError(
            f"{where} has {key} = {value[:30].decode('ascii', 'replace')}, which is no "
            f"integer from {least} to {most}"
        )
    return int(value)
