# SPDX-License-Identifier: BSD-3-Clause
"""Recipes of SEVIRegressor: published systems, with what they leave open."""

from typing import Any

import torch

from skastro.estimators._legendre_loss import LegendreLoss

RECIPES: dict[str, dict[str, Any]] = {
    "published": {
        "module": "resnet18",
        # Each image divided by its total and multiplied by 255.
        "normalization": "total",
        "refine": False,
        "scale_target": False,
        "criterion": LegendreLoss,
        # Images of fit_simulator: 400 of 8000 are replaced every 5 epochs.
        "n_simulated": 8000,
        "n_replaced": 400,
        "replace_every": 5,
        # Open: optimizer, learning rate, batches, number of epochs.
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "schedule": None,
        "batch_size": 32,
        "max_epochs": 100,
    },
}
