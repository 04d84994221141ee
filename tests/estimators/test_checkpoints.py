# SPDX-License-Identifier: BSD-3-Clause
"""Weights of other libraries, under the names that their checkpoints have."""

import numpy as np
import pytest
import torch
from tiny_estimators import make_tiny
from torch import nn

from skastro import GalaxyClassifier, GalaxyRegressor, SpectrumClassifier
from skastro.networks import get_module

pytestmark = pytest.mark.once


def make_network(name="resnet18", n_channels=3, ndim=2, width=4, seed=3, **settings):
    """Make a network whose head has seven outputs, and of which no two are alike."""
    generator = torch.Generator().manual_seed(seed)
    network = get_module(name, ndim)(n_channels, 7, width=width, **settings).eval()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) / 4 + 0.1)
    return network


def behind(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def but_head(state):
    return {k: v for k, v in state.items() if not k.startswith("fc.")}


def numbered(state):
    """Name children by their numbers in torchvision's ResNet."""
    numbers = {"conv1": 0, "bn1": 1} | {f"layer{i}": 3 + i for i in range(1, 5)}
    parts = [(name.partition("."), value) for name, value in state.items()]
    return {f"{numbers[part]}.{rest}": value for (part, _, rest), value in parts}


def others(state):
    """Make weights of the same names and shapes that differ."""
    return {name: torch.zeros_like(value) for name, value in state.items()}


HEAD = {"weight": torch.ones(34, 32), "bias": torch.ones(34)}
# As the libraries write them; `state` is that of torchvision's ResNet, with its head.
FORMATS = {
    "torchvision": dict,
    "timm without a head": but_head,
    "Zoobot, Lightning's file": lambda state: {
        "epoch": 50,
        "global_step": 9000,
        "pytorch-lightning_version": "2.2.1",
        "hyper_parameters": {"architecture_name": "resnet18", "channels": 3},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-4}]}],
        "state_dict": {
            **behind("encoder.", but_head(state)),
            **behind("head.1.0.", HEAD),
        },
    },
    "Zoobot, fine-tuned": lambda state: {
        "state_dict": {
            "train_loss_metric.mean_value": torch.ones(()),
            **behind("encoder.", but_head(state)),
            **behind("head.linear.", HEAD),
        },
    },
    "Lightning's model": lambda state: {"state_dict": behind("model.", state)},
    "Lightning's net": lambda state: {"state_dict": behind("net.", state)},
    "classifier by another name": lambda state: {
        **but_head(state),
        **behind("classifier.", HEAD),
    },
    "SimSiam": lambda state: {
        "arch": "resnet18",
        "state_dict": {
            **behind("module.encoder.", but_head(state)),
            **behind("module.encoder.fc.0.", HEAD),
            **behind("module.predictor.0.", HEAD),
        },
    },
    "MoCo": lambda state: {
        "state_dict": {
            "module.queue": torch.ones(128, 10),
            "module.queue_ptr": torch.zeros(1, dtype=torch.int64),
            **behind("module.encoder_q.", but_head(state)),
            **behind("module.encoder_q.fc.0.", HEAD),
            **behind("module.encoder_k.", others(but_head(state))),
        },
    },
    "SwAV": lambda state: {
        **behind("module.", but_head(state)),
        **behind("module.projection_head.0.", HEAD),
        "module.prototypes.weight": torch.ones(30, 8),
    },
    "BYOL, lightly": lambda state: {
        "state_dict": {
            **behind("backbone.", state),
            **behind("projection_head.layers.0.", HEAD),
            **behind("prediction_head.layers.0.", HEAD),
            **behind("backbone_momentum.", others(state)),
        },
    },
    "BYOL, two networks": lambda state: {
        **behind("target_network.encoder.", others(state)),
        **behind("online_network.encoder.", state),
        **behind("online_network.projector.net.0.", HEAD),
    },
    "DINO, lightly": lambda state: {
        "state_dict": {
            **behind("student_backbone.", but_head(state)),
            **behind("student_head.layers.0.", HEAD),
            **behind("teacher_backbone.", others(but_head(state))),
        },
    },
    "SimCLR, lightly, numbered": lambda state: {
        "state_dict": {
            **behind("backbone.", numbered(but_head(state))),
            **behind("projection_head.layers.0.", HEAD),
        },
    },
    "DataParallel and torch.compile": lambda state: behind(
        "module._orig_mod.model.", state
    ),
}


def save(state, folder, form=dict):
    path = folder / "weights.ckpt"
    torch.save(form(state), path)
    return path


def built(n_channels=3, cls=GalaxyClassifier, **params):
    """Build an estimator's network."""
    params = {"module__n_channels": n_channels, "module__n_outputs": 2} | params
    return make_tiny(cls, **params).initialize()


