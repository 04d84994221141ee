# SPDX-License-Identifier: BSD-3-Clause
"""Instances of the public estimators that train in a moment.

``pyproject.toml`` puts this folder on pytest's search path.
"""

import inspect
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge

import skastro

# Every network gets these.
NETWORK = {"lr": 1e-2, "random_state": 0, "verbose": 0, "device": "cpu"}
# What makes a class small, and yet able to learn what scikit-learn's checks ask for.
# Classes without an entry, such as new ones, keep their defaults besides the above.
SETTINGS = {
    "EnsembleClassifier": {
        "estimator": LogisticRegression(),
        "n_estimators": 2,
        "random_state": 0,
    },
    "EnsembleRegressor": {
        "estimator": Ridge(),
        "n_estimators": 2,
        "random_state": 0,
    },
    "GalaxyClassifier": {
        "module": "resnet10",
        "module__width": 4,
        "max_epochs": 8,
        "batch_size": 32,
    },
    "GalaxyRegressor": {
        "module": "resnet10",
        "module__width": 4,
        "module__stem": "stride1",
        "max_epochs": 12,
        "lr": 2e-2,
        "batch_size": 32,
    },
    "NoiseAugmenter": {"random_state": 0},
    "NoiseResampler": {"random_state": 0},
    "RejectingClassifier": {"estimator": LogisticRegression()},
    "SEVIRegressor": {
        "module__widths": (16,),
        "module__hidden": 32,
        "n_betas": 1,
        "max_epochs": 20,
        "batch_size": 32,
    },
    "RedshiftRegressor": {"module": "mlp", "max_epochs": 8, "batch_size": 32},
    "SpectrumClassifier": {"module": "mlp", "max_epochs": 8},
    "SpectrumRegressor": {"module": "mlp", "max_epochs": 40},
    "VAETransformer": {
        "module": "vae",
        "module__widths": (4, 8),
        "latent_dim": 3,
        "noise_scale": 0.02,
        "max_epochs": 4,
        "lr": 2e-2,
        "batch_size": 16,
    },
}
# scikit-learn's own pipeline does not keep the rules for estimators, since it fits the
# steps that it was given: tests/test_pipeline.py compares the two.
LEFT_OUT = {"Pipeline"}


def public_estimators() -> list[type[BaseEstimator]]:
    """Return the estimators, transformers and samplers in ``skastro.__all__``."""
    values = [getattr(skastro, name) for name in sorted(skastro.__all__)]
    return [
        value
        for value in values
        if inspect.isclass(value) and issubclass(value, BaseEstimator)
        if value.__name__ not in LEFT_OUT
    ]


def make_tiny(cls: type[BaseEstimator], *module: Any, **params: Any) -> BaseEstimator:
    """Make an instance of a public class that trains in a moment.

    Another module than the one above, by position or by name, comes without the above
    sizes of the module.
    """
    settings = dict(SETTINGS.get(cls.__name__, {}))
    if "max_epochs" in inspect.signature(cls).parameters:
        settings = NETWORK | settings
    if module or "module" in params:
        settings = {k: v for k, v in settings.items() if not k.startswith("module")}
    return cls(*module, **(settings | params))


def tiny_estimators() -> list[BaseEstimator]:
    """Make one instance of each public class."""
    return [make_tiny(cls) for cls in public_estimators()]
