# SPDX-License-Identifier: BSD-3-Clause
"""Electron shells fitted to images that are tilted, elliptical or off centre."""

from typing import Any

import torch

from skastro.estimators._shell_fit import ShellFit
from skastro.estimators._shell_misfit import lopsided
from skastro.estimators._shell_parameters import ShellParameters
from skastro.estimators._shell_posterior import ShellPosterior
from skastro.estimators._shell_prior import ShellPrior
from skastro.simulation.sevi import ShellBasis


class DistortedShellFit(ShellFit):
    """Fit shells and how they lie on the detector.

    What a fit to the upright image finds is where it starts. The quadrants are not
    folded, so that it takes several times as long.

    Parameters
    ----------
    size : int
        Height and width of the images.
    n_shells : int
        Number of shells.
    prior : ShellPrior
        What is known of the shells.
    extent : float, default=1.0
        Half the side of the images, in the unit of the radii.
    **options : dict
        The others of :class:`ShellFit`.
    """

    def __init__(
        self,
        size: int,
        n_shells: int,
        prior: ShellPrior,
        *,
        extent: float = 1.0,
        **options: Any,
    ) -> None:
        self.upright = ShellFit(size, n_shells, prior, extent=extent, **options)
        vars(self).update(vars(self.upright))
        device = self.basis.device
        self.parameters = ShellParameters(n_shells, prior, device, distorted=True)
        self.basis = ShellBasis(
            size // self.joined,
            extent=extent,
            finest_width=prior.radius_width[0],
            device=device,
        )
        self.multiplicity = torch.ones(self.basis.size**2, device=device)

    def _folded(self, pixels: torch.Tensor) -> torch.Tensor:
        side = self.basis.size
        return self._fold(pixels.unflatten(1, (side, side)))

    def _distortion(self, theta: torch.Tensor) -> torch.Tensor:
        found = self.parameters.distortion(theta)
        center = found["center"] * self.joined
        parts = [found["tilt"][:, None], found["ellipticity"][:, None], center]
        return torch.cat(parts, dim=1)

    def _fit(self, images: torch.Tensor) -> ShellPosterior:
        images = self._join(images)
        upright, _ = self.upright.solve(self._fold(images))
        counts = images.flatten(1)
        fit = self._refine(counts, self.parameters.distort(upright.theta))
        posterior = self._posterior(counts, fit)
        # Shells off centre have unequal halves, which the fit knows.
        expected, _ = self.parameters.expected(
            fit.theta, counts.sum(1), self.basis, self.multiplicity
        )
        posterior.unlike |= lopsided(images, expected.view_as(images))
        return posterior
