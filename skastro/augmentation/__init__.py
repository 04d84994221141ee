# SPDX-License-Identifier: BSD-3-Clause
"""Operations that vary whole batches of training samples, on the batch's device."""

from skastro.augmentation._compose import Compose
from skastro.augmentation._noise import GaussianNoise
from skastro.augmentation._shift import ShiftSpectra

__all__ = ["AUGMENTATIONS", "Compose", "GaussianNoise", "ShiftSpectra"]

# What ``augment="..."`` means on an estimator.
AUGMENTATIONS = {"noise": GaussianNoise()}
