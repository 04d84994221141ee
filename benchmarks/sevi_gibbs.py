# SPDX-License-Identifier: BSD-3-Clause
"""Samples of normal distributions in many dimensions, within limits."""

import torch

# Steps are shortened by this fraction, so that samples stay within the limits.
_INSIDE = 1e-12


def truncated_normal_samples(
    precision: torch.Tensor,
    shift: torch.Tensor,
    start: torch.Tensor,
    rows: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    n_sweeps: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Sample by Gibbs's method, along the axes and along those of the covariance.

    Parameters
    ----------
    precision : Tensor of shape (n, d, d), float64
        Inverses of the covariances without limits.
    shift : Tensor of shape (n, d), float64
        The same times the means.
    start : Tensor of shape (n, d), float64
        Points within the limits.
    rows : Tensor of shape (m, d), float64
        Linear combinations that have limits.
    low, high : Tensors of shape (m,), float64
        The limits.
    n_sweeps : int
        Number of samples; each coordinate moves twice in between.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    samples : Tensor of shape (n_sweeps, n, d), float64
        The chain.
    """
    scale = precision.diagonal(dim1=1, dim2=2).rsqrt()
    _, axes = torch.linalg.eigh(precision * scale[:, :, None] * scale[:, None])
    axes = axes * scale[:, :, None]
    units = torch.diag_embed(scale)
    directions = torch.cat([units, axes], dim=2).movedim(2, 0)
    curvature = torch.einsum("kni,nij,knj->kn", directions, precision, directions)
    slope = torch.einsum("nij,knj->kni", precision, directions)
    moved = directions @ rows.T
    offset = torch.einsum("kni,ni->kn", directions, shift)
    point = start.clone()
    samples = point.new_empty(n_sweeps, *point.shape)
    for sweep in range(n_sweeps):
        for k, direction in enumerate(directions):
            place = point @ rows.T
            # Steps to the limits.
            ends = torch.stack([low - place, high - place]) / moved[k]
            ends = torch.where(moved[k] == 0, torch.nan, ends)
            least = ends.amin(0).nan_to_num(-torch.inf).clamp(max=0)
            most = ends.amax(0).nan_to_num(torch.inf).clamp(min=0)
            least, most = least.amax(1), most.amin(1)
            mean = (offset[k] - (point * slope[k]).sum(1)) / curvature[k]
            step = _limited_normal(mean, curvature[k].rsqrt(), least, most, generator)
            point = point + step[:, None] * direction
        samples[sweep] = point
    return samples


def _limited_normal(
    mean: torch.Tensor,
    sd: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Draw from normal distributions within limits."""
    a, b = (low - mean) / sd, (high - mean) / sd
    # In the left tail, because probabilities near one lose digits.
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    part = torch.rand(mean.shape, generator=generator, dtype=mean.dtype)
    ratio = torch.exp(log_a - log_b)
    z = _log_ndtri(log_b + torch.log(ratio + part * (1 - ratio)))
    z = torch.minimum(torch.maximum(z, a), b)
    inside = (1 - _INSIDE) * (mean + sd * torch.where(flip, -z, z))
    return torch.minimum(torch.maximum(inside, low), high)


def _log_ndtri(log_p: torch.Tensor) -> torch.Tensor:
    """Invert the logarithm of the normal distribution function."""
    far = log_p < -20
    z = torch.special.ndtri(torch.exp(log_p).clamp(max=1 - 1e-16))
    if not far.any():
        return z
    tail = -torch.sqrt((-2 * log_p).clamp(min=1))
    for _ in range(4):
        log_cdf = torch.special.log_ndtr(tail)
        slope = torch.exp(-(tail**2) / 2 - log_cdf) * 0.3989422804014327
        tail = tail - (log_cdf - log_p) / slope
    return torch.where(far, tail, z)
