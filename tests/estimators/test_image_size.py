# SPDX-License-Identifier: BSD-3-Clause
"""Images that are resampled for the network."""

import pickle
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tiny_estimators import make_tiny
from torch import nn
from torch.nn.functional import interpolate

from skastro import GalaxyClassifier, GalaxyRegressor, load_model, save_model
from skastro.estimators._images import resample
from skastro.inspection import class_activation_map, deletion_score
from skastro.utils import LazyArray

pytestmark = pytest.mark.once

tiny = partial(make_tiny, GalaxyClassifier, module__width=4, max_epochs=2)
SIZES = [(69, 64), (64, 69), (31, 9), (8, 50), (16, 8), (7, 7), (1, 3)]


def of_torch(X, size):
    """Resample (n, height, width, n_channels) by torch's own function."""
    images = torch.from_numpy(X).movedim(-1, 1).double()
    return interpolate(images, size, mode="bilinear", antialias=True)


@pytest.fixture
def images():
    """Make bytes of two classes, 21 x 14 pixels in three colors, and labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, size=(40, 21, 14, 3), dtype=np.uint8)
    y = np.repeat(["edge-on", "face-on"], 20)
    X[y == "edge-on", 9:12, :, 1] += 120
    return X, y


# Numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("width", SIZES, ids=str)
@pytest.mark.parametrize("height", SIZES[::3], ids=str)
def test_the_same_as_torch(height, width, dtype):
    X = torch.randn(3, 2, height[0], width[0], dtype=dtype) + 10
    found = resample(X, (height[1], width[1]))
    expected = interpolate(
        X, (height[1], width[1]), mode="bilinear", antialias=True, align_corners=False
    )
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


def test_one_pixel_remains():
    """Torch's own function errs where one column remains and the height changes."""
    X = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    # The triangle is as wide as two new pixels.
    rows = torch.tensor([5, 7, 7, 5], dtype=torch.float64) / 24
    columns = torch.tensor([3, 4, 5, 4, 3], dtype=torch.float64) / 19
    expected = torch.einsum("y,ncyx,x->nc", rows, X, columns)
    torch.testing.assert_close(
        resample(X, (1, 1))[..., 0, 0], expected, rtol=1e-6, atol=0
    )


def test_flux_is_averaged():
    X = torch.rand(2, 1, 12, 20, dtype=torch.float64)
    half = resample(X, (6, 10))
    # Weights of the triangle of two new pixels, away from the edge.
    weights = torch.tensor([1, 3, 3, 1], dtype=torch.float64) / 8
    expected = weights @ X[0, 0, 3:7, 5:9] @ weights
    torch.testing.assert_close(half[0, 0, 2, 3], expected, rtol=1e-6, atol=0)
    # Wherever a star is, it is seen with its flux.
    X = torch.zeros(30, 1, 64, 64)
    X[range(30), 0, range(17, 47), range(17, 47)] = 1
    flux = resample(X, (9, 9)).sum((1, 2, 3)) * (64 / 9) ** 2
    torch.testing.assert_close(flux, torch.ones(30), rtol=0.02, atol=0)


def test_weights_are_kept_for_gradients_too():
    X = torch.rand(1, 1, 11, 13)
    with torch.inference_mode():
        resample(X, (8, 9))
    X.requires_grad_()
    resample(X, (8, 9)).sum().backward()
    assert X.grad.min() > 0


# What the network sees ----------------------------------------------------------------


class Seen(nn.Module):
    """A network that notes its training batches and the sizes that it is told."""

    def __init__(self, n_channels, n_outputs, input_size):
        super().__init__()
        self.sizes = n_channels, input_size
        self.linear = nn.Linear(n_channels, n_outputs)
        self.batches = []

    def forward(self, x):
        """Classify by the means of the channels."""
        assert x.shape[1:] == (self.sizes[0], *self.sizes[1])
        if self.training:
            self.batches.append(x.detach().clone())
        return self.linear(x.mean(dim=(2, 3)))


