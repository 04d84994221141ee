# SPDX-License-Identifier: BSD-3-Clause
"""The state of a training in a file, so that the training goes on where it ended.

The file holds tensors, numbers and text in torch's format, and is read with
``weights_only=True``: no code runs.
"""

import copy
import inspect
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import EpochScoring
from torch.utils.data import Subset

from skastro.base._state import decode_state, encode_state
from skastro.base._validation import fingerprint
from skastro.utils import atomic_write, load_tensors

# Version 1 was written after epochs only, and has no "position".
_FORMATS = ("skastro training, version 2", "skastro training, version 1")
# Parameters that may differ when a training goes on.
_FREE = {"verbose", "device", "callbacks"}
# What EpochScoring holds of the current epoch.
_CACHES = ("y_trues_", "y_preds_")
_ADVICE = "Give the data and parameters that it began with, or name another file."


class TrainingFile:
    """The file of a training; ``net`` is trained with the generators ``own``.

    It is written after each epoch, and within epochs every so many seconds.
    """

    def __init__(self, path: Any, net: Any, own: Any, every: float) -> None:
        self.path = Path(path)
        self.net = net
        self.own = own
        self.every = every
        self._written = time.monotonic()
        # The generators when the order of the epoch was drawn.
        self._drawn: dict[str, torch.Tensor] = {}
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"resume={str(path)!r}: there is no such folder.")
        self.state = self._read() if self.path.exists() else None
        self.n_epochs = len(self.state["history"]) if self.state else 0

    def _read(self) -> dict[str, Any]:
        try:
            state = load_tensors(self.path)
        except Exception as error:
            raise ValueError(
                f"{self.path} is not the file of a training: {error}"
            ) from error
        if not isinstance(state, dict) or state.get("format") not in _FORMATS:
            raise ValueError(f"{self.path} is not the file of a training.")
        return state

    def begin(self, train: Any, valid: Any) -> None:
        """Go on with the training of the file, if it is one of these data."""
        self.dataset = train
        while isinstance(self.dataset, Subset):
            self.dataset = self.dataset.dataset
        values = self.net.get_params(deep=False)
        self.identity = {
            "class": type(self.net).__name__,
            **{k: as_told(v) for k, v in values.items() if k not in _FREE},
            "data": fingerprint(train, valid, groups=self.net._groups),
        }
        # What cannot be written is refused before the training, not after an epoch.
        self._content()
        if self.state is None:
            return
        before = self.state["identity"]
        for name in [*before, *self.identity]:
            old, new = before.get(name), self.identity.get(name)
            if old != new:
                told = "" if name == "data" else f" ({old}, and now {new})"
                raise ValueError(
                    f"{self.path} belongs to another training: {name} differs{told}. "
                    f"{_ADVICE}"
                )
        if self.state.get("position") is None:
            self._restore(self.state)
            self.state = None
        else:
            # What begins the epoch anew may change it in place.
            self._restore(copy.deepcopy(self.state))

    @property
    def place(self) -> str:
        """Say where the training of the file goes on."""
        position = (self.state or {}).get("position") or {"n_batches": 0}
        return f"after {self.n_epochs} epochs and {position['n_batches']} batches"

    def begin_epoch(self) -> tuple[int, bool | None]:
        """Return how many batches of the epoch are done, and whether from a stream.

        The generators are as they were when the order of the batches was drawn.
        """
        self._keeps_predictions = any(
            isinstance(callback, EpochScoring)
            and callback.on_train
            and callback.use_caching
            for _, callback in self.net.callbacks_
        )
        if self.state is None:
            self._drawn = self._generators()
            return 0, None
        # Undo what the callbacks do at the beginning of an epoch.
        self._restore(self.state)
        position = self.state["position"]
        self.net.history[-1].update(position["row"])
        self._drawn = position["drawn"]
        self._set_generators(self._drawn)
        return position["n_batches"], position["was_streamed"]

    def order_is_drawn(self) -> None:
        """Let the generators go on from where the training ended."""
        if self.state is not None:
            self._set_generators(self.state["generators"])
            self.state = None

    def is_due(self) -> bool:
        """Whether to write the state within the epoch."""
        late = time.monotonic() - self._written >= self.every
        return late and not self._keeps_predictions

    def save(self, n_batches: int = 0, is_streamed: bool | None = None) -> None:
        """Write the state after an epoch, or after so many of its batches.

        The file is complete at any time.
        """
        content = self._content()
        if n_batches:
            content["position"] = {
                "n_batches": n_batches,
                "was_streamed": is_streamed,
                "row": content["history"].pop(),
                "drawn": self._drawn,
            }
        with atomic_write(self.path, "wb") as file:
            torch.save(content, file)
        self._written = time.monotonic()

    def _generators(self) -> dict[str, torch.Tensor]:
        return {name: g.get_state() for name, g in self.own.by_device.items()}

    def _set_generators(self, states: dict[str, torch.Tensor]) -> None:
        for device, generator in self.own.by_device.items():
            # On another device than before its own generator goes on from the seed.
            if device in states:
                generator.set_state(states[device])

    def _content(self) -> dict[str, Any]:
        net = self.net
        learned = encode_state(type(net).__name__, None, net._fitted_state())
        return {
            "format": _FORMATS[0],
            "identity": self.identity,
            "parts": {name: part.state_dict() for name, part in self._parts().items()},
            "learned": learned,
            "frozen": [not w.requires_grad for _, w in net.get_all_learnable_params()],
            "generators": self._generators(),
            "history": _plain(net.history.to_list()),
            # Within an epoch; None after one.
            "position": None,
            "callbacks": {n: _state_of(n, callback) for n, callback in net.callbacks_},
        }

    def _parts(self) -> dict[str, Any]:
        """Find everything that keeps a state of its own, as torch's classes do."""
        net = self.net
        names = [f"{n}_" for n in net._modules + net._criteria + net._optimizers]
        parts = {
            name: getattr(net, name)
            for name in [*names, "_scaler"]
            if name in vars(net)
        }
        parts["dataset"] = self.dataset
        return {name: part for name, part in parts.items() if _has_state(part)}

    def _restore(self, state: dict[str, Any]) -> None:
        net = self.net
        net._restore_fitted_state(decode_state(state["learned"])["state"])
        for name, part in self._parts().items():
            part.load_state_dict(state["parts"][name])
        weights = [weight for _, weight in net.get_all_learnable_params()]
        for weight, frozen in zip(weights, state["frozen"], strict=True):
            weight.requires_grad_(not frozen)
        self._set_generators(state["generators"])
        net.history[: len(state["history"])] = state["history"]
        for name, callback in net.callbacks_:
            _set_state(callback, state["callbacks"].get(name, {}))


