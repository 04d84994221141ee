# SPDX-License-Identifier: BSD-3-Clause
"""What a fit of electron shells gives."""

from dataclasses import dataclass, fields
from typing import Self

import torch

from skastro.estimators._truncated import untruncated


@dataclass
class ShellPosterior:
    """What images say about their shells; tensors with the images along the first axis.

    Attributes
    ----------
    beta, beta_std : Tensors of shape (n, n_shells, n_betas)
        Mean and standard deviation of the coefficients.
    beta_cov : Tensor of shape (n, n_shells, n_betas, n_betas)
        Covariance of the coefficients of a shell.
    free_mean, free_sd : Tensors of shape (n, n_shells, n_betas)
        The same without the limits of the coefficient itself, which cut this normal
        distribution off.
    radius, radius_std, radius_width, radius_width_std, n_electrons, n_electrons_std : \
            Tensors of shape (n, n_shells)
        Of the shells. Electrons that miss the image count.
    distortion : Tensor of shape (n, 4)
        Tilt in degrees, ellipticity, displacement of the centre along both axes in
        pixels; zero where it is not looked for.
    background : Tensor of shape (n,)
        Electrons of an even background as a part of all.
    misfit : Tensor of shape (n,)
        By how many standard deviations χ² is too large.
    unlike : Tensor of bool of shape (n,)
        Whether the image is none of shells.
    converged : Tensor of bool of shape (n,)
        Whether the steps have become small.
    """

    beta: torch.Tensor
    beta_std: torch.Tensor
    beta_cov: torch.Tensor
    free_mean: torch.Tensor
    free_sd: torch.Tensor
    radius: torch.Tensor
    radius_std: torch.Tensor
    radius_width: torch.Tensor
    radius_width_std: torch.Tensor
    n_electrons: torch.Tensor
    n_electrons_std: torch.Tensor
    distortion: torch.Tensor
    background: torch.Tensor
    misfit: torch.Tensor
    unlike: torch.Tensor
    converged: torch.Tensor

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Put the posteriors of several batches behind each other."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in names))

    def put_mixture(
        self,
        parts: Self,
        rows: torch.Tensor,
        weight: torch.Tensor,
        low: torch.Tensor,
        high: torch.Tensor,
    ) -> None:
        """Replace images by the mixture of several posteriors.

        Parameters
        ----------
        parts : ShellPosterior
            The posteriors.
        rows : Tensor of shape (n_parts,)
            Which image each is of.
        weight : Tensor of shape (n_parts,)
            Their probabilities; those of an image add up to one.
        low, high : Tensors of shape (n_betas,)
            Limits of the coefficients.
        """
        images, place = rows.unique(return_inverse=True)

        def average(values: torch.Tensor) -> torch.Tensor:
            sums = values.new_zeros(len(images), *values.shape[1:])
            share = weight.view(-1, *[1] * (values.ndim - 1))
            return sums.index_add(0, place, share * values)

        for name in ("beta", "radius", "radius_width", "n_electrons"):
            mean, sd = getattr(parts, name), getattr(parts, f"{name}_std")
            center = average(mean)
            apart = mean - center[place]
            getattr(self, name)[images] = center
            getattr(self, f"{name}_std")[images] = average(sd**2 + apart**2).sqrt()
            if name == "beta":
                apart = apart[..., :, None] * apart[..., None, :]
                self.beta_cov[images] = average(parts.beta_cov + apart)
        self.free_mean[images], self.free_sd[images] = untruncated(
            self.beta[images], self.beta_std[images], low, high
        )
