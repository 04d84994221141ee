# SPDX-License-Identifier: BSD-3-Clause
"""Classes and functions that a file may name, and nothing else."""

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from skorch.utils import noop, to_numpy

from skastro._compat import holders_of_estimators

# Packages by the root of a class's module. What they offer under a public name, and
# have defined themselves, can be named; importing them has no side effects.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "skastro": (
        *("skastro", "skastro.augmentation", "skastro.base", "skastro.networks"),
        *("skastro.sevi", "skastro.training"),
    ),
    "skorch": ("skorch.callbacks", "skorch.dataset"),
    # Losses, optimizers, and what gives batches.
    "torch": ("torch.nn", "torch.optim", "torch.utils.data"),
    "imblearn": (
        "imblearn",
        *(
            f"imblearn.{name}"
            for name in ("combine", "ensemble", "over_sampling", "pipeline")
        ),
        "imblearn.under_sampling",
    ),
    "sklearn": tuple(
        f"sklearn.{name}"
        for name in (
            *("calibration", "cluster", "compose", "covariance", "cross_decomposition"),
            *("decomposition", "discriminant_analysis", "dummy", "ensemble"),
            *("feature_extraction", "feature_selection", "frozen", "gaussian_process"),
            *("impute", "isotonic", "kernel_approximation", "kernel_ridge"),
            *("linear_model", "manifold", "mixture", "model_selection", "multiclass"),
            *("multioutput", "naive_bayes", "neighbors", "neural_network", "pipeline"),
            *("preprocessing", "random_projection", "semi_supervised", "svm", "tree"),
        )
    ),
}
# Callbacks that read and write files, or talk to other programs: whoever opens a file
# gives them.
_OUTWARD = {
    *("Checkpoint", "LoadInitState", "TrainEndCheckpoint", "TensorBoard"),
    *("MlflowLogger", "NeptuneLogger", "SacredLogger", "WandbLogger"),
}
# Networks of torch itself are built without a limit.
_OF_TORCH = ("torch.nn.modules.loss.", "torch.optim.", "torch.utils.data.dataloader.")
# The functions that can be named: defaults of callbacks and splits of skorch.
_FUNCTIONS = {
    "builtins.print": print,
    "skorch.utils.noop": noop,
    "skorch.utils.to_numpy": to_numpy,
}
# Of these packages files hold whole objects; of others only the names of classes.
_WITH_OBJECTS = ("skastro", "skorch", "imblearn", "sklearn")


def root_of(value: Any) -> str:
    """Name the package that a class or function comes from."""
    return (getattr(value, "__module__", None) or "").split(".")[0]


def public_name(value: Any) -> str | None:
    """Give the public name of a class or function; None if it has none."""
    name = getattr(value, "__name__", None)
    for full, known in {**_FUNCTIONS, **holders_of_estimators()}.items():
        if value is known:
            return full
    if not isinstance(value, type):
        return None
    for package in _PACKAGES.get(root_of(value), ()):
        # A module that is named is loaded here only if the value comes from it.
        if name and _belongs(value, package) and _find(package, name) is value:
            return f"{package}.{name}"
    return None


def has_objects(cls: type) -> bool:
    """Tell whether instances of a class can be written."""
    return root_of(cls) in _WITH_OBJECTS and public_name(cls) is not None


def find_public(name: str) -> Any:
    """Find a class or function by its public name; ValueError if there is none."""
    known = {**_FUNCTIONS, **holders_of_estimators()}
    if name in known:
        return known[name]
    package, _, last = name.rpartition(".")
    root = package.split(".")[0]
    if package in _PACKAGES.get(root, ()) and not last.startswith("_"):
        value = _find(package, last)
        if isinstance(value, type) and root_of(value) == root:
            return value
    raise ValueError(
        f"{name!r} is nothing that this version of skastro and of the packages beneath "
        "can build"
    )


def check_names(cls: type, names: Iterable[str]) -> None:
    """Refuse attributes of instances that would hide what a class defines."""
    for name in names:
        known = inspect.getattr_static(cls, name, None)
        if name.startswith("__") or hasattr(known, "__get__"):
            raise ValueError(
                f"it sets {name!r}, which is no attribute of a fitted model"
            )


def _belongs(value: Any, package: str) -> bool:
    root, _, part = package.partition(".")
    return root != "sklearn" or value.__module__.split(".")[1:2] == [part]


def _find(package: str, name: str) -> Any:
    value = getattr(importlib.import_module(package), name, None)
    origin = f"{getattr(value, '__module__', '')}."
    is_odd = root_of(value) == "torch" and not origin.startswith(_OF_TORCH)
    return None if is_odd or name in _OUTWARD else value
