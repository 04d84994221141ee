# SPDX-License-Identifier: BSD-3-Clause
"""Parameters: which names an estimator takes, and what to say of the others."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

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


def signature_names(cls: type) -> list[str]:
    """List the named parameters of ``cls.__init__``, without ``self``."""
    return [
        parameter.name
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    ]


def is_part_parameter(name: str) -> bool:
    """Tell whether a name is ``part__name``, or the catch-all's own."""
    return name == CATCH_ALL or ("__" in name and not name.startswith("_"))


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or which there are."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"the names are {', '.join(map(repr, known))}."


def unknown_name(estimator: Any, name: str) -> str | None:
    """Tell what is wrong with a parameter's name, or None where nothing is.

    ``part__name`` is taken for every part of the net; whether the part knows the name
    shows only when it is built.
    """
    part, dunder, rest = name.partition("__")
    parts = {*PARTS, *estimator.prefixes_}
    names = signature_names(type(estimator))
    if not dunder:
        if part in names or part == CATCH_ALL:
            return None
        for known in sorted(parts, key=len, reverse=True):
            if name.startswith(known + "_"):
                return f"did you mean '{known}__{name[len(known) + 1 :]}'?"
        return suggest(name, names)
    if part in parts and rest:
        return None
    return suggest(part, parts | set(names)) + " (before the double underscore)"


def accepted_names(function: Callable) -> set[str] | None:
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
    part: str, function: Callable, given: Mapping[str, Any], also: Iterable[str] = ()
) -> None:
    """Refuse parameters of a part that the part does not have.

    Parameters
    ----------
    part : str
        The part's name, such as ``"module"``.
    function : callable
        The class or function that builds it.
    given : mapping
        The parameters, without their prefix.
    also : iterable of str
        Names that are understood before the part is built.

    Raises
    ------
    ValueError
        With the name that was probably meant.
    """
    accepted = accepted_names(function)
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
