# SPDX-License-Identifier: BSD-3-Clause
"""Trained backbones: their files, and networks but for their heads."""

import json
import os
from collections.abc import Mapping
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from skastro._compat import Interval
from skastro.base._source import find_file
from skastro.base._state import decode
from skastro.base._weight_names import (
    Weights,
    find_head,
    first_convolution,
    missing_from,
    name_as_in,
    say_network,
    state_but_head,
)
from skastro.utils import TooLargeError, load_tensors, read_archive, read_bytes

# Of the parameters of the estimators that start from a backbone.
BACKBONE_CONSTRAINTS: dict[str, list] = {
    "backbone": [None, str, os.PathLike],
    "backbone_lr": [None, Interval(Real, 0, None, closed="left")],
}
MODEL_SUFFIX = ".skastro"
# Under which a checkpoint of a whole training keeps the weights.
_NESTED = ("state_dict", "model_state_dict", "model")
# How the few lines begin that stand for a file which git has not fetched.
_LFS_POINTER = b"version https://git-lfs"
# Names that a message lists at most.
_LISTED = 5


def read_weights(source: str | os.PathLike, verbose: int = 1) -> Weights:
    """Read the tensors of a checkpoint by name, onto the CPU.

    `source` is a path, or an address with a checksum. The file is one of safetensors,
    named so, one of :func:`~skastro.save_model`, named ``.skastro``, that holds one
    network, or one written by :func:`torch.save` that holds tensors by name, at the top
    or as ``state_dict``, ``model_state_dict`` or ``model``. Nothing in it can run code.
    """
    file = find_file(source, verbose)
    with file.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ValueError(
                f"{file} is not the file of weights, but a pointer of Git LFS to it; "
                "fetch it by 'git lfs pull'."
            )
    weights = _tensors_of(_read(file), file)
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"{file} holds NaN or infinity in {name!r}: the weights diverged in "
                "training, or the file is damaged."
            )
    return weights


def _read(file: Path) -> Any:
    if file.suffix.lower() == MODEL_SUFFIX:
        net, members = _read_net(file)
        return load(members[net["weights"]])
    if file.suffix.lower() == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file} is no file of safetensors, or is damaged: {error}."
            ) from error
    try:
        return load_tensors(file)
    except TooLargeError:
        raise
    # Damaged bytes make an unpickler raise anything.
    except Exception as error:
        raise ValueError(
            f"{file} cannot be read as weights. It is damaged, or it holds objects "
            "other than tensors, which are not loaded because they can run code; save "
            "the tensors alone, by torch.save(network.state_dict(), path). "
            f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
        ) from error


def _read_net(file: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the estimator in a file of save_model."""
    members = read_archive(read_bytes(file).getvalue())
    model = json.loads(members["model.json"])["model"]
    if "net" not in model:
        raise ValueError(
            f"{file} holds more than a network: its other steps would be lost, and the "
            "weights would get numbers of another scale. Open it by load_model, and "
            "save the estimator whose weights to start from by itself."
        )
    return model["net"], members


def module_in_model_file(file: Path) -> dict[str, Any]:
    """Read which network the estimator in a file of save_model has."""
    parameters = _read_net(file)[0]["parameters"]
    names = [n for n in parameters if n == "module" or n.startswith("module__")]
    return {name: decode(parameters[name]) for name in names}


def _tensors_of(content: Any, file: Path) -> Weights:
    """Find the named tensors in what a file holds."""
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{file} holds {type(content).__name__} instead of tensors by name; save "
            "network.state_dict()."
        )
    odd = [
        k
        for k, v in content.items()
        if not (isinstance(k, str) and isinstance(v, Tensor))
    ]
    if odd:
        raise ValueError(
            f"{file} holds more than tensors by name: "
            f"{_listed(map(repr, odd), len(odd))}. "
            "Save network.state_dict(), at the top or under the key 'state_dict'."
        )
    return dict(content)


def all_but_head(module: nn.Module) -> dict[str, nn.Parameter]:
    """Find the weights of the backbone by name."""
    name, _ = find_head(module)
    return {
        key: weight
        for key, weight in module.named_parameters()
        if not key.startswith(name + ".")
    }


def load_all_but_head(
    module: nn.Module, weights: Weights, source: str | os.PathLike, ndim: int
) -> None:
    """Put weights into a network, and leave its last layer as it is.

    A first convolution that reads colors is taken for a network of images with other
    bands: its weights are summed over the colors and shared out among the bands, which
    is what it does to an image whose colors, or bands, are all the same. `source` is
    where the weights are from, for messages, and `ndim` the number of axes that the
    network convolves over.
    """
    own = state_but_head(module)
    given = name_as_in(module, weights, source)
    given = _fit_channels(module, own, given, source)
    missing = missing_from(own, given)
    unexpected = [name for name in given if name not in own]
    differing = [
        f"{name!r} has shape {tuple(given[name].shape)} in the file and "
        f"{tuple(value.shape)} in the network"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    if missing or unexpected or differing:
        problems = [
            f"{label} {_listed(names, len(names))}"
            for label, names in (
                ("different shapes:", differing),
                ("missing in the file:", list(map(repr, missing))),
                ("unknown to the network:", list(map(repr, unexpected))),
            )
            if names
        ]
        raise ValueError(
            f"The weights in {source} do not fit the network {type(module).__name__}; "
            f"{'; '.join(problems)}. {say_network(weights, ndim)}"
        )
    module.load_state_dict(given, strict=False)


def _fit_channels(
    module: nn.Module, own: Weights, given: Weights, source: str | os.PathLike
) -> Weights:
    """Let a network take the first convolution of one for other channels."""
    name = first_convolution(module)
    if name not in own or name not in given:
        return given
    there, here = given[name].shape, own[name].shape
    same_but_channels = len(there) == len(here) and there[:1] + there[2:] == (
        here[:1] + here[2:]
    )
    if there == here or not same_but_channels:
        return given
    if here[1] != 1 and len(here) < 4:
        raise ValueError(
            f"The weights in {source} are for {there[1]} channels and the network is "
            f"to read {here[1]}: {name!r} has shape {tuple(there)} in the file and "
            f"{tuple(here)} in the network. Choose {there[1]} channels of X."
            + (" Or one, whose weights are summed." if there[1] > 1 else "")
        )
    shares = given[name].sum(dim=1, keepdim=True) / here[1]
    return {**given, name: shares.expand(here).contiguous()}


def _listed(names: Any, n_names: int) -> str:
    more = n_names - _LISTED
    return ", ".join(islice(names, _LISTED)) + (f" and {more} more" * (more > 0))
