# SPDX-License-Identifier: BSD-3-Clause
"""Distributions of electron shells, for simulations and for fits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import torch

from skastro.sevi._basis import even_legendre
from skastro.sevi._electrons import N_BETAS
from skastro.sevi._truncated_normal import normals_within, truncated_moments
from skastro.utils import check_finite, check_number, check_range, plain_array

_LIMITS = (
    [0.35, 0.43, 0.25, 0.118, 0.045, 0.012, 0.0026, 4e-4, 7e-5, 5.6e-6, 1.2e-7, 2e-9],
    [1.0, 1.434, 1.24, 0.9, 0.6, 0.36, 0.2, 0.1, 0.045, 0.019, 0.0067, 0.0023],
)
_MEANS = [1.0, 0.85, 0.55, 0.25, 0.1, 0.04, 0.015, 0.002, 0.004, 0.0, 0.0, 0.0]
_SIGMAS = [0.65, 0.5, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01]

# Angles at which a density is checked: many for each of the 24 half waves.
_N_DIRECTIONS = 385

# Shells that extend to the center would have electrons of negative radius.
_LEAST_RADIUS_IN_WIDTHS = 6


@dataclass(frozen=True)
class SEVIPrior:
    """Distribution of the shells in simulated SEVI images.

    The coefficients β_l of the density 1/2 + Σ β_l P_2l(cos θ) have independent
    truncated normal distributions; densities that are negative at some angle are
    rejected and drawn again. Radii and their standard deviations are uniform.

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
    >>> from skastro.sevi import SEVIPrior
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

    lower: ClassVar = torch.tensor(_LIMITS[0], dtype=torch.float64)
    upper: ClassVar = torch.tensor(_LIMITS[1], dtype=torch.float64)
    mean: ClassVar = torch.tensor(_MEANS, dtype=torch.float64)
    sigma: ClassVar = torch.tensor(_SIGMAS, dtype=torch.float64)

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
            Source of randomness; tensors are on its device.

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
        # Radii are uniform with a minimum separation: draw them from a range that is
        # shorter by the gaps, and add the gaps.
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
        """Compute the logarithm of the density of coefficients.

        Parameters
        ----------
        beta : Tensor of shape (..., 12)
            Coefficients of shells.

        Returns
        -------
        log_prob : Tensor of shape (...)
            Minus infinity outside the limits and for densities that are negative at
            some angle. The normalization includes the latter; without them the value
            would be higher by 0.04.
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
        # Rounding may move a value over a limit.
        return torch.minimum(torch.maximum(beta, lower), upper)


def lowest_density(beta: torch.Tensor) -> torch.Tensor:
    """Compute the lowest angular density of coefficients (..., 12) at 385 angles."""
    angles = torch.linspace(0, math.pi / 2, _N_DIRECTIONS, dtype=torch.float64)
    polynomials = even_legendre(torch.cos(angles)).to(beta)
    return (0.5 + beta @ polynomials[:, 1:].T).amin(-1)


def check_shells(prior: SEVIPrior, n_shells: int) -> None:
    """Check that shells with these radii and widths exist."""
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
            f"{n_shells} shells that are {prior.min_separation:g} apart do not fit "
            f"between the radii {low:g} and {high:g}; lower min_separation."
        )


def check_ends(value: Any, name: str) -> tuple[float, float]:
    """Check that a value is a range of positive numbers, and return its ends."""
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 < low < high < math.inf:
        raise ValueError(
            f"{name} must be two positive numbers (lowest, highest); got {value!r}."
        )
    return low, high


def pair(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return the ends of a range, which may be given as one number."""
    # Type checkers do not know that int and float are Real.
    return (value, value) if isinstance(value, int | float | Real) else value


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(
        shape, generator=generator, device=generator.device, dtype=torch.float64
    )


# Widening of the limits, in mean gaps between neighboring samples.
_MARGIN = 3.0
# Minimum scatter, in units of the distance of the limits.
_LEAST_SCATTER = 0.02

_COEFFICIENT_FIELDS = ("lower", "upper", "mean", "sigma")


