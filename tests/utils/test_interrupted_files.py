# SPDX-License-Identifier: BSD-3-Clause
"""Files of killed processes and on full disks; short runs of the campaigns."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from skastro.utils import atomic_hdf5, atomic_write, check_space

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="needs POSIX signals and limits"
)


def in_a_process(code: str, *arguments: str) -> int:
    """Run code, which can use these names, and return the exit status."""
    start = """
import os, resource, signal, sys
import numpy as np
from skastro.utils import atomic_hdf5, atomic_write
path = sys.argv[1]
"""
    return subprocess.run([sys.executable, "-c", start + code, *arguments]).returncode


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    path = tmp_path / "model.txt"
    path.write_text("old")
    code = """
with atomic_write(path) as file:
    file.write("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert in_a_process(code, str(path)) == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = set(os.listdir(tmp_path)) - {"model.txt"}
    assert re.fullmatch(r"\.model\.[0-9a-f]{8}\.part\.txt", left)
    # Another file in this folder.
    with atomic_write(tmp_path / "other.txt") as file:
        file.write("new")
    assert sorted(os.listdir(tmp_path)) == ["model.txt", "other.txt"]


def test_files_of_others_stay(tmp_path):
    names = [".model.part.txt", ".notes.0123abcd.txt", "model.0123abcd.part"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".folder.0123abcd.part").mkdir()
    with atomic_write(tmp_path / "a.txt") as first:
        first.write("first")
        # Its temporary file is locked.
        with atomic_write(tmp_path / "b.txt") as second:
            second.write("second")
        assert os.path.exists(first.name)
    assert (tmp_path / "a.txt").read_text() == "first"
    assert (tmp_path / "b.txt").read_text() == "second"
    assert set(names) | {".folder.0123abcd.part"} < set(os.listdir(tmp_path))


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_writers_may_hide_the_error_of_a_full_disk(tmp_path, mode):
    """It is raised at the end, and names the file."""
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
content = "0123456789abc"
try:
    with atomic_write(path, sys.argv[2]) as file:
        file.write(content if sys.argv[2] == "w" else content.encode())
        file.flush()
        raise RuntimeError("of the writer")
except OSError as error:
    assert path in str(error) and error.errno == 27, error
    sys.exit(7)
"""
    assert in_a_process(code, str(tmp_path / "a.txt"), mode) == 7
    assert os.listdir(tmp_path) == []


def test_writers_may_close_the_file(tmp_path):
    with atomic_write(tmp_path / "a.txt") as file:
        file.write("done")
        file.close()
        with atomic_write(tmp_path / "b.txt"):
            pass
    assert (tmp_path / "a.txt").read_text() == "done"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_hdf5_is_written(tmp_path):
    path = tmp_path / "a.h5"
    pixels = np.random.default_rng(0).random((50, 20))
    with atomic_hdf5(path) as file:
        file.create_dataset("x", data=pixels, chunks=(5, 20), compression="gzip")
        assert not path.exists()
    assert os.listdir(tmp_path) == ["a.h5"]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"][:], pixels)


def test_errors_of_the_block_come_first(tmp_path):
    def fail():
        with atomic_hdf5(tmp_path / "a.h5") as file:
            file["x"] = 1
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert os.listdir(tmp_path) == []


def test_hdf5_on_a_full_disk(tmp_path):
    """HDF5 by itself ends the interpreter by a segmentation fault."""
    path = tmp_path / "a.h5"
    path.write_text("old")
    code = """
pixels = np.random.default_rng(0).random((1000, 20))
for most in [0, 100, 3000, 50_000, 159_000, 200_000]:
    for compression in (None, "gzip"):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            with atomic_hdf5(path) as file:
                for name in "abc":
                    stored = file.create_dataset(
                        name, (1000, 20), "f4", chunks=(50, 20), compression=compression
                    )
                    for start in range(0, 1000, 100):
                        stored[start : start + 100] = pixels[start : start + 100]
        except OSError as error:
            assert path in str(error), error
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert open(path).read() == "old"
        assert os.listdir(os.path.dirname(path)) == ["a.h5"]
"""
    assert in_a_process(code, str(path)) == 0


def test_no_space_for_the_file(tmp_path):
    check_space(tmp_path / "a.h5", 1000)
    with pytest.raises(OSError, match=r"No space left .*1e\+06 GB are needed.*a\.h5"):
        check_space(tmp_path / "a.h5", 1e15)


@pytest.mark.parametrize(
    ("campaign", "jobs"),
    [
        ("kill", "training"),
        ("disk", "params"),
        ("threads", "sampler"),
        pytest.param("kill", "", marks=pytest.mark.slow),
        pytest.param("disk", "", marks=pytest.mark.slow),
        pytest.param("threads", "", marks=pytest.mark.slow),
    ],
)
def test_short_campaign(campaign, jobs):
    """A command of its own, because it forks."""
    script = str(ROOT / "tests" / "campaign.py")
    command = [sys.executable, script, campaign, "--jobs", jobs]
    n_runs = "1" if jobs else "5"
    result = subprocess.run(
        [*command, "--runs", n_runs], cwd=ROOT, capture_output=True, text=True
    )
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.splitlines()) >= 1 + jobs.count("|")
    assert "FAILED" not in result.stdout
