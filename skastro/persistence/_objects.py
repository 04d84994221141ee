# SPDX-License-Identifier: BSD-3-Clause
"""Models as JSON, with weights and the objects of other packages as members."""

import copy
import functools
import inspect
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy import units
from sklearn.utils import Bunch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch import nn
from torch.nn.modules import module as registration

from skastro.base import BaseNet
from skastro.base._parameters import is_part_parameter, parameter_names
from skastro.base._state import decode, encode
from skastro.persistence._public_names import (
    find_public,
    has_objects,
    public_name,
    root_of,
)
from skastro.persistence._scikit_learn import (
    dump_with_skops,
    is_alone,
    load_with_skops,
)
from skastro.utils import TooLargeError, draw_from_seed

# Attributes of a net beside its parameters and what was learned.
_SETTINGS = ("_metadata_request", "_sklearn_output_config", "_generator_state")
_BUILTINS = {cls.__name__: cls for cls in (bool, int, float, str, bytes)}
# Astropy would compute the number that a large power makes.
_LARGE_POWER = re.compile(r"[A-Za-z*^(]\s*[-+]?\d{4}")
# What building a network may take beside the weights that the file holds.
_MOST_BYTES = 2**25


class GivenError(ValueError):
    """A class or function of the user's own is needed, and was not given."""


class Writer:
    """Turn a model into JSON; weights go into `members`.

    `given` collects classes and functions of the user's own by their names: a file
    names them, and whoever opens it has to give them.
    """

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        self.given: dict[str, Any] = {}
        self._open: list[Any] = []

    def write(self, value: Any, path: str) -> Any:
        """Give what JSON can hold; TypeError for what cannot be written."""
        return encode(value, path, self._write_other)

    def _write_other(self, value: Any, path: str) -> dict[str, Any]:
        if any(value is one for one in self._open):
            raise TypeError(f"{path} is a {type(value).__name__} that holds itself.")
        self._open.append(value)
        try:
            return self._write_object(value, path)
        finally:
            self._open.pop()

    def _write_object(self, value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, BaseNet):
            return {"net": self._net(value, path)}
        if isinstance(value, nn.Module):
            return {"given": self._give(type(value), path, value)}
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"number": np.dtype(value).str}
        if isinstance(value, type) and value in _BUILTINS.values():
            return {"builtin": value.__name__}
        is_skops = root_of(value if callable(value) else type(value)) in (
            "numpy",
            "scipy",
        )
        if (isinstance(value, type) or inspect.isroutine(value)) and not is_skops:
            if name := public_name(value):
                return {"public": name}
            return {"given": self._give(value, path, value)}
        if isinstance(value, torch.device | torch.dtype):
            return {"torch": str(value).removeprefix("torch.")}
        if isinstance(value, Path):
            return {"path": str(value)}
        if isinstance(value, units.UnitBase):
            return {"unit": value.to_string()}
        if isinstance(value, units.Quantity):
            number = encode(np.asarray(value.value), path)
            return {"quantity": [number, value.unit.to_string()]}
        if type(value) is Bunch:
            return {"bunch": self.write(dict(value), path)}
        if isinstance(value, Callback):
            # What it has seen in the training, which may be data, is left behind.
            params = self.write(value.get_params(deep=False), path)
            return {"callback": [self._class(type(value), path), params]}
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if isinstance(value, functools.partial):
            parts = [value.func, list(value.args), dict(value.keywords)]
            return {"partial": self.write(parts, path)}
        if is_alone(value):
            return {
                "skops": self._add(
                    "scikit-learn", "skops", dump_with_skops(value, path)
                )
            }
        return {"object": self._state(value, path)}

    def _net(self, net: BaseNet, path: str) -> dict[str, Any]:
        weights = None
        others = {}
        if net.initialized_:
            weights = self._add("weights", "safetensors", _weights_of(net, "f_params"))
            names = [*net._modules[1:], *net._criteria]
            others = {
                name: self._add("weights", "safetensors", _weights_of(net, f"f_{name}"))
                for name in names
                if getattr(net, f"{name}_").state_dict()
            }
        private = {k: v for k, v in vars(net).items() if k in _SETTINGS}
        params = net.get_params(deep=False)
        return {
            "class": self._class(type(net), path),
            "parameters": {k: self.write(v, f"{path}.{k}") for k, v in params.items()},
            "given_names": list(net._given_names),
            "settings": {k: self.write(v, f"{path}.{k}") for k, v in private.items()},
            "weights": weights,
            "other_weights": others,
            "history": self.write(list(net.history), f"{path}.history")
            if net.initialized_
            else None,
        }

    def _state(self, value: Any, path: str) -> dict[str, Any]:
        name = self._class(type(value), path)
        state = value.__getstate__()
        if not isinstance(state, dict | None):
            raise TypeError(
                f"{path} is a {type(value).__name__}, whose state is no dict of "
                "attributes, so that it cannot be written; pickle the model."
            )
        parts = {k: self.write(v, f"{path}.{k}") for k, v in (state or {}).items()}
        return {"class": name, "state": parts}

    def _class(self, cls: type, path: str) -> str | dict[str, str]:
        if has_objects(cls) or issubclass(cls, BaseNet):
            if name := public_name(cls):
                return name
        return {"given": self._give(cls, path, cls)}

    def _give(self, named: Any, path: str, value: Any) -> str:
        name = getattr(named, "__qualname__", "")
        if not name or "<lambda>" in name:
            raise TypeError(
                f"{path} is a lambda, which has no name that a file could hold. Use a "
                "function with a name."
            )
        if self.given.setdefault(name, value) is not value:
            raise TypeError(
                f"{path} is one of two classes, functions or modules with the name "
                f"{name!r}, which a file cannot tell apart; rename one."
            )
        return name

    def _add(self, folder: str, suffix: str, content: bytes) -> str:
        name = f"{folder}/{len(self.members)}.{suffix}"
        self.members[name] = content
        return name


