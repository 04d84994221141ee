# SPDX-License-Identifier: BSD-3-Clause
"""Readers of survey files, and simulated data sets."""

from skastro.datasets._make_spectra import make_spectra
from skastro.datasets._read_spectra import read_spectra
from skastro.datasets._read_spectrum import read_spectrum

__all__ = ["make_spectra", "read_spectra", "read_spectrum"]
