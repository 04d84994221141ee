# SPDX-License-Identifier: BSD-3-Clause
"""The plug-ins of the training loop."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from skorch.dataset import Dataset
from torch.utils.data import DataLoader, Subset, TensorDataset

from skastro import SpectrumClassifier
from skastro.training import (
    SCHEDULES,
    BatchIterator,
    ValidationSplit,
    fast_kernels,
    resolve_precision,
)


@pytest.fixture
def dataset():
    """Make ten samples that tell their number."""
    X = np.arange(30, dtype=np.float32).reshape(10, 3)
    return Dataset(X, np.arange(10))


def rows(iterator):
    """Collect the targets of an iteration."""
    return torch.cat([y for _, y in iterator]).tolist()


def test_batches_equal_those_of_a_data_loader(dataset):
    nested = Subset(Subset(dataset, [9, 1, 3, 5, 7, 8]), [5, 0, 2])
    for data in (dataset, nested):
        ours, loader = BatchIterator(data, 4), DataLoader(data, 4)
        assert len(ours) == len(loader)
        for (X, y), (X_loader, y_loader) in zip(ours, loader, strict=True):
            assert torch.equal(X, X_loader)
            assert torch.equal(y, y_loader)


def test_batches_share_memory_and_keep_the_last(dataset):
    batches = list(BatchIterator(dataset, 4))
    assert [len(y) for _, y in batches] == [4, 4, 2]
    assert batches[0][0].data_ptr() == dataset.X.ctypes.data


def test_shuffling_follows_torchs_seed(dataset):
    iterator = BatchIterator(dataset, 4, shuffle=True)
    torch.manual_seed(0)
    first, second = rows(iterator), rows(iterator)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    torch.manual_seed(0)
    assert rows(iterator) == first


def test_sampling_weights(dataset):
    weights = np.zeros(10)
    weights[[2, 6]] = 1, 3
    drawn = [
        row
        for _ in range(50)
        for row in rows(BatchIterator(dataset, 4, sampling_weights=weights))
    ]
    assert len(drawn) == 500
    assert set(drawn) == {2, 6}
    assert np.mean(np.equal(drawn, 6)) == pytest.approx(0.75, abs=0.08)


def test_dictionaries_and_missing_targets():
    X = {"X": np.zeros((5, 2), np.float32), "sample_weight": np.arange(5.0)}
    batches = list(BatchIterator(Dataset(X), 2))
    assert [x["sample_weight"].tolist() for x, _ in batches] == [[0, 1], [2, 3], [4]]
    assert [y.tolist() for _, y in batches] == [[0, 0], [0, 0], [0]]


def test_other_data_sets_go_through_a_loader(dataset):
    class Doubled(Dataset):
        def transform(self, X, y):
            return 2 * X, y

    doubled = Doubled(dataset.X, dataset.y)
    X = torch.cat([X for X, _ in BatchIterator(doubled, 4)])
    np.testing.assert_array_equal(X, 2 * dataset.X)
    tensors = TensorDataset(torch.arange(6.0), torch.arange(6))
    assert sorted(rows(BatchIterator(tensors, 4, shuffle=True))) == list(range(6))
    weights = [0, 0, 0, 1, 0, 0]
    assert rows(BatchIterator(tensors, 4, sampling_weights=weights)) == [3] * 6
    assert rows(BatchIterator(dataset, 4, num_workers=0)) == list(range(10))


def test_read_only_arrays(dataset):
    dataset.X.setflags(write=False)
    assert rows(BatchIterator(dataset, 3)) == list(range(10))


@pytest.mark.parametrize(("n", "fraction"), [(40, 0.25), (200, 0.1), (21, 0.05)])
def test_split_is_stratified(n, fraction):
    y = np.repeat(["a", "b", "c"], [n // 2, n // 4, n - n // 2 - n // 4])
    train, valid = ValidationSplit(fraction, stratify=True, random_state=0)(range(n), y)
    assert sorted([*train.indices, *valid.indices]) == list(range(n))
    assert len(valid) == max(round(fraction * n), 3)
    assert set(y[train.indices]) == set(y[valid.indices]) == {"a", "b", "c"}
    again = ValidationSplit(fraction, stratify=True, random_state=0)(range(n), y)[1]
    np.testing.assert_array_equal(again.indices, valid.indices)


def test_split_keeps_singles_in_training():
    y = np.array([0] * 20 + [1] * 20 + [2])
    train, valid = ValidationSplit(0.2, stratify=True, random_state=0)(range(41), y)
    assert 40 in train.indices
    assert len(valid) == 8


def test_split_of_few_samples_sets_none_aside():
    data = range(19)
    assert ValidationSplit(0.5)(data) == (data, None)
    data, y = range(24), np.repeat(np.arange(12), 2)
    assert ValidationSplit(0.9, stratify=True)(data, y) == (data, None)


@pytest.fixture
def spectra():
    """Make noise with noisy labels, on which a network overfits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 20)).astype(np.float32)
    return X, (X[:, 0] + rng.normal(size=80) > 0).astype(int)


