# SPDX-License-Identifier: BSD-3-Clause
"""Spectra as images whose header, or another image, gives the wavelengths.

The headers are those of IRAF (Valdes, F. 1993, ASP Conf. Ser. 52, 467, and the help
page ``onedspec.specwcs``) and those of the FITS standard for spectral coordinates
(Greisen, E. W. et al. 2006, A&A 446, 747, doi:10.1051/0004-6361:20053818).
"""

import json
import math
import re
import shlex
from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS
from numpy.polynomial import Chebyshev, Legendre

from skastro.datasets.spectra._fields import (
    first,
    frame_of,
    inverse_variance,
    linear_wavelength,
    medium_of,
    number,
    text,
    unit_of_flux,
    with_unit,
)
from skastro.datasets.spectra._fits import image_shape
from skastro.datasets.spectra._layouts import add_layout

_ERRORS = ("ERROR", "ERR", "SIGMA", "SIG", "STD", "STDDEV", "UNCERT", "NOISE")
_VARIANCES = ("VARIANCE", "VAR", "STAT")
# Types of axis of the FITS standard, with the medium of the wavelengths.
_FITS_AXES = {"WAVE": "vacuum", "AWAV": "air", "FREQ": "vacuum", "ENER": "vacuum"}
# Other axes state how they are computed, such as WAVE-LOG.
_NONLINEAR_AXIS = re.compile(r"[A-Z]{4}-[A-Z0-9]{3}")
_LINEAR, _LOGARITHMIC, _NONLINEAR = 0, 1, 2
_POLYNOMIALS = {1: Chebyshev, 2: Legendre}


def _flux_hdu(hdul: fits.HDUList) -> Any:
    """Return the only image that can be the flux, or None."""
    found = [hdu for hdu in hdul if image_shape(hdu)]
    flux = [hdu for hdu in found if hdu.name in ("FLUX", "SCI", "SPECTRUM")]
    return (flux or found or [None])[0]


def _is_image(hdul: fits.HDUList) -> bool:
    """Recognize a vector with a spectral axis, or IRAF's spectra of apertures."""
    hdu = _flux_hdu(hdul)
    if hdu is None:
        return False
    header, shape = hdu.header, image_shape(hdu)
    if _other_image(hdul, hdu, ("WAVELENGTH", "WAVE", "LAMBDA")) is not None:
        return len(shape) == 1
    if _is_of_apertures(header):
        return len(shape) in (1, 2, 3)
    has_step = bool({"CD1_1", "CDELT1"} & {*header})
    is_vector = math.prod(shape) == shape[-1]
    return is_vector and has_step and "CRVAL1" in header and _is_spectral(header)


def _is_of_apertures(header: fits.Header) -> bool:
    system = text(header.get("WAT0_001")) + text(header.get("CTYPE1")).lower()
    return "spec" in system and ("APNUM1" in header or "WAT2_001" in header)


def _is_spectral(header: fits.Header) -> bool:
    return bool(
        {"DC-FLAG", "DISPAXIS", "WAT1_001"} & {*header}
        or _fits_axis(header)
        or "LAMBDA" in text(header.get("CTYPE1")).upper()
        or _axis_unit(header)
    )


def _fits_axis(header: fits.Header) -> str:
    """Return the type of the axis if it is one of the FITS standard, such as AWAV."""
    kind = text(header.get("CTYPE1")).upper()
    return kind if kind[:4] in _FITS_AXES and kind[4:5] in ("", "-") else ""


