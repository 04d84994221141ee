# SPDX-License-Identifier: BSD-3-Clause
"""Criteria and optimizers are found by their names, as networks are."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skastro import (
    GalaxyRegressor,
    SpectrumClassifier,
    SpectrumRegressor,
    load_model,
    save_model,
)
from skastro.training import NegativeLogLikelihood

QUICK = {"module": "mlp", "max_epochs": 2, "verbose": 0, "random_state": 0}


@pytest.fixture
def spectra():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 23)).astype(np.float32), np.arange(40) % 2


@pytest.mark.parametrize("criterion", ["cross_entropy", "CrossEntropyLoss"])
@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [("sgd", torch.optim.SGD), ("AdamW", torch.optim.AdamW)],
)
def test_names_do_what_classes_do(spectra, criterion, optimizer, expected):
    named = SpectrumClassifier(
        criterion=criterion, optimizer=optimizer, calibrate=True, **QUICK
    ).fit(*spectra)
    classes = SpectrumClassifier(optimizer=expected, calibrate=True, **QUICK)
    assert type(named.optimizer_) is expected
    assert_array_equal(
        named.predict_proba(spectra[0]),
        classes.fit(*spectra).predict_proba(spectra[0]),
    )


def test_names_stay_names(spectra, tmp_path):
    clf = SpectrumClassifier(optimizer="sgd", optimizer__momentum=0.9, **QUICK)
    assert clone(clf).get_params()["optimizer"] == clf.optimizer == "sgd"
    clf.fit(*spectra)
    save_model(clf, tmp_path / "model.skastro")
    loaded = load_model(tmp_path / "model.skastro")
    assert loaded.optimizer == "sgd"
    assert_array_equal(loaded.predict(spectra[0]), clf.predict(spectra[0]))
    clf.set_params(optimizer="rmsprop")
    assert isinstance(clf.optimizer_, torch.optim.RMSprop)


@pytest.mark.parametrize("criterion", ["mse", "bce_with_logits", torch.nn.HuberLoss()])
def test_classifiers_refuse_losses_of_numbers(spectra, criterion):
    clf = SpectrumClassifier(criterion=criterion, **QUICK)
    with pytest.raises(ValueError, match="compares numbers, but a classifier"):
        clf.fit(*spectra)


def test_subclasses_may_use_losses_of_numbers(spectra):
    class OneHot(SpectrumClassifier):
        def get_loss(self, y_pred, y_true, X=None, **kwargs):
            wanted = torch.nn.functional.one_hot(y_true, 2).float()
            return self.criterion_(y_pred, wanted)

    clf = OneHot(criterion="mse", **QUICK).set_params(max_epochs=20).fit(*spectra)
    assert clf.history[-1, "train_loss"] < clf.history[0, "train_loss"]
    assert clf.score(*spectra) > 0.8


@pytest.mark.parametrize("criterion", ["cross_entropy", "bce_with_logits", "nll"])
def test_regressors_refuse_losses_of_classes(spectra, criterion):
    X, y = spectra
    with pytest.raises(ValueError, match="scales its targets to a mean of 0"):
        SpectrumRegressor(criterion=criterion, **QUICK).fit(X, y + 0.5)


def test_fractions_are_learned_without_scaling():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 9, 9)).astype(np.float32)
    fraction = X[:, :5].mean(axis=(1, 2))
    fraction = np.column_stack([fraction, 1 - fraction])
    reg = GalaxyRegressor(
        criterion="cross_entropy", scale_target=False, image_size=None, **QUICK
    )
    losses = reg.set_params(max_epochs=6).fit(X, fraction).history[:, "train_loss"]
    assert losses[-1] < losses[0]


def test_error_bars_follow_the_criterion(spectra):
    X, y = spectra
    with_errors = SpectrumRegressor(criterion="negative_log_likelihood", **QUICK)
    with_errors.fit(X, y.astype(float))
    assert isinstance(with_errors.criterion_, NegativeLogLikelihood)
    with pytest.warns(UserWarning, match="those of the training samples"):
        _, errors = with_errors.predict(X, return_std=True)
    assert errors.shape == y.shape
    without = SpectrumRegressor(criterion="smooth_l1", criterion__beta=0.5, **QUICK)
    without.fit(X, y.astype(float))
    assert without.criterion_.beta == 0.5
    with pytest.raises(ValueError, match="criterion='smooth_l1' knows no errors"):
        without.predict(X, return_std=True)


def test_votes_by_name():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 9, 9)).astype(np.float32)
    votes = rng.integers(1, 9, size=(30, 5)).astype(float)
    reg = GalaxyRegressor(
        criterion="DirichletMultinomialLikelihood",
        criterion__questions=[2, 3],
        image_size=None,
        **QUICK,
    )
    fractions = reg.fit(X, votes).predict(X)
    np.testing.assert_allclose(fractions[:, :2].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer": "sdg"}, "no optimizer 'sdg'. Did you mean 'SGD'"),
        ({"criterion": "cross entropi"}, "Did you mean 'CrossEntropyLoss'"),
        ({"criterion": "Optimizer"}, "no criterion 'Optimizer'"),
        ({"optimizer": "optimizer"}, "no optimizer 'optimizer'"),
        ({"optimizer": "adam", "optimizer__momentum": 1}, "Adam has no parameter"),
    ],
)
def test_unknown_names_are_refused(spectra, parameters, message):
    with pytest.raises(ValueError, match=message):
        SpectrumClassifier(**parameters, **QUICK).fit(*spectra)
