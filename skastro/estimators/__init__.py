# SPDX-License-Identifier: BSD-3-Clause
"""The estimators: one file a subject."""

from skastro.estimators.galaxy import GalaxyClassifier, GalaxyRegressor
from skastro.estimators.meta import (
    EnsembleClassifier,
    EnsembleRegressor,
    RejectingClassifier,
)
from skastro.estimators.redshift import ZWARNING, RedshiftRegressor
from skastro.estimators.spectrum import SpectrumClassifier, SpectrumRegressor
from skastro.estimators.vae import VAETransformer

__all__ = [
    "ZWARNING",
    "EnsembleClassifier",
    "EnsembleRegressor",
    "GalaxyClassifier",
    "GalaxyRegressor",
    "RedshiftRegressor",
    "RejectingClassifier",
    "SpectrumClassifier",
    "SpectrumRegressor",
    "VAETransformer",
]
