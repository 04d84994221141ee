# SPDX-License-Identifier: BSD-3-Clause
"""What all estimators share: the strict net, the door for data, labels and seeds."""

from skastro.base._classifier import StrictClassifier
from skastro.base._net import StrictNet
from skastro.base._regressor import StrictRegressor
from skastro.base._transformer import StrictTransformer

__all__ = ["StrictClassifier", "StrictNet", "StrictRegressor", "StrictTransformer"]