@add_layout(
    "image",
    _is_image,
    "vector with a wavelength axis, or IRAF's spectra of apertures",
    many=True,
    is_generic=True,
)
def _read_image(hdul: fits.HDUList) -> dict:
    """Read one spectrum, or one for each aperture."""
    hdu = _flux_hdu(hdul)
    header, flux = hdu.header, np.asarray(hdu.data, np.float64)
    primary = hdul[0].header
    n_pixels = flux.shape[-1]
    ivar = _inverse_variance(hdul, hdu)
    if flux.ndim == 3 and len(flux) > 1:
        names = [text(header.get(f"BANDID{band + 1}")) for band in range(len(flux))]
        sigma = [band for band, name in enumerate(names) if name.startswith("sigma")]
        ivar = inverse_variance(error=flux[sigma[0]]) if sigma else None
        flux = flux[0]
    flux = flux.reshape(-1, n_pixels)
    other = _other_image(hdul, hdu, ("WAVELENGTH", "WAVE", "LAMBDA"))
    metadata = _metadata(header)
    medium = {"vac": "vacuum", "air": "air"}.get(str(metadata.get("airvac")))
    doppler: Any = 0.0
    if other is not None:
        unit = text(other.header.get("BUNIT")) or metadata.get("wave")
        wavelength = with_unit(np.asarray(other.data, np.float64), unit)
    elif "WAT2_001" in header and _is_of_apertures(header):
        wavelength, doppler = _aperture_wavelengths(header, n_pixels)
    else:
        wavelength = _axis_wavelength(header, n_pixels)
        medium = medium or _FITS_AXES.get(_fits_axis(header)[:4])
    if header["DOPCOR*"]:
        # The card holds a redshift or a velocity, and does not say which.
        doppler = np.nan
    if np.ndim(wavelength) == 1 and wavelength[0] > wavelength[-1]:
        wavelength, flux = wavelength[::-1], flux[:, ::-1]
        ivar = None if ivar is None else ivar[..., ::-1]
    apertures = [text(header.get(f"APID{row + 1}")) for row in range(len(flux))]
    return {
        "flux": flux,
        "ivar": None if ivar is None else ivar.reshape(-1, n_pixels),
        "wavelength": wavelength,
        "medium": medium_of(header, medium_of(primary, medium)),
        "frame": frame_of(header, frame_of(primary)),
        "doppler_redshift": doppler,
        "flux_unit": unit_of_flux(text(header.get("BUNIT")) or metadata.get("flux")),
        "id": apertures if any(apertures) else text(primary.get("OBJECT")),
        "survey": text(first(["SURVEY"], primary)),
        "header": header,
    }


def _other_image(hdul: fits.HDUList, flux: Any, names: tuple[str, ...]) -> Any:
    """Return the image with one of the names, which must have the flux's length."""
    for hdu in hdul:
        if hdu is not flux and hdu.name.upper() in names and image_shape(hdu):
            if image_shape(hdu)[-1] != image_shape(flux)[-1]:
                raise ValueError(
                    f"the image {hdu.name} has shape {image_shape(hdu)}, but the flux "
                    f"{image_shape(flux)}"
                )
            return hdu
    return None


def _inverse_variance(hdul: fits.HDUList, flux: Any) -> np.ndarray | None:
    for names, convert in (
        (("IVAR",), lambda values: values),
        (_ERRORS, lambda values: inverse_variance(error=values)),
        (_VARIANCES, lambda values: inverse_variance(variance=values)),
    ):
        hdu = _other_image(hdul, flux, names)
        if hdu is not None:
            return convert(np.asarray(hdu.data, np.float64))
    return None


def _metadata(header: fits.Header) -> dict:
    """Read the cards METADATA and UNITS that linetools writes as JSON."""
    found: dict = {}
    for key in ("METADATA", "UNITS"):
        try:
            value = json.loads(text(header.get(key)) or "{}")
        except ValueError:
            continue
        found |= value if isinstance(value, dict) else {}
    return found


def _axis_unit(header: fits.Header) -> str:
    """Return the unit of the axis by CUNIT1 or by IRAF's attributes."""
    attributes = re.search(r"units\s*=\s*([A-Za-z]+)", _attributes(header, 1))
    return text(header.get("CUNIT1")) or (attributes[1] if attributes else "")


def _attributes(header: fits.Header, axis: int) -> str:
    """Join IRAF's attributes of an axis, whose cards of 68 characters lose blanks."""
    cards = header[f"WAT{axis}_*"]
    return "".join(str(value).ljust(68) for value in cards.values()).rstrip()


def _axis_wavelength(header: fits.Header, n_pixels: int) -> Any:
    """Wavelengths of a linear or logarithmic axis."""
    flag = header.get("DC-FLAG")
    if flag == -1:
        raise ValueError(
            "DC-FLAG = -1: the spectrum has no wavelength calibration; run IRAF's "
            "dispcor first"
        )
    if _fits_axis(header) and "CRPIX1" not in header:
        raise ValueError(
            "CRPIX1 is missing: the FITS standard then counts pixels from 0, programs "
            "mostly from 1; write it to the header"
        )
    kind = text(header.get("CTYPE1")).upper()
    if flag is None and _NONLINEAR_AXIS.fullmatch(kind):
        values = _nonlinear_axis(header, kind, n_pixels)
    else:
        values = linear_wavelength(header, n_pixels)
        if flag == _LOGARITHMIC or "LOG" in text(header.get("CTYPE1")).upper():
            values = 10.0**values
        values = with_unit(values, _axis_unit(header))
    if isinstance(values, units.Quantity):
        values = values.to(units.Angstrom, equivalencies=units.spectral())
    return values


