# SPDX-License-Identifier: BSD-3-Clause
"""Imports run downwards only, and every package is in one layer."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import skastro

pytestmark = pytest.mark.once

PACKAGE = Path(skastro.__file__).parent
LAYER_OF_PACKAGE = {
    "cli": 6,
    "sevi": 5,
    "inspection": 4,
    "export": 4,
    "distributed": 4,
    "estimators": 3,
    "persistence": 3,
    "pipeline": 3,
    "preprocessing": 3,
    "resampling": 3,
    "base": 2,
    "datasets": 2,
    "training": 1,
    "networks": 1,
    "augmentation": 1,
    "simulation": 1,
    "streaming": 1,
    "utils": 0,
    "_compat": 0,
}
# It imports nothing of skastro, so that its neighbors in the lowest layer may use it.
FREE_TO_IMPORT = {"_compat"}


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def violations(source: str, package: str) -> list[str]:
    """Describe the imports of one module of a package that break the rules."""
    found = []
    for line, name in imported_modules(source):
        if name.startswith("."):
            found.append(f"line {line}: relative import {name}")
        parts = name.split(".")
        if parts[0] != "skastro" or parts[1:2] == [package]:
            continue
        target = parts[1] if len(parts) > 1 else "__init__"
        if target not in LAYER_OF_PACKAGE:
            found.append(f"line {line}: {name} is in no package")
        elif target in FREE_TO_IMPORT:
            continue
        elif LAYER_OF_PACKAGE[target] >= LAYER_OF_PACKAGE[package]:
            found.append(f"line {line}: {package} imports {target}")
    return found


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


def test_every_package_is_in_a_layer():
    assert {package_of(path) for path in MODULES} == set(LAYER_OF_PACKAGE)


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_imports_run_downwards(path):
    assert violations(path.read_text(encoding="utf-8"), package_of(path)) == []


@pytest.mark.parametrize(
    ("source", "package", "message"),
    [
        ("from skastro.base import Net", "networks", "networks imports base"),
        ("import skastro.networks", "training", "training imports networks"),
        ("from skastro import base", "datasets", "datasets imports base"),
        ("def f():\n    import skastro.pipeline", "utils", "utils imports pipeline"),
        ("from skastro import Pipeline", "inspection", "Pipeline is in no package"),
        ("import skastro", "inspection", "skastro is in no package"),
        ("from skastro.utils import rebin", "_compat", "_compat imports utils"),
        ("from ..base import Net", "estimators", "relative import"),
    ],
)
def test_violations_are_noticed(source, package, message):
    (found,) = violations(source, package)
    assert message in found


def test_downward_imports_are_allowed():
    source = "from skastro.utils import name_rows\nfrom skastro.base._net import Net"
    assert violations(source, "estimators") == []
    assert violations("from skastro._compat import Interval", "utils") == []


def test_documentation_names_every_package_in_its_layer():
    page = Path(__file__).parents[1] / "docs" / "architecture.rst"
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()]
    documented = {}
    for line, next_line in pairwise(lines):
        if line.startswith("* - ") and line[4:].isdigit():
            for package in next_line.removeprefix("- ").split(", "):
                name = package.strip("`").removesuffix("/").removesuffix(".py")
                documented[name] = int(line[4:])
    assert documented == LAYER_OF_PACKAGE
