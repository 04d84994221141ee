# SPDX-License-Identifier: BSD-3-Clause
"""CropPadImages: images of any size on one."""

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks

from skastro import CropPadImages, GalaxyClassifier, Pipeline
from skastro.datasets import LazyArray

LENGTHS = [1, 2, 3, 4, 7, 8]


@parametrize_with_checks(
    [
        CropPadImages((2, 3), fill_value=-1),
        CropPadImages((1, 2), channel_axis=1),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 9, 6, 3), dtype=np.uint8)


def by_hand(length, new_length):
    """Give the place of each old pixel on the new axis, counted from the center."""
    places = np.arange(length) - length // 2 + new_length // 2
    return {old: int(new) for old, new in enumerate(places) if 0 <= new < new_length}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("new_length", LENGTHS)
def test_the_central_pixel_stays_central(length, new_length):
    row = np.arange(1, length + 1)
    new = CropPadImages((1, new_length)).transform(row[None, None])[0, 0]
    expected = np.zeros(new_length, row.dtype)
    for old, place in by_hand(length, new_length).items():
        expected[place] = row[old]
    assert_array_equal(new, expected)
    # One row is nothing else than one column.
    column = CropPadImages((new_length, 1)).transform(row[None, :, None])
    assert_array_equal(column[0, :, 0], expected)


@pytest.mark.parametrize("size", [(9, 6), (10, 7), (12, 6), (13, 13)])
def test_cutting_undoes_padding(images, size):
    padded = CropPadImages(size, fill_value=7).transform(images)
    assert padded.shape == (5, *size, 3)
    assert np.count_nonzero(padded != 7) == np.count_nonzero(images != 7)
    assert_array_equal(CropPadImages((9, 6)).transform(padded), images)


def test_two_steps_are_one(images):
    for first in [(9, 6), (7, 5), (4, 6), (5, 3)]:
        two = CropPadImages((3, 2)).transform(CropPadImages(first).transform(images))
        assert_array_equal(two, CropPadImages((3, 2)).transform(images))


@pytest.mark.parametrize("axis", [-1, 1, 2, 3, -2, -3])
def test_channels_may_stand_on_any_axis(images, axis):
    expected = CropPadImages((4, 8)).fit_transform(images)
    moved = np.moveaxis(images, -1, axis)
    crop = CropPadImages((4, 8), channel_axis=axis).fit(moved)
    assert_array_equal(np.moveaxis(crop.transform(moved), axis, -1), expected)
    assert_array_equal(np.moveaxis(crop.transform(list(moved)), axis, -1), expected)


def test_written_out_images(images):
    expected = CropPadImages((4, 8)).fit_transform(images)
    flat = images.reshape(5, -1)
    crop = CropPadImages((4, 8), image_shape=(9, 6, 3)).fit(flat)
    assert_array_equal(crop.transform(flat), expected.reshape(5, -1))
    assert len(crop.get_feature_names_out()) == 4 * 8 * 3
    with pytest.raises(ValueError, match="162 features as input"):
        crop.transform(flat[:, :-3])
    gray = CropPadImages(4, image_shape=[9, 18]).transform(flat)
    assert_array_equal(
        gray.reshape(5, 4, 4), CropPadImages(4).transform(flat.reshape(5, 9, 18))
    )
    # Without a shape a row is an image of height 1.
    row = CropPadImages((1, 5)).fit_transform(flat)
    assert_array_equal(row, flat[:, 81 - 2 : 81 + 3])
    with pytest.raises(ValueError, match=r"image_shape=\(9, 6\) does not fit X.*162"):
        CropPadImages(4, image_shape=(9, 6)).fit(flat)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "f4", ">f4", "f8", "?", "f2"])
def test_dtypes_are_kept(images, dtype):
    images = images.astype(dtype)
    new = CropPadImages(8).fit_transform(images)
    assert new.dtype == np.dtype(dtype).newbyteorder("=")
    assert_array_equal(new[:, :, 1:7], images[:, :8])
    assert not new[:, :, [0, 7]].any()


