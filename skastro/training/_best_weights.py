# SPDX-License-Identifier: BSD-3-Clause
"""Keep the weights of the best epoch and put them back when training ends."""

import math
from typing import Any

from skorch.callbacks import Callback


class BestWeights(Callback):
    """Restore the weights of the epoch with the lowest validation loss.

    Without a validation split the last weights stay. An interrupted training ends with
    the best weights seen until then.

    Parameters
    ----------
    monitor : str, default="valid_loss"
        The column of the history to follow; lower is better.
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
    >>> from skastro.training import BestWeights
    >>> clf = SpectrumClassifier(callbacks=[BestWeights(monitor="train_loss")])
    """

    def __init__(self, monitor: str = "valid_loss", restore: bool = True) -> None:
        self.monitor = monitor
        self.restore = restore

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Forget what earlier calls kept."""
        self.best_epoch_ = None
        self._best = math.inf
        self._weights = None

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Copy the weights where the epoch was the best one so far."""
        record = net.history[-1]
        if record.get(self.monitor, math.inf) < self._best:
            self._best = record[self.monitor]
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
