# SPDX-License-Identifier: BSD-3-Clause
"""Files that only the loaders of specutils know."""

import os
from typing import Any

import numpy as np
from astropy import units
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from skastro.datasets.spectra._fields import frame_of, inverse_variance, medium_of
from skastro.datasets.spectra._layouts import Layout

# They take the first columns or axes that may be right, and so give wrong numbers for
# files of another kind.
_GUESSING = {"ASCII", "ECSV", "IPAC", "iraf", "tabular-fits", "wcs1d-fits"}
# Medium and frame by the surveys' data models; other loaders state none.
_STATES = {
    "APOGEE apStar": ("vacuum", "rest"),
    "SDSS-V apStar": ("vacuum", "rest"),
    "SDSS-V mwm": ("vacuum", "rest"),
}


def find_with_specutils(path: str | os.PathLike) -> Layout | None:
    """Return a layout that reads the file by the only loader that identifies it."""
    try:
        from specutils import Spectrum
        from specutils.io.registers import identify_spectrum_format
    except ImportError:
        return None
    found = identify_spectrum_format(os.fspath(path), Spectrum)
    loaders = {*([found] if isinstance(found, str) else found)} - _GUESSING
    if len(loaders) != 1:
        return None
    (loader,) = loaders

    def read(_: Any) -> dict:
        return _fields_of(Spectrum.read(os.fspath(path), format=loader), loader)

    return Layout(f"specutils {loader}", lambda _: True, read, loader, False, "fits")


def _fields_of(spectrum: Any, loader: str) -> dict:
    """Return the fields of a spectrum of one axis, ascending in wavelength."""
    flux, axis = spectrum.flux, spectrum.spectral_axis
    if flux.ndim != 1 or flux.shape != axis.shape:
        raise ValueError(
            f"specutils reads a flux of shape {flux.shape} and a spectral axis of "
            f"shape {axis.shape}, expected two vectors of one length"
        )
    wavelength = units.Quantity(axis).to(units.Angstrom, equivalencies=units.spectral())
    ivar, uncertainty = None, spectrum.uncertainty
    if isinstance(
        uncertainty, StdDevUncertainty | VarianceUncertainty | InverseVariance
    ):
        kind = uncertainty.represent_as(VarianceUncertainty)
        scale = 1 if kind.unit is None else kind.unit.to(flux.unit**2)
        ivar = inverse_variance(variance=np.asarray(kind.array) * scale)
        if spectrum.mask is not None:
            ivar = np.where(spectrum.mask, 0, ivar)
    header = spectrum.meta.get("header", {})
    medium, frame = _STATES.get(loader, (None, None))
    order = slice(None, None, -1 if wavelength[0] > wavelength[-1] else 1)
    return {
        "flux": flux[order],
        "ivar": None if ivar is None else ivar[order],
        "wavelength": wavelength[order],
        "medium": medium_of(header, medium),
        "frame": frame_of(header, frame),
    }
