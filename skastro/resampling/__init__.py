# SPDX-License-Identifier: BSD-3-Clause
"""Samplers: noisy copies and chosen numbers of samples per class, in ``fit`` only."""

from skastro.resampling._noise_samplers import NoiseAugmenter, NoiseResampler

__all__ = ["NoiseAugmenter", "NoiseResampler"]