@pytest.mark.parametrize("n_channels", [3, 1])
@pytest.mark.parametrize("form", FORMATS)
def test_features_are_those_of_the_trained_network(form, n_channels, tmp_path):
    trained = make_network()
    path = save(trained.state_dict(), tmp_path, FORMATS[form])
    clf = GalaxyClassifier.from_pretrained(path, device="cpu", verbose=0)
    assert (clf.module, clf.get_params()["module__width"]) == ("resnet18", 4)
    clf.set_params(module__n_channels=n_channels, module__n_outputs=2).initialize()
    X = torch.randn(2, n_channels, 40, 40)
    torch.testing.assert_close(
        clf.module_.eval().forward_features(X),
        trained.forward_features(X.expand(2, 3, 40, 40)),
    )


def test_colors_share_the_weights_of_one_channel(tmp_path):
    trained = make_network(n_channels=1)
    path = save(trained.state_dict(), tmp_path, FORMATS["MoCo"])
    clf = built(module="resnet18", module__width=4, backbone=path)
    gray = torch.randn(2, 1, 20, 20)
    torch.testing.assert_close(
        clf.module_.eval().forward_features(gray.expand(2, 3, 20, 20)),
        trained.forward_features(gray),
    )


@pytest.mark.parametrize("form", ["MoCo", "SimCLR, lightly, numbered"])
@pytest.mark.parametrize(
    ("name", "width", "stem"),
    [
        ("resnet34", 8, "imagenet"),
        ("resnet50", 64, "imagenet"),
        ("resnet101", 4, "stride1"),
    ],
)
def test_the_network_is_found(name, width, stem, form, tmp_path):
    with torch.device("meta"):
        state = get_module(name, 2)(3, 7, width=width, stem=stem).state_dict()
    state = {key: torch.zeros(value.shape) for key, value in state.items()}
    path = save(state, tmp_path, FORMATS[form])
    reg = GalaxyRegressor.from_pretrained(path)
    params = reg.get_params()
    assert params["module"] == name
    assert params["module__width"] == width
    assert params["module__stem"] == stem
    assert params["backbone"] == path


def test_given_settings_count(tmp_path):
    path = save(make_network().state_dict(), tmp_path)
    clf = GalaxyClassifier.from_pretrained(path, module__stem="stride2", lr=1e-4)
    params = clf.get_params()
    assert (params["module__stem"], params["module__width"]) == ("stride2", 4)
    assert clf.lr == 1e-4
    clf = GalaxyClassifier.from_pretrained(path, module="resnet18")
    assert clf.get_params()["module__width"] == 4
    clf = GalaxyClassifier.from_pretrained(path, module="resnet50")
    assert "module__width" not in clf.get_params()


def test_spectra(tmp_path):
    trained = make_network("resnet34", n_channels=1, ndim=1, stem="stride4")
    path = save(trained.state_dict(), tmp_path, FORMATS["Lightning's model"])
    clf = SpectrumClassifier.from_pretrained(path, device="cpu", verbose=0)
    assert clf.get_params()["module__stem"] == "stride4"
    X = np.random.default_rng(0).normal(size=(20, 200)).astype(np.float32)
    clf.set_params(max_epochs=0).fit(X, np.arange(20) % 2)
    X = torch.randn(2, 1, 200)
    torch.testing.assert_close(
        clf.module_.eval().forward_features(X), trained.forward_features(X)
    )
    with pytest.raises(ValueError, match="of no network that is known by name"):
        GalaxyClassifier.from_pretrained(path)


def test_several_networks_in_a_file(tmp_path):
    state = make_network().state_dict()
    path = save(
        {**behind("first.", state), **behind("second.", others(state))}, tmp_path
    )
    with pytest.raises(ValueError, match=r"begin with 'first\.' and 'second\.'"):
        built(module="resnet18", module__width=4, backbone=path)
    # Neither averages nor other parts are taken for the network.
    path = save(
        {**behind("ema.", others(state)), **state, **behind("head.", state)}, tmp_path
    )
    clf = built(module="resnet18", module__width=4, backbone=path)
    assert torch.equal(clf.module_.conv1.weight, state["conv1.weight"])


def test_an_average_alone_is_taken(tmp_path):
    state = make_network().state_dict()
    path = save(behind("teacher.backbone.", state), tmp_path)
    clf = built(module="resnet18", module__width=4, backbone=path)
    assert torch.equal(clf.module_.conv1.weight, state["conv1.weight"])


