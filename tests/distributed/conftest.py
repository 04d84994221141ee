# SPDX-License-Identifier: BSD-3-Clause
"""Clusters, a model and its rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skastro.distributed import predict


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


@pytest.fixture
def run(client: Client, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Return a function that predicts in partitions of the module's size."""

    def run(model: Any, X: Any, out: str = "a.h5", **arguments: Any) -> Path:
        size = request.module.PARTITION_SIZE
        options = {"client": client, "partition_size": size, "verbose": 0} | arguments
        return predict(model, X, out=tmp_path / out, **options)

    return run
