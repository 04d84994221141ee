# SPDX-License-Identifier: BSD-3-Clause
"""A figure of what is won by rejecting some samples."""

from typing import Any, Self

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from skastro.inspection._calibration import risk_coverage_curve


class RiskCoverageDisplay:
    """Error over the part of the samples that is accepted.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create one. All parameters are stored as attributes.

    Parameters
    ----------
    coverage : ndarray of shape (n_thresholds,)
        Part of the samples that is accepted, ascending.
    risk : ndarray of shape (n_thresholds,)
        Part of the accepted samples that is misclassified.
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
            What the samples are sorted by: the probability of the predicted class, or
            the estimator's method.
        name : str, default=None
            Name for the legend. None takes that of the estimator's class.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : RiskCoverageDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `confidence` has another value.
        """
        if confidence not in ("probability", "score_samples"):
            raise ValueError(
                "confidence must be 'probability' or 'score_samples', but got "
                f"{confidence!r}."
            )
        is_score = confidence == "score_samples"
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            labels=estimator.classes_,
            confidence=estimator.score_samples(X) if is_score else None,
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
        confidence: ArrayLike | None = None,
        name: str | None = None,
        ax: Axes | None = None,
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
            What to sort the samples by. None stands for the probability
            of the predicted class.
        name : str, default=None
            Name for the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : RiskCoverageDisplay
            The display, drawn.
        """
        coverage, risk, _ = risk_coverage_curve(
            y_true, probability, labels=labels, confidence=confidence
        )
        return cls(coverage, risk, name=name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : RiskCoverageDisplay
            The display itself.
        """
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        (self.line_,) = ax.plot(
            self.coverage, self.risk, drawstyle="steps-pre", label=self.name
        )
        ax.set(
            xlabel="Part of the samples accepted",
            ylabel="Error among these",
            xlim=(0, 1),
            ylim=(0, None),
        )
        if self.name is not None:
            ax.legend()
        return self
