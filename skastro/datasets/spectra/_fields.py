# SPDX-License-Identifier: BSD-3-Clause
"""Conversion of header cards and table cells to the fields of a spectrum."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits
from numpy.typing import ArrayLike

from skastro.utils import plain_array

WAVELENGTH_UNIT = units.Angstrom
# Flux density of SDSS and BOSS products, as their data model states it. Their BUNIT
# is not in the FITS standard's spelling, and one pipeline wrote "erg/cm/s/Ang".
SDSS_FLUX_UNIT = units.Unit("1e-17 erg / (Angstrom cm2 s)")

BANDS = ("u", "g", "r", "i", "z")

# Surveys write "no value" as -9999; no redshift, S/N or coordinate is below this.
_NO_VALUE = -9990.0
# Double precision does not represent all larger integers.
_MOST_EXACT = 2**53
# Values of SPECSYS, of which some files have only the first eight letters.
_FRAMES = {"TOPOCENT": "topocentric", "HELIOCEN": "heliocentric"}
_FRAMES |= {"BARYCENT": "barycentric", "SOURCE": "rest"}
_MEDIA = dict.fromkeys(("TRUE", "T", "1", "VAC", "VACUUM"), "vacuum")
_MEDIA |= dict.fromkeys(("FALSE", "F", "0", "AIR"), "air")
_NO_CLASS = {"", "NON", "NONE", "NULL", "NA", "N/A", "UNKNOWN"}


def number(value: Any, unit: units.UnitBase = units.dimensionless_unscaled) -> float:
    """Read a finite real number, a quantity in `unit`; NaN if there is none."""
    if isinstance(value, units.Quantity):
        value = value.to_value(unit)
    if value is np.ma.masked:
        return np.nan
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan
    return result if np.isfinite(result) and result > _NO_VALUE else np.nan


def integer(value: Any, default: int = -1) -> int:
    """Read an integer; `default` if there is none."""
    if value is np.ma.masked:
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return default


def text(value: Any) -> str:
    """Read text; empty if there is none."""
    undefined = isinstance(value, fits.card.Undefined)
    if undefined or value is None or value is np.ma.masked:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value).strip()


def class_text(value: Any) -> str:
    """Read a class or subclass; empty if the survey writes "Unknown" or "Non"."""
    label = text(value)
    return "" if label.upper() in _NO_CLASS else label


def known(values: np.ndarray) -> np.ndarray:
    """Replace unknown values by NaN in a column of numbers, by "" in one of strings."""
    if values.dtype.kind == "f":
        real = np.isfinite(values) & (values > _NO_VALUE)
        return np.where(real, values, np.nan).astype(values.dtype)
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


def without_nulls(column: np.ma.MaskedArray | np.ndarray) -> np.ndarray:
    """Return a table's column; masked numbers become NaN, masked strings "".

    A masked integer that keeps its type would be taken for a label.
    """
    values = np.ma.asanyarray(column)
    if not np.ma.is_masked(values):
        return np.asarray(column)
    if values.dtype.kind in "biu":
        if np.abs(values.astype(np.float64)).max() > _MOST_EXACT:
            return np.asarray(values.astype(np.str_).filled(""))
        values = values.astype(np.float64)
    return np.asarray(values.filled("" if values.dtype.kind in "SU" else np.nan))


def split_unit(values: Any) -> tuple[Any, units.UnitBase | None]:
    """Return an array with NaN for masked values, and its unit."""
    unit = getattr(values, "unit", None)
    return plain_array(values if unit is None else values.value), unit


def floats(values: ArrayLike, name: str = "flux") -> np.ndarray:
    """Copy to native single precision; masked values become NaN."""
    exact = np.asarray(split_unit(values)[0])
    # A matrix is not copied twice, to the byte order and again.
    shared = isinstance(values, np.ndarray) and np.may_share_memory(exact, values)
    result = exact.astype(np.float32, copy=shared)
    if exact.dtype.kind != "f" or exact.dtype.itemsize <= result.itemsize:
        return result
    lost = np.isinf(result) & np.isfinite(exact)
    if lost.any() or (exact.any() and not result.any()):
        extreme = np.abs(exact[lost] if lost.any() else exact).max()
        raise ValueError(
            f"{name} has values such as {extreme:g}, which single precision cannot "
            f"hold; use a unit in which the flux is near 1, such as {SDSS_FLUX_UNIT}"
        )
    return result


def bits(values: ArrayLike) -> np.ndarray:
    """Copy a bit mask, which some surveys store as floats, to integers."""
    values = np.nan_to_num(np.asarray(values))
    result = values.astype(np.int64)
    if (result != values).any():
        raise ValueError(
            "a mask of bits holds other numbers than integers; rows or columns of the "
            "file are misaligned"
        )
    return result


def log_wavelength(header: fits.Header, n_pixels: int) -> np.ndarray:
    """Wavelengths of a log-linear dispersion, lg λ = COEFF0 + COEFF1 * pixel."""
    start, step = number(header.get("COEFF0")), number(header.get("COEFF1"))
    if not (np.isfinite(start) and step > 0):
        raise ValueError(
            "the header gives no wavelengths: expected COEFF0 and COEFF1 > 0, found "
            f"COEFF0 = {header.get('COEFF0')!r} and COEFF1 = {header.get('COEFF1')!r}"
        )
    return 10.0 ** (start + step * np.arange(n_pixels))


def linear_wavelength(header: fits.Header, n_pixels: int) -> np.ndarray:
    """Wavelengths of a linear axis, or lg λ on one, by CRVAL1, CRPIX1 and CDELT1."""
    start = number(header.get("CRVAL1"))
    step = number(first(["CD1_1", "CDELT1"], header))
    if "CD1_1" not in header:
        step *= number(header.get("PC1_1", 1))
    reference = number(header.get("CRPIX1", 1))
    if not (np.isfinite([start, reference]).all() and step > 0):
        raise ValueError(
            "the header gives no wavelengths: expected CRVAL1, CRPIX1 and CDELT1 > 0, "
            f"found {start:g}, {reference:g} and {step:g}"
        )
    return start + step * (np.arange(1, n_pixels + 1) - reference)


# What files write, in any case, by what astropy reads.
_SPELLINGS = {
    "a|ang|angstr[oö]ms?|ångstr[oö]ms?": "Angstrom",
    "nm|nanomet(?:er|re)s?": "nm",
    "um|[µμ]m|microns?|micromet(?:er|re)s?": "um",
    "millimet(?:er|re)s?": "mm",
    "cm|centimet(?:er|re)s?": "cm",
    "met(?:er|re)s?": "m",
    "ergs?": "erg",
    "hz|hertz": "Hz",
    "jy|jansky": "Jy",
    "cts?|counts?": "ct",
    "adu": "adu",
}


def parse_unit(spelling: str) -> units.UnitBase:
    """Read a unit as files spell it, also in spellings that astropy does not know."""
    # A power of ten with so many digits would take minutes.
    if re.search(r"[*^+-]\s*\(*\s*[+-]?\d{4,}", spelling):
        raise ValueError(f"the unit {spelling!r} has an exponent of over three digits")
    known = re.sub(r"10\s*(\^|\*\*)\s*\(?\s*([-+]?\d+)\)?", r"1e\2", spelling)
    if known.isupper() and re.search(r"\bERGS?\b", known):
        # S is no siemens here.
        known = known.lower()
    for pattern, name in _SPELLINGS.items():
        # As words of their own.
        word = rf"(?<![^\W\d_])({pattern})(?![^\W\d_]|\()"
        known = re.sub(word, name, known, flags=re.I)
    try:
        return units.Unit(known)
    except ValueError:
        pass
    try:
        return units.Unit(known, format="fits")
    except ValueError as error:
        raise ValueError(
            f"{spelling!r} is no known unit. Wavelengths may be in Angstrom, nm, um, "
            "mm, cm or m, and flux in any unit of astropy, such as erg/s/cm2/Angstrom; "
            "M and MM, of which the case tells too little, are refused"
        ) from error


def unit_of_flux(spelling: Any) -> units.UnitBase | None:
    """Read a unit of flux; None, a relative flux, if no unit is stated or known."""
    spelling = text(spelling)
    known = {"counts": units.ct, "adu": units.adu, "electrons": units.electron}
    if spelling.lower() in known:
        return known[spelling.lower()]
    try:
        return parse_unit(spelling) if spelling else None
    except ValueError:
        return None


def with_unit(values: np.ndarray, spelling: str | None) -> np.ndarray | units.Quantity:
    """Return a quantity if a file states a unit."""
    if not text(spelling):
        return values
    return units.Quantity(values, parse_unit(text(spelling)), dtype=np.float64)


def inverse_variance(
    *, error: ArrayLike | None = None, variance: ArrayLike | None = None
) -> np.ndarray:
    """Inverse variance, 0 where there is no positive and finite error or variance."""
    given = np.asarray(error if variance is None else variance, dtype=np.float64)
    good = np.isfinite(given) & (given > 0)
    power = -2.0 if variance is None else -1.0
    return np.where(good, np.where(good, given, 1.0) ** power, 0.0)


def medium_of(header: Mapping[str, Any], default: str | None = None) -> str | None:
    """Medium of the wavelengths by the card VACUUM, or the default."""
    return _MEDIA.get(text(header.get("VACUUM")).upper(), default)


def frame_of(header: Mapping[str, Any], default: str | None = None) -> str | None:
    """Frame of the wavelengths by the FITS card SPECSYS; None if it is another one."""
    if "SPECSYS" not in header:
        return default
    return _FRAMES.get(text(header["SPECSYS"]).upper()[:8])
