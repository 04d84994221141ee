# SPDX-License-Identifier: BSD-3-Clause
"""Calibration error, risk and coverage, and their figures."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from skastro.inspection import (
    ReliabilityDisplay,
    RiskCoverageDisplay,
    expected_calibration_error,
    risk_coverage_curve,
)

LABELS = ["GALAXY", "QSO", "STAR"]


@pytest.fixture
def believable():
    """Draw labels from the very probabilities that are given."""
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([0.5, 0.5, 0.5], size=20_000)
    codes = (probability.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    return np.array(LABELS)[codes], probability


def test_calibrated_probabilities_have_no_error(believable):
    y, probability = believable
    assert expected_calibration_error(y, probability) < 0.012
    sharpened = probability**3
    sharpened /= sharpened.sum(axis=1, keepdims=True)
    promised = sharpened.max(axis=1).mean() - (probability.max(axis=1)).mean()
    error = expected_calibration_error(y, sharpened)
    assert error == pytest.approx(promised, abs=0.012)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_agrees_with_scikit_learns_curve(strategy):
    rng = np.random.default_rng(1)
    # Of two classes, where the second is always predicted.
    probability = rng.uniform(0.5, 1, size=500)
    y = (rng.random(500) < probability**2).astype(int)
    truth, promised = calibration_curve(y, probability, n_bins=5, strategy=strategy)
    edges = np.linspace(0, 1, 6)
    if strategy == "quantile":
        edges = np.quantile(probability, edges)
    count = np.histogram(probability, edges)[0]
    expected = np.average(np.abs(truth - promised), weights=count[count > 0])
    for given in (probability, np.column_stack([1 - probability, probability])):
        error = expected_calibration_error(y, given, n_bins=5, strategy=strategy)
        assert error == pytest.approx(expected)


def test_by_hand():
    y = ["QSO", "STAR", "STAR", "GALAXY"]
    probability = [[0, 0.9, 0.1], [0, 0.7, 0.3], [0.02, 0, 0.98], [1, 0, 0]]
    error = expected_calibration_error(y, probability, labels=LABELS, n_bins=4)
    # One bin from 0.5 to 0.75 with one wrong sample, one above it with three right.
    assert error == pytest.approx((0.7 + (0.1 + 0.02)) / 4)
    one_value = np.tile([0.2, 0.8], (4, 1))
    for strategy in ("uniform", "quantile"):
        assert expected_calibration_error(
            [1, 1, 1, 0], one_value, strategy=strategy
        ) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("y", "probability", "options", "message"),
    [
        (
            [0, 1],
            [[0.5, 0.5, 0], [1, 0, 0]],
            {},
            r"3 columns, but y_true has 2 classes",
        ),
        (
            [0, 1],
            [[1, 0], [0, 1]],
            {"labels": [0, 1, 2]},
            "2 columns, but labels names",
        ),
        ([0, 7], [[1, 0], [0, 1]], {"labels": [0, 1]}, r"not among \[0, 1\]: \[7\]"),
        ([0, 1], [[5.0, -2], [0, 1]], {}, "with the sum one"),
        ([0, 1], [[5.0, 2], [0, 1]], {}, "with the sum one"),
        ([0, 1], [[1, 0]], {}, "inconsistent numbers"),
        ([0, 1], [0.1, 0.7], {"n_bins": 0}, "n_bins must be at least 1; got 0"),
        (
            [0, 1],
            [0.1, 0.7],
            {"strategy": "even"},
            "strategy must .* got 'even'",
        ),
    ],
)
def test_bad_input(y, probability, options, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y, probability, **options)


def test_risk_and_coverage(believable):
    y, probability = believable
    coverage, risk, threshold = risk_coverage_curve(y, probability)
    confidence = probability.max(axis=1)
    wrong = np.array(LABELS)[probability.argmax(axis=1)] != y
    for place in (5, 1000, -1):
        accepted = confidence >= threshold[place]
        assert coverage[place] == accepted.mean()
        assert risk[place] == pytest.approx(wrong[accepted].mean())
    assert coverage[-1] == 1
    # Of calibrated probabilities the risk is what they promise.
    half = np.searchsorted(coverage, 0.5)
    sure = np.sort(confidence)[10_000:]
    assert risk[half] == pytest.approx(1 - sure.mean(), abs=0.01)


def test_samples_of_one_confidence_are_accepted_together():
    y, probability = [0, 1, 1, 1], [0.6, 0.8, 0.8, 0.8]
    coverage, risk, threshold = risk_coverage_curve(y, probability)
    assert coverage.tolist() == [0.75, 1]
    assert risk.tolist() == [0, 0.25]
    assert threshold.tolist() == [0.8, 0.6]
    coverage, risk, _ = risk_coverage_curve(y, probability, confidence=[9, 8, 7, 6])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    with pytest.raises(ValueError, match="inconsistent"):
        risk_coverage_curve(y, probability, confidence=[1, 2])


@pytest.fixture
def fitted():
    """Fit a linear model to two blurred classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = np.where(X[:, 0] + rng.normal(size=400) > 0, "STAR", "QSO")
    return LogisticRegression().fit(X[:200], y[:200]), X[200:], y[200:]


def test_reliability_display(fitted):
    clf, X, y = fitted
    display = ReliabilityDisplay.from_estimator(clf, X, y, n_bins=10)
    expected = expected_calibration_error(y, clf.predict_proba(X), n_bins=10)
    assert display.calibration_error == expected
    assert display.count.sum() == 200
    (label,) = display.ax_.get_legend_handles_labels()[1]
    assert label == f"LogisticRegression, calibration error {expected:.3f}"
    filled = display.count > 0
    drawn = display.ax_.get_lines()[1]
    np.testing.assert_array_equal(drawn.get_xdata(), display.confidence[filled])
    np.testing.assert_array_equal(drawn.get_ydata(), display.accuracy[filled])
    (bars,) = display.histogram_ax_.patches
    np.testing.assert_array_equal(bars.get_data().values, display.count)
    plt.close(display.figure_)


def test_displays_on_given_axes(fitted):
    clf, X, y = fitted
    _, axes = plt.subplots(1, 2)
    reliability = ReliabilityDisplay.from_predictions(
        y, clf.predict_proba(X), strategy="quantile", n_bins=5, name="mine", ax=axes[0]
    )
    assert reliability.ax_ is axes[0]
    assert reliability.histogram_ax_ is None
    risk = RiskCoverageDisplay.from_estimator(clf, X, y, ax=axes[1])
    assert risk.figure_ is axes[1].figure
    np.testing.assert_array_equal(risk.line_.get_ydata(), risk.risk)
    assert risk.line_.get_label() == "LogisticRegression"
    assert risk.risk[-1] == pytest.approx(1 - clf.score(X, y))
    plt.close(risk.figure_)
    with pytest.raises(ValueError, match=r"confidence must .* got 'proba'"):
        RiskCoverageDisplay.from_estimator(clf, X, y, confidence="proba")
