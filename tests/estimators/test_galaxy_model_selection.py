# SPDX-License-Identifier: BSD-3-Clause
"""Estimators of images inside scikit-learn's searches and pipelines, and pickled."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny

from skastro import CropPadImages, GalaxyClassifier, GalaxyRegressor, Pipeline
from skastro.augmentation import PixelNoise, RandomDihedral

SHAPE = (10, 8, 3)


def tiny(estimator=GalaxyClassifier, module="resnet10", **params):
    """Make an instance that trains in a moment."""
    return make_tiny(estimator, module, **({"max_epochs": 8} | params))


@pytest.fixture
def images():
    """Make images of two classes that no turn or flip alters, and labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 120, size=(60, *SHAPE), dtype=np.uint8)
    y = np.array(["disk", "round"])[np.arange(60) % 2]
    X[y == "round", 3:7, 2:6] += 120
    return X, y


@parametrize_with_checks(
    [
        tiny(
            module="mlp",
            normalization=None,
            stretch="asinh",
            augment=PixelNoise(),
            backbone_lr=1e-2,
            tta=True,
            max_epochs=12,
        )
    ]
)
def test_sklearn_contract_with_many_options(estimator, check):
    check(estimator)


def test_search_over_module_and_augmentation(images):
    X, y = images
    grid = [
        {
            "module": ["resnet18"],
            "module__width": [4],
            "augment": ["rotations", None],
            "tta": [True],
        },
        {"module": ["mlp"], "augment": [None, RandomDihedral(flips=False)]},
    ]
    search = GridSearchCV(tiny(), grid, cv=2, error_score="raise")
    assert search.fit(X, y).best_score_ > 0.8
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.module_sizes_["input_size"] == SHAPE[:2]
    assert search.predict(X).dtype == y.dtype


def test_regressor_search_over_module_and_augmentation(images):
    X, _ = images
    y = X[..., 1].mean(axis=(1, 2)) + 100.0
    grid = {"module": ["resnet18", "mlp"], "augment": ["symmetries", None]}
    reg = tiny(GalaxyRegressor, max_epochs=3, stretch="asinh")
    search = GridSearchCV(reg, grid, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(X).shape == y.shape


def gradient_histograms(rows):
    """Count the directions of the gradients in each half of the images."""
    gray = rows.reshape(-1, *SHAPE).mean(axis=-1)
    down, right = np.gradient(gray, axis=(1, 2))
    strength = np.hypot(down, right)
    bins = (np.arctan2(down, right) + np.pi) // (np.pi / 4) % 8
    halves = [np.s_[:, :5], np.s_[:, 5:]]
    return np.stack(
        [
            (strength * (bins == number))[half].sum(axis=(1, 2))
            for half in halves
            for number in range(8)
        ],
        axis=1,
    )


@pytest.mark.parametrize("estimator", [GalaxyClassifier, GalaxyRegressor])
def test_pipelines_on_flattened_images(images, estimator):
    X, y = images
    flat = X.reshape(len(X), -1)
    if estimator is GalaxyRegressor:
        y = (y == "round").astype(float)
    net = tiny(estimator, max_epochs=15)
    least = 0.8 if estimator is GalaxyClassifier else 0.5
    for first in (PCA(5, random_state=0), FunctionTransformer(gradient_histograms)):
        pipe = make_pipeline(first, StandardScaler(), clone(net).set_params(tta=True))
        pipe.set_params(**{f"{estimator.__name__.lower()}__module": "mlp"})
        assert cross_val_score(pipe, flat, y, cv=3, error_score="raise").min() > least
    # Rows stay images behind a step that scales them.
    pipe = make_pipeline(
        StandardScaler(), tiny(estimator, image_shape=SHAPE, module__width=4)
    )
    assert pipe.fit(flat, y).predict(flat).shape == y.shape
    assert pipe[-1].module_sizes_["input_size"] == SHAPE[:2]


def test_crops_in_front(images):
    X, y = images
    unequal = [image[: 8 + row % 3] for row, image in enumerate(X)]
    pipe = Pipeline([CropPadImages(8), tiny(module__width=4)])
    grid = {"croppadimages__size": [7, 8], "galaxyclassifier__augment": [None]}
    assert pipe.fit(unequal, y).score(unequal, y) > 0.8
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_[-1].sample_shape_ in {(7, 7, 3), (8, 8, 3)}


def test_clone_of_a_fitted_net_refits_on_other_images(images):
    X, y = images
    clf = tiny(module__width=4, stretch="asinh", augment="rotations", max_epochs=1)
    copy = clone(clf.fit(X, y))
    assert not hasattr(copy, "channel_sky_")
    assert copy.get_params().keys() == clf.get_params().keys()
    copy.fit(X[:, :, :5, 0].astype(np.float32), y)
    assert copy.module_sizes_ == {
        "n_channels": 2,
        "n_outputs": 2,
        "input_size": (10, 5),
    }
    assert clf.channel_mean_.shape == (6,)


@pytest.mark.parametrize("estimator", [GalaxyClassifier, GalaxyRegressor])
def test_pickle_loads_in_another_process(images, estimator, tmp_path):
    X, y = images
    if estimator is GalaxyRegressor:
        y = np.stack([np.arange(60.0), 1e6 + X.mean(axis=(1, 2, 3))], axis=1)
    net = tiny(
        estimator,
        module__width=4,
        stretch="asinh",
        augment=RandomDihedral(),
        tta=True,
        max_epochs=1,
    ).fit(X, y)
    joblib.dump(net, tmp_path / "net.joblib")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "expected.npy", net.predict(X))
    script = (
        "import sys, joblib, numpy as np\n"
        "assert 'torch' not in sys.modules\n"
        "net = joblib.load('net.joblib')\n"
        "import torch; torch.set_num_threads(1)\n"
        "result = net.predict(np.load('X.npy'))\n"
        "np.testing.assert_array_equal(result, np.load('expected.npy'))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize("estimator", [GalaxyClassifier, GalaxyRegressor])
def test_training_on_keeps_what_was_learnt_of_the_images(images, estimator):
    X, y = images
    y = y if estimator is GalaxyClassifier else np.arange(60.0)
    net = tiny(
        estimator, module__width=4, stretch="asinh", backbone_lr=0, warm_start=True
    ).fit(X, y)
    names = ("channel_mean", "channel_s", "target_mean", "target_scale")
    learned = {k: v for k, v in vars(net).items() if k.startswith(names)}
    assert len(learned) == (4 if estimator is GalaxyClassifier else 6)
    net.fit(X // 2, y)
    net.partial_fit(X // 2, y)
    # A new backbone, or width, does not change what its images look like.
    net.set_params(module__width=6).partial_fit(X // 2, y)
    assert all(vars(net)[name] is value for name, value in learned.items())
    net.set_params(warm_start=False).fit(X // 2, y)
    assert (net.channel_mean_[:3] < learned["channel_mean_"][:3]).all()
