# SPDX-License-Identifier: BSD-3-Clause
"""skorch's side of the strict net's contract: its documented idioms, one test each."""

import pickle
from functools import partial

import numpy as np
import pytest
import skorch
import torch
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    LRScheduler,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from skorch.toy import make_classifier
from tiny_estimators import make_tiny
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skastro import SpectrumClassifier

N_SAMPLES, LENGTH = 48, 30


tiny = partial(make_tiny, SpectrumClassifier, max_epochs=4, device="auto")


@pytest.fixture
def data():
    """Make two classes that differ in one feature."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, LENGTH)).astype(np.float32)
    y = np.arange(N_SAMPLES) % 2
    X[y == 1, 3:9] += 2
    return X, np.array(["GALAXY", "STAR"])[y]


class Average(nn.Module):
    """A user's module that takes two of the three sizes."""

    def __init__(self, n_channels, n_outputs, hidden=4):
        super().__init__()
        self.conv = nn.Conv1d(n_channels, hidden, 3, padding=1)
        self.fc = nn.Linear(hidden, n_outputs)

    def forward(self, x):
        """Average over the length."""
        return self.fc(torch.relu(self.conv(x)).mean(dim=2))


def test_is_a_skorch_net():
    clf = SpectrumClassifier()
    assert isinstance(clf, skorch.NeuralNet)
    assert isinstance(clf, skorch.NeuralNetClassifier)


def test_user_module_gets_the_sizes_it_names(data):
    X, y = data
    clf = tiny(Average, module__hidden=7).fit(X.reshape(-1, 3, 10), y)
    assert clf.module_.conv.weight.shape == (7, 3, 3)
    assert clf.module_.fc.out_features == 2
    clf = tiny(Average, module__n_outputs=5, classes=list("abcde"))
    clf.fit(X, np.where(y == "STAR", "a", "e"))
    assert clf.module_.fc.out_features == 5
    assert clf.predict_proba(X).shape == (N_SAMPLES, 5)
    with pytest.raises(ValueError, match=r"outputs of shape \(5,\) for 2 classes"):
        tiny(Average, module__n_outputs=5).fit(X, y)


def test_toy_module_on_flat_input(data):
    X, y = data
    toy = make_classifier(input_units=LENGTH, hidden_units=8, output_units=2)
    clf = tiny(toy, criterion=nn.NLLLoss, max_epochs=20, lr=0.02).fit(X, y)
    assert clf.score(X, y) > 0.8


def test_module_instance(data):
    X, y = data
    net = nn.Sequential(nn.Linear(LENGTH, 2))
    weight = net[0].weight.clone()
    clf = tiny(net).fit(X, y)
    expected = clf.predict_proba(X)
    # It is a parameter: training works on a copy, and starts from it each time.
    assert torch.equal(net[0].weight, weight)
    assert not torch.equal(clf.module_[0].weight, weight)
    np.testing.assert_array_equal(clf.fit(X, y).predict_proba(X), expected)


def test_dunder_parameters_of_every_part(data):
    X, y = data
    clf = tiny(
        module__hidden=(3, 5),
        criterion__label_smoothing=0.1,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.5,
        iterator_train__batch_size=7,
        iterator_valid__batch_size=5,
        callbacks__print_log=None,
    ).fit(X, y)
    assert clf.criterion_.label_smoothing == 0.1
    assert clf.optimizer_.param_groups[0]["momentum"] == 0.5
    sizes = clf.history[0, "batches", :, "train_batch_size"]
    assert max(sizes) == 7
    assert "print_log" not in dict(clf.callbacks_)


def test_parameter_groups(data):
    X, y = data
    clf = tiny(
        "resnet18",
        module__width=4,
        schedule=None,
        optimizer__param_groups=[("fc.*", {"lr": 0.5})],
    ).fit(X, y)
    assert [group["lr"] for group in clf.optimizer_.param_groups] == [0.5, 1e-2]


