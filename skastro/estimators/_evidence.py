# SPDX-License-Identifier: BSD-3-Clause
"""The evidence lower bound of a variational autoencoder, and its terms."""

import math

import torch
from torch import Tensor, nn

# A two-thousandth of the range from -1 to 1: an eighth of the step between bytes. A
# network that reproduces its input exactly would have no noise, and an infinite bound.
SMALLEST_NOISE = 1e-3


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute how far normal posteriors are from the prior, dimension by dimension.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (n_samples, latent_dim)
        Of the posteriors.

    Returns
    -------
    divergence : Tensor of shape (n_samples, latent_dim)
        Kullback-Leibler divergence from the standard normal distribution, in nats;
        Kingma & Welling (2014), appendix B, https://arxiv.org/abs/1312.6114.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


class NormalNoise:
    """Noise of a normal distribution; its scale is the standard deviation."""

    @staticmethod
    def misfit(reconstruction: Tensor, target: Tensor) -> Tensor:
        """Sum up what each sample's likelihood depends on, shape (n_samples,)."""
        return (reconstruction - target).square().flatten(1).sum(dim=1)

    @staticmethod
    def best_scale(misfit_of_pixel: Tensor) -> Tensor:
        """Find the scale that makes pixels of such a mean misfit most probable."""
        return misfit_of_pixel.sqrt()

    @staticmethod
    def negative_log(misfit: Tensor, scale: Tensor, n_pixels: Tensor | int) -> Tensor:
        """Compute the negative logarithm of the likelihood."""
        constant = scale.log() + 0.5 * math.log(2 * math.pi)
        return misfit / (2 * scale.square()) + n_pixels * constant


class LaplaceNoise:
    """Noise of a Laplace distribution; its scale is the mean absolute residual."""

    @staticmethod
    def misfit(reconstruction: Tensor, target: Tensor) -> Tensor:
        """Sum up what each sample's likelihood depends on, shape (n_samples,)."""
        return (reconstruction - target).abs().flatten(1).sum(dim=1)

    @staticmethod
    def best_scale(misfit_of_pixel: Tensor) -> Tensor:
        """Find the scale that makes pixels of such a mean misfit most probable."""
        return misfit_of_pixel

    @staticmethod
    def negative_log(misfit: Tensor, scale: Tensor, n_pixels: Tensor | int) -> Tensor:
        """Compute the negative logarithm of the likelihood."""
        return misfit / scale + n_pixels * (2 * scale).log()


LIKELIHOODS: dict[str, type[NormalNoise] | type[LaplaceNoise]] = {
    "normal": NormalNoise,
    "laplace": LaplaceNoise,
}


def fixed_draws(n_draws: int, latent_dim: int, device: torch.device) -> Tensor:
    """Draw standard normal numbers, the same ones at each call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_draws, latent_dim, generator=generator).to(device)


class EvidenceBound(nn.Module):
    """Negative evidence lower bound of a batch, for noise that pixels do not share.

    Where the noise's scale is not given, it is the one with which the batch is most
    probable. It moves with the residuals, but as the loss is at its lowest there, that
    has no part in the gradients (Rybkin et al. 2021, https://arxiv.org/abs/2006.13202).
    """

    def forward(
        self,
        output: tuple[Tensor, Tensor, Tensor, Tensor],
        *,
        likelihood: str,
        noise_scale: float | None,
        beta: float,
        free_bits: float,
        weight: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss.

        Parameters
        ----------
        output : tuple of Tensor
            Reconstructions, posterior means and logarithms of variances, and what the
            encoder was given.
        likelihood : {"normal", "laplace"}
            The distribution of the noise.
        noise_scale : float or None
            Its scale; None finds it.
        beta : float
            Factor of the divergence.
        free_bits : float
            Nats in each dimension, as the mean over the batch, that cost as much as
            none.
        weight : Tensor of shape (n_samples,) or None
            The samples' weights.

        Returns
        -------
        loss : Tensor of shape ()
            In nats a sample.
        terms : dict of Tensor
            Its parts: ``reconstruction``, and the ``divergence`` as it is, without
            `beta` and `free_bits`.
        """
        reconstruction, mean, log_variance, target = output
        if weight is None:
            weight = torch.ones(len(target), device=target.device)
        noise = LIKELIHOODS[likelihood]
        n_pixels = weight.mean() * target[0].numel()
        misfit = (weight * noise.misfit(reconstruction, target)).mean()
        if noise_scale is None:
            best = noise.best_scale(misfit.detach() / n_pixels)
            scale = best.clamp(min=SMALLEST_NOISE)
        else:
            scale = torch.tensor(noise_scale, device=target.device)
        reconstruction_term = noise.negative_log(misfit, scale, n_pixels)
        in_each = (weight[:, None] * divergence(mean, log_variance)).mean(dim=0)
        loss = reconstruction_term + beta * in_each.clamp(min=free_bits).sum()
        return loss, {
            "reconstruction": reconstruction_term,
            "divergence": in_each.sum(),
        }
