# SPDX-License-Identifier: BSD-3-Clause
"""Expected counts of electron shells in cells of pixels, by fixed matrices."""

import math
from collections.abc import Callable

import torch

from skastro.sevi._basis import (
    REACH,
    ShellBasis,
    even_legendre,
    line_of_sight_moments,
    product_expansion,
)
from skastro.sevi._prior import ShellPrior

# Step of the radii at which densities are computed, in widths of the thinnest shell.
_STEP = 0.4
# Cells that are computed by one product of matrices.
_AT_ONCE = 128


class CellBasis:
    """Counts of shells in cells of pixels, with derivatives.

    The density of a shell at the distance s from the center and the angle φ is a sum of
    products P_2m(cos φ) G_m(s). It is computed at equidistant s, and interpolated by
    cubic polynomials of four neighbors. The integral over a cell is therefore a product
    of these G_m and a matrix that is the same for all images.

    Parameters
    ----------
    quadrant : ShellBasis
        The pixels of a quadrant, with the points at which they are integrated.
    multiplicity : Tensor of shape (n_pixels,)
        Number of pixels that are folded onto each.
    cells : Tensor of int of shape (n_pixels,)
        Cell of each pixel. Numbers ascend with the radius, approximately.
    prior : ShellPrior
        Ranges of the shells, and number of coefficients.
    angular : callable, default=even_legendre
        The P_2m as functions of cos φ, or what stands in for them.
    """

    def __init__(
        self,
        quadrant: ShellBasis,
        multiplicity: torch.Tensor,
        cells: torch.Tensor,
        prior: ShellPrior,
        angular: Callable[[torch.Tensor], torch.Tensor] = even_legendre,
    ) -> None:
        self.cells = cells
        self._angular = angular
        self.n_cells = int(cells.max()) + 1
        self.background = self.histogram(multiplicity / multiplicity.sum())
        self._step = _STEP * prior.radius_width[0]
        # The first node is at -step.
        n_nodes = math.ceil(largest_radius(prior) / self._step) + 6
        nodes = torch.arange(-1, n_nodes - 1, device=cells.device) * self._step
        self._nodes = nodes.abs()
        self._n_terms = 1 + len(prior.mean)
        of_terms = slice(0, self._n_terms)
        expansion = product_expansion()[of_terms, of_terms, of_terms]
        self._expansion = expansion.to(self._nodes)
        self._moments = _Moments(prior, self._n_terms, cells.device)
        ascending, order = cells.sort()
        firsts = torch.arange(0, self.n_cells, _AT_ONCE, device=cells.device)
        ends = torch.searchsorted(ascending, torch.cat([firsts, ascending[-1:] + 1]))
        weights = multiplicity * quadrant.pixel**2
        self._blocks = []
        for first, begin, end in zip(
            firsts.tolist(), ends[:-1].tolist(), ends[1:].tolist(), strict=True
        ):
            pixels = order[begin:end]
            places, shares = quadrant.points(pixels)
            weight = weights[pixels, None] * shares
            cell = cells[pixels] - first
            columns, matrix = self._block(places, weight, cell)
            last = first + matrix.shape[1]
            self._blocks.append((slice(first, last), columns, matrix))

    def _block(
        self, places: torch.Tensor, weight: torch.Tensor, cell: torch.Tensor
    ) -> tuple[slice, torch.Tensor]:
        """Integrate over cells: columns of the nodes, and (n_columns, n_cells)."""
        s = torch.hypot(places[..., 0], places[..., 1])
        cosine = places[..., 1] / s.clamp(min=1e-30)
        values = self._angular(cosine)[..., : self._n_terms] * weight[..., None]
        # All shells end before the last nodes.
        place = (s / self._step).clamp(max=len(self._nodes) - 4)
        node = place.long()
        first = int(node.min())
        n_nodes = int(node.max()) - first + 4
        n_cells = int(cell.max()) + 1
        matrix = values.new_zeros(n_cells * n_nodes, self._n_terms)
        for neighbor, share in enumerate(_cubic_weights(place - node)):
            row = cell[:, None] * n_nodes + node - first + neighbor
            matrix.index_add_(
                0, row.flatten(), (values * share[..., None]).flatten(0, 1)
            )
        columns = slice(first * self._n_terms, (first + n_nodes) * self._n_terms)
        return columns, matrix.view(n_cells, -1).T.contiguous()

    def histogram(self, images: torch.Tensor) -> torch.Tensor:
        """Sum pixels (..., n_pixels) over cells (..., n_cells)."""
        return cell_sums(images, self.cells, self.n_cells)

    def slopes(
        self,
        number: torch.Tensor,
        beta: torch.Tensor,
        radius: torch.Tensor,
        radius_width: torch.Tensor,
    ) -> torch.Tensor:
        """Compute expected counts, and derivatives by the parameters of shells.

        Parameters
        ----------
        number, radius, radius_width : Tensors of shape (n, n_shells)
            Numbers of electrons; mean and standard deviation of the radii.
        beta : Tensor of shape (n, n_shells, n_betas)
            Coefficients of the angular density.

        Returns
        -------
        slopes : Tensor of shape (n, n_shells * (n_betas + 3) + 1, n_cells)
            For each shell the expected count, which is its derivative by the logarithm
            of the number; derivatives by the coefficients, the radius and its standard
            deviation. The last row is for a background, and zero.
        """
        n, n_shells, n_betas = beta.shape
        n_nodes = len(self._nodes)
        number, beta, radius, radius_width = (
            part.to(self._nodes).flatten(0, 1)
            for part in (number, beta, radius, radius_width)
        )
        moments = self._moments(self._nodes, radius, radius_width)
        moments *= number[:, None, None, None]
        beta = torch.cat([torch.full_like(beta[:, :1], 0.5), beta], dim=1)
        mixed = torch.einsum("nl,lmk->nkm", beta, self._expansion)
        mixed = (moments.flatten(1, 2) @ mixed).view(n, n_shells, n_nodes, 3, -1)
        each = self._expansion[1:].flatten(0, 1).T
        each = moments[:, :, 0].flatten(0, 1) @ each
        each = each.view(n, n_shells, n_nodes, n_betas, -1)
        rows = n_shells * (n_betas + 3)
        tables = each.new_empty(n, rows + 1, n_nodes, self._n_terms)
        tables[:, -1] = 0
        of_shells = tables[:, :-1].unflatten(1, (n_shells, -1)).transpose(2, 3)
        of_shells[..., 0, :] = mixed[..., 0, :]
        of_shells[..., 1:-2, :] = each
        of_shells[..., -2:, :] = mixed[..., 1:, :]
        tables = tables.view(n * (rows + 1), -1)
        return self._integrate(tables).view(n, rows + 1, -1)

    def counts(
        self,
        number: torch.Tensor,
        beta: torch.Tensor,
        radius: torch.Tensor,
        radius_width: torch.Tensor,
    ) -> torch.Tensor:
        """Compute expected counts (n, n_cells), of parameters as in :meth:`slopes`."""
        number, beta, radius, radius_width = (
            part.to(self._nodes) for part in (number, beta, radius, radius_width)
        )
        beta = torch.cat([torch.full_like(beta[..., :1], 0.5), beta], dim=2)
        mixed = torch.einsum("nsl,lmk->nskm", beta * number[..., None], self._expansion)
        shape = (len(number), number.shape[1])
        moments = self._moments(self._nodes, radius.flatten(), radius_width.flatten())
        tables = moments[:, :, 0].unflatten(0, shape) @ mixed
        return self._integrate(tables.sum(1).flatten(1))

    def _integrate(self, tables: torch.Tensor) -> torch.Tensor:
        """Integrate the G_m at the nodes (n, n_columns) over cells (n, n_cells)."""
        sums = tables.new_empty(len(tables), self.n_cells)
        for cells, columns, matrix in self._blocks:
            torch.mm(tables[:, columns], matrix, out=sums[:, cells])
        return sums


