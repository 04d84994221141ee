# SPDX-License-Identifier: BSD-3-Clause
"""Files of weights: complete at any time, and never larger than they look."""

import os
import signal
import time
import zipfile

import numpy as np
import pytest
import torch
from skorch.callbacks import Checkpoint
from tiny_estimators import make_tiny

from skastro import GalaxyClassifier, SpectrumClassifier

X = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
Y = np.repeat([0, 1], 20)
FILES = ("f_params", "f_optimizer", "f_criterion", "f_history")


@pytest.fixture
def net():
    return make_tiny(SpectrumClassifier, max_epochs=1).fit(X, Y)


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_an_older_file_stays_until_the_new_one_is_complete(
    net, tmp_path, monkeypatch, use_safetensors
):
    names = FILES[:1] if use_safetensors else FILES
    options = {"use_safetensors": use_safetensors}
    paths = {name: tmp_path / name for name in names}
    net.save_params(**paths, **options)
    before = {name: path.read_bytes() for name, path in paths.items()}
    seen = []

    def fails(*args, **kwargs):
        seen.append({name: path.read_bytes() for name, path in paths.items()})
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    net.partial_fit(X, Y)
    with pytest.raises(OSError, match="No space"):
        net.save_params(**paths, **options)
    assert seen
    assert all(content == before for content in seen)
    assert {p.name for p in tmp_path.iterdir()} == set(names)
    monkeypatch.undo()
    net.save_params(**paths, **options)
    again = make_tiny(SpectrumClassifier)
    again.load_params(**paths, **options)
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("n_kills", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_kills_in_the_middle_of_writing(tmp_path, n_kills):
    big = make_tiny(SpectrumClassifier, module__hidden=(2000,), max_epochs=1).fit(X, Y)
    path = tmp_path / "net.pt"
    big.save_params(path)
    expected = big.predict_proba(X)
    n_torn = 0
    for kill in range(n_kills):
        child = os.fork()
        if child == 0:
            while True:
                big.save_params(path)
        # The start of a process takes any time: the file of a part says that it writes.
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            pass
        time.sleep(0.0003 * kill)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        n_torn += len(list(tmp_path.iterdir())) > 1
        net = make_tiny(SpectrumClassifier, module__hidden=(2000,))
        net.load_params(path)
        np.testing.assert_array_equal(net.predict_proba(X), expected)
        for part in tmp_path.glob(".*"):
            part.unlink()
    assert n_torn, "no kill was in the middle"


def test_checkpoints_are_written_by_the_same_method(tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path), f_criterion=None)
    net = make_tiny(SpectrumClassifier, max_epochs=2, callbacks=[checkpoint])
    net.fit(X, Y)
    again = make_tiny(SpectrumClassifier)
    again.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def huge(*shape):
    return torch.zeros(1).expand(shape)


def test_repeated_numbers_are_refused(net, tmp_path):
    """A file of a few bytes, which would take gigabytes."""
    path = tmp_path / "net.pt"
    net.save_params(path)
    weights = torch.load(path)
    sizes = {"n_channels": 1, "input_size": 24, "n_outputs": 10**9}
    net.module_sizes_ = sizes
    text = net._write_state()
    for key, value in weights.items():
        weights[key] = huge(10**9, *value.shape[1:]) if key.startswith("fc") else value
    weights._metadata["skastro_state"] = text
    torch.save(weights, path)
    assert path.stat().st_size < 10**5
    fresh = make_tiny(SpectrumClassifier)
    with pytest.raises(ValueError, match=r"shape \(1000000000, .*stores 4\."):
        fresh.load_params(path)
    assert not hasattr(fresh, "classes_")
    optimizer = net.optimizer_.state_dict()
    optimizer["state"][0]["exp_avg"] = huge(10**9)
    torch.save(optimizer, path)
    with pytest.raises(ValueError, match="stores 4"):
        net.load_params(f_optimizer=path)


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_sizes_without_weights_are_refused(net, tmp_path, use_safetensors):
    path = tmp_path / "net"
    net.module_sizes_ = {**net.module_sizes_, "n_outputs": 10**10}
    net.save_params(path, use_safetensors=use_safetensors)
    fresh = make_tiny(SpectrumClassifier)
    with pytest.raises(ValueError, match="makes a module of 129"):
        fresh.load_params(path, use_safetensors=use_safetensors)
    assert not hasattr(fresh, "classes_")


def test_compressed_files_are_refused(net, tmp_path):
    path, packed = tmp_path / "net.pt", tmp_path / "packed.pt"
    net.save_params(path)
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(ValueError, match="compressed"):
        make_tiny(SpectrumClassifier).load_params(packed)


def test_backbones_of_repeated_numbers_are_refused(tmp_path):
    path = tmp_path / "backbone.pt"
    torch.save({"conv1.weight": huge(10**9, 3, 7, 7)}, path)
    images = np.zeros((24, 16, 16, 3), np.float32)
    net = make_tiny(GalaxyClassifier, backbone=path)
    with pytest.raises(ValueError, match=r"backbone\.pt has a tensor .*stores 4\."):
        net.fit(images, np.repeat([0, 1], 12))
