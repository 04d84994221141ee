# SPDX-License-Identifier: BSD-3-Clause
"""Conversion of header cards and table cells to the fields of a spectrum."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits
from numpy.typing import ArrayLike

WAVELENGTH_UNIT = units.Angstrom
# Flux density of SDSS and BOSS products, as their data model states it. Their BUNIT
# is not in the FITS standard's spelling, and one pipeline wrote "erg/cm/s/Ang".
SDSS_FLUX_UNIT = units.Unit("1e-17 erg / (Angstrom cm2 s)")

BANDS = ("u", "g", "r", "i", "z")

# Surveys write "no value" as -9999; no redshift, S/N or coordinate is below this.
_NO_VALUE = -9990.0
_NO_CLASS = {"", "NON", "NONE", "NULL", "NA", "N/A", "UNKNOWN"}
_ANGSTROM = {"", "a", "ang", "angstrom", "angstroms"}


def number(value: Any) -> float:
    """Read a real number; NaN if there is none."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        return np.nan
    return result if result > _NO_VALUE else np.nan


def integer(value: Any, default: int = -1) -> int:
    """Read an integer; `default` if there is none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def text(value: Any) -> str:
    """Read text; empty if there is none."""
    if value is None or isinstance(value, fits.card.Undefined):
        return ""
    return str(value).strip()


def class_text(value: Any) -> str:
    """Read a class or subclass; empty if the survey writes "Unknown" or "Non"."""
    label = text(value)
    return "" if label.upper() in _NO_CLASS else label


def known(values: np.ndarray) -> np.ndarray:
    """Replace unknown values by NaN in a column of numbers, by "" in one of strings."""
    if values.dtype.kind == "f":
        return np.where(values > _NO_VALUE, values, np.nan).astype(values.dtype)
    if values.dtype.kind == "U":
        return np.where(np.isin(np.char.upper(values), [*_NO_CLASS]), "", values)
    return values


def first(keys: Iterable[str], *sources: Mapping[str, Any]) -> Any:
    """Value of the first of `keys` in the first of `sources` that has one, or None."""
    for source in sources:
        for key in keys:
            if key in source:
                return source[key]
    return None


def floats(values: ArrayLike) -> np.ndarray:
    """Copy to native single precision."""
    return np.array(values, dtype=np.float32)


def bits(values: ArrayLike) -> np.ndarray:
    """Copy a bit mask, which some surveys store as floats, to integers."""
    return np.nan_to_num(np.asarray(values)).astype(np.int64)


def log_wavelength(header: fits.Header, n_pixels: int) -> np.ndarray:
    """Wavelengths of a log-linear dispersion, lg λ = COEFF0 + COEFF1 * pixel."""
    start, step = number(header.get("COEFF0")), number(header.get("COEFF1"))
    if not (np.isfinite(start) and step > 0):
        raise ValueError(
            "the header gives no wavelengths: expected COEFF0 and COEFF1 > 0, found "
            f"COEFF0 = {header.get('COEFF0')!r} and COEFF1 = {header.get('COEFF1')!r}"
        )
    return 10.0 ** (start + step * np.arange(n_pixels))


def in_angstrom(values: ArrayLike, unit: str = "") -> np.ndarray:
    """Copy wavelengths to float64 in Angstrom.

    Values without a unit are taken to be in Angstrom. `unit` is the unit as a file
    writes it; spellings of Angstrom that astropy does not know are accepted.
    """
    known_unit = WAVELENGTH_UNIT if unit.lower() in _ANGSTROM else units.Unit(unit)
    quantity = units.Quantity(values, dtype=np.float64)
    if quantity.unit == units.dimensionless_unscaled:
        quantity = units.Quantity(quantity.value, known_unit)
    return np.array(quantity.to_value(WAVELENGTH_UNIT))