def cell_sums(images: torch.Tensor, cells: torch.Tensor, n_cells: int) -> torch.Tensor:
    """Sum pixels (..., n_pixels), of these cells, over cells (..., n_cells)."""
    sums = images.new_zeros(*images.shape[:-1], n_cells)
    return sums.index_add_(-1, cells, images)


def polar_cells(
    quadrant: ShellBasis, largest: float, n_rings: int, n_angles: int
) -> torch.Tensor:
    """Divide the pixels of a quadrant into rings and sectors, with one cell beyond.

    Returns the cell of each pixel (n_pixels,); cells without pixels are not counted.
    """
    across, along = quadrant.quadrant_axes()
    s = torch.hypot(across, along)
    ring = (s / largest * n_rings).long().clamp(max=n_rings)
    angle = (torch.atan2(across, along) * (2 / math.pi) * n_angles).long()
    angle = angle.clamp(max=n_angles - 1).masked_fill(ring == n_rings, 0)
    return (ring * n_angles + angle).flatten().unique(return_inverse=True)[1]


def largest_radius(prior: ShellPrior) -> float:
    """Return the distance from the center beyond which there are no electrons."""
    return prior.radius[1] + REACH * prior.radius_width[1]


def _cubic_weights(part: torch.Tensor) -> list[torch.Tensor]:
    """Weights of four neighbors, for a fraction of the way between the middle two."""
    before, after, last = part + 1, part - 1, part - 2
    return [
        -part * after * last / 6,
        before * after * last / 2,
        -before * part * last / 2,
        before * part * after / 6,
    ]


