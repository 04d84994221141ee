# SPDX-License-Identifier: BSD-3-Clause
"""The convolutional variational autoencoder, for spectra and images."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn import functional as F

from skastro.networks.layers import (
    BATCH_NORM,
    FOLDED,
    ConvolutionalLayers,
    Head,
    check_kernel_size,
    convolve,
    enter_maps,
    leave_maps,
)
from skastro.networks.registry import register
from skastro.utils import (
    check_count,
    check_each,
    check_number,
    check_option,
    own_generator,
)

_LEAST_AVERAGED_SIZE = 16
_SLOPE = 0.01
# The initial posterior is about as narrow as a trained one: exp(-4 / 2) of the prior's
# width.
_FIRST_LOG_VARIANCE = -4.0
_INTERPOLATION = {1: "linear", 2: "bilinear"}


class _OnMaps:
    """Mixin of convolutions with bias on maps ``(batch, channels, height, width)``.

    1-D convolutions run along the last axis.
    """

    def forward(self: Any, maps: Tensor) -> Tensor:
        """Convolve."""
        weight = self.weight
        options = {"stride": self.stride, "padding": self.padding}
        function: Any = F.conv2d
        if self.transposed:
            function = F.conv_transpose2d
            options["output_padding"] = self.output_padding
        if weight.dim() == 3:
            weight = weight.unsqueeze(2)
            options = {n: (int(n == "stride"), *v) for n, v in options.items()}
        return convolve(function, maps, weight, self.bias, **options)


class _Conv1d(_OnMaps, nn.Conv1d):
    """Convolution along the last axis."""


class _Conv2d(_OnMaps, nn.Conv2d):
    """Convolution along both axes."""


class _ConvTranspose1d(_OnMaps, nn.ConvTranspose1d):
    """Transposed convolution along the last axis."""


class _ConvTranspose2d(_OnMaps, nn.ConvTranspose2d):
    """Transposed convolution along both axes."""


_CONVOLUTION: dict[int, Any] = {1: _Conv1d, 2: _Conv2d}
FOLDED.update(_CONVOLUTION.values())
_TRANSPOSED: dict[int, Any] = {1: _ConvTranspose1d, 2: _ConvTranspose2d}


def _doubling(
    ndim: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    sizes: tuple[int, ...],
) -> nn.Module:
    """Make a transposed convolution of stride 2 that ends at exactly these sizes.

    Its input has the sizes ``(size + 1) // 2``.
    """
    return _TRANSPOSED[ndim](
        in_channels,
        out_channels,
        kernel_size,
        stride=2,
        padding=kernel_size // 2,
        # Two sizes have the same half; output_padding chooses between them.
        output_padding=tuple(1 - size % 2 for size in sizes),
    )


def _orientations(images: Tensor) -> Iterator[Tensor]:
    """Yield the images turned and mirrored in all ways that keep their shape.

    There are eight orientations of square images and four of others; the first is that
    of `images`.
    """
    turns = range(4) if images.shape[-1] == images.shape[-2] else (0, 2)
    for mirrored in (images, images.flip(-1)):
        for turn in turns:
            yield mirrored.rot90(turn, (-2, -1))


def _reorient(images: Tensor) -> Tensor:
    """Give each image a random orientation."""
    turned = torch.stack(list(_orientations(images)))
    device = images.device
    options = {"generator": own_generator(device), "device": device}
    drawn = torch.randint(len(turned), (len(images),), **options)
    return turned[drawn, torch.arange(len(images), device=device)]


class _PrincipalAxes(nn.Module):
    """Mean and principal axes of samples, which gradients do not change.

    All are zero until :meth:`start_from` is called. The first `n_invariant` axes are
    those of the mean over the orientations of an image. `shape` is that of a sample,
    ``(channels, ...)``.
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
        """Find mean and axes of training samples, with images in all orientations."""
        samples = samples.detach().float().cpu()
        views = samples[None]
        if samples.dim() == 4:
            views = torch.stack(list(_orientations(samples)))
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
    # For few axes of many pixels the exact solution takes minutes and differs little.
    centered = (rows - rows.mean(dim=0)).numpy()
    _, singular_values, axes = randomized_svd(centered, n_axes, random_state=0)
    scales = singular_values / np.sqrt(len(rows) - 1)
    # Whitening would amplify the rounding errors along axes without scatter.
    kept = scales > 1e-3 * scales[0]
    return torch.from_numpy(axes[kept]), torch.from_numpy(scales[kept])


