# SPDX-License-Identifier: BSD-3-Clause
"""Opening FITS and text files, with one clear error for a bad file, no warnings."""

import gzip
import os
import re
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from skastro.datasets.spectra._fields import with_unit, without_nulls
from skastro.utils import error_text, gzip_limit, open_fits, read_bytes

_Result = TypeVar("_Result")

_TEXT_BYTES = 4096
# Control characters other than tab, line feed, form feed and carriage return.
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f]")
_MOST_COLUMNS_NAMED = 8
_MOST_HDUS_NAMED = 6


def read_fits(
    path: str | os.PathLike,
    reader: Callable[[fits.HDUList], _Result],
    max_bytes: float | None = None,
) -> _Result:
    """Open a FITS file by ``open_fits``, and let `reader` read it.

    The result of `reader` must not refer to the memory of the file. Whatever `reader`
    raises becomes a ``ValueError`` that begins with the path.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder; read_spectra reads folders.")
    with warnings.catch_warnings():
        # Astropy's warnings are harmless, or open_fits has refused the file.
        warnings.simplefilter("ignore", AstropyWarning)
        with open_fits(path, max_bytes=max_bytes) as hdul:
            try:
                # Damaged numbers overflow; the reader checks the result.
                with np.errstate(all="ignore"):
                    return reader(hdul)
            except MemoryError as error:
                raise OSError(f"{path}: it needs more memory than there is.") from error
            except Exception as error:
                raise ValueError(f"{path}: {error_text(error)}") from error


def read_text(path: str | os.PathLike, max_bytes: float | None = None) -> str | None:
    """Return the content of a text file, gzip-compressed or not; None of another."""
    opener: Callable[..., Any] = open
    start = b""
    # Whoever opens the file as FITS says what is wrong with it.
    with suppress(OSError, EOFError, zlib.error):
        with open(path, "rb") as file:
            start = file.read(_TEXT_BYTES)
        if start[:2] == b"\x1f\x8b":
            opener, start = gzip.open, b""
            max_bytes = gzip_limit(path) if max_bytes is None else max_bytes
            with gzip.open(path) as file:
                start = file.read(_TEXT_BYTES)
    if not start.strip() or start.startswith(b"SIMPLE") or _NO_TEXT.search(start):
        return None
    return read_bytes(path, opener, max_bytes).getvalue().decode("utf-8", "replace")


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


def read_column(hdu: fits.BinTableHDU, name: str) -> np.ndarray:
    """Copy a column, named in any case; masked where TNULL says "no value"."""
    column = hdu.columns[name]
    values = np.asarray(hdu.data[column.name])
    if values.dtype == object:
        raise ValueError(f"column {column.name} holds arrays of varying length")
    if values.dtype.kind in "SU":
        return np.char.strip(values.astype(np.str_))
    values = values.astype(values.dtype.newbyteorder("="))
    # Scaled columns compare with TNULL before scaling.
    stored = hdu.data.view(np.ndarray)[column.name]
    null = 0 if str(column.format).endswith("L") else column.null
    if null is None or stored.dtype.kind not in "iu" or not (stored == null).any():
        return values
    return np.ma.array(values, mask=stored == null)


def read_quantity(hdu: fits.BinTableHDU, name: str) -> np.ndarray | units.Quantity:
    """Copy a column in the unit that TUNIT states, NaN for "no value"."""
    column = hdu.columns[name]
    try:
        return with_unit(without_nulls(read_column(hdu, name)), column.unit)
    except ValueError as error:
        raise ValueError(f"the unit of column {column.name}: {error}") from error


def read_log_wavelength(hdu: fits.BinTableHDU) -> np.ndarray | units.Quantity:
    """Read wavelengths from a column LOGLAM, decimal logarithms.

    They are in Angstrom unless TUNIT contains another unit of length, as in
    "log10(nm)".
    """
    column = hdu.columns["LOGLAM"]
    wavelength = 10.0 ** read_column(hdu, "LOGLAM").astype(np.float64)
    named = r"(?<![a-z])(nm|um|microns?|mm|m)(?![a-z])"
    unit = re.search(named, column.unit or "", flags=re.I)
    return with_unit(wavelength, unit and unit[0])


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
