# SPDX-License-Identifier: BSD-3-Clause
"""Convolution, batch norm and activation in one step, for predictions on the CPU.

A batch norm that does not learn is a factor and an offset for each channel. Folded into
the weights of the convolution before it, they cost nothing, and oneDNN applies the
activation while a result is in the processor's registers.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import prod

import torch
from torch import Tensor, nn

from skastro._compat import (
    convolve_and_activate,
    has_hooks,
    has_onednn,
    version_of,
)
from skastro.networks.layers import BatchNorm1d, BatchNorm2d, Conv1d, Conv2d

_THIS_THREAD = threading.local()
# Layers whose ``forward`` is known; those of a subclass may do something else.
FOLDED: set[type] = {Conv1d, Conv2d, BatchNorm1d, BatchNorm2d}
# Pixels for each weight of a channel. Folding a weight takes about 2.5 ns, and saves
# 0.5 ns for each number of a map.
_LEAST_PIXELS = 5
# oneDNN's names.
_ACTIVATIONS: dict[type | None, str] = {
    type(None): "none",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
}


class FoldedWeights:
    """Weights of a network's convolutions that hold the batch norms behind them.

    Parameters
    ----------
    network : torch.nn.Module
        The network.
    n_samples : int
        How many samples it will be applied to. Layers that see too few pixels in them
        to make up for the computation of the weights are left as they are.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import ResNet
    >>> from skastro.networks.folding import FoldedWeights
    >>> network = ResNet(n_channels=1, n_outputs=3, width=8).eval()
    >>> spectra = torch.randn(4, 1, 300)
    >>> with torch.no_grad(), FoldedWeights(network, 4).used():
    ...     output = network(spectra)
    >>> torch.allclose(output, network(spectra), atol=1e-4)
    True
    """

    def __init__(self, network: nn.Module, n_samples: int) -> None:
        self._network = network
        self._n_samples = n_samples
        self._versions: list[int] = []
        self._folded: dict[tuple, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the network use the weights within a block, in this thread.

        The network does so in evaluation mode without gradients, on the CPU. Its
        weights must not change within the block; between blocks they may.
        """
        tensors = chain(self._network.parameters(), self._network.buffers())
        versions = [version_of(tensor) for tensor in tensors]
        if versions != self._versions:
            self._versions = versions
            self._folded.clear()
        before = getattr(_THIS_THREAD, "weights", None)
        _THIS_THREAD.weights = self if has_onednn() else None
        try:
            yield
        finally:
            _THIS_THREAD.weights = before

    def pay(self, x: Tensor, conv: nn.Module) -> bool:
        """Tell whether folding takes less time than it saves."""
        n_pixels = self._n_samples * x.shape[2:].numel() / prod(conv.stride)
        return n_pixels > _LEAST_PIXELS * conv.weight[0].numel()

    def fold(
        self, conv: nn.Module, norm: nn.Module, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return the weights (out, in, height, width) and the offsets (out,)."""
        key = (conv, norm, dtype)
        if key not in self._folded:
            factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            offset = norm.bias - norm.running_mean * factor
            if conv.bias is not None:
                offset = offset + conv.bias * factor
            weight = conv.weight if conv.weight.dim() == 4 else conv.weight.unsqueeze(2)
            weight = weight * factor.view(-1, 1, 1, 1)
            weight = weight.to(dtype, memory_format=torch.channels_last)
            self._folded[key] = weight, offset.to(dtype)
        return self._folded[key]


def convolve_and_normalize(
    x: Tensor,
    conv: nn.Module,
    norm: nn.Module,
    activation: nn.Module | None = None,
    added: Tensor | None = None,
) -> Tensor:
    """Apply a convolution, a batch norm and an activation.

    Where :class:`FoldedWeights` are used they are one step, unless a layer has hooks or
    is not of this package. The result is the same but for rounding.

    Parameters
    ----------
    x : Tensor of shape (batch, channels, height, width)
        Maps.
    conv, norm : torch.nn.Module
        The layers.
    activation : torch.nn.Module, default=None
        The activation; None for none.
    added : Tensor, default=None
        Maps that are added before the activation, as in a residual block.

    Returns
    -------
    Tensor of shape (batch, channels, height, width)
        The maps.
    """
    weights = getattr(_THIS_THREAD, "weights", None)
    if (
        weights is None
        or not _can_fold(x, conv, norm, activation)
        or not weights.pay(x, conv)
    ):
        x = norm(conv(x))
        x = x if added is None else x + added
        return x if activation is None else activation(x)
    dtype = x.dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    weight, offset = weights.fold(conv, norm, dtype)
    stride, padding = (
        values if len(values) == 2 else (least, *values)
        for values, least in ((conv.stride, 1), (conv.padding, 0))
    )
    if weight.shape[2:] == (1, 1) and stride != (1, 1):
        # As Conv1d does; without gradients slices are faster than pooling.
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
        x = x.contiguous(memory_format=torch.channels_last)
    return convolve_and_activate(
        x.to(dtype),
        weight,
        offset,
        stride,
        padding,
        _ACTIVATIONS[type(activation)],
        getattr(activation, "negative_slope", None),
        None if added is None else added.to(dtype),
    )


class ConvolutionalLayers(nn.Sequential):
    """Convolutions with batch norms, and with an activation each if there are several.

    The layers are those of :func:`convolve_and_normalize`, in its order.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, height, width)``."""
        layers = list(self)
        for place in range(0, len(layers), 3):
            x = convolve_and_normalize(x, *layers[place : place + 3])
        return x


def _can_fold(
    x: Tensor, conv: nn.Module, norm: nn.Module, activation: nn.Module | None
) -> bool:
    """Tell whether the layers are those that are known, and nobody looks at them."""
    dtype = x.dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    layers = [layer for layer in (conv, norm, activation) if layer is not None]
    return (
        x.device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and not torch.is_grad_enabled()
        and {type(conv), type(norm)} <= FOLDED
        and type(activation) in _ACTIVATIONS
        and not norm.training
        and conv.weight.dtype is torch.float32
        and not any(map(has_hooks, layers))
    )
