# SPDX-License-Identifier: BSD-3-Clause
"""Layers that the networks share, for spectra (1-D) and images (2-D).

A 1-D network runs on maps of shape ``(batch, channels, 1, length)`` in channels-last
memory. Convolutions, batch norm and pooling are up to twice as fast as on
``(batch, channels, length)``, and give the same numbers (``benchmarks/bench_conv1d.py``
prints the comparison). A network calls :func:`enter_maps` first and :func:`leave_maps`
last. The 1-D layers between them keep the parameter shapes of ``torch.nn`` and accept
both kinds of maps.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, prod
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skastro._compat import (
    find_bfloat16_support,
    find_convolution,
    find_global_hooks,
    hooks_of,
    version_of,
)
from skastro.utils import check_count, own_generator

_AXES = {1: "(batch, channels, length)", 2: "(batch, channels, height, width)"}
# On the CPU, torch's fast kernels for the gradient of the weights end at this width.
# Beyond it each sample of the kernel takes four (bfloat16: six) times as long
# (benchmarks/bench_conv1d.py --kernel-size 15).
_WIDEST_FAST = 14
# The CPU's kernels treat so many pixels together; narrower maps are special cases.
_BLOCK = 16
_NO_STRIDE = (1, (1,), (1, 1))
# With fewer channels a wide kernel has no more weights than a narrow one of many.
_LEAST_CHANNELS = 4
# Folding a weight takes about 2.5 ns, and saves 0.5 ns for each number of a map: it
# pays from this number of pixels on, for each weight of a channel.
_LEAST_PIXELS = 5

_THIS_THREAD = threading.local()


def check_kernel_size(value: object, name: str) -> int:
    """Return an odd positive integer as an int, or refuse the value."""
    size = check_count(value, name)
    if size % 2 == 0:
        raise ValueError(
            f"{name} must be odd, so that the kernel has a center; got {size}. Take "
            f"{size - 1} or {size + 1}."
        )
    return size


def check_dropout(value: object) -> float:
    """Return a probability below 1 as a float, or refuse the value."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not 0 <= float(value) < 1
    ):
        raise ValueError(
            f"dropout must be a probability, at least 0 and less than 1; got {value!r}."
        )
    return float(value)


def enter_maps(x: Tensor, ndim: int) -> Tensor:
    """Convert a network's input to the layout of its layers.

    Maps have shape ``(batch, channels, height, width)``, with height 1 for 1-D input.
    They are in channels-last memory on the CPU, and under autocast on CUDA. Elsewhere
    the layout does not change: channels-last suits the tensor cores of a GPU in half
    precision, and slows float32 down.
    """
    if x.dim() != ndim + 2:
        raise ValueError(
            f"This network takes tensors of shape {_AXES[ndim]}, but got shape "
            f"{tuple(x.shape)}. Reshape the input, or choose a network for "
            f"{x.dim() - 2}-D input."
        )
    maps = x.unsqueeze(2) if ndim == 1 else x
    device = maps.device.type
    if torch.compiler.is_exporting():
        # The layout is the other runtime's own.
        return maps
    if device == "cpu" or (device == "cuda" and torch.is_autocast_enabled("cuda")):
        # to(memory_format=...) would return one-channel input unchanged, with strides
        # that torch and all later layers take for channels-first. view makes new ones.
        rows = maps.movedim(1, -1)
        return rows.reshape(-1).view(rows.shape).movedim(-1, 1)
    return maps


def leave_maps(maps: Tensor, ndim: int) -> Tensor:
    """Undo :func:`enter_maps`: drop the axis of height 1 that 1-D maps carry."""
    return maps.squeeze(2) if ndim == 1 else maps


