# SPDX-License-Identifier: BSD-3-Clause
"""A first guess of the radii of electron shells, by a search over all radii."""

import math

import torch

from skastro.sevi._basis import ShellBasis
from skastro.sevi._prior import ShellPrior

# Cells of the histogram along the radius and the angle, and its extent beyond the
# largest radius.
_N_RINGS = 96
_N_ANGLES = 6
_REACH = 1.06
# Polynomials of higher degree carry little information on radii.
_N_BETAS = 6
# Step of the grid of radii, in widths of the thinnest shell, and maximum number of
# radii.
_STEP = 1.0
_MOST_RADII = 400
# Error of the model (widths, radii between the steps), as a fraction of the counts.
_MODEL_ERROR = 0.05
_ERROR_EVERYWHERE = 0.02
# Minimum fraction of the electrons in a shell.
_LEAST_SHARE = 0.02
# Combinations of radii that are compared at once.
_AT_ONCE = 4096


class RadiusSearch:
    """The combination of radii under which a coarse histogram is most probable.

    The counts in cells of radius and angle are linear in the shells' numbers of
    electrons and in their products with the coefficients. With normal distributions for
    these and for the noise, the probability of the counts given the radii is a known
    function, which is computed for each combination of radii on a grid. `basis` is that
    of a quadrant, and `multiplicity` counts the pixels folded onto each of its pixels.
    """

    def __init__(
        self,
        basis: ShellBasis,
        multiplicity: torch.Tensor,
        n_shells: int,
        prior: ShellPrior,
    ) -> None:
        self.n_shells = n_shells
        low, high = prior.radius
        across, along = basis.quadrant_axes()
        s = torch.hypot(across, along)
        ring = (s / (_REACH * high) * _N_RINGS).long().clamp(max=_N_RINGS)
        angle = (torch.atan2(across, along) * (2 / math.pi) * _N_ANGLES).long()
        angle = angle.clamp(max=_N_ANGLES - 1).masked_fill(ring == _N_RINGS, 0)
        self.cells = (ring * _N_ANGLES + angle).flatten()
        self.n_cells = _N_RINGS * _N_ANGLES + 1
        n_radii = round((high - low) / (_STEP * prior.radius_width[0])) + 1
        n_radii = min(max(n_radii, n_shells, 2), _MOST_RADII)
        self.grid = torch.linspace(low, high, n_radii)
        self.grid = self.grid.to(self.cells.device)
        mean, sd = (part.to(s)[:_N_BETAS, None] for part in prior.moments())
        n_betas = len(mean)
        templates = []
        for radius in self.grid.split(16):
            width = torch.full_like(radius, sum(prior.radius_width) / 2)
            images = basis.images(radius, width).flatten(2)[:, : 1 + n_betas]
            images = images * multiplicity
            typical = images[:, :1] / 2 + (images[:, 1:] * mean).sum(1, keepdim=True)
            images = torch.cat([typical, images[:, 1:] * sd / n_shells], dim=1)
            templates.append(self.histogram(images))
        self.templates = torch.cat(templates)
        flat = multiplicity / multiplicity.sum()
        self.background = self.histogram(flat)

    def histogram(self, images: torch.Tensor) -> torch.Tensor:
        """Sum pixels (..., n_pixels) over cells (..., n_cells)."""
        sums = images.new_zeros(*images.shape[:-1], self.n_cells)
        return sums.index_add(-1, self.cells, images)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Guess ascending radii (n, n_shells) of folded images (n, n_pixels)."""
        counts = self.histogram(images)
        total = counts.sum(1, keepdim=True)
        share = counts / total
        variance = (share + 0.5 / total) / total + (_MODEL_ERROR * share) ** 2
        variance += (_ERROR_EVERYWHERE / self.n_cells) ** 2
        return torch.stack(
            [
                self._search(y, weight)
                for y, weight in zip(share, variance.rsqrt(), strict=True)
            ]
        )

    def _search(self, share: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        n_radii, n_terms, _ = self.templates.shape
        columns = (self.templates * weight).flatten(0, 1)
        y, flat = share * weight, self.background * weight
        products = {
            "pairs": (columns @ columns.T).view(n_radii, n_terms, n_radii, n_terms),
            "data": (columns @ y).view(n_radii, n_terms),
            "flat": (columns @ flat).view(n_radii, n_terms),
            "flat_data": flat @ y,
            "flat_flat": flat @ flat,
        }
        every = torch.arange(n_radii, device=share.device)
        if self.n_shells == 1:
            chosen = every[:, None]
        else:
            chosen = torch.combinations(every, 2)
        best = self._best(products, chosen)
        # All triples would be too many.
        for _ in range(2, self.n_shells):
            others = every[~torch.isin(every, best)]
            chosen = torch.cat([best.expand(len(others), -1), others[:, None]], dim=1)
            best = self._best(products, chosen)
        return self.grid[best].sort().values

    def _best(
        self, products: dict[str, torch.Tensor], chosen: torch.Tensor
    ) -> torch.Tensor:
        evidence = [_evidence(products, part) for part in chosen.split(_AT_ONCE)]
        return chosen[torch.cat(evidence).argmax()]


def _evidence(products: dict[str, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
    """Compute the log-probability of the counts given radii (n, m), up to a constant.

    The coefficients of all templates have independent standard normal distributions.
    """
    n, m = chosen.shape
    n_terms = products["data"].shape[1]
    size = m * n_terms
    matrix = torch.eye(size + 1).repeat(n, 1, 1).to(products["data"])
    pairs = products["pairs"][chosen[:, :, None], :, chosen[:, None, :]]
    matrix[:, :-1, :-1] += pairs.permute(0, 1, 3, 2, 4).reshape(n, size, size)
    matrix[:, :-1, -1] = matrix[:, -1, :-1] = products["flat"][chosen].flatten(1)
    matrix[:, -1, -1] += products["flat_flat"]
    data = products["data"][chosen].flatten(1)
    data = torch.cat([data, products["flat_data"].expand(n, 1)], dim=1)
    factor, _ = torch.linalg.cholesky_ex(matrix)
    half = torch.linalg.solve_triangular(factor, data[..., None], upper=False)
    evidence = half[..., 0].square().sum(1) / 2
    evidence = evidence - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    found = torch.linalg.solve_triangular(factor.mT, half, upper=True)[..., 0]
    empty = (found[:, :-1:n_terms] < _LEAST_SHARE).any(1)
    return torch.where(empty | evidence.isnan(), -torch.inf, evidence)
