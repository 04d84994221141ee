# SPDX-License-Identifier: BSD-3-Clause
"""Shells that nearly coincide: several explanations, and their probabilities."""

import numpy as np
import pytest
import torch

from skastro.sevi import SEVIPrior, SEVISimulator
from skastro.sevi._prior import ShellPrior
from skastro.sevi._shell_fit import Cells, ShellFit, mixture_weights, prune

pytestmark = pytest.mark.once

WIDTH = (0.015, 0.027)
WEIGHT = 2 / (4 * torch.arange(1, 13) + 1)


@pytest.fixture(scope="module")
def scenes():
    """Pairs of wide shells whose radii differ by a fraction of the widths."""
    prior = SEVIPrior(radius_width=WIDTH)
    simulator = SEVISimulator(n_shells=2, size=64, n_electrons=1e6, prior=prior)
    generator = torch.Generator().manual_seed(11)
    scenes = simulator.draw(5, generator)
    gaps = torch.linspace(0.001, 0.014, 5)
    scenes["radius"][:, 1] = scenes["radius"][:, 0] + gaps
    return scenes, simulator.count(scenes, generator)


def test_error_bars_of_shells_that_nearly_coincide(scenes):
    scenes, images = scenes
    found = ShellFit(64, 2, ShellPrior.published(12, (0.3, 0.9), WIDTH))(images)
    error = found.beta - scenes["beta"]
    # With one explanation of each image they scatter by 2.8, the worst of them 14.
    pull = error / found.beta_std
    assert 0.6 < pull.std() < 1.8
    assert pull.abs().max() < 5
    loss = (error**2 * WEIGHT).sum((1, 2))
    expected = (found.beta_std**2 * WEIGHT).sum((1, 2))
    assert loss.mean() < 3 * expected.mean()
    assert (found.radius.diff(dim=1) > 0).all()
    pull = (found.radius - scenes["radius"]) / found.radius_std
    assert pull.abs().max() < 4
    pull = (found.n_electrons - 1e6) / found.n_electrons_std
    assert pull.abs().max() < 4
    assert found.converged.all()
    assert not found.is_outlier.any()
    # The covariance is that of the same mixture.
    variance = found.beta_cov.diagonal(dim1=2, dim2=3)
    np.testing.assert_allclose(variance.sqrt(), found.beta_std, rtol=0.3)
    np.testing.assert_allclose(found.beta_cov, found.beta_cov.mT)


def test_images_do_not_depend_on_each_other(scenes):
    _, images = scenes
    fit = ShellFit(64, 2, ShellPrior.published(12, (0.3, 0.9), WIDTH))
    alone, together = fit(images[2:3]), fit(images[1:3])
    # But for where the steps end, far below the error bars.
    difference = (alone.beta[0] - together.beta[1]).abs() / alone.beta_std[0]
    assert difference.max() < 0.2
    np.testing.assert_allclose(alone.beta_std[0], together.beta_std[1], rtol=0.1)


def test_probabilities_of_explanations():
    rows = torch.tensor([4, 4, 4, 4, 7])
    cell = torch.tensor([0, 0, 1, 1, 1])
    empty = torch.zeros(5, 1)
    cells = Cells(rows, cell, empty, empty, empty)
    evidence = torch.tensor([10.0, 10.0, 10 - np.log(3), -90, 0]).double()
    mean = torch.tensor([[1.0], [1.001], [5], [2], [3]]).double()
    sd = torch.ones(5, 1).double()
    kept, best, weight = mixture_weights(cells, evidence, mean, sd)
    # The second is the first once more, and the fourth negligible.
    assert sorted(kept.tolist()) in ([0, 2, 4], [1, 2, 4])
    shares = dict(zip(kept.tolist(), weight.tolist(), strict=True))
    np.testing.assert_allclose([shares[2], shares[4]], [0.25, 1])
    assert cells.rows[best].tolist() == [4, 7]
    assert prune(cells, evidence).tolist() == [0, 1, 2, 4]
    # Fits that have failed explain nothing.
    evidence[:3] = torch.nan
    kept, best, weight = mixture_weights(cells, evidence, mean, sd)
    assert sorted(kept.tolist()) == [3, 4]
    np.testing.assert_allclose(weight, 1)
    evidence[:] = torch.nan
    kept, best, weight = mixture_weights(cells, evidence, mean, sd)
    assert len(cells.rows[kept]) == len(cells.rows[best]) == len(weight) == 0


@pytest.mark.parametrize("counts", [1e7, 1e30])
def test_images_that_no_fit_explains(counts):
    hot = torch.zeros(1, 48, 48)
    hot[0, 24, 10] = counts
    found = ShellFit(48, 2, ShellPrior.published(12, (0.3, 0.9), WIDTH))(hot)
    assert found.is_outlier.all()
    assert found.out_of_range.all()
