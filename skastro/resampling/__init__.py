# SPDX-License-Identifier: BSD-3-Clause
"""Samplers, which act in ``fit`` only: noisy copies, chosen numbers per class."""

from skastro.resampling._noise_samplers import NoiseAugmenter, NoiseResampler

__all__ = ["NoiseAugmenter", "NoiseResampler"]
