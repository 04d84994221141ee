# SPDX-License-Identifier: BSD-3-Clause
"""What type checkers read: the marker, the stubs, and the names that they list."""

import ast
import importlib
from pathlib import Path

import pytest

import skastro

pytestmark = pytest.mark.once

SOURCE = Path(__file__).parents[1] / "skastro"
# Where the tests run on an installed package, this is what the wheel brought.
INSTALLED = Path(skastro.__file__).parent
STUBS = sorted(path.relative_to(SOURCE).parent for path in SOURCE.rglob("*.pyi"))


def listed_names(stub: Path) -> list[str]:
    """Return the names that a stub exports, as ``import name as name`` or annotated."""
    names = []
    for statement in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom):
            assert all(alias.name == alias.asname for alias in statement.names), stub
            names += [alias.name for alias in statement.names]
        else:
            names.append(statement.target.id)
    return names


def test_there_are_stubs():
    assert len(STUBS) >= 3


def test_the_package_says_that_it_is_typed():
    assert (INSTALLED / "py.typed").exists()


@pytest.mark.parametrize("folder", STUBS, ids=lambda folder: folder.as_posix())
def test_stub_lists_the_public_names(folder):
    package = importlib.import_module(".".join(("skastro", *folder.parts)))
    names = listed_names(INSTALLED / folder / "__init__.pyi")
    assert len(set(names)) == len(names)
    assert all(hasattr(package, name) for name in names)
    assert {name for name in names if name[0] != "_"} == {*package.__all__}
    assert {name for name in dir(package) if name[0] != "_"} <= {*names}
