# SPDX-License-Identifier: BSD-3-Clause
"""Readers of survey files, arrays larger than memory, and simulated data sets."""

from skastro.datasets._make_spectra import make_spectra
from skastro.datasets._read_spectra import read_spectra
from skastro.datasets._read_spectrum import read_spectrum
from skastro.utils import ImageFiles, LazyArray

__all__ = [
    "ImageFiles",
    "LazyArray",
    "make_spectra",
    "read_spectra",
    "read_spectrum",
]
