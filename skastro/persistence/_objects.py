# SPDX-License-Identifier: BSD-3-Clause
"""Models as JSON, with weights and the objects of other packages as members."""

import copy
import functools
import inspect
import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from scipy.stats import rv_continuous, rv_discrete
from scipy.stats.distributions import rv_frozen
from sklearn import config_context
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import MetadataRequest
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch import nn
from torch.nn.modules import module as registration
from torch.optim import Optimizer
from torch.utils.data import Dataset

from skastro._compat import holders_of_estimators
from skastro.base import BaseNet
from skastro.base._net import check_device_exists
from skastro.base._parameters import is_part_parameter, parameter_names
from skastro.base._state import decode, encode, module_as_safetensors
from skastro.persistence._public_names import (
    check_names,
    find_public,
    has_objects,
    public_name,
    root_of,
)
from skastro.persistence._scikit_learn import (
    check_attributes,
    dump_with_skops,
    is_alone,
    load_with_skops,
)
from skastro.utils import TooLargeError, draw_from_seed

# Attributes of a net beside its parameters and what was learned.
_SETTINGS = ("_sklearn_output_config", "_generator_state")
_BUILTINS = {cls.__name__: cls for cls in (bool, int, float, str, bytes)}
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
        if isinstance(value, Dataset):
            raise TypeError(
                f"{path} is a {type(value).__name__}, which holds samples, and a file "
                "of a model holds none: set this parameter to its default, such as "
                "set_params(train_split=None)."
            )
        if isinstance(value, rv_frozen):
            parts = [value.dist.name, list(value.args), dict(value.kwds)]
            return {"distribution": self.write(parts, path)}
        if isinstance(value, np.ma.MaskedArray):
            parts = [np.asarray(value), np.ma.getmaskarray(value)]
            return {"masked": self.write(parts, path)}
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
        if type(value) is Bunch:
            return {"bunch": self.write(dict(value), path)}
        if isinstance(value, Callback):
            # What it has seen in the training, which may be data, is left behind.
            params = self.write(value.get_params(deep=False), path)
            return {"callback": [self._class(type(value), path), params]}
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
            weights = self._weights(net.module_, path, net._write_state())
            others = {
                name: self._weights(getattr(net, f"{name}_"), path)
                for name in [*net._modules[1:], *net._criteria]
                if getattr(net, f"{name}_").state_dict()
            }
        lost = [
            name
            for name in vars(net)
            if not name.startswith("_") and not name.endswith("_")
            if name not in parameter_names(type(net))
        ]
        if lost:
            raise TypeError(
                f"{path} has {', '.join(lost)}, which is neither a parameter nor "
                "learned: let the name end in an underscore, or be a parameter of "
                "__init__."
            )
        private = {k: v for k, v in vars(net).items() if k in _SETTINGS}
        params = net.get_params(deep=False)
        params = {k: v for k, v in params.items() if not _is_outside(k)}
        outputs = _probe(net)
        return {
            "class": self._class(type(net), path),
            "parameters": {k: self.write(v, f"{path}.{k}") for k, v in params.items()},
            "given_names": list(net._given_names),
            "settings": {k: self.write(v, f"{path}.{k}") for k, v in private.items()},
            "requests": _requests_of(net),
            "weights": weights,
            "other_weights": others,
            "history": self.write(list(net.history), f"{path}.history")
            if net.initialized_
            else None,
            "probe": None if outputs is None else outputs.tolist(),
        }

    def _weights(self, module: nn.Module, path: str, text: str = "") -> str:
        content = module_as_safetensors(
            module, f"{path}, {type(module).__name__},", text
        )
        return self._add("weights", "safetensors", content)

    def _state(self, value: Any, path: str) -> dict[str, Any]:
        name = self._class(type(value), path)
        state = value.__getstate__()
        if not isinstance(state, dict | None):
            raise TypeError(
                f"{path} is a {type(value).__name__}, whose state is no dict of "
                "attributes, so that it cannot be written; pickle the model."
            )
        state = {k: v for k, v in (state or {}).items() if k != "_metadata_request"}
        try:
            check_attributes(value)
        except ValueError as error:
            raise TypeError(f"{path}: {error}.") from None
        parts = {k: self.write(v, f"{path}.{k}") for k, v in state.items()}
        return {"class": name, "state": parts, "requests": _requests_of(value)}

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


