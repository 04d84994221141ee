# SPDX-License-Identifier: BSD-3-Clause
"""What is known of electron shells before an image is seen."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from skastro.estimators._truncated import truncated_moments
from skastro.simulation.sevi import SEVIPrior

# By how many mean gaps between neighbouring samples the limits are widened.
_MARGIN = 3.0
# Least scatter, in units of the limits' distance.
_LEAST_SCATTER = 0.02
# The weight of a normal distribution that is flat between 0 and 1.
_LEAST_WEIGHT = 1e-3
_N_NODES = 200
_N_STEPS = 60


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
        mean, sigma = _normals_within((beta.mean(0) - low) / width, scatter)
        parts = (low, high, low + mean * width, sigma * width)
        return cls(*(torch.as_tensor(part) for part in parts), radius, radius_width)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Give mean and standard deviation of the coefficients."""
        mean, variance = truncated_moments(
            self.mean, self.sigma, self.lower, self.upper
        )
        return mean, variance.sqrt()


def _normals_within(
    mean: np.ndarray, scatter: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the normal distributions of these means and scatters between 0 and 1.

    Gives means and standard deviations before the limits. Where the scatter is that of
    evenly filled limits or larger, only the mean comes out as asked for.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    x = (nodes + 1) / 2
    # Of the density exp(a x - b x²/2) these are the derivatives by a and b.
    terms = np.stack([x, -(x**2) / 2])
    wanted = np.stack([mean, -(mean**2 + scatter**2) / 2], axis=-1)
    natural = np.stack([mean, np.ones_like(mean)], axis=-1) / scatter[:, None] ** 2
    free = np.ones_like(natural)
    for _ in range(_N_STEPS):
        exponent = natural @ terms
        density = np.exp(exponent - exponent.max(-1, keepdims=True)) * weights
        density /= density.sum(-1, keepdims=True)
        have = density @ terms.T
        spread = np.einsum("np,ip,jp->nij", density, terms, terms)
        spread -= have[:, :, None] * have[:, None, :]
        # Parameters that are held fixed take no part in the step.
        spread = spread * free[:, :, None] * free[:, None, :]
        spread += np.eye(2) * (1e-12 + (1 - free)[:, None, :])
        step = np.linalg.solve(spread, ((wanted - have) * free)[..., None])[..., 0]
        size = np.abs(step / (1 + np.abs(natural))).max(-1, keepdims=True)
        natural = natural + step / np.maximum(1, 2 * size)
        flat = natural[:, 1] < _LEAST_WEIGHT
        natural[flat, 1] = _LEAST_WEIGHT
        free[flat, 1] = 0
    return natural[:, 0] / natural[:, 1], natural[:, 1] ** -0.5
