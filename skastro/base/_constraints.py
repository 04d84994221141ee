# SPDX-License-Identifier: BSD-3-Clause
"""Values that the shared parameters may take."""

from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from skastro.augmentation import AUGMENTATIONS
from skastro.training import PRECISIONS, SCHEDULES

SHARED_CONSTRAINTS: dict[str, list] = {
    "module": [str, callable],
    "criterion": [callable],
    "optimizer": [callable],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "max_epochs": [Interval(Integral, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left"), Options(Integral, {-1})],
    "iterator_train": [callable],
    "iterator_valid": [callable],
    "train_split": [None, callable, Interval(Real, 0, 1, closed="neither")],
    "callbacks": [None, list, tuple, StrOptions({"disable"})],
    "predict_nonlinearity": [None, callable, StrOptions({"auto"})],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
    "device": [None, str, torch.device],
    "compile": ["boolean"],
    "use_caching": ["boolean", StrOptions({"auto"})],
    "torch_load_kwargs": [None, dict],
    "random_state": ["random_state"],
    "class_weight": [None, dict, StrOptions({"balanced"})],
    "classes": [None, "array-like"],
    "sampler": [None, StrOptions({"balanced"})],
    "augment": [None, callable, StrOptions(set(AUGMENTATIONS))],
    "precision": [StrOptions({"auto", *PRECISIONS})],
    "schedule": [None, callable, StrOptions(set(SCHEDULES))],
    "restore_best_weights": ["boolean"],
    "calibrate": ["boolean"],
    "scale_target": ["boolean"],
    "dataset": [callable, HasMethods(["__getitem__", "__len__"])],
}
