# SPDX-License-Identifier: BSD-3-Clause
"""Operations that vary whole batches of training samples, on the batch's device."""

from skastro.augmentation._base import vary_array
from skastro.augmentation._colours import JitterColours, PixelNoise
from skastro.augmentation._compose import Compose
from skastro.augmentation._continuum import ScaleContinuum
from skastro.augmentation._defects import BadPixels, CosmicRays
from skastro.augmentation._spectra import CCDNoise, GaussianNoise, SpikedNoise
from skastro.augmentation._shift import ShiftSpectra
from skastro.augmentation._symmetries import (
    FlipImages,
    ReorientImages,
    image_symmetries,
)
from skastro.augmentation._images import RotateImages, ShiftZoomImages, WarpImages

__all__ = [
    "AUGMENTATIONS",
    "IMAGE_AUGMENTATIONS",
    "BadPixels",
    "CCDNoise",
    "Compose",
    "CosmicRays",
    "FlipImages",
    "GaussianNoise",
    "JitterColours",
    "PixelNoise",
    "ReorientImages",
    "RotateImages",
    "ScaleContinuum",
    "ShiftSpectra",
    "ShiftZoomImages",
    "SpikedNoise",
    "WarpImages",
    "image_symmetries",
    "vary_array",
]

# What ``augment="..."`` means on an estimator of spectra, and ``noise="..."`` on a
# sampler.
AUGMENTATIONS = {
    "noise": GaussianNoise(),
    # Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95: on
    # min-max normalised spectra, in this order.
    "wang2020": Compose([CCDNoise(), CosmicRays(), BadPixels()]),
    # The LAMOST 1-D ResNet-18: on standardised spectra.
    "resclass": SpikedNoise(),
}

# What ``augment="..."`` means on an estimator of images.
IMAGE_AUGMENTATIONS = {
    "symmetries": ReorientImages(),
    "rotations": WarpImages(),
    "rotations-without-flips": WarpImages(flips=False),
    # The Galaxy10 ResNet-50.
    "resclass": Compose(
        [
            WarpImages(30, max_shift=0.0, zoom=(1.0, 1.0)),
            JitterColours(brightness=0.9, contrast=0.2, saturation=0.2, hue=0.1),
        ]
    ),
}
