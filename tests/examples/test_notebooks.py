# SPDX-License-Identifier: BSD-3-Clause
"""The pages run as the notebooks that readers download."""

import shutil
from pathlib import Path

import pytest

REASON = "notebooks need sphinx-gallery, nbclient and ipykernel"
pytest.importorskip("ipykernel", reason=REASON)
nbclient = pytest.importorskip("nbclient", reason=REASON)
nbformat = pytest.importorskip("nbformat", reason=REASON)
converter = pytest.importorskip("sphinx_gallery.notebook", reason=REASON)

pytestmark = pytest.mark.once

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("plot_*.py"))
QUICK = "plot_robust_limits"


def run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn a page into a notebook, and run it in a kernel as a reader without data."""
    monkeypatch.delenv("SKASTRO_DATA", raising=False)
    # The kernel chooses its own, which puts figures into the notebook.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    script = Path(shutil.copy(path, folder))
    converter.python_to_jupyter_cli([str(script)])
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in outputs), "no figure"


def test_a_page_runs_as_a_notebook(tmp_path, monkeypatch):
    (path,) = (path for path in EXAMPLES if path.stem == QUICK)
    run(path, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in EXAMPLES if path.stem != QUICK],
    ids=lambda path: path.stem,
)
def test_all_pages_run_as_notebooks(path, tmp_path, monkeypatch):
    run(path, tmp_path, monkeypatch)
