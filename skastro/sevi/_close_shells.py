# SPDX-License-Identifier: BSD-3-Clause
"""Shells that lie so close that several explanations of an image compete."""

from itertools import pairwise
from typing import NamedTuple

import torch

from skastro.estimators._shell_parameters import ShellParameters

# Ends of the cells of the distance of two radii, in widths of the thinnest shell.
_EDGES = (0.0, 0.4, 1.0, 1.7, 2.5)
# The first cells, of shells that nearly coincide.
_N_COINCIDING = 2
# Shells that lie closer than so many widths are taken cell by cell.
_CLOSE = _EDGES[-1]
# Explanations that are less probable by more in the logarithm are left out.
_NEGLIGIBLE = 15.0
# The same after the first steps.
_HOPELESS = 40.0
# In standard deviations: what differs by less is the same.
_SAME = 0.5


class Cells(NamedTuple):
    """Starts of fits, each within its cell; tensors with the starts first."""

    rows: torch.Tensor
    """Which image (n,)."""
    cell: torch.Tensor
    """Which cell of the distance (n,)."""
    theta: torch.Tensor
    """Parameters (n, d)."""
    low: torch.Tensor
    """Limits (n, m)."""
    high: torch.Tensor
    """Limits (n, m)."""


def cells_of_close_shells(
    parameters: ShellParameters, theta: torch.Tensor, total: torch.Tensor
) -> Cells | None:
    """Cut the range of the distance of two close shells into cells, with starts.

    Within a cell the posterior is nearly normal; over all of them it is not. There is a
    start for either order of the two shells, and where they nearly coincide one of
    typical shells.

    Parameters
    ----------
    parameters : ShellParameters
        Names for the parts of theta, and limits.
    theta : Tensor of shape (n, d)
        What a fit found.
    total : Tensor of shape (n,)
        Electrons.

    Returns
    -------
    cells : Cells or None
        None where no shells are close.
    """
    unit = parameters.prior.radius_width[0]
    gap, inner = parameters.radius(theta).diff(dim=1).min(1)
    rows = (gap < _CLOSE * unit).nonzero()[:, 0]
    if not len(rows):
        return None
    theta, inner = theta[rows], inner[rows]
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


def promising(cells: Cells, value: torch.Tensor) -> torch.Tensor:
    """Tell which starts (n,) may still become the best, by the logarithms so far."""
    best = value.new_full((int(cells.rows.max()) + 1,), -torch.inf)
    best = best.scatter_reduce(0, cells.rows, value, "amax")
    return (value > best[cells.rows] - _HOPELESS).nonzero()[:, 0]


def weigh(
    cells: Cells, evidence: torch.Tensor, mean: torch.Tensor, sd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the explanations of each image their probabilities.

    Parameters
    ----------
    cells : Cells
        Where each explanation comes from.
    evidence : Tensor of shape (n,)
        Logarithms of their probabilities, up to a constant of each image.
    mean, sd : Tensors of shape (n, m)
        Means and standard deviations of what has limits.

    Returns
    -------
    kept : Tensor of shape (n_kept,)
        Which explanations count. What several starts found is there once. Of images
        all of whose fits have failed there is none.
    best : Tensor of shape (n_images,)
        The most probable one of each image.
    weight : Tensor of shape (n_kept,)
        Probabilities, which add up to one for each image.
    """
    known = evidence.isfinite().nonzero()[:, 0]
    order = known[evidence[known].argsort(descending=True)]
    kept: list[int] = []
    best: dict[int, int] = {}
    rows, places = cells.rows.tolist(), cells.cell.tolist()
    for part in order.tolist():
        top = best.setdefault(rows[part], part)
        beside = [
            other
            for other in kept
            if rows[other] == rows[part] and places[other] == places[part]
        ]
        same = ((mean[beside] - mean[part]).abs() < _SAME * sd[part]).all(1)
        if evidence[top] - evidence[part] < _NEGLIGIBLE and not same.any():
            kept.append(part)
    chosen = torch.tensor(kept, dtype=torch.long, device=evidence.device)
    weight = evidence.new_zeros(len(kept))
    for row in best:
        own = cells.rows[chosen] == row
        weight[own] = evidence[chosen[own]].softmax(0)
    return chosen, torch.tensor(list(best.values())).to(chosen), weight
