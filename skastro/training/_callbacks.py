# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks of every training: the best weights, a progress bar, a table of epochs."""

import math
from typing import Any

from skorch.callbacks import Callback, PrintLog
from tqdm.auto import tqdm


class BestWeights(Callback):
    """Restore the weights of the epoch with the best validation score.

    Without a validation split the last weights are kept. An interrupted training ends
    with the best weights up to then.

    Parameters
    ----------
    monitor : str, default="valid_loss"
        The column of the history to follow. Ties go to the later epoch.
    lower_is_better : bool, default=True
        Whether the best value is the lowest.
    start : float, default=0.0
        Fraction of the training, from 0 to 1, whose epochs do not count. The weights
        fluctuate while the learning rate is high, and on a small validation split one
        of these epochs can look best by chance.
    restore : bool, default=True
        Whether to restore the weights; False only records the best epoch.

    Attributes
    ----------
    best_epoch_ : int or None
        The best epoch, counted from 1 as in the history; None without a validation
        split.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> clf = SpectrumClassifier(callbacks__best_weights__monitor="valid_loss",
    ...                          callbacks__best_weights__lower_is_better=True)
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        lower_is_better: bool = True,
        start: float = 0.0,
        restore: bool = True,
    ) -> None:
        self.monitor = monitor
        self.lower_is_better = lower_is_better
        self.start = start
        self.restore = restore

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Forget the weights of earlier calls."""
        self.best_epoch_ = None
        self._epochs_done = 0
        self._best = math.inf
        self._weights: dict[str, Any] | None = None
        self._is_due = False

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Judge the epoch before, of which all callbacks have recorded figures."""
        if self._is_due:
            self._judge(net, net.history[-2])

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Note that the epoch is complete."""
        self._is_due = True

    def _judge(self, net: Any, record: dict[str, Any]) -> None:
        """Copy the weights if the epoch is the best one so far."""
        self._is_due = False
        if self._epochs_done == math.ceil(self.start * net.max_epochs):
            # Epochs count from here on; earlier ones are forgotten.
            self._best = math.inf
        self._epochs_done += 1
        if self.monitor not in record:
            if "valid_loss" in record or not self.monitor.startswith("valid"):
                raise ValueError(
                    f"monitor={self.monitor!r} of the callback best_weights is not in "
                    f"the history, which has {', '.join(sorted(record))}."
                )
            return
        value = record[self.monitor] * (1 if self.lower_is_better else -1)
        if value <= self._best:
            self._best = value
            self.best_epoch_ = record["epoch"]
            if self.restore:
                self._weights = {
                    name: value.detach().clone()
                    for name, value in net.module_.state_dict().items()
                }

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Put the best weights back."""
        if self._is_due:
            self._judge(net, net.history[-1])
        if self._weights is not None:
            net.module_.load_state_dict(self._weights)
            self._weights = None


class EpochProgress(Callback):
    """Show one progress bar for a whole training, with the latest losses.

    The bar is shown from ``verbose=1`` on, and moves within epochs.

    Parameters
    ----------
    columns : tuple of str, default=("train_loss", "valid_loss", "valid_acc")
        Columns of the history that are shown after the bar.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> clf = SpectrumClassifier(callbacks__progress__columns=("train_loss",))
    """

    _bar: Any = None

    def __init__(
        self, columns: tuple[str, ...] = ("train_loss", "valid_loss", "valid_acc")
    ) -> None:
        self.columns = columns

    def __getstate__(self) -> dict[str, Any]:
        """Drop the bar, which belongs to a terminal and cannot be pickled."""
        return {name: v for name, v in vars(self).items() if name != "_bar"}

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Do nothing yet, because the number of batches is not known."""
        self._bar = None
        self._epochs_done = 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Open the bar at the first epoch."""
        if not net.verbose or self._bar is not None:
            return
        n_batches = len(net.get_iterator(dataset_train, training=True))
        self._bar = tqdm(
            total=net.max_epochs * n_batches,
            initial=self._epochs_done * n_batches,
            desc=type(net).__name__,
            unit="epoch",
            unit_scale=1 / n_batches,
            bar_format="{l_bar}{bar}| {n:.1f}/{total:.0f} [{elapsed}<{remaining}"
            "{postfix}]",
        )

    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Move on by a batch."""
        if training and self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Write the epoch's losses after the bar."""
        self._epochs_done += 1
        if self._bar is None:
            return
        record = net.history[-1]
        self._bar.set_postfix(
            {key: f"{record[key]:.4f}" for key in self.columns if key in record}
        )

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class EpochLog(PrintLog):
    """Print skorch's table of epochs, from ``verbose=2`` on.

    Its parameters are those of :class:`skorch.callbacks.PrintLog`.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> clf = SpectrumClassifier(verbose=2, callbacks__print_log__floatfmt=".2f")
    """

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Print a row."""
        if net.verbose >= 2:
            super().on_epoch_end(net, **kwargs)