def fit(spectra, **params):
    """Fit an estimator that overfits."""
    settings = {"max_epochs": 30, "lr": 0.02, "verbose": 0, "random_state": 0}
    return SpectrumClassifier("mlp", **(settings | params)).fit(*spectra)


def validation_log_probability(clf, X, y, fraction):
    """Predict the validation split, which the seed draws again: all, and truth."""
    _, valid = ValidationSplit(fraction, stratify=True, random_state=0)(X, y)
    probability = np.clip(clf.predict_proba(X[valid.indices]), 1e-30, None)
    truth = y[valid.indices]
    return np.log(probability), np.log(probability[np.arange(len(truth)), truth])


def validation_loss(*arguments):
    return -validation_log_probability(*arguments)[1].mean()


def validation_accuracy(*arguments):
    every, of_truth = validation_log_probability(*arguments)
    return np.mean(every.max(axis=1) == of_truth)


def test_best_weights_by_loss(spectra):
    by_loss = {
        "callbacks__best_weights__monitor": "valid_loss",
        "callbacks__best_weights__lower_is_better": True,
        "callbacks__best_weights__start": 0.0,
    }
    clf = fit(spectra, train_split=0.3, **by_loss)
    losses = clf.history[:, "valid_loss"]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    assert dict(clf.callbacks_)["best_weights"].best_epoch_ == best + 1
    loss = validation_loss(clf, *spectra, 0.3)
    assert loss == pytest.approx(losses[best], rel=1e-5)
    last = fit(spectra, train_split=0.3, restore_best_weights=False)
    loss = validation_loss(last, *spectra, 0.3)
    assert loss == pytest.approx(last.history[-1, "valid_loss"], rel=1e-5)


def test_classifiers_keep_the_last_best_accuracy_of_the_last_quarter(spectra):
    clf = fit(spectra, train_split=0.3, schedule=None, lr=0.1)
    scores = np.array(clf.history[:, "valid_acc"])
    best = len(scores) - 1 - int(np.argmax(scores[:22:-1]))
    assert best >= 23
    assert dict(clf.callbacks_)["best_weights"].best_epoch_ == best + 1
    accuracy = validation_accuracy(clf, *spectra, 0.3)
    assert accuracy == pytest.approx(scores[best])


def test_interrupted_training_keeps_the_best_weights(spectra):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 12:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted in epoch 12"):
        clf = fit(spectra, train_split=0.3, callbacks=[Interrupt()])
    assert len(clf.history) == 12
    scores = np.array(clf.history[:, "valid_acc"])
    best = len(scores) - int(np.argmax(scores[::-1]))
    assert dict(clf.callbacks_)["best_weights"].best_epoch_ == best
    accuracy = validation_accuracy(clf, *spectra, 0.3)
    assert accuracy == pytest.approx(scores[best - 1])


