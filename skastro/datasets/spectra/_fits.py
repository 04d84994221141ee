# SPDX-License-Identifier: BSD-3-Clause
"""Opening FITS files, with one clear error for a bad file and no warnings."""

import gzip
import io
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

_Result = TypeVar("_Result")

_GZIP_MAGIC = b"\x1f\x8b"
_MOST_COLUMNS_NAMED = 8
_MOST_HDUS_NAMED = 6


def read_fits(
    path: str | os.PathLike, reader: Callable[[fits.HDUList], _Result]
) -> _Result:
    """Open a FITS file, check that it is complete, and let `reader` read it.

    The result of `reader` must not refer to the memory of the file. An unreadable file
    is an ``OSError``; errors of `reader` become a ``ValueError`` that begins with the
    path.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; read_spectra reads folders.")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    with warnings.catch_warnings():
        # Astropy's warnings are either harmless or covered by _check_complete.
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            file, size = _open_file(path)
            hdul = fits.open(file, memmap=isinstance(file, Path))
        except (
            OSError,
            EOFError,
            ValueError,
            TypeError,
            zlib.error,
            fits.VerifyError,
        ) as error:
            raise _unreadable(path, error) from error
        with hdul:
            try:
                _check_complete(hdul, size)
            except (OSError, ValueError, TypeError, fits.VerifyError) as error:
                raise _unreadable(path, error) from error
            try:
                # Damaged numbers overflow; the reader checks the result.
                with np.errstate(all="ignore"):
                    return reader(hdul)
            except (ValueError, TypeError, LookupError, fits.VerifyError) as error:
                raise ValueError(f"{path}: {_reason(error)}") from error


def describe_hdus(hdul: fits.HDUList) -> str:
    """Describe the content of a FITS file for error messages."""
    phrases = []
    for index, hdu in enumerate(hdul[:_MOST_HDUS_NAMED]):
        if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
            rows, names = hdu.header["NAXIS2"], [*column_names(hdu).values()]
            if len(names) > _MOST_COLUMNS_NAMED:
                names[_MOST_COLUMNS_NAMED:] = ["..."]
            phrase = f"a table of {rows} rows with columns {', '.join(names)}"
        elif getattr(hdu, "shape", ()):
            phrase = f"an image of shape {hdu.shape} and BITPIX {hdu.header['BITPIX']}"
        else:
            phrase = "no data"
        phrases.append(f"HDU {index} holds {phrase}")
    if len(hdul) > _MOST_HDUS_NAMED:
        phrases.append(f"{len(hdul) - _MOST_HDUS_NAMED} more HDUs follow")
    return "; ".join(phrases)


def is_table(hdu: object) -> bool:
    """Return whether an HDU is a binary table."""
    return isinstance(hdu, fits.BinTableHDU)


def column_names(hdu: fits.BinTableHDU) -> dict[str, str]:
    """Map the upper-case names of a table's columns to their names in the file.

    They are taken from the header, because astropy is slow to set up the columns of a
    table as wide as a survey's catalog.
    """
    names = [str(name).strip() for name in hdu.header["TTYPE*"].values()]
    return {name.upper(): name for name in names}


def image_shape(hdu: object) -> tuple[int, ...]:
    """Shape of an image HDU in numpy's order; empty for tables and empty HDUs."""
    return () if is_table(hdu) else tuple(getattr(hdu, "shape", ()) or ())


def _open_file(path: Path) -> tuple[Path | io.BytesIO, int]:
    """Return a path or a buffer to open, and its size; unpack gzip in memory."""
    size = path.stat().st_size
    if size == 0:
        raise OSError("it is empty (0 bytes)")
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(_GZIP_MAGIC):
        content = gzip.decompress(path.read_bytes())
        if not content.startswith(b"SIMPLE"):
            raise OSError("it is gzip-compressed, but its content is not FITS")
        return io.BytesIO(content), len(content)
    if not head.startswith(b"SIMPLE"):
        raise OSError("it does not begin with the keyword SIMPLE")
    return path, size


def _check_complete(hdul: fits.HDUList, size: int) -> None:
    """Refuse a file that is shorter than its headers announce.

    Astropy only warns, or drops the last HDU, and does not notice it in a compressed
    file.
    """
    last = hdul.fileinfo(len(hdul) - 1)
    end = last["datLoc"] + last["datSpan"]
    if end > size:
        raise OSError(f"it is truncated: {size} bytes where its headers announce {end}")
    file = last["file"]
    file.seek(end)
    # Anything else after the last HDU is padding or junk, which is harmless.
    if file.read(8).startswith(b"XTENSION"):
        raise OSError(f"it is truncated: it ends inside the header of HDU {len(hdul)}")


def _unreadable(path: Path, error: Exception) -> OSError:
    return OSError(f"{path}: not a readable FITS file: {_reason(error)}.")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return repr(error) if isinstance(error, LookupError) or not text else text
