# SPDX-License-Identifier: BSD-3-Clause
"""Trained networks in files that the package carries."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skastro.base._random import torch_generator
from skastro.utils import atomic_write

# The entry of a safetensors header that holds everything but tensors.
_KEY = "skastro"
_WEIGHTS, _LEARNED = "module_.", "learned."


@dataclass(frozen=True)
class Pretrained:
    """Weights of a network, what was learned beside them, and how they came to be.

    Parameters
    ----------
    weights : dict of str to Tensor
        The network's, by their names in ``module_.state_dict()``.
    learned : dict of str to Tensor
        Other numbers that belong to a fitted estimator.
    settings : dict
        What JSON can hold. ``parameters``: those of the estimator which the weights
        ask for; ``target_shape``: that of a sample's target; whatever else.
    """

    weights: dict[str, torch.Tensor]
    learned: dict[str, torch.Tensor]
    settings: dict[str, Any]

    def save(self, path: str | os.PathLike) -> None:
        """Write a file of safetensors.

        Parameters
        ----------
        path : str or path-like
            The file; it appears once it is complete.
        """
        tensors = {
            prefix + name: value.detach().cpu().contiguous()
            for prefix, group in ((_WEIGHTS, self.weights), (_LEARNED, self.learned))
            for name, value in group.items()
        }
        content = {"settings": self.settings, "sha256": _digest(tensors)}
        with atomic_write(path, "wb") as file:
            file.write(save(tensors, metadata={_KEY: json.dumps(content)}))

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Pretrained":
        """Read what :meth:`save` has written.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        pretrained : Pretrained
            With tensors on the CPU.

        Raises
        ------
        ValueError
            If the file is missing, damaged, or another.
        """
        try:
            with safe_open(path, framework="pt") as file:
                content = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            damaged = _digest(tensors) != content["sha256"]
            reason = "its content is not what was written"
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            damaged, reason = True, f"{type(error).__name__}: {error}"
        if damaged:
            raise ValueError(
                f"The pretrained weights in {path} are missing or damaged ({reason}). "
                "Install skastro again."
            )
        weights, learned = (
            {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
            for prefix in (_WEIGHTS, _LEARNED)
        )
        return cls(weights, learned, content["settings"])

    def build(
        self, estimator_class: type, parameters: dict[str, Any], shape: tuple[int, ...]
    ) -> Any:
        """Make an estimator with these weights.

        Parameters
        ----------
        estimator_class : type
            A strict regressor.
        parameters : dict
            Those of its constructor that differ from their defaults.
        shape : tuple of int
            Shape of one sample in X.

        Returns
        -------
        estimator : object
            Fitted, but for what was learned beside the weights.

        Raises
        ------
        ValueError
            If the weights are for other parameters.
        TypeError
            If there is no such parameter.
        """
        fixed = self.settings["parameters"]
        for name, value in parameters.items():
            if name.startswith("module__") or (name in fixed and value != fixed[name]):
                asked = ", ".join(f"{key}={needed!r}" for key, needed in fixed.items())
                raise ValueError(
                    f"{name}={value!r} contradicts the pretrained weights, which are "
                    f"for {asked}. Leave it out, or fit a network of your own."
                )
        estimator = estimator_class(**(fixed | parameters))
        estimator._validate_params()
        estimator.sample_shape_ = shape
        estimator.n_features_in_ = shape[0]
        estimator.target_shape_ = tuple(self.settings["target_shape"])
        estimator._predicted_dtype = np.float32
        estimator.module_sizes_ = {
            **estimator._infer_sizes(shape),
            **estimator._infer_output_size(None),
        }
        # The weights that are drawn here are thrown away.
        with torch_generator(torch.device(estimator.device or "cpu"), 0):
            estimator.initialize()
        estimator.module_.load_state_dict(self.weights)
        return estimator


def find_pretrained(name: str, known: Sequence[str], owner: str) -> Pretrained:
    """Read pretrained weights that the package carries.

    Parameters
    ----------
    name : str
        Such as ``"sevi-1shell"``.
    known : sequence of str
        The names that there are for the estimator.
    owner : str
        The estimator, for messages.

    Returns
    -------
    pretrained : Pretrained
        What the file holds.

    Raises
    ------
    ValueError
        If the name is unknown, or the file damaged.
    """
    if not isinstance(name, str) or name not in known:
        message = f"{owner} has no pretrained weights {name!r}."
        if close := get_close_matches(str(name).lower(), known, n=1):
            message += f" Did you mean {close[0]!r}?"
        raise ValueError(f"{message} Known: {', '.join(map(repr, known)) or 'none'}.")
    with as_file(files("skastro") / "pretrained" / f"{name}.safetensors") as path:
        return Pretrained.read(path)


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
