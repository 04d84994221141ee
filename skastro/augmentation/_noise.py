# SPDX-License-Identifier: BSD-3-Clause
"""Noise on spectra."""

import torch


class GaussianNoise:
    """Add white Gaussian noise of a random strength to each spectrum.

    Parameters
    ----------
    max_scale : float, default=0.5
        The noise's standard deviation in units of the spectrum's own is drawn evenly
        from 0 to this number, for each spectrum anew.

    Raises
    ------
    ValueError
        If `max_scale` is negative.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import GaussianNoise
    >>> flux = torch.sin(torch.arange(1000.0)).expand(4, 1000)
    >>> noisy = GaussianNoise(0.2)(flux, generator=torch.Generator().manual_seed(0))
    >>> 0 < (noisy - flux).std() < 0.2
    tensor(True)
    """

    def __init__(self, max_scale: float = 0.5) -> None:
        if not max_scale >= 0:
            raise ValueError(f"max_scale must be zero or more, but got {max_scale!r}.")
        self.max_scale = max_scale

    def __call__(
        self, batch: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Add noise to a batch.

        Parameters
        ----------
        batch : Tensor of shape (n_samples, length) or (n_samples, n_channels, length)
            Flux.
        generator : torch.Generator, default=None
            Where to draw from; None is torch's global generator.

        Returns
        -------
        noisy : Tensor of the same shape
            New flux; the batch is left as it is.
        """
        options = {"generator": generator, "device": batch.device, "dtype": batch.dtype}
        strength = torch.rand(len(batch), *[1] * (batch.ndim - 1), **options)
        noise = torch.randn(batch.shape, **options)
        deviation = batch.std(dim=-1, keepdim=True, correction=0)
        return batch + noise * (self.max_scale * strength * deviation)

    def __repr__(self) -> str:
        """Show the parameter."""
        return f"GaussianNoise({self.max_scale})"
