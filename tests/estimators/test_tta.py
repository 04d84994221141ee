# SPDX-License-Identifier: BSD-3-Clause
"""Averages over the symmetries of images in prediction."""

import pickle
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from skorch.callbacks import EpochScoring
from tiny_estimators import make_tiny
from torch import nn

from skastro import GalaxyClassifier
from skastro.augmentation import image_symmetries

pytestmark = pytest.mark.once

tiny = partial(make_tiny, GalaxyClassifier, module__width=4, max_epochs=3)


def make_images(*shape, n=40):
    """Make images of two classes that are lit from the top or from the left."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 120, size=(n, *shape), dtype=np.uint8)
    y = np.repeat(["left", "top"], n // 2)
    X[y == "top", :3] += 100
    X[y == "left", :, :3] += 100
    return X, y


def turned(X, flips=True):
    """Turn and mirror images whose rows and columns are axes 1 and 2, by numpy."""
    turns = range(4) if X.shape[1] == X.shape[2] else (0, 2)
    sides = [X, X[:, :, ::-1]] if flips else [X]
    return [np.rot90(side, turn, (1, 2)) for side in sides for turn in turns]


def test_rows_of_numbers_have_no_symmetries():
    X, y = make_images(10, 10)
    flat = X.reshape(len(X), -1)[:, ::4]
    clf = tiny(tta=True).fit(flat, y)
    averaged = clf.predict_proba(flat)
    np.testing.assert_array_equal(
        clf.set_params(tta=False).predict_proba(flat), averaged
    )


@pytest.mark.parametrize("shape", [(10, 10, 3), (10, 10), (8, 11, 3), (11, 8)])
@pytest.mark.parametrize("tta", [True, np.True_, "rotations"])
def test_probabilities_are_the_averages(shape, tta):
    X, y = make_images(*shape)
    clf = tiny().fit(X, y)
    views = [clf.predict_proba(view) for view in turned(X, flips=tta != "rotations")]
    assert len(views) == (8 if shape[0] == shape[1] else 4) // (
        1 + (tta == "rotations")
    )
    assert np.ptp(views, axis=0).max() > 0.01
    clf.set_params(tta=tta)
    averaged = clf.predict_proba(X)
    np.testing.assert_allclose(averaged, np.mean(views, axis=0), atol=1e-5)
    assert averaged.dtype == np.float32
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[averaged.argmax(axis=1)])
    np.testing.assert_array_equal(clf.predict_proba(X), averaged)


@pytest.mark.parametrize("tta", ["rotation", 1, None])
def test_other_values_are_refused_after_fit_too(tta):
    X, y = make_images(8, 8)
    clf = tiny(max_epochs=1).fit(X, y)
    message = "'tta' parameter of GalaxyClassifier must be"
    with pytest.raises(ValueError, match=message):
        clf.set_params(tta=tta)
    clf.tta = tta
    with pytest.raises(ValueError, match=message):
        clf.predict(X)


def test_predictions_do_not_depend_on_the_orientation():
    X, y = make_images(10, 10, 3)
    clf = tiny(tta=True).fit(X, y)
    expected = clf.predict_proba(X)
    for view in turned(X):
        np.testing.assert_allclose(clf.predict_proba(view), expected, atol=1e-5)
    clf.set_params(tta="rotations")
    without_flips = clf.predict_proba(X)
    for view in turned(X, flips=False):
        np.testing.assert_allclose(clf.predict_proba(view), without_flips, atol=1e-5)
    mirrored = clf.predict_proba(X[:, ::-1])
    assert abs(mirrored - without_flips).max() > 1e-3


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_channels_anywhere(axis):
    X, y = make_images(9, 9, 3)
    expected = tiny(tta=True).fit(X, y).predict_proba(X)
    moved = np.moveaxis(X, -1, axis)
    clf = tiny(tta=True, channel_axis=axis).fit(moved, y)
    np.testing.assert_allclose(clf.predict_proba(moved), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(10, 10, 3), (12, 9)])
def test_flattened_images(shape):
    X, y = make_images(*shape)
    expected = tiny(tta=True).fit(X, y).predict_proba(X)
    flat = X.reshape(len(X), -1)
    clf = tiny(tta=True, image_shape=shape).fit(flat, y)
    np.testing.assert_allclose(clf.predict_proba(flat), expected, atol=1e-6)


def test_a_module_that_takes_no_sizes():
    X, y = make_images(10, 10)
    module = nn.Sequential(nn.Flatten(), nn.Linear(100, 2), nn.Softmax(dim=1))
    clf = GalaxyClassifier(
        module,
        criterion=nn.NLLLoss,
        predict_nonlinearity=None,
        max_epochs=1,
        verbose=0,
        random_state=0,
    ).fit(X, y)
    expected = np.mean([clf.predict_proba(view) for view in turned(X)], axis=0)
    clf.set_params(tta=True)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-5)


def test_temperatures_come_before_the_average():
    X, y = make_images(10, 10, 3, n=60)
    clf = tiny(calibrate=True, train_split=0.3).fit(X, y)
    assert clf.temperature_ != 1
    expected = np.mean([clf.predict_proba(view) for view in turned(X)], axis=0)
    temperature = clf.temperature_
    np.testing.assert_allclose(
        clf.set_params(tta=True).predict_proba(X), expected, atol=1e-5
    )
    # It is that of single views, whatever is averaged later.
    assert clf.fit(X, y).temperature_ == temperature


def test_batches_files_and_pickles(tmp_path):
    X, y = make_images(10, 10, 3, n=50)
    clf = tiny(tta=True, batch_size=7).fit(X, y)
    expected = clf.predict_proba(X)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    small = tiny(tta=True, batch_size=7, iterator_valid__batch_size=8).fit(X, y)
    np.testing.assert_allclose(small.predict_proba(X), expected, atol=1e-6)
    path = clf.predict_stream(X, 16, out=tmp_path / "galaxies.h5", verbose=0)
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["predict_proba"][:], expected, atol=1e-6)
    dataset = [(torch.as_tensor(image), 0) for image in X]
    from_dataset = clf.predict_proba(torch.utils.data.Subset(dataset, range(50)))
    np.testing.assert_allclose(from_dataset, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">i2", ">f8"])
def test_arrays_on_disk(tmp_path, dtype):
    X, y = make_images(10, 10, 3, n=50)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = X.astype(dtype)
        clf = tiny(tta=True).fit(file["images"], y)
        averaged = clf.predict_proba(file["images"])
        expected = [clf.predict_proba(view.astype(dtype)) for view in turned(X)]
        np.testing.assert_allclose(averaged, expected[0], atol=1e-5)
        np.testing.assert_allclose(averaged, expected[5], atol=1e-5)


def test_scores_of_samples_follow():
    X, y = make_images(10, 10, 3)
    clf = tiny().fit(X, y)
    views = [clf.score_samples(view) for view in turned(X)]
    clf.set_params(tta=True)
    np.testing.assert_allclose(clf.score_samples(X), np.mean(views, axis=0), atol=1e-5)


class Counting(nn.Module):
    """A network that counts what it is asked."""

    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_channels, n_outputs)
        self.n_evaluated = 0

    def forward(self, x):
        """Classify by the channels' means."""
        if not self.training:
            self.n_evaluated += len(x)
        return self.linear(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("use_caching", ["auto", False])
def test_scores_in_training_are_those_of_single_views(use_caching):
    X, y = make_images(10, 10, 3)

    def accuracy(net, X, y):
        # Not cached: predicts anew.
        return accuracy_score(y, net.predict(X))

    def fit(tta):
        scoring = EpochScoring(accuracy, name="accuracy", lower_is_better=False)
        clf = GalaxyClassifier(
            Counting,
            tta=tta,
            max_epochs=3,
            train_split=0.25,
            callbacks=[scoring],
            use_caching=use_caching,
            verbose=0,
            random_state=0,
        )
        return clf.fit(X, y)

    single, averaged = fit(tta=False), fit(tta=True)
    evaluated = averaged.module_.n_evaluated
    assert evaluated == single.module_.n_evaluated
    assert averaged.history[:, "accuracy"] == single.history[:, "accuracy"]
    averaged.predict(X)
    assert averaged.module_.n_evaluated == evaluated + 8 * len(X)


def test_outputs_of_forward_are_those_of_single_views():
    X, y = make_images(10, 10, 3)
    clf = tiny(tta=True).fit(X, y)
    single = clf.forward(X)
    assert torch.equal(single, clf.set_params(tta=False).forward(X))


@pytest.mark.parametrize("tta", ["flips", 4, None])
def test_bad_values(tta):
    X, y = make_images(10, 10)
    with pytest.raises(ValueError, match="'tta' parameter of GalaxyClassifier"):
        tiny(tta=tta).fit(X, y)


def test_bad_input_is_refused_as_ever():
    X, y = make_images(10, 10)
    clf = tiny(tta=True).fit(X, y)
    X = X.astype(np.float32)
    X[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clf.predict_proba(X)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        clf.predict_proba(X[:0])


def test_views_are_those_of_the_operation():
    X, _ = make_images(10, 10)
    views = image_symmetries(torch.as_tensor(X)[:, None])
    for view, expected in zip(views, turned(X), strict=True):
        np.testing.assert_array_equal(view[:, 0], expected)
