# SPDX-License-Identifier: BSD-3-Clause
"""A model, its rows, and a reader of what is written about them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LABELS = ["Be, or B[e]", 'say "star"', "Σ-Quasar"]


@pytest.fixture(scope="session")
def X() -> np.ndarray:
    """Make rows."""
    return np.random.default_rng(0).normal(size=(103, 6)).astype(np.float32)


@pytest.fixture(scope="session")
def y(X: np.ndarray) -> np.ndarray:
    """Make their labels, which a table has to quote."""
    return np.array(LABELS)[X[:, :3].argmax(axis=1)]


@pytest.fixture(scope="session")
def model(X: np.ndarray, y: np.ndarray) -> Any:
    """Fit a pipeline."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)


@pytest.fixture
def read_csv() -> Callable[[Path], tuple[list[str], list[list[str]]]]:
    """Return a function that reads a table's header and its lines."""

    def read(path: Path) -> tuple[list[str], list[list[str]]]:
        with open(path, encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
        return header, lines

    return read
