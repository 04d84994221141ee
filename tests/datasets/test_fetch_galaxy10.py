# SPDX-License-Identifier: BSD-3-Clause
"""Downloading Galaxy10, from a server on this machine."""

import hashlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pooch
import pytest
from file_server import Server

from skastro.datasets import LazyArray, fetch_galaxy10
from skastro.datasets.galaxies import _galaxy10
from skastro.utils import _download, fetch_file, find_data_home

N_GALAXIES = 30


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Make the file that the server has."""
    path = tmp_path_factory.mktemp("server") / "Galaxy10.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["images"] = rng.integers(0, 256, (N_GALAXIES, 69, 69, 3), dtype=np.uint8)
        file["ans"] = np.arange(N_GALAXIES) % 10
    return path.read_bytes()


@pytest.fixture
def server(content, monkeypatch):
    """Start a server, whose file has the checksum that is asked for."""
    monkeypatch.setattr(_download, "_CHUNK_BYTES", 10_000)
    with Server(content) as server:
        remote = _galaxy10._Remote(
            "Galaxy10.h5", server.url, hashlib.sha256(content).hexdigest()
        )
        monkeypatch.setitem(_galaxy10._FILES, "sdss", remote)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(tmp_path, **params):
    return fetch_galaxy10(data_home=tmp_path, **({"verbose": 0} | params))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_downloaded_once(server, content, tmp_path):
    home = tmp_path / "new" / "folder"
    galaxies = fetch(home)
    assert galaxies.images.shape == (N_GALAXIES, 69, 69, 3)
    assert galaxies.target[7] == "disk face-on tight spiral"
    assert galaxies.variant == "sdss"
    assert galaxies.path == home / "Galaxy10.h5"
    assert galaxies.path.read_bytes() == content
    assert names(home) == ["Galaxy10.h5"]
    # Readable for others, as files usually are.
    (home / "other").touch()
    assert galaxies.path.stat().st_mode == (home / "other").stat().st_mode

    images, target = fetch(home, return_X_y=True, lazy=True)
    assert isinstance(images, LazyArray)
    assert len(images) == len(target) == N_GALAXIES
    assert server.asked == [None]


def test_progress_bar(server, tmp_path, capfd):
    level = pooch.get_logger().level
    fetch(tmp_path / "quiet")
    assert capfd.readouterr() == ("", "")
    fetch(tmp_path / "loud", verbose=1)
    err = capfd.readouterr().err
    assert "Galaxy10.h5" in err
    assert "100%" in err
    assert pooch.get_logger().level == level


def test_broken_connections_are_resumed(server, content, tmp_path):
    server.breaks = [100_000, 150_000]
    fetch(tmp_path)
    assert server.asked == [None, "bytes=100000-", "bytes=250000-"]
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


def test_the_next_call_goes_on(server, content, tmp_path, capfd):
    server.breaks = [100_000, 10_000]
    with pytest.raises(ConnectionError, match=r"110000 bytes are kept in .*part; the"):
        fetch(tmp_path, n_retries=1)
    assert names(tmp_path) == ["Galaxy10.h5.part"]
    fetch(tmp_path, verbose=1)
    assert server.asked[2:] == ["bytes=110000-"]
    assert "100%" in capfd.readouterr().err
    assert names(tmp_path) == ["Galaxy10.h5"]
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


def test_a_killed_process_leaves_its_part(server, content, tmp_path):
    code = f"""
import os
from pathlib import Path
from tqdm import tqdm
from skastro.utils import _download

class Bar(tqdm):
    def update(self, n=1):
        os._exit(3)

