# SPDX-License-Identifier: BSD-3-Clause
"""Files that wait forever, grow without end in memory, or start other programs."""

import gzip
import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skastro.datasets import ImageFiles, select_images
from skastro.utils import (
    check_file,
    check_memory,
    free_memory,
    read_bytes,
    read_path_list,
)
from skastro.utils._files import physical_memory

POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
)


@pytest.fixture
def pipe(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes")
    os.mkfifo(tmp_path / "a.png")
    return tmp_path / "a.png"


def png_of(width: int, height: int) -> bytes:
    """Write a PNG of one channel whose rows are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        check = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + check
    return content


def test_pipes_do_not_wait(pipe):
    for read in (
        check_file,
        read_bytes,
        read_path_list,
        lambda path: ImageFiles([path]),
    ):
        with pytest.raises(OSError, match=r"a\.png: is no ordinary file, but a pipe"):
            read(pipe)
    with pytest.raises(ValueError, match="a pipe"):
        select_images([pipe], out=None, verbose=0)


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_postscript_starts_no_program(tmp_path, monkeypatch):
    """Pillow would run `gs` on it, whatever the name of the file says."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (tmp_path / "a.png").write_bytes(POSTSCRIPT)
    with pytest.raises(OSError, match=r"Cannot read the image file .*a\.png"):
        ImageFiles([tmp_path / "a.png"])[:]
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("content", [png_of(60000, 60000), b"P5 50000 50000 255\n"])
def test_images_that_announce_too_much(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.png"):
        ImageFiles([tmp_path / "a.png"])


def test_limit_of_an_image(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), "u1")).save(tmp_path / "a.png")
    paths = [tmp_path / "a.png"]
    assert ImageFiles(paths, max_bytes=1800)[:].shape == (1, 20, 30, 3)
    with pytest.raises(
        OSError, match=r"a\.png: its content takes at least 1\.8e-06 GB"
    ):
        ImageFiles(paths, max_bytes=1799)


def test_limit_of_unpacked_bytes(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(5_000_000)))
    assert read_bytes(path, gzip.open).read() == bytes(5_000_000)
    with pytest.raises(OSError, match=r"a\.gz: its content .* max_bytes"):
        read_bytes(path, gzip.open, 3_000_000)


def test_reading_stops_at_the_limit(tmp_path):
    (tmp_path / "a").touch()
    endless = io.BytesIO()
    endless.read = lambda n: bytes(n)
    with pytest.raises(OSError, match="a: its content takes"):
        read_bytes(tmp_path / "a", lambda path, mode: endless, 10**7)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_compression_names_the_file(tmp_path, damage):
    rng = np.random.default_rng(0)
    content = bytearray(gzip.compress(rng.bytes(5000)))
    if damage == "cut":
        del content[-100:]
    else:
        content[20:40] = bytes(range(20))
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.gz: cannot be read: "):
        read_bytes(tmp_path / "a.gz", gzip.open)


def test_default_limit_is_half_of_what_is_available(monkeypatch):
    monkeypatch.setattr("skastro.utils._files.free_memory", lambda: 2000.0)
    check_memory(1000, "a.h5")
    with pytest.raises(OSError, match=r"a\.h5: .*1e-06 GB \(half of what is available"):
        check_memory(1001, "a.h5")


def test_free_memory():
    assert 0 < free_memory() <= physical_memory()


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: there is no such file"):
        check_file(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_file(tmp_path)
    assert check_file(os.fsencode(__file__)) == Path(__file__)


def test_lists_of_files_are_no_other_text(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    (tmp_path / "list.txt").write_text("\ngone.png\r\na.png\n", encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    assert read_path_list("list.txt") == ["gone.png", "a.png"]
    (tmp_path / "notes.txt").write_text("Galaxies of last night\n\nare spirals.\n")
    expected = r"'notes\.txt' .*none of its 2 lines is a file.*'Galaxies of last night'"
    with pytest.raises(ValueError, match=expected):
        read_path_list("notes.txt")
