# SPDX-License-Identifier: BSD-3-Clause
"""Electron shells fitted to images: the posterior of all that describes them."""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch

from skastro.estimators._close_shells import (
    Cells,
    cells_of_close_shells,
    promising,
    weigh,
)
from skastro.estimators._shell_misfit import (
    compare_cells,
    like_even_noise,
    lopsided,
)
from skastro.estimators._shell_parameters import ShellParameters
from skastro.estimators._shell_posterior import ShellPosterior
from skastro.estimators._shell_prior import ShellPrior
from skastro.estimators._shell_start import RadiusSearch
from skastro.estimators._truncated import log_mass, truncated_posterior
from skastro.simulation.sevi import ShellBasis

# Pixels are joined as long as they stay smaller than so many widths of the thinnest
# shell: larger ones say as much about the coefficients.
_COARSEST_PIXEL = 1.6
# Pixels, times shells, of the images that are fitted at once.
_PIXELS_AT_ONCE = 2**17

# Longest step in a mean radius, in widths of the thinnest shell, and in the logarithm
# of a number of electrons.
_LONGEST_RADIUS = 2.4
_LONGEST_LOG_NUMBER = 1.0
# A step is taken if the logarithm of the probability does not fall by more: the mean of
# the posterior is a little less probable than its mode.
_ALLOWED_FALL = 5.0
# In standard deviations.
_TOLERANCE = 0.05
# Steps after which hopeless starts are given up.
_FIRST_STEPS = 4
# Most steps of the others, within a narrow range.
_LAST_STEPS = 12


class _Expansion(NamedTuple):
    """The likelihood about some parameters, and the counts expected there."""

    value: torch.Tensor
    gradient: torch.Tensor
    information: torch.Tensor
    cells: torch.Tensor


