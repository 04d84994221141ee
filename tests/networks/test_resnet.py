# SPDX-License-Identifier: BSD-3-Clause
"""ResNet against torchvision's layout and against torch.nn.functional."""

import pytest
import torch
from torch.nn import functional as F

from skastro.networks import ResNet, get_module
from skastro.networks.layers import BatchNorm1d, BatchNorm2d

pytestmark = pytest.mark.once

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def norm_shapes(name, n_channels):
    return {f"{name}.{part}": (n_channels,) for part in NORM[:4]} | {
        f"{name}.{NORM[4]}": ()
    }


def torchvision_shapes(counts, bottleneck, n_classes=1000):
    """List names and shapes of torchvision's state dict, from the paper's table 1."""
    shapes = {"conv1.weight": (64, 3, 7, 7)} | norm_shapes("bn1", 64)
    n_read = 64
    for stage, count in enumerate(counts, start=1):
        n_wide = 64 * 2 ** (stage - 1)
        n_written = 4 * n_wide if bottleneck else n_wide
        for i in range(count):
            prefix = f"layer{stage}.{i}"
            convolutions = (
                [(n_wide, n_read, 1), (n_wide, n_wide, 3), (n_written, n_wide, 1)]
                if bottleneck
                else [(n_wide, n_read, 3), (n_wide, n_wide, 3)]
            )
            for j, (n_out, n_in, k) in enumerate(convolutions, start=1):
                shapes[f"{prefix}.conv{j}.weight"] = (n_out, n_in, k, k)
                shapes |= norm_shapes(f"{prefix}.bn{j}", n_out)
            if i == 0 and (stage > 1 or bottleneck):
                shapes[f"{prefix}.downsample.0.weight"] = (n_written, n_read, 1, 1)
                shapes |= norm_shapes(f"{prefix}.downsample.1", n_written)
            n_read = n_written
    return shapes | {"fc.weight": (n_classes, n_read), "fc.bias": (n_classes,)}


@pytest.mark.parametrize(
    ("name", "counts", "bottleneck", "n_parameters"),
    [
        ("resnet18", (2, 2, 2, 2), False, 11_689_512),
        ("resnet34", (3, 4, 6, 3), False, 21_797_672),
        ("resnet50", (3, 4, 6, 3), True, 25_557_032),
        ("resnet101", (3, 4, 23, 3), True, 44_549_160),
    ],
)
def test_torchvision_checkpoints_fit(name, counts, bottleneck, n_parameters):
    with torch.device("meta"):
        network = get_module(name, ndim=2)(n_channels=3, n_outputs=1000)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == torchvision_shapes(counts, bottleneck)
    assert sum(value.numel() for value in network.parameters()) == n_parameters
    strides = {
        key: module.stride
        for key, module in network.named_modules()
        if getattr(module, "stride", 1) in (2, (2, 2))
    }
    conv = "conv2" if bottleneck else "conv1"
    assert set(strides) == {"conv1", "maxpool"} | {
        f"layer{stage}.0.{part}"
        for stage in (2, 3, 4)
        for part in (conv, "downsample.0")
    }


