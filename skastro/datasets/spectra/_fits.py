# SPDX-License-Identifier: BSD-3-Clause
"""Opening FITS files, with one clear error for a bad file and no warnings."""

import os
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from skastro.utils import error_text, open_fits

_Result = TypeVar("_Result")

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
