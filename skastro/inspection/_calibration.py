# SPDX-License-Identifier: BSD-3-Clause
"""Calibration of probabilities and risk-coverage curves: metrics and displays."""

from typing import Any, NamedTuple, Self

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skastro.inspection._display import DisplayMixin
from skastro.utils import check_count, check_option, plain_array, plain_labels


def expected_calibration_error(
    y_true: ArrayLike,
    probability: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    n_bins: int = 15,
    strategy: str = "uniform",
) -> float:
    """Compute the expected calibration error of predicted probabilities.

    If a classifier is calibrated, it is right for 80 % of the samples to which it gives
    a probability of 0.8. Samples are binned by the probability of the predicted class.
    The error is the mean over the samples of the absolute difference between the mean
    probability and the accuracy of their bin [1]_, [2]_.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The true labels.
    probability : array-like of shape (n_samples, n_classes) or (n_samples,)
        Class probabilities, as ``predict_proba`` returns them; with two classes those
        of the second are enough.
    labels : array-like of shape (n_classes,), default=None
        The classes of the columns. None stands for the sorted labels of `y_true`, which
        must then contain every class.
    n_bins : int, default=15
        Number of bins.
    strategy : {"uniform", "quantile"}, default="uniform"
        ``"uniform"``: bins of equal width from 0 to 1. ``"quantile"``: bins of equal
        numbers of samples.

    Returns
    -------
    error : float
        The error, from 0 (calibrated) to 1.

    Raises
    ------
    ValueError
        If the arguments are inconsistent.

    See Also
    --------
    ReliabilityDisplay : The bins in a figure.
    sklearn.metrics.log_loss : Measures calibration and accuracy together.

    Notes
    -----
    Chance alone keeps the error above zero: a bin of n samples with accuracy a
    contributes about ``sqrt(2 / pi * a * (1 - a) / n)``. Compare classifiers on the
    same samples, and use fewer bins for few samples.

    References
    ----------
    .. [1] Naeini, M. P., Cooper, G. F. & Hauskrecht, M. (2015). "Obtaining well
           calibrated probabilities using Bayesian binning". AAAI.
           https://doi.org/10.1609/aaai.v29i1.9602
    .. [2] Guo, C. et al. (2017). "On calibration of modern neural networks". ICML.
           https://arxiv.org/abs/1706.04599

    Examples
    --------
    >>> from skastro.inspection import expected_calibration_error
    >>> y_true = ["STAR", "STAR", "STAR", "QSO"]
    >>> probability = [[0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]]
    >>> error = expected_calibration_error(y_true, probability, labels=["QSO", "STAR"])
    >>> print(f"{error:.2f}")
    0.05
    """
    bins = _bin_predictions(y_true, probability, labels, n_bins, strategy)
    return bins.calibration_error


