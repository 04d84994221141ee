# SPDX-License-Identifier: BSD-3-Clause
"""The job that predicts a folder of files, run as a user runs it, on threads."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.once,
    # The surveys have damaged files.
    pytest.mark.filterwarnings("ignore:.* rows have no result"),
]

SCRIPT = Path(__file__).parents[2] / "examples" / "predict_survey.py"


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("predict_survey", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scheduler():
    """Start a scheduler and a worker in this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def classes():
    return {}


@pytest.mark.parametrize("suffix", ["parquet", "zarr", "h5", "csv"])
def test_simulated_survey(job, scheduler, tmp_path, capsys, suffix, classes):
    out = tmp_path / f"classes.{suffix}"
    given = ["--quick", "--grid", "4000", "9000", "200", "--files", "16"]
    job.main([*given, "--scheduler", scheduler, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "61 rows, 1 of them without a result" in printed
    assert "1 failed: not a readable FITS file" in printed
    labels, failures = job.read_results(out)
    assert np.flatnonzero(failures).tolist() == [0]
    assert labels[0] == ""
    counts = dict(zip(*np.unique(labels[1:], return_counts=True), strict=True))
    for name, count in counts.items():
        assert re.search(rf"^ +{count} {name}$", printed, re.MULTILINE)
    # The formats hold the same classes.
    classes.setdefault("all", labels.tolist())
    assert labels.tolist() == classes["all"]


def test_real_survey_with_a_model_from_a_file(job, scheduler, data_dir, tmp_path):
    from skastro import save_model
    from skastro.datasets import read_spectra

    grid = np.linspace(4000, 9000, 200)
    pipe = job.train(grid, seed=0, quick=True)
    save_model(pipe, tmp_path / "model.skastro")
    survey = data_dir / "survey_files"
    given = ["--survey", str(survey), "--model", str(tmp_path / "model.skastro")]
    out = tmp_path / "classes.parquet"
    given += ["--grid", "4000", "9000", "200", "--scheduler", scheduler]
    job.main([*given, "--out", str(out)])
    labels, failures = job.read_results(out)
    # Sky and templates are left out.
    alone = read_spectra(survey, wavelength=grid, verbose=0)
    assert np.count_nonzero(failures == "") == len(alone.flux)
    assert labels[failures == ""].tolist() == pipe.predict(alone.flux).tolist()
