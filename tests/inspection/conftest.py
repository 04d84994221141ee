# SPDX-License-Identifier: BSD-3-Clause
"""Spectra, images and latent points for displays, and networks for activation maps."""

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from skastro import SpectrumClassifier
from skastro.networks import ResNet

# Of the points that stand for a latent space.
CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Close what a test leaves open."""
    yield
    plt.close("all")


@pytest.fixture
def groups() -> tuple[np.ndarray, np.ndarray]:
    """Return points around three centers, in a random order, and their groups."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    return CENTERS[labels] + rng.normal(size=(60, 2)), labels


@pytest.fixture
def pictures() -> np.ndarray:
    """Return images of bytes, 6 x 9 in three colors, each with a level of its own."""
    levels = np.arange(60, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(levels, (60, 6, 9, 3)) + np.arange(3, dtype=np.uint8)


@pytest.fixture
def drawn_images() -> Callable[[Axes], list[np.ndarray]]:
    """Return a function that gives the arrays that axes show."""
    return lambda ax: [np.asarray(image.get_array()) for image in ax.images]


@pytest.fixture(scope="session")
def quiet() -> dict[str, Any]:
    """Return parameters of networks that are used up at once."""
    return {"verbose": 0, "random_state": 0, "device": "cpu", "train_split": None}


@pytest.fixture
def untrained(quiet: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that fits for one step: all sizes and labels are known."""

    def fit(
        X: np.ndarray,
        classifier: type = SpectrumClassifier,
        n_classes: int = 3,
        **params: Any,
    ) -> Any:
        y = np.array(["a", "b", "c"])[np.arange(len(X)) % n_classes]
        clf = classifier(max_epochs=1, batch_size=-1, **quiet, **params)
        return clf.fit(X, y)

    return fit


@pytest.fixture
def flux() -> Callable[..., np.ndarray]:
    """Return a function that makes spectra of noise."""

    def make(
        n: int = 6, length: int = 117, n_channels: int | None = None
    ) -> np.ndarray:
        shape = (n, length) if n_channels is None else (n, n_channels, length)
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    return make


@pytest.fixture
def images() -> Callable[..., np.ndarray]:
    """Return a function that makes images of noise."""

    def make(n_channels: int = 3) -> np.ndarray:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, size=(6, 23, 31, n_channels), dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def line_data() -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """Return a function that makes spectra; "line" has a line at 400 to 420."""

    def make(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 1000)).astype(np.float32)
        y = np.array(["line", "none"])[np.arange(n) % 2]
        X[y == "line", 400:421] += 4
        return X, y

    return make


@pytest.fixture(scope="session")
def line_classifier(line_data: Callable[..., Any]) -> SpectrumClassifier:
    """Train a network to find the line."""
    X, y = line_data(80, seed=0)
    clf = SpectrumClassifier(
        ResNet,
        module__width=8,
        module__n_blocks=(1, 1),
        module__kernel_size=7,
        max_epochs=15,
        augment=None,
        verbose=0,
        random_state=0,
        device="cpu",
    )
    clf.fit(X, y)
    assert clf.score(*line_data(40, seed=1)) == 1
    return clf
