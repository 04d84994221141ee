# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that follow a figure, and misspelled parameters of the training."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, LRScheduler
from tiny_estimators import make_tiny

import skastro
from skastro import SpectrumClassifier

pytestmark = pytest.mark.once

X = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
Y = np.repeat([0, 1], 20)


def tiny(**params):
    return make_tiny(SpectrumClassifier, **{"max_epochs": 2, **params})


@pytest.mark.parametrize(
    ("callback", "params"),
    [
        (EarlyStopping, {}),
        (Checkpoint, {"dirname": "nowhere"}),
        (LRScheduler, {"policy": "ReduceLROnPlateau", "monitor": "valid_loss"}),
    ],
)
@pytest.mark.parametrize("n_samples", [40, 19])
def test_no_validation(callback, params, n_samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = tiny(callbacks=[("mine", callback(**params))])
    if n_samples == 40:
        net.set_params(train_split=None)
    rows = slice(10, 10 + n_samples) if n_samples < 40 else slice(None)
    with pytest.raises(ValueError, match=r"'mine' follows 'valid_loss.*no validation"):
        net.fit(X[rows], Y[rows])
    net.set_params(callbacks__mine__monitor="train_loss")
    if callback is not Checkpoint:
        net.fit(X[rows], Y[rows])


@pytest.mark.parametrize("train_split", [None, 0.2])
def test_unknown_figures(train_split):
    stop = EarlyStopping(monitor="train_acuracy")
    with pytest.raises(ValueError, match=r"'train_acuracy', but the history has .*dur"):
        tiny(callbacks=[stop], train_split=train_split).fit(X, Y)
    net = tiny(train_split=train_split, callbacks__best_weights__monitor="train_acc")
    with pytest.raises(ValueError, match="'train_acc' of the callback best_weights"):
        net.fit(X, Y)


def test_best_weights_follow_a_figure_of_a_user():
    """Which is recorded after the default callbacks have seen the end of the epoch."""
    score = EpochScoring("neg_log_loss", name="score", lower_is_better=False)
    net = tiny(
        callbacks=[score],
        callbacks__best_weights__monitor="score",
        callbacks__best_weights__lower_is_better=False,
        callbacks__best_weights__start=0.0,
        max_epochs=6,
        train_split=0.3,
        lr=0.1,
    ).fit(X, Y)
    scores = net.history[:, "score"]
    best = dict(net.callbacks_)["best_weights"].best_epoch_
    assert best == 1 + int(np.argmax(scores))
    _, valid = net.get_split_datasets(
        *net._check_training_data(X, Y, {}, None, reset=False)
    )
    rows = valid.indices
    loss = torch.nn.functional.nll_loss(
        torch.from_numpy(net.predict_proba(X[rows])).log(), torch.from_numpy(Y[rows])
    )
    assert -loss.item() == pytest.approx(scores[best - 1], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iterator_train__shufle", "'shufle': did you mean 'shuffle'"),
        ("iterator_valid__num_worker", "'num_worker': did you mean 'num_workers'"),
        ("dataset__lenght", "'lenght': did you mean 'length'"),
        ("compile__bakend", "'bakend': did you mean 'backend'"),
        ("optimizer__weight_decey", "'weight_decey': did you mean 'weight_decay'"),
    ],
)
def test_misspelled_parameters(name, message):
    with pytest.raises(ValueError, match=f"{name} was given, .*{message}"):
        tiny(**{name: 1}).fit(X, Y)
    net = tiny().fit(X, Y)
    before = net.get_params(deep=False)
    with pytest.raises(ValueError, match=f"{name} was given, .*{message}"):
        net.set_params(**{name: 1})
    assert net.get_params(deep=False).keys() == before.keys()
    net.predict(X)


@pytest.mark.parametrize("size", [0, 2.5, None, "a", -2])
def test_impossible_batch_sizes(size):
    net = tiny().fit(X, Y).set_params(iterator_valid__batch_size=size)
    with pytest.raises(ValueError, match=r"iterator_valid__batch_size must be .* 1 on"):
        net.predict(X)


@pytest.mark.parametrize(
    "name", ["SpectrumClassifier", "GalaxyRegressor", "VAETransformer"]
)
@pytest.mark.filterwarnings("ignore:Only .* latent dimensions are active")
def test_iterators_of_a_fitted_net_are_set(name):
    images = np.random.default_rng(0).uniform(size=(40, 16, 16, 3)).astype(np.float32)
    samples = X if name == "SpectrumClassifier" else images
    y = None if name == "VAETransformer" else Y.astype(float)
    y = Y if name == "SpectrumClassifier" else y
    net = make_tiny(getattr(skastro, name), max_epochs=1).fit(samples, y)
    method = net.transform if name == "VAETransformer" else net.predict
    expected = method(samples)
    same = net.set_params(iterator_valid__batch_size=3, iterator_train__batch_size=5)
    assert same is net
    np.testing.assert_allclose(method(samples), expected, rtol=1e-4, atol=1e-5)
