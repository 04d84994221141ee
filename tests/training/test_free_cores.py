# SPDX-License-Identifier: BSD-3-Clause
"""The number of threads follows the cores that other programs leave free."""

import os
import sys
import threading

import numpy as np
import pytest
import torch

from skastro import SpectrumClassifier
from skastro.training import _compute, fast_kernels
from skastro.training._compute import FreeCores, adapt_threads, read_idle_time

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="counts cores on Linux only"),
]

CPU = torch.device("cpu")


class Machine:
    """A machine whose clock runs a second at each look at it, and while one sleeps."""

    def __init__(self, n_cores, n_busy=0.0, n_own=0.0):
        self.n_cores, self.n_busy, self.n_own = n_cores, n_busy, n_own
        self.now = self.idle = self.work = 100.0

    def clock(self):
        self.sleep(1.0)
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.work += seconds * self.n_own
        self.idle += seconds * (self.n_cores - self.n_busy - self.n_own)

    def cores(self, n_sharing=1):
        cores = FreeCores(lambda: self.idle, lambda: self.work, self.clock, self.sleep)
        cores.join(n_sharing)
        return cores


@pytest.fixture
def n_cores(monkeypatch):
    """Give torch the threads that it takes by itself, and return their number."""
    n_cores = len(os.sched_getaffinity(0))
    if n_cores == 1:
        pytest.skip("needs two cores")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(n_cores)
    yield n_cores
    torch.set_num_threads(before)


def put(monkeypatch, machine):
    monkeypatch.setattr(_compute, "CORES", machine.cores(0))
    monkeypatch.setattr(_compute.joblib, "cpu_count", lambda: machine.n_cores)


@pytest.mark.parametrize(
    ("n_busy", "n_own", "n_sharing", "expected"),
    [
        (0.0, 0.0, 1, 8),
        (0.2, 0.0, 1, 8),
        (1.0, 0.0, 1, 7),
        (2.5, 5.5, 1, 5),
        (8.0, 0.0, 1, 1),
        (1.0, 2.0, 3, 2),
    ],
)
def test_cores_that_others_leave_free(monkeypatch, n_busy, n_own, n_sharing, expected):
    monkeypatch.setattr(_compute.joblib, "cpu_count", lambda: 8)
    cores = Machine(8, n_busy, n_own).cores(n_sharing)
    assert cores.share(0.05) == expected


def test_limit_of_a_container(monkeypatch):
    monkeypatch.setattr(_compute.joblib, "cpu_count", lambda: 3)
    assert Machine(8).cores().share(0.05) == 3


def test_looks_are_kept_for_a_while(monkeypatch):
    monkeypatch.setattr(_compute.joblib, "cpu_count", lambda: 8)
    machine = Machine(8)
    cores = machine.cores()
    assert cores.share(100.0) is None
    assert cores.share(0.05) == 8
    machine.n_busy = 4
    assert cores.share(100.0) == 8
    assert cores.share(0.05) == 4


def test_a_training_begins_with_a_look_of_its_own(monkeypatch):
    monkeypatch.setattr(_compute.joblib, "cpu_count", lambda: 8)
    machine = Machine(8, n_busy=6)
    cores = machine.cores()
    machine.sleep(1000.0)
    machine.n_busy = 0
    assert cores.share(0.05, wait=True) == 8


def test_systems_without_counters():
    cores = FreeCores(lambda: None)
    assert cores.share(0.0, wait=True) is None


def test_idle_time_is_read(tmp_path, monkeypatch):
    path = tmp_path / "stat"
    assert read_idle_time() >= 0
    rows = "cpu0 5 0 5 100 2\ncpu1 5 0 5 300 7 0 0\ncpu2 1 1 1 40 9 1\nintr 7\n"
    path.write_text("cpu 9 9 9 1000 100 9\n" + rows)
    second = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert read_idle_time(path) == pytest.approx((102 + 49) / second)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert read_idle_time(path) == pytest.approx(1100 / second)
    for text in ("", "cpu 9 9\n", "cpu 9 9 9 1000 100 9\ncpu7 1 1 1 1 1\n"):
        path.write_text(text)
        assert read_idle_time(path) is None
    assert read_idle_time(tmp_path / "none") is None