@register("vae", ndim=1)
@register("vae", ndim=2)
class ConvVAE(nn.Module):
    """Variational autoencoder [1]_ of strided convolutions, for spectra or images.

    The encoder halves the size in each level by a convolution of stride 2, followed by
    batch norm and leaky ReLU. Two linear layers give the mean and the logarithm of the
    variance of a normal distribution over the latent numbers. The decoder mirrors the
    encoder: a linear layer, then transposed convolutions, each to exactly the size that
    the encoder had at this level. The input may therefore have any size, odd sizes
    included. An axis of one pixel is not halved further.

    For three channels of 256 x 256 pixels the defaults give a published network of
    6 622 377 parameters for galaxies. The parameters after `output` are extensions for
    few training images; see Notes.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    input_size : int or sequence of int
        Length of the spectra, or height and width of the images.
    latent_dim : int, default=35
        Latent numbers.
    widths : sequence of int, default=(32, 64, 128, 256, 512)
        Feature maps of each level.
    kernel_size : int, default=3
        Odd width of all kernels, at least 3.
    output : {"tanh", "linear"}, default="tanh"
        Function after the last convolution. ``"tanh"`` limits reconstructions to the
        range from -1 to 1, to which the input is scaled; ``"linear"`` does not.
    max_size : int, default=None
        Largest side of the input that is processed at full resolution; at least 16.
        Larger input is averaged over blocks of pixels before the first level, by the
        smallest whole number that brings all sides to `max_size` or below, and
        interpolated linearly after the last level. Averaging two by two saves three
        quarters of the time, and loses details that few latent numbers cannot encode in
        any case. None: never.
    invariant : float, default=0.0
        Fraction of the latent numbers, the first ones, that are the same for an image
        and for its turned and mirrored copies; from 0 to 1. Needs images.
    around_axes : bool, default=False
        Whether the convolutions add corrections to a principal component analysis, in
        the encoder and in the decoder. The axes are those of the samples given to
        :meth:`start_from`; before that all are zero. Needs ``output="linear"``.

    Attributes
    ----------
    fc_mu, fc_var : torch.nn.Linear
        The layers that give the mean and the logarithm of the variance.
    n_invariant : int
        Number of latent numbers that do not depend on the orientation.

    Notes
    -----
    With `invariant`, mean and log-variance of these latent numbers are averages over
    the eight orientations of an image (four if it is not square). In training, one
    random orientation of each image replaces the average. The other latent numbers
    encode the orientation. The kind of galaxy is thus encoded in few latent numbers,
    where linear models find it. In principal components, and in usual latent spaces,
    much of it is in products of numbers that change sign when the image is rotated.

    With `around_axes`, latent means are whitened principal components plus the output
    of the convolutions, which starts at zero: training begins at the error of principal
    component analysis instead of far above it.

    Scale the input to the range from -1 to 1. Latent numbers and orientations are drawn
    from torch's global generator, and in the training of an estimator from its own.

    References
    ----------
    .. [1] D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014,
       arXiv:1312.6114.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import ConvVAE
    >>> network = ConvVAE(n_channels=3, input_size=(69, 50), latent_dim=8).eval()
    >>> mean, log_variance = network.encode(torch.zeros(4, 3, 69, 50))
    >>> mean.shape, log_variance.shape, network.decode(mean).shape
    (torch.Size([4, 8]), torch.Size([4, 8]), torch.Size([4, 3, 69, 50]))
    """

    def __init__(
        self,
        n_channels: int,
        input_size: int | Sequence[int],
        latent_dim: int = 35,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        kernel_size: int = 3,
        output: str = "tanh",
        max_size: int | None = None,
        invariant: float = 0.0,
        around_axes: bool = False,
    ) -> None:
        super().__init__()
        check_count(n_channels, "n_channels")
        self.input_size = _check_input_size(input_size)
        self.ndim = len(self.input_size)
        check_count(latent_dim, "latent_dim")
        widths = check_each(widths, "widths", min_size=1)
        if check_kernel_size(kernel_size, "kernel_size") < 3:
            raise ValueError("kernel_size must be at least 3, but got 1.")
        check_option(output, "output", ("tanh", "linear"))
        self.factor = 1
        if max_size is not None:
            check_count(max_size, "max_size", least=_LEAST_AVERAGED_SIZE)
            self.factor = -(-max(self.input_size) // max_size)
        _check_invariant(invariant, self.ndim)
        if around_axes and output != "linear":
            raise ValueError(
                "around_axes adds to principal components, which have no limits: give "
                f"output='linear' with it, but got output={output!r}."
            )
        self.n_invariant = round(invariant * latent_dim)

        sizes = [tuple(-(-size // self.factor) for size in self.input_size)]
        for _ in widths:
            sizes.append(tuple((size + 1) // 2 for size in sizes[-1]))
        self._bottom = (widths[-1], *sizes[-1])
        levels = []
        for n_read, n_written in zip((n_channels, *widths), widths, strict=False):
            conv = _CONVOLUTION[self.ndim](
                n_read, n_written, kernel_size, stride=2, padding=kernel_size // 2
            )
            levels.append(self._level(conv, n_written))
        self.encoder = nn.Sequential(*levels)
        self.fc_mu = Head(prod(self._bottom), latent_dim)
        self.fc_var = Head(prod(self._bottom), latent_dim)

        self.fc_decode = nn.Linear(latent_dim, prod(self._bottom))
        levels = []
        maps = (*widths[::-1], widths[0])
        for n_read, n_written, reached in zip(
            maps[:-1], maps[1:], sizes[-2::-1], strict=True
        ):
            conv = _doubling(self.ndim, n_read, n_written, kernel_size, reached)
            levels.append(self._level(conv, n_written))
        self.decoder = nn.Sequential(*levels)
        self.to_pixels = _CONVOLUTION[self.ndim](
            widths[0], n_channels, kernel_size, padding=kernel_size // 2
        )
        self.output = nn.Tanh() if output == "tanh" else nn.Identity()
        self.axes = None
        if around_axes:
            shape = (n_channels, *sizes[0])
            self.axes = _PrincipalAxes(shape, latent_dim, self.n_invariant)

    def _level(self, conv: nn.Module, n_maps: int) -> nn.Module:
        norm = BATCH_NORM[self.ndim](n_maps)
        return ConvolutionalLayers(conv, norm, nn.LeakyReLU(_SLOPE))

    def start_from(self, samples: Tensor) -> None:
        """Find the principal axes to which the convolutions add corrections.

        The convolutions start from zero. Networks without `around_axes` do not change,
        nor do those that have axes already, because their weights belong to these.

        Parameters
        ----------
        samples : Tensor of shape (n_samples, n_channels, length) or \
                (n_samples, n_channels, height, width)
            Training samples, scaled as the input, at least as many as latent numbers.
            One or two thousand are enough. Images are used in all orientations.

        Raises
        ------
        ValueError
            If the samples have another shape than the input.
        """
        if self.axes is None or self.axes.axes.any():
            return
        self._check_input(samples)
        self.axes.start_from(self._reduce(samples))
        with torch.no_grad():
            for layer in (self.fc_mu, self.fc_var, self.to_pixels):
                layer.weight.zero_()
                layer.bias.zero_()
            self.fc_var.bias.fill_(_FIRST_LOG_VARIANCE)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the posterior of the latent numbers.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            Spectra or images, scaled to the range from -1 to 1.

        Returns
        -------
        mean, log_variance : Tensor of shape (batch, latent_dim)
            Parameters of a normal distribution for each latent number.

        Raises
        ------
        ValueError
            If `x` has another shape than the network was made for.
        """
        self._check_input(x)
        x = self._reduce(x)
        if not self.n_invariant:
            return self._posterior(x)
        if self.training:
            views = [x, _reorient(x)]
        else:
            views = list(_orientations(x))
        # In one pass, so that batch norm has the same statistics for all orientations.
        both = [
            part.view(len(views), x.shape[0], -1)
            for part in self._posterior(torch.cat(views))
        ]
        first_seen = 1 if self.training else 0
        mean, log_variance = (
            torch.cat(
                [
                    part[first_seen:, :, : self.n_invariant].mean(dim=0),
                    part[0, :, self.n_invariant :],
                ],
                dim=1,
            )
            for part in both
        )
        return mean, log_variance

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        centered = x if self.axes is None else x - self.axes.mean
        maps = self.encoder(enter_maps(centered, self.ndim))
        features = leave_maps(maps, self.ndim).flatten(1)
        mean, log_variance = self.fc_mu(features), self.fc_var(features)
        if self.axes is not None:
            mean = mean + self.axes.project(x)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Decode latent numbers into spectra or images.

        Parameters
        ----------
        z : Tensor of shape (batch, latent_dim)
            Latent numbers.

        Returns
        -------
        Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            The decoded samples; between -1 and 1 where `output` is ``"tanh"``.
        """
        maps = self.fc_decode(z).view(-1, *self._bottom)
        maps = self.to_pixels(self.decoder(enter_maps(maps, self.ndim)))
        x = self.output(leave_maps(maps, self.ndim).to(self.fc_decode.weight.dtype))
        if self.axes is not None:
            x = x + self.axes.restore(z) + self.axes.mean
        if self.factor > 1:
            mode = _INTERPOLATION[self.ndim]
            x = F.interpolate(x, self.input_size, mode=mode, align_corners=False)
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, and decode a sample of the posterior (its mean in evaluation mode).

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            Spectra or images, scaled to the range from -1 to 1.

        Returns
        -------
        reconstruction : Tensor of the shape of `x`
            The decoded samples.
        mean, log_variance : Tensor of shape (batch, latent_dim)
            Parameters of the posterior.
        """
        mean, log_variance = self.encode(x)
        z = mean
        if self.training:
            noise = torch.randn(
                mean.shape,
                generator=own_generator(mean.device),
                dtype=mean.dtype,
                device=mean.device,
            )
            z = mean + noise * (0.5 * log_variance).exp()
        return self.decode(z), mean, log_variance

    def _reduce(self, x: Tensor) -> Tensor:
        if self.factor == 1:
            return x
        sizes = tuple(-(-size // self.factor) for size in self.input_size)
        return F.interpolate(x, sizes, mode="area")

    def _check_input(self, x: Tensor) -> None:
        if x.dim() != self.ndim + 2 or tuple(x.shape[2:]) != self.input_size:
            sizes = ", ".join(map(str, self.input_size))
            raise ValueError(
                "This network takes tensors of shape (batch, channels, "
                f"{sizes}), but got shape {tuple(x.shape)}."
            )


def _check_input_size(input_size: object) -> tuple[int, ...]:
    """Return the lengths of one or two axes, or refuse the value."""
    if isinstance(input_size, Iterable):
        sizes = check_each(input_size, "input_size", min_size=1)
    else:
        sizes = (check_count(input_size, "input_size"),)
    if len(sizes) > 2:
        raise ValueError(
            "input_size must be the length of spectra, or height and width of images, "
            f"but got {input_size!r}."
        )
    return sizes


def _check_invariant(invariant: float, ndim: int) -> None:
    check_number(invariant, "invariant", 0, 1)
    if invariant and ndim == 1:
        raise ValueError(
            "Spectra have one orientation: invariant must be 0 for them, but got "
            f"{invariant!r}."
        )


# For a thousand samples rather than for hundreds of thousands: smaller than the
# published network, and from the first step as good as principal components.
_AXES: dict[str, Any] = {
    "widths": (32, 64, 128),
    "output": "linear",
    "around_axes": True,
}
register("vae-axes", 1)(partial(ConvVAE, **_AXES))
register("vae-axes", 2)(partial(ConvVAE, max_size=64, invariant=0.6, **_AXES))
