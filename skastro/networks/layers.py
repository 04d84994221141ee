# SPDX-License-Identifier: BSD-3-Clause
"""Layers that the networks share, for spectra (1-D) and images (2-D).

A 1-D network runs on maps of shape ``(batch, channels, 1, length)`` in channels-last
memory: convolutions, batch norm and pooling are up to twice as fast there as on
``(batch, channels, length)``, and give the same numbers (``benchmarks/bench_conv1d.py``
prints the comparison). :func:`enter_maps` and :func:`leave_maps` stand at the two ends
of a network; the 1-D layers between them keep the parameter shapes of ``torch.nn`` and
take both kinds of maps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skastro.networks._wide import convolve_wide, is_slow

_AXES = {1: "(batch, channels, length)", 2: "(batch, channels, height, width)"}


def enter_maps(x: Tensor, ndim: int) -> Tensor:
    """Bring a network's input into the layout in which its layers work.

    Parameters
    ----------
    x : Tensor of shape (batch, channels, length) or (batch, channels, height, width)
        What the network was given.
    ndim : {1, 2}
        Number of axes that the network convolves over.

    Returns
    -------
    Tensor of shape (batch, channels, height, width)
        The same values, with height 1 for 1-D input. In channels-last memory on the
        CPU, and under autocast on CUDA; elsewhere as it came, because channels-last
        serves the tensor cores of a GPU in half precision and slows float32 down.

    Raises
    ------
    ValueError
        If `x` has another number of axes.
    """
    if x.dim() != ndim + 2:
        raise ValueError(
            f"This network takes tensors of shape {_AXES[ndim]}, but got shape "
            f"{tuple(x.shape)}. Reshape the input, or choose a network for "
            f"{x.dim() - 2}-D input."
        )
    maps = x.unsqueeze(2) if ndim == 1 else x
    device = maps.device.type
    if device == "cpu" or (device == "cuda" and torch.is_autocast_enabled("cuda")):
        # to(memory_format=...) would return one-channel input as it is, with strides
        # that torch takes for channels-first, and so would all layers behind.
        rows = maps.movedim(1, -1).clone(memory_format=torch.contiguous_format)
        return rows.movedim(-1, 1)
    return maps


def leave_maps(maps: Tensor, ndim: int) -> Tensor:
    """Undo :func:`enter_maps`: drop the axis of height 1 that 1-D maps carry.

    Parameters
    ----------
    maps : Tensor of shape (batch, channels, height, width)
        Feature maps, of height 1 where `ndim` is 1.
    ndim : {1, 2}
        Number of axes that the network convolves over.

    Returns
    -------
    Tensor of shape (batch, channels, length) or (batch, channels, height, width)
        A view of `maps`.
    """
    return maps.squeeze(2) if ndim == 1 else maps


def global_average(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """Average feature maps over all their pixels.

    Parameters
    ----------
    maps : Tensor of shape (batch, channels, ...)
        Feature maps with any number of axes.
    dtype : torch.dtype
        In which to sum and to answer; the head's own, so that half-precision maps
        are not rounded once more.

    Returns
    -------
    Tensor of shape (batch, channels)
        One number for each map.
    """
    # With the channels last the gradient is laid out as the maps are; the other way
    # round all layers before would have to turn it.
    rows = maps.movedim(1, -1)
    return rows.mean(dim=tuple(range(1, maps.dim() - 1)), dtype=dtype)


class Conv1d(nn.Conv1d):
    """Convolution over the last axis that keeps the length (at stride 1), without bias.

    The parameter is that of :class:`torch.nn.Conv1d`, ``weight`` of shape
    ``(out_channels, in_channels, kernel_size)``.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of feature maps read and written.
    kernel_size : int
        Odd width of the kernel, in samples.
    stride : int, default=1
        Step between the outputs, in samples.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks.layers import Conv1d
    >>> conv = Conv1d(2, 8, kernel_size=5)
    >>> conv(torch.zeros(4, 2, 100)).shape, conv(torch.zeros(4, 2, 1, 100)).shape
    (torch.Size([4, 8, 100]), torch.Size([4, 8, 1, 100]))
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps ``(batch, channels, [1,] length)``."""
        if x.dim() != 4:
            return super().forward(x)
        weight = self.weight.unsqueeze(2)
        if is_slow(x, weight):
            return convolve_wide(x, weight, *self.stride)
        stride = (1, *self.stride)
        if self.kernel_size == (1,):
            x, stride = _strided(x, stride)
        return F.conv2d(x, weight, stride=stride, padding=(0, *self.padding))


class Conv2d(nn.Conv2d):
    """Convolution over the last two axes that keeps the size (at stride 1), no bias.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of feature maps read and written.
    kernel_size : int
        Odd side of the square kernel, in pixels.
    stride : int, default=1
        Step between the outputs along both axes, in pixels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps ``(batch, channels, height, width)``."""
        if self.kernel_size != (1, 1):
            return super().forward(x)
        x, stride = _strided(x, self.stride)
        return F.conv2d(x, self.weight, stride=stride)


def _strided(x: Tensor, stride: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Take every second (third, ...) pixel before a convolution of width 1.

    Which is the same. On the CPU torch 2.13 writes beyond its memory where such a
    convolution of at most 8 channels has a stride, in float32 and channels-last.
    """
    if x.device.type != "cpu" or stride == (1, 1):
        return x, stride
    # Pooling a single pixel, other than a slice, keeps to the layout on its way back.
    return F.avg_pool2d(x, 1, stride), (1, 1)


