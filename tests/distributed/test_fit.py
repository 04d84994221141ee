# SPDX-License-Identifier: BSD-3-Clause
"""Two processes train one network as one process does."""

import json
import os
import pickle
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rank_trainings import TRAININGS, WHOLE, classifier, spectra
from skorch.dataset import Dataset

from skastro.datasets import LazyArray
from skastro.distributed import fit
from skastro.training import BatchIterator, Ranks

pytestmark = pytest.mark.once

HELPERS = Path(__file__).parents[1] / "helpers"
# Of one process, but for rounding.
EXACT = sorted(TRAININGS.keys() - {"streamed", "varied"})


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Run all trainings in two processes; the second is killed at the end."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in "01":
        names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        names |= {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, HELPERS / "rank_trainings.py", folder]
        process = subprocess.Popen(
            command, env=os.environ | names, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
    try:
        told = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert (folder / "errors0.json").is_file(), "\n".join(told)
    return SimpleNamespace(
        folder=folder,
        ranks=[json.loads((folder / f"{rank}.json").read_text()) for rank in "01"],
        errors=json.loads((folder / "errors0.json").read_text()),
        codes=[process.returncode for process in processes],
    )


@pytest.mark.parametrize("name", TRAININGS)
def test_all_processes_hold_the_same(pair: SimpleNamespace, name: str):
    first, second = (results[name] for results in pair.ranks)
    assert first == second


@pytest.mark.filterwarnings("ignore:The training was interrupted")
@pytest.mark.parametrize("name", EXACT)
def test_two_processes_train_as_one(pair: SimpleNamespace, name: str, tmp_path: Path):
    # Batches of two times 16 are those of 32: also where classes, samples or targets
    # count differently, where the training stops early, goes on, or ends with a batch
    # of one sample.
    found, expected = pair.ranks[0][name], TRAININGS[name](1, tmp_path)
    assert found["history"].keys() == expected["history"].keys()
    for column, values in expected["history"].items():
        np.testing.assert_allclose(
            found["history"][column], values, rtol=1e-4, atol=1e-5, err_msg=column
        )
    assert found["batches"] == expected["batches"]
    assert found["kept_epoch"] == expected["kept_epoch"]
    np.testing.assert_allclose(found["output"], expected["output"], atol=1e-4)
    if expected["temperature"] is not None:
        assert found["temperature"] == pytest.approx(expected["temperature"], rel=1e-3)


def test_trainings_test_what_they_say(pair: SimpleNamespace):
    results = pair.ranks[0]
    assert results["plain"]["temperature"] != 1
    assert len(set(results["plain"]["history"]["train_f1"])) > 1
    assert results["stopped"]["n_epochs"] < 30
    assert results["stopped_by_one"]["n_epochs"] == 2
    losses = results["resumed"]["history"]["train_loss"]
    assert losses == results["plain"]["history"]["train_loss"]
    losses = {name: tuple(results[name]["history"]["train_loss"]) for name in EXACT}
    assert len({losses[name] for name in ("plain", "balanced", "weighted")}) == 3


def test_first_process_alone_writes(pair: SimpleNamespace):
    written = {path.name for path in (pair.folder / "rank0").iterdir()}
    assert {"params.pt", "optimizer.pt", "history.json"} <= written
    assert not any((pair.folder / "rank1").glob("*"))


def test_stream_counts_each_sample_once(pair: SimpleNamespace):
    batches = pair.ranks[0]["streamed"]["batches"]
    assert sum(batches) == 360
    # Each process reads blocks of its own, so that batches differ from those of one.
    assert max(batches) <= WHOLE + 1
    losses = pair.ranks[0]["streamed"]["history"]["train_loss"]
    assert losses[-1] < losses[0]


def test_random_numbers_leave_processes_alike(pair: SimpleNamespace, tmp_path: Path):
    # Each process draws others, so that the result is not that of one process.
    found, alone = pair.ranks[0]["varied"], TRAININGS["varied"](1, tmp_path)
    assert found["history"]["train_loss"] != alone["history"]["train_loss"]
    np.testing.assert_allclose(
        found["history"]["train_loss"], alone["history"]["train_loss"], rtol=0.1
    )


def test_killed_process_ends_the_others_with_a_clear_error(pair: SimpleNamespace):
    lost, parted = pair.errors
    assert "Process 0 of 2 cannot reach the others any more" in lost
    assert "resume='file'" in lost
    assert "The processes have parted" in parted
    assert pair.codes[1] == -9


def test_alone_it_is_fit():
    X, y = spectra()
    one, other = classifier(1).fit(X, y), fit(classifier(1), X, y)
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))
    assert np.array_equal(
        pickle.loads(pickle.dumps(other)).predict_proba(X), one.predict_proba(X)
    )


