# SPDX-License-Identifier: BSD-3-Clause
"""The comparison of networks, run as a user runs it, on few spectra."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[2] / "examples" / "compare_networks.py"
QUICK = ["--epochs", "1", "--device", "cpu", "--proportions", "2", "1", "1"]


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("compare_networks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulated_survey(job, tmp_path, capsys):
    job.main([*QUICK, "--simulate", "80", "--n-spectra", "40", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "30 spectra to train on, 10 kept apart" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", "confusion.csv"}
    scores = Table.read(tmp_path / "scores.csv")
    networks = ["full", "densenet", "dbn", "mlp"]
    assert list(scores["network"][::4]) == networks
    assert list(scores["class"][:4]) == ["GALAXY", "QSO", "STAR", "macro"]
    confusion = Table.read(tmp_path / "confusion.csv")
    for name in networks:
        counts = np.reshape(confusion["spectra"][confusion["network"] == name], (3, 3))
        assert counts.sum() == 10
        right = np.diag(counts)
        precision = right / np.maximum(counts.sum(axis=0), 1)
        recall = right / counts.sum(axis=1)
        f1 = 2 * right / (counts.sum(axis=0) + counts.sum(axis=1))
        rows = scores[scores["network"] == name]
        expected = {"precision": precision, "recall": recall, "f1": f1}
        for column, values in expected.items():
            np.testing.assert_allclose(rows[column], [*values, values.mean()])
        title = job.NETWORKS[name][0]
        assert f"{title}: {rows['weights'][0]} weights, trained in" in printed
        (line,) = (
            line
            for line in printed.splitlines()
            if line.startswith(f"{'simulated survey':20}{title:30}")
        )
        assert float(line.split()[-2]) == pytest.approx(rows["f1"][-1], abs=6e-5)


def test_real_spectra(job, data_dir, tmp_path, capsys):
    path = str(data_dir / "spectra.fits")
    small = ["--n-spectra", "60", "--rows", "mlp", "--robust", "--test-size", "0.5"]
    job.main([*QUICK, *small, "--train", path, "--out", str(tmp_path)])
    assert "30 spectra to train on, 30 kept apart" in capsys.readouterr().out
    scores = Table.read(tmp_path / "scores.csv")
    assert set(scores["data"]) == {"spectra.fits"}
    assert set(scores["network"]) == {"mlp"}


def test_small_survey_without_options(job):
    options = job.parse_arguments([])
    assert options.simulate == 2000
    assert options.train is None
    assert options.epochs == 60


def test_large_classes_are_thinned_out_in_training_alone(job):
    target = np.repeat(["GALAXY", "QSO", "STAR"], [3, 9, 40])
    flux = np.random.default_rng(0).normal(size=(52, 20)).astype(np.float32)
    options = job.parse_arguments(["--at-most", "5"])
    pipe = job.make_pipeline("wang2020-mlp", target, options)
    _, resampled = pipe[1].fit_resample(flux, target)
    assert np.unique(resampled, return_counts=True)[1].tolist() == [3, 5, 5]
    everything = job.make_pipeline("wang2020-mlp", target, job.parse_arguments([]))
    _, resampled = everything[1].fit_resample(flux, target)
    assert len(resampled) == 52
