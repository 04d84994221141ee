# SPDX-License-Identifier: BSD-3-Clause
"""The figure of a training."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skastro import MinMaxSpectra, Pipeline, SpectrumClassifier
from skastro.inspection import HistoryDisplay


def fitted(**params):
    """Fit a small pipeline."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 10)), np.arange(60) % 2
    clf = SpectrumClassifier("mlp", max_epochs=5, verbose=0, random_state=0, **params)
    return Pipeline([MinMaxSpectra(), clf]).fit(X, y)


def test_curves_are_the_history():
    pipe = fitted()
    display = HistoryDisplay.from_estimator(pipe)
    loss_lines = {line.get_label(): line for line in display.ax_.get_lines()}
    np.testing.assert_array_equal(
        loss_lines["training"].get_ydata(), pipe[-1].history[:, "train_loss"]
    )
    np.testing.assert_array_equal(
        display.score_ax_.get_lines()[0].get_ydata(), pipe[-1].history[:, "valid_acc"]
    )
    best_weights = dict(pipe[-1].callbacks_)["best_weights"]
    assert display.best_epoch == best_weights.best_epoch_ == 5
    plt.close(display.figure_)


def test_a_single_epoch_is_seen():
    display = HistoryDisplay(epochs=[1], losses={"training": [0.5]}, scores={})
    (point,) = display.plot().ax_.get_lines()
    assert point.get_marker() == "o"
    plt.close(display.figure_)


@pytest.mark.parametrize(("losses", "shown"), [([3, 1], 0), ([-2, -5], -5)])
def test_losses_are_seen_whatever_their_sign(losses, shown):
    display = HistoryDisplay(epochs=[1, 2], losses={"training": losses}).plot()
    low, high = display.ax_.get_ylim()
    assert low <= shown < high
    assert min(losses) >= low
    assert max(losses) <= high
    plt.close(display.figure_)


def test_on_given_axes_and_without_validation():
    _, ax = plt.subplots()
    display = HistoryDisplay.from_estimator(fitted()[-1], ax=ax)
    assert display.ax_ is ax
    assert display.score_ax_ is None
    plt.close(display.figure_)
    display = HistoryDisplay.from_estimator(fitted(train_split=None))
    assert display.best_epoch is None
    assert list(display.losses) == ["training"]
    plt.close(display.figure_)


def test_errors():
    with pytest.raises(TypeError, match="keeps no history"):
        HistoryDisplay.from_estimator(LogisticRegression())
    with pytest.raises(ValueError, match="call fit first"):
        HistoryDisplay.from_estimator(SpectrumClassifier())
