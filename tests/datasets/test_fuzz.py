# SPDX-License-Identifier: BSD-3-Clause
"""A short fuzz run of all kinds, with the same cases every time."""

import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[2]


@pytest.fixture
def fuzz(monkeypatch):
    """Import the package, and forget what it adds to the search path."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "tests"), *sys.path])
    yield importlib.import_module("fuzz")
    for name in ("conftest", "test_input_zoo"):
        sys.modules.pop(name, None)


def outcomes(fuzz, kind, folder, seeds):
    found = {}
    for seed in seeds:
        case = fuzz.make_case(kind, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[seed] = fuzz.load(kind).attempt(case, folder)
    return found


GOOD = {"OSError", "ValueError", "TypeError", "read", "skipped", "refused form"}
GOOD |= {"same result", "result", "not read yet", "other draws"}
GOOD |= {"bytes are from 0 to 1", "_DivergedError"}


@pytest.mark.parametrize(
    ("kind", "n_cases"), [("spectra", 60), ("images", 40), ("sevi", 60), ("arrays", 40)]
)
def test_damaged_input_is_read_or_refused(fuzz, tmp_path, kind, n_cases):
    found = outcomes(fuzz, kind, tmp_path, range(n_cases))
    bad = {seed: outcome for seed, outcome in found.items() if outcome not in GOOD}
    assert not bad
    assert {"read", "same result"} & {*found.values()}


@pytest.mark.parametrize("kind", ["spectra", "images", "sevi"])
def test_originals_are_good(fuzz, tmp_path, kind):
    module = fuzz.load(kind)
    for name in module.names():
        outcome = module.attempt((name, []), tmp_path)
        assert outcome[0] != "!", (name, outcome)


def test_findings_are_found(fuzz, tmp_path, monkeypatch):
    def fail(*args):
        raise KeyError("flux")

    monkeypatch.setattr(fuzz.load("spectra"), "read", fail)
    assert outcomes(fuzz, "spectra", tmp_path, [0])[0].startswith("! KeyError")
    assert fuzz.make_case("spectra", 7) == fuzz.make_case("spectra", 7)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are Linux's")
def test_command(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "60", "--seed", "1"]
    environment = {
        key: os.environ[key] for key in os.environ if key != "PYTHONSAFEPATH"
    }
    result = subprocess.run(
        [*command, "--minutes", "5", "--keep", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "60 cases, seeds 1 to 60" in result.stdout
    assert "arrays: 15" in result.stdout
