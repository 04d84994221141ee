# SPDX-License-Identifier: BSD-3-Clause
"""VAETransformer on real galaxies and spectra: what is no such thing scores worse."""

import h5py
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skastro import MinMaxSpectra, VAETransformer
from skastro.datasets import read_spectra

pytestmark = pytest.mark.once


def fitted(X, **params):
    """Fit a small network of the default kind."""
    defaults = {
        "latent_dim": 8,
        "module__widths": (16, 32, 64),
        "lr": 3e-3,
        "random_state": 0,
        "verbose": 0,
        "device": "cpu",
    }
    return VAETransformer(**(defaults | params)).fit(X)


def separation(vae, real, others):
    """Compute the area under the curve of telling real samples from others."""
    scores = np.concatenate([vae.score_samples(real), vae.score_samples(others)])
    return roc_auc_score(np.repeat([1, 0], [len(real), len(others)]), scores)


@pytest.fixture(scope="module")
def galaxies(data_dir):
    """Read a third of the galaxies, their middle at half the resolution."""
    with h5py.File(data_dir / "galaxies_efigi.h5") as file:
        X = file["images"][::3, 12:76:2, 12:76:2]
    return train_test_split(X, test_size=0.25, random_state=0)


def test_noise_is_no_galaxy(galaxies):
    train, test = galaxies
    vae = fitted(train, max_epochs=12, augment="symmetries")
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 256, size=test.shape, dtype=np.uint8)
    normal = rng.normal(train.mean(), train.std(), size=test.shape)
    shuffled = rng.permuted(test.reshape(len(test), -1, 3), axis=1)
    assert separation(vae, test, uniform) > 0.99
    assert separation(vae, test, normal.clip(0, 255).astype(np.uint8)) > 0.99
    assert separation(vae, test, shuffled.reshape(test.shape)) > 0.95
    # The latent space tells galaxies apart.
    error = np.mean((vae.reconstruct(test) - test) ** 2)
    assert error < 0.5 * np.mean((train.mean(axis=0) - test) ** 2)


def test_spectra_upside_down(data_dir):
    flux = read_spectra(data_dir / "spectra.fits").flux
    X = MinMaxSpectra().fit_transform(flux.reshape(len(flux), -1, 10).mean(axis=2))
    train, test = train_test_split(X, test_size=0.25, random_state=0)
    # Real spectra differ in their noise, of which squares make too much.
    vae = fitted(train, max_epochs=30, batch_size=16, likelihood="laplace")
    assert separation(vae, test, 1 - test) > 0.95
