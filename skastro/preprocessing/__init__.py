# SPDX-License-Identifier: BSD-3-Clause
"""Transformers that treat each spectrum by itself, whatever the others are."""

from skastro.preprocessing._minmax import MinMaxSpectra
from skastro.preprocessing._rebin import RebinSpectra
from skastro.preprocessing._standardize import StandardizeSpectra

__all__ = ["MinMaxSpectra", "RebinSpectra", "StandardizeSpectra"]
