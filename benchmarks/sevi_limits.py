# SPDX-License-Identifier: BSD-3-Clause
"""Bounds of the accuracy with which counts determine the coefficients of shells.

Maximum likelihood, the Cramér-Rao bound for unbiased estimates, and the least mean loss
of any estimate, which uses the distribution of the shells. All assume round and upright
images.
"""

import math

import torch

from benchmarks.sevi_cases import SIZE
from benchmarks.sevi_gibbs import truncated_normal_samples
from skastro.sevi import N_BETAS, SEVIPrior, ShellBasis

# Parameters of a shell: logarithm of the number of electrons, coefficients, mean and
# standard deviation of the radii.
_N_EACH = N_BETAS + 3
_BETA = slice(1, N_BETAS + 1)
# Images that are computed at once, to save memory.
GROUP = 20
# Least expected counts of a pixel, in units of the mean of all.
_FLOOR = 1e-6
_LIKELIHOOD_FLOOR = 1e-3
_MAX_ITER = 60
_SWEEPS = 1000


def shell_basis(size: int = SIZE) -> ShellBasis:
    """Make the basis of a quadrant of even size; each pixel stands for four."""
    width = SEVIPrior().radius_width[0]
    return ShellBasis(size, finest_width=width, quadrant=True)


def fold(images: torch.Tensor) -> torch.Tensor:
    """Sum the quadrants of images of even size, as (n, n_pixels)."""
    half = images.shape[-1] // 2
    images = images + images.flip(-1)
    images = images + images.flip(-2)
    return images[:, half:, half:].flatten(1)


def information(scenes: dict[str, torch.Tensor], basis: ShellBasis) -> torch.Tensor:
    """Compute Fisher's information at the truth.

    Parameters
    ----------
    scenes : dict of str to Tensor
        As :meth:`SEVISimulator.draw` gives them.
    basis : ShellBasis
        What :func:`shell_basis` gives.

    Returns
    -------
    information : Tensor of shape (n, 15 * n_shells + 1, 15 * n_shells + 1), float64
        Of each shell the logarithm of the number of electrons, the coefficients, mean
        and standard deviation of the radii; last the background, as a part of all.
    """
    beta, number = scenes["beta"], scenes["n_electrons"]
    slopes = []
    for shell in range(beta.shape[1]):
        images = basis.linearized(
            beta[:, shell], scenes["radius"][:, shell], scenes["radius_width"][:, shell]
        )
        images = images.flatten(2).double()
        own = images[:, 0] / 2
        own = own + torch.einsum("nlp,nl->np", images[:, 1:-2], beta[:, shell])
        images = torch.cat([own[:, None], images[:, 1:]], dim=1)
        slopes.append(images * number[:, shell, None, None])
    flat = number.sum(1)[:, None, None] / basis.size**2
    flat = flat.expand(-1, 1, slopes[0].shape[2])
    expected = sum(part[:, 0] for part in slopes)
    expected = (
        expected.clamp(min=0) + (scenes["background"][:, None] + _FLOOR) * flat[:, 0]
    )
    slopes = torch.cat([*slopes, flat], dim=1)
    return 4 * (slopes / expected[:, None]) @ slopes.mT


def _inverse(precision: torch.Tensor) -> torch.Tensor:
    scale = precision.diagonal(dim1=1, dim2=2).rsqrt()
    scale = scale[:, :, None] * scale[:, None]
    return torch.linalg.inv(precision * scale) * scale


def _of_beta(values: torch.Tensor) -> torch.Tensor:
    """Take the coefficients (n, n_shells, 12) of parameters (n, 15 * n_shells + 1)."""
    return values[:, :-1].unflatten(1, (-1, _N_EACH))[..., _BETA]


