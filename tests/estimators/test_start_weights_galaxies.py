# SPDX-License-Identifier: BSD-3-Clause
"""Weights of the package to start from, for images of galaxies."""

import os
import pickle
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skastro
from skastro import GalaxyClassifier, GalaxyRegressor, load_model, save_model
from skastro.base._pretrained import Pretrained
from skastro.datasets import read_galaxy10

pytestmark = pytest.mark.once

BOTH = pytest.mark.parametrize("cls", [GalaxyClassifier, GalaxyRegressor])
FOLDER = files("skastro.estimators") / "pretrained"
QUIET = {"verbose": 0, "random_state": 0, "device": "cpu"}


def some_images(*shape):
    """Make images of noise, in some shape, and targets."""
    X = np.random.default_rng(0).integers(0, 255, size=(12, *shape), dtype=np.uint8)
    return X, np.arange(12) % 3


@BOTH
def test_short_form(cls):
    net = cls.from_pretrained("galaxies", max_epochs=3)
    assert (net.backbone, net.max_epochs, net.image_size) == ("galaxies", 3, 88)
    assert net.backbone_lr < net.lr
    assert clone(net).get_params()["backbone"] == "galaxies"
    with pytest.raises(ValueError, match="no pretrained weights 'galaxy'"):
        cls.from_pretrained("galaxy")


@BOTH
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"module": "resnet18"}, "but module='resnet18'"),
        ({"module__stem": "stride2"}, "but module__stem='stride2'"),
    ],
)
def test_contradictions(cls, params, message):
    with pytest.raises(ValueError, match=message) as error:
        cls.from_pretrained("galaxies", **params)
    assert f"{cls.__name__}.from_pretrained('galaxies') sets" in str(error.value)
    net = cls.from_pretrained("galaxies", **QUIET).set_params(**params)
    with pytest.raises(ValueError, match=message):
        net.fit(*some_images(20, 20, 3))


@pytest.mark.parametrize("source", ["galaxies", FOLDER / "galaxies.safetensors"])
def test_the_stem_is_not_forgotten(source):
    # The default stem has the same shapes, and would read other pixels.
    clf = GalaxyClassifier(backbone=source, **QUIET)
    with pytest.raises(ValueError, match="module__stem='imagenet', but module__stem"):
        clf.fit(*some_images(20, 20, 3))


@BOTH
def test_weights_are_named_once(cls):
    for backbone in (None, "galaxies", "other.pth"):
        with pytest.raises(TypeError, match=f"but got backbone={backbone!r} too"):
            cls.from_pretrained("galaxies", backbone=backbone)


def test_what_is_fitted_needs_the_weights_no_more(tmp_path, monkeypatch):
    X, y = some_images(20, 20, 3)
    clf = GalaxyClassifier.from_pretrained(
        "galaxies", image_size=16, max_epochs=1, **QUIET
    ).fit(X, y)
    expected = clf.predict_proba(X)
    save_model(clf, tmp_path / "clf.skastro")
    content = pickle.dumps(clf)

    def lost(*_):
        raise ValueError("the weights of a later version")

    monkeypatch.setattr(skastro.base._net, "find_pretrained", lost)
    for loaded in (load_model(tmp_path / "clf.skastro"), pickle.loads(content)):
        np.testing.assert_array_equal(loaded.predict_proba(X), expected)
        loaded.partial_fit(X, y)
    with pytest.raises(ValueError, match="of a later version"):
        clone(clf).fit(X, y)


@pytest.mark.parametrize("shape", [(20, 20, 3), (150, 130), (31, 31, 5)])
def test_all_but_the_head_is_loaded(shape):
    X, y = some_images(*shape)
    clf = GalaxyClassifier.from_pretrained("galaxies", max_epochs=0, **QUIET).fit(X, y)
    weights = Pretrained.read(FOLDER / "galaxies.safetensors").weights
    found = clf.module_.state_dict()
    first = "conv1.weight"
    for name, value in found.items():
        if not name.startswith("fc.") and name != first:
            torch.testing.assert_close(value, weights[name].to(value.dtype))
    if len(shape) == 3 and shape[2] == 3:
        torch.testing.assert_close(found[first], weights[first].float())
    # Bands that are all alike give what gray images give.
    gray = weights[first].float().sum(dim=1)
    torch.testing.assert_close(found[first].sum(dim=1), gray, atol=1e-4, rtol=1e-3)
    assert clf.predict_proba(X).shape == (12, 3)
    assert clf.module_input(X).shape[2] == 88
    reg = GalaxyRegressor.from_pretrained("galaxies", max_epochs=0, **QUIET).fit(X, y)
    assert torch.equal(reg.module_.get_parameter(first), found[first])


@pytest.mark.skipif("SKASTRO_DATA" not in os.environ, reason="needs SKASTRO_DATA")
def test_the_weights_know_their_images():
    # No measure of accuracy, since the weights have seen these galaxies: it tells that
    # the file holds what was learned, and that images reach it as in its training.
    path = Path(os.environ["SKASTRO_DATA"]) / "galaxies_efigi.h5"
    galaxies = read_galaxy10(path, verbose=0)
    rows = np.arange(len(galaxies.target)) % 2 == 0
    clf = GalaxyClassifier.from_pretrained("galaxies", max_epochs=0, **QUIET)
    fresh = clone(clf).set_params(backbone=None, backbone_lr=None)
    scores = []
    for net in (clf, fresh):
        net.fit(galaxies.images, galaxies.target)
        with torch.no_grad():
            maps = net.module_.eval().forward_features(
                net.module_input(galaxies.images)
            )
        X = maps.mean(dim=(2, 3)).numpy()
        head = make_pipeline(
            StandardScaler(), LogisticRegression(C=1e-2, max_iter=1000)
        )
        head.fit(X[rows], galaxies.target[rows])
        scores.append(head.score(X[~rows], galaxies.target[~rows]))
    assert scores[0] > max(0.8, scores[1] + 0.1)


def test_files_of_the_package():
    path = FOLDER / "galaxies.safetensors"
    assert path.stat().st_size < 10e6
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for part in (
        '"galaxies")',
        "EFIGI",
        "FIRST",
        "Galaxy Zoo 2",
        "Versions",
        "have seen",
    ):
        assert part in card


@pytest.mark.slow
@pytest.mark.skipif("SKASTRO_DATA" not in os.environ, reason="needs SKASTRO_DATA")
def test_script(tmp_path):
    script = Path(__file__).parents[2] / "tools" / "train_pretrained_galaxies.py"
    few = "--apart 0 --without radio --size 16 --epochs 1".split()
    env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, script, "--output", tmp_path, *few]
    subprocess.run(command, check=True, env=env)
    found = Pretrained.read(tmp_path / "galaxies.safetensors")
    shipped = Pretrained.read(FOLDER / "galaxies.safetensors")
    assert found.settings == shipped.settings
    assert found.weights.keys() == shipped.weights.keys()
    card = (tmp_path / "galaxies.md").read_text(encoding="utf-8")
    # Three quarters of each set.
    assert "T-types: 1062 images" in card
    assert "four classes of radio galaxies" not in card
