# SPDX-License-Identifier: BSD-3-Clause
"""VAETransformer: its loss and its scores, held against formulas."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.distributions import Laplace, Normal, kl_divergence

from skastro import VAETransformer
from skastro.estimators._evidence import EvidenceBound, divergence

LENGTH, LATENT, NOISE = 12, 3, 0.3


class ExactPosterior(nn.Module):
    """A linear decoder of normal noise, and the encoder that Bayes' theorem gives."""

    def __init__(self, widened=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        random = torch.randn(LENGTH, LATENT, generator=generator)
        # Orthogonal columns, so that the posterior's dimensions are independent.
        columns = torch.linalg.qr(random)[0] * torch.tensor([0.9, 0.5, 0.2])
        self.columns = nn.Parameter(columns)
        self.offset = nn.Parameter(torch.linspace(-0.3, 0.3, LENGTH))
        self.widened = widened

    def encode(self, x):
        """Give the posterior."""
        variance = 1 / (1 + self.columns.square().sum(dim=0) / NOISE**2)
        mean = (x - self.offset) @ self.columns * variance / NOISE**2
        return mean, (self.widened * variance).log().expand_as(mean)

    def decode(self, z):
        """Give the mean of the likelihood."""
        return z @ self.columns.T + self.offset

    def forward(self, x):
        """Encode and decode."""
        mean, log_variance = self.encode(x)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(z), mean, log_variance


@pytest.fixture
def samples():
    """Draw samples between -1 and 1, which scaling leaves as they are."""
    X = np.random.default_rng(0).uniform(-1, 1, size=(40, LENGTH))
    X[0, :2] = [-1, 1]
    return X.astype(np.float32)


def exact(module=ExactPosterior, **params):
    """Make an instance that keeps the module's weights."""
    defaults = {
        "noise_scale": NOISE,
        "max_epochs": 0,
        "train_split": None,
        "verbose": 0,
        "device": "cpu",
    }
    return VAETransformer(module, **(defaults | params))


def log_evidence(X):
    """Compute the logarithm of the probability density under the linear model."""
    module = ExactPosterior()
    columns = module.columns.detach().numpy().astype(np.float64)
    covariance = columns @ columns.T + NOISE**2 * np.eye(LENGTH)
    return multivariate_normal(module.offset.detach().numpy(), covariance).logpdf(X)


@pytest.mark.parametrize("n_draws", [1, 2, 5, 8])
def test_bound_is_the_evidence_where_the_posterior_is_exact(samples, n_draws):
    vae = exact().fit(samples)
    bound = vae.score_samples(samples, n_draws=n_draws)
    np.testing.assert_allclose(bound, log_evidence(samples), rtol=1e-4)
    assert vae.score(samples) == pytest.approx(log_evidence(samples).mean(), rel=1e-5)


def test_bound_falls_short_by_the_divergence_from_the_posterior(samples):
    vae = exact(ExactPosterior(widened=2.0)).fit(samples)
    # Of normal distributions of one mean and variances in the ratio 2.
    gap = LATENT * 0.5 * (2 - 1 - math.log(2))
    bound = vae.score_samples(samples, n_draws=2000)
    np.testing.assert_allclose(bound, log_evidence(samples) - gap, atol=0.1)
    assert vae.score(samples) < log_evidence(samples).mean()


def test_units_of_the_samples_do_not_matter(samples):
    expected = exact().fit(samples).score_samples(samples)
    shifted = exact().fit(300 + 50 * samples)
    np.testing.assert_allclose(
        shifted.score_samples(300 + 50 * samples), expected, atol=1e-2
    )
    np.testing.assert_allclose(shifted.channel_low_, [250])
    np.testing.assert_allclose(shifted.channel_high_, [350])


def test_bound_with_laplace_noise(samples):
    vae = exact(likelihood="laplace").fit(samples)
    bound = vae.score_samples(samples, n_draws=4000)
    # The mean over the posterior, by draws of another generator.
    scaled = torch.from_numpy(samples)
    mean, log_variance = vae.module_.encode(scaled)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    z = posterior.sample((4000,))
    likelihood = Laplace(vae.module_.decode(z), NOISE).log_prob(scaled).sum(dim=-1)
    nats = kl_divergence(posterior, Normal(0.0, 1.0)).sum(dim=1)
    expected = (likelihood.mean(dim=0) - nats).detach()
    np.testing.assert_allclose(bound, expected, atol=0.3)


def test_noise_is_measured_on_validation_samples(samples):
    scatter = exact(noise_scale=None, train_split=0.5, random_state=0).fit(samples)
    assert scatter.noise_scale_ != pytest.approx(NOISE, rel=0.1)
    rng = np.random.default_rng(1)
    module = ExactPosterior()
    z = torch.tensor(rng.normal(size=(3000, LATENT)), dtype=torch.float32)
    X = module.decode(z).detach().numpy() + NOISE * rng.normal(size=(3000, LENGTH))
    X = np.clip(X, -1, 1)
    vae = exact(noise_scale=None, train_split=0.5, random_state=0).fit(X)
    assert vae.noise_scale_ == pytest.approx(NOISE, rel=0.05)
    assert exact().fit(X).noise_scale_ == NOISE


# The loss ---------------------------------------------------------------------------


@pytest.fixture
def output():
    """Draw what a module may give for 7 samples of 12 pixels and 3 dimensions."""
    generator = torch.Generator().manual_seed(0)
    sizes = (LENGTH, LATENT, LATENT, LENGTH)
    return tuple(torch.randn(7, size, generator=generator) for size in sizes)


def loss_of(output, **params):
    defaults = {
        "likelihood": "normal",
        "noise_scale": NOISE,
        "beta": 1.0,
        "free_bits": 0.0,
        "weight": None,
    }
    return EvidenceBound()(output, **(defaults | params))


def test_terms_against_torch_distributions(output):
    reconstruction, mean, log_variance, target = output
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), expected)
    loss, terms = loss_of(output)
    torch.testing.assert_close(terms["divergence"], expected.sum(dim=1).mean())
    likelihood = Normal(reconstruction, NOISE).log_prob(target).sum(dim=1)
    torch.testing.assert_close(terms["reconstruction"], -likelihood.mean())
    torch.testing.assert_close(loss, terms["reconstruction"] + terms["divergence"])


