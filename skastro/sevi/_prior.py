# SPDX-License-Identifier: BSD-3-Clause
"""The published distribution of electron shells."""

import math
from dataclasses import dataclass
from numbers import Real

import torch

from skastro.simulation._sevi_legendre import N_BETAS, even_legendre
from skastro.utils import check_number, check_range

_LIMITS = (
    (0.35, 1.0),
    (0.43, 1.434),
    (0.25, 1.24),
    (0.118, 0.9),
    (0.045, 0.6),
    (0.012, 0.36),
    (0.0026, 0.2),
    (0.0004, 0.1),
    (7e-5, 0.045),
    (5.6e-6, 0.019),
    (1.2e-7, 0.0067),
    (2e-9, 0.0023),
)
_MEANS = (1.0, 0.85, 0.55, 0.25, 0.1, 0.04, 0.015, 0.002, 0.004, 0.0, 0.0, 0.0)
_SIGMAS = (0.65, 0.5, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01)

# Directions in which a density must not be negative: many to each of the 24 half waves.
_N_DIRECTIONS = 385

# Shells that reach the centre would have electrons of negative radius.
_LEAST_RADIUS_IN_WIDTHS = 6


def _array(values: tuple) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@dataclass(frozen=True)
class SEVIPrior:
    """Distribution of the shells on which networks for SEVI images are trained.

    The coefficients β_l of the density 1/2 + Σ β_l P_2l(cos θ) have truncated normal
    distributions, independent of each other, but for the densities that would be
    negative somewhere: these are drawn again. Radii and their standard deviations are
    uniform.

    Parameters
    ----------
    radius : float or tuple of (float, float), default=(0.3, 0.9)
        Limits of the mean radius; a number is the radius of all shells.
    radius_width : float or tuple of (float, float), default=(0.005, 0.009)
        Limits of the standard deviation of the radii of a shell, likewise.
    min_separation : float, default=0
        Least distance of the mean radii of the shells of an image.

    Attributes
    ----------
    lower, upper, mean, sigma : Tensors of shape (12,), float64
        Limits of the coefficients, and mean and standard deviation of the normal
        distributions before truncation.

    Examples
    --------
    >>> import torch
    >>> from skastro.simulation.sevi import SEVIPrior
    >>> prior = SEVIPrior(min_separation=0.1)
    >>> shells = prior.sample(1000, 2, torch.Generator().manual_seed(0))
    >>> shells["beta"].shape
    torch.Size([1000, 2, 12])
    >>> bool((shells["radius"].diff(dim=1) >= 0.1).all())
    True
    """

    radius: float | tuple[float, float] = (0.3, 0.9)
    radius_width: float | tuple[float, float] = (0.005, 0.009)
    min_separation: float = 0.0

    @property
    def lower(self) -> torch.Tensor:
        """Smallest coefficients."""
        return _array(_LIMITS)[:, 0]

    @property
    def upper(self) -> torch.Tensor:
        """Largest coefficients."""
        return _array(_LIMITS)[:, 1]

    @property
    def mean(self) -> torch.Tensor:
        """Means of the normal distributions before truncation."""
        return _array(_MEANS)

    @property
    def sigma(self) -> torch.Tensor:
        """Standard deviations of the normal distributions before truncation."""
        return _array(_SIGMAS)

    def sample(
        self, n: int, n_shells: int, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Draw the shells of images.

        Parameters
        ----------
        n : int
            Number of images.
        n_shells : int
            Shells of an image.
        generator : torch.Generator
            Source of randomness; tensors come to be on its device.

        Returns
        -------
        shells : dict of str to Tensor of shape (n, n_shells, ...), float64
            ``beta`` (n, n_shells, 12), ``radius`` and ``radius_width``
            (n, n_shells). Radii ascend.

        Raises
        ------
        TypeError, ValueError
            If radii or widths are of the wrong kind, or shells do not fit between the
            radii.
        """
        check_shells(self, n_shells)
        beta = self._truncated_normal(n * n_shells, generator)
        while True:
            negative = (lowest_density(beta) < 0).nonzero()[:, 0]
            if not len(negative):
                break
            beta[negative] = self._truncated_normal(len(negative), generator)
        # Radii that are uniform under the condition that they lie apart: draw them as
        # if the gaps were not, and put the gaps in.
        gaps = self.min_separation * torch.arange(n_shells, dtype=torch.float64)
        low, high = pair(self.radius)
        high -= float(gaps[-1])
        radius = low + (high - low) * _uniform((n, n_shells), generator)
        radius = radius.sort(dim=1).values + gaps.to(radius)
        low, high = pair(self.radius_width)
        width = low + (high - low) * _uniform((n, n_shells), generator)
        return {
            "beta": beta.reshape(n, n_shells, N_BETAS),
            "radius": radius,
            "radius_width": width,
        }

    def log_prob(self, beta: torch.Tensor) -> torch.Tensor:
        """Give the logarithm of the density of coefficients.

        Parameters
        ----------
        beta : Tensor of shape (..., 12)
            Coefficients of shells.

        Returns
        -------
        log_prob : Tensor of shape (...)
            Minus infinity outside the limits and for densities that are negative
            somewhere; elsewhere normalised before these were left out, which would add
            0.04.
        """
        beta = beta.to(torch.float64)
        lower, upper, mean, sigma = (
            part.to(beta.device)
            for part in (self.lower, self.upper, self.mean, self.sigma)
        )
        inside = torch.special.ndtr((upper - mean) / sigma) - torch.special.ndtr(
            (lower - mean) / sigma
        )
        norm = torch.log(inside * sigma * math.sqrt(2 * math.pi))
        log_prob = (-(((beta - mean) / sigma) ** 2) / 2 - norm).sum(-1)
        allowed = ((beta >= lower) & (beta <= upper)).all(-1)
        allowed &= lowest_density(beta) >= 0
        return log_prob.masked_fill(~allowed, -math.inf)

    def _truncated_normal(self, n: int, generator: torch.Generator) -> torch.Tensor:
        lower, upper, mean, sigma = (
            part.to(generator.device)
            for part in (self.lower, self.upper, self.mean, self.sigma)
        )
        low = torch.special.ndtr((lower - mean) / sigma)
        high = torch.special.ndtr((upper - mean) / sigma)
        part = low + (high - low) * _uniform((n, N_BETAS), generator)
        beta = mean + sigma * torch.special.ndtri(part)
        # Rounding may carry a value over a limit.
        return torch.minimum(torch.maximum(beta, lower), upper)


def lowest_density(beta: torch.Tensor) -> torch.Tensor:
    """Give the lowest value of the density 1/2 + Σ β_l P_2l(cos θ) over all angles.

    Parameters
    ----------
    beta : Tensor of shape (..., 12)
        Coefficients of shells.

    Returns
    -------
    lowest : Tensor of shape (...)
        Least of the values at 385 angles from pole to equator.
    """
    angles = torch.linspace(0, math.pi / 2, _N_DIRECTIONS, dtype=torch.float64)
    polynomials = even_legendre(torch.cos(angles)).to(beta)
    return (0.5 + beta @ polynomials[:, 1:].T).amin(-1)


def check_shells(prior: SEVIPrior, n_shells: int) -> None:
    """Refuse radii and widths that no shells can have."""
    check_range(prior.radius, "radius", 0)
    check_range(prior.radius_width, "radius_width", 0)
    check_number(prior.min_separation, "min_separation", 0)
    (low, high), widths = pair(prior.radius), pair(prior.radius_width)
    if widths[0] <= 0 or low < _LEAST_RADIUS_IN_WIDTHS * widths[1]:
        raise ValueError(
            "radius_width must be positive, and radius at least "
            f"{_LEAST_RADIUS_IN_WIDTHS} times as large; got radius from {low:g} and "
            f"radius_width from {widths[0]:g} to {widths[1]:g}."
        )
    if (n_shells - 1) * prior.min_separation > high - low:
        raise ValueError(
            f"{n_shells} shells that lie {prior.min_separation:g} apart do not fit "
            f"between the radii {low:g} and {high:g}; lower min_separation."
        )


def pair(value: float | tuple[float, float]) -> tuple[float, float]:
    """Write a range as its ends, also where it is one number."""
    return (value, value) if isinstance(value, Real) else value


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(
        shape, generator=generator, device=generator.device, dtype=torch.float64
    )