def test_history(data, tmp_path):
    clf = tiny().fit(*data)
    assert len(clf.history) == 4
    assert {"epoch", "train_loss", "valid_loss", "valid_acc", "dur", "lr"} <= set(
        clf.history[-1]
    )
    assert len(clf.history[:, "train_loss"]) == 4
    clf.history.to_file(tmp_path / "history.json")
    assert "valid_loss" in (tmp_path / "history.json").read_text()


@pytest.mark.parametrize("safe", [False, True])
def test_save_and_load_params(data, tmp_path, safe):
    X, y = data
    clf = tiny().fit(X, y)
    clf.save_params(
        f_params=tmp_path / "params", f_history=tmp_path / "h", use_safetensors=safe
    )
    fresh = tiny(
        module__input_size=LENGTH, module__n_outputs=2, classes=["GALAXY", "STAR"]
    )
    fresh.initialize()
    fresh.load_params(
        f_params=tmp_path / "params", f_history=tmp_path / "h", use_safetensors=safe
    )
    np.testing.assert_array_equal(fresh.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(fresh.predict(X), clf.predict(X))
    assert len(fresh.history) == len(clf.history)


def test_initialize_without_data_names_the_missing_sizes():
    with pytest.raises(ValueError, match=r"needs input_size, n_outputs.*module__"):
        tiny().initialize()


def test_checkpoint(data, tmp_path):
    X, y = data
    checkpoint = Checkpoint(dirname=tmp_path, f_pickle="net.pkl", monitor=None)
    clf = tiny(callbacks=[checkpoint], restore_best_weights=False).fit(X, y)
    with open(tmp_path / "net.pkl", "rb") as file:
        loaded = pickle.load(file)
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X))
    other = tiny(module__input_size=LENGTH, module__n_outputs=2)
    other.initialize()
    other.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(other.predict_proba(X), clf.predict_proba(X))


def test_early_stopping(data):
    stopping = EarlyStopping(patience=2, threshold=10.0, threshold_mode="abs")
    clf = tiny(callbacks=[("early_stopping", stopping)], max_epochs=50).fit(*data)
    assert len(clf.history) == 3


def test_freezer(data):
    X, y = data
    clf = tiny("resnet18", module__width=4, callbacks=[Freezer("conv1.*")])
    clf.fit(X, y)
    assert not clf.module_.conv1.weight.requires_grad
    assert clf.module_.fc.weight.requires_grad


def test_skorchs_own_schedule(data):
    policy = LRScheduler(policy="StepLR", step_size=2, gamma=0.1)
    clf = tiny(schedule=None, callbacks=[policy]).fit(*data)
    np.testing.assert_allclose(clf.history[:, "event_lr"], [1e-2, 1e-2, 1e-3, 1e-3])


@pytest.mark.parametrize("caching", [True, False])
def test_epoch_scoring_agrees_with_the_fitted_net(data, caching):
    X, y = data
    scoring = [
        EpochScoring("f1_macro", on_train=False, lower_is_better=False, name="f1"),
        EpochScoring("roc_auc", lower_is_better=False, name="auc"),
    ]
    clf = tiny(
        callbacks=scoring,
        train_split=predefined_split(Dataset(X, (y == "STAR").astype(np.int64))),
        restore_best_weights=False,
        use_caching=caching,
    ).fit(X, y)
    assert clf.history[-1, "valid_acc"] == pytest.approx(clf.score(X, y))
    assert clf.history[-1, "f1"] > 0.5
    assert 0.5 < clf.history[-1, "auc"] <= 1
    assert set(clf.predict(X)) == {"GALAXY", "STAR"}


def test_train_splits(data):
    X, y = data
    assert "valid_loss" not in tiny(train_split=None).fit(X, y).history[-1]
    clf = tiny(train_split=ValidSplit(4, stratified=True)).fit(X, y)
    assert sum(clf.history[0, "batches", :, "train_batch_size"]) == 36


