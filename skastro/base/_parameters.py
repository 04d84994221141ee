# SPDX-License-Identifier: BSD-3-Clause
"""Parameters: which names an estimator takes, which values, and how to refuse others.

The names are those of the signature of ``__init__``, and, where that passes
``**kwargs`` to the ``__init__`` of its base, those of the base as well.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from numbers import Integral, Real
from typing import Any

import torch
from torch.nn.modules import loss

from skastro import training
from skastro._compat import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_as_skorch,
    validate_parameter_constraints,
)
from skastro.augmentation import AUGMENTATIONS
from skastro.utils import suggest_name

# The parts of a skorch net whose own parameters are reached as ``part__name``.
PARTS = (
    "module",
    "criterion",
    "optimizer",
    "iterator_train",
    "iterator_valid",
    "callbacks",
    "dataset",
    "compile",
)

# The catch-all of the signatures. scikit-learn's checks call a constructor with every
# name of its signature, this one included, and expect the verdict in fit.
CATCH_ALL = "kwargs"

SHARED_CONSTRAINTS: dict[str, list] = {
    "module": [str, callable],
    "criterion": [str, callable],
    "optimizer": [str, callable],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "max_epochs": [Interval(Integral, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left"), Options(Integral, {-1})],
    "iterator_train": [callable],
    "iterator_valid": [callable],
    "train_split": [
        None,
        callable,
        Options(bool, {False}),
        Interval(Real, 0, 1, closed="neither"),
    ],
    "callbacks": [None, list, tuple, StrOptions({"disable"})],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
    "device": [None, str, torch.device],
    "compile": ["boolean"],
    "use_caching": ["boolean", StrOptions({"auto"})],
    "torch_load_kwargs": [None, dict],
    "random_state": ["random_state"],
    "class_weight": [None, dict, StrOptions({"balanced"})],
    "classes": [None, "array-like"],
    "sampler": [None, StrOptions({"balanced"})],
    "augment": [None, callable, StrOptions(set(AUGMENTATIONS))],
    "precision": [StrOptions({"auto", *training.PRECISIONS})],
    "schedule": [None, callable, StrOptions(set(training.SCHEDULES))],
    "restore_best_weights": ["boolean"],
    "calibrate": ["boolean"],
    "warn_novelty": ["boolean"],
    "scale_target": ["boolean"],
    "dataset": [callable, HasMethods(["__getitem__", "__len__"])],
}


def validate_constraints(
    constraints: Mapping[str, list], values: Mapping[str, Any], owner: str
) -> None:
    """Refuse values that the constraints do not allow, with scikit-learn's message."""
    validate_parameter_constraints(dict(constraints), dict(values), caller_name=owner)


def initializers(cls: type) -> list[Callable]:
    """List the ``__init__`` of a class and those that its ``**kwargs`` reach."""
    found = []
    for owner in cls.__mro__:
        init = vars(owner).get("__init__")
        if init is None or owner is object:
            continue
        found.append(init)
        kinds = {p.kind for p in _signature(init).parameters.values()}
        code = getattr(inspect.unwrap(init), "__code__", None)
        goes_up = code is not None and "__init__" in code.co_names
        if not goes_up or inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found


def _signature(init: Callable) -> inspect.Signature:
    """Return the signature as it was written, see ``complete_signature``."""
    return getattr(init, "_written_signature", None) or inspect.signature(init)


def _named(init: Callable) -> list[inspect.Parameter]:
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = list(_signature(init).parameters.values())[1:]
    return [parameter for parameter in parameters if parameter.kind not in variable]


def _remember(function: Callable[[type], tuple[str, ...]]) -> Callable:
    """Cache a function of a class; type checkers do not know classes as hashable."""
    return cache(function)


def names_of(init: Callable) -> list[str]:
    """List the parameters that an ``__init__`` names itself."""
    return [parameter.name for parameter in _named(init)]


@_remember
def own_names(cls: type) -> tuple[str, ...]:
    """List the parameters that the ``__init__`` of a class names itself."""
    return tuple(names_of(initializers(cls)[0]))


@_remember
def parameter_names(cls: type) -> tuple[str, ...]:
    """List all named parameters, those included that ``**kwargs`` pass to the bases."""
    return tuple(
        dict.fromkeys(name for init in initializers(cls) for name in names_of(init))
    )


def complete_signature(cls: Any) -> None:
    """Add the parameters that ``**kwargs`` stand for to the signature of ``__init__``.

    ``help`` shows them, and scikit-learn finds their defaults, to leave them out of
    what it prints.
    """
    init, *above = initializers(cls)
    known = set(names_of(init))
    added = []
    for parameter in (parameter for upper in above for parameter in _named(upper)):
        if parameter.name not in known:
            known.add(parameter.name)
            added.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
    if added and init is vars(cls).get("__init__"):
        init._written_signature = _signature(init)
        *named, extras = init._written_signature.parameters.values()
        init.__signature__ = inspect.Signature([*named, *added, extras])
    # For inspect, which looks at __new__ first, whose arguments say nothing.
    parameters = list(inspect.signature(init).parameters.values())[1:]
    cls.__signature__ = inspect.Signature(parameters)


