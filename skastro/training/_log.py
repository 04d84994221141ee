# SPDX-License-Identifier: BSD-3-Clause
"""What a training shows of itself: a progress bar, and skorch's table on request."""

from typing import Any

from skorch.callbacks import Callback, PrintLog
from tqdm.auto import tqdm


class EpochProgress(Callback):
    """Show one progress bar for a whole training, with the latest losses.

    The bar is shown from ``verbose=1`` on, and moves within epochs.

    Parameters
    ----------
    columns : tuple of str, default=("train_loss", "valid_loss", "valid_acc")
        Columns of the history that stand behind the bar.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> clf = SpectrumClassifier(callbacks__progress__columns=("train_loss",))
    """

    def __init__(
        self, columns: tuple[str, ...] = ("train_loss", "valid_loss", "valid_acc")
    ) -> None:
        self.columns = columns

    def __getstate__(self) -> dict[str, Any]:
        """Leave the bar behind: it belongs to a terminal, not to a file."""
        return {name: v for name, v in vars(self).items() if name != "_bar"}

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Make no bar yet: the number of batches is not known."""
        self._bar = None

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Open the bar at the first epoch."""
        if not net.verbose or getattr(self, "_bar", None) is not None:
            return
        n_batches = len(net.get_iterator(dataset_train, training=True))
        self._bar = tqdm(
            total=net.max_epochs * n_batches,
            desc=type(net).__name__,
            unit="epoch",
            unit_scale=1 / n_batches,
            bar_format="{l_bar}{bar}| {n:.1f}/{total:.0f} [{elapsed}<{remaining}"
            "{postfix}]",
        )

    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Move on by a batch."""
        if training and getattr(self, "_bar", None) is not None:
            self._bar.update()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Write the epoch's losses behind the bar."""
        if getattr(self, "_bar", None) is None:
            return
        record = net.history[-1]
        self._bar.set_postfix(
            {key: f"{record[key]:.4f}" for key in self.columns if key in record}
        )

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Close the bar."""
        if getattr(self, "_bar", None) is not None:
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
