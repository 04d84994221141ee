# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks of every training: best weights, progress, table of epochs, schedule."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skorch.callbacks import Callback, PrintLog

from skastro.training._batches import samples_in_step
from skastro.utils import check_count, check_number, check_real, progress_bar


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
                # Beside tensors there may be "extra state" of modules.
                self._weights = copy.deepcopy(net.module_.state_dict())

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
        self._bar = progress_bar(
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


@dataclass(frozen=True)
class CosineCycles:
    """A warm-up, then one or several cosine decays of the learning rate [1]_.

    An object of this class takes the progress of a training, from 0 to 1, and returns a
    factor for the learning rate. Durations are fractions of the training: 4 epochs of
    50 are ``4 / 50``.

    Parameters
    ----------
    n_cycles : int, default=1
        Number of cosine cycles.
    decay : float, default=1.0
        Ratio of the initial factor of a cycle to that of the previous cycle; the first
        starts at 1.
    warm_up : float, default=0.0
        Fraction of the training in which the factor rises linearly from `start` to the
        value of the cosine at the end of the warm-up.
    overlap : bool, default=False
        Whether the warm-up replaces the beginning of the first cycle. Otherwise the
        cycles begin after it.
    length : float, default=None
        Length of a cycle. After the last cycle the factor stays at `end`. None: the
        cycles fill the training.
    start : float, default=0.0
        The factor at the start of the warm-up.
    end : float, default=0.0
        The factor at the end of every cycle.

    Raises
    ------
    TypeError
        If a parameter is not a number.
    ValueError
        If a parameter is out of its range, or if the cycles last longer than the
        training.

    References
    ----------
    .. [1] Loshchilov, I. and Hutter, F. (2017). "SGDR: Stochastic gradient descent
           with warm restarts". ICLR. https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> from skastro.training import CosineCycles
    >>> schedule = CosineCycles(warm_up=0.1)
    >>> [round(schedule(p), 2) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    >>> schedule = CosineCycles(n_cycles=2, decay=0.5)
    >>> [round(schedule(p), 2) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [1.0, 0.5, 0.0, 0.25, 0.0]
    """

    n_cycles: int = 1
    decay: float = 1.0
    warm_up: float = 0.0
    overlap: bool = False
    length: float | None = None
    start: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_count(self.n_cycles, "n_cycles")
        for name in ("decay", "start", "end"):
            check_number(getattr(self, name), name, 0)
        _check_part("warm_up", self.warm_up)
        if self.length is not None:
            _check_part("length", self.length)
            last = self._begin + self.n_cycles * self.length
            if self.length == 0 or last > 1 + 1e-9:
                raise ValueError(
                    f"The {self.n_cycles} cycles of length={self.length} from "
                    f"{self._begin:g} on must lie within the training, 0 to 1."
                )

    @property
    def _begin(self) -> float:
        return 0.0 if self.overlap else self.warm_up

    def __call__(self, progress: float) -> float:
        """Return the factor for the learning rate.

        Parameters
        ----------
        progress : float
            Fraction of the training that is done, from 0 to 1.

        Returns
        -------
        factor : float
            Factor for the learning rate.
        """
        if progress < self.warm_up:
            rise = self._cosine(self.warm_up) - self.start
            return self.start + rise * progress / self.warm_up
        return self._cosine(progress)

    def _cosine(self, progress: float) -> float:
        length = self.length or (1.0 - self._begin) / self.n_cycles
        position = (progress - self._begin) / length
        # The moment between two cycles is the end of the first.
        cycle = max(0, math.ceil(position) - 1)
        if cycle >= self.n_cycles:
            return self.end
        fall = 0.5 * (1.0 + math.cos(math.pi * (position - cycle)))
        return self.end + (self.decay**cycle - self.end) * fall


@dataclass(frozen=True)
class Steps:
    """A factor on the learning rate that changes in steps.

    An object of this class takes the progress of a training, from 0 to 1, and returns a
    factor for the learning rate.

    Parameters
    ----------
    at : sequence of float
        Where the factor changes, ascending, as fractions of the training: epoch 10 of
        60 is ``10 / 60``. Epochs up to this one are trained at the old rate.
    factor : float, default=0.1
        Factor by which the rate is multiplied at each of them.

    Raises
    ------
    TypeError
        If a parameter is not a number.
    ValueError
        If `at` is not ascending from 0 to 1, or if `factor` is negative.

    Examples
    --------
    >>> from skastro.training import Steps
    >>> schedule = Steps(at=(0.5, 0.75), factor=0.5)
    >>> [schedule(p) for p in (0.0, 0.5, 0.51, 0.8)]
    [1.0, 1.0, 0.5, 0.25]
    """

    at: tuple[float, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Check the parameters."""
        # A tuple can be compared and hashed, whatever sequence was given.
        object.__setattr__(self, "at", tuple(self.at))
        for moment in self.at:
            _check_part("each of at", moment)
        if list(self.at) != sorted(self.at):
            raise ValueError(f"at must be ascending, but got {self.at}.")
        check_number(self.factor, "factor", 0)

    def __call__(self, progress: float) -> float:
        """Return the factor for the learning rate.

        Parameters
        ----------
        progress : float
            Fraction of the training that is done, from 0 to 1.

        Returns
        -------
        factor : float
            Factor for the learning rate.
        """
        return float(self.factor ** sum(progress > moment for moment in self.at))


def _check_part(name: str, value: float) -> None:
    check_real(value, name)
    if not 0 <= value <= 1:
        raise ValueError(
            f"{name} must be a part of the training, from 0 to 1, but got {value}; "
            "divide epochs by max_epochs."
        )


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": CosineCycles(warm_up=0.1),
    "cosine_cycles": CosineCycles(n_cycles=2, decay=0.5, warm_up=0.1),
    "steps": Steps(at=(0.5, 0.75)),
}


class Schedule(Callback):
    """Scale the learning rate at every step by a function of the training's progress.

    The progress of a step is that of its middle. The first step of a warm-up from zero,
    and the last step of a schedule that ends at zero, therefore have a rate above zero.

    Parameters
    ----------
    schedule : None, str or callable, default=None
        A name of ``SCHEDULES``, a function that takes the progress from 0 to 1 and
        gives a factor, or None for a constant rate.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> clf = SpectrumClassifier(schedule=None)  # a constant learning rate
    """

    # The initial and the scaled rates of a training that has not ended.
    _rates: Sequence[float] = ()
    _scaled: Sequence[float] = ()

    def __init__(self, schedule: str | Callable[[float], float] | None = None) -> None:
        self.schedule = schedule

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Store the initial rates."""
        if self.schedule is None:
            return
        groups = net.optimizer_.param_groups
        # An error ended the previous training. The optimizer may be another one.
        for group, rate, scaled in zip(groups, self._rates, self._scaled, strict=False):
            if group["lr"] == scaled:
                group["lr"] = rate
        self._rates = [group["lr"] for group in groups]
        self._n_samples = 0  # Not known before the first epoch.
        self._done = 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Count the samples of the whole training."""
        if self.schedule is not None and not self._n_samples:
            self._n_samples = net.max_epochs * len(dataset_train)

    def on_batch_begin(
        self, net: Any, batch: Any = None, training: bool = False, **_: Any
    ) -> None:
        """Set the rate of the next step."""
        if training and self.schedule is not None:
            done = self._done + samples_in_step(batch) / 2
            function = self.schedule
            if isinstance(function, str):
                function = SCHEDULES[function]
            factor = function(min(1.0, done / self._n_samples))
            self._scaled = [rate * factor for rate in self._rates]
            self._set_rates(net, self._scaled)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **_: Any
    ) -> None:
        """Count the batch, unless it was too large for the memory."""
        if training and self.schedule is not None:
            self._done += samples_in_step(batch)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Write the learning rate into the history."""
        groups = getattr(getattr(net, "optimizer_", None), "param_groups", None)
        if isinstance(groups, list):
            net.history.record("lr", groups[0]["lr"])

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Restore the initial rates of the optimizer for the next call."""
        if self.schedule is not None:
            self._set_rates(net, self._rates)
        self._scaled = ()

    @staticmethod
    def _set_rates(net: Any, rates: Sequence[float]) -> None:
        for group, rate in zip(net.optimizer_.param_groups, rates, strict=True):
            group["lr"] = rate
