# SPDX-License-Identifier: BSD-3-Clause
"""Forward models of what instruments record.

Spectra: stars, galaxies, quasars and the spectrograph that observes them. The function
for users is :func:`skastro.datasets.make_spectra`.
"""

from skastro.simulation._air import air_to_vacuum
from skastro.simulation._extinction import extinction_curve
from skastro.simulation._lines import (
    LINE_SOURCES,
    SPECTRAL_LINES,
    SpectralLine,
    lines_of,
)
from skastro.simulation._spectra import simulate_spectra
from skastro.simulation._stars import planck_flux

__all__ = [
    "LINE_SOURCES",
    "SPECTRAL_LINES",
    "SpectralLine",
    "air_to_vacuum",
    "extinction_curve",
    "lines_of",
    "planck_flux",
    "simulate_spectra",
]
