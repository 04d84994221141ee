# SPDX-License-Identifier: BSD-3-Clause
"""Electron images of slow-electron velocity-map imaging.

The forward model twice: electron by electron, and as images that are linear in the
coefficients of the angular density, with Poisson noise. The function for users is
:func:`skastro.datasets.make_sevi`. Unlike the rest of :mod:`skastro.simulation`, this
computes with PyTorch, and is therefore not loaded with it.
"""

from skastro.simulation._sevi_basis import ShellBasis
from skastro.simulation._sevi_electrons import bin_electrons, throw_electrons
from skastro.simulation._sevi_images import SEVISimulator
from skastro.simulation._sevi_legendre import (
    N_BETAS,
    angular_density,
    even_legendre,
)
from skastro.simulation._sevi_prior import SEVIPrior
from skastro.simulation._sevi_projection import line_of_sight_moments

__all__ = [
    "N_BETAS",
    "SEVIPrior",
    "SEVISimulator",
    "ShellBasis",
    "angular_density",
    "bin_electrons",
    "even_legendre",
    "line_of_sight_moments",
    "throw_electrons",
]
