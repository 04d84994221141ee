# SPDX-License-Identifier: BSD-3-Clause
"""A short fuzz run of the readers of spectra, with the same files every time."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

SPECIFICATION = importlib.util.spec_from_file_location(
    "fuzz", Path(__file__).parents[1] / "fuzz.py"
)
fuzz = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(fuzz)


@pytest.fixture(autouse=True)
def _search_path(monkeypatch):
    """Forget the folder that the fuzz run adds to the search path."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("conftest", None)


def outcomes(tmp_path, seeds):
    found = {}
    for seed in seeds:
        case = fuzz.make_case(seed)
        path = tmp_path / "damaged.fits"
        path.write_bytes(fuzz.build(case))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[seed] = fuzz.try_file(path, case[0], only_sizes=False)
    return found


def test_damaged_files_are_read_or_refused(tmp_path):
    found = outcomes(tmp_path, range(60))
    assert {*found.values()} <= {"read", "OSError", "ValueError", "TypeError"}
    assert "read" in found.values()


def test_originals_are_good(tmp_path):
    for name, content in fuzz.originals().items():
        path = tmp_path / f"{name}.fits"
        path.write_bytes(content)
        assert fuzz.try_file(path, name, only_sizes=True) == "read", name


def test_findings_are_found(tmp_path, monkeypatch):
    def fail(path, name):
        raise KeyError(name)

    monkeypatch.setattr(fuzz, "read", fail)
    assert outcomes(tmp_path, [0])[0].startswith("! KeyError")
    assert fuzz.make_case(7) == fuzz.make_case(7)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")
def test_command(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "50", "--seed", "1"]
    environment = {
        key: os.environ[key] for key in os.environ if key != "PYTHONSAFEPATH"
    }
    result = subprocess.run(
        [*command, "--minutes", "5", "--keep", tmp_path],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "50 cases, seeds 1 to 50" in result.stdout
