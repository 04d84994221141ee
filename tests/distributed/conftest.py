# SPDX-License-Identifier: BSD-3-Clause
"""Clusters, a model and its rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@pytest.fixture(scope="package")
def client() -> Iterator[Client]:
    """Start workers that are threads of this process."""
    with (
        LocalCluster(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def X() -> np.ndarray:
    """Make rows."""
    return np.random.default_rng(0).normal(size=(103, 6)).astype(np.float32)


@pytest.fixture(scope="session")
def model(X: np.ndarray) -> Any:
    """Fit a pipeline."""
    y = np.array(["GALAXY", "QSO", "Σ"])[X[:, :3].argmax(axis=1)]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