LAYOUTS = ["last", "first", "gray", "flat", "numbers", "lazy"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("image_size", [9, 32])
def test_images_of_all_layouts(images, layout, image_size, tmp_path):
    X, y = images
    settings = {}
    expected = X
    if layout == "first":
        X, settings = np.moveaxis(X, -1, 1), {"channel_axis": 1}
    elif layout == "gray":
        X, expected = X[..., 0], X[..., :1]
    elif layout == "flat":
        X, settings = X.reshape(40, -1), {"image_shape": (21, 14, 3)}
    elif layout == "numbers":
        X = expected = X * 7.5
    elif layout == "lazy":
        with h5py.File(tmp_path / "X.h5", "w") as file:
            file["images"] = X
        X = LazyArray(h5py.File(tmp_path / "X.h5")["images"])
    seen = []
    clf = GalaxyClassifier(
        Seen,
        image_size=image_size,
        augment=lambda batch: seen.append(batch) or batch,
        max_epochs=1,
        batch_size=-1,
        train_split=None,
        verbose=0,
        device="cpu",
        random_state=0,
        **settings,
    ).fit(X, y)
    size = (9, 6) if image_size == 9 else (32, 21)
    unit = 1 if layout == "numbers" else 255
    expected = of_torch(expected, size) / unit
    n_channels = expected.shape[1]
    assert clf.module_.sizes == (n_channels, size)
    assert clf.module_sizes_["input_size"] == size
    # The batch is shuffled.
    given = seen[0].double()
    order = [torch.argsort(batch.mean((1, 2, 3))) for batch in (given, expected)]
    torch.testing.assert_close(
        given[order[0]], expected[order[1]], rtol=1e-5, atol=1e-5 * 255 / unit
    )
    mean, scale = expected.mean((0, 2, 3)), expected.std((0, 2, 3), correction=0)
    np.testing.assert_allclose(clf.channel_mean_, mean, rtol=1e-5)
    np.testing.assert_allclose(clf.channel_scale_, scale, rtol=1e-4)
    batch = clf.module_.batches[0]
    np.testing.assert_allclose(batch.mean((0, 2, 3)), 0, atol=1e-4)
    assert clf.predict_proba(X).shape == (40, 2)
    assert clf.module_input(X).shape[2:] == size


def test_the_same_as_images_that_were_resampled_before(images):
    X, y = images
    small = of_torch(X, (12, 8)).movedim(1, -1).float().numpy()
    settings = {"image_size": 12, "stretch": "asinh", "tta": True, "augment": None}
    numbers = X.astype(np.float32)
    clf = tiny(**settings).fit(numbers, y)
    before = tiny(**settings | {"image_size": None}).fit(small, y)
    np.testing.assert_allclose(clf.channel_sky_, before.channel_sky_, rtol=1e-5)
    np.testing.assert_allclose(clf.channel_mean_, before.channel_mean_, rtol=1e-5)
    found, expected = clf.predict_proba(numbers), before.predict_proba(small)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(
        clf.score_samples(numbers), before.score_samples(small), atol=2e-3
    )
    # Nothing is resampled where the size is that of X.
    same = tiny(image_size=12, augment=None).fit(small, y)
    other = tiny(augment=None).fit(small, y)
    np.testing.assert_allclose(
        same.predict_proba(small), other.predict_proba(small), atol=1e-3
    )


@pytest.mark.parametrize("tta", [True, "rotations"])
def test_averages_over_symmetries(images, tta):
    X, y = images[0][:, :14], images[1]
    clf = tiny(image_size=9).fit(X, y)
    sides = [X, X[:, :, ::-1]] if tta is True else [X]
    views = [np.rot90(side, turn, (1, 2)) for side in sides for turn in range(4)]
    expected = np.mean([clf.predict_proba(view) for view in views], axis=0)
    found = clf.set_params(tta=tta).predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# Refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("image_size", [7, 0, 8.0, "64", (64, 64), True])
def test_the_size_is_checked(images, image_size):
    with pytest.raises(ValueError, match="'image_size' parameter"):
        tiny(image_size=image_size).fit(*images)


def test_a_module_that_takes_no_sizes(images):
    clf = GalaxyClassifier(nn.Linear(3, 2), image_size=16, verbose=0)
    with pytest.raises(ValueError, match=r"image_size=16 resamples .* takes no sizes"):
        clf.fit(*images)


def test_rows_that_are_no_images():
    X, y = np.random.default_rng(0).normal(size=(40, 20)), np.arange(40) % 2
    with pytest.raises(ValueError, match=r"image_size=16 .* X is 2-D: say by image_sh"):
        tiny(image_size=16).fit(X, y)


def test_images_of_another_size_than_in_fit(images):
    X, y = images
    clf = tiny(image_size=9).fit(X, y)
    with pytest.raises(ValueError, match="was fitted on samples of shape"):
        clf.predict(X[:, 1:])


# Learned state ------------------------------------------------------------------------


def test_predictions_go_with_the_fit(images, tmp_path):
    X, y = images
    clf = tiny(image_size=9).fit(X, y)
    expected = clf.predict_proba(X)
    clf.set_params(image_size=None)
    np.testing.assert_array_equal(clf.predict_proba(X), expected)
    with pytest.raises(ValueError, match="trained with image_size=9"):
        clf.partial_fit(X, y)
    clf.set_params(image_size=9)
    assert clone(clf).image_size == 9
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    clf.save_params(tmp_path / "weights.pt")
    other = tiny()
    other.load_params(tmp_path / "weights.pt")
    np.testing.assert_array_equal(other.predict_proba(X), expected)
    save_model(clf, tmp_path / "a.skastro")
    loaded = load_model(tmp_path / "a.skastro")
    assert loaded.image_size == 9
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    # The next fit takes the size that is set.
    clf.set_params(image_size=16).fit(X, y)
    assert clf.module_sizes_["input_size"] == (16, 11)


def test_going_on(images):
    X, y = images
    clf = tiny(image_size=np.int64(10), warm_start=True).fit(X, y).fit(X, y)
    clf.partial_fit(X, y)
    assert clf.module_sizes_["input_size"] == (10, 7)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_search_over_sizes(images):
    X, y = images
    grid = {"image_size": [None, 8, 16]}
    clf = GalaxyClassifier(
        Seen, max_epochs=20, lr=0.1, random_state=0, verbose=0, device="cpu"
    )
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    assert search.cv_results_["mean_test_score"].min() > 0.9


def test_numbers(images):
    X, _ = images
    reg = make_tiny(GalaxyRegressor, image_size=10, max_epochs=2, tta=True)
    reg.fit(X, X.mean(axis=(1, 2, 3)))
    assert reg.predict(X).shape == (40,)
    assert reg.module_sizes_["input_size"] == (10, 7)


def test_recipe(images):
    clf = GalaxyClassifier.from_recipe(
        "mlp", image_size=8, max_epochs=1, verbose=0, device="cpu"
    ).fit(*images)
    assert clf.predict_proba(images[0]).shape == (40, 2)


def test_a_file_that_asks_for_huge_images(images, tmp_path):
    clf = tiny(image_size=9).fit(*images)
    clf.kept_params_["image_size"] = 10**9
    # It is read before it is kept.
    with pytest.raises(ValueError, match="images of 1000000000 pixels"):
        save_model(clf, tmp_path / "a.skastro")


# Maps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("image_size", [9, 32])
def test_maps_have_the_pixels_of_x(images, image_size):
    X, y = images
    clf = tiny(
        image_size=image_size,
        module__stem="stride1",
        module__n_blocks=(1,),
    ).fit(X, y)
    maps = class_activation_map(clf, X, "edge-on")
    assert maps.shape == (40, 21, 14)
    assert maps.dtype == np.float32
    with torch.no_grad():
        features = clf.module_.eval().forward_features(clf.module_input(X))
    found = torch.einsum("nkyx,k->nyx", features, clf.module_.fc.weight[0].detach())
    assert found.shape[1:] == clf.module_sizes_["input_size"]
    torch.testing.assert_close(
        torch.from_numpy(maps), resample(found, (21, 14)), rtol=1e-4, atol=1e-4
    )
    assert deletion_score(clf, X[:4], random_state=0).drop.shape == (4,)
