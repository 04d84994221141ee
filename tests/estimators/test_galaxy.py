# SPDX-License-Identifier: BSD-3-Clause
"""GalaxyClassifier: the layouts of images, their normalization, real galaxies."""

from functools import partial

import h5py
import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_estimators import make_tiny
from torch import nn

from skastro import GalaxyClassifier
from skastro.datasets import ImageFiles

tiny = partial(make_tiny, GalaxyClassifier, module__width=4, max_epochs=6)


@pytest.fixture
def images():
    """Make images of two classes, of other height than width, and their labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, size=(60, 12, 9, 3), dtype=np.uint8)
    y = np.repeat(["edge-on", "face-on"], 30)
    X[y == "edge-on", 5:7, :, 1] += 120
    return X, y


def test_named_augmentations_leave_rows_of_numbers_alone():
    # Images of one row have no symmetry that keeps the numbers' meaning.
    X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    y = np.arange(40) % 2
    settings = {"max_epochs": 3, "lr": 1e-2, "random_state": 0, "verbose": 0}
    default = GalaxyClassifier("mlp", **settings).fit(X, y)
    alone = GalaxyClassifier("mlp", augment=None, **settings).fit(X, y)
    np.testing.assert_array_equal(default.predict_proba(X), alone.predict_proba(X))
    turned = GalaxyClassifier("mlp", image_shape=(2, 3), **settings).fit(X, y)
    assert not np.allclose(turned.predict_proba(X), alone.predict_proba(X))


@pytest.mark.once
@parametrize_with_checks(
    [
        GalaxyClassifier(
            "mlp",
            class_weight="balanced",
            sampler="balanced",
            max_epochs=10,
            lr=1e-2,
            batch_size=32,
            verbose=0,
        ),
    ]
)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2, -3])
def test_channels_may_stand_on_any_axis(images, axis):
    X, y = images
    expected = tiny().fit(X, y)
    moved = np.moveaxis(X, -1, axis)
    clf = tiny(channel_axis=axis).fit(moved, y)
    np.testing.assert_array_equal(clf.predict_proba(moved), expected.predict_proba(X))
    assert clf.module_sizes_ == {
        "n_channels": 3,
        "input_size": (12, 9),
        "n_outputs": 2,
    }


def test_flattened_images(images):
    X, y = images
    flat = X.reshape(60, -1)
    expected = tiny().fit(X, y).predict_proba(X)
    clf = tiny(image_shape=(12, 9, 3)).fit(flat, y)
    np.testing.assert_array_equal(clf.predict_proba(flat), expected)
    gray = tiny(image_shape=(36, 9)).fit(flat, y)
    assert gray.module_sizes_["n_channels"] == 1
    assert gray.module_sizes_["input_size"] == (36, 9)
    with pytest.raises(
        ValueError, match="rows of 324 numbers, which look like spectra"
    ):
        tiny().fit(flat, y)
    row = tiny(image_shape=(1, 324)).fit(flat, y)
    assert row.module_sizes_["input_size"] == (1, 324)
    search = GridSearchCV(clf, {"module": ["resnet18"], "lr": [1e-2, 1e-3]}, cv=2)
    assert search.fit(flat, y).best_score_ > 0.5


def test_grey_images(images):
    X, y = images
    X = X[..., 1]
    clf = tiny().fit(X, y)
    np.testing.assert_array_equal(
        clf.predict_proba(X), tiny().fit(X[..., None], y).predict_proba(X[..., None])
    )
    assert clf.channel_mean_.shape == (1,)


@pytest.mark.parametrize(
    "shape",
    [(0, 12), (12, 8, 3), (324, 1, 1, 1), (-12, -9, 3), (12.0, 9.0, 3.0), "auto"],
)
def test_bad_image_shapes(images, shape):
    flat = images[0].reshape(60, -1)
    with pytest.raises(ValueError, match="image_shape"):
        tiny(image_shape=shape).fit(flat, images[1])


def test_channel_axis_is_checked(images):
    with pytest.raises(ValueError, match="'channel_axis' parameter"):
        tiny(channel_axis=0).fit(*images)


class Seen(nn.Module):
    """A network that notes what it is given."""

    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_channels, n_outputs)
        self.batches = []

    def forward(self, x):
        """Classify by the channels' means."""
        if self.training:
            self.batches.append(x.detach().clone())
        return self.linear(x.mean(dim=(2, 3)))


