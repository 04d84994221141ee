# SPDX-License-Identifier: BSD-3-Clause
"""Where the pixels of a network's feature maps lie in its input."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)


class Trace:
    """What a network's layers did to the pixels of one input.

    Strides and pooling leave maps of fewer pixels than the input. Each of these is
    centred somewhere in the input, which follows from the kernels, strides and
    paddings on the way [1]_. Where in the network two branches run side by side they
    have the same strides, or their maps could not be joined; so the way to maps of
    some length is told by the first layer that made such maps.

    Parameters
    ----------
    sizes : sequence of int
        Pixels of the input along each axis.

    References
    ----------
    .. [1] A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional
       Neural Networks", Distill, 2019, doi:10.23915/distill.00021.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        # For each axis: length of the maps -> (step, position of the first pixel).
        self._grids = [{size: (1.0, 0.0)} for size in sizes]
        self._calls: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(self, layer: nn.Module, inputs: tuple, output: Any) -> None:
        """Take down what a layer has done; a forward hook.

        Parameters
        ----------
        layer : nn.Module
            The layer.
        inputs : tuple
            Its arguments.
        output : Tensor or other
            Its result.
        """
        n_axes = len(self.sizes)
        if not isinstance(output, Tensor) or output.dim() < n_axes + 2:
            return
        self._calls.append((layer, tuple(output.shape[-n_axes:])))
        if not isinstance(layer, _CONVOLUTIONS + _POOLS):
            return
        for axis in range(-n_axes, 0):
            before, after = inputs[0].shape[axis], output.shape[axis]
            grid = self._grids[axis]
            if before not in grid or after in grid:
                continue
            step, start = grid[before]
            reach = _along(getattr(layer, "dilation", 1), axis) * (
                _along(layer.kernel_size, axis) - 1
            )
            padding = {"valid": 0, "same": reach // 2}.get(layer.padding)
            if padding is None:
                padding = _along(layer.padding, axis)
            grid[after] = (
                step * _along(layer.stride, axis),
                start + step * (reach / 2 - padding),
            )

    def last_maps(self) -> nn.Module | None:
        """Find the layer that ends the work on maps of the last convolution's size.

        Returns
        -------
        layer : nn.Module or None
            The last convolution, or what follows it without pooling: its batch norm,
            activation, the sum with a shortcut. None if there was no convolution.
        """
        sizes = [
            size for layer, size in self._calls if isinstance(layer, _CONVOLUTIONS)
        ]
        # Gates of channels can be written as convolutions of single pixels.
        sizes = [size for size in sizes if max(size) > 1] or sizes
        if not sizes:
            return None
        return next(
            (
                layer
                for layer, size in reversed(self._calls)
                if size == sizes[-1] and self.has_maps_of(layer)
            ),
            None,
        )

    def has_maps_of(self, layer: nn.Module) -> bool:
        """Tell whether a layer ran once, and gave feature maps.

        Parameters
        ----------
        layer : nn.Module
            The layer.

        Returns
        -------
        has_maps : bool
            Whether its result had an axis of channels and those of pixels.
        """
        return sum(called is layer for called, _ in self._calls) == 1

    def spread(self, maps: Tensor) -> Tensor:
        """Interpolate maps linearly to the pixels of the input.

        Parameters
        ----------
        maps : Tensor of shape (n_samples, length) or (n_samples, height, width)
            Maps of any size that the network made.

        Returns
        -------
        maps : Tensor of shape (n_samples, length) or (n_samples, height, width)
            The values at the input's pixels; beyond the first and the last pixel of a
            map they stay constant. Where layers other than convolutions and pooling
            changed the size, a map's pixels divide the input evenly.
        """
        for axis in range(-len(self.sizes), 0):
            size, n = self.sizes[axis], maps.shape[axis]
            step, start = self._grids[axis].get(n, (size / n, (size / n - 1) / 2))
            pixel = torch.arange(size, dtype=torch.float64)
            place = ((pixel - start) / step).clamp(0, n - 1)
            left = place.floor().long()
            right = (left + 1).clamp(max=n - 1)
            part = (place - left).to(maps.device, maps.dtype)
            part = part.reshape(-1, *[1] * (-1 - axis))
            maps = (
                maps.index_select(axis, left.to(maps.device)) * (1 - part)
                + maps.index_select(axis, right.to(maps.device)) * part
            )
        return maps


@contextmanager
def traced(module: nn.Module, sizes: Sequence[int]) -> Iterator[Trace]:
    """Trace what a module's layers do while a block runs.

    Parameters
    ----------
    module : nn.Module
        The network.
    sizes : sequence of int
        Pixels of its input along each axis.

    Yields
    ------
    trace : Trace
        Empty at first; complete when the block ends.
    """
    trace = Trace(sizes)
    layers = [layer for layer in module.modules() if layer is not module]
    handles = [layer.register_forward_hook(trace.note) for layer in layers]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _along(value: int | tuple[int, ...], axis: int) -> int:
    """Pick an axis' entry of a layer's setting."""
    return value[axis] if isinstance(value, tuple) else value