def as_told(value: Any) -> str:
    """Show a parameter's value, without the addresses of functions and objects."""
    if isinstance(value, set | frozenset):
        # Their order differs between processes.
        return f"{{{', '.join(sorted(map(as_told, value)))}}}"
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _has_state(value: Any) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _plain(value: Any) -> Any:
    """Convert to what is read without running code; TypeError where that fails."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(map(_plain, value))
    raise TypeError(f"is a {type(value).__name__}")


def _state_of(name: str, callback: Any) -> dict[str, Any]:
    """Collect what a callback has noted, beside its parameters."""
    if _has_state(callback):
        return callback.state_dict()
    known = type(callback).__module__.startswith(("skastro.", "skorch."))
    left_out = {*inspect.signature(type(callback)).parameters, *_CACHES}
    state = {}
    for key, value in vars(callback).items():
        if key in left_out:
            continue
        try:
            state[key] = value.state_dict() if _has_state(value) else _plain(value)
        except TypeError as error:
            if known:
                # They make anew what cannot be written, such as a progress bar.
                continue
            raise TypeError(
                f"A training with resume=... needs callbacks that can be written, but "
                f"{name}.{key} {error}. Give the callback the methods state_dict() and "
                "load_state_dict(state)."
            ) from error
    return state


def _set_state(callback: Any, state: dict[str, Any]) -> None:
    if _has_state(callback):
        callback.load_state_dict(state)
        return
    for key, value in state.items():
        if _has_state(current := vars(callback).get(key)):
            current.load_state_dict(value)
        else:
            setattr(callback, key, value)
