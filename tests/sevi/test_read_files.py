# SPDX-License-Identifier: BSD-3-Clause
"""Electron images in text of many kinds, and in damaged, huge or doubtful files."""

import codecs
import gzip
import io
import os

import h5py
import numpy as np
import pytest
from PIL import Image

from skastro.sevi import read_sevi

COUNTS = np.arange(20).reshape(4, 5)
TEXT = "\n".join(" ".join(map(str, row)) for row in COUNTS)


def as_list(order=("x", "y"), first=(0, 0), step=(1, 1), delimiter=" "):
    """Write every pixel of the image as a line of two places and its counts."""
    lines = []
    for y, x in np.random.default_rng(0).permutation(list(np.ndindex(4, 5))):
        place = {"x": first[0] + step[0] * x, "y": first[1] + step[1] * y}
        lines.append(delimiter.join(f"{place[axis]:g}" for axis in order))
        lines[-1] += f"{delimiter}{COUNTS[y, x]}"
    return "\n".join(lines)


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF8 + b"# counts\n\n" + TEXT.replace("\n", "\r\n").encode(),
        b"# \xb5m, in Latin-1\n" + TEXT.encode(),
        "a b c d e\n" + TEXT,
    ],
    ids=["utf-8", "utf-16-le", "utf-16-be", "comment", "latin-1", "heading"],
)
def test_text_of_any_encoding(tmp_path, content):
    path = put(tmp_path / "a.txt", content)
    np.testing.assert_array_equal(read_sevi(path).images, COUNTS[None])
    packed = put(tmp_path / "a.txt.gz", gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_sevi(packed).images, COUNTS[None])


@pytest.mark.parametrize(
    "content",
    [
        as_list(),
        as_list(first=(1, 1)),
        as_list(first=(0.25, -1.5), step=(0.125, 0.5)),
        "x,y,count\n" + as_list(delimiter=","),
        '"X"; "Y"; "Value"\n' + as_list(delimiter="; "),
        codecs.BOM_UTF8 + b"# a camera\nY\tX\tvalue\n" + as_list("yx").encode(),
        "row column counts\n" + as_list("yx", first=(7, 9)),
    ],
    ids=["plain", "from-one", "lengths", "csv", "semicolon", "y-first", "row-first"],
)
def test_list_of_pixels(tmp_path, content):
    path = put(tmp_path / "list.txt", content)
    np.testing.assert_array_equal(read_sevi(path).images, COUNTS[None])


@pytest.mark.parametrize(
    "content",
    [
        # A pixel is left out, occurs twice, or has two places.
        as_list().rpartition("\n")[0],
        as_list() + "\n0 0 5",
        as_list().replace("4 3 19", "4 2 19"),
        # A whole row without electrons is left out.
        "\n".join(f"{x} {y} 1" for x in range(3) for y in (0, 1, 3)),
        # Positions of electrons, one by one.
        "\n".join(f"{x} {x * x}" for x in range(9)),
        "y x\n" + "\n".join(f"{x} {x * x}" for x in range(9)),
        "\n".join("123456789"),
    ],
    ids=["missing", "repeated", "two", "gap", "positions", "heading", "column"],
)
def test_incomplete_lists_are_refused(tmp_path, content):
    path = put(tmp_path / "list.txt", content)
    with pytest.raises(
        ValueError, match=r"list\.txt: .* are no image, nor a list of x"
    ):
        read_sevi(path)


