# SPDX-License-Identifier: BSD-3-Clause
"""Choosing the images of one shape among many files."""

import os
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image

from skastro.datasets import ImageFiles, select_images

GENERATOR = np.random.default_rng(0)


def save(path: Path, height: int = 12, width: int = 10, mode: str = "RGB") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = GENERATOR.integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16)).save(path)
    elif mode == "CMYK":
        Image.fromarray(pixels[..., :3]).convert(mode).save(path)
    else:
        Image.fromarray(np.squeeze(pixels)).save(path)
    return str(path)


def cut(path: str, n_bytes: int) -> str:
    os.truncate(path, n_bytes)
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "images"


@pytest.fixture
def three(folder):
    return [save(folder / name) for name in ("a.png", "b.png", "c.png")]


def test_folder(folder, tmp_path):
    names = ["b.JPG", "a/z.jpeg", "a/deep/er/y.png", "c.TIFF", "a.webp", "d.bmp"]
    expected = sorted(save(folder / name) for name in names)
    smaller = save(folder / "small.png", 6, 10)
    turned = save(folder / "a" / "turned.jpg", 10, 12)
    save(folder / ".hidden.png")
    save(folder / ".thumbnails" / "a.png")
    (folder / "notes.txt").write_text("no image")
    out = tmp_path / "train.txt"
    selection = select_images(folder, (3, 12, 10), out, verbose=0)
    assert selection.paths == expected
    assert sorted(selection.rejected) == [
        (turned, (3, 10, 12), "uint8"),
        (smaller, (3, 6, 10), "uint8"),
    ]
    assert selection.rejected[0].path == turned
    assert selection.unreadable == []
    assert selection.shape == (3, 12, 10)
    assert selection.filename == str(out)
    assert out.read_text(encoding="utf-8").splitlines() == expected
    images = ImageFiles(out)
    assert images.shape == (6, 12, 10, 3)
    assert images[:].any(axis=(1, 2, 3)).all()


def test_links(folder, tmp_path):
    elsewhere = save(tmp_path / "elsewhere" / "a.png")
    folder.mkdir()
    (folder / "link.png").symlink_to(elsewhere)
    (folder / "broken.png").symlink_to(tmp_path / "none.png")
    (folder / "circle").symlink_to(folder)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="1 of 2 files"):
        selection = select_images(folder, (3, 12, 10), None, verbose=0)
    # The link is named, not what it points to.
    assert selection.paths == [str(folder / "link.png")]
    assert selection.unreadable == [
        (str(folder / "broken.png"), "there is no such file")
    ]
    (tmp_path / "door").symlink_to(folder)
    with pytest.warns(UserWarning, match="1 of 2 files"):
        again = select_images(tmp_path / "door", (3, 12, 10), None, verbose=0)
    assert again.paths == [str(tmp_path / "door" / "link.png")]