def risk_coverage_curve(
    y_true: ArrayLike,
    probability: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the error among the samples with the highest confidence.

    It is the risk of selective classification as a function of the coverage [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The true labels.
    probability : array-like of shape (n_samples, n_classes) or (n_samples,)
        Class probabilities, as ``predict_proba`` returns them; with two classes those
        of the second are enough.
    labels : array-like of shape (n_classes,), default=None
        The classes of the columns. None stands for the sorted labels of `y_true`, which
        must then contain every class.
    confidence : array-like of shape (n_samples,), default=None
        Confidence by which the samples are sorted, such as ``score_samples``. None
        stands for the probability of the predicted class.

    Returns
    -------
    coverage : ndarray of shape (n_thresholds,)
        Fraction of the samples that is accepted, ascending to 1.
    risk : ndarray of shape (n_thresholds,)
        Fraction of the accepted samples that is misclassified.
    threshold : ndarray of shape (n_thresholds,)
        The lowest accepted confidence, descending, without repeats.

    Raises
    ------
    ValueError
        If the arguments are inconsistent.

    See Also
    --------
    RiskCoverageDisplay : The curve in a figure.
    skastro.RejectingClassifier : A classifier with one of these thresholds.

    References
    ----------
    .. [1] Geifman, Y. & El-Yaniv, R. (2017). "Selective classification for deep neural
           networks". NeurIPS. https://arxiv.org/abs/1705.08500

    Examples
    --------
    >>> from skastro.inspection import risk_coverage_curve
    >>> y_true = [0, 1, 1, 1]
    >>> coverage, risk, threshold = risk_coverage_curve(y_true, [0.6, 0.9, 0.8, 0.7])
    >>> coverage.tolist(), risk.tolist()
    ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])
    >>> threshold.tolist()
    [0.9, 0.8, 0.7, 0.6]
    """
    highest, correct = _judge_predictions(y_true, probability, labels)
    if confidence is None:
        confidence = highest
    else:
        confidence = plain_array(confidence, "confidence")
        # Negative bytes would be large.
        confidence = check_array(confidence, dtype=np.float64, ensure_2d=False)
        confidence = column_or_1d(confidence)
        check_consistent_length(correct, confidence)
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong = confidence[order], ~correct[order]
    last = np.flatnonzero(np.diff(confidence, append=-np.inf))
    accepted = last + 1
    risk = np.cumsum(wrong)[last] / accepted
    return accepted / len(wrong), risk, confidence[last]


class ReliabilityDisplay(DisplayMixin):
    """Accuracy over the probability of the predicted class.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins, in the probability of the predicted class.
    count : ndarray of shape (n_bins,)
        Numbers of samples in the bins.
    confidence : ndarray of shape (n_bins,)
        Mean probability of the predicted class; NaN in empty bins.
    accuracy : ndarray of shape (n_bins,)
        Fraction of the samples that is classified correctly; NaN in empty bins.
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
        bins = _Bins(self.edges, self.count, self.confidence, self.accuracy)
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
        **kwargs: Any,
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
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` that change the style.

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
            name=cls._name_of(estimator, name),
            ax=ax,
            **kwargs,
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
        **kwargs: Any,
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
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` that change the style.

        Returns
        -------
        display : ReliabilityDisplay
            The display, drawn.
        """
        bins = _bin_predictions(y_true, probability, labels, n_bins, strategy)
        return cls(*bins, name=name).plot(ax=ax, **kwargs)

    def plot(self, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the bins.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw the accuracies on, and nothing else. None makes a figure, with
            the numbers of samples below.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` that change the style.

        Returns
        -------
        display : ReliabilityDisplay
            The display itself.
        """
        self.histogram_ax_ = None
        if ax is None:
            self._make_axes(None, (2, 1), sharex=True, height_ratios=(3, 1))
            self.histogram_ax_ = self.axes_[1, 0]
        else:
            self._make_axes(ax)
        ax = self.ax_
        label = f"calibration error {self.calibration_error:.3f}"
        filled = self.count > 0
        # Standard error of an accuracy a over n samples. With (a n + 1) / (n + 2) it
        # does not vanish in bins in which all samples are right, or all are wrong.
        count = self.count[filled]
        expected = (self.accuracy[filled] * count + 1) / (count + 2)
        ax.plot([0, 1], [0, 1], ":", color="0.5", zorder=0)
        style = {
            "marker": "o",
            "markersize": 4,
            "linewidth": 1,
            "elinewidth": 0.8,
            "label": label if self.name is None else f"{self.name}, {label}",
        }
        ax.errorbar(
            self.confidence[filled],
            self.accuracy[filled],
            yerr=np.sqrt(expected * (1 - expected) / count),
            **self._merge_style(style, kwargs),
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


class RiskCoverageDisplay(DisplayMixin):
    """Error as a function of the fraction of accepted samples.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    coverage : ndarray of shape (n_thresholds,)
        Fraction of the samples that is accepted, ascending.
    risk : ndarray of shape (n_thresholds,)
        Fraction of the accepted samples that is misclassified.
    name : str, default=None
        Name of the classifier for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    risk_coverage_curve : The numbers.
    skastro.RejectingClassifier : A classifier that rejects.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro.inspection import RiskCoverageDisplay
    >>> y_true = [0, 1, 1, 1]
    >>> display = RiskCoverageDisplay.from_predictions(y_true, [0.6, 0.9, 0.8, 0.7])
    >>> display.risk.tolist()
    [0.0, 0.0, 0.0, 0.25]
    >>> plt.close(display.figure_)
    """

    def __init__(
        self, coverage: np.ndarray, risk: np.ndarray, *, name: str | None = None
    ) -> None:
        self.coverage = coverage
        self.risk = risk
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        confidence: str = "probability",
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
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
        confidence : {"probability", "score_samples"}, default="probability"
            Confidence by which the samples are sorted: the probability of the predicted
            class, or the estimator's method.
        name : str, default=None
            Name for the legend. None takes that of the estimator's class.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` that change the style.

        Returns
        -------
        display : RiskCoverageDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `confidence` has another value.
        """
        check_option(confidence, "confidence", ("probability", "score_samples"))
        is_score = confidence == "score_samples"
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            labels=estimator.classes_,
            confidence=estimator.score_samples(X) if is_score else None,
            name=cls._name_of(estimator, name),
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        probability: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curve of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The true labels.
        probability : array-like of shape (n_samples, n_classes) or (n_samples,)
            Class probabilities; of two classes those of the second will do.
        labels : array-like of shape (n_classes,), default=None
            The classes that the columns stand for. None stands for the sorted labels
            of `y_true`.
        confidence : array-like of shape (n_samples,), default=None
            Confidence by which the samples are sorted. None stands for the probability
            of the predicted class.
        name : str, default=None
            Name for the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` that change the style.

        Returns
        -------
        display : RiskCoverageDisplay
            The display, drawn.
        """
        coverage, risk, _ = risk_coverage_curve(
            y_true, probability, labels=labels, confidence=confidence
        )
        return cls(coverage, risk, name=name).plot(ax=ax, **kwargs)

    def plot(self, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.plot` that change the style.

        Returns
        -------
        display : RiskCoverageDisplay
            The display itself.
        """
        self._make_axes(ax)
        defaults = {"drawstyle": "steps-pre", "label": self.name}
        (self.line_,) = self.ax_.plot(
            self.coverage, self.risk, **self._merge_style(defaults, kwargs)
        )
        self.ax_.set(
            xlabel="Part of the samples accepted",
            ylabel="Error among these",
            xlim=(0, 1),
            ylim=(0, None),
        )
        # matplotlib's automatic labels begin with an underscore.
        if not self.line_.get_label().startswith("_"):
            self.ax_.legend()
        return self


class _Bins(NamedTuple):
    """Samples binned by the probability of the predicted class; n_bins values each."""

    # Edges, one more than there are bins.
    edges: np.ndarray
    # Numbers of samples.
    count: np.ndarray
    # Mean probability, and fraction classified correctly; NaN in empty bins.
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Mean difference between confidence and accuracy over the samples."""
        gap = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.count * gap) / self.count.sum())


def _judge_predictions(
    y_true: ArrayLike, probability: ArrayLike, labels: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidence of each prediction, and whether it is correct."""
    y_true = column_or_1d(plain_labels(y_true, "y_true"))
    probability = check_array(
        plain_array(probability, "probability"),
        ensure_2d=False,
        input_name="probability",
    )
    if probability.ndim == 1:
        probability = np.column_stack([1 - probability, probability])
    check_consistent_length(y_true, probability)
    if probability.min() < 0 or not np.allclose(probability.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "probability must hold one probability per class, not negative and with "
            "the sum one in each row, as predict_proba returns them."
        )
    classes = np.unique(y_true) if labels is None else plain_labels(labels, "labels")
    if len(classes) != probability.shape[1]:
        origin = "y_true has" if labels is None else "labels names"
        raise ValueError(
            f"probability has {probability.shape[1]} columns, but {origin} "
            f"{len(classes)} classes, {classes.tolist()}. Give labels, one per column: "
            "classes_ of the classifier."
        )
    unknown = ~np.isin(y_true, classes)
    if unknown.any():
        raise ValueError(
            f"y_true has labels that are not among {classes.tolist()}: "
            f"{np.unique(y_true[unknown]).tolist()}."
        )
    predicted = classes[probability.argmax(axis=1)]
    return probability.max(axis=1), predicted == y_true


def _bin_predictions(
    y_true: ArrayLike,
    probability: ArrayLike,
    labels: ArrayLike | None,
    n_bins: int,
    strategy: str,
) -> _Bins:
    """Bin predictions by the probability of the predicted class."""
    check_count(n_bins, "n_bins", 1)
    check_option(strategy, "strategy", ("uniform", "quantile"))
    confidence, correct = _judge_predictions(y_true, probability, labels)
    if strategy == "uniform":
        edges = np.linspace(0, 1, n_bins + 1)
    else:
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, n_bins + 1)))
        # All samples may have the same confidence.
        edges = np.append(edges, edges) if len(edges) == 1 else edges
    # Bins include their upper edge, as in the papers.
    number = np.searchsorted(edges[1:-1], confidence, side="left")
    n_bins = len(edges) - 1
    count = np.bincount(number, minlength=n_bins)
    filled = np.where(count, count, np.nan)
    return _Bins(
        edges,
        count,
        np.bincount(number, confidence, minlength=n_bins) / filled,
        np.bincount(number, correct, minlength=n_bins) / filled,
    )