def test_data_sets_and_loaders_of_the_user(data):
    X, y = data
    codes = (y == "STAR").astype(np.int64)
    clf = tiny(train_split=None).fit(Dataset(X, codes))
    np.testing.assert_array_equal(clf.classes_, [0, 1])
    assert clf.predict(Dataset(X)).shape == (N_SAMPLES,)
    tensors = TensorDataset(torch.from_numpy(X), torch.from_numpy(codes))
    clf = tiny(train_split=None, classes=["GALAXY", "STAR"], max_epochs=10)
    clf.fit(tensors, None)
    assert clf.score(X, y) > 0.8
    loader = tiny(iterator_train=DataLoader, iterator_train__num_workers=0)
    assert loader.fit(X, y).score(X, y) > 0.8


def test_set_params_on_an_initialized_net(data):
    X, y = data
    clf = tiny().fit(X, y)
    with pytest.warns(UserWarning, match="what was trained is lost"):
        clf.set_params(module__hidden=(9,))
    assert (9, LENGTH) in [tuple(p.shape) for p in clf.module_.parameters()]
    clf.set_params(lr=0.3, optimizer__weight_decay=0.7)
    assert clf.optimizer_.param_groups[0]["lr"] == 0.3
    assert clf.optimizer_.param_groups[0]["weight_decay"] == 0.7


def test_callbacks_by_name(data, capsys):
    clf = tiny(
        verbose=2, callbacks__progress=None, callbacks__print_log__floatfmt=".1f"
    )
    clf.fit(*data)
    table = capsys.readouterr().out
    assert "train_loss" in table
    assert clf.get_params()["callbacks__print_log__floatfmt"] == ".1f"
    clf = tiny(verbose=2).set_params(callbacks__print_log=None).fit(*data)
    assert capsys.readouterr().out == ""
    assert tiny(callbacks="disable").fit(*data).callbacks_ == []


def test_progress_bar_and_silence(data, capsys):
    tiny(verbose=1).fit(*data)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "SpectrumClassifier: 100%" in captured.err
    assert "valid_loss" in captured.err
    tiny(verbose=0).fit(*data)
    assert capsys.readouterr() == ("", "")


class Pickler(skorch.callbacks.Callback):
    """Pickle the net, and what it predicts, after each epoch."""

    def __init__(self, X, kept):
        self.X, self.kept = X, kept

    def on_epoch_end(self, net, **kwargs):
        self.kept.append((pickle.dumps(net), net.predict_proba(self.X)))

    def __getstate__(self):
        return {"X": None, "kept": None}


def test_pickle_during_training_predicts_labels(data):
    X, y = data
    kept = []
    tiny(callbacks=[Pickler(X, kept)]).fit(X, y)
    assert len(kept) == 4
    for pickled, probability in kept:
        loaded = pickle.loads(pickled)
        np.testing.assert_array_equal(loaded.predict_proba(X), probability)
        np.testing.assert_array_equal(
            loaded.predict(X), np.array(["GALAXY", "STAR"])[probability.argmax(axis=1)]
        )
    assert not np.allclose(kept[0][1], kept[-1][1])


def test_auto_device_survives_a_pickle(data):
    X, y = data
    clf = tiny().fit(X, y)
    assert clf.get_params()["device"] == "auto"
    assert str(clf.device) in {"cpu", "cuda", "mps"}
    loaded = pickle.loads(pickle.dumps(clf))
    assert loaded.get_params()["device"] == "auto"
    np.testing.assert_allclose(loaded.predict_proba(X), clf.predict_proba(X))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_cuda_agrees_with_cpu(data, precision):
    X, y = data
    clf = tiny("resnet18", module__width=4, device="cuda", precision=precision)
    clf.fit(X, y)
    assert next(clf.module_.parameters()).device.type == "cuda"
    on_gpu = clf.predict_proba(X)
    cpu = pickle.loads(pickle.dumps(clf)).set_params(device="cpu", precision="float32")
    cpu.module_.cpu()
    np.testing.assert_allclose(on_gpu, cpu.predict_proba(X), atol=0.02)
