# SPDX-License-Identifier: BSD-3-Clause
"""Forward models of what instruments record.

Spectra: stars, galaxies, quasars and the spectrograph that observes them; images:
galaxies and the camera that takes them. The functions for users are
:func:`skastro.datasets.make_spectra` and :func:`skastro.datasets.make_galaxies`.
"""

from skastro.simulation._air import air_to_vacuum
from skastro.simulation._extinction import extinction_curve
from skastro.simulation._galaxy_images import GalaxyCamera, simulate_galaxies
from skastro.simulation._galaxy_population import GalaxyPopulation
from skastro.simulation._lines import (
    LINE_SOURCES,
    SPECTRAL_LINES,
    SpectralLine,
    lines_of,
)
from skastro.simulation._real_galaxies import RealGalaxyPopulation
from skastro.simulation._sersic import sersic_flux_fraction
from skastro.simulation._spectra import simulate_spectra
from skastro.simulation._stars import planck_flux

__all__ = [
    "LINE_SOURCES",
    "SPECTRAL_LINES",
    "GalaxyCamera",
    "GalaxyPopulation",
    "RealGalaxyPopulation",
    "SpectralLine",
    "air_to_vacuum",
    "extinction_curve",
    "lines_of",
    "planck_flux",
    "sersic_flux_fraction",
    "simulate_galaxies",
    "simulate_spectra",
]
