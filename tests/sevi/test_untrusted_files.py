# SPDX-License-Identifier: BSD-3-Clause
"""Files of images that are damaged, or take more memory than there is."""

import bz2
import gzip
import io
import lzma
import os

import numpy as np
import pytest
from PIL import Image

from skastro.sevi import read_sevi

COUNTS = np.arange(600, dtype="u1").reshape(20, 30)
TEXT = "\n".join(" ".join(map(str, row)) for row in COUNTS).encode()


def pages_of(n_pages):
    content = io.BytesIO()
    pages = [Image.fromarray(COUNTS)] * n_pages
    pages[0].save(content, "tiff", save_all=True, append_images=pages[1:])
    return content.getvalue()


def array_of(pixels):
    content = io.BytesIO()
    np.save(content, pixels)
    return content.getvalue()


FILES = {
    "a.txt": TEXT,
    "a.txt.gz": gzip.compress(TEXT),
    "a.txt.bz2": bz2.compress(TEXT),
    "a.txt.xz": lzma.compress(TEXT),
    "a.tif": pages_of(3),
    "a.png": None,
    "a.npy": array_of(COUNTS.astype("f8")),
}


@pytest.fixture(params=FILES)
def path(request, tmp_path):
    path = tmp_path / request.param
    if FILES[request.param] is None:
        Image.fromarray(COUNTS).save(path)
    else:
        path.write_bytes(FILES[request.param])
    return path


def test_limit(path):
    expected = np.stack([COUNTS] * (3 if path.suffix == ".tif" else 1))
    np.testing.assert_array_equal(read_sevi(path, max_bytes=20_000).images, expected)
    with pytest.raises(OSError, match=rf"{path.name}: its content takes .*max_bytes"):
        read_sevi(path, max_bytes=1500)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_bombs(tmp_path, suffix):
    opener = {"gz": gzip, "bz2": bz2, "xz": lzma}[suffix]
    path = tmp_path / f"a.txt.{suffix}"
    with opener.open(path, "wb") as file:
        for _ in range(20):
            file.write(bytes(10**6))
    assert path.stat().st_size < 10**5
    with pytest.raises(OSError, match=rf"a\.txt\.{suffix}: its content takes"):
        read_sevi(path, max_bytes=10**6)


@pytest.mark.parametrize("damage", ["cut", "changed"])
@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.bz2", "a.txt.xz"])
def test_damaged_compression(tmp_path, name, damage):
    path = tmp_path / name
    content = bytearray(FILES[name])
    if damage == "cut":
        del content[-30:]
    else:
        content[40:60] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(OSError, match=rf"{path.name}: "):
        read_sevi(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4L 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }",
        "{'descr': '<f8'",
        "[(((((",
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_damaged_headers_of_numpy(tmp_path, header, lazy):
    text = header.encode()
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(start + text + bytes(96))
    with pytest.raises(OSError, match=r"a\.npy: not a readable file of numpy"):
        read_sevi(tmp_path / "a.npy", lazy=lazy)


def test_archives_of_numpy(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", COUNTS)
    path = (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(OSError, match=r"a\.npy: .* it is an archive"):
        read_sevi(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["a.txt", "a.png", "a.npy", "a.h5", "a.gz"])
def test_pipes_do_not_wait(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="is no ordinary file"):
        read_sevi(tmp_path / name)
