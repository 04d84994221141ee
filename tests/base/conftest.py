# SPDX-License-Identifier: BSD-3-Clause
"""Spectra that a network tells apart, and a network that learns to in a blink."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import SpectrumClassifier

LENGTH = 48


@pytest.fixture
def spectra() -> tuple[np.ndarray, np.ndarray]:
    """Make two classes of spectra that a network tells apart."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, LENGTH)).astype(np.float32)
    y = np.repeat(["GALAXY", "STAR"], 60)
    X[y == "STAR", 10:20] += 1.5
    return X, y


@pytest.fixture
def on_disk(
    spectra: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> Iterator[h5py.Dataset]:
    """Write the spectra into an HDF5 file and open it."""
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file.create_dataset("flux", data=spectra[0], chunks=(16, LENGTH))
    with h5py.File(tmp_path / "spectra.h5") as file:
        yield file["flux"]


@pytest.fixture
def tiny() -> Callable[..., SpectrumClassifier]:
    """Return a function that makes an instance which trains in a moment."""
    return partial(make_tiny, SpectrumClassifier, max_epochs=6)
