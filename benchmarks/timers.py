# SPDX-License-Identifier: BSD-3-Clause
"""Timers around the methods of an estimator, which attribute each moment to one part.

They are put on from outside and taken off again; skastro knows nothing of them.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from skorch.callbacks import EpochScoring
from torch.profiler import record_function

from skastro.training import BatchIterator

NETWORK, OTHER, VALIDATION = "network", "Python, other", "validation"
# The part of the time in a method, or a function of its arguments that names the part;
# and whether all that the method calls belongs to it too.
METHODS: dict[str, tuple[Any, bool]] = {
    "_validate_params": ("checks, set-up", True),
    "_check_training_data": ("checks, set-up", True),
    "initialize": ("checks, set-up", True),
    "get_split_datasets": ("checks, set-up", True),
    "run_single_epoch": (
        lambda *_, training, **__: OTHER if training else VALIDATION,
        True,
    ),
    "train_step": ("optimizer", False),
    "train_step_single": (NETWORK, False),
    "infer": (NETWORK, False),
    "_prepare": ("normalization", False),
    "_normalize": ("normalization", True),
    "_augment": ("augmentation", True),
    "notify": (
        lambda event, **_: f"callbacks, by {'batch' if 'batch' in event else 'epoch'}",
        False,
    ),
    "_after_training": ("after the last epoch", True),
}


class Timers:
    """Seconds spent in each part, without those in parts called from there.

    Parameters
    ----------
    clock : callable
        Gives the time in seconds.
    record : bool, default=False
        Whether torch's profiler gets a range ``part:NAME`` for each call.

    Attributes
    ----------
    seconds : collections.Counter
        By the name of the part.
    """

    def __init__(self, clock: Callable[[], float], record: bool = False) -> None:
        self.seconds: Counter[str] = Counter()
        self._clock = clock
        self._record = record
        self._inner: list[float] = []
        self._is_closed = False

    def call(
        self, part: str, absorbs: bool, function: Callable, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a function and note its time."""
        if self._is_closed:
            return function(*args, **kwargs)
        self._is_closed = absorbs
        self._inner.append(0.0)
        start = self._clock()
        try:
            if self._record:
                with record_function(f"part:{part}"):
                    return function(*args, **kwargs)
            return function(*args, **kwargs)
        finally:
            elapsed = self._clock() - start
            self.seconds[part] += elapsed - self._inner.pop()
            self._is_closed = False
            if self._inner:
                self._inner[-1] += elapsed

    @contextlib.contextmanager
    def attached(self, estimator: Any) -> Iterator[None]:
        """Time an estimator's methods, its batches and the scores of its epochs."""
        places = [
            (kind, name, *METHODS[name])
            for name in METHODS
            for kind in type(estimator).__mro__
        ]
        places.append((EpochScoring, "on_epoch_end", VALIDATION, True))
        with contextlib.ExitStack() as stack:
            for kind, name, part, absorbs in places:
                if name in vars(kind):
                    timed = self._timed(vars(kind)[name], part, absorbs)
                    stack.enter_context(_replaced(kind, name, timed))
            timed = self._timed_batches(BatchIterator.__iter__)
            stack.enter_context(_replaced(BatchIterator, "__iter__", timed))
            yield

    def _timed(self, function: Callable, part: Any, absorbs: bool) -> Callable:
        @wraps(function)
        def timed(owner: Any, *args: Any, **kwargs: Any) -> Any:
            name = part if isinstance(part, str) else part(*args, **kwargs)
            # An epoch of the training has parts.
            inside = absorbs and name != OTHER
            return self.call(name, inside, function, owner, *args, **kwargs)

        return timed

    def _timed_batches(self, function: Callable) -> Callable:
        @wraps(function)
        def batches(iterator: Any) -> Iterator[Any]:
            inner = self.call("batches", True, function, iterator)
            while (batch := self.call("batches", True, next, inner, None)) is not None:
                yield batch

        return batches


@contextlib.contextmanager
def _replaced(kind: type, name: str, function: Callable) -> Iterator[None]:
    before = vars(kind)[name]
    setattr(kind, name, function)
    try:
        yield
    finally:
        setattr(kind, name, before)
