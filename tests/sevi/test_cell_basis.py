# SPDX-License-Identifier: BSD-3-Clause
"""Counts in cells of pixels, against sums over the pixels of whole images."""

import numpy as np
import pytest
import torch

from skastro.sevi import ShellBasis, ShellPrior
from skastro.sevi._cell_basis import CellBasis, largest_radius, polar_cells

pytestmark = pytest.mark.once

PRIOR = ShellPrior.published(4, (0.3, 0.8), (0.02, 0.04))


@pytest.fixture(scope="module", params=[40, 45], ids=["even", "odd"])
def quadrant(request):
    return ShellBasis(request.param, quadrant=True, finest_width=0.01)


def multiplicity_of(quadrant):
    """Count the pixels of the whole image that fall onto each pixel."""
    twice = 1.0 + (torch.stack(quadrant.quadrant_axes()) > 0)
    return twice.prod(0).flatten()


@pytest.mark.parametrize("n_angles", [1, 7])
def test_counts_and_derivatives(quadrant, n_angles):
    multiplicity = multiplicity_of(quadrant)
    cells = polar_cells(quadrant, largest_radius(PRIOR), 30, n_angles)
    basis = CellBasis(quadrant, multiplicity, cells, PRIOR)
    number = torch.tensor([[1e3, 3e3], [2e4, 1e2]])
    radius = torch.tensor([[0.32, 0.5], [0.61, 0.79]])
    width = torch.tensor([[0.02, 0.04], [0.03, 0.025]])
    beta = torch.tensor([[0.6, 0.2, 0.1, 0.05], [0.9, 1.1, 0.4, 0.2]])
    beta = torch.stack([beta, beta.flip(0)])
    slopes = basis.slopes(number, beta, radius, width)
    assert slopes.shape == (2, 15, basis.n_cells)
    assert not slopes[:, -1].any()
    for shell in range(2):
        parts = (part[:, shell] for part in (beta, radius, width))
        images = quadrant.linearized(*parts).flatten(2)
        images = images * multiplicity * number[:, shell, None, None]
        own = images[:, 0] / 2 + (images[:, 1:-2] * beta[:, shell, :, None]).sum(1)
        expected = basis.histogram(torch.cat([own[:, None], images[:, 1:]], dim=1))
        found = slopes[:, 7 * shell : 7 * shell + 7]
        size = expected.abs().amax(2, keepdim=True)
        assert ((found - expected).abs() < 0.01 * size).all()


def test_cells_divide_the_image(quadrant):
    cells = polar_cells(quadrant, 0.7, 5, 3)
    assert cells.max() == 15
    assert len(cells.unique()) == 16
    s = torch.hypot(*quadrant.quadrant_axes()).flatten()
    np.testing.assert_array_equal(cells == 15, s >= 0.7)
    multiplicity = multiplicity_of(quadrant)
    basis = CellBasis(quadrant, multiplicity, cells, PRIOR)
    np.testing.assert_allclose(basis.background.sum(), 1, rtol=1e-5)
    share = multiplicity[s >= 0.7].sum() / multiplicity.sum()
    np.testing.assert_allclose(basis.background[-1], share, rtol=1e-5)


def test_all_electrons_are_counted(quadrant):
    cells = polar_cells(quadrant, largest_radius(PRIOR), 40, 5)
    basis = CellBasis(quadrant, multiplicity_of(quadrant), cells, PRIOR)
    shell = (torch.tensor([[value]]) for value in (0.55, 0.03))
    beta = torch.tensor([[[0.7, 0.3, 0.1, 0.02]]])
    slopes = basis.slopes(torch.tensor([[5e3]]), beta, *shell)
    np.testing.assert_allclose(slopes[0, 0].sum(), 5e3, rtol=2e-3)
    # A change of the coefficients or of the radius moves electrons.
    assert slopes[0, 1:].sum(1).abs().max() < 2e-3 * slopes[0, 1:].abs().sum(1).max()
