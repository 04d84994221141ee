# SPDX-License-Identifier: BSD-3-Clause
"""Operations that vary whole batches of training samples, on the batch's device."""

from skastro.augmentation._base import vary_array
from skastro.augmentation._compose import Compose
from skastro.augmentation._continuum import ScaleContinuum
from skastro.augmentation._defects import BadPixels, CosmicRays
from skastro.augmentation._noise import CCDNoise, GaussianNoise, SpikedNoise
from skastro.augmentation._shift import ShiftSpectra

__all__ = [
    "AUGMENTATIONS",
    "BadPixels",
    "CCDNoise",
    "Compose",
    "CosmicRays",
    "GaussianNoise",
    "ScaleContinuum",
    "ShiftSpectra",
    "SpikedNoise",
    "vary_array",
]

# What ``augment="..."`` means on an estimator, and ``noise="..."`` on a sampler.
AUGMENTATIONS = {
    "noise": GaussianNoise(),
    # Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95: on
    # min-max normalised spectra, in this order.
    "wang2020": Compose([CCDNoise(), CosmicRays(), BadPixels()]),
    # The LAMOST 1-D ResNet-18: on standardised spectra.
    "resclass": SpikedNoise(),
}
