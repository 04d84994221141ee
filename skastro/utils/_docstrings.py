# SPDX-License-Identifier: BSD-3-Clause
"""Docstrings of estimators: what they share is written once, in their bases."""

import inspect
import re
from collections.abc import Iterable
from typing import TypeVar

_Class = TypeVar("_Class", bound=type)


def inherit_parameters(cls: _Class) -> _Class:
    """Complete the docstring of a class by parameters and attributes of its bases.

    Parameters of the signature that the docstring leaves out are taken from the first
    base that documents them, in the signature's order and with its defaults.
    Attributes of the bases follow those of the class.
    """
    if cls.__doc__ is None:
        # As under python -OO.
        return cls
    doc = inspect.cleandoc(cls.__doc__)
    bases = [base for base in cls.__mro__[1:] if base.__module__.startswith("skastro.")]
    parameters, attributes = _entries(doc, "Parameters"), _entries(doc, "Attributes")
    for base in bases:
        parameters = _entries(base.__doc__, "Parameters") | parameters
        inherited = _entries(base.__doc__, "Attributes")
        attributes |= {k: v for k, v in inherited.items() if k not in attributes}
    names = {
        "**" * (parameter.kind is parameter.VAR_KEYWORD) + name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
    }
    described = [
        _with_default(parameters[name], default)
        for name, default in names.items()
        if name in parameters
    ]
    sections = f"Parameters\n----------\n{_joined(described)}"
    sections += f"\n\nAttributes\n----------\n{_joined(attributes.values())}"
    if match := _find_section(doc, "Attributes"):
        doc = doc[: match.start()].rstrip() + doc[match.end() :]
    if match := _find_section(doc, "Parameters"):
        cls.__doc__ = doc[: match.start()] + sections + doc[match.end() :]
    return cls


def _joined(entries: Iterable[str]) -> str:
    # An entry may be that of several names.
    return "\n\n".join(dict.fromkeys(entries))


def _find_section(doc: str, name: str) -> re.Match | None:
    return re.search(rf"(?ms)^{name}\n-+\n(.*?)(?=\n\n\S[^\n]*\n---|\Z)", doc)


def _entries(doc: str | None, section: str) -> dict[str, str]:
    """Find the texts of a section of a docstring by the names that they are of."""
    match = _find_section(inspect.cleandoc(doc or ""), section)
    entries = re.split(r"\n+(?=\S)", match[1].strip()) if match else ()
    return {
        name: entry
        for entry in entries
        for name in entry.partition(" : ")[0].split(", ")
    }


def _with_default(entry: str, default: object) -> str:
    if not isinstance(default, int | float | str | None):
        return entry
    text = f'"{default}"' if isinstance(default, str) else repr(default)
    return re.sub(r"(?<=default=)\S+$", text, entry, count=1, flags=re.MULTILINE)
