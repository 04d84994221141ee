# SPDX-License-Identifier: BSD-3-Clause
"""A classifier that may answer that it does not know."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_predict
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skastro import (
    Pipeline,
    RejectingClassifier,
    SpectrumClassifier,
    StandardizeSpectra,
)
from skastro.streaming import predict_stream


@parametrize_with_checks(
    [
        RejectingClassifier(LogisticRegression(), threshold=0.0),
        RejectingClassifier(LogisticRegression(), cv=2),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blurred():
    """Make labels that depend on one number, the less the closer it is to zero."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 1))
    y = np.where(X[:, 0] + rng.normal(scale=0.5, size=600) > 0, "STAR", "QSO")
    return X, y


def test_rejects_the_least_confident(blurred):
    X, y = blurred
    clf = RejectingClassifier(LogisticRegression(), coverage=0.8).fit(X, y)
    predicted, confidence = clf.predict(X), clf.predict_proba(X).max(axis=1)
    rejected = predicted == "UNKNOWN"
    assert confidence[rejected].max() < clf.threshold_ <= confidence[~rejected].min()
    plain = clf.estimator_.predict(X)
    np.testing.assert_array_equal(predicted[~rejected], plain[~rejected])
    assert rejected.mean() == pytest.approx(0.2, abs=0.03)
    assert clf.classes_.tolist() == ["QSO", "STAR"]
    assert (plain != y)[~rejected].mean() < 0.7 * (plain != y).mean()


def test_threshold_is_the_quantile_of_confidences_out_of_fold(blurred):
    X, y = blurred
    clf = RejectingClassifier(LogisticRegression(), coverage=0.75, cv=3).fit(X, y)
    apart = cross_val_predict(
        LogisticRegression(), X, y, cv=3, method="predict_proba"
    ).max(axis=1)
    assert (apart >= clf.threshold_).sum() == 450 + 1
    assert clf.threshold_ in apart


def test_splits_may_leave_samples_out(blurred):
    X, y = blurred
    cv = ShuffleSplit(1, test_size=0.25, random_state=0)
    clf = RejectingClassifier(LogisticRegression(), cv=cv, coverage=0.9).fit(X, y)
    ((train, test),) = cv.split(X)
    fitted = LogisticRegression().fit(X[train], y[train])
    apart = np.sort(fitted.predict_proba(X[test]).max(axis=1))
    assert clf.threshold_ == apart[int(0.1 * 149)]


def test_prefit_estimator_stays_as_it_is(blurred):
    X, y = blurred
    fitted = LogisticRegression().fit(X[:300], y[:300])
    clf = RejectingClassifier(fitted, coverage=0.5, cv="prefit").fit(X[300:], y[300:])
    assert clf.estimator_ is fitted
    assert (clf.predict(X[300:]) != "UNKNOWN").mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(NotFittedError):
        RejectingClassifier(LogisticRegression(), cv="prefit", coverage=0.9).fit(X, y)
    with pytest.raises(NotFittedError):
        RejectingClassifier(fitted, cv="prefit", coverage=0.9).predict(X)


def test_given_threshold(blurred):
    X, y = blurred
    clf = RejectingClassifier(LogisticRegression(), threshold=0.9).fit(X, y)
    low = clf.predict_proba(X).max(axis=1) < 0.9
    np.testing.assert_array_equal(clf.predict(X) == "UNKNOWN", low)
    assert clf.set_params(threshold=2.0).fit(X, y).predict(X).tolist() == 600 * [
        "UNKNOWN"
    ]


@pytest.mark.parametrize(
    ("labels", "wanted", "label", "kind"),
    [
        (["GALAXY", "STAR"], None, "UNKNOWN", "U"),
        (["GALAXY", "STAR"], "?", "?", "U"),
        ([0, 1], None, -1, "i"),
        ([-1, 1], None, -2, "i"),
        ([3, 7], 0, 0, "i"),
        ([0.0, 1.0], np.nan, np.nan, "f"),
        ([False, True], None, -1, "i"),
        (np.array(["a", "bc"], object), None, "UNKNOWN", "O"),
    ],
)
def test_labels_of_any_type(blurred, labels, wanted, label, kind):
    X, y = blurred
    y = np.asarray(labels)[(y == "STAR").astype(int)]
    clf = RejectingClassifier(
        LogisticRegression(), reject_label=wanted, threshold=0.8
    ).fit(X, y)
    predicted = clf.predict(X)
    assert predicted.dtype.kind == kind
    np.testing.assert_equal(clf.reject_label_, label)
    low = clf.predict_proba(X).max(axis=1) < 0.8
    np.testing.assert_array_equal(
        predicted[low], np.full(low.sum(), label, predicted.dtype)
    )
    assert set(predicted[~low]) == set(labels)


