# SPDX-License-Identifier: BSD-3-Clause
"""Imports run downwards only, and every room stands on a floor."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import skastro

PACKAGE = Path(skastro.__file__).parent
FLOOR_OF_ROOM = {
    "sevi": 5,
    "inspection": 4,
    "distributed": 4,
    "estimators": 3,
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
FREE_FOR_ALL = {"_compat"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def violations(source: str, room: str) -> list[str]:
    """Describe the imports of one module in a room that break the house's rules."""
    found = []
    for line, name in imported_modules(source):
        if name.startswith("."):
            found.append(f"line {line}: relative import {name}")
        parts = name.split(".")
        if parts[0] != "skastro" or parts[1:2] == [room]:
            continue
        target = parts[1] if len(parts) > 1 else "__init__"
        if target not in FLOOR_OF_ROOM:
            found.append(f"line {line}: {name} is not in a room")
        elif target in FREE_FOR_ALL:
            continue
        elif FLOOR_OF_ROOM[target] >= FLOOR_OF_ROOM[room]:
            found.append(f"line {line}: {room} imports {target}")
    return found


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)


def test_every_room_is_on_a_floor():
    assert {room_of(path) for path in MODULES} <= set(FLOOR_OF_ROOM)


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_imports_run_downwards(path):
    assert violations(path.read_text(encoding="utf-8"), room_of(path)) == []


@pytest.mark.parametrize(
    ("source", "room", "message"),
    [
        ("from skastro.base import Net", "networks", "networks imports base"),
        ("import skastro.networks", "training", "training imports networks"),
        ("from skastro import base", "datasets", "datasets imports base"),
        ("def f():\n    import skastro.pipeline", "utils", "utils imports pipeline"),
        ("from skastro import Pipeline", "inspection", "Pipeline is not in a room"),
        ("import skastro", "inspection", "skastro is not in a room"),
        ("from skastro.utils import rebin", "_compat", "_compat imports utils"),
        ("from ..base import Net", "estimators", "relative import"),
    ],
)
def test_violations_are_noticed(source, room, message):
    (found,) = violations(source, room)
    assert message in found


def test_downward_imports_are_allowed():
    source = "from skastro.utils import name_rows\nfrom skastro.base._net import Net"
    assert violations(source, "estimators") == []
    assert violations("from skastro._compat import Interval", "utils") == []


def test_documentation_names_every_room_on_its_floor():
    page = Path(__file__).parents[1] / "docs" / "architecture.rst"
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()]
    documented = {}
    for line, next_line in pairwise(lines):
        if line.startswith("* - ") and line[4:].isdigit():
            for room in next_line.removeprefix("- ").split(", "):
                name = room.strip("`").removesuffix("/").removesuffix(".py")
                documented[name] = int(line[4:])
    assert documented == FLOOR_OF_ROOM
