# SPDX-License-Identifier: BSD-3-Clause
"""Truncated normal distributions: moments, and means in many dimensions."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

# Points of the integrals, and twice the fall of the logarithm at which they end.
_N_NODES = 40
_FALL = 80.0

# For Newton's method in normals_within: the weight of a distribution that is flat
# between 0 and 1, and standard deviations beyond which the density is negligible.
_LEAST_WEIGHT = 1e-3
_N_FINE_NODES = 200
_N_STEPS = 60
_REACH = 12.0

# Fraction of each correction that is applied, because corrections oscillate.
_DAMPING = 0.7
# In standard deviations.
_TOLERANCE = 1e-3
# Added to the unit diagonal, above rounding.
_JITTER = 1e-12


class TruncatedPosterior(NamedTuple):
    """A normal distribution within limits, approximately.

    Means (n, d) and covariances (n, d, d); means and standard deviations of the limited
    combinations (n, m), and the same without the limits of the combination itself;
    the normal factors that replace the limits, a start for the next call.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    limited_mean: torch.Tensor
    limited_sd: torch.Tensor
    free_mean: torch.Tensor
    free_sd: torch.Tensor
    sites: tuple[torch.Tensor, torch.Tensor]


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes between 0 and 1 and weights of the Gauss-Legendre rule."""
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    return (nodes + 1) / 2, weights


def truncated_moments(
    mean: torch.Tensor, sd: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and variance of normal distributions (float64) within limits.

    The limits may be far from the mean, or close to each other.
    """
    nodes, weights = (torch.as_tensor(part).to(mean) for part in _quadrature())
    low, high = (low - mean) / sd, (high - mean) / sd
    mode = torch.minimum(torch.maximum(torch.zeros_like(low), low), high)
    # Integrate only where the density is not negligible.
    reach = torch.sqrt(mode**2 + _FALL)
    low, high = torch.maximum(low, -reach), torch.minimum(high, reach)
    inside = (high - low)[..., None] * nodes
    place = low[..., None] + inside
    density = torch.exp((mode[..., None] ** 2 - place**2) / 2) * weights
    density = density / density.sum(-1, keepdim=True)
    offset = (density * inside).sum(-1)
    variance = (density * (inside - offset[..., None]) ** 2).sum(-1)
    return mean + sd * (low + offset), sd**2 * variance


def truncated_posterior(
    precision: torch.Tensor,
    shift: torch.Tensor,
    directions: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    sites: tuple[torch.Tensor, torch.Tensor] | None = None,
    max_iter: int = 40,
) -> TruncatedPosterior:
    """Approximate a normal distribution within limits by expectation propagation.

    Each pair of limits on a linear combination is replaced by a normal factor that
    gives this combination the mean and the variance that it has within its limits,
    given all others (Minka 2001, https://arxiv.org/abs/1301.2294).

    `precision` (n, d, d) holds the inverse covariances without limits, `shift` (n, d)
    these times the means, and `directions` (m, d) the linear combinations that have
    the limits `low` and `high` (m,) or (n, m). `sites` of an earlier, similar result
    are a start.
    """
    if sites is None:
        strength = shift.new_zeros(len(shift), len(directions))
        pull = torch.zeros_like(strength)
    else:
        strength, pull = sites
    unit = _JITTER * torch.eye(shift.shape[1]).to(shift)
    done = torch.zeros(len(shift), dtype=torch.bool, device=shift.device)
    for _ in range(max_iter):
        total = precision + (directions.T * strength[:, None]) @ directions
        scale = total.diagonal(dim1=1, dim2=2).rsqrt()
        scale = scale[:, :, None] * scale[:, None]
        factor, _ = torch.linalg.cholesky_ex(total * scale + unit)
        covariance = torch.cholesky_inverse(factor) * scale
        mean = torch.einsum("nij,nj->ni", covariance, shift + pull @ directions)
        m = mean @ directions.T
        weight = 1 / ((directions @ covariance) * directions).sum(-1)
        # The same combination without the factor of its own limits.
        free_weight = torch.maximum(weight - strength, 1e-6 * weight)
        free_mean = (m * weight - pull) / free_weight
        free_sd = free_weight.rsqrt()
        limited_mean, variance = truncated_moments(free_mean, free_sd, low, high)
        new = (1 / variance - free_weight).clamp(min=0)
        new_pull = limited_mean * (new + free_weight) - free_mean * free_weight
        # Each one separately, so that results do not depend on the batch.
        done |= ((limited_mean - m).abs() * variance.rsqrt() < _TOLERANCE).all(1)
        if done.all():
            break
        going = _DAMPING * ~done[:, None]
        strength = strength + going * (new - strength)
        pull = pull + going * (new_pull - pull)
    return TruncatedPosterior(
        mean,
        covariance,
        limited_mean,
        variance.sqrt(),
        free_mean,
        free_sd,
        (strength, pull),
    )