def _is_outside(name: str) -> bool:
    """Tell whether a parameter is about a machine: its compiler, its files of torch."""
    return name in ("compile", "torch_load_kwargs") or name.startswith("compile__")


def _requests_of(value: Any) -> dict[str, dict[str, Any]]:
    """Give what was set by ``set_fit_request`` and the like, without the owner."""
    parts = vars(getattr(value, "_metadata_request", None) or object)
    return {
        method: dict(part.requests)
        for method, part in parts.items()
        if getattr(part, "requests", None)
    }


def _set_requests(value: Any, requests: dict[str, dict[str, Any]]) -> None:
    if type(value) in holders_of_estimators().values():
        # Scorers make it when they are built.
        value._metadata_request = MetadataRequest(owner=value)
    with config_context(enable_metadata_routing=True):
        for method, params in requests.items():
            if not all(
                isinstance(alias, bool | str | None) for alias in params.values()
            ):
                raise ValueError(f"it requests {params!r}")
            # That of the class, whatever the instance has under this name.
            setter = inspect.getattr_static(type(value), f"set_{method}_request")
            setter.__get__(value, type(value))(**params)


def _probe(net: BaseNet) -> np.ndarray | None:
    """Compute what a module of a user's own gives for two made-up samples.

    It may keep more than its state dict holds, and a class that is given may be another
    one of that name. None stands for a network of the package, which does not, and for
    modules that take something else.
    """
    shape = vars(net).get("sample_shape_")
    own = type(vars(net).get("module_")).__module__.startswith("skastro.")
    if not net.initialized_ or own or shape is None:
        return None
    X = torch.as_tensor(np.random.default_rng(0).uniform(size=(2, *shape)))
    try:
        outputs = [net.evaluation_step((X, X)) for _ in range(2)]
    except Exception:
        # What it needs besides X is not known here.
        return None
    first, second = (o[0] if isinstance(o, tuple) else o for o in outputs)
    if not isinstance(first, torch.Tensor) or not torch.equal(first, second):
        return None
    return first.detach().cpu().double().numpy()