def cramer_rao(scenes: dict[str, torch.Tensor], basis: ShellBasis) -> torch.Tensor:
    """Compute the least variances (n, n_shells, 12) of unbiased estimates.

    Numbers of electrons, radii, their widths and a background are not known either.
    """
    covariance = _inverse(information(scenes, basis))
    return _of_beta(covariance.diagonal(dim1=1, dim2=2))


def prior_informed(
    scenes: dict[str, torch.Tensor], basis: ShellBasis, generator: torch.Generator
) -> torch.Tensor:
    """Compute the variances (n, n_shells, 12) of the posterior, the least of all.

    The likelihood is approximated by a normal distribution about the truth, with a
    random position of its maximum. The posterior is sampled within the limits of
    coefficients, radii and widths, without negative densities. The Markov chain starts
    at the truth, which is a sample itself, so that no burn-in is needed.

    Parameters
    ----------
    scenes : dict of str to Tensor
        As :meth:`SEVISimulator.draw` gives them, from the prior.
    basis : ShellBasis
        What :func:`shell_basis` gives.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    variance : Tensor of shape (n, n_shells, 12), float64
        Mean squared errors to be expected of the means of the posterior.
    """
    prior, n_shells = SEVIPrior(), scenes["beta"].shape[1]
    truth = torch.cat(
        [
            scenes["n_electrons"].log()[..., None],
            scenes["beta"],
            scenes["radius"][..., None],
            scenes["radius_width"][..., None],
        ],
        dim=-1,
    )
    truth = torch.cat([truth.flatten(1), scenes["background"][:, None]], dim=1)
    precision = information(scenes, basis)
    # The gradient at the truth, of which the information is the covariance.
    size = precision.diagonal(dim1=1, dim2=2).sqrt()
    values, axes = torch.linalg.eigh(precision / size[:, :, None] / size[:, None])
    noise = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    noise = noise * values.clamp(min=0).sqrt()
    gradient = size * torch.einsum("nij,nj->ni", axes, noise)
    shift = torch.einsum("nij,nj->ni", precision, truth) + gradient
    weight, center = torch.zeros(2, n_shells, _N_EACH, dtype=torch.float64)
    weight[:, _BETA], center[:, _BETA] = prior.sigma**-2, prior.mean
    none = torch.zeros(1, dtype=torch.float64)
    weight = torch.cat([weight.flatten(), none])
    precision = precision + torch.diag(weight)
    shift = shift + weight * torch.cat([center.flatten(), none])
    low, high, rows = _limits(prior, n_shells)
    samples = truncated_normal_samples(
        precision, shift, truth, rows, low, high, _SWEEPS, generator
    )
    beta = samples[:, :, :-1].unflatten(2, (n_shells, _N_EACH))[..., _BETA]
    allowed = (prior.log_prob(beta) > -math.inf).all(2).double()
    share = (allowed / allowed.sum(0))[:, :, None, None]
    mean = (beta * share).sum(0)
    return ((beta - mean) ** 2 * share).sum(0)


