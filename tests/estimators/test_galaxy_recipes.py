# SPDX-License-Identifier: BSD-3-Clause
"""Recipes for galaxies: what they set, and that they train."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skastro import GalaxyClassifier
from skastro.networks import MLP, ResNet

pytestmark = pytest.mark.once

RECIPES = ["mlp", "resclass"]


@pytest.fixture
def images():
    """Make images of two classes, few of the second."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, size=(80, 16, 16, 3), dtype=np.uint8)
    y = np.repeat(["elliptical", "spiral"], [60, 20])
    X[y == "spiral", 4:12, 4:12] += 80
    return X, y


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name, images):
    X, y = images
    smaller = {"module__width": 4} if name == "resclass" else {}
    clf = GalaxyClassifier.from_recipe(
        name, max_epochs=3, random_state=0, verbose=0, device="cpu", **smaller
    )
    again = clone(clf)
    assert again.get_params().keys() == clf.get_params().keys()
    probability = clf.fit(X, y).predict_proba(X)
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(X), probability)
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), probability)
    for column in ("train_loss", "train_acc", "valid_loss", "valid_acc"):
        assert np.isfinite(clf.history[:, column]).all()
    # 80 images: a fifth for validation.
    sizes = [batch.get("train_batch_size", 0) for batch in clf.history[0, "batches"]]
    assert (max(sizes), sum(sizes)) == (clf.batch_size, 64)


def test_resclass_is_the_published_system():
    clf = GalaxyClassifier.from_recipe(
        "resclass", module__n_channels=3, module__n_outputs=10, device="cpu"
    ).initialize()
    assert clf.normalization == "imagenet"
    network = clf.module_
    assert isinstance(network, ResNet)
    convolutions = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and "downsample" not in name
    ]
    assert len(convolutions) + 1 == 50
    assert network.fc.weight.shape == (10, 2048)
    assert isinstance(clf.optimizer_, torch.optim.AdamW)
    assert (clf.lr, clf.batch_size, clf.max_epochs) == (1e-3, 64, 50)
    assert (clf.sampler, clf.augment, clf.train_split) == ("balanced", "resclass", 0.2)
    rate = np.array([1e-3 * clf.schedule(epoch / 50) for epoch in range(51)])
    assert rate[0] == pytest.approx(1e-5)
    assert rate.argmax() == 4
    assert rate[4] == pytest.approx(1e-3)
    np.testing.assert_allclose(rate[:5], np.linspace(1e-5, 1e-3, 5))
    np.testing.assert_allclose(rate[49:], 1e-6)
    middle = 1e-3 * clf.schedule((4 + 45 / 2) / 50)
    assert middle == pytest.approx((1e-3 + 1e-6) / 2)
    best = dict(clf.callbacks_)["best_weights"]
    assert (best.monitor, best.lower_is_better, best.start) == ("valid_loss", True, 0)


def test_mlp_is_the_published_system():
    clf = GalaxyClassifier.from_recipe(
        "mlp",
        module__n_channels=3,
        module__n_outputs=10,
        module__input_size=(69, 69),
        device="cpu",
    ).initialize()
    assert clf.normalization is None
    assert isinstance(clf.module_, MLP)
    weights = [weight.numel() for weight in clf.module_.parameters()]
    assert sum(weights) == 1_829_642
    assert isinstance(clf.optimizer_, torch.optim.Adam)
    assert (clf.lr, clf.max_epochs, clf.train_split) == (1e-3, 10, 0.2)


def test_mlp_lowers_its_rate_on_a_plateau():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(120, 9, 9), dtype=np.uint8)
    y = rng.integers(0, 2, size=120)
    clf = GalaxyClassifier.from_recipe("mlp", random_state=0, verbose=0, device="cpu")
    clf.set_params(max_epochs=8, lr=1e-2).fit(X, y)
    # Nothing can be learned here, so that the validation loss only rises.
    rates = clf.history[:, "event_lr"]
    assert rates[0] == 1e-2
    assert rates[-1] < 1e-2
    assert set(np.round(np.log2(1e-2 / np.array(rates)), 6)) <= set(range(8))


def test_mlp_without_validation_watches_the_training():
    X = np.zeros((12, 9, 9), dtype=np.uint8)
    clf = GalaxyClassifier.from_recipe("mlp", random_state=0, verbose=0, device="cpu")
    clf.set_params(max_epochs=8, lr=0.0001).fit(X, np.arange(12) % 2)
    assert "valid_loss" not in clf.history[-1]
    assert clf.history[0, "event_lr"] == 1e-4


def test_overrides_win():
    clf = GalaxyClassifier.from_recipe("resclass", module="resnet18", max_epochs=5)
    assert clf.max_epochs == 5
    assert "module__stem" not in clf.get_params()
    plain = GalaxyClassifier.from_recipe("mlp", callbacks=None)
    assert plain.callbacks is None
