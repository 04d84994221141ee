# SPDX-License-Identifier: BSD-3-Clause
"""Batch norms folded into convolutions give what the layers give one by one."""

import pytest
import torch
from torch import nn

from skastro import GalaxyClassifier, SpectrumClassifier
from skastro._compat import find_bfloat16_support
from skastro.datasets import make_spectra
from skastro.networks import ConvNet, ConvVAE, RedshiftNet, ResNet
from skastro.networks.layers import (
    BatchNorm1d,
    Conv1d,
    FoldedWeights,
    convolve_and_normalize,
    has_onednn,
)

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not has_onednn(), reason="needs oneDNN on an x86 processor"),
]

MANY = 10**6
NETWORKS = {
    "resnet, spectra": (lambda: ResNet(2, 3, width=8), (2, 300)),
    "resnet, stride 4": (
        lambda: ResNet(1, 3, width=8, stem="stride4", kernel_size=7),
        (1, 259),
    ),
    "resnet, images": (lambda: ResNet(3, 4, ndim=2, width=8), (3, 33, 41)),
    "bottleneck": (
        lambda: ResNet(
            1, 4, ndim=2, width=4, block="bottleneck", n_blocks=(1, 2), stem="stride1"
        ),
        (1, 21, 18),
    ),
    "convnet": (lambda: ConvNet(1, 3, 130, widths=(4, 8)), (1, 130)),
    "redshift": (lambda: RedshiftNet(2, 50, 200, width=8, n_blocks=2), (2, 200)),
    "vae, spectra": (lambda: ConvVAE(1, 100, 3, widths=(4, 8)), (1, 100)),
    "vae, images": (lambda: ConvVAE(2, (20, 27), 3, widths=(4, 8)), (2, 20, 27)),
}


