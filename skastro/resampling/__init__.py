# SPDX-License-Identifier: BSD-3-Clause
"""Samplers: noisy copies and chosen numbers of samples per class, in ``fit`` only."""

from skastro.resampling._augmenter import NoiseAugmenter
from skastro.resampling._resampler import NoiseResampler

__all__ = ["NoiseAugmenter", "NoiseResampler"]
