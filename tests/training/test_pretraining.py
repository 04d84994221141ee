# SPDX-License-Identifier: BSD-3-Clause
"""Deep belief networks: Boltzmann machines first, the whole network afterwards."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.neural_network import BernoulliRBM
from skorch.callbacks import Callback

from skastro import SpectrumClassifier
from skastro.training import GreedyPretraining


@pytest.fixture
def patterns():
    """Make two classes of bars between 0 and 1, and a little noise."""
    rng = np.random.default_rng(0)
    y = np.arange(96) % 2
    X = 0.2 * rng.random((96, 20), dtype=np.float32)
    X[y == 0, :10] += 0.7
    X[y == 1, 10:] += 0.7
    return X, y


def belief_network(**settings):
    defaults = {
        "module": "mlp",
        "module__hidden": (12, 6),
        "module__activation": "sigmoid",
        "batch_size": 8,
        "train_split": None,
        "augment": None,
        "random_state": 0,
        "verbose": 0,
        "device": "cpu",
        "callbacks": [("pretraining", GreedyPretraining)],
    }
    return SpectrumClassifier(**(defaults | settings))


class FirstWeights(Callback):
    """Keep the weights with which the first step begins."""

    def __init__(self, kept):
        self.kept = kept

    def on_batch_begin(self, net, batch=None, training=False, **_):
        if training and not self.kept:
            self.kept.update(
                {k: v.clone() for k, v in net.module_.state_dict().items()}
            )


def weights_before_the_first_step(X, y, **settings):
    kept = {}
    callbacks = [("pretraining", GreedyPretraining), FirstWeights(kept)]
    belief_network(max_epochs=1, callbacks=callbacks, **settings).fit(X, y)
    return {name: value.numpy() for name, value in kept.items()}


def test_layers_are_the_machines_of_scikit_learn(patterns, monkeypatch):
    """Layer by layer, the weights, and what the machine above reads."""
    machines, read = [], {}
    original = BernoulliRBM.partial_fit

    def partial_fit(self, X, y=None):
        if self not in machines:
            machines.append(self)
        read.setdefault(id(self), []).append(X.copy())
        return original(self, X, y)

    monkeypatch.setattr(BernoulliRBM, "partial_fit", partial_fit)
    X, y = patterns
    state = weights_before_the_first_step(X, y, callbacks__pretraining__n_iter=4)
    assert [machine.n_components for machine in machines] == [12, 6]
    for machine, name in zip(machines, ("hidden.1", "hidden.4"), strict=True):
        np.testing.assert_allclose(
            state[f"{name}.weight"], machine.components_, rtol=1e-6
        )
        np.testing.assert_allclose(
            state[f"{name}.bias"], machine.intercept_hidden_, rtol=1e-6
        )
    first, second = (np.concatenate(read[id(machine)]) for machine in machines)
    assert len(first) == len(second) == 4 * len(X)
    # Every sample comes once in each pass.
    np.testing.assert_allclose(first[:96].sum(axis=0), X.sum(axis=0), rtol=1e-4)
    units = expit(X @ state["hidden.1.weight"].T + state["hidden.1.bias"])
    np.testing.assert_allclose(second[:96].sum(axis=0), units.sum(axis=0), rtol=1e-4)


def test_machines_learn_the_patterns(patterns):
    X, y = patterns
    state = weights_before_the_first_step(X, y)
    units = expit(X @ state["hidden.1.weight"].T + state["hidden.1.bias"])
    untrained = weights_before_the_first_step(X, y, callbacks__pretraining__n_iter=0)
    before = expit(X @ untrained["hidden.1.weight"].T + untrained["hidden.1.bias"])

    def separation(units):
        apart = units[y == 0].mean(axis=0) - units[y == 1].mean(axis=0)
        return np.abs(apart).max()

    assert separation(units) > 3 * separation(before)


def test_whole_network_is_fine_tuned(patterns):
    X, y = patterns
    kept = {}
    callbacks = [("pretraining", GreedyPretraining), FirstWeights(kept)]
    clf = belief_network(max_epochs=20, lr=0.05, callbacks=callbacks).fit(X, y)
    assert clf.score(X, y) > 0.95
    for name, value in clf.module_.state_dict().items():
        assert not torch.equal(value, kept[name])


def test_validation_samples_stay_out(patterns, monkeypatch):
    rows = []
    original = BernoulliRBM.partial_fit

    def partial_fit(self, X, y=None):
        rows.extend(map(tuple, X))
        return original(self, X, y)

    monkeypatch.setattr(BernoulliRBM, "partial_fit", partial_fit)
    X, y = patterns
    clf = belief_network(
        max_epochs=1,
        module__hidden=(3,),
        train_split=0.25,
        callbacks__pretraining__n_iter=1,
    )
    clf.fit(X, y)
    assert len(set(rows)) == len(rows) == 72


def test_seed_governs_the_machines(patterns):
    X, y = patterns
    settings = {"max_epochs": 1, "callbacks__pretraining__n_iter": 1}
    first, second = (belief_network(**settings).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    third = clone(first).set_params(random_state=1).fit(X, y)
    assert np.abs(third.predict_proba(X) - first.predict_proba(X)).max() > 1e-4


def test_training_on_does_not_pretrain_again(patterns, monkeypatch):
    X, y = patterns
    clf = belief_network(max_epochs=1).fit(X, y)

    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(BernoulliRBM, "partial_fit", refuse)
    clf.partial_fit(X, y)
    assert len(clf.history) == 2


def test_weighted_samples_and_channels(patterns):
    X, y = patterns
    expected = belief_network(max_epochs=1).fit(X, y).predict_proba(X)
    X = X.reshape(96, 2, 10)
    clf = belief_network(max_epochs=1).fit(X, y, sample_weight=np.ones(96))
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"module": "resnet10", "module__width": 2},
        {"module__activation": "relu"},
        {"module__batch_norm": True},
    ],
)
def test_other_networks_are_refused(patterns, settings):
    if "module" in settings:
        settings = settings | {"callbacks": [GreedyPretraining()]}
        clf = SpectrumClassifier(**settings, verbose=0, device="cpu")
    else:
        clf = belief_network(**settings)
    with pytest.raises(TypeError, match="needs module='mlp' with module__activation"):
        clf.fit(*patterns)


def test_values_outside_of_zero_and_one_are_refused(patterns):
    X, y = patterns
    with pytest.raises(ValueError, match=r"from .* to .*; put MinMaxSpectra\(\)"):
        belief_network().fit(X - 0.5, y)