class _BatchNormOfAnyBatch:
    """Mixin of batch norms that accept a batch with one value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the batch's statistics, or with the running ones.

        One value has no variance, and torch refuses it in training: a last batch of
        one row would end a long fit. The running statistics, left as they are, serve
        such a batch.
        """
        self._check_input_dim(x)
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=False,
                eps=self.eps,
            )
        return super().forward(x)


class BatchNorm1d(_BatchNormOfAnyBatch, nn.BatchNorm1d):
    """Batch norm [1]_ of 1-D maps or of plain features, for batches of any size.

    A batch that brings one value per channel is normalised with the running
    statistics, in training too. Parameters and state are those of
    :class:`torch.nn.BatchNorm1d`.

    Parameters
    ----------
    num_features : int
        Number of channels.

    References
    ----------
    .. [1] S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks.layers import BatchNorm1d
    >>> BatchNorm1d(3).train()(torch.ones(1, 3)).shape
    torch.Size([1, 3])
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in (2, 3, 4):
            raise ValueError(
                "BatchNorm1d takes shapes (batch, channels), (batch, channels, length) "
                f"and (batch, channels, 1, length), but got {tuple(x.shape)}."
            )


class BatchNorm2d(_BatchNormOfAnyBatch, nn.BatchNorm2d):
    """Batch norm of 2-D maps for batches of any size; see :class:`BatchNorm1d`.

    Parameters
    ----------
    num_features : int
        Number of channels.
    """


class MaxPool1d(nn.MaxPool1d):
    """Maximum over windows of the last axis, padded to be centred.

    Parameters
    ----------
    kernel_size : int
        Odd width of the window, in samples.
    stride : int
        Step between the windows, in samples.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Pool maps ``(batch, channels, [1,] length)``."""
        if x.dim() != 4:
            return super().forward(x)
        return F.max_pool2d(
            x, (1, self.kernel_size), (1, self.stride), (0, self.padding)
        )


class MaxPool2d(nn.MaxPool2d):
    """Maximum over square windows, padded to be centred.

    Parameters
    ----------
    kernel_size : int
        Odd side of the window, in pixels.
    stride : int
        Step between the windows, in pixels.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride, padding=kernel_size // 2)


class AvgPool1d(nn.AvgPool1d):
    """Mean of each `kernel_size` neighbouring samples; an incomplete end is dropped.

    Maps shorter than the window pass unchanged, so a network may pool more often than
    its input can be divided.

    Parameters
    ----------
    kernel_size : int
        Width of the window and step between windows, in samples.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__(kernel_size)
        self.width = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Pool maps ``(batch, channels, [1,] length)``."""
        if x.shape[-1] < self.width:
            return x
        if x.dim() != 4:
            return super().forward(x)
        return F.avg_pool2d(x, (1, self.width))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation [1]_: scale each map by a gate computed from all maps.

    The maps' means pass through two small linear layers, a ReLU between them and a
    sigmoid behind them; the results, between 0 and 1, multiply the maps.

    Parameters
    ----------
    n_channels : int
        Number of feature maps.
    reduction : int, default=16
        `n_channels` over the number of hidden units (at least one unit).

    References
    ----------
    .. [1] J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
       doi:10.1109/CVPR.2018.00745.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks.layers import SqueezeExcitation
    >>> SqueezeExcitation(32)(torch.zeros(4, 32, 100)).shape
    torch.Size([4, 32, 100])
    """

    def __init__(self, n_channels: int, reduction: int = 16) -> None:
        super().__init__()
        n_hidden = max(1, n_channels // reduction)
        self.squeeze = nn.Linear(n_channels, n_hidden)
        self.excite = nn.Linear(n_hidden, n_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Scale maps of shape ``(batch, channels, ...)``."""
        means = global_average(maps, dtype=maps.dtype)
        gates = torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return maps * gates.view(*gates.shape, *[1] * (maps.dim() - 2))


class Head(nn.Linear):
    """Linear layer that keeps its own precision under autocast.

    The last layer is cheap, and bfloat16 would round its outputs to three digits: too
    coarse for regression and for calibrated probabilities.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of features read and of outputs written.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_features)`` to ``(batch, out_features)``."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


CONVOLUTION = {1: Conv1d, 2: Conv2d}
BATCH_NORM = {1: BatchNorm1d, 2: BatchNorm2d}
MAX_POOL = {1: MaxPool1d, 2: MaxPool2d}