def test_nan_passes_and_fills():
    image = np.array([[[1.0, np.nan]]])
    new = CropPadImages((1, 4), fill_value=np.nan).fit_transform(image)
    assert_array_equal(new, [[[np.nan, 1.0, np.nan, np.nan]]])


@pytest.mark.parametrize("fill", [-1, 256, 0.5, np.nan, np.inf])
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_fill_values_that_images_cannot_hold(images, fill, method):
    with pytest.raises(ValueError, match="is a value that images of uint8 cannot hold"):
        getattr(CropPadImages(8, fill_value=fill), method)(images)
    CropPadImages(8, fill_value=fill).fit_transform(images.astype(np.float32))


@pytest.mark.parametrize("as_object_array", [False, True])
def test_images_of_unequal_size(as_object_array):
    rng = np.random.default_rng(0)
    sizes = [(5, 8), (12, 3), (6, 6)]
    images = [rng.integers(0, 9, (*size, 2), dtype=np.uint8) for size in sizes]
    if as_object_array:
        array = np.empty(3, object)
        array[:] = images
        images = array
    crop = CropPadImages((6, 7), fill_value=1).fit(images)
    new = crop.transform(images)
    assert new.shape == (3, 6, 7, 2)
    assert new.dtype == np.uint8
    for row, image in enumerate(images):
        alone = CropPadImages((6, 7), fill_value=1).transform(image[None])
        assert_array_equal(new[row], alone[0])
    assert crop.sample_shape_ == (None, None, 2)
    assert not hasattr(crop, "n_features_in_")
    gray = [image[..., 0] for image in images]
    assert_array_equal(CropPadImages((6, 7), fill_value=1).transform(gray), new[..., 0])
    # Fitted on images of another size.
    assert_array_equal(crop.transform(new), new)
    assert clone(crop).fit(list(new)).sample_shape_ == (6, 7, 2)
    assert clone(crop).fit(list(new)).n_features_in_ == 6


@pytest.mark.parametrize(
    ("shape", "dtype", "found"),
    [
        ((4, 4, 4), "u1", r"of shape \(4, 4, 4\) after one of shape \(5, 6, 3\)"),
        ((4, 4), "u1", r"of shape \(4, 4\) after one of shape \(5, 6, 3\)"),
        ((4, 0, 3), "u1", r"of shape \(4, 0, 3\)"),
        ((4, 4, 4, 3), "u1", r"of shape \(4, 4, 4, 3\)"),
    ],
)
def test_lists_of_images_that_do_not_fit_together(shape, dtype, found):
    images = [np.zeros((5, 6, 3)), np.zeros((5, 9, 3)), np.zeros(shape, dtype)]
    message = f"number 2 is an array {found}: CropPadImages expects"
    with pytest.raises(ValueError, match=message):
        CropPadImages(4).fit(images)


def test_other_sizes_than_in_fit(images):
    crop = CropPadImages(4).fit(images)
    assert crop.sample_shape_ == (9, 6, 3)
    assert crop.transform(images[:, :5]).shape == (5, 4, 4, 3)
    for other in (images[..., :2], images[..., 0], [np.zeros((4, 4))]):
        with pytest.raises(ValueError, match="number of axes and channels may not"):
            crop.transform(other)
    # Fitted anew, anything goes.
    assert crop.fit(images[..., 0]).sample_shape_ == (9, 6)


@pytest.mark.parametrize("shape", [(3,), (2, 0), (2, 4, 0), (2, 3, 3, 3, 3)])
def test_shapes_that_are_no_images(shape):
    with pytest.raises(ValueError, match=r"array of shape|Expected 2D|with 0 feature"):
        CropPadImages(4).transform(np.zeros(shape))