def bind_call(
    cls: type, args: tuple, kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name the arguments of a call of a class.

    Returns the values of the parameters that the ``__init__`` of the class names
    itself, and those of the other arguments. A call that does not fit is left to Python
    to refuse.
    """
    init, *above = initializers(cls)
    signature = _signature(init)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return {}, {}
    bound.apply_defaults()
    positional = [
        parameter.name
        for upper in above
        for parameter in _named(upper)
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    own: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            given |= value
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            given |= zip(positional, value, strict=False)
        else:
            own[name] = value
    return own, given


def is_part_parameter(name: str) -> bool:
    """Tell whether a name is ``part__name``, or the catch-all's own."""
    return name == CATCH_ALL or ("__" in name and not name.startswith("_"))


def suggest(name: str, known: Iterable[str]) -> str:
    """Say after a colon which known name was meant, or which there are."""
    hint = suggest_name(name, known, list_all=False)
    return hint[0].lower() + hint[1:]


class UnknownParameterError(TypeError, ValueError):
    """Parameters that the estimator does not have.

    A TypeError, as for any function, and a ValueError with skorch's message as its
    first argument, for programs that expect it. ``problems`` are told by name.
    """

    def __init__(self, owner: str, problems: Mapping[str, str | None]) -> None:
        self.message = "\n".join(
            f"{owner}() got an unexpected parameter {name!r}: {problem}"
            for name, problem in problems.items()
        )
        try:
            validate_as_skorch(problems, PARTS)
            super().__init__(self.message)
        except ValueError as error:
            super().__init__(*error.args)

    def __str__(self) -> str:
        """Return this project's message."""
        return self.message


def unknown_name(estimator: Any, name: str, *, strict: bool = False) -> str | None:
    """Tell what is wrong with a parameter's name, or None where nothing is.

    ``part__name`` is taken for every part of the net; whether the part knows the name
    shows only when it is built.
    """
    part, dunder, rest = name.partition("__")
    parts = {*PARTS, *estimator.prefixes_}
    names = parameter_names(type(estimator))
    if not dunder and (part in names or (part == CATCH_ALL and not strict)):
        return None
    if part in parts and rest:
        return None
    for known in sorted(parts, key=len, reverse=True):
        if name.startswith(known) and name != known:
            rest = name[len(known) :].lstrip("_")
            return f"did you mean '{known}__{rest}'?"
    if not dunder:
        return suggest(name, names)
    return f"{suggest(part, parts | set(names))} (before the double underscore)"


def find_part(part: str, value: Any) -> Any:
    """Find the criterion or optimizer of a name; other values are returned as they are.

    Case, underscores and the ending "Loss" do not matter.
    """
    if not isinstance(value, str):
        return value
    known = _named_parts(part)
    key = _plain(value)
    if key not in known:
        names = (cls.__name__ for cls in known.values())
        raise ValueError(
            f"There is no {part} {value!r}. {suggest_name(value, names)} Pass the "
            "class for any other."
        )
    return known[key]


@cache
def _named_parts(part: str) -> dict[str, type]:
    """List what a criterion or an optimizer can be by name."""
    kind = {"criterion": torch.nn.Module, "optimizer": torch.optim.Optimizer}[part]
    modules = {"criterion": [loss, training], "optimizer": [torch.optim]}[part]
    return {
        _plain(name): cls
        for module in modules
        for name, cls in vars(module).items()
        if name in module.__all__
        and isinstance(cls, type)
        and issubclass(cls, kind)
        and cls is not kind
    }


def _plain(name: str) -> str:
    return name.lower().replace("_", "").removesuffix("loss")


def accepted_names(function: Any) -> set[str] | None:
    """List the keyword names a callable takes; None where it takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name for parameter in parameters if parameter.kind in kinds}


def check_part_names(
    part: str,
    function: Any,
    given: Iterable[str],
    also: Iterable[str] = (),
    further: Any = None,
) -> None:
    """Refuse parameters of a part that the part, built by ``function``, does not have.

    The names in ``also`` are understood before the part is built; unknown ones are
    passed to ``further``.
    """
    accepted = accepted_names(function)
    if accepted is None and further is not None:
        passed = accepted_names(further) or set()
        accepted = passed | set(inspect.signature(function).parameters)
    if accepted is None:
        return
    accepted |= set(also)
    for name in given:
        if name.split("__")[0] not in accepted:
            built = getattr(function, "__name__", repr(function))
            raise ValueError(
                f"{part}__{name} was given, but {built} has no parameter {name!r}: "
                f"{suggest(name, accepted)}"
            )
