# SPDX-License-Identifier: BSD-3-Clause
"""Packing image files into one HDF5 file."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from skastro.datasets import (
    ImageFiles,
    LazyArray,
    images_to_hdf5,
    read_galaxy10,
    select_images,
)
from skastro.datasets.images import _images_to_hdf5 as module

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 10, 3), dtype=np.uint8)


def save(folder: Path, pixels: np.ndarray, suffix: str = "png") -> list[str]:
    paths = [str(folder / f"{number}.{suffix}") for number in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return save(folder, PIXELS)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "packed.h5"


@pytest.fixture
def blocks_of_two(monkeypatch):
    """Let the images be copied in several blocks, the last of which is shorter."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2 * PIXELS[0].nbytes)


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize("n_jobs", [None, 1])
def test_images_are_stored(paths, out, n_jobs):
    packed = images_to_hdf5(paths, out, chunk_rows=1, n_jobs=n_jobs, verbose=0)
    assert isinstance(packed.images, LazyArray)
    assert_array_equal(packed.images[:], PIXELS)
    assert_array_equal(packed.images[[7, 2]][:], PIXELS[[7, 2]])
    assert packed.paths == paths
    assert packed.label is None
    assert packed.class_names is None
    assert packed.skipped == []
    assert packed.filename == str(out)
    with h5py.File(out) as file:
        assert sorted(file) == ["images", "paths"]
        assert file["images"].dtype == np.uint8
        assert file["images"].chunks == (1, 12, 10, 3)
        assert file["paths"].asstr()[:].tolist() == paths


@pytest.mark.parametrize("axis", [1, -3])
def test_channels_first(paths, out, axis):
    packed = images_to_hdf5(paths, out, channel_axis=axis, verbose=0)
    assert_array_equal(packed.images[:], np.moveaxis(PIXELS, -1, 1))


def test_deep_gray_images(tmp_path, out):
    deep = PIXELS[..., 0].astype(np.uint16) * 256
    packed = images_to_hdf5(save(tmp_path, deep), out, verbose=0)
    assert packed.images.dtype == np.uint16
    assert_array_equal(packed.images[:], deep)


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_compression(tmp_path, out, compression):
    dark = [np.zeros((40, 40), np.uint8)] * 8
    paths = save(tmp_path, np.array(dark))
    packed = images_to_hdf5(paths, out, compression=compression, verbose=0)
    assert packed.images.source.compression == compression
    assert packed.images.source.id.get_storage_size() < 8 * 40 * 40 / 10
    assert_array_equal(packed.images[:], 0)


def test_chunks(tmp_path, out):
    # As many images as take 256 KiB, but never more than there are.
    packed = images_to_hdf5(save(tmp_path, PIXELS), out, verbose=0)
    assert packed.images.source.chunks == (9, 12, 10, 3)
    large = np.zeros((3, 300, 400), np.uint8)
    packed = images_to_hdf5(save(tmp_path, large), out, verbose=0)
    assert packed.images.source.chunks == (2, 300, 400)
    packed = images_to_hdf5(save(tmp_path, PIXELS), out, chunk_rows=4, verbose=0)
    assert packed.images.source.chunks == (4, 12, 10, 3)


def test_buffer_is_bounded(paths, out, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * PIXELS[0].nbytes)
    buffers = set()

    class Watched(ImageFiles):
        def read_rows(self, rows, out):
            buffers.add(out.base.shape)
            return super().read_rows(rows, out)

    monkeypatch.setattr(module, "ImageFiles", Watched)
    packed = images_to_hdf5(paths, out, chunk_rows=3, verbose=0)
    # A whole number of chunks.
    assert buffers == {(3, 12, 10, 3)}
    assert_array_equal(packed.images[:], PIXELS)


