# SPDX-License-Identifier: BSD-3-Clause
"""Templates of redshifts: principal components of simulated or of own spectra."""

from functools import lru_cache
from typing import Any

import numpy as np

from skastro.estimators._log_pixels import LN_WAVELENGTH, STEP
from skastro.estimators._template_scan import TemplateSet
from skastro.simulation import spectra_at_rest
from skastro.utils import check_wavelength, plain_array

# Ranges of the redshifts.
CLASSES: dict[str, tuple[float, float]] = {
    "GALAXY": (-0.003, 1.5),
    "QSO": (0.03, 4.2),
    "STAR": (-0.003, 0.003),
}
# The first wavelength (Å) of simulated templates, and their number.
_SIMULATED = {"GALAXY": (1400.0, 400), "QSO": (850.0, 500), "STAR": (3000.0, 400)}
# Broad lines need a wide continuum, and no narrow pixels.
_LIKE_QUASARS = {"continuum_pixels": 601, "binning": 2, "n_components": 10}
_LIKE_GALAXIES = {"continuum_pixels": 301, "binning": 1, "n_components": 8}
# By how much that flatters their ln χ² beside other classes; chosen on simulated
# spectra and the even rows of spectra.fits.
FLATTERY = {"QSO": 0.02}


def simulated_templates(name: str, redshift: tuple[float, float]) -> TemplateSet:
    """Return components of simulated spectra of a class."""
    return TemplateSet(**{**vars(_simulated_components(name)), "redshift": redshift})


@lru_cache(maxsize=len(_SIMULATED))
def _simulated_components(name: str) -> TemplateSet:
    first, n_spectra = _SIMULATED[name]
    ln_wavelength = np.arange(np.log(first), LN_WAVELENGTH[-1], STEP)
    rng = np.random.default_rng(0)
    flux = spectra_at_rest(name, n_spectra, ln_wavelength, rng)
    settings = _settings_of(name)
    return TemplateSet.from_spectra(ln_wavelength, flux, CLASSES[name], **settings)


def own_templates(name: str, given: Any, redshift: tuple[float, float]) -> TemplateSet:
    """Return components of spectra of the user's, or refuse these."""
    try:
        wavelength, flux = given
    except (TypeError, ValueError):
        raise ValueError(
            f"templates[{name!r}] must be a pair (wavelength, flux); got "
            f"{type(given).__name__}."
        ) from None
    wavelength = check_wavelength(wavelength)
    flux = np.atleast_2d(plain_array(flux, f"templates[{name!r}]").astype(np.float64))
    if flux.ndim != 2 or flux.shape[1] != wavelength.size:
        raise ValueError(
            f"The flux of templates[{name!r}] has shape {flux.shape} for "
            f"{wavelength.size} wavelengths; give (n_templates, n_pixels)."
        )
    size = np.nansum(np.abs(flux), axis=1)
    negative = np.flatnonzero(np.nansum(np.maximum(-flux, 0), axis=1) > 0.2 * size)
    if negative.size:
        raise ValueError(
            f"A fifth of the flux of the spectra {negative} of templates[{name!r}] is "
            "negative; give spectra, not eigenvectors."
        )
    unknown = np.flatnonzero(~(np.isfinite(flux) & (flux != 0)).any(axis=1))
    if unknown.size:
        raise ValueError(
            f"The spectra {unknown} of templates[{name!r}] have no finite flux; leave "
            "them out."
        )
    ln_wavelength = np.arange(np.log(wavelength[0]), np.log(wavelength[-1]), STEP)
    pixels = np.exp(ln_wavelength)
    flux = np.array([np.interp(pixels, wavelength, each) for each in flux])
    settings = _settings_of(name)
    return TemplateSet.from_spectra(ln_wavelength, flux, redshift, **settings)


def _settings_of(name: str) -> dict[str, int]:
    return _LIKE_QUASARS if name == "QSO" else _LIKE_GALAXIES