def with_statistics(network: nn.Module) -> nn.Module:
    """Give batch norms weights and statistics of a training, and predict."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                for part in (layer.running_var, layer.weight):
                    part.uniform_(0.5, 2, generator=generator)
                for part in (layer.running_mean, layer.bias):
                    part.normal_(0, 0.3, generator=generator)
    return network.eval()


def first(output: object) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def calls_of_batch_norm(network: nn.Module, x: torch.Tensor) -> int:
    """Count the batch norms that are computed."""
    with torch.profiler.profile() as profile:
        network(x)
    return sum(
        event.count
        for event in profile.key_averages()
        if event.key == "aten::batch_norm"
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_networks_compute_the_same(name, dtype):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = with_statistics(make())
    x = torch.randn(5, *shape)
    with torch.no_grad():
        exact = first(network(x))
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            plain = first(network(x)).float()
            n_plain = calls_of_batch_norm(network, x)
            with FoldedWeights(MANY).used():
                folded = first(network(x)).float()
                n_calls = calls_of_batch_norm(network, x)
    scale = exact.abs().max()
    # Not worse than layer by layer: short formats are rounded less often.
    tolerance = 2e-6 * scale + 1.5 * (plain - exact).abs().max()
    assert (folded - exact).abs().max() <= tolerance
    # The decoder's convolutions are transposed.
    transposed = sum("Transpose" in type(m).__name__ for m in network.modules())
    # Some processors have no convolutions in bfloat16.
    folds = dtype is torch.float32 or find_bfloat16_support(torch)()
    assert n_calls == (transposed if folds else n_plain)


def test_processors_without_bfloat16_are_left_alone(monkeypatch):
    monkeypatch.setattr(
        "skastro.networks.layers.find_bfloat16_support", lambda torch: lambda: False
    )
    network = with_statistics(ResNet(1, 3, width=8))
    x = torch.randn(5, 1, 300)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain, n_plain = network(x), calls_of_batch_norm(network, x)
        with FoldedWeights(MANY).used():
            assert network(x).equal(plain)
            assert calls_of_batch_norm(network, x) == n_plain > 0


def test_other_layers_are_left_alone():
    class Doubled(Conv1d):
        def forward(self, x):
            return 2 * super().forward(x)

    x = torch.randn(3, 2, 1, 40)
    norm = with_statistics(BatchNorm1d(4))
    conv = Doubled(2, 4, 3)
    with torch.no_grad(), FoldedWeights(MANY).used():
        torch.testing.assert_close(
            convolve_and_normalize(x, conv, norm), norm(conv(x)), rtol=0, atol=0
        )


def test_hooks_see_what_they_always_saw():
    network = with_statistics(ResNet(1, 3, width=8))
    x, seen = torch.randn(4, 1, 200), []
    block = network.layer1[0]
    handles = [
        layer.register_forward_hook(lambda *parts: seen.append(parts[-1].clone()))
        for layer in (block.conv1, block.bn2)
    ]
    with torch.no_grad():
        plain = network(x)
        with FoldedWeights(MANY).used():
            folded = network(x)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(folded, plain)
    assert len(seen) == 4
    for before, after in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_gradients_and_training_do_without():
    network = with_statistics(ResNet(1, 3, width=8))
    x = torch.randn(4, 1, 200, requires_grad=True)
    with FoldedWeights(MANY).used():
        network(x).sum().backward()
        assert x.grad.abs().sum() > 0
        network.train()
        before = network.bn1.running_mean.clone()
        with torch.no_grad():
            network(x)
    assert not torch.equal(network.bn1.running_mean, before)


def test_changed_weights_are_folded_anew():
    network = with_statistics(ResNet(1, 3, width=8))
    x = torch.randn(4, 1, 200)
    weights = FoldedWeights(MANY)
    with torch.no_grad():
        with weights.used():
            network(x)
        network.conv1.weight.mul_(-1)
        network.layer2[0].bn1.running_mean.add_(0.5)
        expected = network(x)
        with weights.used():
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_weights_of_functional_calls_are_their_own():
    network = with_statistics(ResNet(1, 3, width=8))
    x = torch.randn(4, 1, 200)
    other = {
        name: weight * (1.5 if name.endswith("conv1.weight") else 1.0)
        for name, weight in network.state_dict().items()
    }
    with torch.no_grad():
        expected = [network(x), torch.func.functional_call(network, other, x)]
        with FoldedWeights(MANY).used():
            found = [network(x), torch.func.functional_call(network, other, x)]
        replaced = network.conv1.weight
        network.conv1.weight = nn.Parameter(-replaced)
        expected.append(network(x))
        with FoldedWeights(MANY).used():
            found.append(network(x))
    for value, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-4, atol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 1e-2


def test_forward_of_one_layer_may_be_replaced():
    network = with_statistics(ResNet(1, 3, width=8))
    x = torch.randn(4, 1, 200)
    conv = network.layer1[0].conv2
    conv.forward = lambda maps: 0 * type(conv).forward(conv, maps)
    with torch.no_grad():
        expected = network(x)
        with FoldedWeights(MANY).used():
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_blocks_take_maps_of_three_axes():
    block = with_statistics(ResNet(1, 3, width=8)).layer2
    maps = torch.randn(4, 8, 50)
    with torch.no_grad():
        expected = block(maps)
        with FoldedWeights(MANY).used():
            torch.testing.assert_close(block(maps), expected)
            folded = block(maps[:, :, None])[:, :, 0]
    torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_layers_are_a_sequence(n_layers):
    layers = with_statistics(ConvNet(1, 3, 130, widths=(4, 8)).maps)
    part = layers[:n_layers]
    part.append(nn.Identity())
    x = torch.randn(2, 1, 1, 130)
    expected = x
    for layer in list(layers)[:n_layers]:
        expected = layer(expected)
    with torch.no_grad():
        torch.testing.assert_close(part(x), expected.detach())


def test_few_samples_are_not_worth_it():
    network = with_statistics(ResNet(1, 3, width=32, kernel_size=7))
    x = torch.randn(1, 1, 100)
    with torch.no_grad(), FoldedWeights(1).used():
        few = calls_of_batch_norm(network, x)
    with torch.no_grad(), FoldedWeights(MANY).used():
        many = calls_of_batch_norm(network, x)
    assert (few > 0, many) == (True, 0)


def test_estimators_predict_the_same_with_weights_set_by_hand():
    spectra = make_spectra(40, wavelength=range(3900, 9000, 20), random_state=0)
    clf = SpectrumClassifier(max_epochs=2, verbose=0, random_state=0)
    clf.fit(spectra.flux, spectra.target)
    before = clf.predict_proba(spectra.flux)
    for weight in clf.module_.layer1.parameters():
        # Changes of ``data`` are not counted by torch.
        weight.data.mul_(-1)
    changed = clf.predict_proba(spectra.flux)
    assert abs(changed - before).max() > 1e-3
    with torch.no_grad():
        clf.module_.eval()
        x = clf.module_input(spectra.flux)
        expected = clf.module_(x).softmax(1).numpy()
    assert abs(changed - expected).max() < 1e-5


def test_validation_and_prediction_agree():
    torch.manual_seed(0)
    images = torch.randint(0, 255, (24, 20, 20, 3), dtype=torch.uint8).numpy()
    classes = [0, 1, 2] * 8
    clf = GalaxyClassifier(
        "resnet18",
        module__width=8,
        max_epochs=1,
        train_split=0.5,
        restore_best_weights=False,
        verbose=0,
        random_state=0,
    ).fit(images, classes)
    assert clf.history[-1]["valid_loss"] > 0
    probability = clf.predict_proba(images)
    alone = clf.predict_proba(images[:1])
    assert abs(alone - probability[:1]).max() < 0.02
