# SPDX-License-Identifier: BSD-3-Clause
"""Recipes of VAETransformer: a published system, and what few images need.

The comments mark every setting that the source does not give.
"""

from typing import Any

import torch

from skastro.augmentation import RandomAffine

RECIPES: dict[str, dict[str, Any]] = {
    # An autoencoder for 290 613 galaxies of 256 x 256 pixels in three colours.
    "galaxy-vae": {
        "module": "vae",
        "latent_dim": 35,
        "max_epochs": 100,
        "stretch": None,
        "augment": None,
        # Open: all that follows.
        "beta": 1.0,
        "noise_scale": None,
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "batch_size": 64,
        "schedule": None,
        "train_split": 0.1,
        "restore_best_weights": True,
    },
    # This project's own, chosen on part of the training images of 1417 galaxies.
    "few-images": {
        "module": "vae-axes",
        "latent_dim": 35,
        "max_epochs": 110,
        # Latent numbers closer to the prior tell classes better apart, and cost the
        # reconstructions nothing that could be measured.
        "beta": 100.0,
        "noise_scale": None,
        "stretch": None,
        # All orientations are within the network.
        "augment": RandomAffine(translate=0.02, scale=(0.87, 1.15)),
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": 0.01,
        "lr": 2e-3,
        "batch_size": 32,
        "schedule": "cosine",
        # Nothing can be spared for a validation, and the last weights are good.
        "train_split": None,
    },
}
