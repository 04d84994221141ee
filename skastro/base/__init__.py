# SPDX-License-Identifier: BSD-3-Clause
"""What all estimators share, and what estimators of your own derive from."""

from skastro.base._classifier import BaseClassifier, fit_temperature
from skastro.base._net import BaseNet
from skastro.base._regressor import BaseRegressor
from skastro.base._transformer import BaseTransformer
from skastro.base._validation import check_X_y

__all__ = [
    "BaseClassifier",
    "BaseNet",
    "BaseRegressor",
    "BaseTransformer",
    "check_X_y",
    "fit_temperature",
]
