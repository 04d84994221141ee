# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks can be imported in all of these tests."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    # Behind all else, so that skastro stays the installed one.
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