@pytest.mark.parametrize(
    ("labels", "wanted", "message"),
    [
        (["STAR", "UNKNOWN"], None, "is one of the classes"),
        ([0, 1], 1, "is one of the classes"),
        ([0, 1], "UNKNOWN", "which are numbers"),
        (["GALAXY", "STAR"], -1, "which are text"),
    ],
)
def test_labels_that_do_not_go_together(blurred, labels, wanted, message):
    X, y = blurred
    y = np.asarray(labels)[(y == "STAR").astype(int)]
    clf = RejectingClassifier(LogisticRegression(), reject_label=wanted, coverage=0.9)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)


def test_estimators_without_the_method_are_refused(blurred):
    with pytest.raises(ValueError, match="method predict_proba, which SVC has not"):
        RejectingClassifier(SVC()).fit(*blurred)
    clf = RejectingClassifier(LogisticRegression(), confidence="score_samples")
    with pytest.raises(ValueError, match="method score_samples, which LogisticReg"):
        clf.fit(*blurred)
    assert not hasattr(clf, "score_samples")


def test_parameters_of_fit_are_routed(blurred):
    X, y = blurred
    weight = np.where(y == "STAR", 100.0, 1.0)
    with config_context(enable_metadata_routing=True):
        inner = LogisticRegression().set_fit_request(sample_weight=True)
        clf = RejectingClassifier(inner, cv=2, coverage=0.9).fit(
            X, y, sample_weight=weight
        )
    alone = LogisticRegression().fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(clf.predict_proba(X), alone.predict_proba(X))
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        RejectingClassifier(LogisticRegression(), coverage=0.9).fit(
            X, y, sample_weight=weight
        )


def test_search_over_the_inner_parameters(blurred):
    search = GridSearchCV(
        RejectingClassifier(LogisticRegression(), cv=2),
        {"estimator__C": [0.1, 1.0], "coverage": [0.9, 1.0]},
        cv=2,
    ).fit(*blurred)
    # A rejected sample counts as wrong.
    assert search.best_params_["coverage"] == 1.0


@pytest.mark.parametrize("confidence", ["probability", "score_samples"])
def test_spectra_in_a_pipeline(confidence):
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(120, 40))
    y = np.repeat(["GALAXY", "STAR"], 60)
    flux[y == "STAR", 5:15] += 4
    flux[y == "GALAXY", 20:30] += 4
    net = SpectrumClassifier("mlp", max_epochs=8, lr=1e-2, verbose=0, random_state=0)
    clf = RejectingClassifier(
        Pipeline([StandardizeSpectra(), net]),
        coverage=0.9,
        confidence=confidence,
        cv=2,
    ).fit(flux, y)
    accepted = clf.predict(flux) != "UNKNOWN"
    assert accepted.mean() > 0.8
    assert (clf.predict(flux) == y)[accepted].mean() > 0.95
    unlike = clf.predict(rng.normal(size=(50, 40)))
    assert (unlike == "UNKNOWN").mean() > 0.5


def test_rejected_samples_stream_into_a_file(blurred, tmp_path):
    X, y = blurred
    clf = RejectingClassifier(LogisticRegression(), coverage=0.8).fit(X, y)
    out = predict_stream(
        clf, X, 100, out=tmp_path / "classes.csv", method="predict", verbose=0
    )
    table = pd.read_csv(out)
    assert (table["predict"] == clf.predict(X)).all()
    assert (table["predict"] == "UNKNOWN").any()


def test_a_threshold_is_that_of_its_confidence():
    X, y = make_classification(200, random_state=0)
    clf = RejectingClassifier(LogisticRegression(), threshold=np.nan)
    with pytest.raises(ValueError, match="threshold is NaN"):
        clf.fit(X, y)
    clf.set_params(threshold=0.8).fit(X, y).set_params(confidence="score_samples")
    with pytest.raises(ValueError, match="found for 'probability': fit anew"):
        clf.predict(X)