@pytest.mark.parametrize("size", [0, (3,), (3, 0), (2.5, 2), (1, 2, 3), "128"], ids=str)
def test_bad_sizes(images, size):
    with pytest.raises(ValueError, match=r"size must be|'size' parameter"):
        CropPadImages(size).fit(images)
    with pytest.raises(ValueError, match=r"size must be|'size' parameter"):
        CropPadImages(size).transform(images)


def test_input_is_left_alone_and_output_is_a_copy(images):
    before = images.copy()
    new = CropPadImages((9, 6)).fit_transform(images)
    new[...] = 0
    assert_array_equal(images, before)
    views = images[::2, ::-1]
    assert_array_equal(
        CropPadImages(4).transform(views), CropPadImages(4).transform(views.copy())
    )


def test_failed_fit_leaves_the_transformer_as_it_was(images):
    crop = CropPadImages(4).fit(images)
    before = dict(vars(crop))
    with pytest.raises(ValueError, match="Found array of shape"):
        crop.fit(np.zeros((2, 3, 3, 3, 3)))
    assert vars(crop) == before


def test_data_frames():
    frame = pd.DataFrame(np.arange(12.0).reshape(2, 6), columns=list("abcdef"))
    crop = CropPadImages((1, 2)).set_output(transform="pandas").fit(frame)
    new = crop.transform(frame)
    assert new.columns.tolist() == ["croppadimages0", "croppadimages1"]
    assert_array_equal(new, [[2, 3], [8, 9]])
    assert crop.feature_names_in_.tolist() == list("abcdef")


def test_images_on_disk(images, tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        on_disk = file.create_dataset("images", data=images, chunks=(2, 9, 6, 3))
        crop = CropPadImages((4, 8), fill_value=3)
        lazy = crop.fit_transform(on_disk)
        expected = clone(crop).transform(images)
        assert isinstance(lazy, LazyArray)
        assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
        # Settings that change later do not change what was promised.
        crop.set_params(size=2)
        assert_array_equal(lazy[1:4], expected[1:4])
        assert_array_equal(lazy[[4, 0, 0]][:], expected[[4, 0, 0]])
        file.flush()
        assert_array_equal(pickle.loads(pickle.dumps(lazy))[:], expected)
        assert crop.sample_shape_ == (9, 6, 3)
        assert crop.n_features_in_ == 9
        with pytest.raises(ValueError, match="number of axes and channels may not"):
            crop.transform(LazyArray(images[..., 0]))
        with pytest.raises(ValueError, match="is a value that images"):
            crop.set_params(fill_value=-1).transform(on_disk)
        with pytest.raises(ValueError, match="without images"):
            crop.fit(LazyArray(images[:0]))


def test_in_pipelines():
    rng = np.random.default_rng(0)
    sizes = rng.integers(9, 15, (40, 2))
    y = np.repeat(["compact", "extended"], 20)
    X = [rng.integers(0, 60, size, dtype=np.uint8) for size in sizes]
    for image, label in zip(X, y, strict=True):
        height, width = image.shape
        r = 1 if label == "compact" else 4
        image[height // 2 - r :, width // 2 - r :][: 2 * r, : 2 * r] += 150
    network = GalaxyClassifier(
        module__width=4, max_epochs=8, lr=0.01, batch_size=8, verbose=0, random_state=0
    )
    pipe = Pipeline([CropPadImages(12), network]).fit(X[::2], y[::2])
    assert pipe.score(X[1::2], y[1::2]) > 0.9
    flat = CropPadImages(12).transform(X).reshape(40, -1)
    few = Pipeline([CropPadImages(8, image_shape=(12, 12)), PCA(3)]).fit_transform(flat)
    assert few.shape == (40, 3)


def test_pickle(images):
    crop = CropPadImages(5).fit(images)
    again = pickle.loads(pickle.dumps(crop))
    assert_array_equal(again.transform(images), crop.transform(images))
