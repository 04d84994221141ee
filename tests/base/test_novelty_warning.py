# SPDX-License-Identifier: BSD-3-Clause
"""Warnings of samples unlike the training set, and labels that nobody has named."""

import pickle
import warnings
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from sklearn.base import RegressorMixin, clone, is_classifier
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from tiny_estimators import make_tiny
from torch import nn

import skastro
from skastro import GalaxyRegressor, SpectrumClassifier, SpectrumRegressor


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
    ("cls", "params"),
    [
        (SpectrumClassifier, {"module__width": 8}),
        (SpectrumClassifier, {"module__width": 16, "train_split": None}),
        (SpectrumRegressor, {"module__width": 8, "normalization": "robust"}),
        (GalaxyRegressor, {"module__width": 8, "train_split": None}),
    ],
)
def test_foreign_samples_are_named(data, cls, params, tmp_path):
    X, y, foreign = data
    if issubclass(cls, RegressorMixin):
        y = np.where(y == "STAR", 5.0, 3.0)
    if cls is GalaxyRegressor:
        X, foreign = X.reshape(-1, 10, 15), foreign.reshape(-1, 10, 15)
    tiny = partial(make_tiny, cls, "resnet10", max_epochs=8, **params)
    net = tiny(warn_novelty=True).fit(X, y)
    mixed = np.concatenate([X[[0, 150]], foreign])
    is_foreign = net.score_samples(mixed) < net.novelty_threshold_
    assert is_foreign.tolist() == [False] * 2 + [True] * 5
    for method in ("predict", "predict_proba")[: 1 + is_classifier(net)]:
        with pytest.warns(
            UserWarning, match=r"5 samples, in rows 2, 3, 4.* less alike"
        ):
            getattr(net, method)(mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(X[[0, 150]])
        other = tiny().fit(X, y)
        other.predict(mixed)
    net.save_params(tmp_path / "weights.pt")
    other = clone(net)
    assert not hasattr(other, "training_features_")
    other.load_params(tmp_path / "weights.pt")
    for copy in (other, pickle.loads(pickle.dumps(net))):
        with pytest.warns(UserWarning, match="5 samples"):
            copy.predict(mixed)


def test_numbers_and_their_likeness_are_streamed(data, tmp_path):
    X, y, _ = data
    reg = make_tiny(SpectrumRegressor, max_epochs=1).fit(X, y == "STAR")
    for method, name in (("auto", "predict"), ("score_samples", "score_samples")):
        out = reg.predict_stream(
            X, 64, out=tmp_path / f"{name}.h5", method=method, verbose=0
        )
        with h5py.File(out) as file:
            expected = getattr(reg, name)(X)
            np.testing.assert_allclose(file[name][:], expected, rtol=1e-5)


def test_resumed_trainings_warn_too(data, tmp_path):
    X, y, foreign = data

    class Stop(Callback):
        def on_epoch_begin(self, net, **_):
            if len(net.history) == 2:
                raise RuntimeError

    tiny = partial(make_tiny, SpectrumRegressor, max_epochs=2, warn_novelty=True)
    whole = tiny().fit(X, y == "STAR")
    with pytest.raises(RuntimeError):
        tiny(callbacks=[Stop()]).fit(X, y == "STAR", resume=tmp_path / "training.pt")
    reg = tiny().fit(X, y == "STAR", resume=tmp_path / "training.pt")
    assert reg.novelty_threshold_ == whole.novelty_threshold_
    np.testing.assert_array_equal(
        reg.score_samples(foreign), whole.score_samples(foreign)
    )


def test_fits_of_shells_have_no_likeness():
    reg = skastro.SEVIRegressor()
    assert not hasattr(reg, "score_samples")
    assert "warn_novelty" not in reg.get_params()


def test_without_a_score_nothing_can_warn(tiny, data):
    X, y, _ = data
    module = nn.Sequential(nn.Linear(150, 2), nn.Softmax(dim=1))
    clf = tiny(module, criterion=nn.NLLLoss, warn_novelty=True)
    with pytest.raises(ValueError, match="score_samples needs features or logits"):
        clf.fit(X, y)
    module = nn.Linear(150, 2)
    reg = make_tiny(SpectrumRegressor, module, warn_novelty=True, max_epochs=1)
    with pytest.raises(ValueError, match="forward_features; but Linear has none"):
        reg.fit(X, y == "STAR")
    reg.set_params(warn_novelty=False, normalization=None).fit(X, y == "STAR")
    assert not hasattr(reg, "score_samples")
    for cls in (SpectrumClassifier, SpectrumRegressor):
        net = make_tiny(cls, max_epochs=1).fit(X, y == "STAR")
        with pytest.raises(NotFittedError, match="novelty_threshold_"):
            net.set_params(warn_novelty=True).predict(X)


def test_weights_without_labels_predict_none(tiny, data, tmp_path):
    X, y, _ = data
    clf = tiny(max_epochs=1).fit(X, y)
    torch.save(clf.module_.state_dict(), tmp_path / "weights.pt")
    sizes = {f"module__{name}": size for name, size in clf.module_sizes_.items()}
    bare = tiny(**sizes).initialize()
    bare.load_params(tmp_path / "weights.pt")
    # In batches of other sizes, since the shape of X is not known.
    np.testing.assert_allclose(bare.predict_proba(X), clf.predict_proba(X), atol=1e-6)
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
