# SPDX-License-Identifier: BSD-3-Clause
"""Weights of samples follow the rows that samplers in a pipeline draw."""

import numpy as np
import pytest
import sklearn
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler

from skastro import NoiseResampler, Pipeline, SpectrumClassifier


class Noting(ClassifierMixin, BaseEstimator):
    """Keeps what it was fitted on."""

    def fit(self, X, y, sample_weight=None, column=None):
        self.X_, self.y_, self.weight_, self.column_ = X, y, sample_weight, column
        self.classes_ = np.unique(y)
        return self

    fit_predict = fit

    def predict(self, X):
        """Answer anything."""
        return np.full(len(X), self.classes_[0])


@pytest.fixture
def data():
    """Return samples whose weight is their only feature."""
    X = np.arange(30.0)[:, None]
    return X, np.repeat(["GALAXY", "QSO", "STAR"], [4, 6, 20]), X[:, 0]


@pytest.mark.parametrize("method", ["fit", "fit_predict"])
@pytest.mark.parametrize(
    "samplers",
    [
        # As many rows as before.
        [NoiseResampler("balanced", noise=None, random_state=0)],
        [RandomOverSampler(random_state=0)],
        [RandomUnderSampler(random_state=0)],
        [RandomOverSampler(random_state=0), RandomUnderSampler(random_state=1)],
    ],
)
def test_each_row_keeps_its_weight(data, samplers, method):
    X, y, weight = data
    pipe = Pipeline([*samplers, Noting()])
    getattr(pipe, method)(
        X, y, noting__sample_weight=weight, noting__column=weight.tolist()
    )
    np.testing.assert_array_equal(pipe[-1].weight_, pipe[-1].X_[:, 0])
    np.testing.assert_array_equal(pipe[-1].column_, pipe[-1].X_[:, 0])
    assert len(pipe[-1].X_) in (30, 60, 12)


def test_metadata_routing(data):
    X, y, weight = data
    with sklearn.config_context(enable_metadata_routing=True):
        last = Noting().set_fit_request(sample_weight=True)
        pipe = Pipeline([RandomOverSampler(random_state=0), "passthrough", last])
        pipe.fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(pipe[-1].weight_, pipe[-1].X_[:, 0])


def test_rows_of_weight_zero_are_not_trained_on(data):
    X, y, _ = data
    weight = np.where(y == "GALAXY", 0.0, 1.0)
    seen = []
    clf = SpectrumClassifier(
        "mlp",
        augment=lambda X: seen.append(X) or X,
        classes=["GALAXY", "QSO", "STAR"],
        train_split=None,
        max_epochs=1,
        verbose=0,
        device="cpu",
        random_state=0,
        normalization=None,
    )
    sampler = NoiseResampler("balanced", noise=None, random_state=0)
    Pipeline([sampler, clf]).fit(X, y, spectrumclassifier__sample_weight=weight)
    rows = {int(x) for batch in seen for x in batch.flatten()}
    assert rows
    assert min(rows) >= 4


def test_without_a_sampler_nothing_changes(data):
    X, y, weight = data
    pipe = Pipeline([StandardScaler(), Noting()]).fit(
        X, y, noting__sample_weight=weight
    )
    assert pipe[-1].weight_ is weight


def test_what_cannot_follow_is_refused(data):
    X, y, weight = data
    pipe = Pipeline([SMOTE(k_neighbors=2, random_state=0), Noting()])
    with pytest.raises(ValueError, match=r"SMOTE, does not tell which rows"):
        pipe.fit(X, y, noting__sample_weight=weight)
    # What is no array of that length is passed on.
    assert pipe.fit(X, y, noting__column="flux")[-1].column_ == "flux"
    pipe = Pipeline([RandomOverSampler(), StandardScaler(), Noting()])
    with pytest.raises(ValueError, match=r"'standardscaler' was given values of each"):
        pipe.fit(X, y, standardscaler__sample_weight=weight)