def _limits(
    prior: SEVIPrior, n_shells: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the limits, and what has them, as rows of a matrix."""
    none = torch.tensor([math.inf], dtype=torch.float64)
    ends = []
    for sign, beta, end in ((-1, prior.lower, 0), (1, prior.upper, 1)):
        radii = torch.tensor([prior.radius[end], prior.radius_width[end]]).double()
        ends.append(torch.cat([sign * none, beta, radii]).repeat(n_shells))
    n_parameters = n_shells * _N_EACH + 1
    rows = torch.eye(n_parameters, dtype=torch.float64)
    rises = torch.zeros(n_shells - 1, n_parameters, dtype=torch.float64)
    for shell in range(n_shells - 1):
        place = (shell + 1) * _N_EACH - 2
        rises[shell, [place, place + _N_EACH]] = torch.tensor([-1.0, 1.0]).double()
    zeros = torch.zeros(n_shells, dtype=torch.float64)
    low, high = torch.cat([ends[0], zeros]), torch.cat([ends[1], none.expand(n_shells)])
    return low, high, torch.cat([rows, rises])


def maximum_likelihood(
    images: torch.Tensor, scenes: dict[str, torch.Tensor], basis: ShellBasis
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fit the coefficients by Poisson's likelihood, with the true radii and widths.

    The background is also the true one, and the expected counts are linear in the
    parameters. For expected counts close to zero or negative, the logarithm is replaced
    by its tangent.

    Parameters
    ----------
    images : Tensor of shape (n, size, size)
        Numbers of electrons.
    scenes : dict of str to Tensor
        The truth, of which radii, widths and background are used.
    basis : ShellBasis
        What :func:`shell_basis` gives.

    Returns
    -------
    beta, std : Tensors of shape (n, n_shells, 12), float64
        Estimates, and their standard deviations by Fisher's information.
    converged : Tensor of bool of shape (n,)
        Whether the steps have become small.
    """
    counts = fold(images).double()
    shells = [
        basis.images(scenes["radius"][:, shell], scenes["radius_width"][:, shell])
        for shell in range(scenes["beta"].shape[1])
    ]
    slopes = 4 * torch.cat(shells, dim=1).flatten(2).double()
    background = scenes["background"] * scenes["n_electrons"].sum(1) / counts.shape[1]
    background = background[:, None]
    total = counts.sum(1)
    floor = (_LIKELIHOOD_FLOOR * total / counts.shape[1])[:, None]
    amplitude = torch.zeros(slopes.shape[:2], dtype=torch.float64)
    amplitude[:, :: N_BETAS + 1] = total[:, None] / (2 * len(shells))

    def likelihood(amplitude: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        expected = torch.einsum("nk,nkp->np", amplitude, slopes) + background
        limited = torch.maximum(expected, floor)
        logarithm = torch.log(limited) + (expected - limited) / floor
        return (counts * logarithm - expected).sum(1), limited

    value, expected = likelihood(amplitude)
    converged = torch.zeros(len(counts), dtype=torch.bool)
    covariance = None
    for _ in range(_MAX_ITER):
        covariance = _inverse((slopes / expected[:, None]) @ slopes.mT)
        gradient = torch.einsum("nkp,np->nk", slopes, counts / expected - 1)
        step = torch.einsum("nij,nj->ni", covariance, gradient)
        gain = (step * gradient).sum(1)
        converged |= gain < 1e-4
        if converged.all():
            break
        length = torch.where(converged, 0.0, 1.0).double()
        for _ in range(12):
            there = likelihood(amplitude + length[:, None] * step)[0]
            worse = there < value
            if not worse.any():
                break
            length = torch.where(worse, length / 2, length)
        length = torch.where(there < value, 0.0, length)
        amplitude = amplitude + length[:, None] * step
        value, expected = likelihood(amplitude)
    of_shells = amplitude.unflatten(1, (-1, N_BETAS + 1))
    beta = of_shells[..., 1:] / (2 * of_shells[..., :1])
    return beta, _ratio_deviations(of_shells, covariance), converged


def _ratio_deviations(
    amplitude: torch.Tensor, covariance: torch.Tensor
) -> torch.Tensor:
    """Give standard deviations of coefficients, which are ratios of amplitudes."""
    deviations = []
    for shell in range(amplitude.shape[1]):
        own = slice(shell * (N_BETAS + 1), (shell + 1) * (N_BETAS + 1))
        first = amplitude[:, shell, :1]
        jacobian = torch.zeros(len(first), N_BETAS, N_BETAS + 1, dtype=torch.float64)
        jacobian[:, :, 0] = -amplitude[:, shell, 1:] / (2 * first**2)
        jacobian[:, :, 1:] = torch.diag_embed((1 / (2 * first)).expand(-1, N_BETAS))
        part = jacobian @ covariance[:, own, own] @ jacobian.mT
        deviations.append(part.diagonal(dim1=1, dim2=2).sqrt())
    return torch.stack(deviations, dim=1)
