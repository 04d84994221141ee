# SPDX-License-Identifier: BSD-3-Clause
"""Trained networks in files of the package, and in others of their kind."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skastro.utils import atomic_write, draw_from_seed, suggest_name

# The entry of a safetensors header that holds everything but tensors.
_KEY = "skastro"
_WEIGHTS, _LEARNED = "module_.", "learned."


@dataclass(frozen=True)
class Pretrained:
    """Weights of a network, further learned state, and the settings of the training.

    `weights` are those of ``module_.state_dict()``, `learned` other arrays of a fitted
    estimator. `settings` are plain values for JSON: the ``parameters`` that the weights
    require, the ``target_shape`` of a sample, and more.
    """

    weights: dict[str, torch.Tensor]
    learned: dict[str, torch.Tensor]
    settings: dict[str, Any]

    def save(self, path: str | os.PathLike) -> None:
        """Write a safetensors file, which appears when it is complete."""
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
        """Read a file that :meth:`save` has written."""
        try:
            with safe_open(path, framework="pt") as file:
                content = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            damaged = _digest(tensors) != content["sha256"]
            reason = "its checksum is wrong"
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            damaged, reason = True, f"{type(error).__name__}: {error}"
        if damaged:
            raise ValueError(
                f"The pretrained weights in {path} are missing or damaged ({reason}). "
                "Install skastro again, or fetch the file again."
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
        self,
        estimator_class: type,
        parameters: dict[str, Any],
        shape: tuple[int, ...],
        state: Mapping[str, Any] | None = None,
    ) -> Any:
        """Make an estimator with these weights for samples of this shape.

        `state` is learned state that the sizes depend on; the caller sets the rest.
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
        vars(estimator).update(state or {})
        estimator.sample_shape_ = shape
        estimator.n_features_in_ = shape[0]
        estimator.target_shape_ = tuple(self.settings["target_shape"])
        estimator.target_dtype_ = np.dtype(np.float32)
        estimator.module_sizes_ = {
            **estimator._infer_sizes(shape),
            **estimator._infer_output_size(None),
        }
        # The random weights are replaced below.
        device = torch.device(estimator.device or "cpu")
        with draw_from_seed(device, 0):
            estimator.initialize()
        estimator.module_.load_state_dict(self.weights)
        return estimator


def find_pretrained(
    name: str, known: Sequence[str], owner: str, package: str
) -> Pretrained:
    """Read weights that lie in the folder ``pretrained`` of a package.

    `owner` is the estimator, for messages.
    """
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"{owner} has no pretrained weights {name!r}, and there is no such file. "
            f"{suggest_name(name, known)}"
        )
    with as_file(files(package) / "pretrained" / f"{name}.safetensors") as path:
        return Pretrained.read(path)


def is_pretrained(file: Path) -> bool:
    """Tell whether :meth:`Pretrained.save` wrote a file."""
    if file.suffix.lower() != ".safetensors":
        return False
    try:
        with safe_open(file, framework="pt") as opened:
            return _KEY in (opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{file} is no file of safetensors, or is damaged: {error}."
        ) from error


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
