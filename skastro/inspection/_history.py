# SPDX-License-Identifier: BSD-3-Clause
"""A figure of the course of a training."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from sklearn.pipeline import Pipeline

from skastro.inspection._display import DisplayMixin

_SCORES = {"train_acc": "training", "valid_acc": "validation"}
_LOSSES = {"train_loss": "training", "valid_loss": "validation"}


class HistoryDisplay(DisplayMixin):
    """Losses and scores over the epochs of a training.

    It is recommended to use :meth:`from_estimator` to create one. All parameters are
    stored as attributes.

    Parameters
    ----------
    epochs : sequence of int, of shape (n_epochs,)
        Numbers of the epochs.
    losses : dict of str to sequence of float
        Name and values, of shape (n_epochs,), of each loss.
    scores : dict of str to sequence of float, default=None
        Name and values, of shape (n_epochs,), of each score.
    best_epoch : int, default=None
        The epoch whose weights the estimator keeps.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.
    score_ax_ : matplotlib Axes or None
        Axes with the scores, below the losses.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores over the training set's size.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skastro import SpectrumClassifier
    >>> from skastro.datasets import make_spectra
    >>> from skastro.inspection import HistoryDisplay
    >>> spectra = make_spectra(60, wavelength=range(4000, 9000, 50), random_state=0)
    >>> clf = SpectrumClassifier("mlp", max_epochs=3, verbose=0, random_state=0)
    >>> clf = clf.fit(spectra.flux, spectra.target)
    >>> display = HistoryDisplay.from_estimator(clf)
    >>> sorted(display.losses)
    ['training', 'validation']
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        epochs: Sequence[int],
        losses: Mapping[str, Sequence[float]],
        scores: Mapping[str, Sequence[float]] | None = None,
        best_epoch: int | None = None,
    ) -> None:
        self.epochs = epochs
        self.losses = losses
        self.scores = scores
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted estimator with a ``history``, or a pipeline that ends in one.
        ax : matplotlib Axes, default=None
            Axes to draw the losses on, and nothing else. None makes a figure, with the
            scores below the losses.

        Returns
        -------
        display : HistoryDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no attribute ``history``.
        ValueError
            If the history is empty.
        """
        net = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        if not hasattr(net, "history"):
            raise TypeError(
                f"{type(net).__name__} keeps no history of its training; give an "
                "estimator of skastro or skorch."
            )
        if not net.history:
            raise ValueError(
                f"This {type(net).__name__} has no history yet; call fit first."
            )
        # An epoch that was interrupted has no losses.
        history = [epoch for epoch in net.history if "train_loss" in epoch]
        if not history:
            raise ValueError(
                f"The training of this {type(net).__name__} was interrupted within its "
                "first epoch: there is nothing to draw."
            )
        best = dict(net.callbacks_).get("best_weights")
        if not getattr(best, "restore", False):
            best = None
        return cls(
            epochs=[epoch["epoch"] for epoch in history],
            losses=_columns(history, _LOSSES),
            scores=_columns(history, _SCORES),
            best_epoch=getattr(best, "best_epoch_", None),
        ).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw the losses on, and nothing else. None makes a figure, with the
            scores below the losses.

        Returns
        -------
        display : HistoryDisplay
            The display itself.
        """
        n_rows = 2 if ax is None and self.scores else 1
        axes = self._make_axes(ax, (n_rows, 1), sharex=True)
        ax, self.score_ax_ = self.ax_, axes[1, 0] if n_rows == 2 else None
        self._draw(ax, self.losses)
        ax.set_ylabel("Loss")
        # Losses of densities, as of autoencoders, can be negative.
        if min(map(min, self.losses.values()), default=0) >= 0:
            ax.set_ylim(0, None)
        ax.legend()
        if self.score_ax_ is not None:
            self._draw(self.score_ax_, self.scores or {})
            self.score_ax_.set(ylabel="Accuracy", ylim=(None, 1.0))
        lowest = self.score_ax_ or ax
        lowest.set_xlabel("Epoch")
        lowest.xaxis.set_major_locator(MaxNLocator(integer=True))
        return self

    def _draw(self, ax: Axes, curves: Mapping[str, Sequence[float]]) -> None:
        colors = {name: f"C{number}" for number, name in enumerate(self.losses)}
        for name, values in curves.items():
            # A single epoch is not visible as a line.
            marker = "o" if len(values) == 1 else None
            ax.plot(
                self.epochs, values, color=colors.get(name), marker=marker, label=name
            )
        if self.best_epoch is not None:
            ax.axvline(
                self.best_epoch,
                color="0.6",
                linewidth=1,
                zorder=0,
                label=f"kept: epoch {self.best_epoch}",
            )


def _columns(history: list[dict], names: dict[str, str]) -> dict[str, list[float]]:
    """Return the columns that every epoch has."""
    return {
        label: [epoch[name] for epoch in history]
        for name, label in names.items()
        if all(name in row for row in history)
    }
