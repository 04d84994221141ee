# SPDX-License-Identifier: BSD-3-Clause
"""A figure of predicted against true numbers, with error bars and residuals."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skastro.inspection._display import DisplayMixin, samples_for
from skastro.utils import check_finite, gives_errors, plain_array, prediction_steps

# The standard deviation of normally distributed values over their median absolute
# value, and how many of them hold nine tenths of the values.
_SIGMA_PER_MEDIAN, _INTERVAL = 1.482602218505602, 1.6448536269514722
# As many points are drawn half transparent.
_HALF_TRANSPARENT = 500


class MeasurementDisplay(DisplayMixin):
    """Predicted against true numbers, with error bars, and the residuals below.

    Each target has a column of two axes. It is recommended to use
    :meth:`from_estimator` or :meth:`from_predictions` to create a display. All
    parameters are stored as attributes.

    Parameters
    ----------
    y_true : ndarray of shape (n_samples, n_outputs)
        The true targets; NaN where they are not known.
    y_pred : ndarray of shape (n_samples, n_outputs)
        Their predictions.
    std : ndarray of shape (n_samples, n_outputs), default=None
        Standard deviations of the predictions, the error bars.
    target_names : sequence of str, default=None
        Names of the targets, with their units.

    Attributes
    ----------
    scatter : ndarray of shape (n_outputs,)
        Robust scatter: 1.4826 times the median absolute residual.
    bias : ndarray of shape (n_outputs,)
        Median residual, prediction minus truth.
    coverage : ndarray of shape (n_outputs,) or None
        Fraction of the true targets within 1.645 error bars of the prediction: 0.9 for
        normally distributed errors. None without error bars.
    axes_ : ndarray of Axes of shape (2, n_outputs)
        Predictions, and residuals below.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    skastro.SpectrumRegressor : Measures spectra, with error bars.
    sklearn.metrics.PredictionErrorDisplay : One target without error bars.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro.inspection import MeasurementDisplay
    >>> display = MeasurementDisplay.from_predictions(
    ...     [5000, 6000, 7000], [5010, 5980, 7100], std=[20, 20, 20]
    ... )
    >>> display.bias, display.coverage.round(2)
    (array([10.]), array([0.67]))
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        y_true: np.ndarray,
        y_pred: np.ndarray,
        *,
        std: np.ndarray | None = None,
        target_names: Sequence[str] | None = None,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.std = std
        self.target_names = target_names

    @property
    def scatter(self) -> np.ndarray:
        """Robust scatter of the residuals."""
        residual = np.abs(self.y_pred - self.y_true)
        return _SIGMA_PER_MEDIAN * np.nanmedian(residual, axis=0)

    @property
    def bias(self) -> np.ndarray:
        """Median residual."""
        return np.nanmedian(self.y_pred - self.y_true, axis=0)

    @property
    def coverage(self) -> np.ndarray | None:
        """Fraction of the true targets within 1.645 error bars."""
        if self.std is None:
            return None
        residual = np.abs(self.y_pred - self.y_true)
        covered = np.where(np.isnan(residual), np.nan, residual <= _INTERVAL * self.std)
        return np.nanmean(covered, axis=0)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        target_names: Sequence[str] | None = None,
        ax: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw how a regressor does on samples that it was not fitted on.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted regressor. There are error bars if its ``predict`` takes
            ``return_std``.
        X : array-like of shape (n_samples, ...)
            The input.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets; those that are NaN are left out.
        target_names : sequence of str, default=None
            Names of the targets, with their units.
        ax : array-like of Axes of shape (2, n_outputs), default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` that change the style.

        Returns
        -------
        display : MeasurementDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :meth:`from_predictions`.
        """
        # Pipelines hand options of predict on only where routing allows it.
        *transformers, regressor = prediction_steps(estimator)
        X, std = samples_for(estimator, X), None
        for transformer in transformers:
            X = transformer.transform(X)
        if gives_errors(regressor):
            found, std = regressor.predict(X, return_std=True)
        else:
            found = regressor.predict(X)
        return cls.from_predictions(
            y, found, std=std, target_names=target_names, ax=ax, **kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        std: ArrayLike | None = None,
        target_names: Sequence[str] | None = None,
        ax: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw how predictions compare with the truth.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The true targets; those that are NaN are left out.
        y_pred : array-like of the shape of `y_true`
            Their predictions.
        std : array-like of the shape of `y_true`, default=None
            Standard deviations of the predictions.
        target_names : sequence of str, default=None
            Names of the targets, with their units.
        ax : array-like of Axes of shape (2, n_outputs), default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` that change the style.

        Returns
        -------
        display : MeasurementDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the arrays have different shapes or more than two axes, if a prediction
            or its error is not finite or a target is infinite, if an error is negative,
            or if no value of a target is known.
        """
        given = {"y_true": y_true, "y_pred": y_pred, "std": std}
        values = {
            name: plain_array(value, name).astype(np.float64)
            for name, value in given.items()
            if name != "std" or value is not None
        }
        shapes = [array.shape for array in values.values()]
        if len({*shapes}) > 1 or len(shapes[0]) not in (1, 2) or 0 in shapes[0]:
            raise ValueError(
                "y_true, y_pred and std must have one shape, (n_samples,) or "
                f"(n_samples, n_outputs), but got {', '.join(map(str, shapes))}."
            )
        for name, array in values.items():
            check_finite(array, input_name=name, allow_nan=name == "y_true")
            values[name] = array.reshape(len(array), -1)
        if std is not None and (values["std"] < 0).any():
            raise ValueError("std has negative values; give standard deviations.")
        unknown = np.isnan(values["y_true"]).all(axis=0)
        if unknown.any():
            raise ValueError(
                f"All values of y_true are NaN for the targets "
                f"{np.flatnonzero(unknown)}. Leave these targets out."
            )
        if target_names is not None and len(target_names) != len(unknown):
            raise ValueError(
                f"target_names must name the {len(unknown)} targets, but has "
                f"{len(target_names)} entries."
            )
        return cls(**values, target_names=target_names).plot(ax=ax, **kwargs)

    def plot(self, *, ax: ArrayLike | None = None, **kwargs: Any) -> Self:
        """Draw predictions and residuals.

        Parameters
        ----------
        ax : array-like of Axes of shape (2, n_outputs), default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Keywords of :meth:`matplotlib.axes.Axes.errorbar` that change the style.

        Returns
        -------
        display : MeasurementDisplay
            The display itself.
        """
        n_targets = self.y_true.shape[1]
        self._make_axes(
            ax,
            (2, n_targets),
            figsize=(4.2 * n_targets + 0.4, 5.2),
            sharex="col",
            height_ratios=(2, 1),
        )
        names = self.target_names
        names = ["value"] * n_targets if names is None else names
        for target, (upper, lower) in enumerate(self.axes_.T):
            known = ~np.isnan(self.y_true[:, target])
            true, found = self.y_true[known, target], self.y_pred[known, target]
            style = {
                "linestyle": "none",
                "marker": ".",
                "markersize": 4,
                "elinewidth": 0.6,
                "alpha": 1 / (1 + len(true) / _HALF_TRANSPARENT),
                "yerr": None if self.std is None else self.std[known, target],
                "rasterized": True,
            }
            style = self._merge_style(style, kwargs)
            upper.errorbar(true, found, **style)
            lower.errorbar(true, found - true, **style)
            ends = [true.min(), true.max()]
            upper.plot(ends, ends, color="0.2", linewidth=1, zorder=3)
            lower.axhline(0, color="0.2", linewidth=1, zorder=3)
            upper.set_title(self._describe(target), loc="left", fontsize="small")
            upper.set_ylabel(f"Predicted {names[target]}")
            lower.set(xlabel=f"True {names[target]}", ylabel="Predicted - true")
        return self

    def _describe(self, target: int) -> str:
        """Write the numbers of a target."""
        text = f"scatter {self.scatter[target]:.3g}, bias {self.bias[target]:+.2g}"
        if self.coverage is not None:
            text += f"\n{self.coverage[target]:.0%} within 1.645 error bars"
        return text
