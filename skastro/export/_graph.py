# SPDX-License-Identifier: BSD-3-Clause
"""Pipelines and ensembles as one module of torch, or an error that names the step."""

from collections.abc import Iterable
from typing import Any

import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from skastro.base import BaseClassifier, BaseNet, BaseRegressor
from skastro.estimators import (
    EnsembleClassifier,
    EnsembleRegressor,
    GalaxyRegressor,
    RedshiftRegressor,
    RejectingClassifier,
    VAETransformer,
)
from skastro.export._outputs import (
    Decoded,
    Fractions,
    Latent,
    Numbers,
    Outputs,
    Probabilities,
    Reconstructed,
    Redshifts,
)
from skastro.export._steps import STEPS, CropPad, Step
from skastro.preprocessing import RebinSpectra
from skastro.preprocessing._collect_spectra import SpectraBlock

_OF_TRANSFORMER: dict[str, type[Outputs]] = {
    "transform": Latent,
    "inverse_transform": Decoded,
    "reconstruct": Reconstructed,
}
# What a subclass of the user's may not compute in its own way, outside of the module.
_FIXED = ("predict", "predict_proba", "_unscale", "_restore_target", "transform")


class Chain(Step):
    """Steps one after the other; NaN for samples that one of them does not take."""

    takes_infinity = True

    def __init__(self, steps: Iterable[Any]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        first = next(step for step in self.steps if not isinstance(step, CropPad))
        self.takes_nan = first.takes_nan
        self.takes_bytes = all(step.takes_bytes for step in self.steps)
        self.gives_nan = self.steps[-1].gives_nan
        # Of what the last step gives.
        self.names: tuple[str, ...] = self.steps[-1].names
        self.module_name: str = self.steps[-1].module_name

    def forward(self, x: Tensor) -> Any:
        """Compute the outputs of the last step."""
        lost: Any = 0.0
        for step in self.steps:
            lost = lost + _lost(x, step)
            x = step(x)
        if isinstance(x, tuple):
            return tuple(_add(part, lost) for part in x)
        return _add(x, lost)


class Mean(Step):
    """The mean of what the members of an ensemble give."""

    takes_infinity = True

    def __init__(self, members: list[Chain]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.takes_nan = members[0].takes_nan
        self.takes_bytes = members[0].takes_bytes
        self.gives_nan = members[0].gives_nan
        # Error bars of members do not average.
        self.names = members[0].names[:1]
        self.module_name = members[0].module_name

    def forward(self, x: Tensor) -> Tensor:
        """Compute the mean."""
        parts = [member(x) for member in self.members]
        parts = [part[0] if isinstance(part, tuple) else part for part in parts]
        return torch.stack(parts).mean(0)


def _lost(x: Tensor, step: Any) -> Any:
    """Give NaN for samples that a step does not take, else 0."""
    if not x.is_floating_point() or step.takes_infinity:
        return 0.0
    if step.takes_nan:
        x = torch.where(x.isnan(), 0.0, x)
    return (x * 0).flatten(1).sum(1)


def _add(values: Tensor, lost: Any) -> Tensor:
    if not isinstance(lost, Tensor):
        return values
    return values + lost.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))


def passes_by(step: Any) -> bool:
    """Tell whether predictions pass by a step of a pipeline; samplers act in fit."""
    return step in (None, "passthrough") or hasattr(step, "fit_resample")


def build_chain(
    model: Any, method: str | None, block: SpectraBlock, name: str = "the estimator"
) -> tuple[Chain, str]:
    """Build the module of an estimator's method, and tell which method it is.

    The block tells the wavelengths of the samples, where they are stated.
    """
    if isinstance(model, Pipeline):
        steps: list[Step] = []
        for key, step in model.steps[:-1]:
            if passes_by(step):
                continue
            if type(step) not in STEPS:
                known = ", ".join(cls.__name__ for cls in STEPS)
                raise _refusal(step, f"the step {key!r}", f"of the steps {known}")
            if isinstance(step, RebinSpectra):
                step = step._bind(SpectraBlock(None) if steps else block)
            steps.append(STEPS[type(step)](step))
        key, last = model.steps[-1]
        if steps:
            block = SpectraBlock(None)
        chain, method = build_chain(last, method, block, f"the last step {key!r}")
        if steps and method in ("inverse_transform", "reconstruct"):
            raise ValueError(
                f"A pipeline has no method {method!r}: give its last step alone."
            )
        return Chain([*steps, *chain.steps]), method
    if isinstance(model, RejectingClassifier):
        if model.confidence != "probability":
            raise ValueError(
                "RejectingClassifier(confidence='score_samples') compares samples with "
                "those of the training, which a graph does not hold: export its "
                "estimator_, or fit with confidence='probability'."
            )
        return build_chain(model.estimator_, method, block, "estimator_")
    if isinstance(model, EnsembleClassifier | EnsembleRegressor):
        built = [
            build_chain(member, method, block, "a member")
            for member in model.estimators_
        ]
        return Chain([Mean([chain for chain, _ in built])]), built[0][1]
    if not isinstance(model, BaseNet):
        raise _refusal(model, name, "of skastro's estimators")
    outputs = _outputs_of(model)
    method = next(iter(outputs)) if method is None else method
    if method not in outputs:
        raise ValueError(
            f"method must be one of {list(outputs)} for {type(model).__name__}, but is "
            f"{method!r}."
        )
    return Chain([outputs[method](model)]), method


def _outputs_of(net: BaseNet) -> dict[str, type[Outputs]]:
    """List the methods of which there are graphs, or refuse the net."""
    kind = type(net).__name__
    for method in _FIXED:
        owners = [cls for cls in type(net).__mro__ if method in vars(cls)]
        if owners and not owners[0].__module__.startswith(("skastro.", "skorch.")):
            raise ValueError(
                f"{owners[0].__name__}.{method} is code of its own, which a graph "
                f"cannot hold: export the estimator that {kind} derives from, or let "
                "the module compute it."
            )
    if net.get_params(deep=False).get("refine"):
        raise ValueError(
            f"{kind}(refine=True) fits each sample after its network, which a graph "
            "cannot hold: export one with refine=False, which gives what the network "
            "alone finds."
        )
    if isinstance(net, BaseClassifier):
        return {"predict_proba": Probabilities}
    if isinstance(net, RedshiftRegressor):
        return {"predict": Redshifts}
    if isinstance(net, GalaxyRegressor) and net._gives_errors:
        return {"predict": Fractions}
    if isinstance(net, BaseRegressor):
        return {"predict": Numbers}
    if isinstance(net, VAETransformer):
        return _OF_TRANSFORMER
    raise _refusal(net, "the estimator", "of skastro's estimators")


def _refusal(step: Any, where: str, known: str) -> TypeError:
    return TypeError(
        f"{type(step).__name__}, {where}, cannot be exported: there are graphs "
        f"{known}. Apply it before, and export the rest."
    )
