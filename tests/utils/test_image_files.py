# SPDX-License-Identifier: BSD-3-Clause
"""Images in files of their own as one array."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skastro.utils import ImageFiles, LazyArray, as_lazy, is_lazy, read_image_header

GENERATOR = np.random.default_rng(0)
STACKS = {
    "gray": GENERATOR.integers(0, 256, (7, 5, 6), dtype="u1"),
    "gray 16 bits": GENERATOR.integers(0, 2**16, (7, 5, 6), dtype="u2"),
    "RGB": GENERATOR.integers(0, 256, (7, 5, 6, 3), dtype="u1"),
    "RGBA": GENERATOR.integers(0, 256, (7, 5, 6, 4), dtype="u1"),
    "gray with alpha": GENERATOR.integers(0, 256, (7, 5, 6, 2), dtype="u1"),
}


def save(folder: Path, stack: np.ndarray, suffix: str = "png") -> list[Path]:
    paths = [folder / f"image_{i}.{suffix}" for i in range(len(stack))]
    for path, image in zip(paths, stack, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def paths(tmp_path):
    return save(tmp_path, STACKS["RGB"])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_images_come_back(tmp_path, stack, suffix):
    images = ImageFiles(save(tmp_path, stack, suffix))
    assert images.shape == stack.shape
    assert images.dtype == stack.dtype
    assert images.nbytes == stack.nbytes
    np.testing.assert_array_equal(images[:], stack)
    np.testing.assert_array_equal(images[-2], stack[-2])
    np.testing.assert_array_equal(images[1:6:2, ...], stack[1:6:2])


@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_deep_tiff_images(tmp_path, dtype):
    stack = GENERATOR.normal(0, 1e4, (3, 4, 9)).astype(dtype)
    images = ImageFiles(save(tmp_path, stack, "tiff"))
    assert images.dtype == dtype
    np.testing.assert_array_equal(images[:], stack)


def test_jpeg(tmp_path):
    stack = np.broadcast_to(np.array([200, 100, 50], "u1"), (2, 16, 24, 3))
    images = ImageFiles(save(tmp_path, stack, "jpg"))
    assert images.shape == (2, 16, 24, 3)
    assert np.abs(images[:].astype(int) - stack).max() < 5


def test_views(paths):
    images = ImageFiles(paths)
    rows = np.array([6, 0, 0, 3])
    view = images[rows]
    assert isinstance(view, LazyArray)
    np.testing.assert_array_equal(view[:], STACKS["RGB"][rows])
    np.testing.assert_array_equal(view[[2, 0]][:], STACKS["RGB"][[0, 6]])
    np.testing.assert_array_equal(LazyArray(images)[:], STACKS["RGB"])
    np.testing.assert_array_equal(images.source[2:4], STACKS["RGB"][2:4])


def test_only_what_is_asked_for_is_read(paths):
    for path in paths[1:6]:
        path.unlink()
    images = ImageFiles(paths)
    np.testing.assert_array_equal(images[[6, 0]][:], STACKS["RGB"][[6, 0]])


@pytest.mark.parametrize("channel_axis", [1, -3])
def test_channels_first(paths, channel_axis):
    images = ImageFiles(paths, channel_axis=channel_axis)
    assert images.shape == (7, 3, 5, 6)
    np.testing.assert_array_equal(images[:], np.moveaxis(STACKS["RGB"], -1, 1))
    np.testing.assert_array_equal(images[2], np.moveaxis(STACKS["RGB"][2], -1, 0))


def test_channels_first_of_gray_images(tmp_path):
    images = ImageFiles(save(tmp_path, STACKS["gray"]), channel_axis=1)
    np.testing.assert_array_equal(images[:], STACKS["gray"])


def test_one_thread(paths, monkeypatch):
    monkeypatch.setattr("skastro.utils._image_files.joblib.cpu_count", lambda: 1)
    np.testing.assert_array_equal(ImageFiles(paths)[:], STACKS["RGB"])


@pytest.mark.parametrize("kind", [str, Path])
def test_text_file_of_paths(tmp_path, paths, kind):
    text = tmp_path / "train.txt"
    # As an editor on Windows may leave it.
    lines = "\r\n".join(["", *map(str, paths[::-1]), "", ""])
    text.write_bytes(b"\xef\xbb\xbf" + lines.encode())
    images = ImageFiles(kind(text), channel_axis=1)
    assert images.paths == [str(path) for path in paths[::-1]]
    np.testing.assert_array_equal(images[:], np.moveaxis(STACKS["RGB"][::-1], -1, 1))


def test_relative_paths_in_a_text_file(tmp_path, paths, monkeypatch):
    (tmp_path / "lists").mkdir()
    text = tmp_path / "lists" / "train.txt"
    text.write_text("".join(f"{path.name}\n" for path in paths))
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(ImageFiles(text)[:], STACKS["RGB"])


def test_header(paths, tmp_path):
    assert read_image_header(paths[0]) == ((5, 6, 3), np.uint8)
    (deep,) = save(tmp_path, STACKS["gray 16 bits"][:1])
    assert read_image_header(str(deep)) == ((5, 6), np.uint16)


def test_paths(paths):
    images = ImageFiles(tuple(paths))
    assert images.paths == [str(path) for path in paths]
    assert repr(images) == "ImageFiles(shape=(7, 5, 6, 3), dtype=uint8)"


def test_pickled(paths):
    images = ImageFiles(paths, channel_axis=1)
    again = pickle.loads(pickle.dumps(images))
    assert isinstance(again, ImageFiles)
    np.testing.assert_array_equal(again[:], images[:])


def test_estimators_take_paths(paths):
    assert is_lazy(paths)
    assert is_lazy([str(path).upper() for path in paths])
    assert not is_lazy([*paths, 1])
    assert not is_lazy([*paths, "notes.txt"])
    images = as_lazy([str(path) for path in paths])
    assert isinstance(images, ImageFiles)
    assert is_lazy(images)
    assert as_lazy(images) is images


# Bad input


def test_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder; give its files"):
        ImageFiles(tmp_path)


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_single_image_is_refused(paths, kind):
    with pytest.raises(TypeError, match=r"sequence of files.*but got"):
        ImageFiles(kind(paths[0]))


def test_bad_lists(tmp_path, paths):
    with pytest.raises(FileNotFoundError, match=r"train\.txt"):
        ImageFiles(tmp_path / "train.txt")
    renamed = paths[0].rename(tmp_path / "galaxies")
    with pytest.raises(ValueError, match=r"galaxies' is not a text file of paths"):
        ImageFiles(renamed)
    (tmp_path / "train.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="holds no files"):
        ImageFiles(tmp_path / "train.txt")


def test_no_files():
    with pytest.raises(ValueError, match="holds no files"):
        ImageFiles([])


@pytest.mark.parametrize("channel_axis", [0, 2, "last"])
def test_bad_channel_axis(paths, channel_axis):
    with pytest.raises(ValueError, match="channel_axis must be -1"):
        ImageFiles(paths, channel_axis=channel_axis)


@pytest.mark.parametrize(
    ("image", "seen"),
    [
        (STACKS["RGB"][0, :4], r"image_3.png' is \(4, 6, 3\) uint8"),
        (STACKS["gray"][0], r"image_3.png' is \(5, 6\) uint8"),
        (STACKS["gray 16 bits"][0], r"image_3.png' is \(5, 6\) uint16"),
    ],
)
def test_images_of_different_shapes(paths, image, seen):
    Image.fromarray(image).save(paths[3])
    images = ImageFiles(paths)
    images[:3]
    with pytest.raises(ValueError, match=rf"{seen}.*image_0.png', is \(5, 6, 3\)"):
        images[:]


def test_missing_file(paths):
    images = ImageFiles(paths)
    paths[2].unlink()
    with pytest.raises(FileNotFoundError, match=r"image_2\.png"):
        images[:]
    paths[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"image_0\.png"):
        ImageFiles(paths)


# Pillow warns of damaged TIFF files before it gives up.
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.filterwarnings("ignore:.*orrupt EXIF data:UserWarning")
@pytest.mark.parametrize("n_bytes", [0, 10, 60])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_damaged_file(tmp_path, suffix, n_bytes):
    paths = save(tmp_path, STACKS["RGB"], suffix)
    images = ImageFiles(paths)
    paths[2].write_bytes(paths[2].read_bytes()[:n_bytes])
    with pytest.raises(OSError, match=r"Cannot read the image file .*image_2"):
        images[:]


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palettes_are_colors(tmp_path, suffix, transparent):
    path = tmp_path / f"a.{suffix}"
    options = {"transparency": 3} if transparent else {}
    image = Image.fromarray(STACKS["RGB"][0]).quantize(8)
    image.save(path, **options)
    images = ImageFiles([path])
    colors = np.asarray(image.convert("RGB"))
    assert images.shape == (1, *colors.shape[:2], 4 if transparent else 3)
    np.testing.assert_array_equal(images[0][..., :3], colors)
    if transparent:
        expected = np.where(np.asarray(image) == 3, 0, 255)
        np.testing.assert_array_equal(images[0][..., 3], expected)


def test_several_frames_are_refused(tmp_path):
    first, *others = (Image.fromarray(image) for image in STACKS["gray"])
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    with pytest.raises(ValueError, match=r"a.tif' holds 7 images"):
        ImageFiles([tmp_path / "a.tif"])
