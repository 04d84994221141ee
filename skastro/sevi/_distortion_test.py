# SPDX-License-Identifier: BSD-3-Clause
"""Whether an image is tilted, elliptical or off center: a test at the upright fit."""

import torch

from skastro.sevi._basis import ShellBasis

# Sum of squares of four standard normal numbers that one in a thousand images exceeds.
THRESHOLD = 18.47


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
    """

    def __init__(
        self, quadrant: ShellBasis, multiplicity: torch.Tensor, cells: torch.Tensor
    ) -> None:
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
        """Compute derivatives (n, 4, n_cells) of expected counts (n, n_cells).

        They are those by ellipticity, tilt and displacement along both axes, up to
        factors, from differences of neighboring pixels.
        """
        after, before, right, left = (
            (expected / self._pixels)[:, part] for part in self._neighbors
        )
        across, along = (after - before) * self._half, (right - left) * self._half
        return torch.stack(
            [
                self._across * across - self._along * along,
                self._across * along - self._along * across,
                across,
                along,
            ],
            dim=1,
        )
