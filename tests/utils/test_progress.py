# SPDX-License-Identifier: BSD-3-Clause
"""Bars that move where somebody watches, and stay short in log files."""

import os
import subprocess
import sys

import pytest

from skastro.utils import progress_bar

CODE = """
import time
from skastro.utils import progress_bar
for _ in progress_bar(range(20), desc="Working"):
    time.sleep(0.12)
"""


def test_a_log_file_stays_short():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "Working:   0%" in done.stderr
    assert "20/20" in done.stderr
    # The beginning and the end.
    assert done.stderr.count("Working") <= 3


def test_nothing_where_it_is_disabled(capsys):
    assert [*progress_bar(range(3), disable=True)] == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_moves():
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", CODE], stderr=child)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    assert shown.count(b"\r") > 5
    assert b"100%" in shown
