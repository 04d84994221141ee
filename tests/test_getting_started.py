# SPDX-License-Identifier: BSD-3-Clause
"""The code on the home page and on the page for beginners runs, as it stands there."""

import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"\.\. code-block:: (\w+)\n\n((?: {4}.*\n|\n)+)")


def run_page(name: str, capsys: pytest.CaptureFixture) -> list[tuple[str, str]]:
    """Run the Python blocks of a page in order, and pair printed with shown output."""
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = [(kind, textwrap.dedent(body)) for kind, body in BLOCK.findall(text)]
    assert {kind for kind, _ in blocks} == {"python", "none"}
    names: dict = {}
    pairs = []
    for (kind, body), (following, shown) in zip(
        blocks, [*blocks[1:], ("", "")], strict=True
    ):
        if kind == "python":
            exec(compile(body, name, "exec"), names)
            printed = capsys.readouterr().out
            assert bool(printed) == (following == "none"), body
            if printed:
                pairs.append((printed.strip(), shown.strip()))
    return pairs


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Let the pages write into a folder of their own."""
    monkeypatch.chdir(tmp_path)
    with plt.rc_context():
        yield tmp_path
    plt.close("all")


def test_home_page(capsys):
    ((printed, shown),) = run_page("index.rst", capsys)
    assert float(printed) > 0.9
    assert float(printed) == pytest.approx(float(shown), abs=0.05)


def test_getting_started(capsys, folder):
    shape, sizes, score, confusion, same, catalog = run_page(
        "getting_started.rst", capsys
    )
    for printed, shown in (shape, sizes, same):
        assert printed == shown
    assert float(score[0]) > 0.87
    assert float(score[0]) == pytest.approx(float(score[1]), abs=0.06)
    counts = [np.array(re.findall(r"\d+", text), int) for text in confusion]
    # The test set has the same spectra everywhere, and most are on the diagonal.
    rows = [table.reshape(3, 3).sum(axis=1).tolist() for table in counts]
    assert rows[0] == rows[1]
    assert confusion[0].splitlines()[0] == confusion[1].splitlines()[0]
    columns = [text.splitlines()[:7] for text in catalog]
    assert columns[0] == columns[1]
    table = Table.read(folder / "catalog.fits")
    assert len(table) == 100
    assert (folder / "confusion_matrix.png").stat().st_size > 0
