# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures that all tests share."""

import doctest
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

try:
    # Older versions of joblib contain it, and use no other.
    from joblib.externals import cloudpickle
except ImportError:
    import cloudpickle

# Modules of a command, which no test run imports by itself.
collect_ignore = ["fuzz"]

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


class SkipsWithoutGalSim:
    """Skip a test, or an example in a docstring, that needs GalSim."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """Skip where a fixture needs GalSim."""
        return (yield from self.skipping())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Skip where the test itself does."""
        return (yield from self.skipping())

    def skipping(self) -> Iterator[None]:
        """Turn the message about the missing package into a skip."""
        try:
            return (yield)
        except (ImportError, doctest.UnexpectedException) as error:
            cause = error.exc_info[1] if hasattr(error, "exc_info") else error
            if isinstance(cause, ImportError) and "galsim" in str(cause).lower():
                pytest.skip("needs GalSim, which has no wheels for Windows")
            raise


def pytest_configure(config: pytest.Config) -> None:
    """Skip what needs GalSim on Windows, and nowhere else."""
    if sys.platform == "win32":
        config.pluginmanager.register(SkipsWithoutGalSim())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers get what test modules define; skip what needs a missing device."""
    # Worker processes cannot import test modules.
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        cloudpickle.register_pickle_by_value(module)
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
