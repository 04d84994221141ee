# SPDX-License-Identifier: BSD-3-Clause
"""The estimators: one file a subject."""

from skastro.estimators.ensemble import EnsembleClassifier
from skastro.estimators.galaxy import GalaxyClassifier
from skastro.estimators.galaxy_regressor import GalaxyRegressor
from skastro.estimators.rejecting import RejectingClassifier
from skastro.estimators.spectrum import SpectrumClassifier
from skastro.estimators.vae import VAETransformer

__all__ = [
    "EnsembleClassifier",
    "GalaxyClassifier",
    "GalaxyRegressor",
    "RejectingClassifier",
    "SpectrumClassifier",
    "VAETransformer",
]
