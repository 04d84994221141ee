# SPDX-License-Identifier: BSD-3-Clause
"""Transformers that treat each row independently of the others."""

from skastro.preprocessing._crop_pad import CropPadImages
from skastro.preprocessing._spectra_transformers import (
    MinMaxSpectra,
    RebinSpectra,
    StandardizeSpectra,
)

__all__ = ["CropPadImages", "MinMaxSpectra", "RebinSpectra", "StandardizeSpectra"]
