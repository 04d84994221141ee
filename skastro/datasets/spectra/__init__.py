# SPDX-License-Identifier: BSD-3-Clause
"""Readers of survey spectra, their layouts, and simulated spectra."""

# The layouts register themselves; messages name the first ones first.
from skastro.datasets.spectra import _lamost  # noqa: F401

# isort: split
from skastro.datasets.spectra import (  # noqa: F401
    _columns,
    _desi,
    _galah,
    _iraf,
    _marz,
    _matrix,
    _sdss,
    _sixdfgs,
    _snid,
)
from skastro.datasets.spectra._layouts import register_layout
from skastro.datasets.spectra._make_spectra import make_spectra
from skastro.datasets.spectra._read_spectra import read_spectra, read_spectrum

__all__ = ["make_spectra", "read_spectra", "read_spectrum", "register_layout"]