def test_laplace_noise(output):
    reconstruction, _, _, target = output
    _, terms = loss_of(output, likelihood="laplace")
    likelihood = Laplace(reconstruction, NOISE).log_prob(target).sum(dim=1)
    torch.testing.assert_close(terms["reconstruction"], -likelihood.mean())


def test_beta_and_free_bits(output):
    _, mean, log_variance, _ = output
    in_each = divergence(mean, log_variance).mean(dim=0)
    _, terms = loss_of(output)
    for beta, free_bits in (4.0, 0.0), (1.0, 0.9), (0.5, float(in_each.max()) + 1):
        loss, same = loss_of(output, beta=beta, free_bits=free_bits)
        expected = beta * sum(max(free_bits, float(nats)) for nats in in_each)
        cost = float(loss - same["reconstruction"])
        assert cost == pytest.approx(expected, rel=1e-5)
        assert same == terms


@pytest.mark.parametrize("likelihood", ["normal", "laplace"])
def test_best_noise_of_a_batch(output, likelihood):
    reconstruction, _, _, target = output
    residual = (reconstruction - target).abs()
    best = (
        residual.mean() if likelihood == "laplace" else residual.square().mean() ** 0.5
    )

    def loss(noise_scale, output=output):
        return loss_of(output, likelihood=likelihood, noise_scale=noise_scale)[0]

    torch.testing.assert_close(loss(None), loss(float(best)))
    for other in 0.9 * float(best), 1.1 * float(best):
        assert loss(None) < loss(other)
    # A perfect reconstruction has no infinite bound.
    assert loss(None, (target, *output[1:])).isfinite()


