# SPDX-License-Identifier: BSD-3-Clause
from ._basis import ShellBasis as ShellBasis
from ._basis import even_legendre as even_legendre
from ._basis import line_of_sight_moments as line_of_sight_moments
from ._display import SEVIDisplay as SEVIDisplay
from ._electrons import N_BETAS as N_BETAS
from ._electrons import angular_density as angular_density
from ._electrons import bin_electrons as bin_electrons
from ._electrons import throw_electrons as throw_electrons
from ._loss import LegendreLoss as LegendreLoss
from ._prior import SEVIPrior as SEVIPrior
from ._prior import ShellPrior as ShellPrior
from ._read import read_sevi as read_sevi
from ._regressor import SEVIRegressor as SEVIRegressor
from ._shell_fit import fit_shells as fit_shells
from ._simulation import SEVISimulator as SEVISimulator
from ._simulation import make_sevi as make_sevi
