# SPDX-License-Identifier: BSD-3-Clause
"""A figure of how far probabilities can be believed."""

from typing import Any, Self

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from skastro.inspection._calibration import Bins, bin_predictions


class ReliabilityDisplay:
    """Accuracy over the probability of the predicted class.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Borders of the bins, in the probability of the predicted class.
    count : ndarray of shape (n_bins,)
        Numbers of samples in the bins.
    confidence : ndarray of shape (n_bins,)
        Mean probability of the predicted class; NaN in empty bins.
    accuracy : ndarray of shape (n_bins,)
        Part of the samples that is classified correctly; NaN in empty bins.
    name : str, default=None
        Name of the classifier for the legend.

    Attributes
    ----------
    calibration_error : float
        The expected calibration error.
    ax_ : matplotlib Axes
        Axes with the accuracies.
    histogram_ax_ : matplotlib Axes or None
        Axes with the numbers of samples, below.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    expected_calibration_error : The number in the legend.
    sklearn.calibration.CalibrationDisplay : The same for one class against the rest.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro.inspection import ReliabilityDisplay
    >>> y_true = ["STAR", "STAR", "STAR", "QSO"]
    >>> display = ReliabilityDisplay.from_predictions(y_true, [0.8, 0.8, 0.8, 0.8])
    >>> print(f"{display.calibration_error:.2f}")
    0.05
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        edges: np.ndarray,
        count: np.ndarray,
        confidence: np.ndarray,
        accuracy: np.ndarray,
        *,
        name: str | None = None,
    ) -> None:
        self.edges = edges
        self.count = count
        self.confidence = confidence
        self.accuracy = accuracy
        self.name = name

    @property
    def calibration_error(self) -> float:
        """The expected calibration error."""
        bins = Bins(self.edges, self.count, self.confidence, self.accuracy)
        return bins.calibration_error

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        n_bins: int = 15,
        strategy: str = "uniform",
        name: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw how a classifier does on samples that it was not fitted on.

        Parameters
        ----------
        estimator : estimator
            A fitted classifier with ``predict_proba``.
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,)
            The true labels.
        n_bins : int, default=15
            How many bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of one width from 0 to 1, or of one number of samples.
        name : str, default=None
            Name for the legend. None takes that of the estimator's class.
        ax : matplotlib Axes, default=None
            Axes to draw the accuracies on, and nothing else. None makes a figure, with
            the numbers of samples below.

        Returns
        -------
        display : ReliabilityDisplay
            The display, drawn.
        """
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            labels=estimator.classes_,
            n_bins=n_bins,
            strategy=strategy,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        probability: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        n_bins: int = 15,
        strategy: str = "uniform",
        name: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw how predicted probabilities compare with the truth.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The true labels.
        probability : array-like of shape (n_samples, n_classes) or (n_samples,)
            Class probabilities; of two classes those of the second will do.
        labels : array-like of shape (n_classes,), default=None
            The classes that the columns stand for. None stands for the sorted labels
            of `y_true`.
        n_bins : int, default=15
            How many bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of one width from 0 to 1, or of one number of samples.
        name : str, default=None
            Name for the legend.
        ax : matplotlib Axes, default=None
            Axes to draw the accuracies on, and nothing else. None makes a figure, with
            the numbers of samples below.

        Returns
        -------
        display : ReliabilityDisplay
            The display, drawn.
        """
        bins = bin_predictions(y_true, probability, labels, n_bins, strategy)
        return cls(*bins, name=name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw the bins.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw the accuracies on, and nothing else. None makes a figure, with
            the numbers of samples below.

        Returns
        -------
        display : ReliabilityDisplay
            The display itself.
        """
        self.histogram_ax_ = None
        if ax is None:
            _, (ax, self.histogram_ax_) = plt.subplots(
                2, 1, sharex=True, height_ratios=(3, 1), layout="constrained"
            )
        self.ax_, self.figure_ = ax, ax.figure
        label = f"calibration error {self.calibration_error:.3f}"
        filled = self.count > 0
        # Of an accuracy a over n samples; (a n + 1) / (n + 2) keeps the bars of bins
        # that are all right, or all wrong, from vanishing.
        count = self.count[filled]
        expected = (self.accuracy[filled] * count + 1) / (count + 2)
        ax.plot([0, 1], [0, 1], ":", color="0.5", zorder=0)
        ax.errorbar(
            self.confidence[filled],
            self.accuracy[filled],
            yerr=np.sqrt(expected * (1 - expected) / count),
            fmt="o-",
            markersize=4,
            linewidth=1,
            elinewidth=0.8,
            label=label if self.name is None else f"{self.name}, {label}",
        )
        ax.set(ylabel="Accuracy", ylim=(-0.03, 1.03))
        ax.legend(loc="upper left")
        low = max(0.0, np.floor(10 * np.nanmin(self.confidence)) / 10)
        ax.set_xlim(low - 0.02, 1.02)
        if self.histogram_ax_ is not None:
            self.histogram_ax_.stairs(self.count, self.edges, fill=True, color="0.7")
            self.histogram_ax_.set(ylabel="Samples")
        bottom = self.histogram_ax_ or ax
        bottom.set_xlabel("Probability of the predicted class")
        return self
