# SPDX-License-Identifier: BSD-3-Clause
"""Forward models of what instruments record.

Spectra: stars, galaxies, quasars and the spectrograph that observes them. Images:
galaxies and the camera that takes them. The functions for users are
:func:`skastro.datasets.make_spectra` and :func:`skastro.datasets.make_galaxies`.
"""

from skastro.simulation.galaxies._camera import GalaxyCamera, simulate_galaxies
from skastro.simulation.galaxies._population import (
    GalaxyPopulation,
    RealGalaxyPopulation,
    sersic_flux_fraction,
)
from skastro.simulation.spectra._formulas import (
    air_to_vacuum,
    extinction_curve,
    planck_flux,
    vacuum_to_air,
)
from skastro.simulation.spectra._instruments import INSTRUMENTS, Instrument
from skastro.simulation.spectra._lines import (
    LINE_SOURCES,
    SPECTRAL_LINES,
    SpectralLine,
    lines_of,
)
from skastro.simulation.spectra._simulate_spectra import (
    simulate_spectra,
    spectra_at_rest,
)

__all__ = [
    "INSTRUMENTS",
    "LINE_SOURCES",
    "SPECTRAL_LINES",
    "GalaxyCamera",
    "GalaxyPopulation",
    "Instrument",
    "RealGalaxyPopulation",
    "SpectralLine",
    "air_to_vacuum",
    "extinction_curve",
    "lines_of",
    "planck_flux",
    "sersic_flux_fraction",
    "simulate_galaxies",
    "simulate_spectra",
    "spectra_at_rest",
    "vacuum_to_air",
]