def _nonlinear_axis(header: fits.Header, kind: str, n_pixels: int) -> Any:
    """Wavelengths of an axis of the FITS standard with an algorithm, as WAVE-LOG."""
    advice = "write them as an image WAVELENGTH or as a column of a table"
    if kind.endswith("-TAB"):
        raise ValueError(
            f"CTYPE1 = {kind!r}: the wavelengths are in a look-up table, which the "
            f"readers do not know; {advice}"
        )
    if not _fits_axis(header):
        raise ValueError(
            f"CTYPE1 = {kind!r} is a non-linear axis of velocities or the like; "
            f"expected one of {', '.join(_FITS_AXES)}. Compute the wavelengths, and "
            f"{advice}"
        )
    keys = ["CTYPE1", "CUNIT1", "CRVAL1", "CRPIX1", "CDELT1", "CD1_1", "PV1_"]
    keys += ["RESTWAV", "RESTFRQ"]
    cards = [card for key in keys for card in header[key + "*"].cards]
    try:
        axis = WCS(fits.Header(cards))
        values = axis.all_pix2world(np.arange(n_pixels), 0)[0]
        unit = units.Unit(axis.wcs.cunit[0])
    except Exception as error:
        raise ValueError(
            f"CTYPE1 = {kind!r}: astropy.wcs does not compute its wavelengths "
            f"({error}); {advice}"
        ) from error
    if not np.isfinite(values).all():
        raise ValueError(
            f"CTYPE1 = {kind!r}: the header leaves wavelengths undefined; the cards "
            f"PV1_0, PV1_1, ... of this axis may be missing or wrong, or {advice}"
        )
    return values * unit


def _aperture_wavelengths(
    header: fits.Header, n_pixels: int
) -> tuple[Any, list[float]]:
    """Wavelengths of each aperture by IRAF's system "multispec", and their redshifts.

    The numbers of an aperture are: aperture, beam, type of dispersion, first value,
    step, pixels, redshift, lower and upper edge, and coefficients if it is nonlinear.
    """
    found = re.findall(r"spec(\d+)\s*=\s*\"([^\"]*)\"", _attributes(header, 2))
    if number(header.get("LTV1", 0)) != 0 or number(header.get("LTM1_1", 1)) != 1:
        raise ValueError(
            "LTV1 and LTM1_1 say that the image is a section of another one, whose "
            "pixels WAT2 counts; copy it by IRAF's wspectext or scopy first"
        )
    grids, redshifts = [], []
    for number_of, numbers in sorted(found, key=lambda item: int(item[0])):
        try:
            values = [float(word) for word in shlex.split(numbers)]
            kind, start, step, size, redshift = values[2:7]
        except ValueError as error:
            raise ValueError(f"cannot read spec{number_of} = {numbers!r}") from error
        if size != n_pixels:
            raise ValueError(
                f"aperture {number_of} has {size:g} pixels, but the image {n_pixels}"
            )
        if kind == _LINEAR:
            grid = start + step * np.arange(n_pixels)
        elif kind == _LOGARITHMIC:
            grid = 10.0 ** (start + step * np.arange(n_pixels))
        elif kind == _NONLINEAR:
            grid = _nonlinear(values[9:], n_pixels)
        else:
            raise ValueError(f"aperture {number_of} has no wavelength calibration")
        grids.append(grid / (1 + redshift))
        redshifts.append(redshift)
    if not grids:
        raise ValueError("the attributes WAT2 do not hold the wavelengths")
    return with_unit(np.stack(grids), _axis_unit(header)), redshifts


def _nonlinear(values: list[float], n_pixels: int) -> np.ndarray:
    """Sum of polynomials: weight, offset, type, order, first and last pixel, ..."""
    total, pixel = np.zeros(n_pixels), np.arange(1.0, n_pixels + 1)
    while values:
        weight, offset, kind, order, low, high = values[:6]
        if kind not in _POLYNOMIALS:
            raise ValueError(
                f"the dispersion is a function of type {kind:g}; Chebyshev (1) and "
                "Legendre polynomials (2) are known: linearize it by IRAF's dispcor"
            )
        coefficients, values = values[6 : 6 + int(order)], values[6 + int(order) :]
        if not order >= 1 or len(coefficients) != int(order):
            raise ValueError("the coefficients of the dispersion are cut")
        function = _POLYNOMIALS[int(kind)](coefficients, domain=[low, high])
        total += weight * (offset + function(pixel))
    return total
