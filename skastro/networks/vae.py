# SPDX-License-Identifier: BSD-3-Clause
"""The convolutional variational autoencoder, for spectra and images."""

from collections.abc import Iterable, Sequence
from math import prod
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skastro.networks._checks import (
    check_count,
    check_each,
    check_kernel_size,
    check_option,
)
from skastro.networks._vae_layers import (
    CONVOLUTION,
    PrincipalAxes,
    doubling,
    orientations,
    reorient,
)
from skastro.networks.layers import BATCH_NORM, Head, enter_maps, leave_maps

_LEAST_AVERAGED_SIZE = 16
_SLOPE = 0.01
# A posterior about as narrow as training makes it, exp(-4 / 2) of the prior's width.
_FIRST_LOG_VARIANCE = -4.0
_INTERPOLATION = {1: "linear", 2: "bilinear"}


class ConvVAE(nn.Module):
    """Variational autoencoder [1]_ of strided convolutions, for spectra or images.

    The encoder halves the size in each level, by a convolution of stride 2 with batch
    norm and leaky ReLU behind it; two linear layers give the mean and the logarithm of
    the variance of a normal distribution over the latent numbers. The decoder mirrors
    it, from a linear layer through transposed convolutions, each to exactly the size
    that the encoder had there; so the input may have any size, odd ones included. An
    axis that has shrunk to one pixel stays so.

    The defaults, on three channels of 256 x 256 pixels, make a network of 6 622 377
    parameters that has been used on galaxies. The options behind `output` are this
    project's own: they make a better one of few training images, see Notes.

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
        What follows the last convolution. ``"tanh"`` keeps reconstructions between
        -1 and 1, to which the input is scaled; ``"linear"`` leaves them free.
    max_size : int, default=None
        Input of which a side is longer is averaged over blocks of pixels, by the
        smallest whole number that brings all sides to `max_size` or below, before the
        first level, and interpolated linearly behind the last one; at least 16.
        Averaging two by two saves three quarters of the time, at the cost of details
        that few latent numbers do not hold anyway. None: never.
    invariant : float, default=0.0
        Part of the latent numbers, the first ones, that are the same for an image and
        for its turned and mirrored copies; from 0 to 1. Needs images.
    around_axes : bool, default=False
        Whether the convolutions add to what principal axes give, in the encoder and in
        the decoder. The axes are those of the samples given to :meth:`start_from`;
        before that all are zero. Needs ``output="linear"``.

    Attributes
    ----------
    fc_mu, fc_var : torch.nn.Linear
        The layers that give the mean and the logarithm of the variance.
    n_invariant : int
        Number of latent numbers that do not depend on the orientation.

    Notes
    -----
    With `invariant`, mean and log-variance of these latent numbers are averages over
    the eight orientations of an image (four where it is not square). In training one
    orientation, drawn for each image, stands for all of them: it does not tell how the
    image before the decoder's eyes is turned, so the other latent numbers must. What
    kind of galaxy it is thus lies in few latent numbers, where linear models find it;
    in principal components, and in usual latent spaces, much of it is in products of
    numbers that change sign as the image turns.

    With `around_axes`, latent means are whitened principal components plus what the
    convolutions find, and these start at zero: training begins at the error of
    principal component analysis instead of far above it.

    Input is to be scaled to the range from -1 to 1. Latent numbers and orientations are
    drawn from torch's global generator, as dropout is.

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
        check_count("n_channels", n_channels)
        self.input_size = _check_input_size(input_size)
        self.ndim = len(self.input_size)
        check_count("latent_dim", latent_dim)
        widths = check_each("widths", widths, check_count, min_size=1)
        if check_kernel_size("kernel_size", kernel_size) < 3:
            raise ValueError("kernel_size must be at least 3, but got 1.")
        check_option("output", output, ("tanh", "linear"))
        self.factor = 1
        if max_size is not None:
            check_count("max_size", max_size, minimum=_LEAST_AVERAGED_SIZE)
            self.factor = -(-max(self.input_size) // max_size)
        _check_invariant(invariant, self.ndim)
        if around_axes and output != "linear":
            raise ValueError(
                "around_axes adds to principal components, which know no limits: give "
                f"output='linear' with it, but got output={output!r}."
            )
        self.n_invariant = round(invariant * latent_dim)

        sizes = [tuple(-(-size // self.factor) for size in self.input_size)]
        for _ in widths:
            sizes.append(tuple((size + 1) // 2 for size in sizes[-1]))
        self._bottom = (widths[-1], *sizes[-1])
        levels = []
        for n_read, n_written in zip((n_channels, *widths), widths, strict=False):
            conv = CONVOLUTION[self.ndim](
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
            conv = doubling(self.ndim, n_read, n_written, kernel_size, reached)
            levels.append(self._level(conv, n_written))
        self.decoder = nn.Sequential(*levels)
        self.to_pixels = CONVOLUTION[self.ndim](
            widths[0], n_channels, kernel_size, padding=kernel_size // 2
        )
        self.output = nn.Tanh() if output == "tanh" else nn.Identity()
        self.axes = None
        if around_axes:
            shape = (n_channels, *sizes[0])
            self.axes = PrincipalAxes(shape, latent_dim, self.n_invariant)

    def _level(self, conv: nn.Module, n_maps: int) -> nn.Module:
        return nn.Sequential(conv, BATCH_NORM[self.ndim](n_maps), nn.LeakyReLU(_SLOPE))

    def start_from(self, samples: Tensor) -> None:
        """Find the principal axes around which the network is to learn.

        The convolutions are set to add nothing yet. Of networks without `around_axes`,
        and of those that have axes already, whose weights go with them, nothing
        changes.

        Parameters
        ----------
        samples : Tensor of shape (n_samples, n_channels, length) or \
                (n_samples, n_channels, height, width)
            Training samples, scaled as the input: a thousand or two will do, and at
            least as many as there are latent numbers. Images are taken in all
            orientations.

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
        """Find the posterior of the latent numbers.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            Spectra or images, scaled to the range from -1 to 1.

        Returns
        -------
        mean, log_variance : Tensor of shape (batch, latent_dim)
            Of a normal distribution in each latent number.

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
            views = [x, reorient(x)]
        else:
            views = list(orientations(x))
        # In one pass, so that batch norm sees all orientations alike.
        both = [
            part.view(len(views), len(x), -1)
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
        centred = x if self.axes is None else x - self.axes.mean
        maps = self.encoder(enter_maps(centred, self.ndim))
        features = leave_maps(maps, self.ndim).flatten(1)
        mean, log_variance = self.fc_mu(features), self.fc_var(features)
        if self.axes is not None:
            mean = mean + self.axes.project(x)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Turn latent numbers into spectra or images.

        Parameters
        ----------
        z : Tensor of shape (batch, latent_dim)
            Latent numbers.

        Returns
        -------
        Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            What the decoder makes of them; between -1 and 1 where `output` is
            ``"tanh"``.
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
        """Encode, and decode a draw of the posterior; its mean in evaluation mode.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            Spectra or images, scaled to the range from -1 to 1.

        Returns
        -------
        reconstruction : Tensor of the shape of `x`
            What the decoder makes of the latent numbers.
        mean, log_variance : Tensor of shape (batch, latent_dim)
            Of the posterior.
        """
        mean, log_variance = self.encode(x)
        z = mean
        if self.training:
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
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
    """Return the lengths of one or two axes, or refuse what is none."""
    if isinstance(input_size, Iterable):
        sizes = check_each("input_size", input_size, check_count, min_size=1)
    else:
        sizes = (check_count("input_size", input_size),)
    if len(sizes) > 2:
        raise ValueError(
            "input_size must be the length of spectra, or height and width of images, "
            f"but got {input_size!r}."
        )
    return sizes


def _check_invariant(invariant: object, ndim: int) -> None:
    if (
        isinstance(invariant, bool)
        or not isinstance(invariant, Real)
        or not 0 <= invariant <= 1
    ):
        raise ValueError(
            "invariant must be a part of the latent numbers, from 0 to 1, but got "
            f"{invariant!r}."
        )
    if invariant and ndim == 1:
        raise ValueError(
            "Spectra have one orientation: invariant must be 0 for them, but got "
            f"{invariant!r}."
        )