def test_weights_count_as_repetitions(output):
    weight = torch.tensor([1.0, 2, 1, 1, 2, 1, 1]) * 7 / 9
    index = torch.tensor([0, 1, 1, 2, 3, 4, 4, 5, 6])
    for noise_scale in NOISE, None:
        weighted, _ = loss_of(output, weight=weight, noise_scale=noise_scale)
        repeated = tuple(part[index] for part in output)
        torch.testing.assert_close(
            weighted, loss_of(repeated, noise_scale=noise_scale)[0]
        )


def test_terms_stand_apart_in_the_history(samples):
    vae = exact(max_epochs=2, beta=3.0, train_split=0.25, lr=1e-4).fit(samples)
    for part in "train", "valid":
        for record in vae.history:
            terms = record[f"{part}_reconstruction"], record[f"{part}_divergence"]
            total = terms[0] + 3 * terms[1]
            assert record[f"{part}_loss"] == pytest.approx(total, rel=1e-5)


def test_beta_warms_up_once(samples):
    vae = exact(max_epochs=4, beta=2.0, beta_warmup=0.5, train_split=0.25, lr=1e-6)
    vae.partial_fit(samples).partial_fit(samples)

    def betas(part):
        names = (f"{part}_loss", f"{part}_reconstruction", f"{part}_divergence")
        return [
            (loss - reconstruction) / nats
            for loss, reconstruction, nats in vae.history[:, names]
        ]

    expected = [0, 1, 2, 2, 2, 2, 2, 2]
    np.testing.assert_allclose(betas("train"), expected, atol=1e-3)
    # Or else the first epochs would be taken for the best ones.
    np.testing.assert_allclose(betas("valid"), 2, atol=1e-3)


def test_free_bits_are_for_training_only(samples):
    vae = exact(max_epochs=1, free_bits=50.0, train_split=0.25, lr=1e-6).fit(samples)
    record = vae.history[-1]
    spared = record["train_loss"] - record["train_reconstruction"]
    assert spared == pytest.approx(50 * LATENT, rel=1e-4)
    total = record["valid_reconstruction"] + record["valid_divergence"]
    assert record["valid_loss"] == pytest.approx(total, rel=1e-5)


# Collapse ----------------------------------------------------------------------------


class FewActive(nn.Module):
    """A module of which some latent dimensions say nothing."""

    def __init__(self, latent_dim, n_active=0):
        super().__init__()
        self.scale = nn.Parameter(0.2 * (torch.arange(latent_dim) < n_active))

    def encode(self, x):
        """Use the first dimensions."""
        mean = x[:, : len(self.scale)] * self.scale
        return mean, torch.zeros_like(mean)

    def decode(self, z):
        """Give nothing."""
        return torch.zeros(len(z), LENGTH) + 0 * z.sum()

    def forward(self, x):
        """Encode and decode."""
        mean, log_variance = self.encode(x)
        return self.decode(mean), mean, log_variance


def test_collapse_is_noticed(samples):
    def few(n_active):
        return exact(FewActive, latent_dim=8, module__n_active=n_active)

    with pytest.warns(ConvergenceWarning, match="1 of 8 latent dimensions are active"):
        vae = few(1).fit(samples)
    assert vae.n_active_dimensions_ == 1
    np.testing.assert_allclose(
        vae.latent_variance_, vae.transform(samples).var(axis=0), rtol=1e-5
    )
    # A quarter is enough, and one sample cannot tell.
    assert few(2).fit(samples).n_active_dimensions_ == 2
    few(0).fit(samples[:1])


def test_weights_that_diverged_are_no_collapse(samples):
    with pytest.warns(ConvergenceWarning) as caught:
        exact(max_epochs=3, lr=1e38).fit(samples)
    (message,) = [str(warning.message) for warning in caught]
    assert "The training diverged: in epoch 1" in message
