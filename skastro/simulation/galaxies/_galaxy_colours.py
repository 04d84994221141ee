# SPDX-License-Identifier: BSD-3-Clause
"""Colours of galaxies: spectra of real ones through the filters of a survey."""

from functools import lru_cache

import numpy as np

from skastro.simulation.galaxies._galsim import import_galsim

# Filters whose curves GalSim brings along.
COLOUR_BANDS = ("u", "g", "r", "i", "z", "y")

# Old, middle-aged and young stars: an elliptical, an Sbc and an irregular galaxy.
_TEMPLATES = ("CWW_E_ext.sed", "CWW_Sbc_ext.sed", "CWW_Im_ext.sed")
_REDSHIFTS = np.linspace(0.0, 0.5, 26)


def flux_ratios(
    bands: tuple[str, ...], redshift: np.ndarray, young_fraction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give how bright old and younger light is in each band, relative to the first.

    The spectra are those of Coleman, Wu & Weedman (1980, ApJS 43, 393,
    doi:10.1086/190674): their elliptical galaxy for old light, and a mixture of their
    Sbc and irregular galaxies for younger light; the filters are those of LSST.

    Parameters
    ----------
    bands : tuple of str
        Of "u", "g", "r", "i", "z" and "y".
    redshift : ndarray of shape (n,)
        From 0 to 0.5.
    young_fraction : ndarray of shape (n,)
        Part of the younger light, in the first band, that is like that of the irregular
        galaxy.

    Returns
    -------
    old, younger : ndarray of shape (n, n_bands)
        Flux, in units of that of an AB magnitude of 0, over that in the first band.
    """
    if len(bands) == 1:
        ones = np.ones((redshift.size, 1))
        return ones, ones
    old, spiral, irregular = (
        np.stack([np.interp(redshift, _REDSHIFTS, ratio) for ratio in template], axis=1)
        for template in _template_ratios(bands)
    )
    young = young_fraction[:, None]
    return old, (1 - young) * spiral + young * irregular


@lru_cache
def _template_ratios(bands: tuple[str, ...]) -> np.ndarray:
    """Ratios of each template in each band at some redshifts."""
    galsim = import_galsim()
    filters = [
        galsim.Bandpass(f"LSST_{band}.dat", "nm").withZeropoint("AB") for band in bands
    ]
    magnitudes = np.empty((len(_TEMPLATES), len(bands), _REDSHIFTS.size))
    for i, template in enumerate(_TEMPLATES):
        spectrum = galsim.SED(template, "Angstrom", "flambda")
        for k, redshift in enumerate(_REDSHIFTS):
            shifted = spectrum.atRedshift(redshift)
            for j, curve in enumerate(filters):
                magnitudes[i, j, k] = shifted.calculateMagnitude(curve)
    return 10 ** (-0.4 * (magnitudes - magnitudes[:, :1]))
