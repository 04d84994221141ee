# SPDX-License-Identifier: BSD-3-Clause
"""Starting from trained weights: files, networks that fit or not, rates, freezing."""

import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Freezer
from tiny_estimators import make_tiny
from torch import nn

from skastro import (
    GalaxyClassifier,
    GalaxyRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
)
from skastro.networks import get_module

pytestmark = pytest.mark.once


def make_network(name="resnet18", n_channels=3, n_outputs=7, ndim=2, **settings):
    """Make a network that looks trained: no two of its numbers are alike."""
    generator = torch.Generator().manual_seed(3)
    settings = {"width": 4} | settings
    network = get_module(name, ndim)(n_channels, n_outputs, **settings).eval()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return network


@pytest.fixture
def images():
    """Make color images of two classes, and labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, size=(48, 12, 9, 3), dtype=np.uint8)
    y = np.repeat(["edge-on", "face-on"], 24)
    X[y == "edge-on", 5:7, :, 1] += 120
    return X, y


@pytest.fixture
def checkpoint(tmp_path):
    """Write the weights of a network of width 4."""
    path = tmp_path / "trained.pth"
    torch.save(make_network().state_dict(), path)
    return path


tiny = partial(
    make_tiny, GalaxyClassifier, module="resnet18", module__width=4, max_epochs=1
)


def built(make=tiny, **params):
    """Make an estimator whose network is built, for two classes."""
    params = {"module__n_channels": 3, "module__n_outputs": 2} | params
    torch.manual_seed(0)
    return make(**params).initialize()


@pytest.fixture(params=["images", "spectra"])
def case(request, images, checkpoint):
    """Give data, and a file of weights that fits them."""
    if request.param == "images":
        return SimpleNamespace(
            X=images[0],
            y=images[1],
            path=checkpoint,
            tiny=tiny,
            built=built,
            regressor=GalaxyRegressor,
        )
    make = partial(tiny.func, SpectrumClassifier, **tiny.keywords)
    X = np.random.default_rng(0).normal(size=(48, 120)).astype(np.float32)
    X[:24, 50:60] -= 3
    network = make_network(n_channels=1, ndim=1)
    torch.save(network.state_dict(), checkpoint)
    return SimpleNamespace(
        X=X,
        y=np.repeat(["A", "K"], 24),
        path=checkpoint,
        tiny=make,
        built=partial(built, make, module__n_channels=1),
        regressor=SpectrumRegressor,
    )


def state_of(clf, head=False):
    """Copy the numbers of a network's head, or of all else."""
    return {
        name: value.detach().clone()
        for name, value in clf.module_.state_dict().items()
        if name.startswith("fc.") == head
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, msg=name)


def differs(first, second, part):
    return [k for k in first if part in k and not torch.equal(first[k], second[k])]


FORMS = {
    "plain": dict,
    "nested": lambda state: {"epoch": 3, "state_dict": state, "lr": 0.1},
    "nested model": lambda state: {"model": state, "optimizer": {"state": {}}},
    "parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "parallel and compiled": lambda state: {
        "state_dict": {f"module._orig_mod.{k}": v for k, v in state.items()}
    },
    "old": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "another head": lambda state: state | {"fc.weight": torch.ones(3, 5)},
    "no head": lambda state: {k: v for k, v in state.items() if "fc." not in k},
}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_of_all_kinds(form, tmp_path):
    trained = make_network()
    path = tmp_path / "trained.pt"
    torch.save(FORMS[form](trained.state_dict()), path)
    clf = built(backbone=str(path))
    fresh = built()
    expected = {
        name: value
        for name, value in trained.state_dict().items()
        if not name.startswith("fc.")
    }
    assert_same(state_of(clf), expected)
    assert_same(state_of(clf, head=True), state_of(fresh, head=True))
    assert clf.module_.fc.weight.shape == (2, 32)


def test_safetensors_and_short_floats(tmp_path):
    trained = make_network().half()
    path = tmp_path / "trained.safetensors"
    save_file(trained.state_dict(), path)
    state = state_of(built(backbone=path))
    assert state["layer4.1.conv2.weight"].dtype == torch.float32
    torch.testing.assert_close(
        state["layer4.1.conv2.weight"], trained.layer4[1].conv2.weight.float()
    )