class Rates(Callback):
    """Notes the learning rate of each step."""

    def on_train_begin(self, net, **_):
        self.rates = []

    def on_grad_computed(self, net, *args, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


def test_cosine_schedule_warms_up_and_comes_down(spectra):
    watch = Rates()
    clf = fit(spectra, max_epochs=10, batch_size=8, callbacks=[watch])
    # 9 steps of warm-up, 81 of the cosine, each at the rate of its middle.
    middle = np.arange(90) + 0.5
    cosine = (1 + np.cos(np.pi * (middle - 9) / 81)) / 2
    expected = 0.02 * np.where(middle < 9, middle / 9, cosine)
    np.testing.assert_allclose(watch.rates, expected)
    assert 0 < watch.rates[-1] < 1e-5
    assert clf.optimizer_.param_groups[0]["lr"] == 0.02


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_a_training_of_one_step_learns(spectra, schedule):
    watch = Rates()
    settings = {"max_epochs": 1, "batch_size": -1, "augment": None}
    fit(spectra, schedule=schedule, callbacks=[watch], **settings)
    assert watch.rates == [0.02 * SCHEDULES[schedule](0.5)]
    assert watch.rates[0] > 0


def test_schedule_may_be_a_function(spectra):
    clf = fit(spectra, max_epochs=4, schedule=lambda progress: 1 - progress / 2)
    sizes = clf.history[0, "batches", :, "train_batch_size"]
    middle = np.arange(1, 5) - sizes[-1] / 2 / sum(sizes)
    np.testing.assert_allclose(clf.history[:, "lr"], 0.02 * (1 - middle / 8), rtol=1e-6)


def test_precision():
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu, 10**6, 10**6) is None
    assert resolve_precision("bfloat16", cpu, 3, 3) is torch.bfloat16
    assert resolve_precision("float16", cpu, 3, 3) is torch.float16
    assert resolve_precision("auto", cpu, 100, 10**6) is None
    assert resolve_precision("auto", cpu, 3000, 100) is None
    assert resolve_precision("auto", cpu, 3000, 10**6) in (None, torch.bfloat16)


@pytest.mark.parametrize(
    ("capability", "has_bfloat16", "expected"),
    [((9, 0), True, torch.bfloat16), ((7, 5), False, torch.float16), ((6, 1), 0, None)],
)
def test_precision_on_gpus(monkeypatch, capability, has_bfloat16, expected):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    # A device of a number that no other test asks for: answers are remembered.
    device = torch.device("cuda", 90 + capability[0])
    assert resolve_precision("auto", device, 3000, 10**6) is expected


def test_fast_kernels_put_the_settings_back():
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    with fast_kernels(torch.device("cuda"), "auto", search=True):
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
    with fast_kernels(torch.device("cuda"), "float32"):
        assert torch.get_float32_matmul_precision() == before[1]
        assert not torch.backends.cudnn.benchmark
    with fast_kernels(torch.device("cpu"), "auto", search=True):
        assert torch.get_float32_matmul_precision() == before[1]
    after = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    assert after == before


def test_balanced_draws_have_the_weights_proportions():
    dataset = Dataset(np.zeros((4, 1), dtype=np.float32), np.arange(4))
    iterator = BatchIterator(dataset, 4, sampling_weights=np.array([0, 1.0, 2.0, 5.0]))
    torch.manual_seed(0)
    counts = np.bincount(np.concatenate([rows(iterator) for _ in range(2000)]))
    # Eight thousand draws: the standard deviations are 0.003 to 0.005.
    np.testing.assert_allclose(counts / 8000, [0, 1 / 8, 2 / 8, 5 / 8], atol=0.02)


def test_precisions_agree():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 600)).astype(np.float32)
    y = np.arange(60) % 2
    X[y == 1, 100:200] += 1
    settings = {"module__width": 4, "max_epochs": 5, "verbose": 0, "random_state": 0}
    results = []
    for precision in ("float32", "bfloat16"):
        clf = SpectrumClassifier("resnet18", precision=precision, **settings)
        probability = clf.fit(X, y).predict_proba(X)
        assert probability.dtype == np.float32
        results.append(probability)
    assert np.abs(results[0] - results[1]).mean() < 0.05
    fitted = SpectrumClassifier("resnet18", precision="float32", **settings).fit(X, y)
    exact = fitted.predict_proba(X)
    fitted.set_params(precision="bfloat16")
    np.testing.assert_allclose(fitted.predict_proba(X), exact, atol=0.02)


def test_overlapping_blocks_put_the_settings_back():
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    device = torch.device("cuda")
    first, second = (fast_kernels(device, "auto", search=True) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.backends.cudnn.benchmark
    second.__exit__(None, None, None)
    after = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    assert after == before
