# SPDX-License-Identifier: BSD-3-Clause
"""The main job, run as a user runs it, on few spectra and a small network."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from sklearn.metrics import f1_score

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[2] / "examples" / "classify_spectra.py"
QUICK = ["--module", "mlp", "--epochs", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("classify_spectra", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulated_spectra(job, tmp_path, capsys):
    job.main([*QUICK, "--n-spectra", "120", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "macro avg" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "confusion_matrix.png",
        "history.csv",
        "history.png",
        "pipeline.skastro",
        "predictions.csv",
    }
    catalog = Table.read(tmp_path / "predictions.csv")
    assert len(catalog) == 30
    columns = [f"probability_{name}" for name in ("GALAXY", "QSO", "STAR")]
    assert catalog.colnames == ["id", "predicted", *columns, "truth"]
    probability = np.stack([catalog[name] for name in columns], axis=1)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    score = f1_score(catalog["truth"], catalog["predicted"], average="macro")
    row = next(line for line in printed.splitlines() if "macro avg" in line)
    assert float(row.split()[4]) == pytest.approx(score, abs=6e-4)
    history = Table.read(tmp_path / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]

    before = (tmp_path / "history.csv").stat().st_mtime_ns
    model = str(tmp_path / "pipeline.skastro")
    job.main(["--model", model, "--n-spectra", "40", "--out", str(tmp_path)])
    assert len(Table.read(tmp_path / "predictions.csv")) == 40
    assert (tmp_path / "history.csv").stat().st_mtime_ns == before


def test_real_spectra(job, data_dir, tmp_path, capsys):
    path = str(data_dir / "spectra.fits")
    job.main([*QUICK, "--train", path, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "macro-F1 on LAMOST alone" in printed
    assert len(Table.read(tmp_path / "predictions.csv")) == 123
    model = str(tmp_path / "pipeline.skastro")
    job.main(["--model", model, "--test", path, "--out", str(tmp_path / "all")])
    assert len(Table.read(tmp_path / "all" / "predictions.csv")) == 492


def test_first_letters_of_subclasses(job, data_dir, tmp_path, capsys):
    path = str(data_dir / "lamost.fits")
    label = ["--label-column", "subclass"]
    job.main([*QUICK, "--train", path, *label, "--out", str(tmp_path)])
    assert set(Table.read(tmp_path / "predictions.csv")["predicted"]) <= set("AFGK")
    assert "Left out" in capsys.readouterr().out


def test_a_model_only_predicts(job, capsys):
    with pytest.raises(SystemExit):
        job.main(["--model", "pipeline.skastro", "--train", "spectra.fits"])
    assert "--test" in capsys.readouterr().err
