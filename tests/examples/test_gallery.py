# SPDX-License-Identifier: BSD-3-Clause
"""Every page of the gallery is short, has a place, and runs."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_pages_are_short_and_run(path):
    assert path.name.startswith("plot_"), "the gallery runs files of this name only"
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines < 80, f"{n_lines} lines: choose a simpler story"


def test_gallery_orders_every_example():
    tree = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
    (order,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "GALLERY_ORDER"
    ]
    assert sorted(order) == [path.name for path in EXAMPLES]
