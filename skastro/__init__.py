# SPDX-License-Identifier: BSD-3-Clause
"""Neural networks for astronomy behind scikit-learn's interface.

The names listed in ``__all__`` are loaded on first use, so that reading or simulating
spectra does not pay for importing PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skastro.estimators import (
        EnsembleClassifier,
        GalaxyClassifier,
        GalaxyRegressor,
        RejectingClassifier,
        SpectrumClassifier,
        VAETransformer,
    )
    from skastro.pipeline import Pipeline, make_pipeline
    from skastro.preprocessing import (
        CropPadImages,
        MinMaxSpectra,
        RebinSpectra,
        StandardizeSpectra,
    )
    from skastro.resampling import NoiseAugmenter, NoiseResampler
    from skastro.sevi import SEVIRegressor

__version__ = "0.1.0.dev0"

__all__ = [
    "CropPadImages",
    "EnsembleClassifier",
    "GalaxyClassifier",
    "GalaxyRegressor",
    "MinMaxSpectra",
    "NoiseAugmenter",
    "NoiseResampler",
    "Pipeline",
    "RebinSpectra",
    "RejectingClassifier",
    "SEVIRegressor",
    "SpectrumClassifier",
    "StandardizeSpectra",
    "VAETransformer",
    "make_pipeline",
]

_ROOM_OF_NAME = {
    "CropPadImages": "preprocessing",
    "EnsembleClassifier": "estimators",
    "GalaxyClassifier": "estimators",
    "GalaxyRegressor": "estimators",
    "MinMaxSpectra": "preprocessing",
    "NoiseAugmenter": "resampling",
    "NoiseResampler": "resampling",
    "Pipeline": "pipeline",
    "RebinSpectra": "preprocessing",
    "RejectingClassifier": "estimators",
    "SEVIRegressor": "sevi",
    "SpectrumClassifier": "estimators",
    "VAETransformer": "estimators",
    "StandardizeSpectra": "preprocessing",
    "make_pipeline": "pipeline",
}


def __getattr__(name: str) -> object:
    """Load a public name from its room, once."""
    if name not in _ROOM_OF_NAME:
        raise AttributeError(f"module 'skastro' has no attribute {name!r}")
    value = getattr(import_module(f"skastro.{_ROOM_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names whether they are loaded yet or not."""
    return sorted({*globals(), *__all__})
