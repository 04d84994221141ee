# SPDX-License-Identifier: BSD-3-Clause
"""Readers of survey spectra, their layouts, and simulated spectra."""

# The layouts register themselves.
from skastro.datasets.spectra import _lamost, _matrix, _sdss, _sixdfgs  # noqa: F401
from skastro.datasets.spectra._layouts import register_layout
from skastro.datasets.spectra._make_spectra import make_spectra
from skastro.datasets.spectra._read_spectra import read_spectra, read_spectrum

__all__ = ["make_spectra", "read_spectra", "read_spectrum", "register_layout"]
