# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules that know how long the training will be."""

import math
from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback

from skastro.training._pieces import n_samples_in


def cosine(progress: float) -> float:
    """Give the cosine schedule's factor on the learning rate.

    A linear warm-up over the first tenth of the training, then half a cosine down to
    zero [1]_.

    Parameters
    ----------
    progress : float
        The part of the training that is done, from 0 to 1.

    Returns
    -------
    factor : float
        From 0 to 1.

    References
    ----------
    .. [1] Loshchilov, I. and Hutter, F. (2017). "SGDR: Stochastic gradient descent
           with warm restarts". ICLR. https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> from skastro.training._schedule import cosine
    >>> [round(cosine(p), 2) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    warm_up = 0.1
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warm_up) / (1.0 - warm_up)))


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine}


class Schedule(Callback):
    """Scale the learning rate at every step by a function of the training's progress.

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

    def __init__(self, schedule: str | Callable[[float], float] | None = None) -> None:
        self.schedule = schedule

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Note the rates to start from."""
        self._rates = [group["lr"] for group in net.optimizer_.param_groups]
        self._n_samples = None
        self._done = 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Count the samples of the whole training, as soon as that is possible."""
        if self._n_samples is None:
            self._n_samples = net.max_epochs * len(dataset_train)

    def on_batch_begin(
        self, net: Any, batch: Any = None, training: bool = False, **_: Any
    ) -> None:
        """Set the rate of the coming step."""
        if training and self.schedule is not None:
            done = self._done + n_samples_in(batch)
            function = SCHEDULES.get(self.schedule, self.schedule)
            factor = function(min(1.0, done / self._n_samples))
            self._set_rates(net, [rate * factor for rate in self._rates])

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **_: Any
    ) -> None:
        """Count the batch; one that was too large for the memory does not count."""
        if training and self.schedule is not None:
            self._done += n_samples_in(batch)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Write the learning rate into the history."""
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **_: Any) -> None:
        """Give the optimizer its own rates back, for the next call."""
        if self.schedule is not None:
            self._set_rates(net, self._rates)

    @staticmethod
    def _set_rates(net: Any, rates: list[float]) -> None:
        for group, rate in zip(net.optimizer_.param_groups, rates, strict=True):
            group["lr"] = rate
