# SPDX-License-Identifier: BSD-3-Clause
"""In a pipeline, samplers act on the training folds, and on nothing else."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from skastro import (
    MinMaxSpectra,
    NoiseAugmenter,
    NoiseResampler,
    Pipeline,
    SpectrumClassifier,
)

FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
SAMPLERS = [
    NoiseResampler("balanced", noise="wang2020", random_state=1),
    NoiseResampler({"rare": 60, "frequent": 70}, random_state=2),
    NoiseAugmenter(2, random_state=3),
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 20)).astype(np.float32)
    y = np.repeat(["frequent", "rare"], [120, 30])
    X[y == "rare", :5] += 0.7
    return X, y


def network():
    return SpectrumClassifier(
        "mlp", module__hidden=(8,), max_epochs=5, random_state=0, verbose=0
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("make", [LogisticRegression, network])
def test_scores_are_those_of_resampling_by_hand_in_each_fold(sampler, make, data):
    X, y = data
    pipe = Pipeline([MinMaxSpectra(), clone(sampler), make()])
    # The logarithmic loss sees any difference in the probabilities.
    score = get_scorer("neg_log_loss")
    scores = cross_val_score(pipe, X, y, cv=FOLDS, scoring=score)

    by_hand = []
    for train, test in FOLDS.split(X, y):
        flux = MinMaxSpectra().fit_transform(X)
        copier = clone(sampler)
        X_new, y_new = copier.fit_resample(flux[train], y[train])
        # A network keeps copies of a sample on one side of its validation split.
        groups = {"groups": copier.sample_indices_} if make is network else {}
        clf = make().fit(X_new, y_new, **groups)
        by_hand.append(score(clf, flux[test], y[test]))
    assert_array_equal(scores, by_hand)

    without = Pipeline([MinMaxSpectra(), make()])
    plain = cross_val_score(without, X, y, cv=FOLDS, scoring=score)
    assert (plain != scores).all()


def test_prediction_passes_samplers_by(data):
    X, y = data
    pipe = Pipeline([NoiseResampler(50, random_state=0), LogisticRegression()])
    pipe.fit(X, y)
    assert_array_equal(pipe.predict(X), pipe[-1].predict(X))


def test_copies_of_training_rows_never_reach_validation():
    # Labels of pure noise: a score above chance would be remembered copies.
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 24)).astype(np.float32)
    y = rng.permutation(np.repeat([0, 1], [240, 60]))
    pipe = Pipeline([NoiseResampler(random_state=0), KNeighborsClassifier(1)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(pipe, X, y, cv=folds, scoring="balanced_accuracy")
    assert scores.mean() == pytest.approx(0.5, abs=0.12)
    X_new, y_new = pipe[0].fit_resample(X, y)
    leaked = cross_val_score(pipe[-1], X_new, y_new, cv=folds)
    assert leaked.mean() > 0.75


def test_parameters_are_searched_under_the_steps_name(data):
    pipe = Pipeline([NoiseResampler(random_state=0), LogisticRegression()])
    grid = {
        "noiseresampler__sampling_strategy": ["auto", "balanced", 30],
        "noiseresampler__noise": ["noise", None],
    }
    search = GridSearchCV(pipe, grid, cv=FOLDS, scoring="balanced_accuracy")
    search.fit(*data)
    assert len(search.cv_results_["params"]) == 6
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
