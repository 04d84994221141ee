# SPDX-License-Identifier: BSD-3-Clause
"""A training that ends in the middle goes on, and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from tiny_estimators import make_tiny
from torch import nn
from torch.utils.data import DataLoader

import skastro
from skastro import SpectrumClassifier
from skastro.augmentation import GaussianNoise
from skastro.datasets import LazyArray
from skastro.sevi import SEVISimulator

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
SPECTRA = RNG.normal(size=(60, 24)).astype(np.float32)
IMAGES = RNG.uniform(size=(60, 16, 16, 3)).astype(np.float32)
Y = np.repeat([0, 0, 1], 20)


class Dies(Callback):
    """Ends the training in the middle of an epoch."""

    def __init__(self, epoch, n_batches=2):
        self.epoch = epoch
        self.n_batches = n_batches

    def on_batch_end(self, net, training=False, **_):
        n_batches = len(net.history[-1, "batches"])
        if len(net.history) == self.epoch and n_batches == self.n_batches:
            raise MemoryError


class Begins(Callback):
    """What happens at the beginning of an epoch happens once an epoch."""

    def on_epoch_begin(self, net, **_):
        self.n_begun = getattr(self, "n_begun", 0) + 1
        self.rows = [*getattr(self, "rows", []), torch.rand(()).item()]
        self.rows.append(self.n_begun)
        with torch.no_grad():
            next(net.module_.parameters()).add_(1e-3 * torch.rand(()))


class Decays(Callback):
    """A callback of a user that remembers."""

    def on_train_begin(self, net, **_):
        self.factor = 1.0

    def on_epoch_end(self, net, **_):
        self.factor *= 0.9
        with torch.no_grad():
            next(net.module_.parameters()).mul_(self.factor)


class Masked(nn.Module):
    def __init__(self, n_outputs=2):
        super().__init__()
        self.fc = nn.Linear(24, n_outputs)

    def forward(self, x):
        return self.fc(x.flatten(1) * (torch.rand(24) < 0.8))


CASES = {
    "plain": ("SpectrumClassifier", {}),
    "everything": (
        "SpectrumClassifier",
        {
            "module__dropout": 0.4,
            "sampler": "balanced",
            "augment": GaussianNoise(0.2),
            "calibrate": True,
            "class_weight": "balanced",
            "callbacks__best_weights__monitor": "valid_acc",
            "callbacks__best_weights__lower_is_better": False,
        },
    ),
    "momentum": ("SpectrumClassifier", {"optimizer": torch.optim.RMSprop}),
    "steps": ("SpectrumClassifier", {"schedule": "steps", "train_split": None}),
    "network of a user": ("SpectrumClassifier", {"module": Masked}),
    "callbacks": (
        "SpectrumClassifier",
        {
            "schedule": None,
            "callbacks": [
                ("stop", EarlyStopping(patience=3, load_best=True)),
                ("rate", LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2)),
                ("score", EpochScoring("accuracy", name="acc", on_train=True)),
                ("decay", Decays()),
            ],
        },
    ),
    "loader": ("SpectrumClassifier", {"iterator_train": DataLoader}),
    "loader with options": (
        "SpectrumClassifier",
        {"iterator_train__drop_last": True, "sampler": "balanced"},
    ),
    "stream": (
        "SpectrumClassifier",
        {"iterator_train__buffer_size": 999, "module__dropout": 0.4, "batch_size": 4},
    ),
    "balanced stream": (
        "SpectrumClassifier",
        {
            "iterator_train__buffer_size": 999,
            "sampler": "balanced",
            "augment": GaussianNoise(0.2),
            "batch_size": 5,
        },
    ),
    "images": ("GalaxyClassifier", {"augment": "symmetries", "batch_size": 16}),
    "regression": ("GalaxyRegressor", {"batch_size": 16}),
    "autoencoder": ("VAETransformer", {"beta_warmup": 0.5}),
}


def make(name, *callbacks):
    owner, params = CASES[name]
    net = make_tiny(getattr(skastro, owner), **{"max_epochs": 6, **params})
    listed = [*(net.callbacks or []), *callbacks]
    return net.set_params(callbacks=listed, verbose=0)


def fit(net, **kwargs):
    owner = type(net).__name__
    X = SPECTRA if owner == "SpectrumClassifier" else IMAGES
    if "iterator_train__buffer_size" in net.get_params(deep=False):
        X = LazyArray(X)
    if owner == "VAETransformer":
        return net.fit(X, **kwargs)
    return net.fit(X, Y.astype(float) if "Regressor" in owner else Y, **kwargs)


def check_equal(found, expected):
    for name in ("module_", "optimizer_"):
        torch.testing.assert_close(
            getattr(found, name).state_dict(),
            getattr(expected, name).state_dict(),
            rtol=0,
            atol=0,
        )
    assert len(found.history) == len(expected.history)
    for row, right in zip(found.history, expected.history, strict=True):
        assert {k: v for k, v in row.items() if k != "dur"} == {
            k: v for k, v in right.items() if k != "dur"
        }
    assert torch.equal(found._generator_state, expected._generator_state)
    assert found._fitted_state().keys() == expected._fitted_state().keys()
    best = [
        dict(net.callbacks_)["best_weights"].best_epoch_ for net in (found, expected)
    ]
    assert best[0] == best[1]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Only .* latent dimensions are active")
def test_bit_for_bit(name, tmp_path):
    path = tmp_path / "training.pt"
    expected = fit(make(name))
    for epoch in (1, 3):
        with pytest.raises(MemoryError):
            fit(make(name, ("dies", Dies(epoch))), resume=path)
    check_equal(fit(make(name), resume=path), expected)
    # And once more, when all epochs are done.
    content = path.read_bytes()
    check_equal(fit(make(name), resume=path), expected)
    if name != "callbacks":
        assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Only .* latent dimensions are active")
def test_bit_for_bit_within_epochs(name, tmp_path):
    path = tmp_path / "training.pt"
    keeps = [("begins", Begins())]
    expected = fit(make(name, *keeps))
    for epoch, n_batches in ((1, 1), (2, 2), (2, 3), (4, 2)):
        net = make(name, *keeps, ("dies", Dies(epoch, n_batches)))
        with pytest.raises(MemoryError):
            fit(net, resume=path, resume_every=0)
        if name != "callbacks" and (epoch, n_batches) != (1, 1):
            # Written after the batch before.
            state = torch.load(path, weights_only=True)
            assert len(state["history"]) == epoch - 1
            assert state["position"]["n_batches"] == n_batches - 1
    found = fit(make(name, *keeps), resume=path)
    check_equal(found, expected)
    begins = [dict(net.callbacks_)["begins"] for net in (found, expected)]
    assert begins[0].rows == begins[1].rows


def test_batches_from_disk_after_sigkill(tmp_path):
    data, path = tmp_path / "flux.h5", tmp_path / "training.pt"
    with h5py.File(data, "w") as file:
        file.create_dataset("flux", data=SPECTRA, chunks=(4, 24))
        file["class"] = Y
    code = textwrap.dedent(f"""
        import os, signal
        import h5py
        from skorch.callbacks import Callback
        from skastro import SpectrumClassifier

        class Dies(Callback):
            def on_batch_end(self, net, training=False, **_):
                if len(net.history) == 4 and training:
                    os.kill(os.getpid(), signal.SIGKILL)

        def make():
            return SpectrumClassifier(
                "mlp", module__dropout=0.3, max_epochs=6, random_state=0, verbose=0,
                device="cpu", iterator_train__buffer_size=999,
            )

        def fit(net, **kwargs):
            with h5py.File({str(data)!r}) as file:
                return net.fit(file["flux"], file["class"][:], **kwargs)

        if __name__ == "__main__":
            fit(make().set_params(callbacks=[Dies()]), resume={str(path)!r})
        """)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    scope = {"__name__": "here"}
    exec(code, scope)
    found = scope["fit"](scope["make"](), resume=path)
    assert len(found.history) == 6
    check_equal(found, scope["fit"](scope["make"]()))


@pytest.mark.parametrize("every", [0, 600])
def test_simulated_images(tmp_path, every):
    path = tmp_path / "training.pt"

    def fit(*callbacks, **kwargs):
        net = make_tiny(
            skastro.SEVIRegressor,
            max_epochs=4,
            batch_size=16,
            callbacks=list(callbacks),
        )
        net.set_params(n_betas=12, n_simulated=40, n_replaced=10)
        simulator = SEVISimulator(size=16, n_electrons=1e3)
        return net.fit_simulator(simulator, **kwargs)

    expected = fit()
    with pytest.raises(MemoryError):
        fit(Dies(3), resume=path, resume_every=every)
    check_equal(fit(resume=path), expected)


@pytest.mark.parametrize(
    ("change", "X", "message"),
    [
        ({"lr": 0.5}, SPECTRA, r"lr differs \(0.01, and now 0.5\)"),
        ({"max_epochs": 9}, SPECTRA, "max_epochs differs"),
        ({"module__hidden": (8,)}, SPECTRA, "module__hidden differs"),
        ({"random_state": 1}, SPECTRA, "random_state differs"),
        ({}, SPECTRA[::-1].copy(), "data differs"),
        ({"random_state": None}, SPECTRA, "an int as random_state"),
        ({"warm_start": True}, SPECTRA, "warm_start"),
    ],
)
def test_other_trainings_are_refused(tmp_path, change, X, message):
    path = tmp_path / "training.pt"
    make_tiny(SpectrumClassifier, max_epochs=2).fit(SPECTRA, Y, resume=path)
    content = path.read_bytes()
    net = make_tiny(SpectrumClassifier, **{"max_epochs": 2, **change})
    if "warm_start" in change:
        net.fit(X, Y)
    with pytest.raises(ValueError, match=message):
        net.fit(X, Y, resume=path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"nonsense", "weights"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "training.pt"
    net = make_tiny(SpectrumClassifier, max_epochs=1)
    if content == "weights":
        net.fit(SPECTRA, Y).save_params(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"training\.pt is not the file of a training"):
        net.fit(SPECTRA, Y, resume=path)


def test_callbacks_that_cannot_be_written_are_refused(tmp_path):
    class Holds(Callback):
        def on_train_begin(self, net, **_):
            self.thing = object()

    class Tells(Holds):
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    net = make_tiny(SpectrumClassifier, max_epochs=1, callbacks=[("holds", Holds())])
    with pytest.raises(TypeError, match=r"holds\.thing is a object.*state_dict"):
        net.fit(SPECTRA, Y, resume=tmp_path / "1")
    net.set_params(callbacks=[Tells()]).fit(SPECTRA, Y, resume=tmp_path / "2")


def test_interruptions_are_told():
    class Interrupts(Callback):
        def on_batch_begin(self, net, **_):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    net = make_tiny(SpectrumClassifier, callbacks=[Interrupts()])
    with pytest.warns(UserWarning, match="interrupted in epoch 2.*resume"):
        net.fit(SPECTRA, Y)
    # That is no interruption.
    stop = EarlyStopping(patience=1, threshold=1.0)
    net.set_params(callbacks=[stop], train_split=0.3).fit(SPECTRA, Y)
    assert len(net.history) < net.max_epochs


def test_a_refused_file_leaves_the_fitted_net(tmp_path):
    net = make_tiny(SpectrumClassifier, max_epochs=3)
    net.fit(SPECTRA, Y, resume=tmp_path / "training")
    for fitted in (False, True):
        net = make_tiny(SpectrumClassifier, max_epochs=2)
        expected = net.fit(SPECTRA, Y).predict_proba(SPECTRA) if fitted else None
        with pytest.raises(ValueError, match="max_epochs"):
            net.fit(SPECTRA, Y, resume=tmp_path / "training")
        if fitted:
            np.testing.assert_array_equal(net.predict_proba(SPECTRA), expected)
        else:
            with pytest.raises(NotFittedError):
                net.predict(SPECTRA)


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": torch.optim.SGD},
        {"criterion": torch.nn.MultiMarginLoss},
        {"module__hidden": [7]},
    ],
    ids=str,
)
def test_changed_classes_and_lists_are_noticed(tmp_path, params):
    net = make_tiny(SpectrumClassifier, max_epochs=1)
    net.fit(SPECTRA, Y, resume=tmp_path / "training")
    (name,) = params
    net = make_tiny(SpectrumClassifier, max_epochs=1, **params)
    with pytest.raises(ValueError, match=name):
        net.fit(SPECTRA, Y, resume=tmp_path / "training")


def test_a_missing_folder_is_told_before_the_training(tmp_path):
    net = make_tiny(SpectrumClassifier, max_epochs=1)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        net.fit(SPECTRA, Y, resume=tmp_path / "none" / "training")


def test_files_of_the_first_version_are_read(tmp_path):
    path = tmp_path / "training.pt"
    with pytest.raises(MemoryError):
        fit(make("plain", ("dies", Dies(4))), resume=path)
    state = torch.load(path, weights_only=True)
    assert state.pop("position") is None
    torch.save({**state, "format": "skastro training, version 1"}, path)
    check_equal(fit(make("plain"), resume=path), fit(make("plain")))


def test_data_that_were_on_a_device_are_not_streamed_on(tmp_path):
    path = tmp_path / "training.pt"
    with pytest.raises(MemoryError):
        fit(make("stream", ("dies", Dies(2, 5))), resume=path, resume_every=0)
    state = torch.load(path, weights_only=True)
    assert state["position"]["was_streamed"] is True
    # As a training on a GPU writes that has copied all data there.
    state["position"]["was_streamed"] = False
    torch.save(state, path)
    with pytest.raises(ValueError, match="cannot hold them now"):
        fit(make("stream"), resume=path)


@pytest.mark.parametrize("every", [-1, "10", True, float("nan")])
def test_durations(tmp_path, every):
    net = make_tiny(SpectrumClassifier, max_epochs=1)
    with pytest.raises(ValueError, match=r"resume_every=.* of seconds, 0 or more"):
        net.fit(SPECTRA, Y, resume=tmp_path / "training", resume_every=every)
    with pytest.raises(ValueError, match="with resume=None"):
        net.fit(SPECTRA, Y, resume_every=10)


def test_epochs_alone_are_written(tmp_path):
    path = tmp_path / "training.pt"
    net = make("plain", ("dies", Dies(3)))
    with pytest.raises(MemoryError):
        fit(net, resume=path, resume_every=float("inf"))
    assert torch.load(path, weights_only=True)["position"] is None
