# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures that all tests share."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
# Test runs are spread over processes: one thread each avoids oversubscription.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_global_generators() -> None:
    """Start each test alike, whichever tests ran before it in the same process."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real survey data, or skip where there is none."""
    folder = os.environ.get("SKASTRO_DATA")
    if not folder:
        pytest.skip("set SKASTRO_DATA to the folder of real survey data")
    path = Path(folder)
    if not (path / "spectra.fits").is_file():
        pytest.skip(f"SKASTRO_DATA={folder!r} holds no spectra.fits")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
