# SPDX-License-Identifier: BSD-3-Clause
"""Fit of electron shells to images: the posterior of their parameters."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skastro.sevi._basis import ShellBasis
from skastro.sevi._cell_basis import CellBasis, cell_sums, largest_radius, polar_cells
from skastro.sevi._distortion_test import THRESHOLD, DistortionTest, damped
from skastro.sevi._electrons import FACTORS
from skastro.sevi._prior import ShellPrior
from skastro.sevi._radius_search import RadiusSearch
from skastro.sevi._shell_parameters import ShellParameters
from skastro.sevi._truncated_normal import (
    log_mass,
    normal_quantile,
    truncated_posterior,
    untruncated,
)
from skastro.utils import (
    check_count,
    check_finite,
    check_number,
    check_option,
    name_rows,
    plain_array,
    progress_bar,
)

_PUBLIC_FIELDS = (
    "beta",
    "beta_std",
    "beta_cov",
    "radius",
    "radius_std",
    "radius_width",
    "radius_width_std",
    "n_electrons",
    "n_electrons_std",
    "background",
    "misfit",
)


@dataclass
class ShellPosterior:
    """Fitted shells of images; tensors with the images along the first axis.

    `free_mean` and `free_sd` describe the normal distribution of each coefficient
    before truncation by its own limits. `distortion` (n, 4) is tilt in degrees,
    ellipticity and displacement of the center along both axes in pixels.
    """

    beta: torch.Tensor
    beta_std: torch.Tensor
    beta_cov: torch.Tensor
    free_mean: torch.Tensor
    free_sd: torch.Tensor
    radius: torch.Tensor
    radius_std: torch.Tensor
    radius_width: torch.Tensor
    radius_width_std: torch.Tensor
    n_electrons: torch.Tensor
    n_electrons_std: torch.Tensor
    distortion: torch.Tensor
    background: torch.Tensor
    misfit: torch.Tensor
    is_distorted: torch.Tensor
    is_outlier: torch.Tensor
    converged: torch.Tensor

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """Concatenate the posteriors of several batches."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in names))

    @property
    def failed(self) -> np.ndarray:
        """Indices of the images for which the fit found no answer."""
        return np.flatnonzero(self.no_answer.cpu().numpy())

    @property
    def out_of_range(self) -> np.ndarray:
        """Mask (n,) of the images that do not show shells within the ranges."""
        return (self.is_outlier | self.no_answer).cpu().numpy()

    @property
    def no_answer(self) -> torch.Tensor:
        """Mask (n,) of the images for which the fit found no answer."""
        return ~(self.converged & self.beta.isfinite().all(2).all(1))

    def interval(self, coverage: float, prior: ShellPrior) -> np.ndarray:
        """Compute central intervals (n, n_shells * n_betas, 2) of the coefficients."""
        tail = (1 - coverage) / 2
        mean, sd = self.free_mean, self.free_sd
        low, high = (
            part.to(mean).expand_as(mean) for part in (prior.lower, prior.upper)
        )
        ends = [
            normal_quantile(part, mean, sd, low, high).flatten(1)
            for part in (tail, 1 - tail)
        ]
        return torch.stack(ends, dim=-1).cpu().numpy()

    def to_bunch(self, factor: float, polarization_axis: int) -> Bunch:
        """Return the result of :func:`fit_shells`, with coefficients times a factor."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in _PUBLIC_FIELDS}
        for name in ("beta", "beta_std"):
            arrays[name] = arrays[name] * factor
        arrays["beta_cov"] = arrays["beta_cov"] * factor**2
        distortion = self.distortion.cpu().numpy()
        center = distortion[:, 2:]
        return Bunch(
            **arrays,
            tilt=distortion[:, 0],
            ellipticity=distortion[:, 1],
            center=center if polarization_axis == 1 else center[:, ::-1],
            out_of_range=self.out_of_range,
        )

    def rows(self, rows: torch.Tensor) -> Self:
        """Return some images."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: torch.Tensor, other: Self) -> None:
        """Replace images."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    def put_mixture(
        self, parts: Self, rows: torch.Tensor, weight: torch.Tensor, prior: ShellPrior
    ) -> None:
        """Replace images by mixtures of posteriors.

        `rows` (n_parts,) names the image of each part, and `weight` (n_parts,) its
        probability; the weights of an image sum to one.
        """
        images, place = rows.unique(return_inverse=True)

        def average(values: torch.Tensor) -> torch.Tensor:
            sums = values.new_zeros(len(images), *values.shape[1:])
            share = weight.view(-1, *[1] * (values.ndim - 1))
            return sums.index_add(0, place, share * values)

        for name in ("beta", "radius", "radius_width", "n_electrons"):
            mean, sd = getattr(parts, name), getattr(parts, f"{name}_std")
            center = average(mean)
            apart = mean - center[place]
            getattr(self, name)[images] = center
            getattr(self, f"{name}_std")[images] = average(sd**2 + apart**2).sqrt()
            if name == "beta":
                apart = apart[..., :, None] * apart[..., None, :]
                self.beta_cov[images] = average(parts.beta_cov + apart)
        limits = (part.to(weight) for part in (prior.lower, prior.upper))
        self.free_mean[images], self.free_sd[images] = untruncated(
            self.beta[images], self.beta_std[images], *limits
        )


# Samples that are checked, and fitted, at once.
_CHECKED_AT_ONCE = 256
_FITTED_AT_ONCE = 64
# Thresholds in standard deviations: for χ² that is too large and for halves of an image
# that differ; and for χ² that is too small.
_MISFIT = 6.0
_UNIFORM = 4.5
# Cells with fewer expected electrons are not compared, and relative deviations below
# the model error do not count.
_LEAST_EXPECTED = 5.0
_MODEL_ERROR = 0.01
# Fraction of the counts by which the halves of an image may differ if it is off center.
_OFF_CENTER = 0.05
# Least log-likelihood ratio of shells to uniform noise.
_LEAST_GAIN = 30.0


def compare_cells(
    counts: torch.Tensor, expected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare counts in large cells (n, n_cells) with those expected.

    Returns by how many standard deviations χ² exceeds its expectation (small relative
    deviations of many counts are ignored), and whether it is far too large or the
    counts are too uniform to be counts of electrons.
    """
    used = expected > _LEAST_EXPECTED
    freedom = used.sum(1).clamp(min=1)
    squares = (counts - expected) ** 2 * used
    noise = expected.clamp(min=1)
    deviations = [
        ((squares / (noise + error**2)).sum(1) - freedom) / torch.sqrt(2.0 * freedom)
        for error in (_MODEL_ERROR * expected, torch.zeros_like(expected))
    ]
    misfit, pure = deviations
    return misfit, (misfit > _MISFIT) | (pure < -_UNIFORM)