@dataclass(frozen=True, eq=False)
class ShellPrior:
    """Prior of a fit of shells: independent normal distributions within limits.

    Parameters
    ----------
    lower, upper, mean, sigma : Tensors of shape (n_betas,), float64
        Limits of the coefficients β_l of a shell, and mean and standard deviation of
        the normal distributions before truncation.
    radius, radius_width : tuple of (float, float)
        Ranges of the uniform distributions of the mean radii and of their standard
        deviations.

    Raises
    ------
    ValueError
        If a range is not two positive numbers, the lower one first.

    See Also
    --------
    SEVIPrior : The published distribution, from which images are simulated.
    fit_shells : Fits shells with such a prior.

    Examples
    --------
    >>> from skastro.sevi import ShellPrior
    >>> prior = ShellPrior.published(n_betas=2, radius=(0.4, 0.6))
    >>> prior.upper.tolist()
    [1.0, 1.434]
    >>> ShellPrior.from_dict(prior.to_dict()) == prior
    True
    """

    lower: torch.Tensor
    upper: torch.Tensor
    mean: torch.Tensor
    sigma: torch.Tensor
    radius: tuple[float, float]
    radius_width: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("radius", "radius_width"):
            object.__setattr__(self, name, check_ends(getattr(self, name), name))

    @classmethod
    def published(
        cls,
        n_betas: int = N_BETAS,
        radius: tuple[float, float] = (0.3, 0.9),
        radius_width: tuple[float, float] = (0.005, 0.009),
    ) -> Self:
        """Take the published distribution of the first coefficients.

        Parameters
        ----------
        n_betas : int, default=12
            Number of coefficients, at most 12.
        radius, radius_width : tuple of (float, float)
            Ranges of the mean radii and of their standard deviations.

        Returns
        -------
        prior : ShellPrior
            The prior.
        """
        parts = (getattr(SEVIPrior, name) for name in _COEFFICIENT_FIELDS)
        lower, upper, mean, sigma = (part[:n_betas].clone() for part in parts)
        return cls(lower, upper, mean, sigma, radius, radius_width)

    @classmethod
    def from_samples(
        cls,
        beta: np.ndarray,
        radius: tuple[float, float] = (0.3, 0.9),
        radius_width: tuple[float, float] = (0.005, 0.009),
    ) -> Self:
        """Estimate limits, means and scatter from samples of coefficients.

        The limits are those of the samples, slightly widened. The normal distributions
        have the mean and the scatter of the samples within these limits.

        Parameters
        ----------
        beta : ndarray of shape (n_samples, n_betas)
            Coefficients of the density 1/2 + Σ β_l P_2l(cos θ).
        radius, radius_width : tuple of (float, float)
            Ranges of the mean radii and of their standard deviations.

        Returns
        -------
        prior : ShellPrior
            The prior.

        Raises
        ------
        ValueError
            If a coefficient is NaN, masked or infinite.
        """
        beta = plain_array(beta, "beta").astype(np.float64)
        if beta.ndim != 2 or not beta.size:
            raise ValueError(
                "beta must have the shape (n_samples, n_betas), with a sample at least;"
                f" got {beta.shape}."
            )
        check_finite(beta, input_name="beta")
        low, high = beta.min(0), beta.max(0)
        # A single sample, or equal ones, do not constrain the limits.
        size = np.where(high > low, high - low, 1.0)
        margin = size * _MARGIN / max(len(beta) - 1, 1)
        low, high = low - margin, high + margin
        width = high - low
        scatter = np.maximum(beta.std(0) / width, _LEAST_SCATTER)
        mean, sigma = normals_within((beta.mean(0) - low) / width, scatter)
        return cls(
            torch.as_tensor(low),
            torch.as_tensor(high),
            torch.as_tensor(low + mean * width),
            torch.as_tensor(sigma * width),
            radius,
            radius_width,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a prior from the values that ``to_dict`` returns.

        Parameters
        ----------
        values : dict
            The parameters by name; coefficients as arrays.

        Returns
        -------
        prior : ShellPrior
            The prior.
        """
        coefficients = {
            name: torch.tensor(np.asarray(values[name]), dtype=torch.float64)
            for name in _COEFFICIENT_FIELDS
        }
        return cls(
            **coefficients,
            radius=values["radius"],
            radius_width=values["radius_width"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as plain values.

        Returns
        -------
        values : dict
            ``lower``, ``upper``, ``mean``, ``sigma``, each an ndarray of shape
            (n_betas,), and the tuples ``radius`` and ``radius_width``.
        """
        coefficients = {
            name: getattr(self, name).cpu().numpy().copy()
            for name in _COEFFICIENT_FIELDS
        }
        return {
            **coefficients,
            "radius": self.radius,
            "radius_width": self.radius_width,
        }

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute mean and standard deviation of the coefficients within the limits.

        Returns
        -------
        mean, std : Tensors of shape (n_betas,)
            The moments.
        """
        mean, variance = truncated_moments(
            self.mean, self.sigma, self.lower, self.upper
        )
        return mean, variance.sqrt()

    def _key(self) -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(np.asarray(value).tolist()) for value in self.to_dict().values()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShellPrior) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())
