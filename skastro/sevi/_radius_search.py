# SPDX-License-Identifier: BSD-3-Clause
"""A first guess of the radii of electron shells, by a search over all radii."""

import torch

from skastro.sevi._basis import ShellBasis
from skastro.sevi._cell_basis import CellBasis, largest_radius, polar_cells
from skastro.sevi._prior import ShellPrior

# Cells of the histogram along the radius and the angle.
_N_RINGS = 96
_N_ANGLES = 6
# Polynomials of higher degree carry little information on radii.
_N_BETAS = 6
# Step of the grid of radii, in widths of the thinnest shell, and maximum number of
# radii.
_STEP = 2.0
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
    function, which is computed for each combination of radii on a grid. `multiplicity`
    counts the pixels that are folded onto each pixel of the `quadrant`.
    """

    def __init__(
        self,
        quadrant: ShellBasis,
        multiplicity: torch.Tensor,
        n_shells: int,
        prior: ShellPrior,
    ) -> None:
        self.n_shells = n_shells
        low, high = prior.radius
        cells = polar_cells(quadrant, largest_radius(prior), _N_RINGS, _N_ANGLES)
        self.cells = CellBasis(quadrant, multiplicity, cells, prior)
        n_radii = round((high - low) / (_STEP * prior.radius_width[0])) + 1
        n_radii = min(max(n_radii, n_shells, 2), _MOST_RADII)
        self.grid = torch.linspace(low, high, n_radii).to(cells.device)
        radius = self.grid[:, None]
        mean, sd = (part.to(radius) for part in prior.moments())
        slopes = self.cells.slopes(
            torch.ones_like(radius),
            mean.expand(n_radii, 1, -1),
            radius,
            torch.full_like(radius, sum(prior.radius_width) / 2),
        )
        n_betas = min(_N_BETAS, len(mean))
        scale = torch.cat([torch.ones_like(sd[:1]), sd[:n_betas] / n_shells])
        self._n_terms = 1 + n_betas
        templates = slopes[:, : self._n_terms] * scale[:, None]
        # The last template is the background.
        self._templates = torch.cat(
            [templates.flatten(0, 1), self.cells.background[None]]
        )

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Guess ascending radii (n, n_shells) of folded images (n, n_pixels)."""
        counts = self.cells.histogram(images)
        total = counts.sum(1, keepdim=True)
        share = counts / total
        variance = (share + 0.5 / total) / total + (_MODEL_ERROR * share) ** 2
        variance += (_ERROR_EVERYWHERE / self.cells.n_cells) ** 2
        weight = variance.rsqrt()
        found = [self._search(*one) for one in zip(share * weight, weight, strict=True)]
        return torch.stack(found)

    def _search(self, share: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        columns = self._templates * weight
        data = columns @ share
        every = torch.arange(len(self.grid), device=share.device)
        if self.n_shells == 1:
            terms = self._terms_of(every[:, None])
            rows = columns[terms]
            evidence = _evidence(rows @ rows.mT, data[terms], self._n_terms)
            return self.grid[evidence.argmax()][None]
        products = columns @ columns.T

        def best(chosen: torch.Tensor) -> torch.Tensor:
            evidence = []
            for terms in self._terms_of(chosen).split(_AT_ONCE):
                pairs = products[terms[:, :, None], terms[:, None]]
                evidence.append(_evidence(pairs, data[terms], self._n_terms))
            return chosen[torch.cat(evidence).argmax()]

        radii = best(torch.combinations(every, 2))
        # All triples would be too many.
        for _ in range(2, self.n_shells):
            others = every[~torch.isin(every, radii)]
            radii = best(
                torch.cat([radii.expand(len(others), -1), others[:, None]], dim=1)
            )
        return self.grid[radii].sort().values

    def _terms_of(self, radii: torch.Tensor) -> torch.Tensor:
        """Return the templates of shells (n, m) and of the background."""
        first = radii[..., None] * self._n_terms
        terms = first + torch.arange(self._n_terms, device=radii.device)
        last = torch.full_like(radii[:, :1], len(self._templates) - 1)
        return torch.cat([last, terms.flatten(1)], dim=1)


def _evidence(products: torch.Tensor, data: torch.Tensor, n_terms: int) -> torch.Tensor:
    """Compute the log-probability of counts (n,), up to a constant.

    `products` (n, m, m) are those of the templates, and `data` (n, m) those of the
    templates and the counts: the background, then `n_terms` of each shell, its number
    of electrons first. The coefficients of all templates have independent standard
    normal distributions.
    """
    matrix = products + torch.eye(data.shape[1]).to(data)
    factor, _ = torch.linalg.cholesky_ex(matrix)
    half = torch.linalg.solve_triangular(factor, data[..., None], upper=False)
    evidence = half[..., 0].square().sum(1) / 2
    evidence = evidence - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    found = torch.linalg.solve_triangular(factor.mT, half, upper=True)[..., 0]
    empty = (found[:, 1::n_terms] < _LEAST_SHARE).any(1)
    return torch.where(empty | evidence.isnan(), -torch.inf, evidence)
