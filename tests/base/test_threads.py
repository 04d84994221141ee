# SPDX-License-Identifier: BSD-3-Clause
"""Seeds hold in threads that train at the same time, and touch no global generator."""

import threading

import h5py
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from skorch.callbacks import Callback
from tiny_estimators import make_tiny
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split

import skastro
from skastro import NoiseAugmenter, make_pipeline
from skastro.augmentation import Compose, GaussianNoise

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
SPECTRA = RNG.normal(size=(48, 24)).astype(np.float32)
IMAGES = RNG.uniform(size=(48, 16, 16, 3)).astype(np.float32)
Y = np.repeat([0, 0, 1], 16)


class Drops(nn.Module):
    """A network of a user that draws in ways of its own."""

    def __init__(self, n_outputs=2):
        super().__init__()
        self.fc = nn.Linear(24, n_outputs)

    def forward(self, x):
        return self.fc(
            F.dropout(x.flatten(1), 0.3, self.training) * (1 + 0.1 * torch.rand(1))
        )


class Shakes(Callback):
    """A callback of a user that draws."""

    def on_epoch_end(self, net, **_):
        with torch.no_grad():
            for weight in net.module_.parameters():
                weight += 1e-3 * torch.randn_like(weight)

    def on_batch_begin(self, net, batch=None, **_):
        batch[0].add_(1e-3 * torch.randn(()))


def shift(batch):
    return batch + 0.1 * torch.randn(len(batch), *[1] * (batch.ndim - 1))


def shift_too(batch, generator=None):
    return shift(batch)


def split(dataset, y=None, **_):
    return random_split(dataset, [0.8, 0.2])


CASES = {
    "plain": ("SpectrumClassifier", {}),
    "balanced": ("SpectrumClassifier", {"sampler": "balanced"}),
    "noise": ("SpectrumClassifier", {"augment": GaussianNoise(0.3)}),
    "noise of a user": ("SpectrumClassifier", {"augment": shift}),
    "both noises": (
        "SpectrumClassifier",
        {"augment": Compose([GaussianNoise(0.3), shift_too])},
    ),
    "dropout": ("SpectrumClassifier", {"module": "mlp", "module__dropout": 0.4}),
    "network of a user": ("SpectrumClassifier", {"module": Drops}),
    "network of torch": (
        "SpectrumClassifier",
        {"module": nn.Sequential(nn.Linear(24, 8), nn.Dropout(0.5), nn.Linear(8, 2))},
    ),
    "callback": ("SpectrumClassifier", {"callbacks": [Shakes()]}),
    "split": ("SpectrumClassifier", {"train_split": split}),
    "loader": (
        "SpectrumClassifier",
        {"iterator_train": DataLoader, "iterator_valid": DataLoader},
    ),
    "own loader": ("SpectrumClassifier", {"iterator_train__drop_last": True}),
    "images": ("GalaxyClassifier", {"augment": "symmetries"}),
    "regression": ("GalaxyRegressor", {"module__dropout": 0.5}),
    "autoencoder": ("VAETransformer", {}),
    "orientations": (
        "VAETransformer",
        {"module": "vae-axes", "module__widths": (4, 8), "latent_dim": 3},
    ),
    "electrons": ("SEVIRegressor", {"max_epochs": 2}),
}


def inputs(owner):
    if owner == "SpectrumClassifier":
        return SPECTRA
    return IMAGES[..., 0] if owner == "SEVIRegressor" else IMAGES


def fit(name):
    owner, params = CASES[name]
    net = make_tiny(getattr(skastro, owner), **{"max_epochs": 3, **params})
    y = None if owner == "VAETransformer" else Y
    return weights(net.fit(inputs(owner), y.astype(float) if "R" in owner else y))


def weights(net):
    state = net.module_.state_dict().values()
    return torch.cat([w.flatten().double() for w in state]).numpy()


def in_threads(function, *args):
    return Parallel(n_jobs=4, backend="threading")(
        delayed(function)(*args) for _ in range(4)
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Only .* latent dimensions are active")
def test_equal_nets(name):
    expected = fit(name)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for found in in_threads(fit, name):
        np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_data_on_disk(tmp_path):
    def fit(path):
        with h5py.File(path) as file:
            net = make_tiny(skastro.SpectrumClassifier, iterator_train__buffer_size=999)
            return weights(net.fit(file["flux"], Y))

    path = tmp_path / "flux.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flux", data=SPECTRA, chunks=(4, 24))
    expected = fit(path)
    before = torch.get_rng_state()
    for found in in_threads(fit, path):
        np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("noise", [GaussianNoise(0.5), shift])
def test_samplers(noise):
    def fit():
        net = make_tiny(skastro.SpectrumClassifier, max_epochs=2)
        sampler = NoiseAugmenter(n_copies=1, noise=noise, random_state=0)
        return weights(make_pipeline(sampler, net).fit(SPECTRA, Y)[-1])

    expected = fit()
    before = torch.get_rng_state()
    for found in in_threads(fit):
        np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_goes_on_from_its_own_generator():
    def fit(n_calls, max_epochs):
        net = make_tiny(skastro.SpectrumClassifier, module__dropout=0.5, schedule=None)
        net.set_params(max_epochs=max_epochs, train_split=None)
        for _ in range(n_calls):
            net.partial_fit(SPECTRA, Y)
        return weights(net)

    expected = fit(1, 4)
    for found in [fit(2, 2), *in_threads(fit, 2, 2)]:
        np.testing.assert_array_equal(found, expected)


def test_draws_of_other_threads_change_nothing():
    """The package's networks, augmentations and batches use no global generator."""
    net = make_tiny(skastro.SpectrumClassifier, module__dropout=0.4, max_epochs=4)
    net.set_params(augment=GaussianNoise(0.3), sampler="balanced")
    expected = weights(net.fit(SPECTRA, Y))

    class Other(Callback):
        def on_batch_end(self, net, **_):
            # In another thread, as a user's own would.
            thread = threading.Thread(target=lambda: torch.rand(3))
            thread.start()
            thread.join()

        on_batch_begin = on_batch_end

    Other.__module__ = "skastro.tests"
    found = weights(net.set_params(callbacks=[Other()]).fit(SPECTRA, Y))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Only .* latent dimensions are active")
def test_only_code_of_users_waits_for_other_threads(name):
    owner, params = CASES[name]
    net = make_tiny(getattr(skastro, owner), **{**params, "max_epochs": 1})
    y = None if owner == "VAETransformer" else Y
    net.fit(inputs(owner), y.astype(float) if "R" in owner else y)
    assert net._may_draw() == name.startswith("network")
