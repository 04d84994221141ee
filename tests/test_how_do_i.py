# SPDX-License-Identifier: BSD-3-Clause
"""The answers of the page "How do I …?" run."""

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from skastro.cli import main
from skastro.datasets import register_layout
from skastro.networks import register

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "how_do_i.rst"
if not PAGE.is_file():
    pytest.skip("the folder docs is not here", allow_module_level=True)
TEXT = PAGE.read_text(encoding="utf-8")
pytestmark = pytest.mark.once

# What needs several GPUs, a cluster of many machines, or minutes of a C++ compiler; its
# syntax and its imports are tested.
NOT_RUN = "not-run"


class Block(NamedTuple):
    """Python code of the page."""

    line: int
    source: str
    is_run: bool


def find_blocks():
    """Return the Python code of the page, in its order."""
    lines = TEXT.splitlines()
    blocks = []
    for number, line in enumerate(lines):
        if line.strip() != ".. code-block:: python":
            continue
        indent = len(line) - len(line.lstrip())
        rest = lines[number + 1 :]
        inside = [len(x) - len(x.lstrip()) > indent or not x.strip() for x in rest]
        body = rest[: inside.index(False)] if False in inside else rest
        n_options = body.index("")
        options = [option.strip() for option in body[:n_options]]
        assert set(options) <= {f":class: {NOT_RUN}"}, f"line {number + 1}: {options}"
        first = number + 1 + n_options
        source = textwrap.dedent("\n".join(body[n_options:]))
        blocks.append(Block(first + 1, source, is_run=not options))
    return blocks


BLOCKS = find_blocks()


def compiled(block):
    """Compile a block such that errors name the line of the page."""
    return compile("\n" * (block.line - 1) + block.source, str(PAGE), "exec")


def questions():
    return re.findall(r"^… (.+)\n~+$", TEXT, flags=re.MULTILINE)


@pytest.fixture
def _registries(monkeypatch):
    """Forget the layouts and networks that the page adds."""
    for function, name in [(register_layout, "_LAYOUTS"), (register, "_MODULES")]:
        module = function.__globals__
        monkeypatch.setitem(module, name, dict(module[name]))


@pytest.mark.usefixtures("_registries")
def test_answers_run(tmp_path, monkeypatch):
    page = ModuleType("skastro_how_do_i")
    # Pickles look for classes and functions of the page here.
    monkeypatch.setitem(sys.modules, page.__name__, page)
    monkeypatch.chdir(tmp_path)
    try:
        for block in BLOCKS:
            if block.is_run:
                exec(compiled(block), page.__dict__)
                plt.close("all")
    finally:
        plt.close("all")
    # The commands read and write files of the answers above.
    commands = re.findall(r"^    \$ (.+)$", TEXT, flags=re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        program, *arguments = command.split()
        assert program == "skastro"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{command}: {result.output}"


def test_few_answers_are_not_run():
    skipped = [block for block in BLOCKS if not block.is_run]
    assert 0 < len(skipped) <= 4
    for block in skipped:
        compiled(block)


def test_every_question_has_an_answer_with_code():
    found = questions()
    assert len(found) >= 35
    assert len(set(found)) == len(found)
    assert all(question.endswith("?") for question in found)
    parts = re.split(r"^… .+\n~+$", TEXT, flags=re.MULTILINE)[1:]
    for question, part in zip(found, parts, strict=True):
        assert part.count(".. code-block:: ") == 1, question
