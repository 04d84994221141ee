# SPDX-License-Identifier: BSD-3-Clause
"""The job that measures redshifts, run as a user runs it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from skastro.datasets import make_spectra

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[2] / "examples" / "measure_redshifts.py"


@pytest.fixture(scope="module")
def job():
    """Load the script."""
    spec = importlib.util.spec_from_file_location("measure_redshifts", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulated_spectra(job, tmp_path, capsys):
    job.main(["--n-spectra", "12", "--device", "cpu", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "catalog.ecsv",
        "redshifts.png",
    }
    catalog = Table.read(tmp_path / "catalog.ecsv")
    true = make_spectra(12, instrument="boss", random_state=0)
    np.testing.assert_allclose(catalog["z_of_file"], true.redshift)
    certain = catalog["zwarning"] == 0
    off = np.abs(catalog["z"] - true.redshift) / (1 + true.redshift)
    assert np.mean(off[certain] < 0.01) > 0.9
    assert f"{certain.sum()} certain" in capsys.readouterr().out


def test_a_folder_of_files(job, tmp_path, data_dir):
    job.main(
        [str(data_dir / "survey_files"), "--device", "cpu", "--out", str(tmp_path)]
    )
    catalog = Table.read(tmp_path / "catalog.ecsv")
    known = np.isfinite(catalog["z_of_file"])
    off = np.abs(catalog["z"] - catalog["z_of_file"])[known]
    assert np.mean(off / (1 + catalog["z_of_file"][known]) < 0.01) > 0.9