# Labels


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, tuple])
def test_names_of_classes(paths, out, kind):
    names = ["spiral", "merger", "elliptical"] * 3
    packed = images_to_hdf5(paths, out, labels=kind(names), verbose=0)
    assert packed.class_names == ["elliptical", "merger", "spiral"]
    assert packed.label.tolist() == [2, 1, 0] * 3
    galaxies = read_galaxy10(out, verbose=0)
    assert galaxies.target.tolist() == names
    assert galaxies.label.tolist() == [2, 1, 0] * 3
    assert galaxies.table["paths"].tolist() == paths
    assert_array_equal(galaxies.images, PIXELS)
    with h5py.File(out) as file:
        assert json.loads(file.attrs["class_names"]) == packed.class_names


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, float, bool, object])
def test_integer_labels(paths, out, dtype):
    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1]).astype(dtype)
    packed = images_to_hdf5(paths, out, labels=labels, verbose=0)
    galaxies = read_galaxy10(out, lazy=True)
    assert galaxies.target.tolist() == packed.label.tolist() == labels.tolist()
    assert galaxies.target.dtype == np.int64


def test_without_labels(paths, out):
    images_to_hdf5(paths, out, dataset="stamps", verbose=0)
    galaxies = read_galaxy10(out, images="stamps", target=None, verbose=0)
    assert_array_equal(galaxies.images, PIXELS)


# Files that do not fit


@pytest.fixture
def odd(paths):
    """Spoil five of the nine files, among them the first; give the good ones' rows."""
    Image.fromarray(PIXELS[0, :7]).save(paths[0])
    Image.fromarray(PIXELS[2, ..., 0]).save(paths[2])
    Path(paths[3]).write_text("no image")
    os.truncate(paths[5], os.path.getsize(paths[5]) - 60)
    os.remove(paths[8])
    return [1, 4, 6, 7]


@pytest.mark.usefixtures("blocks_of_two")
def test_skip(paths, out, odd):
    packed = images_to_hdf5(
        paths, out, labels=[*"abcdefghi"], chunk_rows=1, on_error="skip", verbose=0
    )
    assert_array_equal(packed.images[:], PIXELS[odd])
    assert packed.paths == [paths[row] for row in odd]
    galaxies = read_galaxy10(out, verbose=0)
    assert galaxies.target.tolist() == ["b", "e", "g", "h"]
    assert galaxies.table["paths"].tolist() == packed.paths
    skipped = {path: rest for path, *rest in packed.skipped}
    assert list(skipped) == [paths[row] for row in (3, 8, 0, 2, 5)]
    assert skipped[paths[0]] == [(3, 7, 10), "uint8"]
    assert skipped[paths[2]] == [(12, 10), "uint8"]
    assert skipped[paths[3]] == ["cannot identify image file"]
    assert "truncated" in skipped[paths[5]][0] or "broken" in skipped[paths[5]][0]
    assert skipped[paths[8]] == ["there is no such file"]


def test_unreadable_file_is_an_error(paths, out):
    out.write_text("what was before")
    Path(paths[3]).write_text("no image")
    with pytest.raises(OSError, match=r"1 of 9 files cannot be read:\n.*3\.png: can"):
        images_to_hdf5(paths, out, verbose=0)
    assert out.read_text() == "what was before"
    assert sorted(os.listdir(out.parent)) == ["images", "packed.h5"]


def test_other_shape_is_an_error(paths, out, monkeypatch):
    # Found before the first image is decoded, and the odd one is named.
    monkeypatch.delattr(module, "ImageFiles")
    Image.fromarray(PIXELS[0, :7]).save(paths[0])
    Image.fromarray(PIXELS[2, ..., 0]).save(paths[2])
    with pytest.raises(ValueError, match="one shape and data type") as raised:
        images_to_hdf5(paths, out, verbose=0)
    message = str(raised.value)
    assert "(3, 12, 10) uint8: 7, (3, 7, 10) uint8: 1, (12, 10) uint8: 1" in message
    assert f"{paths[0]}: (3, 7, 10) uint8" in message
    assert f"{paths[2]}: (12, 10) uint8" in message
    assert paths[1] not in message
    assert os.listdir(out.parent) == ["images"]


