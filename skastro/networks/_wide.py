# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions by wide kernels whose weights' gradient is computed in pieces."""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# On the CPU, torch's fast kernels for the gradient of the weights end at this width.
# Beyond it each sample of the kernel takes four (bfloat16: six) times as long
# (benchmarks/bench_conv1d.py --kernel-size 15).
_WIDEST_FAST = 14
# Of fewer channels a wide kernel has no more weights than a narrow one of many.
_LEAST_CHANNELS = 4


def is_slow(x: Tensor, weight: Tensor) -> bool:
    """Tell whether torch's own gradient of the weights would be slow.

    Parameters
    ----------
    x : Tensor of shape (batch, channels, 1, length)
        Feature maps.
    weight : Tensor of shape (out_channels, channels, 1, width)
        Kernels.

    Returns
    -------
    bool
        Whether to use :func:`convolve_wide`.
    """
    return (
        weight.shape[-1] > _WIDEST_FAST
        and weight.shape[1] >= _LEAST_CHANNELS
        and x.device.type == "cpu"
        and weight.requires_grad
    )


def convolve_wide(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve along the last axis, padded by half of the kernel.

    The same as :func:`torch.nn.functional.conv2d`, its gradients included. The gradient
    of the weights is put together from those of narrow pieces of the kernel.

    Parameters
    ----------
    x : Tensor of shape (batch, channels, 1, length)
        Feature maps.
    weight : Tensor of shape (out_channels, channels, 1, width)
        Kernels of an odd width.
    stride : int
        Step between the outputs, in samples.

    Returns
    -------
    Tensor of shape (batch, out_channels, 1, length')
        Feature maps.
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
            # torch computes in the layout of the weights here: that of the maps.
            kernels = weight.contiguous(memory_format=torch.channels_last)
            of_x = torch.nn.grad.conv2d_input(
                x.shape, kernels, gradient, stride=stride, padding=(0, half)
            )
        if ctx.needs_input_grad[1]:
            padded = F.pad(x, (half, half))
            reach = ctx.stride * (gradient.shape[-1] - 1)
            pieces, start = [], 0
            for piece in weight.chunk(ceil(weight.shape[-1] / _WIDEST_FAST), dim=-1):
                stop = start + piece.shape[-1]
                pieces.append(
                    torch.nn.grad.conv2d_weight(
                        padded[..., start : reach + stop],
                        piece.shape,
                        gradient,
                        stride=stride,
                    )
                )
                start = stop
            of_weight = torch.cat(pieces, dim=-1)
        return of_x, of_weight, None
