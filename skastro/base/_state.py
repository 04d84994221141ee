# SPDX-License-Identifier: BSD-3-Clause
"""Learned state beside a module's weights, in the files that hold these.

The state is text (JSON, arrays in base64): a file runs no code when it is read. In
torch's format it stands in the metadata of the state dict, in safetensors in those of
the header. A plain torch module reads the weights and passes over it.
"""

import base64
import io
import json
import math
import os
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from astropy import units
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from skastro.utils import TooLargeError, load_tensors

_KEY = "skastro_state"
_LONGEST_RANGE = 10**6
# Astropy would compute the number that a large power makes.
_LARGE_POWER = re.compile(r"[A-Za-z*^(]\s*[-+]?\d{4}")


def encode_state(
    owner: str,
    kind: str | None,
    state: dict[str, Any],
    measured: Iterable[str] = (),
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Write plain values as text; TypeError for what is not plain."""
    state = {name: encode(value, f"{owner}.{name}") for name, value in state.items()}
    content = {"class": owner, "kind": kind, "state": {"dict": state}}
    parts = {"measured": list(measured), "arguments": dict(arguments)}
    return json.dumps({**content, **{k: encode(v, k) for k, v in parts.items()}})


def decode_state(text: str) -> dict[str, Any]:
    """Read what ``encode_state`` wrote."""
    return {name: decode(value) for name, value in json.loads(text).items()}


def _refuse(value: Any, path: str) -> Any:
    raise TypeError(
        f"{path} is a {type(value).__name__}, which save_params cannot write. Numbers, "
        "text, arrays, tensors, and tuples, lists and dicts of them can be written: "
        "override _fitted_state and _restore_fitted_state to convert it, or pickle the "
        "estimator."
    )


def _is_unknown(kind: str, content: Any) -> Any:
    raise ValueError(f"The file holds a value of the unknown kind {kind!r}.")


def encode(
    value: Any, path: str, other: Callable[[Any, str], dict[str, Any]] = _refuse
) -> Any:
    """Turn a value into what JSON can hold; `other` does so for what is not plain.

    `path` says in messages where the value stands.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor) and value.layout is torch.strided:
        value = value.detach().cpu()
        if value.dtype is torch.bfloat16:
            return {"bfloat16": encode(value.float().numpy(), path)}
        return {"tensor": encode(value.numpy(), path)}
    if isinstance(value, np.dtype) and value.names is None and not value.hasobject:
        return {"dtype": value.str}
    if isinstance(value, np.generic):
        return {"scalar": encode(np.asarray(value), path)}
    if type(value) in (np.ndarray, np.memmap):
        if value.dtype == object:
            items = [
                encode(v, f"{path}[{i}]", other) for i, v in enumerate(value.ravel())
            ]
            return {"objects": items, "shape": list(value.shape)}
        if value.dtype.names is None:
            data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
            return {"array": data, "dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, units.UnitBase):
        return {"unit": value.to_string()}
    if isinstance(value, units.Quantity):
        return {"quantity": [encode(np.asarray(value.value), path), str(value.unit)]}
    if isinstance(value, slice | range):
        ends = [value.start, value.stop, value.step]
        return {type(value).__name__: [encode(end, path) for end in ends]}
    if type(value) in (list, tuple, set):
        items = [encode(item, f"{path}[{i}]", other) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    if type(value) is dict:
        parts = {k: encode(v, f"{path}[{k!r}]", other) for k, v in value.items()}
        if all(type(name) is str for name in parts):
            return {"dict": parts}
        return {"pairs": [[encode(k, path, other), v] for k, v in parts.items()]}
    return other(value, path)


def decode(value: Any, other: Callable[[str, Any], Any] = _is_unknown) -> Any:
    """Read what ``encode`` gave; `other` does so for kinds that are not plain."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        array = np.frombuffer(base64.b64decode(value["array"]), value["dtype"])
        return array.reshape(value["shape"]).copy()
    if "objects" in value:
        array = np.empty(len(value["objects"]), dtype=object)
        for i, item in enumerate(value["objects"]):
            array[i] = decode(item, other)
        return array.reshape(value["shape"])
    ((kind, content),) = value.items()
    match kind:
        case "tensor":
            return torch.from_numpy(decode(content))
        case "bfloat16":
            return torch.from_numpy(decode(content)).bfloat16()
        case "scalar":
            return decode(content)[()]
        case "dtype":
            return np.dtype(content)
        case "dict":
            return {name: decode(item, other) for name, item in content.items()}
        case "pairs":
            return {decode(name, other): decode(item, other) for name, item in content}
        case "unit":
            return _unit(content)
        case "quantity":
            value = decode(content[0])
            if not isinstance(value, np.ndarray | float | int):
                raise ValueError("the file holds a quantity that is no array")
            return units.Quantity(value, _unit(content[1]))
        case "slice":
            return slice(*map(decode, content))
        case "range":
            values = range(*map(decode, content))
            if len(values) > _LONGEST_RANGE:
                raise ValueError(f"the file holds {values}")
            return values
        case "list" | "tuple" | "set":
            items = [decode(item, other) for item in content]
            return {"list": list, "tuple": tuple, "set": set}[kind](items)
    return other(kind, content)


def _unit(text: str) -> units.UnitBase:
    if _LARGE_POWER.search(text):
        raise ValueError(f"{text[:40]!r} is no unit")
    return units.Unit(text)


class ModuleWithState:
    """A module whose state dict carries learned state, for skorch to write."""

    def __init__(self, module: torch.nn.Module, text: str) -> None:
        self.module = module
        self.text = text

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, with the state in the metadata."""
        weights = self.module.state_dict()
        weights._metadata[_KEY] = self.text
        return weights


def add_state_to_safetensors(content: bytes, text: str) -> bytes:
    """Put learned state into the header."""
    return save_safetensors(load_safetensors(content), metadata={_KEY: text})


def module_as_safetensors(module: torch.nn.Module, path: str, text: str = "") -> bytes:
    """Write the weights of a module, with learned state in the header.

    Weights that layers share are written for each of them.
    """
    tensors = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"{path} has a {type(value).__name__} as {name!r} in its state_dict, "
                "which holds more than tensors; let it be a buffer."
            )
        # The order of the axes in memory is that of their numbers.
        tensors[name] = (
            value.detach().cpu().clone(memory_format=torch.contiguous_format)
        )
    return save_safetensors(tensors, metadata={_KEY: text} if text else None)


def state_in_file(
    file: Any, use_safetensors: bool, torch_load_kwargs: dict[str, Any] | None
) -> tuple[str | None, int]:
    """Look for learned state in a file, and count the numbers of its weights.

    None stands for a file without it. A damaged file raises ValueError.
    """
    if file is None:
        return None, 0
    try:
        if isinstance(file, str | os.PathLike):
            with open(file, "rb") as opened:
                content = opened.read()
        else:
            start = file.tell()
            content = file.read()
            file.seek(start)
        if use_safetensors:
            # The header's length, then the header, as JSON.
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            text = header.pop("__metadata__", {}).get(_KEY)
            return text, sum(math.prod(entry["shape"]) for entry in header.values())
        weights = load_tensors(io.BytesIO(content), **(torch_load_kwargs or {}))
        text = getattr(weights, "_metadata", {}).get(_KEY)
        if text is None:
            # Objects of a user's own, whatever they are.
            return None, 0
        # There may be "extra state" of modules beside the tensors.
        tensors = (w for w in weights.values() if isinstance(w, torch.Tensor))
        return text, sum(map(torch.numel, tensors))
    except (OSError, TooLargeError):
        raise
    except (
        *(RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError),
        pickle.PickleError,
    ) as error:
        name = getattr(file, "name", "The file") if hasattr(file, "read") else file
        kind = "safetensors" if use_safetensors else "torch"
        raise ValueError(
            f"{name} is damaged, or no file of weights in the format of {kind}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
