# SPDX-License-Identifier: BSD-3-Clause
"""Data on a device, driven on the CPU where there is no other."""

import threading

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset
from torch.utils.data import Subset

from skastro import SpectrumClassifier
from skastro.training import BatchIterator, _batches, _device
from skastro.utils import LazyArray

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def any_device(monkeypatch):
    """Let the branch for CUDA devices run with the CPU in their place."""
    copied = []

    def send(batches, device):
        for batch in batches:
            copied.append(batch[1])
            yield batch

    to = torch.Tensor.to
    monkeypatch.setattr(_batches, "on_device", send)
    monkeypatch.setattr(_device, "free_for_data", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(
        torch.Tensor,
        "to",
        lambda self, device, **kw: self.clone() if device == CUDA else to(self, device),
    )
    monkeypatch.setattr(torch, "empty", _empty_on_cpu(torch.empty))
    return copied


def _empty_on_cpu(empty):
    def make(*shape, device=None, **options):
        return empty(*shape, device="cpu" if device == CUDA else device, **options)

    return make


def drawn(iterator):
    """Collect the targets of an iteration."""
    return torch.cat([y for _, y in iterator]).tolist()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "u1", ">u2"])
def test_data_are_placed_after_the_first_steps(any_device, lazy, dtype):
    if not lazy and dtype == ">u2":
        pytest.skip("arrays in memory have the machine's byte order")
    X = np.arange(60).reshape(20, 3).astype(dtype)
    dataset = Dataset(LazyArray(X) if lazy else X, np.arange(20))
    train = Subset(dataset, np.arange(2, 20))
    placed = {}
    iterator = BatchIterator(train, 4, shuffle=True, device=CUDA, placed=placed)
    for epoch in range(3):
        any_device.clear()
        seen = [(x, y) for x, y in iterator]
        assert sorted(torch.cat([y for _, y in seen]).tolist()) == list(range(2, 20))
        for x, y in seen:
            np.testing.assert_array_equal(x.numpy(), X[y.numpy()])
        # In the first epoch two batches are sent ahead, of data on disk all.
        expected = 0 if epoch else 5 if lazy else 2
        assert len(any_device) == expected
    # The validation part finds the data there.
    rows = Subset(dataset, [1, 0])
    valid = BatchIterator(rows, 4, device=CUDA, placed=placed)
    any_device.clear()
    assert drawn(valid) == [1, 0]
    assert not any_device
    # An iterator that does not share them sends its batches.
    assert drawn(BatchIterator(rows, 4, device=CUDA)) == [1, 0]
    assert len(any_device) == 1


def test_what_does_not_fit_is_sent_in_every_epoch(any_device, monkeypatch):
    monkeypatch.setattr(_device, "free_for_data", lambda device: 10)
    dataset = Dataset(np.zeros((20, 3), np.float32), np.arange(20))
    iterator = BatchIterator(dataset, 4, shuffle=True, device=CUDA)
    for _ in range(2):
        any_device.clear()
        assert sorted(drawn(iterator)) == list(range(20))
        assert len(any_device) == 5


def test_the_order_does_not_depend_on_where_the_data_are(any_device):
    dataset = Dataset(np.zeros((20, 3), np.float32), np.arange(20))
    orders = []
    for device in (CPU, CUDA):
        torch.manual_seed(0)
        iterator = BatchIterator(dataset, 4, shuffle=True, device=device)
        orders.append([drawn(iterator) for _ in range(2)])
    assert orders[0] == orders[1]


def test_a_training_shares_placed_data_and_lets_them_go():
    given = []

    class Recording(BatchIterator):
        def __init__(self, dataset, *args, placed=None, **kwargs):
            super().__init__(dataset, *args, placed=placed, **kwargs)
            given.append(placed)

    X = np.random.default_rng(0).normal(size=(30, 10)).astype(np.float32)
    clf = SpectrumClassifier(
        "mlp",
        max_epochs=1,
        verbose=0,
        iterator_train=Recording,
        iterator_valid=Recording,
    )
    first = clf.fit(X, np.arange(30) % 2) and given[:]
    assert len(first) > 1
    assert all(placed is first[0] for placed in first)
    given.clear()
    clf.fit(X, np.arange(30) % 2)
    assert given[0] is not first[0]
    given.clear()
    clf.predict(X)
    assert given == [None]


def test_drawing_ahead():
    def items(n):
        for number in range(n):
            assert threading.current_thread().name == "skastro-batches"
            yield number
        if n > 3:
            raise RuntimeError("the disk is gone")

    assert list(_device.ahead(items(3), 2)) == [0, 1, 2]
    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(_device.ahead(items(4), 2))
    unfinished = _device.ahead(items(100), 2)
    assert next(unfinished) == 0
    unfinished.close()
    assert "skastro-batches" not in {t.name for t in threading.enumerate()}
