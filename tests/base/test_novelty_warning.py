# SPDX-License-Identifier: BSD-3-Clause
"""Warnings of samples unlike the training set, and labels that nobody has named."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn


@pytest.fixture
def data():
    """Return spectra with one of two lines, and noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 150))
    y = np.repeat(["GALAXY", "STAR"], 100)
    X[y == "STAR", 20:40] += 4
    X[y == "GALAXY", 90:110] += 4
    foreign = np.sin(np.arange(150) / 3) * rng.uniform(3, 9, size=(5, 1))
    return X, y, foreign


@pytest.mark.parametrize(
    "params",
    [
        {"module": "resnet10", "module__width": 8},
        {"module": "resnet10", "train_split": None},
    ],
    ids=["validation", "training"],
)
def test_foreign_samples_are_named(tiny, data, params, tmp_path):
    X, y, foreign = data
    clf = tiny(warn_novelty=True, max_epochs=8, **params).fit(X, y)
    mixed = np.concatenate([X[[0, 150]], foreign])
    is_foreign = clf.score_samples(mixed) < clf.novelty_threshold_
    assert is_foreign.tolist() == [False] * 2 + [True] * 5
    for method in (clf.predict, clf.predict_proba):
        with pytest.warns(
            UserWarning, match=r"5 samples, in rows 2, 3, 4.* less alike"
        ):
            method(mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.predict(X[[0, 150]])
        other = tiny(**params).fit(X, y)
        other.predict(mixed)
    clf.save_params(tmp_path / "weights.pt")
    other = tiny(warn_novelty=True, **params)
    other.load_params(tmp_path / "weights.pt")
    with pytest.warns(UserWarning, match="5 samples"):
        other.predict(mixed)


def test_without_a_score_nothing_can_warn(tiny, data):
    X, y, _ = data
    module = nn.Sequential(nn.Linear(150, 2), nn.Softmax(dim=1))
    clf = tiny(module, criterion=nn.NLLLoss, warn_novelty=True)
    with pytest.raises(ValueError, match="score_samples needs features or logits"):
        clf.fit(X, y)
    with pytest.raises(NotFittedError, match="novelty_threshold_"):
        tiny(max_epochs=1).fit(X, y).set_params(warn_novelty=True).predict(X)


def test_weights_without_labels_predict_none(tiny, data, tmp_path):
    X, y, _ = data
    clf = tiny(max_epochs=1).fit(X, y)
    torch.save(clf.module_.state_dict(), tmp_path / "weights.pt")
    sizes = {f"module__{name}": size for name, size in clf.module_sizes_.items()}
    bare = tiny(**sizes).initialize()
    bare.load_params(tmp_path / "weights.pt")
    np.testing.assert_array_equal(bare.predict_proba(X), clf.predict_proba(X))
    for method in (bare.predict, lambda X: bare.score(X, y)):
        with pytest.raises(NotFittedError, match=r"no labels. Name them.*classes="):
            method(X)
    bare.set_params(classes=["GALAXY", "STAR"])
    np.testing.assert_array_equal(bare.predict(X), clf.predict(X))
    # The net's own files hold them.
    clf.save_params(tmp_path / "net.pt")
    bare = tiny(**sizes).initialize()
    bare.load_params(tmp_path / "net.pt")
    np.testing.assert_array_equal(bare.predict(X), clf.predict(X))