def functional_resnet(state, x, *, stem="imagenet", training=False):
    """Compute a ResNet with torch.nn.functional on ordinary contiguous tensors."""
    ndim = x.dim() - 2
    conv = (F.conv1d, F.conv2d)[ndim - 1]
    max_pool = (F.max_pool1d, F.max_pool2d)[ndim - 1]

    def convolve(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return conv(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x, name):
        mean, variance, weight, bias = (
            state[f"{name}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        mean, variance = mean.detach().clone(), variance.detach().clone()
        return F.batch_norm(x, mean, variance, weight, bias, training=training)

    x = norm(convolve(x, "conv1", 1 if stem == "stride1" else 2), "bn1").relu()
    if stem == "imagenet":
        x = max_pool(x, 3, 2, 1)
    names = dict.fromkeys(
        ".".join(key.split(".")[:2]) for key in state if key.startswith("layer")
    )
    for name in names:
        stride = 2 if name.endswith(".0") and name != "layer1.0" else 1
        last = 3 if f"{name}.conv3.weight" in state else 2
        strided = last - 1  # The second of three convolutions, the first of two.
        maps = x
        for i in range(1, last + 1):
            maps = convolve(maps, f"{name}.conv{i}", stride if i == strided else 1)
            maps = norm(maps, f"{name}.bn{i}")
            maps = maps.relu() if i < last else maps
        if f"{name}.downsample.0.weight" in state:
            x = norm(
                convolve(x, f"{name}.downsample.0", stride), f"{name}.downsample.1"
            )
        x = (x + maps).relu()
    return F.linear(x.flatten(2).mean(2), state["fc.weight"], state["fc.bias"])


def randomize_norms(network, seed=1):
    """Move batch norms off the identity, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, BatchNorm1d | BatchNorm2d):
            for value in (module.weight, module.running_var):
                value.data.uniform_(0.5, 1.5, generator=generator)
            for value in (module.bias, module.running_mean):
                value.data.uniform_(-0.5, 0.5, generator=generator)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((3, 1, 301), {}),
        ((2, 4, 64), {"stem": "stride1", "kernel_size": 7}),
        ((2, 2, 97), {"stem": "stride2", "n_blocks": (1, 2)}),
        ((2, 1, 65), {"block": "bottleneck", "n_blocks": (1, 2, 1)}),
        ((2, 3, 33, 47), {"ndim": 2}),
        ((2, 1, 16, 16), {"ndim": 2, "block": "bottleneck", "stem": "stride1"}),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_equals_functional_reference(shape, settings, training):
    torch.manual_seed(0)
    network = ResNet(shape[1], 5, width=8, **settings).train(training)
    randomize_norms(network)
    x = torch.randn(shape)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    expected = functional_resnet(
        state, x, stem=settings.get("stem", "imagenet"), training=training
    )
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stem", ["imagenet", "stride2", "stride1"])
def test_gradients_equal_functional_reference(stem):
    torch.manual_seed(0)
    network = ResNet(2, 3, width=4, n_blocks=(1, 1, 1), stem=stem).double()
    x = torch.randn(4, 2, 123, dtype=torch.float64)
    state = {
        key: value.detach().clone().requires_grad_(value.is_floating_point())
        for key, value in network.state_dict().items()
    }
    functional_resnet(state, x, stem=stem, training=True).logsumexp(1).sum().backward()
    network(x).logsumexp(1).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad)


@pytest.mark.parametrize(
    ("stem", "length", "expected"),
    [("imagenet", 3000, 94), ("stride2", 3000, 188), ("stride1", 3000, 375)],
)
def test_stem_sets_the_resolution(stem, length, expected):
    network = ResNet(1, 2, width=2, n_blocks=(1, 1, 1, 1), stem=stem)
    features = network.forward_features(torch.zeros(1, 1, length))
    assert features.shape == (1, 16, expected)
    assert (features >= 0).all()


def test_head_over_average_of_features_gives_the_output():
    network = ResNet(1, 4, width=4).eval()
    x = torch.randn(2, 1, 500)
    features = network.forward_features(x)
    torch.testing.assert_close(network.fc(features.mean(2)), network(x))


def test_weights_start_from_he_normal_by_fan_out():
    torch.manual_seed(0)
    network = ResNet(1, 2, kernel_size=5)
    for name, deviation in {
        "conv1": (2 / (64 * 7)) ** 0.5,
        "layer3.1.conv2": (2 / (256 * 5)) ** 0.5,
    }.items():
        weight = network.get_submodule(name).weight
        assert weight.std().item() == pytest.approx(deviation, rel=0.1)
        assert abs(weight.mean().item()) < 0.2 * deviation
    assert (network.bn1.weight == 1).all()


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_zero_init_residual_makes_blocks_the_identity(block):
    network = ResNet(1, 2, width=4, block=block, zero_init_residual=True)
    last = network.layer2[1]
    x = torch.rand(2, 8 * last.expansion, 30)
    torch.testing.assert_close(last(x), x)
    plain = ResNet(1, 2, width=4, block=block)
    assert not torch.allclose(plain.layer2[1](x), x)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = ResNet(1, 2, width=4, n_blocks=(1,), dropout=0.5)
    x = torch.randn(2, 1, 40)
    assert not torch.equal(network(x), network(x))
    network.eval()
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd.*Take 3 or 5"),
        ({"stem": "cifar"}, "stem must be one of .'imagenet'.*; got 'cifar'"),
        ({"stem": ["stride1"]}, "stem must be one of"),
        ({"block": "basics"}, "block must be one of .'basic', 'bottleneck'.;"),
        ({"ndim": 3}, "ndim must be one of .1, 2.; got 3"),
        ({"width": 0}, "width must be at least 1; got 0"),
        ({"n_blocks": ()}, "n_blocks must hold at least 1 integer"),
        ({"n_blocks": (2, 0)}, "each of n_blocks must be at least 1"),
        ({"dropout": 1.0}, "dropout must be a probability"),
        ({"n_outputs": 0}, "n_outputs must be at least 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"n_channels": 1, "n_outputs": 2} | settings)


@pytest.mark.parametrize("width", [8.0, "8", True, None])
def test_sizes_are_integers(width):
    with pytest.raises(TypeError, match="width must be an integer; got"):
        ResNet(1, 2, width=width)