def test_a_head_of_as_many_classes_is_new_too(checkpoint):
    clf = built(backbone=checkpoint, module__n_outputs=7)
    given = torch.load(checkpoint, weights_only=True)
    assert given["fc.weight"].shape == clf.module_.fc.weight.shape
    assert not torch.equal(given["fc.weight"], clf.module_.fc.weight)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_names_in_full_width(name, tmp_path):
    path = tmp_path / f"{name}.pth"
    given = get_module(name, 2)(n_channels=3, n_outputs=1000).state_dict()
    torch.save(given, path)
    clf = built(module=name, module__width=64, backbone=path)
    assert_same(
        state_of(clf), {k: v for k, v in given.items() if not k.startswith("fc.")}
    )


def test_weights_of_own_estimators(case, tmp_path):
    X, y = case.X, case.y
    trained = case.tiny().fit(X, np.arange(48) % 3)
    trained.save_params(f_params=tmp_path / "own.pth")
    clf = case.tiny(max_epochs=0).load_backbone(tmp_path / "own.pth").fit(X, y)
    assert_same(state_of(clf), state_of(trained))


@pytest.mark.parametrize("n_bands", [1, 2, 5])
def test_other_bands_share_the_weights_of_colors(checkpoint, n_bands):
    trained = make_network()
    clf = built(backbone=checkpoint, module__n_channels=n_bands)
    gray = torch.randn(2, 1, 20, 20)
    torch.testing.assert_close(
        clf.module_.eval().forward_features(gray.expand(2, n_bands, 20, 20)),
        trained.forward_features(gray.expand(2, 3, 20, 20)),
    )


def test_channels_of_spectra_are_not_alike(checkpoint):
    torch.save(make_network(ndim=1).state_dict(), checkpoint)
    make = partial(tiny.func, SpectrumClassifier, **tiny.keywords)
    with pytest.raises(ValueError, match=r"are for 3 channels .* to read 2.*Or one"):
        built(make, backbone=checkpoint, module__n_channels=2)


def test_networks_that_do_not_fit(images, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="do not fit the network ResNet") as error:
        built(module="resnet50", backbone=checkpoint)
    assert (
        "'layer1.0.conv1.weight' has shape (4, 4, 3, 3) in the file and (4, 4, 1, 1) "
        "in the network"
    ) in str(error.value)
    assert "missing in the file: 'layer1.0.downsample.0.weight', " in str(error.value)
    assert "and 160 more. They fit" in str(error.value)
    assert str(checkpoint) in str(error.value)
    advice = "module='resnet18', module__width=4, module__stem='imagenet'."
    assert str(error.value).endswith(f"They fit {advice}")
    for settings in ({"module__width": 8}, {"module__stem": "stride1"}):
        with pytest.raises(ValueError, match="They fit module='resnet18'"):
            built(backbone=checkpoint, **settings)
    deeper = tmp_path / "deeper.pth"
    torch.save(make_network("resnet34", stem="stride1").state_dict(), deeper)
    message = r"unknown to the network: 'layer1.2.conv1.weight'.* They fit "
    with pytest.raises(ValueError, match=message + "module='resnet34'.*='stride1'"):
        built(backbone=deeper, module__stem="stride1")
    clf = GalaxyClassifier("mlp", backbone=checkpoint, verbose=0, device="cpu")
    with pytest.raises(ValueError, match="network MLP; missing in the file: 'hidden"):
        clf.fit(*images)
    other = tmp_path / "other.pth"
    torch.save({"encoder.weight": torch.ones(2, 2)}, other)
    with pytest.raises(ValueError, match="Give the module that they were trained"):
        built(backbone=other)


def unsafe(path):
    torch.save({"state_dict": make_network(), "epoch": 3}, path)


def truncated(path):
    torch.save(make_network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:3000])


def diverged(path):
    state = make_network().state_dict()
    state["layer2.0.bn1.bias"][1] = torch.nan
    torch.save(state, path)


