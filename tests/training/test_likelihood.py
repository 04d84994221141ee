# SPDX-License-Identifier: BSD-3-Clause
"""The losses of numbers with errors and of positions on a grid, against SciPy."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from skastro.training import BinnedLikelihood, NegativeLogLikelihood

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
OUTPUT = torch.from_numpy(RNG.normal(size=(7, 6)))
TARGET = torch.from_numpy(RNG.normal(size=(7, 3)))


def density(name, mean, std, target):
    if name == "laplace":
        return stats.laplace.logpdf(target, mean, std / np.sqrt(2))
    return stats.norm.logpdf(target, mean, std)


@pytest.mark.parametrize("name", ["laplace", "normal"])
@pytest.mark.parametrize("measured", [None, 0.7])
def test_densities(name, measured):
    mean, std = OUTPUT[:, :3].numpy(), np.exp(OUTPUT[:, 3:].numpy())
    target = TARGET
    if measured is not None:
        std = np.hypot(std, measured)
        target = torch.cat([TARGET, torch.full_like(TARGET, measured)], dim=1)
    expected = -density(name, mean, std, TARGET.numpy())
    loss = NegativeLogLikelihood(name, reduction="none")(OUTPUT, target)
    np.testing.assert_allclose(loss, expected)
    for reduction in ("mean", "sum"):
        loss = NegativeLogLikelihood(name, reduction)(OUTPUT, target)
        np.testing.assert_allclose(loss, getattr(np, reduction)(expected))


@pytest.mark.parametrize("name", ["laplace", "normal"])
def test_unknown_targets_count_for_nothing(name):
    target = TARGET.clone()
    target[[0, 2, 5], [1, 1, 0]] = torch.nan
    known = ~target.isnan()
    output = OUTPUT.clone().requires_grad_()
    loss = NegativeLogLikelihood(name)(output, target)
    loss.backward()
    each = NegativeLogLikelihood(name, "none")(OUTPUT, TARGET)
    np.testing.assert_allclose(loss.item(), each[known].mean())
    assert output.grad.isfinite().all()
    np.testing.assert_array_equal(output.grad[:, :3] == 0, ~known)
    np.testing.assert_array_equal(output.grad[:, 3:] == 0, ~known)


def test_unknown_errors_of_unknown_targets_have_no_gradient():
    # The error of the logarithm of an unknown target is NaN, too.
    target = torch.cat([TARGET, torch.full_like(TARGET, 0.5)], dim=1)
    target[[0, 2], [1, 1]] = target[[0, 2], [4, 4]] = torch.nan
    output = OUTPUT.clone().requires_grad_()
    NegativeLogLikelihood()(output, target).backward()
    assert output.grad.isfinite().all()


def test_nothing_known_is_no_loss():
    loss = NegativeLogLikelihood()(OUTPUT, torch.full_like(TARGET, torch.nan))
    assert loss == 0


@pytest.mark.parametrize(
    "settings", [{"distribution": "cauchy"}, {"reduction": "median"}]
)
def test_other_options_are_refused(settings):
    with pytest.raises(ValueError, match="must be one of"):
        NegativeLogLikelihood(**settings)


LOGITS = torch.from_numpy(RNG.normal(scale=3, size=(9, 20)))
POSITION = torch.tensor([0, 0.25, 1, 7.5, 18, 18.9, 19, 3.999, 11.1]).double()


def binned(logits, position):
    """Share the loss of a position among its neighbors, by a loop."""
    log_p = special.log_softmax(np.asarray(logits), axis=1)
    points = np.arange(log_p.shape[1])
    return [-np.interp(p, points, row) for p, row in zip(position, log_p, strict=True)]


def test_positions_on_a_grid():
    expected = binned(LOGITS, POSITION.numpy())
    loss = BinnedLikelihood("none")(LOGITS, POSITION)
    assert loss.shape == (9,)
    np.testing.assert_allclose(loss, expected)
    for reduction in ("mean", "sum"):
        loss = BinnedLikelihood(reduction)(LOGITS, POSITION)
        np.testing.assert_allclose(loss, getattr(np, reduction)(expected))
    assert torch.equal(BinnedLikelihood()(LOGITS, POSITION[:, None]), loss / 9)


def test_points_of_the_grid_are_classes():
    codes = POSITION.round().long()
    loss = BinnedLikelihood()(LOGITS, codes.double())
    expected = torch.nn.functional.cross_entropy(LOGITS, codes)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("n_points", [1, 2, 20])
def test_positions_beyond_the_grid_are_at_its_end(n_points):
    logits, loss = LOGITS[:2, :n_points], BinnedLikelihood("none")
    beyond = loss(logits, torch.tensor([-3.5, 1e6]))
    ends = loss(logits, torch.tensor([0.0, n_points - 1]))
    torch.testing.assert_close(beyond, ends)
    if n_points == 1:
        assert not beyond.any()


def test_gradients_pull_at_the_neighbors():
    logits = LOGITS.clone().requires_grad_()
    BinnedLikelihood("sum")(logits, POSITION).backward()
    points = np.arange(20)
    shares = np.clip(1 - np.abs(points - POSITION.numpy()[:, None]), 0, None)
    expected = special.softmax(LOGITS.numpy(), axis=1) - shares
    np.testing.assert_allclose(logits.grad, expected, atol=1e-12)
    torch.autograd.gradcheck(
        lambda x: BinnedLikelihood()(x, POSITION), LOGITS.clone().requires_grad_()
    )


def test_extreme_logits_have_finite_losses_and_gradients():
    logits = torch.tensor([[1e4, -1e4, 0], [-1e30, 1e30, 0]], requires_grad=True)
    loss = BinnedLikelihood()(logits, torch.tensor([0.5, 1.5]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_other_reductions_of_positions_are_refused():
    with pytest.raises(ValueError, match="reduction must be one of"):
        BinnedLikelihood("median")


def test_unknown_positions_are_unknown_losses():
    loss = BinnedLikelihood("none")(LOGITS[:2], torch.tensor([torch.nan, 1.0]))
    assert loss.isnan().tolist() == [True, False]
