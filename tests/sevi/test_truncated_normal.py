# SPDX-License-Identifier: BSD-3-Clause
"""Normal distributions within limits, against SciPy and against draws."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, truncnorm

from skastro.sevi._prior import ShellPrior
from skastro.sevi._truncated_normal import (
    log_mass,
    normal_quantile,
    truncated_moments,
    truncated_posterior,
    untruncated,
)

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("mean", "sd", "low", "high"),
    [
        (0.5, 0.2, 0, 1),
        (-3, 0.2, 0, 1),
        (9, 0.2, 0, 1),
        (0.3, 1, 0, 1e-3),
        (0, 1, -1, 40),
        (0, 1, 5, 90),
    ],
)
def test_one_dimension(mean, sd, low, high):
    numbers = torch.tensor([mean, sd, low, high], dtype=torch.float64)
    known = truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd)
    first, variance = truncated_moments(*numbers)
    # SciPy's own variance loses digits where the limits are close.
    np.testing.assert_allclose(float(first), known.mean(), rtol=1e-6)
    np.testing.assert_allclose(float(variance), known.var(), rtol=1e-4)
    for probability in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(
            float(normal_quantile(probability, *numbers)),
            known.ppf(probability),
            rtol=1e-5,
        )


def test_several_dimensions_against_draws():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.6, 0.1], [0.6, 0.8, -0.2], [0.1, -0.2, 0.5]])
    mean = np.array([0.4, -0.5, 0.3])
    # Limits on two coordinates and on a difference.
    directions = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, -1]])
    low, high = np.array([0.0, -1, -1]), np.array([1.0, 0.5, 9])
    draws = rng.multivariate_normal(mean, covariance, 400_000)
    limited = draws @ directions.T
    draws = draws[((limited > low) & (limited < high)).all(1)]
    precision = torch.as_tensor(np.linalg.inv(covariance))[None]
    found = truncated_posterior(
        precision,
        precision @ torch.as_tensor(mean),
        *(torch.as_tensor(part) for part in (directions, low, high)),
    )
    np.testing.assert_allclose(found.mean[0], draws.mean(0), atol=0.01)
    np.testing.assert_allclose(found.covariance[0], np.cov(draws.T), atol=0.01)
    limited = draws @ directions.T
    np.testing.assert_allclose(found.limited_sd[0], limited.std(0), rtol=0.03)


@pytest.mark.parametrize("high", [[1.0, 0.5], [1e-4, 9.0], [40.0, 40.0]])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_mass_within_limits_against_scipy(high, correlation):
    covariance = np.array([[1.0, correlation], [correlation, 2.0]])
    mean, low = np.array([0.4, -0.5]), np.array([0.0, -1.0])
    precision = torch.as_tensor(np.linalg.inv(covariance))[None]
    shift = precision @ torch.as_tensor(mean)
    limits = [torch.eye(2).double(), *(torch.as_tensor(p) for p in (low, high))]
    posterior = truncated_posterior(precision, shift, *limits)
    found = log_mass(precision, shift, *limits, posterior)
    normal = multivariate_normal(mean, covariance)
    known = np.log(normal.cdf(np.array(high), lower_limit=low))
    known += np.log(np.linalg.det(covariance)) / 2
    known += mean @ np.linalg.solve(covariance, mean) / 2
    np.testing.assert_allclose(float(found), known, atol=0.02)


@pytest.mark.parametrize("mean", [0.5, -0.3, 30.0])
@pytest.mark.parametrize("sd", [0.4, 0.05, 1e-5])
def test_limits_are_taken_away(mean, sd):
    low, high = torch.tensor([0.0, 1.0]).double()
    given = torch.tensor([min(max(mean, -2 * sd), 1 + 2 * sd), sd]).double()
    within, variance = truncated_moments(*given, low, high)
    found = untruncated(within, variance.sqrt(), low, high)
    back, variance_back = truncated_moments(*found, low, high)
    np.testing.assert_allclose(float(back), float(within), rtol=1e-4)
    np.testing.assert_allclose(float(variance_back), float(variance), rtol=0.01)


def test_prior_is_learned():
    rng = np.random.default_rng(0)
    normal = truncnorm(-1, 3, 0.2, 0.3).rvs(4000, random_state=rng)
    even, constant = rng.uniform(2, 5, 4000), np.full(4000, 0.7)
    samples = np.stack([normal, even, constant], axis=1)
    prior = ShellPrior.from_samples(samples, (0.3, 0.9), (0.005, 0.009))
    np.testing.assert_allclose(prior.lower[:2], [-0.1, 2], atol=0.01)
    np.testing.assert_allclose(prior.upper[:2], [1.1, 5], atol=0.03)
    np.testing.assert_allclose(prior.mean[0], 0.2, atol=0.03)
    np.testing.assert_allclose(prior.sigma[0], 0.3, atol=0.03)
    assert prior.sigma[1] > 2
    mean, sd = prior.moments()
    np.testing.assert_allclose(mean, samples.mean(0), atol=1e-3)
    np.testing.assert_allclose(sd[:2], samples.std(0)[:2], rtol=0.01)
