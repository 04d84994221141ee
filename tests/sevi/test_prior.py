# SPDX-License-Identifier: BSD-3-Clause
"""The distribution of electron shells."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, truncnorm

from skastro.sevi import SEVIPrior, ShellPrior, angular_density


@pytest.fixture(scope="module")
def shells():
    return SEVIPrior().sample(4000, 1, torch.Generator().manual_seed(0))


def test_published_limits(shells):
    prior, beta = SEVIPrior(), shells["beta"][:, 0]
    lower = [0.35, 0.43, 0.25, 0.118, 0.045, 0.012, 2.6e-3, 4e-4, 7e-5, 5.6e-6]
    upper = [1, 1.434, 1.24, 0.9, 0.6, 0.36, 0.2, 0.1, 0.045, 0.019]
    mean = [1, 0.85, 0.55, 0.25, 0.1, 0.04, 0.015, 0.002, 0.004, 0, 0, 0]
    sigma = [0.65, 0.5, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01]
    np.testing.assert_array_equal(prior.lower, [*lower, 1.2e-7, 2e-9])
    np.testing.assert_array_equal(prior.upper, [*upper, 0.0067, 0.0023])
    np.testing.assert_array_equal(prior.mean, mean)
    np.testing.assert_array_equal(prior.sigma, sigma)
    assert bool(((beta >= prior.lower) & (beta <= prior.upper)).all())
    for name, low, high in (("radius", 0.3, 0.9), ("radius_width", 0.005, 0.009)):
        values = shells[name].numpy().ravel()
        assert kstest(values, "uniform", args=(low, high - low)).pvalue > 1e-3


def test_truncated_normal(shells):
    """Coefficients that hardly matter to the sign are as if drawn once."""
    prior = SEVIPrior()
    for i in (10, 11):
        low, high, mean, sigma = (
            float(part[i])
            for part in (prior.lower, prior.upper, prior.mean, prior.sigma)
        )
        law = truncnorm((low - mean) / sigma, (high - mean) / sigma, mean, sigma)
        assert kstest(shells["beta"][:, 0, i].numpy(), law.cdf).pvalue > 1e-3


def test_densities_are_positive(shells):
    c = np.linspace(0, 1, 301)
    assert angular_density(shells["beta"][:, 0], c).min() > -1e-4
    prior = SEVIPrior()
    drawn = prior._truncated_normal(4000, torch.Generator().manual_seed(0))
    # The published part of draws that is negative somewhere.
    negative = (angular_density(drawn, c).min(axis=1) < 0).mean()
    assert negative == pytest.approx(0.042, abs=0.01)
    assert torch.isneginf(prior.log_prob(drawn)).float().mean() == pytest.approx(
        negative, abs=0.002
    )


def test_log_prob(shells):
    prior = SEVIPrior()
    beta = shells["beta"][:5, 0]
    bounds = (
        ((prior.lower - prior.mean) / prior.sigma).numpy(),
        ((prior.upper - prior.mean) / prior.sigma).numpy(),
    )
    law = truncnorm(*bounds, prior.mean.numpy(), prior.sigma.numpy())
    expected = law.logpdf(beta.numpy()).sum(axis=1)
    np.testing.assert_allclose(prior.log_prob(beta), expected)
    beyond = beta.clone()
    beyond[:, 3] = 0.1
    assert torch.isneginf(prior.log_prob(beyond)).all()


def test_separation():
    prior = SEVIPrior((0.3, 0.9), min_separation=0.2)
    shells = prior.sample(2000, 3, torch.Generator().manual_seed(0))
    radius = shells["radius"]
    assert float(radius.diff(dim=1).min()) >= 0.2
    assert 0.3 <= float(radius.min()) < 0.301
    assert 0.899 < float(radius.max()) <= 0.9
    # Uniform under the condition: as drawing again until shells lie apart.
    rng = np.random.default_rng(0)
    again = np.sort(rng.uniform(0.3, 0.9, (200_000, 3)))
    again = again[np.diff(again).min(axis=1) >= 0.2]
    assert kstest(radius[:, 1].numpy(), again[:, 1]).pvalue > 1e-3


def test_one_radius_for_all():
    generator = torch.Generator().manual_seed(0)
    shells = SEVIPrior(radius=0.5, radius_width=0.007).sample(3, 2, generator)
    assert (shells["radius"] == 0.5).all()
    assert (shells["radius_width"] == 0.007).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_separation": 0.7}, "2 shells that are 0.7 apart do not fit"),
        ({"radius": 0.5, "min_separation": 0.1}, "between the radii 0.5 and 0.5"),
        ({"radius": (0.02, 0.5)}, "at least 6 times as large"),
    ],
)
def test_shells_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        SEVIPrior(**settings).sample(3, 2, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "prior",
    [
        ShellPrior.published(3, radius=(0.35, 0.7)),
        ShellPrior.from_samples(np.random.default_rng(0).normal(size=(9, 12))),
    ],
)
def test_prior_of_a_fit_as_plain_values(prior):
    values = prior.to_dict()
    assert {type(value) for value in values.values()} == {np.ndarray, tuple}
    again = ShellPrior.from_dict(values)
    assert again == prior
    assert hash(again) == hash(prior)
    for name in ("lower", "upper", "mean", "sigma"):
        assert torch.equal(getattr(again, name), getattr(prior, name))
    wider = ShellPrior.from_dict({**values, "radius": (0.1, 0.9)})
    assert wider != prior
    # The values are copies.
    values["mean"][:] = 0
    assert again == prior


@pytest.mark.parametrize("radius", [(0.9, 0.3), 0.5, (0.0, 0.3), (0.3, np.inf)])
def test_prior_of_a_fit_needs_a_range(radius):
    with pytest.raises(ValueError, match="radius must be two positive numbers"):
        ShellPrior.published(radius=radius)
