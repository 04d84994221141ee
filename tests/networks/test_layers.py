# SPDX-License-Identifier: BSD-3-Clause
"""The shared layers against those of torch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skastro.networks.layers import (
    AvgPool1d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Head,
    MaxPool1d,
    SqueezeExcitation,
    enter_maps,
    global_average,
    leave_maps,
)

pytestmark = pytest.mark.once

SHAPES = [(1, 1, 1), (2, 3, 2), (3, 1, 17), (4, 5, 100), (1, 8, 1001)]


def normal(*shape, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, **options)


def assert_equal_sums(result, expected):
    """Compare float32 sums that were taken in different orders."""
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5 * scale)


def assert_same_values_and_gradients(layer, reference, x):
    """Compare a layer on maps of height 1 with torch's own on 1-D maps."""
    reference.load_state_dict(layer.state_dict())
    given, expected_of = x.clone().requires_grad_(), x.clone().requires_grad_()
    result = leave_maps(layer(enter_maps(given, ndim=1)), ndim=1)
    expected = reference(expected_of)
    assert_equal_sums(result, expected)
    weights = normal(*expected.shape, seed=1)
    (result * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_equal_sums(given.grad, expected_of.grad)
    for ours, theirs in zip(layer.parameters(), reference.parameters(), strict=True):
        assert_equal_sums(ours.grad, theirs.grad)
    assert_equal_sums(layer(x), reference(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (7, 2), (41, 3)])
def test_conv1d_equals_torch(shape, kernel_size, stride):
    layer = Conv1d(shape[1], 6, kernel_size, stride=stride)
    reference = nn.Conv1d(
        shape[1], 6, kernel_size, stride, padding=kernel_size // 2, bias=False
    )
    assert_same_values_and_gradients(layer, reference, normal(*shape))


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_batch_norm_equals_torch(shape):
    layer, reference = BatchNorm1d(shape[1]), nn.BatchNorm1d(shape[1])
    x = 3 + 2 * normal(*shape)
    assert_same_values_and_gradients(layer, reference, x)
    assert layer.state_dict().keys() == reference.state_dict().keys()
    torch.testing.assert_close(layer.running_mean, reference.running_mean)
    torch.testing.assert_close(layer.running_var, reference.running_var)
    torch.testing.assert_close(layer.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_max_pool_equals_torch(shape):
    assert_same_values_and_gradients(
        MaxPool1d(3, stride=2), nn.MaxPool1d(3, 2, padding=1), normal(*shape)
    )


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_average_pool_equals_torch(shape):
    assert_same_values_and_gradients(AvgPool1d(2), nn.AvgPool1d(2), normal(*shape))


def test_average_pool_leaves_maps_shorter_than_its_window():
    x = normal(2, 3, 1)
    assert AvgPool1d(2)(x) is x


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (BatchNorm1d, (1, 4)),
        (BatchNorm1d, (1, 4, 1)),
        (BatchNorm1d, (1, 4, 1, 1)),
        (BatchNorm2d, (1, 4, 1, 1)),
    ],
)
def test_batch_norm_trains_on_one_value_with_running_statistics(norm, shape):
    layer = norm(4)
    with torch.no_grad():
        layer.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        layer.running_var.copy_(torch.tensor([1.0, 4.0, 9.0, 16.0]))
        layer.weight.fill_(2.0)
        layer.bias.fill_(0.5)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = torch.full(shape, 5.0)
    result = layer(x)
    expected = torch.tensor([8.5, 3.5, 0.5 + 4 / 3, 1.0]).view(shape)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    result.sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.ones(4))
    torch.testing.assert_close(layer.eval()(x), result)


def test_batch_norm_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"BatchNorm1d takes shapes .* \(3,\)"):
        BatchNorm1d(3)(torch.zeros(3))


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("size", [(7,), (7, 5)])
def test_maps_are_channels_last_on_the_cpu(n_channels, size):
    x = normal(2, n_channels, *size)
    maps = enter_maps(x, ndim=len(size))
    height, width = maps.shape[2:]
    assert maps.stride() == (
        n_channels * height * width,
        1,
        n_channels * width,
        n_channels,
    )
    torch.testing.assert_close(leave_maps(maps, ndim=len(size)), x, rtol=0, atol=0)


def test_channels_last_survives_the_layers():
    """One-channel input, whose strides are ambiguous, included."""
    maps = enter_maps(normal(2, 1, 64), ndim=1)
    for layer in [Conv1d(1, 8, 7, 2), BatchNorm1d(8), MaxPool1d(3, 2), AvgPool1d(2)]:
        maps = layer(maps)
        assert maps.is_contiguous(memory_format=torch.channels_last)
        assert maps.stride(1) == 1


@pytest.mark.parametrize(("shape", "ndim"), [((3, 9), 1), ((3, 1, 9), 2), ((9,), 2)])
def test_wrong_number_of_axes_is_named(shape, ndim):
    with pytest.raises(ValueError, match=r"takes tensors of shape .* but got shape"):
        enter_maps(torch.zeros(shape), ndim)


def test_global_average_answers_in_the_dtype_asked_for():
    maps = normal(2, 3, 5, 7).bfloat16()
    means = global_average(maps, dtype=torch.float32)
    assert means.dtype == torch.float32
    torch.testing.assert_close(means, maps.float().flatten(2).mean(2))


@pytest.mark.parametrize("size", [(50,), (6, 8)])
def test_squeeze_excitation_by_hand(size):
    layer = SqueezeExcitation(8, reduction=4)
    maps = normal(3, 8, *size)
    squeezed = maps.flatten(2).mean(2) @ layer.squeeze.weight.T + layer.squeeze.bias
    excited = squeezed.clamp(min=0) @ layer.excite.weight.T + layer.excite.bias
    gates = 1 / (1 + torch.exp(-excited))
    expected = torch.einsum("bc...,bc->bc...", maps, gates)
    torch.testing.assert_close(layer(maps), expected)
    assert layer.squeeze.out_features == 2


def test_squeeze_excitation_has_at_least_one_hidden_unit():
    assert SqueezeExcitation(3, reduction=16).squeeze.out_features == 1


def test_head_is_not_rounded_by_autocast():
    head = Head(16, 4)
    x = normal(5, 16)
    expected = head(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head(x), expected, rtol=0, atol=0)
        assert nn.Linear(16, 4)(x).dtype == torch.bfloat16
        assert head(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 8, 16])
@pytest.mark.parametrize("stride", [2, 3])
def test_strided_convolutions_of_width_one(n_channels, stride):
    # Without the detour that the layers take, torch 2.13 corrupts its memory here.
    torch.manual_seed(0)
    conv = Conv1d(n_channels, 2 * n_channels, 1, stride=stride)
    x = torch.randn(4, n_channels, 2501, requires_grad=True)
    maps = enter_maps(x, 1)
    reference = F.conv1d(x.double(), conv.weight.double(), stride=stride)
    output = leave_maps(conv(maps), 1)
    torch.testing.assert_close(output, reference.float(), atol=1e-5, rtol=1e-5)
    ones = torch.ones_like(output)
    got = torch.autograd.grad(output, (x, conv.weight), ones)
    expected = torch.autograd.grad(reference, (x, conv.weight), ones.double())
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
    square = Conv2d(n_channels, 4, 1, stride=stride)
    image = torch.randn(2, n_channels, 13, 9)
    torch.testing.assert_close(
        square(enter_maps(image, 2)), F.conv2d(image, square.weight, stride=stride)
    )
