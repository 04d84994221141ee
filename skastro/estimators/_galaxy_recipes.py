# SPDX-License-Identifier: BSD-3-Clause
"""Recipes of GalaxyClassifier: published systems, with what they leave open.

The comments mark every setting that the source does not give.
"""

from typing import Any

import torch
from skorch.callbacks import EpochScoring, LRScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skastro.training import CosineCycles

# So that the history holds the losses and the accuracies of both parts.
_TRAIN_ACCURACY = (
    "train_acc",
    EpochScoring("accuracy", lower_is_better=False, on_train=True, name="train_acc"),
)


def _watched_loss(net: Any) -> float:
    """Give the validation loss, or the training's where nothing was set aside."""
    record = net.history[-1]
    return record.get("valid_loss", record["train_loss"])


RECIPES: dict[str, dict[str, Any]] = {
    # A ResNet-50 for the 69 x 69 pixels of Galaxy10.
    "resclass": {
        "module": "resnet50",
        # Open: the stem. This is the one of ResNet-50 as published.
        "module__stem": "imagenet",
        "normalization": "imagenet",
        "augment": "resclass",
        "sampler": "balanced",
        "batch_size": 64,
        # Its validation images were varied too, by an oversight; here they are not.
        "train_split": 0.2,
        "criterion": torch.nn.CrossEntropyLoss,
        # Open: the weight decay; torch's default is 0.01.
        "optimizer": torch.optim.AdamW,
        "lr": 1e-3,
        # The epoch that is left behind the cosine stays at its end.
        "schedule": CosineCycles(
            warm_up=4 / 50, length=45 / 50, start=1e-5 / 1e-3, end=1e-6 / 1e-3
        ),
        "max_epochs": 50,
        # Both the lowest loss and the highest accuracy were published; this is the
        # former.
        "restore_best_weights": True,
        "callbacks": [_TRAIN_ACCURACY],
        "callbacks__best_weights__monitor": "valid_loss",
        "callbacks__best_weights__lower_is_better": True,
        "callbacks__best_weights__start": 0.0,
    },
    # A perceptron, the baseline for Galaxy10.
    "mlp": {
        "module": "mlp",
        "module__hidden": (128,),
        "module__activation": "relu",
        # The pixels are divided by 255, and that is all.
        "normalization": None,
        "augment": None,
        "sampler": None,
        # Of 64 : 16 : 20 the last is what the user keeps apart.
        "train_split": 0.2,
        "criterion": torch.nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "schedule": None,
        "max_epochs": 10,
        # Open: the batches.
        "batch_size": 32,
        # Open: when the rate falls, and by how much. The usual patience of ten epochs
        # would never see it fall.
        "callbacks": [
            _TRAIN_ACCURACY,
            (
                "reduce_on_plateau",
                LRScheduler(
                    policy=ReduceLROnPlateau,
                    monitor=_watched_loss,
                    factor=0.5,
                    patience=1,
                ),
            ),
        ],
        # Open: which weights are kept; these are the last epoch's.
        "restore_best_weights": False,
    },
}