def test_channels_are_normalized_by_the_training_images():
    rng = np.random.default_rng(1)
    X = rng.normal([1e3, -2.0, 0.5], [200.0, 3.0, 0.1], size=(80, 7, 10, 3))
    clf = GalaxyClassifier(Seen, augment=None, max_epochs=1, verbose=0, random_state=0)
    clf.fit(X, np.arange(80) % 2)
    np.testing.assert_allclose(clf.channel_mean_, [1e3, -2, 0.5], rtol=0.05)
    np.testing.assert_allclose(clf.channel_scale_, [200, 3, 0.1], rtol=0.05)
    seen = torch.cat(clf.module_.batches)
    assert len(seen) == 72
    means, scales = seen.mean(dim=(0, 2, 3)), seen.std(dim=(0, 2, 3))
    np.testing.assert_allclose(means, 0, atol=1e-4)
    np.testing.assert_allclose(scales, 1, atol=1e-3)


def test_bytes_are_divided_by_255(images):
    X, y = images
    clf = GalaxyClassifier(
        Seen, max_epochs=1, verbose=0, random_state=0, train_split=None
    ).fit(X, y)
    expected = X.reshape(-1, 3) / 255
    np.testing.assert_allclose(clf.channel_mean_, expected.mean(axis=0))
    np.testing.assert_allclose(clf.channel_scale_, expected.std(axis=0))
    # Other images do not change what the network was trained with.
    half = clf.predict_proba(X[:10])
    np.testing.assert_allclose(clf.predict_proba(X)[:10], half, atol=1e-6)
    # A fit on other images starts anew.
    clf.fit(X // 2, y)
    assert (clf.channel_mean_ < expected.mean(axis=0)).all()


@pytest.mark.parametrize("stretch", [None, "asinh"])
def test_normalization_that_does_not_look_at_the_images(images, stretch):
    X, y = images
    common = {"max_epochs": 1, "verbose": 0, "train_split": None, "stretch": stretch}
    common["augment"] = None
    clf = GalaxyClassifier(Seen, normalization=None, **common).fit(X, y)
    raw = torch.cat(clf.module_.batches)[:, :3]
    assert raw.min() == 0
    assert raw.max() == pytest.approx(X.max() / 255)
    np.testing.assert_allclose(
        raw.mean(dim=(0, 2, 3)), X.mean(axis=(0, 1, 2)) / 255, rtol=1e-4
    )
    clf = GalaxyClassifier(Seen, normalization="imagenet", **common).fit(X, y)
    seen = torch.cat(clf.module_.batches)
    expected = (X.mean(axis=(0, 1, 2)) / 255 - [0.485, 0.456, 0.406]) / [
        0.229,
        0.224,
        0.225,
    ]
    np.testing.assert_allclose(seen[:, :3].mean(dim=(0, 2, 3)), expected, rtol=1e-4)
    # Compressed copies of the channels are normalized by the training images.
    np.testing.assert_allclose(seen[:, 3:].mean(dim=(0, 2, 3)), 0, atol=1e-4)


def test_normalization_is_checked(images):
    X, y = images
    with pytest.raises(ValueError, match="'normalization' parameter"):
        tiny(normalization="minmax").fit(X, y)
    with pytest.raises(ValueError, match=r"images of 3 channels, but X has 1\."):
        tiny(normalization="imagenet").fit(X[..., 0], y)


def test_an_empty_channel_does_no_harm(images):
    X, y = images
    X = X.astype(np.float32)
    X[..., 2] = 0.1
    clf = tiny().fit(X, y)
    assert clf.channel_scale_[2] == 1
    assert np.isfinite(clf.predict_proba(X)).all()


def test_augmentation_sees_normalized_training_images(images):
    X, y = images
    seen = []

    def augment(batch):
        seen.append(batch)
        return batch.flip(-1)

    tiny(augment=augment, max_epochs=1, batch_size=20).fit(X, y)
    assert [tuple(batch.shape[1:]) for batch in seen] == [(3, 12, 9)] * 3
    assert 0 <= min(batch.min() for batch in seen)
    assert max(batch.max() for batch in seen) <= 1
    # 54 training images; the six of the validation split are left alone.
    assert sum(len(batch) for batch in seen) == 54


def test_a_module_without_sizes_gets_x_as_it_is(images):
    X, y = images
    clf = GalaxyClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(324, 2)), max_epochs=1, verbose=0
    ).fit(X, y)
    assert clf.predict_proba(X).shape == (60, 2)