def is_uniform_noise(
    counts: torch.Tensor, background: torch.Tensor, log_likelihood: torch.Tensor
) -> torch.Tensor:
    """Find images (n,) that a uniform background explains as well as shells do.

    `background` (n_cells,) is the share of each cell in a uniform background;
    `log_likelihood` (n,) is that of the shells: the sum of
    counts log(expected / mean) - expected.
    """
    uniform = background * len(background)
    value = (torch.xlogy(counts, uniform) - counts).double().sum(1)
    return log_likelihood - value < _LEAST_GAIN


def is_asymmetric(halves: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Find images (n,) whose halves differ otherwise than expected.

    `halves` (n, 2) are the differences of the counts in the halves along each axis,
    less those expected; `total` (n,) are the counts.
    """
    most = _MISFIT * total.sqrt() + _OFF_CENTER * total
    return (halves.abs() > most[:, None]).any(1)


# Ends of the cells of the distance of two radii, in widths of the thinnest shell.
_EDGES = (0.0, 0.4, 1.0, 1.7, 2.5)
# The first cells, of shells that nearly coincide.
_N_COINCIDING = 2
# Shells that are closer than this many widths are fitted cell by cell.
_CLOSE = _EDGES[-1]
# Fits whose log-probability is lower by more than this are left out.
_NEGLIGIBLE = 15.0
# The same after the first steps.
_HOPELESS = 40.0
# Fits that differ by less than this many standard deviations are the same.
_SAME = 0.5


class Cells(NamedTuple):
    """Starts of fits: image, cell of the distance (n,), parameters (n, d), limits."""

    rows: torch.Tensor
    cell: torch.Tensor
    theta: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def are_close(parameters: ShellParameters, theta: torch.Tensor) -> torch.Tensor:
    """Find fits (n,) with shells that are close to each other."""
    gap = parameters.radius(theta).diff(dim=1)
    return (gap < _CLOSE * parameters.prior.radius_width[0]).any(1)


def cells_of_close_shells(
    parameters: ShellParameters,
    theta: torch.Tensor,
    total: torch.Tensor,
    rows: torch.Tensor,
) -> Cells:
    """Divide the range of the distance of two close shells into cells, with starts.

    Within a cell the posterior is nearly normal; over all cells it is not. Each cell is
    started from either order of the two shells and, where they nearly coincide, from
    typical shells too. `rows` are those of the fits `theta` (n, d) with close shells.
    """
    unit = parameters.prior.radius_width[0]
    theta = theta[rows]
    inner = parameters.radius(theta).diff(dim=1).argmin(1)
    starts = [
        theta,
        parameters.exchange(theta, inner),
        parameters.start(total[rows], parameters.radius(theta)),
    ]
    limit = parameters.gap_limit(inner)[:, None]
    cells = []
    edges = torch.tensor([*_EDGES, torch.inf]).to(theta) * unit
    for place, (low, high) in enumerate(pairwise(edges)):
        middle = low + unit / 2 if high == torch.inf else (low + high) / 2
        lows, highs = (
            part.repeat(len(rows), 1) for part in (parameters.low, parameters.high)
        )
        lows.scatter_(1, limit, low.expand(len(rows), 1))
        highs.scatter_(1, limit, highs.gather(1, limit).clamp(max=float(high)))
        cells += [
            Cells(
                rows,
                torch.full_like(rows, place),
                parameters.separate(start, inner, middle),
                lows,
                highs,
            )
            for start in starts[: 3 if place < _N_COINCIDING else 2]
        ]
    return Cells(*(torch.cat(parts) for parts in zip(*cells, strict=True)))


def prune(
    cells: Cells, value: torch.Tensor, step: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the starts that may still become the best.

    `value` (n,) are their log-probabilities so far, and `step` (n,) their last steps in
    standard deviations, if they are still to move.
    """
    best = value.new_full((len(value) and int(cells.rows.max()) + 1,), -torch.inf)
    best = best.scatter_reduce(0, cells.rows, value, "amax")
    hope = value if step is None else value + step**2
    return (hope > best[cells.rows] - _HOPELESS).nonzero()[:, 0]


def distinct(
    cells: Cells, value: torch.Tensor, mean: torch.Tensor, sd: torch.Tensor
) -> torch.Tensor:
    """Return fits, the best first, without those that equal a better one of their cell.

    `value` (n,) are finite log-probabilities of those that have not failed; `mean` and
    `sd` (n, m) describe the limited combinations.
    """
    known = value.isfinite().nonzero()[:, 0]
    order = known[value[known].argsort(descending=True)]
    own = torch.stack([cells.rows, cells.cell], dim=1)
    kept = order[:0]
    for part in order:
        beside = kept[(own[kept] == own[part]).all(1)]
        same = ((mean[beside] - mean[part]).abs() < _SAME * sd[part]).all(1)
        if not same.any():
            kept = torch.cat([kept, part[None]])
    return kept


def mixture_weights(
    cells: Cells, evidence: torch.Tensor, mean: torch.Tensor, sd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the probabilities of the fits that compete for an image.

    `evidence` (n,) holds the logarithms of the probabilities up to a constant of each
    image; `mean` and `sd` (n, m) describe the limited combinations. Returns which fits
    are kept (none of an image whose fits all failed; equal ones once), the best fit of
    each image, and the weights of the kept fits.
    """
    order = distinct(cells, evidence, mean, sd)
    best: dict[int, int] = {}
    for part, row in zip(order.tolist(), cells.rows[order].tolist(), strict=True):
        best.setdefault(row, part)
    top = evidence[[best[row] for row in cells.rows[order].tolist()]]
    chosen = order[top - evidence[order] < _NEGLIGIBLE]
    weight = evidence.new_zeros(len(chosen))
    for row in best:
        own = cells.rows[chosen] == row
        weight[own] = evidence[chosen[own]].softmax(0)
    return chosen, torch.tensor(list(best.values())).to(chosen), weight


# Pixels are joined up to this size, in widths of the thinnest shell, without loss of
# information on the coefficients.
_COARSEST_PIXEL = 1.6
# Rings and sectors of the first, coarse fit: thickness in widths of the thinnest shell.
_RING = 1.6
_N_SECTORS = 32
# Images that are fitted at once with their distortion, and most steps of this fit.
_DISTORTED_AT_ONCE = 8
_DISTORTED_STEPS = 40
# Numbers in an array that stays in the processor's cache.
_AT_ONCE = 2**21

# Longest step in a mean radius, in widths of the thinnest shell, and in the logarithm
# of a number of electrons.
_LONGEST_RADIUS = 2.4
_LONGEST_LOG_NUMBER = 1.0
# A step is accepted if the log-probability does not fall by more than this: the mean of
# the posterior is slightly less probable than its mode.
_ALLOWED_FALL = 5.0
# Step in standard deviations that is the last one. What is left to the maximum is about
# a twentieth of it, except for close shells.
_TOLERANCE = 1.0
# Of close shells: in the coarse fit and in the final one.
_CLOSE_TOLERANCES = (0.3, 0.05)
# Most steps of the coarse fit.
_COARSE_STEPS = 15
# For close shells, how often hopeless starts are pruned during the coarse fit, and most
# steps of the final one.
_ROUNDS = 3
_LAST_STEPS = 4


class _Level(NamedTuple):
    """The cells of a fit.

    `background` (n_cells,) is the share of each cell in a uniform background, and
    `in_search` (n_cells,) the cell of the radius search that it belongs to; `cells`
    (n_pixels,) is the cell of each pixel. `test` finds distorted images.
    """

    basis: ShellBasis | CellBasis
    background: torch.Tensor
    in_search: torch.Tensor
    cells: torch.Tensor
    test: DistortionTest | None = None

    def histogram(self, images: torch.Tensor) -> torch.Tensor:
        """Sum pixels (..., n_pixels) over cells (..., n_cells)."""
        return cell_sums(images, self.cells, len(self.background))


class _Expansion(NamedTuple):
    """The likelihood about some parameters, and the counts expected there.

    `stretch` (n, n_parameters + 2) is the information that the ellipticity shares with
    each parameter, its own, and the derivative of the log-likelihood by it.
    """

    value: torch.Tensor
    gradient: torch.Tensor
    information: torch.Tensor
    expected: torch.Tensor
    stretch: torch.Tensor


@dataclass
class _Fit:
    """The state of fits; all tensors with the images along the first axis."""

    theta: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor
    information: torch.Tensor
    expected: torch.Tensor
    stretch: torch.Tensor
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
        """Return rows of all fields."""
        return {field.name: getattr(self, field.name)[rows] for field in fields(self)}


def coarse_cells(quadrant: ShellBasis, prior: ShellPrior) -> torch.Tensor:
    """Divide a quadrant into thin rings and many sectors."""
    largest = largest_radius(prior)
    n_rings = math.ceil(largest / (_RING * prior.radius_width[0]))
    return polar_cells(quadrant, largest, n_rings, _N_SECTORS)


def fine_cells(quadrant: ShellBasis, prior: ShellPrior) -> torch.Tensor:
    """Sort the pixels of a quadrant by radius, with one cell for those beyond all."""
    s = torch.hypot(*quadrant.quadrant_axes()).flatten()
    return s.argsort().argsort().clamp(max=int((s < largest_radius(prior)).sum()))


def take(cells: Cells, parts: _Fit, rows: torch.Tensor) -> tuple[Cells, _Fit]:
    """Return some of the fits that compete."""
    return Cells(*(part[rows] for part in cells)), _Fit(**parts.rows(rows))


class ShellFit:
    """Fit shells to images of one size by their Poisson likelihood and a prior.

    The likelihood is approximated by a normal distribution about the current
    parameters, with its Fisher information. The mean of its product with the prior and
    its limits gives the next parameters (Fisher scoring of the posterior mean, with
    Levenberg's damping if the probability falls). The four quadrants are folded onto
    each other, unless the image may be `distorted`: tilted, elliptical or off center.
    In this case the upright fit is the start of a fit to the whole image, which takes
    several times as long. `device` must support float64.
    """

    def __init__(
        self,
        size: int,
        n_shells: int,
        prior: ShellPrior,
        *,
        extent: float = 1.0,
        distortion: bool | str = False,
        device: str | torch.device = "cpu",
        max_iter: int = 40,
    ) -> None:
        self.distortion = distortion
        distorted = distortion is not False
        self.n_shells = n_shells
        self.prior = prior
        self.max_iter = max_iter
        finest = prior.radius_width[0]
        most = max(1, int(_COARSEST_PIXEL * finest / (2 * extent / size)))
        self.joined = max(f for f in range(1, most + 1) if size % f == 0)
        side = size // self.joined
        self._fold_to = (2 * torch.arange(side, device=device) - (side - 1)).abs() // 2
        self.parameters = ShellParameters(n_shells, prior, device, distorted=distorted)
        basis = ShellBasis(
            side,
            extent=extent,
            finest_width=finest,
            quadrant=not distorted,
            device=device,
        )
        whole = torch.ones(1, side, side, device=device)
        self.upright: ShellFit | None = None
        self.levels: list[_Level] = []
        if distorted:
            self.upright = ShellFit(
                size, n_shells, prior, extent=extent, device=device, max_iter=max_iter
            )
            self.search: RadiusSearch = self.upright.search
            pixels = (
                self._fold_to[:, None] * len(self._fold_to.unique()) + self._fold_to
            )
            in_search = self.search.cells.cells[pixels.flatten()]
            background = whole.flatten() / whole.sum()
            every = torch.arange(len(background), device=device)
            self.levels = [_Level(basis, background, in_search, every)]
        else:
            multiplicity = self._fold(whole)[0]
            self.search = RadiusSearch(basis, multiplicity, n_shells, prior)
            fine = fine_cells(basis, prior)
            self.test = DistortionTest(basis, multiplicity, fine, prior)
            for cells, test in (
                (coarse_cells(basis, prior), None),
                (fine, self.test),
            ):
                of_cells = CellBasis(basis, multiplicity, cells, prior)
                in_search = torch.zeros(of_cells.n_cells).to(cells)
                in_search[cells] = self.search.cells.cells
                self.levels.append(
                    _Level(of_cells, of_cells.background, in_search, cells, test)
                )

    def _join(self, images: torch.Tensor) -> torch.Tensor:
        """Sum pixels that are finer than needed."""
        images = images.to(self._fold_to.device, torch.float32)
        if self.joined > 1:
            images = images.unflatten(2, (-1, self.joined)).sum(3)
            images = images.unflatten(1, (-1, self.joined)).sum(2)
        return images

    def _fold(
        self, images: torch.Tensor, signs: tuple[bool, bool] = (False, False)
    ) -> torch.Tensor:
        """Sum the quadrants of images whose pixels are joined, as (n, n_pixels).

        `signs` tells for each axis to subtract the first half from the second.
        """
        side = int(self._fold_to.max()) + 1
        for axis, sign in enumerate(signs, 1):
            shape = list(images.shape)
            shape[axis] = side
            if sign:
                place = torch.arange(images.shape[axis], device=images.device)
                place = (2 * place - (images.shape[axis] - 1)).sign()
                images = images * (place[:, None] if axis == 1 else place)
            images = images.new_zeros(shape).index_add_(axis, self._fold_to, images)
        return images.flatten(1)

    def _halves(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the differences (n, 2) of the halves of images along each axis."""
        parts = [self._fold(images, signs) for signs in ((True, False), (False, True))]
        return torch.stack([part.sum(1, dtype=torch.float64) for part in parts], dim=1)

    def __call__(self, images: torch.Tensor) -> ShellPosterior:
        """Fit images (n, size, size), polarized along their last axis."""
        images = self._join(images)
        posterior, start = (self.upright or self)._fit_upright(images)
        if self.upright is None:
            return posterior
        rows = posterior.is_distorted | posterior.is_outlier | posterior.no_answer
        if self.distortion is True:
            rows = torch.ones_like(rows)
        rows = rows.nonzero()[:, 0]
        for first in range(0, len(rows), _DISTORTED_AT_ONCE):
            some = rows[first : first + _DISTORTED_AT_ONCE]
            found = self._fit_distorted(images[some], start[some])
            taken = (~found.no_answer | (self.distortion is True)).nonzero()[:, 0]
            posterior.put(some[taken], found.rows(taken))
        return posterior

    def _fit_upright(self, images: torch.Tensor) -> tuple[ShellPosterior, torch.Tensor]:
        """Fit images as upright; also return the parameters."""
        folded = self._fold(images)
        fit, mixture = self.solve(folded)
        level = self.levels[-1]
        counts = level.histogram(folded)
        posterior = self._posterior(counts, fit)
        odd = torch.stack(
            [
                self._fold(images, signs)
                for signs in ((True, True), (True, False), (False, True))
            ],
            dim=1,
        )
        halves = odd[:, 1:].sum(2, dtype=torch.float64)
        posterior.is_outlier |= is_asymmetric(halves, folded.sum(1).double())
        score = self._odd_score(fit, level.histogram(odd))
        stretched = self._stretch_score(fit)
        if mixture is not None:
            rows, weight, parts = mixture
            posterior_of_parts = self._posterior(counts[rows], parts)
            posterior.put_mixture(posterior_of_parts, rows, weight, self.prior)
            # One of several solutions says nothing about the ellipticity.
            stretched[rows] = 0
        posterior.is_distorted |= score + stretched > THRESHOLD
        return posterior, fit.mean

    def _odd_score(self, fit: _Fit, odd: torch.Tensor) -> torch.Tensor:
        """Compute χ² (n,) of tilt and displacement.

        `odd` (n, 3, n_cells) are differences of the quadrants: odd along both axes,
        along the first and along the second.
        """
        of, theta = self.parameters, fit.theta
        by_tilt = self.test.by_tilt(
            of.log_number(theta).exp(),
            of.beta(theta),
            of.radius(theta),
            of.radius_width(theta),
        )
        by_center = self.test.slopes(fit.expected)[:, 1:]
        slopes = torch.cat([by_tilt[:, None], by_center], dim=1)
        weight = slopes * damped(fit.expected)[:, None]
        score = (weight * odd).sum(2, dtype=torch.float64)
        variance = (weight**2 * fit.expected[:, None]).sum(2, dtype=torch.float64)
        return (score**2 / variance).sum(1)

    def _stretch_score(self, fit: _Fit) -> torch.Tensor:
        """Compute χ² (n,) of the ellipticity at the mean of the other parameters."""
        shared, own, score = fit.stretch.tensor_split((-2, -1), dim=1)
        score = score[:, 0] - (shared * (fit.mean - fit.theta)).sum(1)
        known = torch.einsum("ni,nij,nj->n", shared, fit.covariance, shared)
        return score**2 / (own[:, 0] - known)

    def _fit_distorted(
        self, images: torch.Tensor, start: torch.Tensor
    ) -> ShellPosterior:
        counts = images.flatten(1)
        theta = self.parameters.distort(start)
        fit = self._refine(self.levels[0], counts, theta, max_iter=_DISTORTED_STEPS)
        posterior = self._posterior(counts, fit)
        # The halves of images that are off center differ, as expected by the fit.
        halves = self._halves(images - fit.expected.view_as(images))
        total = counts.sum(1, dtype=torch.float64)
        posterior.is_outlier |= is_asymmetric(halves, total)
        return posterior

    def _distortion(self, theta: torch.Tensor) -> torch.Tensor:
        found = self.parameters.distortion(theta)
        if not found:
            return theta.new_zeros(len(theta), 4)
        center = found["center"] * self.joined
        parts = [found["tilt"][:, None], found["ellipticity"][:, None], center]
        return torch.cat(parts, dim=1)

    def solve(
        self, images: torch.Tensor
    ) -> tuple[_Fit, tuple[torch.Tensor, torch.Tensor, _Fit] | None]:
        """Fit folded images (n, n_pixels).

        Returns the most probable fits and, if several fits compete for an image, the
        indices of their images, their probabilities, and these fits.
        """
        total = images.sum(1).double()
        radius = self.search(images).double()
        coarse, fine = self.levels
        rough, counts = (level.histogram(images) for level in self.levels)
        start = self.parameters.start(total, radius)
        fit = self._refine(coarse, rough, start, max_iter=_COARSE_STEPS)
        # Close shells have several solutions, and seldom converge to one.
        apart = (~are_close(self.parameters, fit.theta)).nonzero()[:, 0]
        none = fit.expected.new_zeros(len(fit.theta), len(fine.background))
        fit = replace(fit, expected=none)
        if len(apart):
            sites = fit.strength[apart], fit.pull[apart]
            parts = self._refine(fine, counts[apart], fit.mean[apart], sites=sites)
            fit.put(apart, **vars(parts))
        close = are_close(self.parameters, fit.theta).nonzero()[:, 0]
        if not len(close):
            return fit, None
        fit.step[close] = math.inf
        cells = cells_of_close_shells(self.parameters, fit.theta, total, close)
        parts = self._begin(coarse, rough[cells.rows], cells.theta)
        for _ in range(_ROUNDS):
            self._continue(
                coarse,
                rough[cells.rows],
                parts,
                *cells[3:],
                max_iter=_COARSE_STEPS // _ROUNDS,
                tolerance=_CLOSE_TOLERANCES[0],
            )
            cells, parts = take(cells, parts, prune(cells, parts.value, parts.step))
        cells, parts = take(cells, parts, prune(cells, parts.value))
        several = distinct(cells, parts.value, parts.limited_mean, parts.limited_sd)
        cells, parts = take(cells, parts, several)
        if not len(several):
            return fit, None
        parts = self._refine(
            fine,
            counts[cells.rows],
            parts.theta,
            *cells[3:],
            sites=(parts.strength, parts.pull),
            max_iter=_LAST_STEPS,
            tolerance=_CLOSE_TOLERANCES[1],
        )
        evidence = self._evidence(total[cells.rows], parts, *cells[3:])
        evidence = evidence.masked_fill(parts.step == math.inf, -math.inf)
        kept, best, weight = mixture_weights(
            cells, evidence, parts.limited_mean, parts.limited_sd
        )
        if not len(kept):
            return fit, None
        fit.put(cells.rows[best], **parts.rows(best))
        return fit, (cells.rows[kept], weight, _Fit(**parts.rows(kept)))

    def _expand(
        self,
        level: _Level,
        theta: torch.Tensor,
        counts: torch.Tensor,
        total: torch.Tensor,
    ) -> _Expansion:
        step = max(1, _AT_ONCE // (theta.shape[1] * counts.shape[1]))
        parts = [
            self._expand_some(level, *some)
            for some in zip(
                theta.split(step), counts.split(step), total.split(step), strict=True
            )
        ]
        return _Expansion(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _expand_some(
        self,
        level: _Level,
        theta: torch.Tensor,
        counts: torch.Tensor,
        total: torch.Tensor,
    ) -> _Expansion:
        expected, slopes = self.parameters.expected(theta, total, *level[:2])
        # This avoids a division by zero in cells without expected counts.
        mean = total[:, None].to(expected) / expected.shape[1]
        expected += 1e-12 * mean
        value = (torch.xlogy(counts, expected / mean) - expected).double().sum(1)
        value = value + self.parameters.log_prior(theta, total)
        weight = expected.rsqrt()
        slopes *= weight[:, None]
        rest = (counts - expected) * weight
        gradient = (slopes @ rest[..., None])[..., 0].double()
        information = (slopes @ slopes.mT).double()
        stretch = torch.zeros_like(gradient)
        stretch = torch.cat([stretch, stretch[:, :2]], dim=1)
        if level.test is not None:
            change = level.test.slopes(expected)[:, 0] * damped(expected) / weight
            stretch[:, :-2] = (slopes @ change[..., None])[..., 0]
            stretch[:, -2] = (change**2).sum(1)
            stretch[:, -1] = (change * rest).sum(1)
        return _Expansion(value, gradient, information, expected, stretch)

    def _refine(
        self,
        level: _Level,
        counts: torch.Tensor,
        theta: torch.Tensor,
        low: torch.Tensor | None = None,
        high: torch.Tensor | None = None,
        *,
        sites: tuple[torch.Tensor, torch.Tensor] | None = None,
        max_iter: int | None = None,
        tolerance: float = _TOLERANCE,
    ) -> _Fit:
        """Fit from a start, within limits of each image or those of all."""
        shape = (len(theta), -1)
        low = self.parameters.low.expand(shape) if low is None else low
        high = self.parameters.high.expand(shape) if high is None else high
        fit = self._begin(level, counts, theta)
        if sites is not None:
            fit.strength, fit.pull = (part.clone() for part in sites)
        self._continue(level, counts, fit, low, high, max_iter, tolerance)
        return fit

    def _continue(
        self,
        level: _Level,
        counts: torch.Tensor,
        fit: _Fit,
        low: torch.Tensor,
        high: torch.Tensor,
        max_iter: int | None = None,
        tolerance: float = _TOLERANCE,
    ) -> None:
        """Continue the fits whose last step is larger than the tolerance."""
        total = counts.sum(1).double()
        prior_precision, prior_shift = self.parameters.normal_prior(total)
        longest = _LONGEST_RADIUS * self.prior.radius_width[0]
        rows = (fit.step > tolerance).nonzero()[:, 0]
        for _ in range(self.max_iter if max_iter is None else max_iter):
            if not len(rows):
                break
            damping = fit.damping[rows]
            information = fit.information[rows]
            stiff = information.diagonal(dim1=1, dim2=2) * damping[:, None]
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
            size = torch.where(damping < 0.1, size, torch.inf)
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
                step=size,
            )
            going = size > tolerance
            rows, old, move = rows[going], old[going], move[going]
            length = torch.maximum(
                (self.parameters.radius(move).abs() / longest).amax(1),
                (self.parameters.log_number(move).abs() / _LONGEST_LOG_NUMBER).amax(1),
            )
            new = old + move / length.clamp(min=1)[:, None]
            if not len(rows):
                break
            there = self._expand(level, new, counts[rows], total[rows])
            taken = there.value > fit.value[rows] - _ALLOWED_FALL
            damping = damping[going]
            fit.put(
                rows,
                step=torch.where(taken, size[going], torch.inf),
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

    def _begin(self, level: _Level, counts: torch.Tensor, theta: torch.Tensor) -> _Fit:
        there = self._expand(level, theta, counts, counts.sum(1).double())
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
        level = self.levels[-1]
        empty = counts.new_zeros(len(counts), self.search.cells.n_cells)
        have, expected = (
            empty.index_add(1, level.in_search, part).double()
            for part in (counts, fit.expected)
        )
        misfit, is_outlier = compare_cells(have, expected)
        value = fit.value - of.log_prior(fit.theta, counts.sum(1).double())
        uniform = is_uniform_noise(counts, level.background, value)
        converged = fit.step < math.inf
        sd = fit.covariance.diagonal(dim1=1, dim2=2).sqrt()
        number = of.log_number(fit.mean).exp()
        return ShellPosterior(
            beta=of.limited_beta(fit.limited_mean),
            beta_std=of.limited_beta(fit.limited_sd),
            free_mean=of.limited_beta(fit.free_mean),
            free_sd=of.limited_beta(fit.free_sd),
            beta_cov=of.beta_block(fit.covariance),
            radius=of.radius(fit.mean),
            radius_std=of.radius(sd),
            radius_width=of.radius_width(fit.mean),
            radius_width_std=of.radius_width(sd),
            n_electrons=number,
            n_electrons_std=number * of.log_number(sd),
            distortion=self._distortion(fit.mean),
            background=fit.mean[:, -1],
            misfit=misfit,
            is_distorted=torch.zeros_like(uniform),
            is_outlier=is_outlier | uniform,
            converged=converged,
        )


def fit_shells(
    images: ArrayLike,
    n_shells: int = 1,
    *,
    prior: ShellPrior | None = None,
    convention: str = "density",
    polarization_axis: int = 1,
    extent: float = 1.0,
    distortion: bool | str = "auto",
    device: str | torch.device = "cpu",
    verbose: int = 0,
) -> Bunch:
    """Fit electron shells to images of counts.

    The shells, with their radii, widths, numbers of electrons and angular coefficients,
    and a uniform background are fitted to the counts by their Poisson likelihood and a
    prior. Limits of the coefficients are taken into account by expectation propagation
    [1]_. The fit needs no network and no training.

    Parameters
    ----------
    images : array-like of shape (n_images, size, size)
        Numbers of electrons.
    n_shells : int, default=1
        Shells of an image.
    prior : ShellPrior, default=None
        Distribution of the coefficients, and ranges of the radii. None:
        ``ShellPrior.published()``.
    convention : {"density", "vmi"}, default="density"
        Meaning of the coefficients that are returned: "density" is β_l of
        1/2 + Σ β_l P_2l(cos θ), "vmi" is b_l = 2 β_l of 1 + Σ b_l P_2l(cos θ).
    polarization_axis : {0, 1}, default=1
        Axis of an image along which the electrons are polarized.
    extent : float, default=1.0
        Half the side of the images, in the unit of the radii.
    distortion : bool or "auto", default="auto"
        Whether to fit also a tilt of the polarization axis, an ellipticity and a
        displacement of the center, of a few degrees, per cent and pixels. This takes
        five to twenty times as long. "auto" does so for images that a test finds
        distorted, see Notes, and for those that are otherwise out of range.
    device : str or torch.device, default="cpu"
        Where to compute; it must support float64.
    verbose : int, default=0
        1 shows a progress bar, 0 is silent.

    Returns
    -------
    shells : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes; standard deviations
        end with ``_std``.

        beta, beta_std : ndarray of shape (n_images, n_shells, n_betas)
            Coefficients: mean and standard deviation of the posterior.
        beta_cov : ndarray of shape (n_images, n_shells, n_betas, n_betas)
            Covariance of the coefficients of a shell.
        radius, radius_std : ndarray of shape (n_images, n_shells)
            Mean radii, ascending, in the unit of `extent`.
        radius_width, radius_width_std : ndarray of shape (n_images, n_shells)
            Standard deviations of the radii.
        n_electrons, n_electrons_std : ndarray of shape (n_images, n_shells)
            Expected numbers of electrons, including those that miss the image.
        tilt, ellipticity : ndarray of shape (n_images,)
            Angle from `polarization_axis` to the axis of the electrons, toward the
            other axis, in degrees; stretch along `polarization_axis` over that along
            the other axis, minus one. Zero for images that are fitted as upright.
        center : ndarray of shape (n_images, 2)
            Displacement of the center from the middle of the image along both axes, in
            pixels. Zero for images that are fitted as upright.
        background : ndarray of shape (n_images,)
            Uniform background, as a fraction of all counts.
        misfit : ndarray of shape (n_images,)
            By how many standard deviations χ² of the counts in rings and sectors
            exceeds its expectation.
        out_of_range : ndarray of bool of shape (n_images,)
            Whether the image does not show shells within the ranges: the misfit is
            above 6, the counts scatter less than those of electrons, the halves of the
            image differ otherwise than the fit expects, uniform noise explains the
            image as well, or the fit does not converge.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of its range, or `images` are not
        counts in square images.

    Warns
    -----
    UserWarning
        If ``out_of_range`` is set for an image; the warning names the rows.

    See Also
    --------
    skastro.SEVIRegressor : Learns the prior, and answers by a network if a fit fails.
    SEVIDisplay : Draws an image with its shells.

    Notes
    -----
    The test of ``distortion="auto"`` is Rao's score test [2]_ at the upright fit. Its
    statistic is χ² with four degrees of freedom, for ellipticity, tilt and displacement
    along both axes; above 18.47, as for one in a thousand round images, the image is
    fitted with its distortion. For shells that nearly coincide the ellipticity is not
    tested.

    References
    ----------
    .. [1] Minka, T. P. (2001). "Expectation propagation for approximate Bayesian
           inference". UAI. https://arxiv.org/abs/1301.2294
    .. [2] Rao, C. R. (1948). "Large sample tests of statistical hypotheses concerning
           several parameters with applications to problems of estimation".
           Mathematical Proceedings of the Cambridge Philosophical Society 44, 50.
           https://doi.org/10.1017/S0305004100023987

    Examples
    --------
    >>> from skastro.sevi import fit_shells, make_sevi
    >>> sevi = make_sevi(2, size=64, n_electrons=1e5, random_state=0)
    >>> shells = fit_shells(sevi.images)
    >>> bool((abs(shells.radius - sevi.radius) < 5 * shells.radius_std).all())
    True
    >>> beta, std = shells.beta[:, 0], shells.beta_std[:, 0]
    >>> bool((abs(beta - sevi.beta) < 5 * std).all())
    True
    """
    n_shells = check_count(n_shells, "n_shells", 1)
    check_option(convention, "convention", tuple(FACTORS))
    check_option(polarization_axis, "polarization_axis", (0, 1))
    check_number(extent, "extent", 1e-9, 1e9)
    distortion = check_distortion(distortion)
    prior = ShellPrior.published() if prior is None else prior
    if not isinstance(prior, ShellPrior):
        raise TypeError(f"prior must be a ShellPrior or None; got {prior!r}.")
    images = plain_array(images, "images")
    if images.ndim != 3:
        raise ValueError(
            "images must have the shape (n_images, size, size); got an array of shape "
            f"{images.shape}."
        )
    check_finite(images, input_name="images")
    check_counts(images, images.shape[1:], "fit_shells", "images")
    posterior = fit_posterior(
        images,
        lambda part: part.mT if polarization_axis == 0 else part,
        images.shape[1],
        n_shells,
        prior,
        extent=float(extent),
        distortion=distortion,
        device=torch.device(device),
        verbose=verbose,
    )
    return posterior.to_bunch(FACTORS[convention], polarization_axis)


def check_distortion(value: Any) -> bool | str:
    """Return True, False or "auto", or refuse the value."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str) and value == "auto":
        return value
    raise ValueError(f"distortion must be True, False or 'auto'; got {value!r}.")


def check_counts(
    X: Any, image_shape: tuple[int, ...] | None, owner: str, name: str = "X"
) -> None:
    """Check that arrays can be numbers of electrons.

    Unless `image_shape` is None, they must be square images with at least one electron.
    """
    if image_shape is not None and image_shape[0] != image_shape[1]:
        raise ValueError(
            f"{owner} takes square images with the center in their middle, but {name} "
            f"has images of {image_shape[0]} x {image_shape[1]} pixels; cut or pad "
            "them, with skastro.CropPadImages for instance."
        )
    for first in range(0, len(X), _CHECKED_AT_ONCE):
        part = np.asarray(X[first : first + _CHECKED_AT_ONCE])
        part = part.reshape(len(part), -1)
        if (part < 0).any():
            row = first + int((part < 0).any(1).argmax())
            raise ValueError(
                f"Negative values in data passed to {owner}: {name}[{row}] falls to "
                f"{part[row - first].min():g}, but pixels hold numbers of electrons. "
                "Add the background that was subtracted again."
            )
        empty = ~part.any(1)
        if image_shape is not None and empty.any():
            rows = (first + empty.nonzero()[0])[:5].tolist()
            raise ValueError(
                f"{name} has images without any electron, such as {name}[{rows[0]}] "
                f"(rows {rows}); leave them out."
            )


def fit_posterior(
    X: Any,
    to_images: Callable[[torch.Tensor], torch.Tensor],
    size: int,
    n_shells: int,
    prior: ShellPrior,
    *,
    extent: float,
    distortion: bool | str,
    device: torch.device,
    verbose: int,
) -> ShellPosterior:
    """Fit samples in batches; `to_images` converts them to upright images.

    Warns of images that do not show shells within the ranges of the prior.
    """
    # Apple's devices do not support float64.
    device = torch.device("cpu") if device.type == "mps" else device
    kind = check_distortion(distortion)
    fit = _cached_fit(size, n_shells, prior, extent, kind, device)
    parts = []
    with progress_bar(
        total=len(X), desc="Fitting shells", unit="image", disable=not verbose
    ) as progress:
        for first in range(0, len(X), _FITTED_AT_ONCE):
            # A copy, because torch warns about read-only arrays, in the order that
            # torch supports.
            part = np.asarray(X[first : first + _FITTED_AT_ONCE], np.float32, order="C")
            part = torch.tensor(part)
            with torch.no_grad():
                parts.append(fit(to_images(part.to(device))))
            progress.update(len(part))
    posterior = ShellPosterior.concatenate(parts)
    rows = np.flatnonzero(posterior.out_of_range)
    if len(rows):
        shells = "a shell" if n_shells == 1 else f"{n_shells} shells"
        warnings.warn(
            f"{len(rows)} of {len(X)} images (rows {name_rows(rows)}) do not look like "
            f"counts of electrons of {shells} with a radius from "
            f"{prior.radius[0]:g} to {prior.radius[1]:g} about the center, so their "
            "coefficients and error bars are unreliable. out_of_range and misfit of "
            "the fitted shells tell which. Check the center, the tilt "
            "(distortion), the ranges, the number of shells, and whether pixels "
            "hold counts.",
            UserWarning,
            stacklevel=4,
        )
    return posterior


@lru_cache(maxsize=4)
def _cached_fit(
    size: int,
    n_shells: int,
    prior: ShellPrior,
    extent: float,
    distortion: bool | str,
    device: torch.device,
) -> ShellFit:
    """Keep the tables that fits of one kind share."""
    with torch.inference_mode(False):
        return ShellFit(
            size, n_shells, prior, extent=extent, distortion=distortion, device=device
        )