@dataclass
class _Fit:
    """The state of fits; all tensors with the images along the first axis."""

    theta: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor
    information: torch.Tensor
    cells: torch.Tensor
    damping: torch.Tensor
    step: torch.Tensor
    strength: torch.Tensor
    pull: torch.Tensor
    mean: torch.Tensor
    covariance: torch.Tensor
    limited_mean: torch.Tensor
    limited_sd: torch.Tensor
    free_mean: torch.Tensor
    free_sd: torch.Tensor

    def put(self, rows: torch.Tensor, **values: torch.Tensor) -> None:
        """Replace rows."""
        for name, value in values.items():
            getattr(self, name)[rows] = value

    def rows(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Take rows of everything."""
        return {field.name: getattr(self, field.name)[rows] for field in fields(self)}


class ShellFit:
    """Fit shells to images of one size by their Poisson likelihood and a prior.

    The four quadrants are folded onto each other. About the current parameters the
    likelihood is taken as normal, with its Fisher information; its product with the
    prior and its limits has a mean, which are the next parameters (Fisher scoring from
    posterior mean to posterior mean, with Levenberg's damping where the probability
    falls).

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
    device : str or torch.device, default="cpu"
        Where to compute; it must know float64.
    max_iter : int, default=40
        Most steps from each start.
    """

    def __init__(
        self,
        size: int,
        n_shells: int,
        prior: ShellPrior,
        *,
        extent: float = 1.0,
        device: str | torch.device = "cpu",
        max_iter: int = 40,
    ) -> None:
        self.n_shells = n_shells
        self.prior = prior
        self.max_iter = max_iter
        finest = prior.radius_width[0]
        most = max(1, int(_COARSEST_PIXEL * finest / (2 * extent / size)))
        self.joined = max(f for f in range(1, most + 1) if size % f == 0)
        self.basis = ShellBasis(
            size // self.joined,
            extent=extent,
            finest_width=finest,
            quadrant=True,
            device=device,
        )
        side = self.basis.size
        places = (2 * torch.arange(side, device=device) - (side - 1)).abs() // 2
        self._places = places
        self.multiplicity = self._fold(torch.ones(1, side, side, device=device))[0]
        self.parameters = ShellParameters(n_shells, prior, device)
        self.search = RadiusSearch(self.basis, self.multiplicity, n_shells, prior)

    def __call__(self, images: torch.Tensor) -> ShellPosterior:
        """Fit images (n, size, size), polarised along their last axis."""
        step = max(1, _PIXELS_AT_ONCE // (len(self.multiplicity) * self.n_shells))
        return ShellPosterior.join([self._fit(part) for part in images.split(step)])

    def _join(self, images: torch.Tensor) -> torch.Tensor:
        """Sum pixels that are too fine to matter."""
        images = images.to(self.basis.device, torch.float32)
        if self.joined > 1:
            images = images.unflatten(2, (-1, self.joined)).sum(3)
            images = images.unflatten(1, (-1, self.joined)).sum(2)
        return images

    def _folded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Fold pixels as the fit takes them (n, n_pixels) into a quadrant."""
        return pixels

    def _distortion(self, theta: torch.Tensor) -> torch.Tensor:
        return theta.new_zeros(len(theta), 4)

    def _fold(self, images: torch.Tensor) -> torch.Tensor:
        """Sum the quadrants of images whose pixels are joined, as (n, n_pixels)."""
        side = int(self._places.max()) + 1
        for axis in (1, 2):
            shape = list(images.shape)
            shape[axis] = side
            images = images.new_zeros(shape).index_add_(axis, self._places, images)
        return images.flatten(1)

    def _fit(self, images: torch.Tensor) -> ShellPosterior:
        images = self._join(images)
        counts = self._fold(images)
        fit, mixture = self.solve(counts)
        posterior = self._posterior(counts, fit)
        posterior.unlike |= lopsided(images)
        if mixture is not None:
            rows, weight, parts = mixture
            posterior.put_mixture(
                self._posterior(counts[rows], parts),
                rows,
                weight,
                *(part.to(weight) for part in (self.prior.lower, self.prior.upper)),
            )
        return posterior

    def solve(
        self, counts: torch.Tensor
    ) -> tuple[_Fit, tuple[torch.Tensor, torch.Tensor, _Fit] | None]:
        """Fit folded images (n, n_pixels).

        Gives the most probable fits and, where several explain an image, which images,
        the probabilities, and the fits.
        """
        total = counts.sum(1).double()
        radius = self.search(counts).double()
        fit = self._refine(counts, self.parameters.start(total, radius))
        if self.n_shells == 1:
            return fit, None
        cells = cells_of_close_shells(self.parameters, fit.theta, total)
        if cells is None:
            return fit, None
        parts = self._refine(counts[cells.rows], *cells[2:], max_iter=_FIRST_STEPS)
        hopeful = promising(cells, parts.value)
        if not len(hopeful):
            return fit, None
        cells = Cells(*(part[hopeful] for part in cells))
        cells = cells._replace(theta=parts.theta[hopeful])
        parts = self._refine(counts[cells.rows], *cells[2:], max_iter=_LAST_STEPS)
        evidence = self._evidence(total[cells.rows], parts, *cells[3:])
        kept, best, weight = weigh(
            cells, evidence, parts.limited_mean, parts.limited_sd
        )
        if not len(kept):
            return fit, None
        fit.put(cells.rows[best], **parts.rows(best))
        return fit, (cells.rows[kept], weight, _Fit(**parts.rows(kept)))

    def _expand(
        self, theta: torch.Tensor, counts: torch.Tensor, total: torch.Tensor
    ) -> _Expansion:
        expected, slopes = self.parameters.expected(
            theta, total, self.basis, self.multiplicity
        )
        # Where nothing is expected nothing is divided by zero.
        mean = total[:, None].to(expected) / expected.shape[1]
        expected = expected + 1e-12 * mean
        value = (torch.xlogy(counts, expected / mean) - expected).double().sum(1)
        slopes = slopes.double()
        gradient = torch.einsum("nip,np->ni", slopes, (counts / expected - 1).double())
        information = (slopes / expected[:, None].double()) @ slopes.mT
        value = value + self.parameters.log_prior(theta, total)
        return _Expansion(
            value, gradient, information, self.search.histogram(self._folded(expected))
        )

    def _refine(
        self,
        counts: torch.Tensor,
        theta: torch.Tensor,
        low: torch.Tensor | None = None,
        high: torch.Tensor | None = None,
        max_iter: int | None = None,
    ) -> _Fit:
        """Fit from a start, within limits of each image or those of all."""
        shape = (len(theta), -1)
        low = self.parameters.low.expand(shape) if low is None else low
        high = self.parameters.high.expand(shape) if high is None else high
        total = counts.sum(1).double()
        fit = self._begin(theta, self._expand(theta, counts, total))
        prior_precision, prior_shift = self.parameters.normal_prior(total)
        longest = _LONGEST_RADIUS * self.prior.radius_width[0]
        rows = torch.arange(len(theta), device=theta.device)
        for _ in range(self.max_iter if max_iter is None else max_iter):
            information = fit.information[rows]
            stiff = information.diagonal(dim1=1, dim2=2) * fit.damping[rows, None]
            information = information + torch.diag_embed(stiff)
            old = fit.theta[rows]
            shift = fit.gradient[rows] + torch.einsum("nij,nj->ni", information, old)
            posterior = truncated_posterior(
                information + prior_precision,
                shift + prior_shift[rows],
                self.parameters.directions,
                low[rows],
                high[rows],
                (fit.strength[rows], fit.pull[rows]),
            )
            move = posterior.mean - old
            sd = posterior.covariance.diagonal(dim1=1, dim2=2).sqrt()
            size = (move / sd)[:, self.parameters.of_shells].abs().amax(1)
            length = torch.maximum(
                (self.parameters.radius(move).abs() / longest).amax(1),
                (self.parameters.log_number(move).abs() / _LONGEST_LOG_NUMBER).amax(1),
            )
            new = old + move / length.clamp(min=1)[:, None]
            there = self._expand(new, counts[rows], total[rows])
            taken = there.value > fit.value[rows] - _ALLOWED_FALL
            damping = fit.damping[rows]
            small = taken & (damping < 0.1)
            fit.put(
                rows,
                strength=posterior.sites[0],
                pull=posterior.sites[1],
                mean=posterior.mean,
                covariance=posterior.covariance,
                limited_mean=posterior.limited_mean,
                limited_sd=posterior.limited_sd,
                free_mean=posterior.free_mean,
                free_sd=posterior.free_sd,
                step=torch.where(small, size, torch.inf),
                damping=torch.where(
                    taken,
                    torch.where(damping < 0.01, 0.0, damping / 4),
                    (4 * damping).clamp(min=0.05),
                ),
            )
            fit.put(
                rows[taken],
                theta=new[taken],
                **{name: part[taken] for name, part in there._asdict().items()},
            )
            rows = rows[fit.step[rows] > _TOLERANCE]
            if not len(rows):
                break
        return fit

    def _evidence(
        self,
        total: torch.Tensor,
        fit: _Fit,
        low: torch.Tensor,
        high: torch.Tensor,
    ) -> torch.Tensor:
        """Integrate the probability of images over all parameters within limits."""
        prior_precision, prior_shift = self.parameters.normal_prior(total)
        precision = fit.information + prior_precision
        shift = fit.gradient + prior_shift - fit.theta @ prior_precision
        directions = self.parameters.directions
        here = fit.theta @ directions.T
        arguments = (precision, shift, directions, low - here, high - here)
        sites = (fit.strength, fit.pull - fit.strength * here)
        posterior = truncated_posterior(*arguments, sites)
        return fit.value + log_mass(*arguments, posterior)

    def _begin(self, theta: torch.Tensor, there: _Expansion) -> _Fit:
        n, n_limits = len(theta), len(self.parameters.low)
        limited = theta.new_zeros(n, n_limits)
        return _Fit(
            theta,
            *there,
            damping=theta.new_zeros(n),
            step=theta.new_full((n,), math.inf),
            strength=limited,
            pull=limited.clone(),
            mean=theta.clone(),
            covariance=torch.zeros_like(there.information),
            limited_mean=limited.clone(),
            limited_sd=limited.clone(),
            free_mean=limited.clone(),
            free_sd=limited.clone(),
        )

    def _posterior(self, counts: torch.Tensor, fit: _Fit) -> ShellPosterior:
        of = self.parameters
        have = self.search.histogram(self._folded(counts)).double()
        misfit, unlike = compare_cells(have, fit.cells.double())
        value = fit.value - of.log_prior(fit.theta, counts.sum(1).double())
        even = like_even_noise(counts, self.multiplicity, value)
        converged = fit.step < math.inf
        sd = fit.covariance.diagonal(dim1=1, dim2=2).sqrt()
        number = of.log_number(fit.theta).exp()
        return ShellPosterior(
            beta=of.limited_beta(fit.limited_mean),
            beta_std=of.limited_beta(fit.limited_sd),
            free_mean=of.limited_beta(fit.free_mean),
            free_sd=of.limited_beta(fit.free_sd),
            beta_cov=of.beta_block(fit.covariance),
            radius=of.radius(fit.theta),
            radius_std=of.radius(sd),
            radius_width=of.radius_width(fit.theta),
            radius_width_std=of.radius_width(sd),
            n_electrons=number,
            n_electrons_std=number * of.log_number(sd),
            distortion=self._distortion(fit.theta),
            background=fit.theta[:, -1],
            misfit=misfit,
            unlike=unlike | even | ~converged,
            converged=converged,
        )
