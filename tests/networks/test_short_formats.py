# SPDX-License-Identifier: BSD-3-Clause
"""Strided convolutions in short formats: right numbers and gradients on CPUs."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from skastro.networks import layers, vae
from skastro.networks.layers import enter_maps

pytestmark = pytest.mark.once

FORMATS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
KINDS = {
    "plain": (layers.Conv1d, layers.Conv2d),
    "biased": (vae._Conv1d, vae._Conv2d),
    "transposed": (vae._ConvTranspose1d, vae._ConvTranspose2d),
}


def make(kind, ndim, n_read, n_written, kernel_size, stride):
    layer_class = KINDS[kind][ndim - 1]
    options = {} if kind == "plain" else {"padding": kernel_size // 2}
    return layer_class(n_read, n_written, kernel_size, stride=stride, **options)


def numbers(layer, maps, gradient, dtype):
    """Return the output and the gradients of the maps and of the weights."""
    maps = maps.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype.itemsize == 2):
        output = layer(maps)
    assert output.dtype == dtype
    output.backward(gradient.to(output))
    return output.detach(), maps.grad, layer.weight.grad


def check(kind, ndim, kernel_size, stride, size, n_channels, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layer = make(kind, ndim, *n_channels, kernel_size, stride)
    shape = (3, n_channels[0], *[size] * ndim)
    with torch.no_grad():
        # Numbers that all formats hold.
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator).to(dtype))
    maps = enter_maps(torch.randn(shape, generator=generator).to(dtype).float(), ndim)
    exact = make(kind, ndim, *n_channels, kernel_size, stride).double()
    exact.load_state_dict(layer.state_dict())
    with torch.no_grad():
        gradient = torch.randn(layer(maps).shape, generator=generator).to(dtype)
    found = numbers(layer, maps, gradient, dtype)
    expected = numbers(exact, maps.double(), gradient, torch.float64)
    case = f"{kind} {ndim}-D kernel {kernel_size} stride {stride} size {size} {dtype}"
    for name, got, right in zip(
        ("output", "maps", "weights"), found, expected, strict=True
    ):
        error = (got.double() - right).norm() / right.norm().clamp(min=1e-3)
        assert error < FORMATS[dtype], f"{case} {n_channels}: {name} off by {error:.1e}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("dtype", FORMATS)
def test_equals_float64(kind, ndim, dtype):
    for kernel_size, stride, size in product((3, 7), (1, 2), (1, 2, 20)):
        check(kind, ndim, kernel_size, stride, size, (8, 16), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("dtype", FORMATS)
def test_equals_float64_everywhere(kind, ndim, dtype):
    """The faults are random: half of the runs were right."""
    for kernel_size, stride, size, n_channels, seed in product(
        (1, 3, 5, 7, 15, 29) if ndim == 1 else (1, 3, 5, 7),
        (1, 2, 3, 4),
        (*range(1, 20), 31, 32, 33, 48, 64, 65),
        ((1, 8), (3, 32), (8, 8), (16, 16), (32, 64), (64, 32)),
        range(2),
    ):
        # Autoencoders refuse kernels of one pixel.
        if kernel_size == 1 and kind != "plain":
            continue
        if size < 20 or ndim == 1 or n_channels[0] < 32:
            check(kind, ndim, kernel_size, stride, size, n_channels, dtype, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize(
    ("stride", "size", "exact"),
    [(2, 1, True), (2, 18, True), (2, 19, False), (1, 1, False)],
)
def test_narrow_maps_are_computed_in_float32(
    monkeypatch, kind, ndim, stride, size, exact
):
    """Where torch's kernels for short formats are wrong, none is used."""
    seen = []
    for name in ("conv2d", "conv_transpose2d"):
        function = getattr(F, name)

        def spy(x, *args, function=function, **options):
            seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
            return function(x, *args, **options)

        monkeypatch.setattr(F, name, spy)
    layer = make(kind, ndim, 4, 4, 3, stride)
    maps = enter_maps(torch.zeros(2, 4, *[size] * ndim), ndim)
    with torch.autocast("cpu", torch.bfloat16):
        layer(maps)
    # Also without autocast, in a network that is in the short format.
    layer.bfloat16()(maps.bfloat16())
    assert seen == [
        (torch.float32, not exact),
        (torch.float32 if exact else torch.bfloat16, False),
    ]
