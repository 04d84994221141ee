# SPDX-License-Identifier: BSD-3-Clause
"""Wide kernels: the same numbers and gradients as torch's own."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from skastro.networks import layers
from skastro.networks.layers import Conv1d, enter_maps

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Count the convolutions that take the way round."""
    counted = []
    original = layers._WideConvolution.apply
    monkeypatch.setattr(
        layers._WideConvolution,
        "apply",
        lambda *inputs: counted.append(1) or original(*inputs),
    )
    return counted


@pytest.mark.parametrize("width", [15, 25, 27, 29, 41, 57])
@pytest.mark.parametrize(("stride", "length"), [(1, 60), (3, 61), (4, 20), (1, 1)])
def test_equals_torch(width, stride, length, calls):
    torch.manual_seed(0)
    conv = Conv1d(5, 3, width, stride=stride).double()
    x = torch.randn(2, 5, length, dtype=torch.float64, requires_grad=True)
    padding = width // 2
    expected = F.conv1d(x, conv.weight, stride=stride, padding=padding)
    gradient = torch.randn_like(expected)
    reference = torch.autograd.grad(expected, (x, conv.weight), gradient)
    output = conv(enter_maps(x, ndim=1)).squeeze(2)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(
        torch.autograd.grad(output, (x, conv.weight), gradient), reference
    )
    assert calls


def test_gradients_of_gradients():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 1, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 1, 15, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layers._convolve_wide, (x, weight, 2))
    assert torch.autograd.gradgradcheck(layers._convolve_wide, (x, weight, 2))


def test_gradient_keeps_the_layout_of_the_maps():
    """Else all layers before would have to turn it."""
    maps = enter_maps(torch.randn(2, 6, 50), ndim=1).requires_grad_()
    output = Conv1d(6, 4, 25)(maps)
    assert output.stride()[1] == 1
    seen = []
    maps.register_hook(lambda gradient: seen.append(gradient.stride()))
    output.square().sum().backward()
    assert seen[0][1] == 1


def test_autocast(calls):
    torch.manual_seed(0)
    conv = Conv1d(6, 4, 25)
    maps = enter_maps(torch.randn(2, 6, 50), ndim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = conv(maps)
        with torch.no_grad():
            expected = F.conv2d(maps, conv.weight.unsqueeze(2), padding=(0, 12))
    assert calls
    assert output.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected)
    output.float().sum().backward()
    assert conv.weight.grad.dtype == torch.float32


def test_gradients_that_nobody_asked_for_are_left_out():
    conv = Conv1d(6, 4, 25)
    output = conv(torch.randn(2, 6, 1, 50))
    (gradient,) = torch.autograd.grad(output.sum(), [conv.weight])
    assert gradient.shape == (4, 6, 25)


def test_only_what_is_slow_takes_the_way_round(calls):
    maps = torch.randn(2, 6, 1, 50)
    Conv1d(6, 4, 13)(maps)
    Conv1d(6, 4, 25).requires_grad_(False)(maps)
    Conv1d(2, 4, 25)(maps[:, :2])
    assert not calls
    conv = Conv1d(6, 4, 25)
    copy.deepcopy(pickle.loads(pickle.dumps(conv)))(maps)
    assert len(calls) == 1
