# SPDX-License-Identifier: BSD-3-Clause
"""Recipes for latent spaces: what they set, and that they train."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skastro import VAETransformer

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def images():
    """Make images of a spot anywhere."""
    rng = np.random.default_rng(0)
    place = rng.uniform(6, 14, size=(2, 90, 1, 1))
    row, column = np.mgrid[:20, :20]
    spot = np.exp(-((row - place[0]) ** 2 + (column - place[1]) ** 2) / 8)
    return np.round(255 * spot[..., None] * [1.0, 0.7, 0.4]).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("galaxy-vae", {"module__widths": (8, 16)}),
        ("few-images", {"module__widths": (4, 8), "beta": 1.0}),
    ],
)
def test_every_recipe_trains(name, smaller, images):
    vae = VAETransformer.from_recipe(
        name,
        latent_dim=6,
        max_epochs=25,
        lr=5e-3,
        batch_size=16,
        random_state=0,
        verbose=0,
        device="cpu",
        **smaller,
    )
    again = clone(vae)
    latent = vae.fit_transform(images)
    assert latent.shape == (90, 6)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(vae)).transform(images), latent
    )
    np.testing.assert_array_equal(again.fit_transform(images), latent)
    # Better than the mean image, in spite of so few epochs.
    error = np.mean((vae.reconstruct(images) - images) ** 2)
    assert error < 0.9 * images.var(axis=0).mean()


def test_galaxy_vae_is_the_published_network():
    vae = VAETransformer.from_recipe(
        "galaxy-vae", module__n_channels=3, module__input_size=(256, 256), device="cpu"
    ).initialize()
    widths = [
        module.out_channels
        for module in vae.module_.encoder.modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert widths == [32, 64, 128, 256, 512]
    assert vae.module_.fc_mu.weight.shape == (35, 32768)
    assert sum(part.numel() for part in vae.module_.parameters()) == 6_622_377
    assert (vae.latent_dim, vae.max_epochs, vae.augment) == (35, 100, None)


def test_few_images_starts_from_principal_axes(images):
    vae = VAETransformer.from_recipe(
        "few-images",
        latent_dim=5,
        max_epochs=1,
        lr=1e-9,
        augment=None,
        random_state=0,
        verbose=0,
        device="cpu",
    ).fit(images)
    assert vae.optimizer is torch.optim.AdamW
    assert vae.module_.n_invariant == 3
    # The same for an image in all orientations, but for rounding.
    latent = vae.transform(images)
    turned = vae.transform(np.rot90(images, axes=(1, 2)).copy())
    np.testing.assert_allclose(turned[:, :3], latent[:, :3], atol=1e-4)
    assert np.abs(turned[:, 3:] - latent[:, 3:]).max() > 0.1