def normals_within(
    mean: np.ndarray, scatter: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the normal distributions of these means and scatters between 0 and 1.

    Returns means and standard deviations before truncation. If the scatter is that of a
    uniform distribution or larger, only the mean is reproduced.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_N_FINE_NODES)
    x = (nodes + 1) / 2
    # Derivatives of the exponent of the density exp(a x - b x²/2) by a and b.
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
        # Fixed parameters are not changed by the step.
        spread = spread * free[:, :, None] * free[:, None, :]
        spread += np.eye(2) * (1e-12 + (1 - free)[:, None, :])
        step = np.linalg.solve(spread, ((wanted - have) * free)[..., None])[..., 0]
        size = np.abs(step / (1 + np.abs(natural))).max(-1, keepdims=True)
        natural = natural + step / np.maximum(1, 2 * size)
        flat = natural[:, 1] < _LEAST_WEIGHT
        natural[flat, 1] = _LEAST_WEIGHT
        free[flat, 1] = 0
    return natural[:, 0] / natural[:, 1], natural[:, 1] ** -0.5


def untruncated(
    mean: torch.Tensor, sd: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the normal distribution that has this mean and scatter within limits."""
    # The density is negligible beyond.
    low = torch.maximum(low, mean - _REACH * sd)
    width = torch.minimum(high, mean + _REACH * sd) - low
    parts = [((mean - low) / width).flatten(), (sd / width).flatten()]
    found = normals_within(*(part.cpu().numpy() for part in parts))
    mean, sd = (torch.as_tensor(part).to(width).view_as(width) for part in found)
    return low + mean * width, sd * width


def log_mass(
    precision: torch.Tensor,
    shift: torch.Tensor,
    directions: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    posterior: TruncatedPosterior,
) -> torch.Tensor:
    """Integrate exp(shift x - x precision x / 2) within limits, approximately.

    The arguments are those of :func:`truncated_posterior` and its result. Returns the
    natural logarithms (n,), without the factor (2π)^(d/2).
    """
    strength, pull = posterior.sites
    shift = shift + pull @ directions
    mean = (posterior.covariance @ shift[..., None])[..., 0]
    normal = torch.linalg.slogdet(posterior.covariance)[1] / 2
    normal = normal + (shift * mean).sum(1) / 2
    # The ratio of each factor to the limits that it replaces.
    m, weight = posterior.free_mean, posterior.free_sd**-2
    sites = _log_within((low - m) * weight.sqrt(), (high - m) * weight.sqrt())
    sites = sites + torch.log1p(strength / weight) / 2
    sites = sites - (m * weight + pull) ** 2 / (weight + strength) / 2
    return normal + (sites + m**2 * weight / 2).sum(1)


def _log_within(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute the logarithm of the standard normal probability from a to b."""
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    wide = log_b + torch.log(-torch.expm1((log_a - log_b).clamp(max=-1e-300)))
    # For narrow intervals the difference would be lost in rounding.
    narrow = torch.log(b - a) - ((a + b) / 2) ** 2 / 2 - math.log(2 * math.pi) / 2
    return torch.where((b - a) * (1 + a.abs()) < 1e-4, narrow, wide)


def normal_quantile(
    probability: float,
    mean: torch.Tensor,
    sd: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
) -> torch.Tensor:
    """Compute quantiles of normal distributions (float64) within limits."""
    a, b = (low - mean) / sd, (high - mean) / sd
    # In the left tail, where small differences from zero are not lost.
    flip = (a + b > 0) & (a > 0)
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    part = torch.where(flip, 1 - probability, probability).to(mean)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    ratio = torch.exp(log_a - log_b)
    log_p = log_b + torch.log(ratio + part * (1 - ratio))
    z = _log_ndtri(log_p)
    z = torch.minimum(torch.maximum(z, a), b)
    return mean + sd * torch.where(flip, -z, z)


def _log_ndtri(log_p: torch.Tensor) -> torch.Tensor:
    """Invert the logarithm of the normal distribution function by Newton steps."""
    p = torch.exp(log_p)
    tail = -torch.sqrt((-2 * log_p).clamp(min=0))
    z = torch.where(log_p < -30, tail, torch.special.ndtri(p.clamp(max=1 - 1e-15)))
    for _ in range(4):
        log_cdf = torch.special.log_ndtr(z)
        slope = torch.exp(-(z**2) / 2 - log_cdf) / math.sqrt(2 * math.pi)
        z = torch.where(log_p < -30, z - (log_cdf - log_p) / slope, z)
    return z