BAD_FILES = {
    "unsafe": (unsafe, "holds objects other than tensors.*network.state_dict"),
    "truncated": (truncated, "damaged"),
    "noise": (lambda path: path.write_bytes(b"\x80noise" * 50), "damaged"),
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "list": (lambda path: torch.save([torch.ones(3)], path), "holds list instead of"),
    "nothing": (lambda path: torch.save({}, path), "tensors by name"),
    "numbers": (
        lambda path: torch.save({"w": torch.ones(3), "epoch": 3, "lr": 0.1}, path),
        "holds more than tensors by name: 'epoch', 'lr'",
    ),
    "numbered": (
        lambda path: torch.save({"w": torch.ones(3), 0: torch.ones(2)}, path),
        "holds more than tensors by name: 0",
    ),
    "pointer": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "pointer of Git LFS.*git lfs pull",
    ),
    "diverged": (diverged, "holds NaN or infinity in 'layer2.0.bn1.bias'"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(kind, images, tmp_path):
    write, message = BAD_FILES[kind]
    path = tmp_path / "bad.pth"
    write(path)
    for action in (
        lambda: tiny().load_backbone(path),
        lambda: tiny(backbone=path).fit(*images),
    ):
        with pytest.raises(ValueError, match=message) as error:
            action()
        assert "bad.pth" in str(error.value)


def test_bad_safetensors_and_missing_files(images, tmp_path):
    path = tmp_path / "bad.SafeTensors"
    for content in (b"no header", b"", save({"w": torch.ones(50)})[:-20]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no file of safetensors, or is damaged"):
            tiny().load_backbone(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.pth' does not exist"):
        tiny(backbone="gone.pth").fit(*images)
    with pytest.raises(FileNotFoundError, match="is a folder"):
        tiny().load_backbone(tmp_path)
    with pytest.raises(ValueError, match="'backbone' parameter"):
        tiny(backbone=3).fit(*images)
    with pytest.raises(ValueError, match="'backbone_lr' parameter"):
        tiny(backbone_lr=-1e-3).fit(*images)


def test_a_refused_backbone_leaves_a_fitted_net_as_it_was(images, tmp_path):
    clf = tiny().fit(*images)
    before = clf.predict_proba(images[0])
    clf.set_params(backbone=tmp_path / "gone.pth")
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        clf.fit(*images)
    np.testing.assert_array_equal(clf.predict_proba(images[0]), before)


def test_clones_pickles_and_searches(case):
    X, y = case.X, case.y
    clf = case.tiny(max_epochs=4, lr=1e-2).load_backbone(case.path)
    assert clone(clf).backbone == case.path
    grid = {"backbone": [None, case.path], "backbone_lr": [0, 1e-3]}
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    clf.fit(X, y)
    again = clone(clf).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    # What is fitted needs the file no more.
    case.path.unlink()
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def test_a_frozen_backbone_stays_as_it_was(case):
    X, y = case.X, case.y
    # Weight decay alone would move weights without a gradient.
    clf = case.tiny(backbone_lr=0, lr=1e-2, optimizer__weight_decay=0.5, max_epochs=3)
    clf.load_backbone(case.path).fit(X, y)
    start = case.built(backbone=case.path)
    assert_same(state_of(clf), state_of(start))
    assert differs(state_of(clf, True), state_of(start, True), "weight")
    assert all(weight.requires_grad for weight in clf.module_.parameters())
    # The second stage: all of it, slowly.
    clf.set_params(warm_start=True, backbone_lr=1e-4, max_epochs=1).fit(X, y)
    assert len(clf.history) == 4
    assert differs(state_of(clf), state_of(start), "conv1.weight")
    assert differs(state_of(clf), state_of(start), "running_mean")
    # And the way back.
    before = state_of(clf)
    clf.set_params(backbone_lr=0).partial_fit(X, y)
    assert_same(state_of(clf), before)


def test_regressors_have_a_backbone_too(case):
    X = case.X
    settings = {"module__width": 4, "max_epochs": 1, "verbose": 0, "device": "cpu"}
    reg = case.regressor("resnet18", backbone_lr=0, **settings)
    reg.load_backbone(case.path).fit(X, X.reshape(48, -1).mean(axis=1))
    assert_same(state_of(reg), state_of(case.built(backbone=case.path)))


def test_rates_of_head_and_backbone(case):
    X, y = case.X, case.y
    common = {
        "backbone": case.path,
        "optimizer": torch.optim.SGD,
        "schedule": None,
        "batch_size": -1,
        "train_split": None,
        "precision": "float32",
        "lr": 1e-3,
    }
    start = case.built(**common)
    whole = case.tiny(**common).fit(X, y)
    slow = case.tiny(**common, backbone_lr=1e-4).fit(X, y)
    for name, weight in start.module_.named_parameters():
        step = whole.module_.get_parameter(name) - weight
        expected = step if name.startswith("fc.") else step / 10
        actual = slow.module_.get_parameter(name) - weight
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=2e-7)
    assert slow.history[-1, "lr"] == 1e-3


def test_rates_follow_the_schedule_and_new_parameters(case):
    rates = []

    class Note(Callback):
        def on_batch_end(self, net, training, **kwargs):
            if training:
                rates.append([group["lr"] for group in net.optimizer_.param_groups])

    clf = case.tiny(backbone=case.path, backbone_lr=1e-4, lr=1e-3, callbacks=[Note()])
    clf.fit(case.X, case.y)
    head, backbone = np.transpose(rates)
    assert len(set(head)) > 1
    np.testing.assert_allclose(head, 10 * backbone)
    rates.clear()
    clf.set_params(lr=1e-2, warm_start=True).fit(case.X, case.y)
    head, backbone = np.transpose(rates)
    np.testing.assert_allclose(head, 100 * backbone)
    clf.set_params(backbone_lr=None)
    assert len(clf.optimizer_.param_groups) == 1


def test_a_new_backbone_starts_anew(case):
    clf = case.tiny(warm_start=True).fit(case.X, case.y)
    clf.load_backbone(case.path).set_params(max_epochs=0).fit(case.X, case.y)
    assert_same(state_of(clf), state_of(case.built(backbone=case.path)))
    clf = (
        case.tiny()
        .fit(case.X, case.y)
        .load_backbone(case.path)
        .set_params(max_epochs=0)
    )
    clf.partial_fit(case.X, case.y)
    assert_same(state_of(clf), state_of(case.built(backbone=case.path)))


def test_an_aborted_training_leaves_nothing_frozen(images):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            assert not net.module_.conv1.weight.requires_grad
            # What ends the first epoch leaves the net as it was.
            if len(net.history) == 2:
                raise RuntimeError("stop")

    clf = tiny(backbone_lr=0, callbacks=[Stop()], max_epochs=3)
    with pytest.raises(RuntimeError, match="stop"):
        clf.fit(*images)
    assert all(weight.requires_grad for weight in clf.module_.parameters())


def test_weights_that_the_user_froze_stay_frozen(images):
    network = make_network(n_outputs=2)
    network.conv1.weight.requires_grad_(False)
    clf = GalaxyClassifier(network, backbone_lr=0, max_epochs=1, verbose=0)
    clf.fit(*images)
    frozen = [k for k, w in clf.module_.named_parameters() if not w.requires_grad]
    assert frozen == ["conv1.weight"]


def test_skorch_own_ways(case):
    clf = case.tiny(
        backbone=case.path,
        callbacks=[("freeze", Freezer(["conv1*", "layer1*"]))],
        optimizer__param_groups=[("layer[234]*", {"lr": 1e-5})],
    ).fit(case.X, case.y)
    start = state_of(case.built(backbone=case.path))
    changed = differs(start, state_of(clf), "conv")
    assert changed
    assert all(name.startswith(("layer2", "layer3", "layer4")) for name in changed)
    with pytest.raises(ValueError, match="Both backbone_lr and optimizer__param_gr"):
        clf.set_params(backbone_lr=1e-4)


def test_networks_without_a_backbone(images):
    module = nn.Sequential(nn.Flatten(), nn.Linear(324, 2))
    with pytest.raises(ValueError, match="network of several layers"):
        GalaxyClassifier(module, backbone_lr=1e-4, verbose=0).fit(*images)
