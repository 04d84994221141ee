# SPDX-License-Identifier: BSD-3-Clause
"""Whether an image is tilted, elliptical or off center: a test at the upright fit."""

import torch

from skastro.sevi._basis import ShellBasis, even_legendre
from skastro.sevi._cell_basis import CellBasis
from skastro.sevi._prior import ShellPrior

# Sum of squares of four standard normal numbers that one in a thousand images exceeds.
THRESHOLD = 18.47

# Step of the derivative by the angle.
_STEP = 1e-2


def damped(expected: torch.Tensor) -> torch.Tensor:
    """Return weights of pixels, 1 / expected, but less where few are expected.

    Otherwise the test would depend on single electrons, and not be normal.
    """
    return 1 / (expected + 1)


def _by_angle(cosine: torch.Tensor) -> torch.Tensor:
    """Compute derivatives of P_2m(cos φ) by φ."""
    angle = torch.acos(cosine.clamp(-1, 1))
    after, before = (even_legendre(torch.cos(angle + step)) for step in (_STEP, -_STEP))
    return (after - before) / (2 * _STEP)


class DistortionTest:
    """Score tests of the distortions, given the expected counts of a quadrant.

    Each statistic is the derivative of the log-likelihood by a distortion. For tilt and
    displacement, these are differences of the quadrants, which do not depend on the
    other parameters; the ellipticity is correlated with them.

    Parameters
    ----------
    quadrant : ShellBasis
        The pixels of a quadrant.
    multiplicity : Tensor of shape (n_pixels,)
        Number of pixels that are folded onto each.
    cells : Tensor of int of shape (n_pixels,)
        Number of each pixel; pixels beyond all shells have the last one in common.
    prior : ShellPrior
        Ranges of the shells, and number of coefficients.

    Attributes
    ----------
    by_tilt : callable
        Computes derivatives (n, n_cells) of the expected counts by the tilt, from the
        parameters of shells, see :meth:`CellBasis.counts`. Differences of neighboring
        pixels would not be accurate enough: the density varies far less along a ring
        than across it.
    """

    def __init__(
        self,
        quadrant: ShellBasis,
        multiplicity: torch.Tensor,
        cells: torch.Tensor,
        prior: ShellPrior,
    ) -> None:
        self.by_tilt = CellBasis(quadrant, multiplicity, cells, prior, _by_angle).counts
        across, along = quadrant.quadrant_axes()
        side = len(across)
        grid = cells.view(side, side)
        near = torch.arange(side, device=cells.device)
        after, before = (near + 1).clamp(max=side - 1), (near - 1).clamp(min=0)
        if bool(across[0, 0] == 0):
            # The neighbors of the middle line are mirror images.
            before[0] = 1
        neighbors = torch.stack(
            [grid[after], grid[before], grid[:, after], grid[:, before]]
        )
        n_cells = int(cells.max()) + 1
        # No derivatives beyond all shells.
        inside = torch.bincount(cells, minlength=n_cells) == 1

        def of_cells(values: torch.Tensor) -> torch.Tensor:
            ordered = values.new_zeros(*values.shape[:-2], n_cells)
            ordered[..., cells] = values.flatten(-2)
            return ordered * inside

        self._neighbors = of_cells(neighbors)
        places = torch.stack([across, along]) / quadrant.pixel
        self._across, self._along = of_cells(places)
        self._half = of_cells(multiplicity.view(side, side)) / 2
        self._pixels = torch.zeros_like(self._half).index_add(0, cells, multiplicity)

    def slopes(self, expected: torch.Tensor) -> torch.Tensor:
        """Compute derivatives (n, 3, n_cells) of expected counts (n, n_cells).

        They are those by ellipticity and displacement along both axes, up to factors,
        from differences of neighboring pixels.
        """
        after, before, right, left = (
            (expected / self._pixels)[:, part] for part in self._neighbors
        )
        across, along = (after - before) * self._half, (right - left) * self._half
        return torch.stack(
            [
                self._across * across - self._along * along,
                across,
                along,
            ],
            dim=1,
        )
