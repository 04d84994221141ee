# SPDX-License-Identifier: BSD-3-Clause
"""Whoever follows a call through skastro reads few files."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

SCRIPT = Path(__file__).parents[1] / "tools" / "count_files.py"


def test_few_files_are_touched():
    result = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
