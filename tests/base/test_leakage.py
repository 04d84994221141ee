# SPDX-License-Identifier: BSD-3-Clause
"""On labels of pure noise no score may rise above chance.

Where oversampling comes before the split, copies of training rows stand in validation,
and the score shows what the network remembers instead of what it knows.
"""

import numpy as np
import pytest
from imblearn.over_sampling import RandomOverSampler
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from skorch.callbacks import EpochScoring

from skastro import Pipeline, SpectrumClassifier, StandardizeSpectra

pytestmark = pytest.mark.once

N_SAMPLES, LENGTH = 600, 24
# Nine of ten samples are of class 0.
N_RARE = 60


@pytest.fixture(scope="module")
def noise():
    """Make spectra of noise and labels that have nothing to do with them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, LENGTH)).astype(np.float32)
    y = np.zeros(N_SAMPLES, dtype=int)
    y[rng.choice(N_SAMPLES, N_RARE, replace=False)] = 1
    return X, y


def memorizer(**params):
    """Make a network that learns its training rows by heart."""
    defaults = {
        "module": "mlp",
        "module__hidden": (128,),
        "max_epochs": 40,
        "batch_size": 64,
        "lr": 1e-2,
        "augment": None,
        "random_state": 0,
        "verbose": 0,
    }
    return SpectrumClassifier(**(defaults | params))


def validation_scores(clf, X, y, seeds=range(4)):
    """Collect the balanced accuracy on the validation splits of several seeds."""
    scores = []
    for seed in seeds:
        clf.set_params(random_state=seed).fit(X, y)
        scores.append(clf.history[-1]["valid_balanced"])
    return np.array(scores)


@pytest.fixture
def watch():
    """Score the validation split by the balanced accuracy."""
    return EpochScoring(
        "balanced_accuracy", lower_is_better=False, name="valid_balanced"
    )


# Each split holds 40 rare samples (a fifth of 60 makes 12, of four seeds 48), so that
# a score by chance has a standard deviation of about 0.5 / sqrt(48) / 2 = 0.04.
CHANCE = pytest.approx(0.5, abs=0.13)


def test_the_experiment_shows_leakage_where_there_is_some(noise, watch):
    X, y = RandomOverSampler(random_state=0).fit_resample(*noise)
    clf = memorizer(train_split=0.2, callbacks=[watch])
    assert validation_scores(clf, X, y, seeds=[0]).mean() > 0.85


def test_the_balanced_sampler_does_not_leak(noise, watch):
    X, y = noise
    clf = memorizer(train_split=0.2, sampler="balanced", callbacks=[watch])
    assert validation_scores(clf, X, y).mean() == CHANCE
    assert balanced_accuracy_score(y, clf.predict(X)) > 0.85


def test_class_weights_do_not_leak(noise, watch):
    X, y = noise
    clf = memorizer(train_split=0.2, class_weight="balanced", callbacks=[watch])
    assert validation_scores(clf, X, y).mean() == CHANCE


@pytest.mark.parametrize("train_split", [None, 0.2])
def test_samplers_in_a_pipeline_do_not_leak(noise, train_split):
    X, y = noise
    pipe = Pipeline(
        [
            StandardizeSpectra(),
            RandomOverSampler(random_state=0),
            memorizer(train_split=train_split),
        ]
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(pipe, X, y, cv=folds, scoring="balanced_accuracy")
    assert scores.mean() == CHANCE