def test_a_single_layer_needs_its_name(tmp_path):
    class Small(nn.Module):
        def __init__(self, n_outputs):
            super().__init__()
            self.encoder = nn.Linear(12, 5)
            self.fc = nn.Linear(5, n_outputs)

    layer = {"weight": torch.ones(5, 12), "bias": torch.ones(5)}
    path = save(behind("model.encoder.", layer), tmp_path)
    params = {"module": Small, "module__n_outputs": 2, "backbone": path}
    clf = make_tiny(GalaxyClassifier, **params).initialize()
    assert torch.equal(clf.module_.encoder.weight, layer["weight"])
    path = save(behind("model.decoder.", layer), tmp_path)
    with pytest.raises(ValueError, match=r"missing in the file: 'encoder\.weight'"):
        make_tiny(GalaxyClassifier, **params).initialize()


OTHER_ARCHITECTURES = {
    "convolutions, such as timm's resnet50d": {
        "conv1.0.weight": torch.ones(4, 3, 3, 3),
        "conv1.3.weight": torch.ones(8, 4, 3, 3),
        "layer1.0.conv1.weight": torch.ones(8, 8, 3, 3),
        "layer2.0.downsample.1.weight": torch.ones(16, 8, 1, 1),
        "layer2.0.downsample.2.weight": torch.ones(16),
    },
    "names its shortcuts otherwise": {
        "conv1.weight": torch.ones(8, 3, 3, 3),
        "layer1.0.conv1.weight": torch.ones(8, 8, 3, 3),
        "layer2.0.shortcut.0.weight": torch.ones(16, 8, 1, 1),
    },
    "a ConvNeXt": {
        "encoder.stem.0.weight": torch.ones(8, 3, 4, 4),
        "encoder.stages.0.blocks.0.conv_dw.weight": torch.ones(8, 1, 7, 7),
    },
    "an EfficientNet": {"conv_stem.weight": torch.ones(8, 3, 3, 3)},
    "a vision transformer": {"patch_embed.proj.weight": torch.ones(8, 3, 16, 16)},
    "a ResNet of Hugging Face's": {
        "resnet.embedder.embedder.convolution.weight": torch.ones(8, 3, 7, 7)
    },
}


@pytest.mark.parametrize("named", OTHER_ARCHITECTURES)
def test_other_architectures_are_named(named, tmp_path):
    path = save(OTHER_ARCHITECTURES[named], tmp_path)
    message = f"look like those of .*{named}.*Give the module"
    with pytest.raises(ValueError, match=message):
        GalaxyClassifier.from_pretrained(path)
    with pytest.raises(ValueError, match=message):
        built(module="resnet18", backbone=path)


def test_networks_that_only_look_alike(tmp_path):
    """Weights beside those of the network belong to another one."""
    state = make_network().state_dict()
    for extra in ("layer1.0.se.fc1.weight", "layer1.2.conv1.weight", "attnpool.weight"):
        path = save(behind("encoder.", {**state, extra: torch.ones(3, 3)}), tmp_path)
        with pytest.raises(ValueError, match=f"unknown to the network: '{extra}'"):
            built(module="resnet18", module__width=4, backbone=path)
        with pytest.raises(ValueError, match="of no network that is known by name"):
            GalaxyClassifier.from_pretrained(path)


class Features(nn.Module):
    """What timm's ConvNeXt without outputs looks like: its norm is in its head."""

    def __init__(self, n_channels):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(n_channels, 6, 4, 4), nn.GroupNorm(1, 6))
        self.stages = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.GELU())
        self.head = nn.Module()
        self.head.norm = nn.LayerNorm(8)

    def forward_features(self, x):
        return self.stages(self.stem(x))

    def forward(self, x):
        return self.head.norm(self.forward_features(x).mean(dim=(2, 3)))


class Encoder(nn.Module):
    """A user's class around a network of timm."""

    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.net = Features(n_channels)
        self.fc = nn.Linear(8, n_outputs)

    def forward_features(self, x):
        return self.net.forward_features(x)

    def forward(self, x):
        return self.fc(self.net(x))


@pytest.mark.parametrize("prefix", ["net.", "encoder.", "model.encoder.", ""])
@pytest.mark.parametrize("n_channels", [3, 1])
def test_modules_of_users_around_other_networks(prefix, n_channels, tmp_path):
    torch.manual_seed(0)
    trained = Features(3).eval()
    state = {**trained.state_dict(), **behind("head.fc.", HEAD)}
    path = save(behind(prefix, state), tmp_path)
    clf = GalaxyClassifier.from_pretrained(
        path, module=Encoder, max_epochs=1, verbose=0, device="cpu", backbone_lr=0
    )
    shape = (24, 16, 16, n_channels)
    images = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    clf.fit(images, np.arange(24) % 2)
    X = torch.randn(2, n_channels, 16, 16)
    torch.testing.assert_close(
        clf.module_.net(X), trained(X.expand(2, 3, 16, 16)), rtol=1e-4, atol=1e-5
    )
