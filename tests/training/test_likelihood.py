# SPDX-License-Identifier: BSD-3-Clause
"""The loss of numbers and their errors, against SciPy's densities."""

import numpy as np
import pytest
import torch
from scipy import stats

from skastro.training import NegativeLogLikelihood

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
