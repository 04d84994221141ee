# SPDX-License-Identifier: BSD-3-Clause
"""Layers of the variational autoencoder: halving, doubling, and principal axes."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn import functional as F


class _Conv1d(nn.Conv1d):
    """Convolution with bias on maps ``(batch, channels, 1, length)``."""

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve along the last axis."""
        return F.conv2d(
            maps,
            self.weight.unsqueeze(2),
            self.bias,
            stride=(1, *self.stride),
            padding=(0, *self.padding),
        )


class _ConvTranspose1d(nn.ConvTranspose1d):
    """Transposed convolution on maps ``(batch, channels, 1, length)``."""

    def forward(self, maps: Tensor) -> Tensor:
        """Widen the last axis."""
        return F.conv_transpose2d(
            maps,
            self.weight.unsqueeze(2),
            self.bias,
            stride=(1, *self.stride),
            padding=(0, *self.padding),
            output_padding=(0, *self.output_padding),
        )


CONVOLUTION = {1: _Conv1d, 2: nn.Conv2d}
TRANSPOSED = {1: _ConvTranspose1d, 2: nn.ConvTranspose2d}


def doubling(
    ndim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    sizes: tuple[int, ...],
) -> nn.Module:
    """Make a transposed convolution of stride 2 that ends at exactly these sizes.

    Parameters
    ----------
    ndim : {1, 2}
        Number of axes that are doubled.
    in_channels, out_channels : int
        Numbers of feature maps read and written.
    kernel_size : int
        Odd width of the kernel.
    sizes : tuple of int
        Length, or height and width, of what comes out of ``(size + 1) // 2`` each.

    Returns
    -------
    torch.nn.Module
        The layer, for maps of which the height is 1 where `ndim` is 1.
    """
    return TRANSPOSED[ndim](
        in_channels,
        out_channels,
        kernel_size,
        stride=2,
        padding=kernel_size // 2,
        # Two sizes have the same half; this tells them apart.
        output_padding=tuple(1 - size % 2 for size in sizes),
    )


def orientations(images: Tensor) -> Iterator[Tensor]:
    """Turn and mirror images in all ways that keep their shape.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        The images.

    Yields
    ------
    Tensor of shape (batch, channels, height, width)
        Eight orientations of square images, four of others; first `images` as it is.
    """
    turns = range(4) if images.shape[-1] == images.shape[-2] else (0, 2)
    for mirrored in (images, images.flip(-1)):
        for turn in turns:
            yield mirrored.rot90(turn, (-2, -1))


def reorient(images: Tensor) -> Tensor:
    """Give each image one of its orientations, drawn evenly.

    Parameters
    ----------
    images : Tensor of shape (batch, channels, height, width)
        The images.

    Returns
    -------
    Tensor of shape (batch, channels, height, width)
        A copy; draws are from torch's global generator.
    """
    turned = torch.stack(list(orientations(images)))
    drawn = torch.randint(len(turned), (len(images),), device=images.device)
    return turned[drawn, torch.arange(len(images), device=images.device)]


class PrincipalAxes(nn.Module):
    """Mean and principal axes of samples, of which gradients change nothing.

    All are zero until :meth:`start_from` is called.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, ``(channels, ...)``.
    n_axes : int
        Number of axes.
    n_invariant : int
        How many of these, the first ones, are to be axes of what the orientations of
        an image have in common.
    """

    mean: Tensor
    axes: Tensor
    scales: Tensor

    def __init__(self, shape: tuple[int, ...], n_axes: int, n_invariant: int) -> None:
        super().__init__()
        self.n_invariant = n_invariant
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("axes", torch.zeros(n_axes, *shape))
        self.register_buffer("scales", torch.ones(n_axes))

    def start_from(self, samples: Tensor) -> None:
        """Find mean and axes.

        Parameters
        ----------
        samples : Tensor of shape (n_samples, channels, ...)
            Training samples. Of images all orientations are taken.
        """
        samples = samples.detach().float().cpu()
        views = samples[None]
        if samples.dim() == 4:
            views = torch.stack(list(orientations(samples)))
        common = views.mean(dim=0)
        mean = common.mean(dim=0)
        if self.n_invariant:
            parts = [common, views - common]
            counts = [self.n_invariant, len(self.scales) - self.n_invariant]
        else:
            parts, counts = [views - mean], [len(self.scales)]
        with torch.no_grad():
            self.mean.copy_(mean)
            self.axes.zero_()
            self.scales.fill_(1.0)
            first = 0
            for part, count in zip(parts, counts, strict=True):
                axes, scales = _principal_axes(part.reshape(-1, mean.numel()), count)
                self.axes[first : first + len(axes)] = axes.view(-1, *mean.shape)
                self.scales[first : first + len(axes)] = scales
                first += count

    def project(self, samples: Tensor) -> Tensor:
        """Find the components, in units of their scatter; ``(batch, n_axes)``."""
        with torch.autocast(samples.device.type, enabled=False):
            rows = (samples.float() - self.mean).flatten(1)
            return F.linear(rows, self.axes.flatten(1)) / self.scales

    def restore(self, components: Tensor) -> Tensor:
        """Add up the axes, without the mean; ``(batch, channels, ...)``."""
        with torch.autocast(components.device.type, enabled=False):
            rows = (components.float() * self.scales) @ self.axes.flatten(1)
            return rows.view(-1, *self.mean.shape)


def _principal_axes(rows: Tensor, n_axes: int) -> tuple[Tensor, Tensor]:
    """Compute axes, as many as the rows allow, and the scatter along them."""
    n_axes = min(n_axes, len(rows) - 1, rows.shape[1])
    if n_axes < 1:
        return rows[:0], rows[:0, 0]
    # Few axes of many pixels: exact ones would take minutes, and differ by little.
    centred = (rows - rows.mean(dim=0)).numpy()
    _, singular_values, axes = randomized_svd(centred, n_axes, random_state=0)
    scales = singular_values / np.sqrt(len(rows) - 1)
    # Whitening would blow up the rounding errors along axes without any scatter.
    kept = scales > 1e-3 * scales[0]
    return torch.from_numpy(axes[kept]), torch.from_numpy(scales[kept])
