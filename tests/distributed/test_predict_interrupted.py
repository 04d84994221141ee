# SPDX-License-Identifier: BSD-3-Clause
"""Runs that lose workers, or the client, and go on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import dask.array as da
import dask.system
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from distributed import (
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Scheduler,
    SpecCluster,
    Worker,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from skastro.distributed import predict

pytestmark = pytest.mark.once
# Worker processes cannot import test modules.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SIZE = 10
SCRIPT = Path(__file__).with_name("predict_until_killed.py")


class Slow(LogisticRegression):
    """Notes each partition in a folder, takes a while, and may stop after some."""

    seconds, limit, error = 0.0, np.inf, None

    def predict_proba(self, X):
        # The rows of the client's probes and of its measurement are more or fewer.
        if len(X) == SIZE:
            notes = Path(self.folder)
            if len(list(notes.iterdir())) >= self.limit:
                raise self.error
            time.sleep(self.seconds)
            (notes / f"{time.monotonic_ns()} {os.getpid()} {X[0, 0]}").touch()
        return super().predict_proba(X)

    def computed(self):
        """Return the first values of the partitions that were computed, in order."""
        return [name.split()[2] for name in sorted(os.listdir(self.folder))]


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(200, 4))


@pytest.fixture
def model(rows, tmp_path):
    model = Slow().fit(rows, np.where(rows[:, 0] > 0, "STAR", "QSO"))
    model.folder = tmp_path / "notes"
    model.folder.mkdir()
    return model


def run(model, X, out, client, **arguments):
    options = {"partition_size": SIZE, "verbose": 0} | arguments
    return predict(model, X, out=out, client=client, **options)


def interrupt(model, X, out, client, limit=6, error=None, raised=OSError, **arguments):
    """Run until some partitions are done; return how many were kept."""
    model.limit, model.error = limit, error or OSError("Disk on fire")
    with pytest.raises(raised, match=r"Disk on fire|rows .* of X, has ended") as caught:
        run(model, X, out, client, **arguments)
    model.limit = np.inf
    (kept,) = [
        int(found[1]) // SIZE
        for note in caught.value.__notes__
        if (found := re.match(r"(\d+) of 200 rows are finished and kept in", note))
    ]
    return kept


def probabilities(path):
    with h5py.File(path) as file:
        return file["predict_proba"][:]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_workers(model, rows, monkeypatch, tmp_path):
    model.seconds = 0.1

    killed, done = set(), threading.Event()

    def kill():
        while len(killed) < 2 and not done.wait(0.01):
            pids = {int(name.split()[1]) for name in os.listdir(model.folder)}
            for pid in pids - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)

    # The cluster is that of the call.
    monkeypatch.setattr(dask.system, "CPU_COUNT", 2)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        out = run(model, rows, tmp_path / "a.h5", None)
    finally:
        done.set()
        killer.join()
    assert killed
    model.seconds = 0
    assert_allclose(probabilities(out), model.predict_proba(rows))
    # Only what the killed workers had not returned is computed again.
    times = Counter(model.computed())
    assert len(times) == 20
    assert sum(times.values()) <= 20 + 2 * 6


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_worker_killed_before_it_receives_the_model(model, rows, tmp_path):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as many,
        Client(many) as client,
    ):
        register = client.register_plugin
        pids = list(client.run(os.getpid).values())

        def kill_and_register(*args, **kwargs):
            if len(pids) == 2:
                os.kill(pids.pop(), signal.SIGKILL)
            return register(*args, **kwargs)

        client.register_plugin = kill_and_register
        out = run(model, rows, tmp_path / "a.h5", client)
    assert_allclose(probabilities(out), model.predict_proba(rows))


@pytest.mark.parametrize("name", ["a.h5", "a.csv"])
def test_only_missing_partitions_are_computed(model, rows, client, name, tmp_path):
    unbroken = run(model, rows, tmp_path / f"unbroken-{name}", client)
    for note in model.folder.iterdir():
        note.unlink()
    out = tmp_path / name
    out.write_text("older")
    kept = interrupt(model, rows, out, client)
    assert 0 < kept < 20
    assert out.read_text() == "older"
    before = len(model.computed())
    run(model, rows, out, client)
    assert len(model.computed()) - before == 20 - kept
    assert out.read_bytes() == unbroken.read_bytes()
    assert not out.with_name(f".{name}.journal").exists()


def test_another_number_of_workers_goes_on(model, rows, client, tmp_path):
    out = tmp_path / "a.h5"
    kept = interrupt(model, rows, out, client, ids=np.arange(200))
    before = len(model.computed())
    with (
        LocalCluster(
            processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as other,
    ):
        run(model, rows, out, other, partition_size=None, ids=np.arange(200))
    assert len(model.computed()) - before == 20 - kept
    assert_array_equal(probabilities(out), model.predict_proba(rows))


def test_damaged_journal(model, rows, client, tmp_path):
    """Every part of a journal that was cut off, or damaged, is computed again."""
    out = tmp_path / "a.h5"
    kept = interrupt(model, rows, out, client)
    journal = tmp_path / ".a.h5.journal"
    content = journal.read_bytes()
    header = content.index(b"\n") + 1
    record = (len(content) - header) // kept
    expected = model.predict_proba(rows)
    for cut in (0, 20, header, header + 3, header + 30, header + record, -1):
        journal.write_bytes(content[:cut])
        run(model, rows, out, client)
        assert_array_equal(probabilities(out), expected)
    # A length that is any number, and a wrong digit.
    for place in (header + 22, len(content) - 40):
        damaged = bytearray(content)
        damaged[place] ^= 255
        journal.write_bytes(damaged)
        run(model, rows, out, client)
        assert_array_equal(probabilities(out), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition_size": 20}, "partition_size was 10 and is 20"),
        ({"method": "predict"}, "method was 'predict_proba' and is 'predict'"),
        ({"ids": np.arange(200)}, "ids differs"),
        ({"X": np.zeros((200, 4))}, "X differs"),
        ({"X": np.zeros((100, 4))}, "number of rows of X was 200 and is 100"),
    ],
)
def test_other_runs_are_refused(model, rows, client, changes, message, tmp_path):
    interrupt(model, rows, tmp_path / "a.h5", client)
    arguments = {"X": rows, "out": tmp_path / "a.h5", "client": client} | changes
    with pytest.raises(ValueError, match=message):
        run(model, **arguments)
    run(model, **arguments, resume=False)


def test_other_blocks_are_refused(model, rows, client, tmp_path):
    blocks = da.from_array(rows, chunks=(SIZE, 4))
    interrupt(model, blocks, tmp_path / "a.h5", client)
    others = da.from_array(rows, chunks=((SIZE, 1, SIZE - 1, *[SIZE] * 18), 4))
    with pytest.raises(ValueError, match="the division of X into partitions differs"):
        run(model, others, tmp_path / "a.h5", client, partition_size=None)


def test_table_that_was_written_anew_is_refused(model, rows, client, tmp_path):
    """Old ids would stand beside new ones."""
    survey = tmp_path / "survey.parquet"
    for first in (0, 1000):
        columns = {"flux": list(rows), "id": first + np.arange(200)}
        table = pyarrow.table(columns)
        pyarrow.parquet.write_table(table, survey, row_group_size=SIZE)
        if not first:
            interrupt(model, survey, tmp_path / "a.h5", client)
    with pytest.raises(ValueError, match="the list of files, or one of them, differs"):
        run(model, survey, tmp_path / "a.h5", client)


def test_other_model_is_refused(model, rows, client, tmp_path):
    interrupt(model, rows, tmp_path / "a.h5", client)
    other = LogisticRegression(C=0.01).fit(rows, rows[:, 0] > 0)
    other.classes_ = model.classes_
    with pytest.raises(ValueError, match="predict_proba for rows of X is not what it"):
        run(other, rows, tmp_path / "a.h5", client)


def wait_for(model, n_partitions):
    end = time.monotonic() + 60
    while len(model.computed()) < n_partitions:
        assert time.monotonic() < end, "The partitions were not computed."
        time.sleep(0.01)


def test_lost_scheduler(model, rows, tmp_path):
    def close():
        wait_for(model, 3)
        cluster.close()

    model.seconds = 0.1
    with (
        LocalCluster(processes=False, n_workers=1, dashboard_address=":0") as cluster,
        Client(cluster.scheduler_address, timeout=0.5, set_as_default=False) as client,
    ):
        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(
            RuntimeError, match="to the scheduler of Dask is lost"
        ) as lost:
            run(model, rows, tmp_path / "a.h5", client)
        closer.join()
    assert "rows are finished and kept in" in lost.value.__notes__[0]


@pytest.mark.parametrize("fetched", [True, False])
def test_lost_gpus(model, rows, monkeypatch, fetched, tmp_path):
    """Workers without a GPU go on living, but compute nothing.

    Results that the client has not fetched are lost with the worker.
    """
    monkeypatch.setattr("skastro.distributed._predict._PATIENCE", 0.1)
    model.seconds = 0.1
    gpu = {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}}
    cpu = {"cls": Worker, "options": {"nthreads": 1}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        SpecCluster({"cpu": cpu, "gpu": gpu}, scheduler) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def close():
            cluster.sync(cluster.workers["gpu"].close)

        def close_and_fetch(future, timeout=None):
            close()
            return result(future, timeout=timeout)

        if fetched:
            closer = threading.Thread(target=lambda: wait_for(model, 3) or close())
            closer.start()
        else:
            result = Future.result
            monkeypatch.setattr(Future, "result", close_and_fetch)
        # Warnings are errors here.
        with pytest.raises(RuntimeWarning, match="has no workers with a GPU"):
            run(model, rows, tmp_path / "a.h5", client)
        if fetched:
            closer.join()


def test_two_runs_at_once_are_refused(model, rows, client, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    interrupt(model, rows, tmp_path / "a.h5", client)
    with open(tmp_path / ".a.h5.journal", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match=r"Another run of skastro\.distributed"):
            run(model, rows, tmp_path / "a.h5", client)


def test_errors_name_the_partition(model, rows, client, tmp_path):
    rows = rows.copy()
    rows[57] = np.nan
    with pytest.raises(ValueError, match="NaN") as caught:
        run(model, rows, tmp_path / "a.h5", client)
    assert "In partition 5: rows 50 to 59 of X." in caught.value.__notes__


def test_partitions_that_end_their_workers(model, rows, client, tmp_path):
    """What Dask reports after several workers is tried again, and then told."""
    error = KilledWorker("task", SimpleNamespace(address="tcp://there"), 3)
    kept = interrupt(model, rows, tmp_path / "a.h5", client, 6, error, RuntimeError)
    assert kept >= 6
    run(model, rows, tmp_path / "a.h5", client)
    assert_array_equal(probabilities(tmp_path / "a.h5"), model.predict_proba(rows))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_client(model, rows, client, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    killed = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert {".a.zarr.journal", "rows.npy"} == set(os.listdir(tmp_path)) - {"notes"}
    run(model, rows, tmp_path / "a.zarr", client)
    assert 0 < len(model.computed()) < 20
    import zarr

    found = zarr.open_group(tmp_path / "a.zarr", mode="r")["predict_proba"][:]
    assert_array_equal(found, model.predict_proba(rows))