def test_list_of_paths_keeps_its_order(three, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [Path("images/c.png"), "images/a.png", three[1], "images/a.png"]
    selection = select_images(iter(paths), (3, 12, 10), out=None, verbose=0)
    assert selection.paths == [three[2], three[0], three[1], three[0]]
    assert selection.filename is None
    assert os.listdir(tmp_path) == ["images"]


def test_default_file(three, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    selection = select_images("images", (3, 12, 10), verbose=0)
    assert selection.filename == "train.txt"
    assert (tmp_path / "train.txt").read_text() == "\n".join([*three, ""])
    # And once more from this list, of which a part would otherwise remain.
    with pytest.raises(ValueError, match=r"out='train.txt' is the list that is read"):
        select_images("train.txt", (3, 12, 10), verbose=0)
    again = select_images(tmp_path / "train.txt", (3, 12, 10), "valid.txt", verbose=0)
    assert again.paths == three


def test_default_shape_is_the_published(tmp_path):
    paths = [save(tmp_path / f"{i}.jpg", 256, 256 + i) for i in range(2)]
    selection = select_images(paths, out=None, verbose=0)
    assert selection.paths == paths[:1]


@pytest.mark.parametrize("shape", [(12, 10), (1, 12, 10), [np.int64(12), 10]], ids=str)
def test_gray_images(folder, shape):
    gray = save(folder / "gray.png", mode="L")
    deep = save(folder / "deep.png", mode="I;16")
    color = save(folder / "color.png")
    selection = select_images(folder, shape, None, verbose=0)
    assert selection.paths == [gray]
    assert selection.shape == (12, 10)
    assert selection.rejected == [
        (color, (3, 12, 10), "uint8"),
        (deep, (12, 10), "uint16"),
    ]
    selection = select_images(folder, shape, None, dtype=np.uint16, verbose=0)
    assert selection.paths == [deep]
    selection = select_images(folder, shape, None, dtype=None, verbose=0)
    assert selection.paths == [deep, gray]


def test_alpha_channel(folder):
    save(folder / "a.png")
    alpha = save(folder / "b.png", mode="RGBA")
    assert select_images(folder, (4, 12, 10), None, verbose=0).paths == [alpha]


def test_unreadable_files_are_listed(folder, tmp_path):
    good = save(folder / "good.png")
    empty = cut(save(folder / "1.jpg"), 0)
    text = str(folder / "2.jpg")
    Path(text).write_text("<html>not found</html>")
    header = cut(save(folder / "3.png"), 20)
    inks = save(folder / "4.jpg", mode="CMYK")
    frames = str(folder / "5.tif")
    pages = [Image.new("RGB", (10, 12)) for _ in range(3)]
    pages[0].save(frames, save_all=True, append_images=pages[1:])
    absent = str(folder / "6.png")
    paths = [empty, text, header, inks, good, frames, absent, str(folder)]
    with pytest.warns(UserWarning, match=r"7 of 8 files") as caught:
        selection = select_images(paths, (3, 12, 10), None, verbose=0)
    assert selection.paths == [good]
    reasons = dict(selection.unreadable)
    assert list(reasons) == [empty, text, header, inks, frames, absent, str(folder)]
    assert reasons[empty] == reasons[text] == "cannot identify image file"
    assert "mode 'CMYK'" in reasons[inks]
    assert reasons[frames].startswith("holds 3 images")
    assert reasons[absent] == "there is no such file"
    assert reasons[str(folder)].startswith("is a folder")
    assert all(reasons.values())
    message = str(caught[0].message)
    assert f"{empty}: cannot identify" in message
    assert "and 2 more" in message
    assert absent not in message
    assert caught[0].filename == __file__


def test_any_error_of_pillow_is_listed(three, monkeypatch):
    def broken(path, hdu):
        if path == three[1]:
            raise KeyError
        return (12, 10, 3), np.dtype("uint8")

    monkeypatch.setattr(
        "skastro.datasets.images._select_images.read_image_header", broken
    )
    with pytest.warns(UserWarning, match="1 of 3 files"):
        selection = select_images(three, (3, 12, 10), None, verbose=0)
    assert selection.paths == [three[0], three[2]]
    assert selection.unreadable == [(three[1], "KeyError")]


def test_huge_images_are_judged_by_their_shape(three, monkeypatch):
    # Pillow warns of images above this size, and refuses those of twice the size.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert select_images(three, (3, 12, 10), None, verbose=0).paths == three
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match="exceeds limit of 100 pixels"):
        select_images(three, (3, 12, 10), None, verbose=0)


def test_folders_without_permission(three, folder, monkeypatch):
    closed = str(Path(save(folder / "closed" / "a.png")).parent)
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(path)

    # In the place of permissions, which do not hold for root.
    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.warns(UserWarning, match="the folder cannot be read"):
        selection = select_images(folder, (3, 12, 10), None, verbose=0)
    assert selection.paths == three
    assert selection.unreadable == [
        (closed, "the folder cannot be read: Permission denied")
    ]
    with pytest.raises(ValueError, match=r"holds none\.\n.*closed: the folder cannot"):
        select_images(closed, (3, 12, 10), None, verbose=0)


def test_pixels_are_not_read(folder):
    path = save(folder / "a.png", 12, 10)
    cut(path, os.path.getsize(path) - 60)
    assert select_images(folder, (3, 12, 10), None, verbose=0).paths == [path]
    with pytest.raises(OSError, match=r"truncated|broken"):
        ImageFiles([path])[:]


@pytest.mark.parametrize("n_jobs", [1, 3, -1])
def test_same_with_any_number_of_threads(folder, n_jobs):
    sizes = [12 + (i % 3) for i in range(150)]
    paths = [save(folder / f"{i:03d}.png", size) for i, size in enumerate(sizes)]
    selection = select_images(folder, (3, 13, 10), None, n_jobs=n_jobs, verbose=0)
    assert selection.paths == paths[1::3]
    with joblib.parallel_config(backend="threading", n_jobs=2):
        again = select_images(folder, (3, 13, 10), None, verbose=0)
    assert again == selection


def test_file_names_of_all_kinds(folder, tmp_path):
    names = ["two words .png", "galaxié.png", "tab\t.png", "separator\u2028.png"]
    if os.name == "posix":
        names.append(os.fsdecode(b"latin-\xe9.png"))
    paths = [save(folder / name) for name in names]
    out = tmp_path / "train.txt"
    selection = select_images(paths, (3, 12, 10), out, verbose=0)
    assert selection.paths == paths
    assert out.read_bytes() == b"".join(os.fsencode(path) + b"\n" for path in paths)
    assert ImageFiles(out).paths == paths


def test_progress_and_summary(three, folder, capsys):
    save(folder / "d.png", 9)
    select_images(folder, (3, 12, 10), None)
    printed = capsys.readouterr()
    assert "4/4" in printed.err
    expected = "Left out 1 of 4 files for their shape: (3, 9, 10) uint8: 1.\n"
    assert printed.out == expected
    select_images(folder, (3, 12, 10), None, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_real_images(data_dir, tmp_path):
    out = tmp_path / "train.txt"
    selection = select_images(data_dir / "vae_images", out=out, verbose=0)
    assert len(selection.paths) == 300
    assert ImageFiles(out).shape == (300, 256, 256, 3)


# Bad input


def test_nothing_fits(folder, tmp_path):
    for number in range(12):
        save(folder / f"{number}.png", 5 + min(number, 8) // 2)
    cut(save(folder / "z.png"), 9)
    out = tmp_path / "train.txt"
    out.write_text("what was before")
    with pytest.raises(ValueError, match=r"None of 13 files is an image") as raised:
        select_images(folder, (3, 64, 64), out, verbose=0)
    message = str(raised.value)
    assert "(3, 64, 64) (channels first) and type uint8" in message
    assert "The shapes are (3, 9, 10) uint8: 4, (3, 5, 10) uint8: 2, " in message
    assert "1 of 13 files could not be read" in message
    assert out.read_text() == "what was before"
    assert sorted(os.listdir(tmp_path)) == ["images", "train.txt"]


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"no images: the folder .*holds none"):
        select_images(tmp_path, out=None)
    with pytest.raises(ValueError, match=r"no images: the list .*notes.txt' holds"):
        select_images(tmp_path / "notes.txt", out=None)
    with pytest.raises(ValueError, match="no images: paths_or_folder holds none"):
        select_images([], out=None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        select_images(tmp_path / "nowhere", out=None)


def test_folder_of_the_list_is_looked_for_first(three, tmp_path, monkeypatch):
    monkeypatch.delattr("skastro.datasets.images._select_images.read_headers")
    with pytest.raises(FileNotFoundError, match=r"the folder .*lists does not exist"):
        select_images(three, (3, 12, 10), tmp_path / "lists" / "train.txt")


@pytest.mark.parametrize("end", ["\n", "\r"], ids=["newline", "return"])
def test_end_of_line_in_a_name(three, folder, tmp_path, monkeypatch, end):
    odd = save(folder / f"b{end}.png")
    found = select_images(folder, (3, 12, 10), None, verbose=0).paths
    assert sorted(found) == sorted([*three, odd])
    monkeypatch.delattr("skastro.datasets.images._select_images.read_headers")
    with pytest.raises(ValueError, match=r"b\\[nr]\.png' has the end of a line"):
        select_images(folder, (3, 12, 10), tmp_path / "train.txt")
    assert not (tmp_path / "train.txt").exists()


@pytest.mark.parametrize("shape", [256, (256,), (3, 0, 5), (3, 2.5, 4), (1, 3, 8, 8)])
def test_bad_shape(three, shape):
    with pytest.raises(ValueError, match="shape must be"):
        select_images(three, shape, None)


def test_channels_last(three):
    with pytest.raises(
        ValueError,
        match=r"begin with the number of channels.* Did you mean \(3, 12, 10\)\?",
    ):
        select_images(three, (12, 10, 3), None)


def test_single_image_is_refused(three):
    with pytest.raises(ValueError, match=r"but got an image, .*a.png'; give a list"):
        select_images(three[0], (3, 12, 10), None)
