# SPDX-License-Identifier: BSD-3-Clause
"""Files that appear only when complete."""

import os
import stat

import pytest

from skastro.utils import atomic_write


def test_text_is_utf8_and_complete(tmp_path):
    path = tmp_path / "table.csv"
    with atomic_write(path, newline="") as file:
        file.write("λ,flux\r\n")
        assert not path.exists()
        assert os.path.dirname(file.name) == str(tmp_path)
        assert file.name.endswith(".csv")
    assert path.read_bytes() == "λ,flux\r\n".encode()
    assert os.listdir(tmp_path) == ["table.csv"]


def test_binary(tmp_path):
    with atomic_write(tmp_path / "weights.bin", "wb") as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "weights.bin").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, error):
    path = tmp_path / "model.txt"
    path.write_text("old")

    def fail():
        with atomic_write(path) as file:
            file.write("half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["model.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_are_those_of_an_ordinary_file_or_of_the_one_replaced(tmp_path):
    (tmp_path / "ordinary").write_text("")
    ordinary = (tmp_path / "ordinary").stat().st_mode
    with atomic_write(tmp_path / "new"):
        pass
    assert (tmp_path / "new").stat().st_mode == ordinary

    (tmp_path / "new").chmod(0o600)
    with atomic_write(tmp_path / "new"):
        pass
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_link_stays_a_link(tmp_path):
    (tmp_path / "behind").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "behind")
    with atomic_write(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "behind").read_text() == "new"


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="mode must be 'w' or 'wb', got 'a'"):
        with atomic_write(tmp_path / "x", "a"):
            pass
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        with atomic_write(tmp_path / "nowhere" / "x"):
            pass
    with pytest.raises(IsADirectoryError, match="give the name of a file"):
        with atomic_write(tmp_path):
            pass
