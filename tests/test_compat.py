# SPDX-License-Identifier: BSD-3-Clause
"""Private names of other packages are used through ``skastro._compat`` only."""

import ast
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import skastro
from skastro._compat import PRIVATE_MEMBERS

PACKAGE = Path(skastro.__file__).parent
ROOT = Path(__file__).parents[1]
EXEMPT: set[str] = set()
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in EXEMPT | {"_compat.py"}
)
# Python's metaclasses and scikit-learn's mixins set these on every class.
SET_BY_MACHINERY = {"_abc_impl", "_backward_cls", "_sklearn_auto_wrap_output_keys"}
# Methods of named tuples, public in spite of their underscore.
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def private_uses(source: str) -> list[str]:
    """Describe the private names of other packages that a module imports or reads."""
    found = []
    imported = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            aliases = [alias.asname or alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            aliases = [alias.asname or alias.name for alias in node.names]
        else:
            continue
        for name, alias in zip(names, aliases, strict=True):
            if name.split(".")[0] == "skastro":
                continue
            imported.add(alias)
            if any(is_private(part) for part in name.split(".")):
                found.append(f"line {node.lineno}: {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            origin = node.value
            while isinstance(origin, ast.Attribute):
                origin = origin.value
            if isinstance(origin, ast.Name) and origin.id in imported:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_no_other_file_uses_private_names(path):
    assert private_uses(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sklearn.base import _fit_context", "sklearn.base._fit_context"),
        ("from a._b import c", "a._b.c"),
        ("def f():\n    import torch._dynamo", "torch._dynamo"),
        ("import torch\nclass A(torch.nn._B): ...", "torch.nn._B"),
        ("from torch import nn as n\nn.modules._B()", "n.modules._B"),
    ],
)
def test_private_names_are_noticed(source, found):
    (description,) = private_uses(source)
    assert description.endswith(f": {found}")


def test_own_names_and_dunders_are_no_private_names_of_others():
    source = """
from __future__ import annotations
from skastro.networks._wide import convolve_wide
import numpy as np
print(np.__version__, self._own)
"""
    assert private_uses(source) == []


def classes() -> Iterator[type]:
    """Yield the classes that skastro defines."""
    for module in pkgutil.walk_packages(skastro.__path__, "skastro."):
        for value in vars(import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                yield value


def overridden() -> set[tuple[str, str]]:
    """Return package and name of private members that skastro's classes override."""
    return {
        (base.__module__.split(".")[0], name)
        for defined in classes()
        for name in vars(defined)
        for base in defined.__mro__
        if is_private(name) and name in vars(base)
        if base.__module__.split(".")[0] != "skastro"
    }


def names_in_sources() -> tuple[set[str], set[str]]:
    """Return the private names that skastro defines, and those that it reads."""
    defined, read = set(), set()
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "_compat.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    defined.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    defined.add(name)
                case ast.Attribute(attr=name, ctx=ast.Store()):
                    defined.add(name)
                case ast.Attribute(attr=name):
                    read.add(name)
    return set(filter(is_private, defined)), set(filter(is_private, read))


def test_overridden_private_members_are_listed():
    listed = {
        (package, name)
        for package, members in PRIVATE_MEMBERS.items()
        for name in members
    }
    found = {(package, name) for package, name in overridden() if package != "abc"}
    assert {pair for pair in found if pair[1] not in SET_BY_MACHINERY} <= listed


def test_private_members_that_others_define_are_listed():
    defined, read = names_in_sources()
    listed = {name for members in PRIVATE_MEMBERS.values() for name in members}
    # Read by an exempt package; the test above is the one for functions of modules.
    of_modules = {"_is_avx512_bf16_supported"}
    assert read - defined - OF_NAMED_TUPLES - of_modules <= listed


def test_every_listed_member_is_used():
    defined, read = names_in_sources()
    for package, members in PRIVATE_MEMBERS.items():
        assert set(members) <= defined | read, package


@pytest.mark.parametrize(
    "package", ["imbalanced-learn", "scikit-learn", "skorch", "torch"]
)
def test_packages_with_private_names_have_an_upper_bound(package):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    requirements = tomllib.loads(text)["project"]["dependencies"]
    (found,) = [name for name in requirements if name.startswith(package)]
    assert re.fullmatch(rf"{package}>=[\d.]+,<[\d.]+", found)
