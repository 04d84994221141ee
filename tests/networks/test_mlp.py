# SPDX-License-Identifier: BSD-3-Clause
"""The multi-layer perceptron."""

import numpy as np
import pytest
import torch

from skastro.networks import MLP

pytestmark = pytest.mark.once


def test_galaxy10_baseline_has_its_number_of_parameters():
    network = MLP(input_size=(69, 69), n_outputs=10, n_channels=3)
    assert sum(value.numel() for value in network.parameters()) == 1_829_642


def test_flat_and_shaped_input_agree():
    network = MLP(input_size=(4, 5), n_outputs=3, n_channels=2).eval()
    x = torch.randn(6, 2, 4, 5)
    torch.testing.assert_close(network(x), network(x.flatten(1)))
    torch.testing.assert_close(
        network(x.contiguous(memory_format=torch.channels_last)), network(x)
    )


def test_without_hidden_layers_it_is_linear():
    network = MLP(input_size=7, n_outputs=2, hidden=())
    x = torch.randn(3, 1, 7)
    expected = x[:, 0] @ network.fc.weight.T + network.fc.bias
    torch.testing.assert_close(network(x), expected)


def test_two_hidden_layers_by_hand():
    network = MLP(input_size=7, n_outputs=2, hidden=(5, 4), activation="tanh").eval()
    x = torch.randn(3, 1, 7)
    first, second = (layer for layer in network.hidden if hasattr(layer, "weight"))
    units = torch.tanh(x[:, 0] @ first.weight.T + first.bias)
    units = torch.tanh(units @ second.weight.T + second.bias)
    torch.testing.assert_close(network.forward_features(x), units)
    expected = units @ network.fc.weight.T + network.fc.bias
    torch.testing.assert_close(network(x), expected)


def test_batch_norm_and_dropout():
    torch.manual_seed(0)
    network = MLP(9, 2, hidden=(64,), batch_norm=True, dropout=0.5)
    x = 5 + 3 * torch.randn(256, 1, 9)
    units = network.hidden[:3](x)
    torch.testing.assert_close(units.mean(0), torch.zeros(64), atol=1e-5, rtol=0)
    dropped = (network.forward_features(x) == 0).float().mean().item()
    assert dropped == pytest.approx(0.75, abs=0.03)  # half by ReLU, half of the rest
    assert network(x[:1]).shape == (1, 2)


def test_numpy_sizes_are_integers():
    network = MLP(np.int64(7), np.int64(2), np.int32(3))
    assert network(torch.zeros(2, 3, 7)).shape == (2, 2)
    network = MLP(np.array([4, 5]), 2, hidden=np.array([3]))
    assert network(torch.zeros(2, 1, 4, 5)).shape == (2, 2)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"activation": "rely"}, ValueError, "activation must be one of .'relu'"),
        ({"hidden": (8, 0)}, ValueError, "each of hidden must be at least 1"),
        ({"hidden": 8}, TypeError, r"hidden must be a sequence.*got 8.*Write \(8,\)"),
        ({"input_size": (4, 0)}, ValueError, "each of input_size must be at least 1"),
        ({"input_size": ()}, ValueError, "input_size must hold at least 1 integer"),
        ({"input_size": 4.5}, TypeError, "input_size must be an integer; got 4.5"),
        ({"dropout": 2}, ValueError, "dropout must be a probability"),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        MLP(**{"input_size": 4, "n_outputs": 2} | settings)
