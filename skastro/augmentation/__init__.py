# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations of whole batches of training samples, on the batch's device."""

from skastro.augmentation._base import (
    BatchAugmentation,
    Compose,
    ImageAugmentation,
    SpectrumAugmentation,
    augment_array,
)
from skastro.augmentation._images import (
    ColorJitter,
    PixelNoise,
    RandomAffine,
    RandomDihedral,
    RandomFlip,
    RandomRotation,
    RandomTranslateScale,
    image_symmetries,
)
from skastro.augmentation._spectra import (
    BadPixels,
    CCDNoise,
    CosmicRays,
    GaussianNoise,
    ScaleContinuum,
    ShiftSpectra,
    SpikedNoise,
)

__all__ = [
    "AUGMENTATIONS",
    "IMAGE_AUGMENTATIONS",
    "BadPixels",
    "BatchAugmentation",
    "CCDNoise",
    "ColorJitter",
    "Compose",
    "CosmicRays",
    "GaussianNoise",
    "ImageAugmentation",
    "PixelNoise",
    "RandomAffine",
    "RandomDihedral",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslateScale",
    "ScaleContinuum",
    "ShiftSpectra",
    "SpectrumAugmentation",
    "SpikedNoise",
    "augment_array",
    "image_symmetries",
]

# What ``augment="..."`` means on an estimator of spectra, and ``noise="..."`` on a
# sampler.
AUGMENTATIONS = {
    "noise": GaussianNoise(),
    # Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95: on
    # min-max normalized spectra, in this order.
    "wang2020": Compose([CCDNoise(), CosmicRays(), BadPixels()]),
    # The LAMOST 1-D ResNet-18: on standardized spectra.
    "resclass": SpikedNoise(),
}

# What ``augment="..."`` means on an estimator of images.
IMAGE_AUGMENTATIONS = {
    "symmetries": RandomDihedral(),
    "rotations": RandomAffine(),
    "rotations-without-flips": RandomAffine(flips=False),
    "rotations-and-colors": Compose([RandomAffine(), ColorJitter(0.3, 0.3, 0.3, 0.02)]),
    # The Galaxy10 ResNet-50.
    "resclass": Compose(
        [
            RandomAffine(30, translate=0.0, scale=(1.0, 1.0)),
            ColorJitter(brightness=0.9, contrast=0.2, saturation=0.2, hue=0.1),
        ]
    ),
}
