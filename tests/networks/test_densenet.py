# SPDX-License-Identifier: BSD-3-Clause
"""SEDenseNet against the published description."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skastro.networks import SEDenseNet
from skastro.networks.densenet import Transition
from skastro.networks.layers import BatchNorm1d, SqueezeExcitation

pytestmark = pytest.mark.once


def small(**settings):
    return SEDenseNet(1, 3, **{"growth_rate": 2, "n_dense_blocks": 4} | settings)


def depth_in_convolutions(output):
    """Count the convolutions on the deepest path of the autograd graph."""
    depth_of = {None: 0}
    stack = [output.grad_fn]
    while stack:
        node = stack[-1]
        parents = [parent for parent, _ in node.next_functions]
        waiting = [parent for parent in parents if parent not in depth_of]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        below = max((depth_of[parent] for parent in parents), default=0)
        depth_of[node] = below + ("ConvolutionBackward" in node.name())
    return depth_of[output.grad_fn]


def test_default_has_the_36_layers_of_the_paper():
    network = SEDenseNet(1, 3)
    network.requires_grad_(True)
    output = network(torch.zeros(1, 1, 130))
    assert depth_in_convolutions(output) + 1 == 36  # and the linear layer


@pytest.mark.parametrize(("n_dense", "n_conv"), [(1, 1), (3, 2), (4, 3)])
def test_depth_follows_the_parameters(n_dense, n_conv):
    network = small(n_dense_blocks=n_dense, n_conv_blocks=n_conv)
    expected = 1 + n_dense * n_conv * 2 + (n_dense - 1)
    assert depth_in_convolutions(network(torch.zeros(1, 1, 64))) == expected


def test_2600_samples_become_40():
    network = SEDenseNet(1, 3, growth_rate=2).eval()
    assert network.forward_features(torch.zeros(1, 1, 2600)).shape[2] == 40
    assert network.fc(torch.zeros(1, network.fc.in_features)).shape == (1, 3)


def test_default_kernel_widths_stand_side_by_side():
    network = SEDenseNet(1, 3, growth_rate=2)
    for block in network.blocks:
        assert len(block) == 2
        for conv_block in block:
            widths = [branch.kernel_size for branch in conv_block.branches]
            assert widths == [(1,), (11,), (25,), (41,)]
            assert conv_block.mix.kernel_size == (1,)
            assert conv_block.mix.in_channels == 4 * 2


def test_every_convolution_on_maps_follows_norm_gate_and_relu():
    """Seen from the graph: what each convolution read, and from what that came."""
    network = small()
    sequence = []
    for module in network.modules():
        if isinstance(module, BatchNorm1d | SqueezeExcitation | nn.ReLU | nn.Conv1d):
            module.register_forward_hook(
                lambda module, *_: sequence.append(type(module).__name__)
            )
    network(torch.zeros(2, 1, 64))
    text = " ".join(sequence)
    activation = "BatchNorm1d SqueezeExcitation ReLU"
    conv_block = f"{activation} Conv1d Conv1d Conv1d Conv1d {activation} Conv1d"
    dense_block = f"{conv_block} {conv_block}"
    transition = f"{activation} Conv1d"
    skip = transition
    expected = [
        "Conv1d",
        dense_block,
        transition,
        dense_block,
        skip,
        transition,
        dense_block,
        skip,
        transition,
        dense_block,
        activation,
    ]
    assert text == " ".join(expected)


def graph_of_inputs(network, x):
    """Run the network and note, by identity, what each module read and wrote.

    A ReLU works in place: it writes the very tensor that it reads.
    """
    read, written, kept = {}, {}, []

    def note(module, inputs, output):
        kept.append((inputs[0], output))  # Identities last as long as the tensors.
        read[module] = id(inputs[0])
        written[module] = id(output)

    for module in network.modules():
        module.register_forward_hook(note)
    network(x)
    return read, written


def test_convolutions_of_the_default_read_from_norm_gate_and_relu():
    network = SEDenseNet(1, 3)
    read, written = graph_of_inputs(network, torch.randn(2, 1, 130))
    steps = [m for m in network.modules() if isinstance(m, Transition)]
    assert len(steps) == 6 + 5
    pairs = [(step.activation, [step.conv]) for step in steps]
    for block in network.blocks:
        for conv_block in block:
            pairs.append((conv_block.activation1, conv_block.branches))
            pairs.append((conv_block.activation2, [conv_block.mix]))
    for activation, convolutions in pairs:
        assert list(dict(activation.named_children())) == ["norm", "gate", "relu"]
        assert read[activation.gate] == written[activation.norm]
        assert read[activation.relu] == written[activation.gate]
        for conv in convolutions:
            assert read[conv] == written[activation.relu]
    fed = {conv for _, convolutions in pairs for conv in convolutions}
    every = {m for m in network.modules() if isinstance(m, nn.Conv1d)}
    assert every - fed == {network.conv}
    assert len(every) == 1 + 7 * 2 * (4 + 1) + 6 + 5


def test_extra_transitions_lead_from_transition_to_transition():
    network = SEDenseNet(1, 3, growth_rate=2)
    read, written = graph_of_inputs(network, torch.randn(2, 1, 130))
    assert len(network.skips) == 5
    for i, skip in enumerate(network.skips):
        before, after = network.transitions[i : i + 2]
        assert read[skip] == written[before]
        # The block behind reads both, side by side.
        n_both = skip.conv.out_channels + after.conv.out_channels
        block = network.blocks[i + 2]
        assert block[0].activation1.norm.num_features == n_both


def test_plain_densenet_of_36_layers():
    settings = {"squeeze_excitation": False, "extra_transitions": False}
    network = SEDenseNet(1, 3, kernel_sizes=(3,), **settings)
    output = network(torch.zeros(1, 1, 130))
    assert depth_in_convolutions(output) + 1 == 36
    assert not [m for m in network.modules() if isinstance(m, SqueezeExcitation)]
    assert not any(name.startswith("skips") for name in network.state_dict())
    widths = [m.kernel_size[0] for m in network.modules() if isinstance(m, nn.Conv1d)]
    assert widths == [7] + 14 * [3, 1] + 6 * [1]
    for i, transition in enumerate(network.transitions):
        n_maps = transition.conv.out_channels
        assert network.blocks[i + 1][0].activation1.norm.num_features == n_maps


def test_dense_block_keeps_all_that_came_before():
    network = small()
    block = network.blocks[1].eval()
    x = torch.randn(2, network.transitions[0].conv.out_channels, 20)
    first = torch.cat([x, block[0](x)], dim=1)
    expected = torch.cat([first, block[1](first)], dim=1)
    torch.testing.assert_close(block(x), expected)


def test_each_scale_reaches_the_next_past_its_dense_block():
    """With a transition cut, the extra one beside it still carries the spectra."""
    torch.manual_seed(0)
    network = small()
    assert len(network.skips) == len(network.transitions) - 1
    x, other = torch.randn(2, 4, 1, 64)

    def difference():
        return network.forward_features(x) - network.forward_features(other)

    nn.init.zeros_(network.transitions[1].conv.weight)
    assert difference().abs().max() > 0.1
    nn.init.zeros_(network.skips[0].conv.weight)
    assert difference().abs().max() < 1e-5


def test_transition_compresses_and_halves():
    network = SEDenseNet(1, 3, n_initial=10, growth_rate=3, n_dense_blocks=3)
    transition = network.transitions[0]
    assert transition.conv.in_channels == 10 + 2 * 3
    assert transition.conv.out_channels == 8
    assert network.skips[0].conv.out_channels == 4
    maps = torch.rand(2, 16, 9)
    mixed = F.conv1d(transition.activation(maps), transition.conv.weight)
    torch.testing.assert_close(transition(maps), F.avg_pool1d(mixed, 2))
    assert transition(maps).shape == (2, 8, 4)


def test_convolutions_start_from_he_uniform_by_fan_in():
    torch.manual_seed(0)
    network = SEDenseNet(1, 3, growth_rate=16)
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            fan_in = module.in_channels * module.kernel_size[0]
            limit = (6 / fan_in) ** 0.5
            assert module.weight.abs().max() <= limit
            if module.weight.numel() > 500:
                assert module.weight.abs().max() > 0.95 * limit
                deviation = module.weight.std().item()
                assert deviation == pytest.approx(limit / 3**0.5, rel=0.1)
            assert module.bias is None


def test_head_over_average_of_features_gives_the_output():
    network = small().eval()
    x = torch.randn(2, 1, 500)
    features = network.forward_features(x)
    assert (features >= 0).all()
    torch.testing.assert_close(network.fc(features.mean(2)), network(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_sizes": (1, 10)}, "each of kernel_sizes must be odd.*Take 9 or 11"),
        ({"kernel_sizes": ()}, "kernel_sizes must hold at least 1 integer"),
        ({"initial_kernel_size": 2}, "initial_kernel_size must be odd"),
        ({"growth_rate": 0}, "growth_rate must be at least 1; got 0"),
        ({"n_dense_blocks": 0}, "n_dense_blocks must be at least 1"),
        ({"compression": 0}, "compression must be above 0 and at most 1, but got 0"),
        ({"compression": 1.5}, "compression must be above 0"),
        ({"dropout": -0.1}, "dropout must be a probability"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SEDenseNet(1, 3, **settings)
