# SPDX-License-Identifier: BSD-3-Clause
"""Whether probabilities can be believed, and what is won by rejecting some samples."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length, column_or_1d


class Bins(NamedTuple):
    """Samples gathered by the probability of the predicted class.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Borders of the bins.
    count : ndarray of shape (n_bins,)
        Numbers of samples.
    confidence : ndarray of shape (n_bins,)
        Mean probability of the predicted class; NaN in empty bins.
    accuracy : ndarray of shape (n_bins,)
        Part of the samples that is classified correctly; NaN in empty bins.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Mean difference between confidence and accuracy over the samples."""
        gap = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.count * gap) / self.count.sum())


def judge_predictions(
    y_true: ArrayLike, probability: ArrayLike, labels: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Tell how sure each prediction is, and whether it is right.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The true labels.
    probability : array-like of shape (n_samples, n_classes) or (n_samples,)
        Class probabilities; of two classes those of the second will do.
    labels : array-like of shape (n_classes,) or None
        What the columns stand for.

    Returns
    -------
    confidence : ndarray of shape (n_samples,)
        Probability of the predicted class.
    correct : ndarray of bool of shape (n_samples,)
        Whether the predicted class is the true one.

    Raises
    ------
    ValueError
        If the three do not fit together, or if the probabilities are none.
    """
    y_true = column_or_1d(y_true)
    probability = check_array(
        probability, ensure_2d=False, dtype="numeric", input_name="probability"
    )
    if probability.ndim == 1:
        probability = np.column_stack([1 - probability, probability])
    check_consistent_length(y_true, probability)
    if probability.min() < 0 or not np.allclose(probability.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "probability must hold one probability a class, which are not negative and "
            "add up to one in each row; predict_proba gives them."
        )
    classes = np.unique(y_true) if labels is None else np.asarray(labels)
    if len(classes) != probability.shape[1]:
        origin = "y_true has" if labels is None else "labels names"
        raise ValueError(
            f"probability has {probability.shape[1]} columns, but {origin} "
            f"{len(classes)} classes, {classes.tolist()}. Give labels, one a column: "
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


def bin_predictions(
    y_true: ArrayLike,
    probability: ArrayLike,
    labels: ArrayLike | None,
    n_bins: int,
    strategy: str,
) -> Bins:
    """Gather predictions by their confidence.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The true labels.
    probability : array-like of shape (n_samples, n_classes) or (n_samples,)
        Class probabilities.
    labels : array-like of shape (n_classes,) or None
        What the columns stand for.
    n_bins : int
        How many bins.
    strategy : {"uniform", "quantile"}
        Bins of one width from 0 to 1, or of one number of samples.

    Returns
    -------
    bins : Bins
        The bins.

    Raises
    ------
    ValueError
        If ``n_bins`` or ``strategy`` has another value.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be 1 or more, but got {n_bins}.")
    confidence, correct = judge_predictions(y_true, probability, labels)
    if strategy == "uniform":
        edges = np.linspace(0, 1, n_bins + 1)
    elif strategy == "quantile":
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, n_bins + 1)))
        # All samples may have one confidence.
        edges = np.append(edges, edges) if len(edges) == 1 else edges
    else:
        raise ValueError(
            f"strategy must be 'uniform' or 'quantile', but got {strategy!r}."
        )
    # Bins end with their upper edge, as in the papers.
    number = np.searchsorted(edges[1:-1], confidence, side="left")
    n_bins = len(edges) - 1
    count = np.bincount(number, minlength=n_bins)
    filled = np.where(count, count, np.nan)
    return Bins(
        edges,
        count,
        np.bincount(number, confidence, minlength=n_bins) / filled,
        np.bincount(number, correct, minlength=n_bins) / filled,
    )


def expected_calibration_error(
    y_true: ArrayLike,
    probability: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    n_bins: int = 15,
    strategy: str = "uniform",
) -> float:
    """Measure how far probabilities are from what they promise.

    Of the samples that a classifier gives a probability of 0.8 to, four in five should
    be of the class that it predicts. Samples are gathered by the probability of the
    predicted class; the error is the mean over the samples of the absolute difference
    between a bin's mean probability and its accuracy [1]_, [2]_.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The true labels.

    probability : array-like of shape (n_samples, n_classes) or (n_samples,)
        Class probabilities, as ``predict_proba`` gives them; of two classes those of
        the second will do.

    labels : array-like of shape (n_classes,), default=None
        The classes that the columns stand for. None stands for the sorted labels of
        `y_true`, which has to show every class then.

    n_bins : int, default=15
        How many bins.

    strategy : {"uniform", "quantile"}, default="uniform"
        ``"uniform"``: bins of one width from 0 to 1. ``"quantile"``: bins of one number
        of samples.

    Returns
    -------
    error : float
        From 0, calibrated, to 1.

    Raises
    ------
    ValueError
        If the arguments do not fit together.

    See Also
    --------
    ReliabilityDisplay : The bins in a figure.
    sklearn.metrics.log_loss : Judges calibration and accuracy together.

    Notes
    -----
    Chance alone keeps the error above zero: a bin of n samples with accuracy a
    contributes about ``sqrt(2 / pi * a * (1 - a) / n)``. Compare classifiers on the
    same samples, and take fewer bins where samples are few.

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
    bins = bin_predictions(y_true, probability, labels, n_bins, strategy)
    return bins.calibration_error


def risk_coverage_curve(
    y_true: ArrayLike,
    probability: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the error among those samples that a classifier is most sure of.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        The true labels.

    probability : array-like of shape (n_samples, n_classes) or (n_samples,)
        Class probabilities, as ``predict_proba`` gives them; of two classes those of
        the second will do.

    labels : array-like of shape (n_classes,), default=None
        The classes that the columns stand for. None stands for the sorted labels of
        `y_true`, which has to show every class then.

    confidence : array-like of shape (n_samples,), default=None
        What to sort the samples by, such as what ``score_samples`` gives. None
        stands for the probability of the predicted class.

    Returns
    -------
    coverage : ndarray of shape (n_thresholds,)
        Part of the samples that is accepted, ascending to 1.

    risk : ndarray of shape (n_thresholds,)
        Part of the accepted samples that is misclassified.

    threshold : ndarray of shape (n_thresholds,)
        The lowest confidence that is accepted, descending; each value once.

    Raises
    ------
    ValueError
        If the arguments do not fit together.

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
    highest, correct = judge_predictions(y_true, probability, labels)
    if confidence is None:
        confidence = highest
    else:
        confidence = column_or_1d(check_array(confidence, ensure_2d=False))
        check_consistent_length(correct, confidence)
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong = confidence[order], ~correct[order]
    last = np.flatnonzero(np.diff(confidence, append=-np.inf))
    accepted = last + 1
    risk = np.cumsum(wrong)[last] / accepted
    return accepted / len(wrong), risk, confidence[last]