def write_image(path, image):
    """Write counts in the format of the name."""
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".tif":
        pages = [Image.fromarray(page) for page in image]
        pages[0].save(path, save_all=True, append_images=pages[1:])
    elif path.suffix == ".h5":
        table = np.zeros(len(image), [("ImageId", int), ("Image", "f4", (8, 8))])
        table["Image"], table["ImageId"] = image, np.arange(len(image))
        with h5py.File(path, "w") as file:
            file["FinalImage"] = table
    else:
        np.savetxt(path, image[0])
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.h5", "a.txt"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "1 NaN in 1 of"),
        (np.inf, "1 infinite value in 1 of"),
        (-3, "1 of them are negative, down to -3"),
    ],
)
@pytest.mark.parametrize("size", [None, 4])
def test_pixels_that_are_no_counts(tmp_path, name, value, message, size):
    image = np.ones((2, 8, 8), dtype="f4")
    image[0, 3, 4] = value
    path = write_image(tmp_path / name, image)
    if not (name == "a.h5" and size):
        message = rf"{name}.*{message}"
    with pytest.raises(ValueError, match=message):
        read_sevi(path, size=size)


def test_places_of_electrons_and_shells_are_numbers(tmp_path):
    electrons = np.zeros(3, [("x", float), ("z", float)])
    electrons["z"][1] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["DetectedElectrons"] = electrons
    with pytest.raises(ValueError, match="column 'z' contains NaN"):
        read_sevi(tmp_path / "a.h5")
    shells = np.ones(1, [("SphereId", int), ("R", float), ("beta", float, 12)])
    shells["R"] = -0.5
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["Truth"] = shells
    with pytest.raises(
        ValueError, match=r"'radius' has negative values, down to -0\.5"
    ):
        read_sevi(tmp_path / "b.h5")


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.h5", "a.txt"])
def test_limit_of_memory(tmp_path, name):
    path = write_image(tmp_path / name, np.ones((2, 8, 8), dtype="f4"))
    assert read_sevi(path, max_bytes=10**5).images.shape[1:] == (8, 8)
    with pytest.raises(OSError, match=rf"{name}.*max_bytes"):
        read_sevi(path, max_bytes=99)


def test_small_files_of_much_content(tmp_path):
    text = put(tmp_path / "a.txt.gz", gzip.compress(b"0 " * 5 * 10**6))
    assert text.stat().st_size < 20_000
    with pytest.raises(OSError, match=r"a\.txt\.gz.*max_bytes"):
        read_sevi(text, max_bytes=10**6)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with pytest.raises(OSError, match=r"a\.npy: not a readable file of numpy"):
        read_sevi(put(tmp_path / "a.npy", header.getvalue() + b"0" * 100))
    pages = write_image(tmp_path / "a.tif", np.zeros((100, 32, 32), "u1"))
    with pytest.raises(OSError, match=r"a\.tif.*max_bytes"):
        read_sevi(pages, max_bytes=10**5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["a.txt", "a.npy", "a.tif", "a.h5"])
def test_pipes_are_no_files(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match=r"no ordinary file, but a pipe"):
        read_sevi(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.txt", "a.txt.gz", "a.png"])
def test_damaged_files_are_refused_by_name(tmp_path, name):
    """Cut files and files with a wrong byte; only what is unchanged is read."""
    rng = np.random.default_rng(0)
    images = rng.integers(1, 200, (3 if name == "a.tif" else 1, 8, 8)).astype("u1")
    path = tmp_path / name
    if name == "a.png":
        Image.fromarray(images[0]).save(path)
    elif name == "a.txt.gz":
        plain = write_image(tmp_path / "b.txt", images)
        put(path, gzip.compress(plain.read_bytes()))
    else:
        write_image(path, images)
    whole = path.read_bytes()
    damaged = [whole[:end] for end in np.linspace(0, len(whole) - 3, 25).astype(int)]
    for place in rng.integers(0, min(len(whole), 200), 60):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    for number, content in enumerate(damaged):
        put(path, content)
        try:
            found = read_sevi(path, max_bytes=10**6).images
        except (OSError, ValueError) as error:
            found = str(error)
        is_cut = number < 25
        if isinstance(found, str):
            assert str(path) in found
        elif is_cut and name != "a.txt":
            # A part of a text file may be a text file, all others are complete.
            np.testing.assert_array_equal(found, images)
