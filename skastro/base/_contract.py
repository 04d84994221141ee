# SPDX-License-Identifier: BSD-3-Clause
"""The parameters' side of the strict net: names, values, the device, pickling."""

from functools import cache
from typing import Any, ClassVar, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import validate_parameter_constraints
from skorch import NeuralNet
from skorch.utils import params_for

from skastro.base._constraints import SHARED_CONSTRAINTS
from skastro.base._parameters import (
    CATCH_ALL,
    PARTS,
    is_part_parameter,
    signature_names,
    suggest,
    unknown_name,
)


# Asked several times a batch.
@cache
def _fastest_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class ParameterContract(NeuralNet):
    """Parameters as scikit-learn wants them, on a skorch net.

    Only the names of the signature and ``part__name`` extras are parameters, nothing
    else is set before ``fit``, and unknown names are refused with a suggestion.
    """

    # skorch collects these while __init__ and initialize run. Declared here, they are
    # no instance attributes, and __init__ sets nothing but parameters.
    prefixes_: ClassVar = list(PARTS)
    cuda_dependent_attributes_: ClassVar = ["module_", "criterion_", "optimizer_"]
    _modules: ClassVar = ["module"]
    _criteria: ClassVar = ["criterion"]
    _optimizers: ClassVar = ["optimizer"]
    history_ = None
    initialized_ = False
    virtual_params_: ClassVar = {}

    _parameter_constraints: ClassVar[dict] = SHARED_CONSTRAINTS

    def _set_init_params(self, arguments: dict[str, Any]) -> None:
        """Store what ``__init__`` was called with, given its ``locals()``."""
        extras = arguments[CATCH_ALL]
        for name in extras:
            if (problem := unknown_name(self, name)) is not None:
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected parameter {name!r}: "
                    f"{problem}"
                )
        for name in signature_names(type(self)):
            setattr(self, name, arguments[name])
        for name, value in extras.items():
            setattr(self, name, value)

    # skorch keeps module__width among the attributes. scikit-learn counts attributes
    # that are not in the signature as set in __init__, so they live in a dict here.

    @property
    def _extras(self) -> dict[str, Any]:
        return vars(self).get("_part_params", {})

    def __setattr__(self, name: str, value: Any) -> None:
        """Store a parameter of a part with its likes, anything else as skorch does."""
        if is_part_parameter(name):
            vars(self)["_part_params"] = {**self._extras, name: value}
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Find the parameters of parts."""
        try:
            return self._extras[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            ) from None

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        return params_for(prefix, self._extras)

    def _get_param_names(self) -> list[str]:
        extras = [name for name in self._extras if name != CATCH_ALL]
        return [*signature_names(type(self)), *sorted(extras)]

    @property
    def _params_to_validate(self) -> set[str]:
        return {name for name in self._get_param_names() if "__" in name}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Also the parameters of the default callbacks, as ``callbacks__name__...``.

        Returns
        -------
        params : dict
            Names and values.
        """
        stored = {**vars(self), **self._extras}
        params = {name: stored[name] for name in self._get_param_names()}
        return {**self._get_params_callbacks(deep=deep), **params}

    def _get_params_callbacks(self, deep: bool = True) -> dict[str, Any]:
        # Fresh callbacks in place of the fitted ones, so that fit changes no parameter.
        params = {}
        for name, callback in self.get_default_callbacks() if deep else []:
            params[f"callbacks__{name}"] = callback
            for key, value in callback.get_params().items():
                params[f"callbacks__{name}__{key}"] = value
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the parts included.

        On an initialized net new parameters of the module, the criterion or the
        callbacks build that part anew at once, and those of the optimizer change it,
        as in skorch.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        for name in params:
            if (problem := unknown_name(self, name)) is not None:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}: "
                    f"{problem}"
                )
        stored = {
            name: value
            for name, value in params.items()
            if name.split("__")[0] == "callbacks" or name == CATCH_ALL
        }
        for name, value in stored.items():
            setattr(self, name, value)
        if stored and self.initialized_:
            self._initialize_callbacks()
        super().set_params(**{k: v for k, v in params.items() if k not in stored})
        return self

    def _validate_params(self) -> None:
        if CATCH_ALL in self._extras:
            raise TypeError(
                f"{type(self).__name__} has no parameter {CATCH_ALL!r}: "
                f"{suggest(CATCH_ALL, signature_names(type(self)))}"
            )
        constraints = {
            name: constraint
            for name, constraint in self._parameter_constraints.items()
            if name in signature_names(type(self))
        }
        validate_parameter_constraints(
            constraints, self.get_params(deep=False), caller_name=type(self).__name__
        )
        if self.device is not None:
            self._check_device_exists()
        super()._validate_params()

    def _check_device_exists(self) -> None:
        advice = "Take device='auto' to use what there is, or device='cpu'."
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(
                f"device={self.device!r} is no device that torch knows. {advice}"
            ) from error
        n_devices = torch.cuda.device_count()
        if device.type == "cuda" and (device.index or 0) >= n_devices:
            raise ValueError(
                f"device={str(self.device)!r} was asked for, but torch sees "
                f"{n_devices} CUDA devices. {advice}"
            )

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Show the parameters that differ from their defaults."""
        return BaseEstimator.__repr__(self, N_CHAR_MAX=N_CHAR_MAX)

    def __sklearn_clone__(self) -> Self:
        """Clone the parameters only; a net under training stays out of it."""
        return BaseEstimator.__sklearn_clone__(self)

    @property
    def device(self) -> Any:
        """The device in use: what ``"auto"`` stands for on this machine."""
        device = vars(self)["device"]
        return _fastest_device() if device == "auto" else device

    @device.setter
    def device(self, value: Any) -> None:
        vars(self)["device"] = value

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a pickled net; with ``device="auto"``, on what this machine has."""
        requested = state["device"]
        if requested == "auto":
            vars(self)["device"] = "auto"
            state = {**state, "device": self.device}
        super().__setstate__(state)
        if requested == "auto":
            vars(self)["device"] = "auto"