def as_rank(rank: int, size: int = 2) -> Ranks:
    return Ranks(rank, size, torch.device("cpu"))


@pytest.mark.parametrize("n_samples", [1, 2, 63, 64, 65, 67, 128])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_samples_are_dealt_once_and_evenly(n_samples: int, size: int):
    deals = [as_rank(rank, size).deal(n_samples, 64 // size) for rank in range(size)]
    sizes, totals = deals[0][0].sizes, deals[0][0].totals
    assert totals.sum() == n_samples
    first = 0
    for step, total in enumerate(totals):
        parts = [
            rows[slice(*np.append(0, deal.ends)[step : step + 2])]
            for deal, rows in deals
        ]
        assert [len(part) for part in parts] == sizes[step].tolist()
        expected = np.arange(first, first + total)
        if total < size:
            assert all(np.array_equal(part, expected) for part in parts)
        else:
            assert np.array_equal(np.concatenate(parts), expected)
            assert np.ptp(sizes[step]) <= 1
        first += total


def flat(lists: Any) -> list:
    return [*chain.from_iterable(lists)]


def batches_of(rank: Ranks | None, X: Any, size: int, **options: Any) -> tuple:
    iterator = BatchIterator(Dataset(X, np.arange(len(X))), size, **options)
    iterator.ranks = rank
    rows = [y.tolist() for _, y in iterator]
    return iterator, rows


@pytest.mark.parametrize("buffer_size", [2**20, 40 * 80])
@pytest.mark.parametrize("shuffle", [False, True])
def test_streams_are_dealt_once(buffer_size: int, shuffle: bool):
    # Blocks of ten rows; the small buffer holds 40 of the 403.
    X = np.random.default_rng(0).normal(size=(403, 20)).astype(np.float32)
    chunked = LazyArray(Chunked(X, 10))
    options = {"shuffle": shuffle, "buffer_size": buffer_size}
    found = []
    for rank in range(3):
        torch.manual_seed(1)
        found.append(batches_of(as_rank(rank, 3), chunked, 8, **options))
    rows = [rows for _, rows in found]
    deal = found[0][0].deal
    assert [len(r) for r in rows] == [len(found[0][0])] * 3
    assert [list(map(len, step)) for step in zip(*rows, strict=True)] == (
        deal.sizes.tolist()
    )
    assert sorted(flat(flat(rows))) == list(range(403))
    torch.manual_seed(1)
    _, alone = batches_of(None, chunked, 24, **options)
    together = [flat(step) for step in zip(*rows, strict=True)]
    if shuffle and buffer_size == 40 * 80:
        assert together != alone
        chunks = [{row // 10 for row in flat(r)} for r in rows]
        assert not chunks[0] & chunks[1]
    else:
        assert together == alone


class Chunked:
    """An array that is stored in chunks of rows."""

    def __init__(self, array: np.ndarray, n_rows: int) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.chunks = (n_rows, *array.shape[1:])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._array[rows]


def test_data_set_of_a_user_is_refused():
    iterator = BatchIterator([(torch.zeros(2), 0)], 1)
    iterator.ranks = as_rank(0)
    with pytest.raises(ValueError, match="needs X and y as arrays"):
        iter(iterator)


def test_started_processes_that_do_not_know_each_other_are_refused(monkeypatch):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started"):
        fit(classifier(1), *spectra(), accelerator=accelerator)


def test_missing_accelerate_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"skastro\[scale\]"):
        fit(classifier(1), *spectra())
