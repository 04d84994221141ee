# SPDX-License-Identifier: BSD-3-Clause
"""Recipes: what they set, and that every one of them trains."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skastro import GalaxyClassifier, MinMaxSpectra, SpectrumClassifier
from skastro.networks import MLP, ResNet, SEDenseNet
from skastro.networks.layers import SqueezeExcitation
from skastro.training import GreedyPretraining

pytestmark = pytest.mark.once

RECIPES = ["resclass", "wang2020", "wang2020-dbn", "wang2020-densenet", "wang2020-mlp"]
SMALLER = {
    "resclass": {"module__width": 2},
    "wang2020": {"module__growth_rate": 1},
    "wang2020-dbn": {"callbacks__pretraining__n_iter": 1},
    "wang2020-densenet": {"module__growth_rate": 1, "module__branch_width": 2},
    "wang2020-mlp": {},
}


@pytest.fixture
def spectra():
    """Make three classes of bumpy spectra, few of the third."""
    rng = np.random.default_rng(0)
    y = np.repeat(["STAR", "GALAXY", "QSO"], [40, 20, 10])
    X = rng.normal(size=(70, 96))
    for i, name in enumerate(np.unique(y)):
        X[y == name, 30 * i : 30 * i + 25] += 3
    return MinMaxSpectra().fit_transform(X), y


def build(name, **overrides):
    """Make the network of a recipe for spectra of 2600 samples and three classes."""
    clf = SpectrumClassifier.from_recipe(
        name, module__n_outputs=3, device="cpu", **overrides
    )
    if clf.module == "mlp":
        return clf.set_params(module__input_size=2600).initialize()
    return clf.set_params(module__n_channels=1).initialize()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name, spectra):
    clf = SpectrumClassifier.from_recipe(
        name, max_epochs=2, random_state=0, verbose=0, device="cpu", **SMALLER[name]
    )
    assert clone(clf).get_params().keys() == clf.get_params().keys()
    clf.fit(*spectra)
    loaded = pickle.loads(pickle.dumps(clf))
    probability = clf.predict_proba(spectra[0])
    np.testing.assert_array_equal(loaded.predict_proba(spectra[0]), probability)
    assert probability.shape == (70, 3)
    monitor = clf.get_params()["callbacks__best_weights__monitor"]
    scores = clf.history[:, monitor]
    best = 1 + int(scores[1] >= scores[0])
    assert dict(clf.callbacks_)["best_weights"].best_epoch_ == best


def test_resclass_is_the_published_system():
    clf = build("resclass")
    network = clf.module_
    assert isinstance(network, ResNet)
    assert network.conv1.weight.shape[0] == 64
    assert network.forward_features(torch.zeros(1, 1, 800)).shape == (1, 512, 100)
    n_convolutions = sum(
        isinstance(module, nn.Conv1d) and module.kernel_size != (1,)
        for module in network.modules()
    )
    assert n_convolutions + 1 == 18
    assert isinstance(clf.optimizer_, torch.optim.AdamW)
    assert isinstance(clf.criterion_, nn.CrossEntropyLoss)
    assert (clf.batch_size, clf.max_epochs, clf.train_split) == (64, 50, 0.2)
    assert (clf.sampler, clf.augment) == ("balanced", "resclass")
    rate = [clf.schedule((epoch + 1e-9) / 50) for epoch in range(50)]
    assert np.argmax(rate) == 4
    assert rate[25] == pytest.approx(0.5)
    assert np.flatnonzero(np.diff(rate) > 0).tolist() == [0, 1, 2, 3, 24]


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "resclass"])
def test_networks_of_the_paper_are_trained_alike(name):
    clf = build(name)
    assert isinstance(clf.optimizer_, torch.optim.Adam)
    assert isinstance(clf.criterion_, nn.CrossEntropyLoss)
    assert (clf.lr, clf.max_epochs) == (0.01, 60)
    assert (clf.sampler, clf.augment) == ("balanced", "wang2020")
    rate = [0.01 * clf.schedule((epoch + 0.5) / 60) for epoch in range(60)]
    expected = np.repeat([1e-2, 1e-3, 1e-4, 1e-5], [10, 20, 20, 10])
    np.testing.assert_allclose(rate, expected)


def test_wang2020_is_the_published_network():
    network = build("wang2020").module_
    assert isinstance(network, SEDenseNet)
    assert len(network.blocks) - 1 == 6
    assert network.forward_features(torch.zeros(1, 1, 2600)).shape[2] == 40
    convolutions = [m for m in network.blocks.modules() if isinstance(m, nn.Conv1d)]
    widths = {convolution.kernel_size[0] for convolution in convolutions}
    assert widths == {1, 11, 25, 41}


def test_plain_densenet_lacks_what_the_paper_added():
    full, plain = build("wang2020").module_, build("wang2020-densenet").module_
    kinds = [type(module) for module in plain.modules()]
    assert SqueezeExcitation not in kinds
    assert len(plain.skips) == 0
    assert len(plain.transitions) == len(full.transitions)
    for block, plain_block in zip(full.blocks, plain.blocks, strict=True):
        for conv, plain_conv in zip(block, plain_block, strict=True):
            assert [branch.kernel_size for branch in plain_conv.branches] == [(3,)]
            assert plain_conv.mix.weight.shape == conv.mix.weight.shape


def test_networks_of_four_layers():
    mlp, dbn = build("wang2020-mlp"), build("wang2020-dbn")
    for clf in (mlp, dbn):
        assert isinstance(clf.module_, MLP)
        linear = [m for m in clf.module_.modules() if isinstance(m, nn.Linear)]
        assert len(linear) == 4
    assert isinstance(dict(dbn.callbacks_)["pretraining"], GreedyPretraining)


def test_overrides_win():
    clf = SpectrumClassifier.from_recipe("wang2020", lr=1.0, module__growth_rate=3)
    assert clf.lr == 1.0
    params = clf.get_params()
    assert params["module__growth_rate"] == 3
    assert params["module__n_dense_blocks"] == 7


def test_another_part_brings_its_own_settings(spectra):
    clf = SpectrumClassifier.from_recipe("wang2020", module="mlp", verbose=0)
    assert not [name for name in clf.get_params() if name.startswith("module__")]
    assert clf.get_params()["callbacks__best_weights__start"] == 0.0
    settings = {"max_epochs": 1, "callbacks": "disable", "device": "cpu"}
    clf.from_recipe("wang2020", module="mlp", verbose=0, **settings).fit(*spectra)


def test_recipes_are_not_shared():
    first, second = (SpectrumClassifier.from_recipe("wang2020-dbn") for _ in range(2))
    first.callbacks.append("mine")
    assert len(second.callbacks) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wang2021", "no recipe 'wang2021'. Did you mean 'wang2020'[?] Known: 'resc"),
        ("RESCLASS", "Did you mean 'resclass'"),
        (3, "SpectrumClassifier has no recipe 3. Known: 'resclass', 'wang2020'"),
        (["wang2020"], "has no recipe"),
    ],
)
def test_unknown_recipes_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        SpectrumClassifier.from_recipe(name)


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="did you mean 'max_epochs'"):
        SpectrumClassifier.from_recipe("wang2020", max_epoch=3)


def test_estimators_have_recipes_of_their_own():
    class Other(GalaxyClassifier):
        _recipes = {}  # noqa: RUF012

    with pytest.raises(ValueError, match=r"Other has no .*\. Known: none"):
        Other.from_recipe("wang2020")
