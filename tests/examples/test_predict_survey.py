# SPDX-License-Identifier: BSD-3-Clause
"""The job that predicts a folder of files, run as a user runs it, on threads."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.once

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
        1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address