def _weights_of(net: BaseNet, part: str) -> bytes:
    buffer = io.BytesIO()
    net.save_params(**{part: buffer}, use_safetensors=True)
    return buffer.getvalue()


class Reader:
    """Build the model that a :class:`Writer` has written."""

    def __init__(
        self,
        members: Mapping[str, bytes],
        given: Mapping[str, Any],
        device: str | torch.device | None = None,
    ) -> None:
        self.members = members
        self.given = given
        self.device = device

    def read(self, value: Any) -> Any:
        """Give the object; ValueError for what no Writer writes."""
        return decode(value, self._read_other)

    def _read_other(self, kind: str, content: Any) -> Any:
        readers: dict[str, Callable[[Any], Any]] = {
            "net": self._net,
            "object": self._object,
            "public": find_public,
            "given": lambda name: copy.deepcopy(self._find_given(name)),
            "number": lambda name: np.dtype(name).type,
            "builtin": _BUILTINS.__getitem__,
            "torch": _torch_value,
            "path": Path,
            "unit": _unit,
            "quantity": lambda parts: units.Quantity(decode(parts[0]), _unit(parts[1])),
            "callback": self._callback,
            "bunch": lambda items: Bunch(**self.read(items)),
            "slice": lambda parts: slice(*parts),
            "partial": self._partial,
            "skops": lambda name: load_with_skops(self.members[name]),
        }
        if kind not in readers:
            raise ValueError(f"it holds a value of the unknown kind {kind!r}")
        return readers[kind](content)

    def _net(self, content: dict[str, Any]) -> BaseNet:
        cls = self._class(content["class"])
        if not issubclass(cls, BaseNet):
            raise ValueError(f"{cls.__name__} is no estimator with a network")
        params = {name: self.read(v) for name, v in content["parameters"].items()}
        unknown = [
            name
            for name in params
            if name not in parameter_names(cls) and not is_part_parameter(name)
        ]
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no parameter {', '.join(unknown)} in this version"
            )
        if self.device is not None:
            params["device"] = self.device
        net = cls._with_params(params, content["given_names"])
        for name, value in content["settings"].items():
            if name in _SETTINGS:
                setattr(net, name, self.read(value))
        if content["weights"] is not None:
            self._load(net, content)
            net.history_ = History(self.read(content["history"]))
        return net

    def _load(self, net: BaseNet, content: dict[str, Any]) -> None:
        files = {"params": content["weights"], **content["other_weights"]}
        net._is_restoring = True
        try:
            with (
                _building([self.members[n] for n in files.values()]),
                draw_from_seed(torch.device("cpu"), 0),
            ):
                if not net._sizes_taken():
                    net.initialize()
                for part, name in files.items():
                    file = io.BytesIO(self.members[name])
                    net.load_params(**{f"f_{part}": file}, use_safetensors=True)
        finally:
            del net._is_restoring

    def _object(self, content: dict[str, Any]) -> Any:
        cls: Any = self._class(content["class"])
        is_known = isinstance(content["class"], dict) or has_objects(cls)
        # The method __setstate__ of nets unpickles parts of the state.
        if not is_known or issubclass(cls, NeuralNet):
            raise ValueError(f"it holds a {cls.__name__}, which skastro never writes")
        value = cls.__new__(cls)
        state = {name: self.read(part) for name, part in content["state"].items()}
        # Parameters that came with a later version have their defaults.
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.default is not parameter.empty:
                state.setdefault(name, parameter.default)
        if hasattr(value, "__setstate__"):
            value.__setstate__(state)
        else:
            vars(value).update(state)
        return value

    def _callback(self, content: Any) -> Callback:
        cls = self._class(content[0])
        if not issubclass(cls, Callback):
            raise ValueError(f"{cls.__name__} is no callback")
        return cls(**self.read(content[1]))

    def _partial(self, content: Any) -> Any:
        function, args, keywords = self.read(content)
        return functools.partial(function, *args, **keywords)

    def _class(self, name: str | dict[str, str]) -> type:
        cls = (
            self._find_given(name["given"])
            if isinstance(name, dict)
            else find_public(name)
        )
        if not isinstance(cls, type):
            raise ValueError(f"{name} is no class")
        return cls

    def _find_given(self, name: str) -> Any:
        if name not in self.given:
            raise GivenError(
                f"it needs {name}, which is not part of skastro or scikit-learn. A "
                f"file holds no code: import {name}, or define it, and give it, as in "
                f"load_model(path, module={name})"
            )
        return self.given[name]