def global_average(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """Average feature maps ``(batch, channels, ...)`` over all their pixels.

    `dtype` is that of the sum and the result. It is the dtype of the head, so that
    half-precision maps are not rounded again.
    """
    # In channels-last memory the gradient has the layout of the maps; otherwise all
    # previous layers would have to transpose it.
    rows = maps.movedim(1, -1)
    return rows.mean(dim=tuple(range(1, maps.dim() - 1)), dtype=dtype)


def convolve(
    function: Callable[..., Tensor], x: Tensor, *weights: Tensor | None, **options: Any
) -> Tensor:
    """Call a convolution of :mod:`torch.nn.functional`, in a format it is right in.

    On CPUs with instructions for short formats, torch 2.13 computes wrong gradients of
    strided convolutions, transposed ones included, where a map is about as narrow as
    the kernel: they are random, and often not finite. These convolutions are computed
    in float32 and rounded afterwards.
    """
    dtype = _dtype_for(x)
    if (
        options["stride"] in _NO_STRIDE
        or x.device.type != "cpu"
        or dtype.itemsize > 2
        or not _is_narrow(x, weights[0])
    ):
        return function(x, *weights, **options)
    with torch.autocast("cpu", enabled=False):
        exact = [None if w is None else w.float() for w in (x, *weights)]
        return function(*exact, **options).to(dtype)


def _dtype_for(x: Tensor) -> torch.dtype:
    """Return the format in which a convolution of maps is computed."""
    device = x.device.type
    on = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else x.dtype


def _is_narrow(x: Tensor, weight: Any) -> bool:
    """Tell whether the kernel reaches an edge from nearly everywhere."""
    return any(
        1 < reach and size < reach + _BLOCK
        for size, reach in zip(x.shape[2:], weight.shape[2:], strict=True)
    )


def _is_slow(x: Tensor, weight: Tensor) -> bool:
    """Tell whether torch's own gradient of the weights would be slow."""
    return (
        weight.shape[-1] > _WIDEST_FAST
        and weight.shape[1] >= _LEAST_CHANNELS
        and x.device.type == "cpu"
        and weight.requires_grad
    )


def _convolve_wide(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve maps ``(batch, channels, 1, length)`` by kernels of an odd width.

    The result and its gradients equal those of :func:`torch.nn.functional.conv2d`,
    padded by half of the kernel. The gradient of the weights is assembled from the
    gradients of narrow parts of the kernel.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
    return _WideConvolution.apply(x, weight, stride)


class _WideConvolution(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int) -> Tensor:
        padding = (0, weight.shape[-1] // 2)
        return F.conv2d(x, weight, stride=(1, stride), padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, ctx.stride = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride = (1, ctx.stride)
        half = weight.shape[-1] // 2
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            # torch computes in the layout of the weights, which is that of the maps.
            kernels = weight.contiguous(memory_format=torch.channels_last)
            of_x = torch.nn.grad.conv2d_input(
                x.shape, kernels, gradient, stride=stride, padding=(0, half)
            )
        if ctx.needs_input_grad[1]:
            padded = F.pad(x, (half, half))
            reach = ctx.stride * (gradient.shape[-1] - 1)
            parts, start = [], 0
            for part in weight.chunk(ceil(weight.shape[-1] / _WIDEST_FAST), dim=-1):
                stop = start + part.shape[-1]
                parts.append(
                    torch.nn.grad.conv2d_weight(
                        padded[..., start : reach + stop],
                        part.shape,
                        gradient,
                        stride=stride,
                    )
                )
                start = stop
            of_weight = torch.cat(parts, dim=-1)
        return of_x, of_weight, None


class _SameSize(nn.Module):
    """Mixin of convolutions without bias that keep the size at stride 1."""

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


class Conv1d(_SameSize, nn.Conv1d):
    """Convolution over the last axis that keeps the length (at stride 1), without bias.

    The parameter is that of :class:`torch.nn.Conv1d`, ``weight`` of shape
    ``(out_channels, in_channels, kernel_size)``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps ``(batch, channels, [1,] length)``."""
        if x.dim() != 4:
            return self.forward(x.unsqueeze(2)).squeeze(2)
        weight = self.weight.unsqueeze(2)
        if _is_slow(x, weight):
            return convolve(_convolve_wide, x, weight, stride=self.stride[0])
        stride = (1, *self.stride)
        if self.kernel_size == (1,):
            x, stride = _strided(x, stride)
        padding = (0, *self.padding)
        return convolve(F.conv2d, x, weight, stride=stride, padding=padding)


class Conv2d(_SameSize, nn.Conv2d):
    """Convolution over the last two axes that keeps the size (at stride 1), no bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve maps ``(batch, channels, height, width)``."""
        stride = self.stride
        if self.kernel_size == (1, 1):
            x, stride = _strided(x, stride)
        padding = self.padding
        return convolve(F.conv2d, x, self.weight, stride=stride, padding=padding)


def _strided(x: Tensor, stride: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Take every second (third, ...) pixel before a convolution of width 1.

    The result is that of a strided convolution. On the CPU, torch 2.13 writes beyond
    its memory if such a convolution of at most 8 channels has a stride, in float32 and
    channels-last memory.
    """
    if x.device.type != "cpu" or stride == (1, 1) or torch.compiler.is_exporting():
        return x, stride
    # Pooling over single pixels keeps the layout in the backward pass; slices do not.
    return F.avg_pool2d(x, 1, stride), (1, 1)


class _BatchNormOfAnyBatch(nn.Module):
    """Mixin for batch norms that accept a batch with one value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize with the batch's statistics, or with the running ones.

        A single value has no variance, and torch refuses it in training: a last batch
        of one row would end a long fit. Such a batch is normalized with the running
        statistics and does not change them.
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

    A batch with one value per channel is normalized with the running statistics, in
    training too. Parameters and state are those of :class:`torch.nn.BatchNorm1d`.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() not in (2, 3, 4):
            raise ValueError(
                "BatchNorm1d takes shapes (batch, channels), (batch, channels, length) "
                f"and (batch, channels, 1, length), but got {tuple(x.shape)}."
            )


class BatchNorm2d(_BatchNormOfAnyBatch, nn.BatchNorm2d):
    """Batch norm of 2-D maps for batches of any size; see :class:`BatchNorm1d`."""


class MaxPool1d(nn.MaxPool1d):
    """Maximum over windows of the last axis, padded to be centered."""

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
    """Maximum over square windows, padded to be centered."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride, padding=kernel_size // 2)


class AvgPool1d(nn.AvgPool1d):
    """Mean of each `kernel_size` neighboring samples; an incomplete end is dropped.

    Maps shorter than the window pass unchanged, so a network may pool more often than
    its input can be divided.
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

    The means of the maps pass through a linear layer, a ReLU, a second linear layer and
    a sigmoid. The results, between 0 and 1, multiply the maps. There is one hidden unit
    for `reduction` feature maps.

    References
    ----------
    .. [1] J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
       doi:10.1109/CVPR.2018.00745.
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


class Dropout(nn.Dropout):
    """Dropout that draws from the generator of the training it is part of."""

    def forward(self, x: Tensor) -> Tensor:
        """Set numbers to zero, and scale up the others."""
        generator = own_generator(x.device)
        if generator is None or not self.training or self.p == 0:
            return super().forward(x)
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=generator)
        return x * kept.div_(1 - self.p)


class Head(nn.Linear):
    """Linear layer that keeps its own precision under autocast.

    The last layer is cheap, and bfloat16 would round its outputs to three digits, which
    is too coarse for regression and for calibrated probabilities.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_features)`` to ``(batch, out_features)``."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


CONVOLUTION: dict[int, type[nn.Module]] = {1: Conv1d, 2: Conv2d}
BATCH_NORM: dict[int, type[nn.Module]] = {1: BatchNorm1d, 2: BatchNorm2d}
MAX_POOL: dict[int, type[nn.Module]] = {1: MaxPool1d, 2: MaxPool2d}


# Layers whose ``forward`` is known; those of a subclass may do something else.
FOLDED: set[type] = {Conv1d, Conv2d, BatchNorm1d, BatchNorm2d}
# oneDNN's names.
_ACTIVATIONS: dict[type | None, str] = {
    type(None): "none",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
}


class FoldedWeights:
    """Weights of convolutions that hold the batch norms behind them.

    A batch norm that does not learn is a factor and an offset for each channel. Folded
    into the weights of the convolution before it, they cost nothing, and oneDNN applies
    the activation while a result is in the processor's registers.

    Weights are folded once, and again if layers have got other ones or torch has
    counted a change in place. It does not count changes of ``weight.data``: after these
    a new object is needed.

    Parameters
    ----------
    n_samples : int
        How many samples a network will be applied to. Layers that see too few pixels in
        them to make up for the computation of the weights are left as they are.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import ResNet
    >>> from skastro.networks.layers import FoldedWeights
    >>> network = ResNet(n_channels=1, n_outputs=3, width=8).eval()
    >>> spectra = torch.randn(4, 1, 300)
    >>> with torch.no_grad(), FoldedWeights(4).used():
    ...     output = network(spectra)
    >>> torch.allclose(output, network(spectra), atol=1e-4)
    True
    """

    def __init__(self, n_samples: int) -> None:
        self._n_samples = n_samples
        self._folded: dict[tuple, tuple[list, Tensor, Tensor]] = {}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let networks use the weights within a block, in this thread.

        They do so in evaluation mode without gradients, on the CPU.
        """
        before = getattr(_THIS_THREAD, "weights", None)
        _THIS_THREAD.weights = self if has_onednn() else None
        try:
            yield
        finally:
            _THIS_THREAD.weights = before

    def pays(self, x: Tensor, conv: nn.Module) -> bool:
        """Tell whether folding takes less time than it saves."""
        n_pixels = self._n_samples * x.shape[2:].numel() / prod(conv.stride)
        return n_pixels > _LEAST_PIXELS * conv.weight[0].numel()

    def fold(
        self, conv: nn.Module, norm: nn.Module, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor] | None:
        """Return the weights (out, in, height, width) and the offsets (out,).

        They are None for tensors without memory of their own, as those of `torch.func`.
        """
        parts = [conv.weight, conv.bias, norm.weight, norm.bias]
        parts = [*parts, norm.running_mean, norm.running_var]
        try:
            now = [(p.data_ptr(), version_of(p)) for p in parts if p is not None]
        except RuntimeError:
            return None
        key = (conv, norm, dtype)
        before, *folded = self._folded.get(key, (None,))
        if now != before:
            factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            offset = norm.bias - norm.running_mean * factor
            if conv.bias is not None:
                offset = offset + conv.bias * factor
            weight = conv.weight if conv.weight.dim() == 4 else conv.weight.unsqueeze(2)
            weight = weight * factor.view(-1, 1, 1, 1)
            weight = weight.to(dtype, memory_format=torch.channels_last)
            folded = [weight, offset.to(dtype)]
            self._folded[key] = now, *folded
        return folded[0], folded[1]


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
    weights = None
    if not torch.compiler.is_compiling():
        weights = getattr(_THIS_THREAD, "weights", None)
    dtype, folded = _dtype_for(x), None
    if (
        weights is not None
        and _can_fold(x, conv, norm, activation)
        and weights.pays(x, conv)
    ):
        folded = weights.fold(conv, norm, dtype)
    if folded is None:
        x = norm(conv(x))
        x = x if added is None else x + added
        return x if activation is None else activation(x)
    weight, offset = folded
    stride, padding = conv.stride, conv.padding
    if len(stride) == 1:
        stride, padding = (1, *stride), (0, *padding)
    if weight.shape[2:] == (1, 1) and stride != (1, 1):
        # As Conv1d does; without gradients slices are faster than pooling.
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
        x = x.contiguous(memory_format=torch.channels_last)
    name = _ACTIVATIONS[type(activation)]
    slopes = []
    if activation is not None and name == "leaky_relu":
        slopes = [activation.negative_slope]
    function, options = find_convolution(torch), (offset, padding, stride, (1, 1), 1)
    x = x.to(dtype)
    if added is None:
        return function(x, weight, *options, name, slopes, "")
    then = None if activation is None else name
    added = added.to(dtype)
    return function.binary(x, added, weight, *options, "add", None, then, slopes, "")


class ConvolutionalLayers(nn.Sequential):
    """Convolutions with batch norms, and with an activation each if there are several.

    The layers are those of :func:`convolve_and_normalize`, in its order.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, height, width)``."""
        layers = list(self)
        for place in range(0, len(layers), 3):
            group = layers[place : place + 3]
            # Users cut networks off, and append layers.
            single = len(group) == 1
            x = group[0](x) if single else convolve_and_normalize(x, *group)
        return x


def _can_fold(
    x: Tensor, conv: nn.Module, norm: nn.Module, activation: nn.Module | None
) -> bool:
    """Tell whether the layers are those that are known, without hooks."""
    layers = [layer for layer in (conv, norm, activation) if layer is not None]
    return (
        x.dim() == 4
        and x.device.type == "cpu"
        and _has_kernels(_dtype_for(x))
        and not torch.is_grad_enabled()
        and {type(conv), type(norm)} <= FOLDED
        and type(activation) in _ACTIVATIONS
        and not norm.training
        and norm.weight is not None
        and norm.running_var is not None
        and conv.weight.dtype is torch.float32
        and not any("forward" in vars(layer) for layer in layers)
        and not any(hook for layer in layers for hook in hooks_of(layer))
        and not find_global_hooks(torch)()
    )


def _has_kernels(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN convolves in `dtype`; bfloat16 needs AVX512 or the like."""
    return dtype is torch.float32 or (
        dtype is torch.bfloat16 and find_bfloat16_support(torch)()
    )


def has_onednn() -> bool:
    """Tell whether convolutions and activations can be computed in one step."""
    # Elsewhere than on x86, oneDNN calls other libraries.
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
    )