_download.progress_bar = Bar
_download._CHUNK_BYTES = 120_000
_download.fetch_file({server.url!r}, Path({str(tmp_path / "Galaxy10.h5")!r}), sha256="")
"""
    result = subprocess.run([sys.executable, "-c", code])
    assert result.returncode == 3
    part = tmp_path / "Galaxy10.h5.part"
    assert names(tmp_path) == [part.name]
    assert part.stat().st_size == 120_000
    fetch(tmp_path)
    assert server.asked[1:] == ["bytes=120000-"]
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


def test_servers_without_ranges_send_all(server, content, tmp_path):
    server.with_ranges = False
    server.breaks = [100_000]
    fetch(tmp_path)
    assert server.asked == [None, "bytes=100000-"]
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


@pytest.mark.parametrize("breaks", [[], [200_000]], ids=["whole", "broken"])
def test_servers_that_compress_unasked(server, content, tmp_path, breaks):
    # Neither the length nor the ranges of such an answer are those of the file.
    server.encoding, server.breaks = "gzip", breaks
    fetch(tmp_path)
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


def test_ranges_shorter_than_asked_for(server, content, tmp_path):
    server.longest_range = 150_000
    (tmp_path / "Galaxy10.h5.part").write_bytes(content[:10_000])
    fetch(tmp_path)
    assert server.asked == [f"bytes={start}-" for start in (10_000, 160_000, 310_000)]
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


@pytest.mark.parametrize("excess", [b"", b"more", None], ids=["all", "longer", "other"])
def test_parts_that_need_no_more(server, content, tmp_path, excess):
    # Complete already; longer than the file; of another file.
    part = b"\0" * 5000 if excess is None else content + excess
    (tmp_path / "Galaxy10.h5.part").write_bytes(part)
    fetch(tmp_path)
    expected = [f"bytes={len(part)}-"]
    assert server.asked == (expected if excess == b"" else [*expected, None])
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content
    assert names(tmp_path) == ["Galaxy10.h5"]


def test_damaged_downloads_are_deleted(server, content, tmp_path):
    server.content = content[:-1] + b"?"
    with pytest.raises(OSError, match=r"another checksum .* deleted.*put the file at"):
        fetch(tmp_path)
    assert names(tmp_path) == []
    server.content = content
    fetch(tmp_path)
    assert server.asked == [None, None]


def test_a_file_that_was_there_is_never_overwritten(server, tmp_path):
    path = tmp_path / "Galaxy10.h5"
    path.write_bytes(b"precious")
    message = "is damaged, incomplete or another version.*was not changed; move it away"
    with pytest.raises(OSError, match=message):
        fetch(tmp_path)
    assert path.read_bytes() == b"precious"
    assert server.asked == []
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fetch(tmp_path)


def test_the_server_refuses(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(_download.time, "sleep", waits.append)
    for status, answer in [(404, "404 Not Found"), (503, "503 Service Unavailable")]:
        server.status = status
        with pytest.raises(OSError, match=f"the server answered {answer}. You can"):
            fetch(tmp_path)
    # Once, and once with three retries.
    assert len(server.asked) == 1 + 4
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(
    ("header", "wait"), [(None, 1), ("7", 7), ("99999", 60), ("Mon, 1 Jan", 1)]
)
def test_busy_servers_are_asked_again(
    server, content, tmp_path, monkeypatch, header, wait
):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        server.status = 200

    monkeypatch.setattr(_download.time, "sleep", sleep)
    server.status, server.retry_after = 503, header
    fetch(tmp_path)
    assert waits == [wait]
    assert (tmp_path / "Galaxy10.h5").read_bytes() == content


def test_endless_answers(server, tmp_path):
    """The server neither tells a length nor stops."""
    server.endless = True
    url = server.url
    with pytest.raises(OSError, match="the server sends more than 1000000 bytes"):
        fetch_file(url, tmp_path / "a.h5", sha256="0", most_bytes=10**6, verbose=0)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_offline(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/Galaxy10.h5"
        with pytest.raises(ConnectionError, match="Could not download") as info:
            fetch(tmp_path, url=url)
    message = str(info.value)
    assert f"put the file at {tmp_path / 'Galaxy10.h5'}; its SHA-256" in message
    assert _galaxy10._FILES["sdss"].sha256 in message
    assert "Call again when there is a connection" in message
    assert info.value.__cause__ is not None


def test_addresses_that_are_none(tmp_path):
    for url in ("file:///Galaxy10.h5", "no address"):
        with pytest.raises(OSError, match="Could not download"):
            fetch(tmp_path, url=url)


def test_another_source(server, tmp_path):
    url = server.url.replace("Galaxy10.h5", "mirror/of/galaxies")
    fetch(tmp_path, url=url)
    assert names(tmp_path) == ["Galaxy10.h5"]


def test_absent_and_not_to_be_downloaded(tmp_path):
    message = (
        r"download_if_missing is False.*10845026/files/Galaxy10_DECals.h5 by .*19ae"
    )
    with pytest.raises(FileNotFoundError, match=message):
        fetch(tmp_path, variant="decals", download_if_missing=False)
    assert names(tmp_path) == []


def test_unknown_variant():
    with pytest.raises(ValueError, match="one of 'sdss', 'decals'; got 'DECaLS'"):
        fetch_galaxy10("DECaLS")


def test_where_files_are_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("SKASTRO_HOME", raising=False)
    assert find_data_home() == Path(pooch.os_cache("skastro")).absolute()
    monkeypatch.setenv("SKASTRO_HOME", str(tmp_path))
    assert find_data_home() == tmp_path
    assert find_data_home("~/data") == Path.home() / "data"
    monkeypatch.chdir(tmp_path)
    assert find_data_home("here") == tmp_path / "here"


def test_two_at_a_time(server, content, tmp_path):
    path = tmp_path / "Galaxy10.h5"
    params = {"sha256": hashlib.sha256(content).hexdigest(), "verbose": 0}
    threads = [
        threading.Thread(target=fetch_file, args=(server.url, path), kwargs=params)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == content
    assert names(tmp_path) == ["Galaxy10.h5"]
    if sys.platform != "win32":
        assert server.asked == [None]