def test_threads_follow_the_load_and_are_put_back(monkeypatch, n_cores):
    machine = Machine(n_cores)
    put(monkeypatch, machine)
    with fast_kernels(CPU, "auto", search=True):
        assert torch.get_num_threads() == n_cores
        machine.n_busy = n_cores
        adapt_threads()
        assert torch.get_num_threads() == 1
        with fast_kernels(CPU, "auto"):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        machine.n_busy = 0
        adapt_threads()
        assert torch.get_num_threads() == n_cores
        machine.n_busy = 1
        adapt_threads()
        assert torch.get_num_threads() == n_cores // 2
    assert torch.get_num_threads() == n_cores
    adapt_threads()
    assert torch.get_num_threads() == n_cores


def test_threads_are_put_back_after_an_error(monkeypatch, n_cores):
    put(monkeypatch, Machine(n_cores, n_busy=n_cores))

    def fail():
        with fast_kernels(CPU, "auto"):
            assert torch.get_num_threads() == 1
            raise RuntimeError("as in a training")

    with pytest.raises(RuntimeError, match="as in a training"):
        fail()
    assert torch.get_num_threads() == n_cores


def test_a_number_that_the_user_chose_is_kept(monkeypatch, n_cores):
    put(monkeypatch, Machine(n_cores, n_busy=n_cores))
    torch.set_num_threads(n_cores + 1)
    with fast_kernels(CPU, "auto", search=True):
        assert torch.get_num_threads() == n_cores + 1
    torch.set_num_threads(n_cores)
    with fast_kernels(torch.device("meta"), "auto"):
        assert torch.get_num_threads() == n_cores
    # Within the block, as a callback may do.
    with fast_kernels(CPU, "auto", search=True):
        torch.set_num_threads(n_cores + 1)
        adapt_threads()
        assert torch.get_num_threads() == n_cores + 1
    assert torch.get_num_threads() == n_cores + 1
    torch.set_num_threads(n_cores)
    monkeypatch.setenv("OMP_NUM_THREADS", str(n_cores))
    with fast_kernels(CPU, "auto", search=True):
        assert torch.get_num_threads() == n_cores


def test_blocks_in_several_threads_share_the_cores(monkeypatch, n_cores):
    put(monkeypatch, Machine(n_cores))
    inside, seen = threading.Barrier(2), []

    def work():
        torch.set_num_threads(n_cores)
        with fast_kernels(CPU, "auto", search=True):
            inside.wait(60)
            adapt_threads(0.0)
            seen.append(torch.get_num_threads())
            inside.wait(60)
        seen.append(torch.get_num_threads())

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(seen) == [n_cores // 2, n_cores // 2, n_cores, n_cores]
    with fast_kernels(CPU, "auto"):
        assert torch.get_num_threads() == n_cores


def test_estimators_adapt_batch_by_batch(monkeypatch, n_cores):
    machine = Machine(n_cores)
    put(monkeypatch, machine)
    seen = []

    def note(batch):
        seen.append(torch.get_num_threads())
        machine.n_busy = n_cores
        return batch

    X = np.random.default_rng(0).normal(size=(24, 16)).astype(np.float32)
    y = np.arange(24) % 2
    clf = SpectrumClassifier(
        "mlp", augment=note, batch_size=8, max_epochs=1, train_split=None, verbose=0
    )
    clf.fit(X, y)
    assert seen == [n_cores, 1, 1]
    assert torch.get_num_threads() == n_cores
    clf.module_.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    clf.predict_proba(X)
    assert seen[3:] == [1]
    assert torch.get_num_threads() == n_cores