def _torch_value(name: str) -> torch.device | torch.dtype:
    value = getattr(torch, name, None)
    return value if isinstance(value, torch.dtype) else torch.device(name)


def _unit(text: str) -> units.UnitBase:
    if _LARGE_POWER.search(text):
        raise ValueError(f"{text!r} is no unit")
    return units.Unit(text)


@contextmanager
def _building(files: Sequence[bytes]) -> Iterator[None]:
    """Stop building a network that is much larger than its weights in the files."""
    # The header is there in full, or else reading it fails.
    headers = [file[8 : 8 + int.from_bytes(file[:8], "little")] for file in files]
    # The network is built twice, first without memory, from layers around tensors.
    most_parts = 1000 + 20 * sum(header.count(b"data_offsets") for header in headers)
    most_bytes = _MOST_BYTES + 4 * sum(map(len, files))
    n_parts = n_bytes = 0
    thread = threading.get_ident()

    def notice(owner: nn.Module, name: str, part: Any) -> None:
        nonlocal n_parts, n_bytes
        if threading.get_ident() != thread:
            return
        n_parts += 1
        if isinstance(part, torch.Tensor) and not nn.parameter.is_lazy(part):
            n_bytes += part.nbytes
        if n_parts > most_parts or n_bytes > most_bytes:
            raise TooLargeError(
                "it describes a network that is larger than the weights that it holds"
            )

    handles = [
        register(notice)
        for register in (
            registration.register_module_parameter_registration_hook,
            registration.register_module_buffer_registration_hook,
            registration.register_module_module_registration_hook,
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
