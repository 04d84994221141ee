# SPDX-License-Identifier: BSD-3-Clause
"""Recipes of SpectrumClassifier: published systems, with what they leave open.

The comments mark every setting that the source does not give.
"""

from typing import Any

import torch

from skastro.training import CosineCycles, GreedyPretraining, Steps

# A one-dimensional ResNet-18 for spectra of LAMOST, of a competition.
_RESCLASS: dict[str, Any] = {
    "module": "resnet18",
    "module__stem": "stride1",
    "module__width": 64,
    "augment": "resclass",
    "sampler": "balanced",
    "batch_size": 64,
    "train_split": 0.2,
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.AdamW,
    # Open: the rate, from where it rises and down to where it falls. These are the
    # numbers published with a ResNet-50 for images of galaxies that is trained alike.
    "lr": 1e-3,
    "schedule": CosineCycles(
        n_cycles=2,
        decay=0.5,
        warm_up=4 / 50,
        # Two cycles of 25 epochs leave no room before them.
        overlap=True,
        start=1e-5 / 1e-3,
        end=1e-6 / 1e-3,
    ),
    "max_epochs": 50,
    # Both the lowest loss and the highest accuracy were published; this is the latter.
    "restore_best_weights": True,
    "callbacks__best_weights__monitor": "valid_acc",
    "callbacks__best_weights__lower_is_better": False,
    "callbacks__best_weights__start": 0.0,
}

# How Wang, Zhao & Fan (2020) trained; the networks of their table 3 differ in the
# module alone.
_WANG_TRAINING: dict[str, Any] = {
    "augment": "wang2020",
    "sampler": "balanced",
    "criterion": torch.nn.CrossEntropyLoss,
    "optimizer": torch.optim.Adam,
    "lr": 0.01,
    "schedule": Steps(at=(10 / 60, 30 / 60, 50 / 60), factor=0.1),
    "max_epochs": 60,
    # Open: the size of batches and of the validation part.
    "batch_size": 64,
    "train_split": 0.2,
    # Open: what makes the best epoch. Macro-F1 is the paper's own measure, and unlike
    # accuracy no network reaches 0.985 by calling everything a star.
    "restore_best_weights": True,
    "callbacks__valid_acc__scoring": "f1_macro",
    "callbacks__valid_acc__name": "valid_f1_macro",
    "callbacks__best_weights__monitor": "valid_f1_macro",
    "callbacks__best_weights__lower_is_better": False,
    "callbacks__best_weights__start": 0.0,
}

# Open: the units of the two networks without convolutions.
_WANG_HIDDEN = (512, 256, 128)

RECIPES: dict[str, dict[str, Any]] = {
    "resclass": _RESCLASS,
    "wang2020": {
        "module": "densenet",
        "module__n_dense_blocks": 7,
        "module__n_conv_blocks": 2,
        "module__kernel_sizes": (1, 11, 25, 41),
        # Open: the numbers of feature maps.
        "module__growth_rate": 12,
        **_WANG_TRAINING,
    },
    "wang2020-densenet": {
        "module": "densenet",
        "module__n_dense_blocks": 7,
        "module__n_conv_blocks": 2,
        "module__growth_rate": 12,
        "module__kernel_sizes": (3,),
        # As many feature maps between the two convolutions as with four widths.
        "module__branch_width": 48,
        "module__squeeze_excitation": False,
        "module__extra_transitions": False,
        **_WANG_TRAINING,
    },
    "wang2020-dbn": {
        "module": "mlp",
        "module__hidden": _WANG_HIDDEN,
        "module__activation": "sigmoid",
        "callbacks": [("pretraining", GreedyPretraining)],
        **_WANG_TRAINING,
    },
    "wang2020-mlp": {
        "module": "mlp",
        "module__hidden": _WANG_HIDDEN,
        **_WANG_TRAINING,
    },
}