# Nodes of the tables along the radius, and polynomials in the logarithm of the width.
_N_RADII = 256
_N_RATIOS = 24
# The widest and the narrowest shells of the tables, relative to the prior's.
_WIDENED = 1.05
_NARROWED = 0.3


class _Moments:
    """The integrals of :func:`line_of_sight_moments`, interpolated.

    Those of shells of radius 1 are tabulated about the shell. They depend on the width
    only; Chebyshev polynomials interpolate in its logarithm.
    """

    def __init__(self, prior: ShellPrior, n_terms: int, device: torch.device) -> None:
        low = _NARROWED * prior.radius_width[0] / prior.radius[1]
        high = _WIDENED * prior.radius_width[1] / prior.radius[0]
        self._center = math.log(low * high) / 2
        self._half = math.log(high / low) / 2
        orders = torch.arange(_N_RATIOS, dtype=torch.float64)
        angles = (orders + 0.5) * (math.pi / _N_RATIOS)
        width = torch.exp(self._center + self._half * torch.cos(angles))
        low, high = _node_range(width)
        steps = torch.linspace(0, 1, _N_RADII, dtype=torch.float64)
        s = 1 + width[:, None] * torch.sinh(low + (high - low) * steps)
        moments = line_of_sight_moments(
            s.clamp(min=0), torch.ones_like(width), width, derivatives=True
        )
        transform = torch.cos(orders[:, None] * angles) * (2 / _N_RATIOS)
        transform[0] /= 2
        table = torch.einsum("ij,djvk->ivdk", transform, moments[..., :n_terms])
        self._table = table.flatten(1).to(device, torch.float32)
        self._orders = orders.to(self._table)

    def __call__(
        self, s: torch.Tensor, radius: torch.Tensor, radius_width: torch.Tensor
    ) -> torch.Tensor:
        """Return moments (n, n_radii, 3, n_terms) at the distances s (n_radii,)."""
        ratio = radius_width / radius
        place = ((torch.log(ratio) - self._center) / self._half).clamp(-1, 1)
        values = torch.cos(self._orders * torch.acos(place)[:, None])
        table = (values @ self._table).view(len(radius) * _N_RADII, -1)
        low, high = _node_range(ratio)
        distance = (s - radius[:, None]) / radius_width[:, None]
        # asinh, which torch does not vectorize on the CPU.
        size = distance.abs()
        node = torch.log1p(size + size**2 / (1 + torch.sqrt(1 + size**2)))
        node = (torch.copysign(node, distance) - low) / (high - low) * (_N_RADII - 1)
        row = node.nan_to_num().clamp(0, _N_RADII - 2).long()
        part = (node - row)[..., None]
        row += _N_RADII * torch.arange(len(radius), device=s.device)[:, None]
        found = torch.lerp(table[row], table[row + 1], part)
        found *= (distance < REACH)[..., None]
        found = found.unflatten(2, (3, -1))
        power = torch.stack([radius**-2, radius**-3, radius**-3], dim=1)
        found *= power[:, None, :, None]
        return found


def _node_range(ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    low = -torch.asinh(1 / ratio)[:, None]
    return low, torch.full_like(low, math.asinh(REACH))
