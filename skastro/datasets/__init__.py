# SPDX-License-Identifier: BSD-3-Clause
"""Readers of survey files, arrays larger than memory, and simulated data sets."""

from skastro.datasets._fetch_galaxy10 import fetch_galaxy10
from skastro.datasets._galaxy10 import read_galaxy10
from skastro.datasets._galaxy_files import read_galaxies
from skastro.datasets._images_to_hdf5 import images_to_hdf5
from skastro.datasets._make_galaxies import make_galaxies
from skastro.datasets._make_spectra import make_spectra
from skastro.datasets._read_spectra import read_spectra
from skastro.datasets._read_spectrum import read_spectrum
from skastro.datasets._select_images import select_images
from skastro.utils import ImageFiles, LazyArray

__all__ = [
    "ImageFiles",
    "LazyArray",
    "fetch_galaxy10",
    "images_to_hdf5",
    "make_galaxies",
    "make_spectra",
    "read_galaxies",
    "read_galaxy10",
    "read_spectra",
    "read_spectrum",
    "select_images",
]
