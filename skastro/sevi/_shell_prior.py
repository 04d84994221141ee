# SPDX-License-Identifier: BSD-3-Clause
"""What is known of electron shells before an image is seen."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from skastro.estimators._truncated import normals_within, truncated_moments
from skastro.simulation.sevi import SEVIPrior

# By how many mean gaps between neighbouring samples the limits are widened.
_MARGIN = 3.0
# Least scatter, in units of the limits' distance.
_LEAST_SCATTER = 0.02


@dataclass(frozen=True, eq=False)
class ShellPrior:
    """Independent normal distributions within limits, and ranges of the radii.

    Parameters
    ----------
    lower, upper, mean, sigma : Tensors of shape (n_betas,), float64
        Limits of the coefficients of a shell, and mean and standard deviation of the
        normal distributions before they are limited.
    radius, radius_width : tuple of (float, float)
        Ranges of the mean radii and of their standard deviations, evenly filled.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    mean: torch.Tensor
    sigma: torch.Tensor
    radius: tuple[float, float]
    radius_width: tuple[float, float]

    @classmethod
    def published(
        cls,
        n_betas: int,
        radius: tuple[float, float],
        radius_width: tuple[float, float],
    ) -> Self:
        """Give the published distribution, of the first coefficients."""
        prior = SEVIPrior()
        parts = (prior.lower, prior.upper, prior.mean, prior.sigma)
        return cls(*(part[:n_betas] for part in parts), radius, radius_width)

    @classmethod
    def learn(
        cls,
        beta: np.ndarray,
        radius: tuple[float, float],
        radius_width: tuple[float, float],
    ) -> Self:
        """Find limits, means and scatter of samples of shape (n_samples, n_betas).

        The limits are those of the samples, a little widened; the normal distributions
        are those that have the samples' mean and scatter within them.
        """
        beta = np.asarray(beta, dtype=np.float64)
        low, high = beta.min(0), beta.max(0)
        # Of one sample the limits say nothing.
        size = np.where(high > low, high - low, 1.0)
        margin = size * _MARGIN / max(len(beta) - 1, 1)
        low, high = low - margin, high + margin
        width = high - low
        scatter = np.maximum(beta.std(0) / width, _LEAST_SCATTER)
        mean, sigma = normals_within((beta.mean(0) - low) / width, scatter)
        parts = (low, high, low + mean * width, sigma * width)
        return cls(*(torch.as_tensor(part) for part in parts), radius, radius_width)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Give mean and standard deviation of the coefficients."""
        mean, variance = truncated_moments(
            self.mean, self.sigma, self.lower, self.upper
        )
        return mean, variance.sqrt()