class Reader:
    """Build the model that a :class:`Writer` has written."""

    def __init__(
        self,
        members: Mapping[str, bytes],
        given: Mapping[str, Any],
        device: str | torch.device | None = None,
    ) -> None:
        # Each is named once: a file cannot take more memory than its own size.
        self.members = dict(members)
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
            "callback": self._callback,
            "bunch": lambda items: Bunch(**self.read(items)),
            "partial": self._partial,
            "skops": lambda name: load_with_skops(self.members.pop(name)),
            "masked": self._masked,
            "distribution": self._distribution,
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
            if _is_outside(name)
            or (name not in parameter_names(cls) and not is_part_parameter(name))
        ]
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no parameter {', '.join(unknown)} in this version"
            )
        for name in ("module", "criterion", "optimizer"):
            self._check_factory(params.get(name))
        if self.device is not None:
            params["device"] = self.device
        if params.get("device") not in (None, "auto"):
            try:
                check_device_exists(params["device"])
            except ValueError as error:
                raise GivenError(
                    f"{error} For this file: load_model(path, device='cpu')"
                ) from None
        net = cls._with_params(params, content["given_names"])
        for name, value in content["settings"].items():
            if name in _SETTINGS:
                setattr(net, name, self.read(value))
        _set_requests(net, content["requests"])
        if content["weights"] is not None:
            self._load(net, content)
            history = self.read(content["history"])
            if type(history) is not list or {type(row) for row in history} - {dict}:
                raise ValueError("its history is no list of epochs")
            net.history_ = History(history)
            self._compare(net, content["probe"])
        return net

    def _check_factory(self, value: Any) -> None:
        """Refuse what is no class of a network, a loss or an optimizer, nor given."""
        if isinstance(value, functools.partial):
            value = value.func
        is_class = isinstance(value, type) and issubclass(value, nn.Module | Optimizer)
        is_given = any(value is one for one in self.given.values())
        if not (is_class or is_given or isinstance(value, str | nn.Module | None)):
            raise ValueError(f"{value!r} builds no network, loss or optimizer")

    def _compare(self, net: BaseNet, expected: list | None) -> None:
        """Compare a module of a user's own with what it gave when it was saved."""
        found = _probe(net)
        if expected is None or found is None:
            return
        scale = np.abs(expected).max()
        # Processors differ in the last digits.
        if not np.allclose(found, expected, rtol=0, atol=1e-3 * scale):
            raise GivenError(
                f"{type(net.module_).__name__} does not give what it gave when it was "
                "written: either another class of this name was given, or it keeps "
                "something that its state_dict does not hold, such as a buffer with "
                "persistent=False that was changed, or an attribute that the training "
                "set; let that be a buffer"
            )

    def _load(self, net: BaseNet, content: dict[str, Any]) -> None:
        names = {"params": content["weights"], **content["other_weights"]}
        files = {f"f_{part}": self.members.pop(name) for part, name in names.items()}
        # A class of the user's own may build what it wants.
        building = nullcontext() if self.given else _building([*files.values()])
        net._is_restoring = True
        try:
            with building, draw_from_seed(torch.device("cpu"), 0):
                if not net._sizes_taken():
                    net.initialize()
                for part, file in files.items():
                    net.load_params(**{part: io.BytesIO(file)}, use_safetensors=True)
        finally:
            del net._is_restoring

    def _object(self, content: dict[str, Any]) -> Any:
        cls: Any = self._class(content["class"])
        is_known = isinstance(content["class"], dict) or has_objects(cls)
        # The method __setstate__ of nets unpickles parts of the state.
        if not is_known or issubclass(cls, NeuralNet):
            raise ValueError(f"it holds a {cls.__name__}, which skastro never writes")
        value = cls.__new__(cls)
        check_names(cls, content["state"])
        state = {name: self.read(part) for name, part in content["state"].items()}
        # Parameters that came with a later version have their defaults.
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.default is not parameter.empty:
                state.setdefault(name, parameter.default)
        if hasattr(value, "__setstate__"):
            value.__setstate__(state)
        else:
            vars(value).update(state)
        check_attributes(value)
        _set_requests(value, content["requests"])
        return value

    def _callback(self, content: Any) -> Callback:
        cls = self._class(content[0])
        if not issubclass(cls, Callback):
            raise ValueError(f"{cls.__name__} is no callback")
        return cls(**self.read(content[1]))

    def _masked(self, content: Any) -> np.ma.MaskedArray:
        data, mask = self.read(content)
        if not (type(data) is type(mask) is np.ndarray and data.shape == mask.shape):
            raise ValueError("it holds a mask that is no array")
        return np.ma.MaskedArray(data, mask)

    def _distribution(self, content: Any) -> Any:
        name, args, keywords = self.read(content)
        distribution = getattr(scipy.stats, name, None)
        numbers = [*args, *keywords.values()] if type(args) is list else [None]
        if not isinstance(distribution, rv_continuous | rv_discrete) or not all(
            isinstance(number, Real) for number in numbers
        ):
            raise ValueError(f"it holds no distribution of scipy.stats: {name!r}")
        return distribution(*args, **keywords)

    def _partial(self, content: Any) -> Any:
        function, args, keywords = self.read(content)
        is_given = any(function is one for one in self.given.values())
        if not is_given or type(args) is not list or type(keywords) is not dict:
            raise ValueError(f"it calls {function!r}, which was not given")
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