class AsGiven(nn.Module):
    """A network that takes no sizes, and notes what it is given."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.batches = []

    def forward(self, x):
        """Classify by the mean."""
        if self.training:
            self.batches.append(x.detach().clone())
        return self.linear(x.flatten(1).mean(dim=1, keepdim=True))


@pytest.mark.parametrize("layout", ["last", "first", "gray", "flat"])
def test_augmentation_for_a_module_without_sizes(images, layout):
    """Operations see images; the module sees what the user has, varied."""
    X, y = images
    settings = {"image_shape": (12, 9, 3)} if layout == "flat" else {}
    if layout == "first":
        X, settings = np.moveaxis(X, -1, 1), {"channel_axis": 1}
    elif layout == "gray":
        X = X[..., 0]
    given = X.reshape(60, -1) if layout == "flat" else X
    seen = []

    def upside_down(batch):
        seen.append(batch)
        return batch.flip(2)

    clf = GalaxyClassifier(
        AsGiven,
        augment=upside_down,
        max_epochs=1,
        batch_size=-1,
        train_split=None,
        sampler=None,
        verbose=0,
        random_state=0,
        **settings,
    ).fit(given, y)
    assert seen[0].shape == (60, 1 if layout == "gray" else 3, 12, 9)
    assert seen[0].max() == pytest.approx(X.max() / 255)
    rows = X[:, :, ::-1] if layout == "first" else X[:, ::-1]
    varied = clf.module_.batches[0].numpy().reshape(X.shape)
    # The batch is shuffled.
    order = np.lexsort(varied.reshape(60, -1)[:, :4].round().T)
    expected = np.lexsort(rows.reshape(60, -1)[:, :4].T)
    np.testing.assert_allclose(varied[order], rows[expected], atol=1e-4)


def test_stretch_needs_a_module_that_takes_sizes(images):
    with pytest.raises(ValueError, match=r"stretch='asinh' doubles .* takes no sizes"):
        GalaxyClassifier(AsGiven, stretch="asinh", verbose=0).fit(*images)


@pytest.mark.parametrize(
    "wrong",
    [lambda batch: batch[:, :1], lambda batch: None, lambda batch: batch.numpy()],
    ids=["one-channel", "nothing", "array"],
)
def test_augmentation_that_gives_something_else(images, wrong):
    with pytest.raises(ValueError, match=r"augment must give a Tensor .*3, 12, 9\)"):
        tiny(augment=wrong).fit(*images)


@pytest.mark.parametrize("augment", ["rotations", "resclass"])
def test_same_seed_same_result_and_global_generators_untouched(images, augment):
    X, y = images
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = tiny(augment=augment, max_epochs=2).fit(X, y)
    again = tiny(augment=augment, max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), again.predict_proba(X))
    other = tiny(augment=augment, max_epochs=2, random_state=1).fit(X, y)
    assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_images_in_files(images, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    X, y = images
    paths = [tmp_path / f"{number}.png" for number in range(len(X))]
    for path, image in zip(paths, X, strict=True):
        pillow.fromarray(image).save(path)
    clf = tiny(max_epochs=15).fit(paths, y)
    assert clf.score(ImageFiles(paths), y) > 0.9
    np.testing.assert_allclose(clf.predict_proba(paths), clf.predict_proba(X))


@pytest.mark.once
def test_real_galaxies(data_dir):
    with h5py.File(data_dir / "galaxies_efigi.h5") as file:
        X, y = file["images"][:, 12:76:2, 12:76:2], file["ans"][:]
    wanted = np.isin(y, [0, 3])
    X, X_test, y, y_test = train_test_split(
        X[wanted], y[wanted], test_size=0.25, stratify=y[wanted], random_state=0
    )
    clf = GalaxyClassifier(
        module__width=8, max_epochs=6, batch_size=32, random_state=0, verbose=0
    ).fit(X, y)
    # Elliptical galaxies against late spirals, an easy pair.
    assert balanced_accuracy_score(y_test, clf.predict(X_test)) > 0.85
