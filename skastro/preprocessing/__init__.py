# SPDX-License-Identifier: BSD-3-Clause
"""Transformers that treat each row by itself, whatever the others are."""

from skastro.preprocessing._crop_pad import CropPadImages
from skastro.preprocessing._minmax import MinMaxSpectra
from skastro.preprocessing._rebin import RebinSpectra
from skastro.preprocessing._standardize import StandardizeSpectra

__all__ = ["CropPadImages", "MinMaxSpectra", "RebinSpectra", "StandardizeSpectra"]
