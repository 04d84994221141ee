# SPDX-License-Identifier: BSD-3-Clause
"""Keep the weights of the best epoch and put them back when training ends."""

import math
from typing import Any

from skorch.callbacks import Callback


class BestWeights(Callback):
    """Restore the weights of the epoch that did best in validation.

    Without a validation split the last weights stay. An interrupted training ends with
    the best weights seen until then.

    Parameters
    ----------
    monitor : str, default="valid_loss"
        The column of the history to follow. Of equal epochs the later one counts.
    lower_is_better : bool, default=True
        Whether the best value is the lowest.
    start : float, default=0.0
        Epochs in this first part of the training do not count, from 0 to 1. While the
        learning rate is high the weights jump about, and on a small validation split
        one of these jumps can look best by chance.
    restore : bool, default=True
        Whether to restore at all; False only notes the best epoch.

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
        """Forget what earlier calls kept."""
        self.best_epoch_ = None
        self._epochs_done = 0
        self._best = math.inf
        self._weights = None

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Copy the weights where the epoch was the best one so far."""
        if self._epochs_done == math.ceil(self.start * net.max_epochs):
            # From here on epochs count, and those before are forgotten.
            self._best = math.inf
        self._epochs_done += 1
        record = net.history[-1]
        if self.monitor not in record:
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
        if self._weights is not None:
            net.module_.load_state_dict(self._weights)
            self._weights = None