@pytest.mark.usefixtures("blocks_of_two")
def test_damaged_pixels_are_an_error(paths, out):
    os.truncate(paths[5], os.path.getsize(paths[5]) - 60)
    with pytest.raises(OSError, match=r"Cannot read the image file .*5\.png"):
        images_to_hdf5(paths, out, chunk_rows=1, verbose=0)
    assert os.listdir(out.parent) == ["images"]


def test_nothing_left(paths, out):
    for path in paths:
        os.truncate(path, os.path.getsize(path) - 60)
    with pytest.raises(ValueError, match=r"No image could be read:\n(.*\n)+.*not wri"):
        images_to_hdf5(paths, out, on_error="skip", verbose=0)
    for path in paths:
        os.truncate(path, 0)
    with pytest.raises(OSError, match="9 of 9 files cannot be read"):
        images_to_hdf5(paths, out, on_error="skip", verbose=0)
    assert os.listdir(out.parent) == ["images"]


# Use


def test_from_a_list_in_a_file(paths, tmp_path, out):
    Image.fromarray(PIXELS[4, :7]).save(paths[4])
    text = tmp_path / "train.txt"
    select_images(tmp_path / "images", (3, 12, 10), text, verbose=0)
    packed = images_to_hdf5(text, str(out), verbose=0)
    rows = np.delete(np.arange(9), 4)
    assert_array_equal(packed.images[:], PIXELS[rows])
    assert_array_equal(ImageFiles(text)[:], PIXELS[rows])


@pytest.mark.skipif(os.name != "posix", reason="names of files are UTF-16 elsewhere")
def test_names_that_are_not_utf8(paths, tmp_path, out):
    odd = os.fsdecode(bytes(tmp_path / "latin-") + b"\xe9.png")
    os.rename(paths[0], odd)
    packed = images_to_hdf5([odd, paths[1]], out, verbose=0)
    assert packed.paths == [odd, paths[1]]
    with h5py.File(out) as file:
        assert os.fsdecode(file["paths"][0]) == odd
    read_galaxy10(out, target=None, verbose=0)


def test_existing_file_is_replaced(paths, out):
    images_to_hdf5(paths, out, verbose=0)
    packed = images_to_hdf5(paths[:2], out, verbose=0)
    assert packed.images.shape == (2, 12, 10, 3)


def test_progress(paths, out, capsys):
    images_to_hdf5(paths, out)
    printed = capsys.readouterr().err
    assert "Reading headers" in printed
    assert "Packing images" in printed
    assert printed.count("9/9") == 2
    images_to_hdf5(paths, out, verbose=0)
    assert capsys.readouterr() == ("", "")


# Bad parameters


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip'; got 'ignore'"),
        ({"compression": "zip"}, "compression must be 'gzip', 'lzf' or None"),
        ({"dataset": "ans"}, "not be 'ans' or 'paths'"),
        ({"dataset": "a/b"}, "name without slashes"),
        ({"dataset": "."}, "name without slashes"),
        ({"dataset": None}, "name without slashes"),
        ({"chunk_rows": 0}, "chunk_rows must be a positive integer"),
        ({"chunk_rows": 1.5}, "chunk_rows must be a positive integer"),
        ({"channel_axis": 0}, "channel_axis must be -1"),
        ({"labels": [1, 2]}, "labels has 2 labels, but there are 9 images"),
        ({"labels": np.zeros((9, 3))}, r"labels has shape \(9, 3\)"),
        ({"labels": [0.5] * 9}, "labels holds no integer labels"),
        ({"labels": [None] * 9}, "labels has missing labels in rows 0, 1"),
    ],
    ids=str,
)
def test_bad_parameters(paths, out, parameters, message):
    with pytest.raises(ValueError, match=message):
        images_to_hdf5(paths, out, verbose=0, **parameters)
    assert os.listdir(out.parent) == ["images"]


def test_no_files(out):
    with pytest.raises(ValueError, match="paths holds no files"):
        images_to_hdf5([], out)


def test_folder_of_out_is_looked_for_first(paths, tmp_path, monkeypatch):
    monkeypatch.delattr(module, "read_headers")
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist"):
        images_to_hdf5(paths, tmp_path / "none" / "packed.h5")
