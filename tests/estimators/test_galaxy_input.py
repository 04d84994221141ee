# SPDX-License-Identifier: BSD-3-Clause
"""GalaxyClassifier on images and labels that something is wrong with."""

import os
from functools import partial

import h5py
import numpy as np
import pytest
from tiny_estimators import make_tiny

from skastro import CropPadImages, GalaxyClassifier

tiny = partial(make_tiny, GalaxyClassifier, max_epochs=1, batch_size=8)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 12, 9, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.repeat(["disk", "round"], 20)


@pytest.mark.parametrize("sampler", [None, "balanced"])
def test_a_class_with_one_member_is_trained_on(images, labels, sampler):
    """It cannot be on both sides of the split, and stays on that of training."""
    labels = labels.astype("U10")
    labels[7] = "ring"
    clf = tiny(sampler=sampler, calibrate=True).fit(images, labels)
    assert clf.classes_.tolist() == ["disk", "ring", "round"]
    train, valid = clf.get_split_datasets(images, np.searchsorted(clf.classes_, labels))
    assert 7 in train.indices
    assert len(valid) == 4
    assert {int(valid[row][1]) for row in range(4)} == {0, 2}
    np.testing.assert_allclose(clf.predict_proba(images).sum(axis=1), 1, rtol=1e-5)


def test_several_classes_with_one_member(images):
    labels = np.repeat(np.arange(3), [38, 1, 1])
    clf = tiny().fit(images, labels)
    train, valid = clf.get_split_datasets(images, labels)
    assert {38, 39} <= {*train.indices.tolist()}
    assert len(valid) == 4
    assert "valid_loss" in clf.history[-1]


def test_labels_out_of_range(images):
    labels = np.arange(40) % 3
    labels[[4, 9]] = 12, -1
    message = r"not among the classes \[0, 1, 2\]: \[-1, 12\] in rows 4, 9"
    with pytest.raises(ValueError, match=message):
        tiny(classes=[0, 1, 2]).fit(images, labels)
    # Without the list of classes every label is one.
    assert tiny().fit(images, labels).classes_.tolist() == [-1, 0, 1, 2, 12]


def test_labels_that_are_no_classes(images):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        tiny().fit(images, np.linspace(0, 1, 40))


@pytest.mark.parametrize("as_object_array", [False, True])
def test_images_of_unequal_size(images, labels, as_object_array):
    unequal = [image[: 8 + row % 3] for row, image in enumerate(images)]
    if as_object_array:
        array = np.empty(40, object)
        array[:] = unequal
        unequal = array
    message = r"3 different shapes, such as \(8, 9, 3\), \(9, 9, 3\), .*CropPadImages"
    with pytest.raises(ValueError, match=message):
        tiny().fit(unequal, labels)
    cut = CropPadImages(8).transform(unequal)
    clf = tiny().fit(cut, labels)
    with pytest.raises(ValueError, match="3 different shapes"):
        clf.predict(unequal)


def test_a_list_of_images_is_an_array_of_them(images, labels):
    """Bytes are told from numbers in both."""
    clf = tiny().fit(images, labels)
    expected = clf.predict_proba(images)
    np.testing.assert_array_equal(clf.predict_proba(list(images)), expected)
    from_list = tiny().fit(list(images), labels)
    np.testing.assert_array_equal(from_list.predict_proba(images), expected)
    np.testing.assert_array_equal(from_list.channel_mean_, clf.channel_mean_)


def test_images_of_another_size_than_in_fit(images, labels):
    clf = tiny().fit(images, labels)
    message = r"samples of shape \(10, 9, 3\), .* fitted on samples of shape \(12, 9, 3"
    with pytest.raises(ValueError, match=message):
        clf.predict(images[:, :10])


@pytest.fixture
def on_disk(tmp_path):
    """Write more images than one reading takes, compressed and with checksums."""
    path = tmp_path / "galaxies.h5"
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (600, 32, 32, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "images", data=X, chunks=(50, 32, 32, 3), compression="gzip"
        )
    return path


def test_a_file_that_is_cut_short_during_training(on_disk):
    with h5py.File(on_disk) as file:
        os.truncate(on_disk, on_disk.stat().st_size // 2)
        message = (
            r"Cannot read rows \d+ to \d+ of '/images' in .*galaxies\.h5: the file"
        )
        with pytest.raises(OSError, match=message):
            tiny().fit(file["images"], np.arange(600) % 2)


def test_a_damaged_part_of_a_file(on_disk):
    with h5py.File(on_disk) as file:
        offset = file["images"].id.get_chunk_info(7).byte_offset
    with on_disk.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 100)
    with h5py.File(on_disk) as file:
        with pytest.raises(OSError, match=r"damaged there or has been cut short"):
            tiny().fit(file["images"], np.arange(600) % 2)
        # The rest is not.
        clf = tiny().fit(file["images"][:100], np.arange(100) % 2)
        with pytest.raises(OSError, match=r"damaged there or has been cut short"):
            clf.predict(file["images"])
