# SPDX-License-Identifier: BSD-3-Clause
from ._group_objects import group_objects as group_objects
from ._parquet import ParquetColumn as ParquetColumn
from .galaxies import fetch_galaxy10 as fetch_galaxy10
from .galaxies import make_galaxies as make_galaxies
from .galaxies import read_galaxies as read_galaxies
from .galaxies import read_galaxy10 as read_galaxy10
from .galaxies import read_votes as read_votes
from .images import ImageFiles as ImageFiles
from .images import LazyArray as LazyArray
from .images import images_to_hdf5 as images_to_hdf5
from .images import read_images as read_images
from .images import select_images as select_images
from .spectra import make_spectra as make_spectra
from .spectra import read_spectra as read_spectra
from .spectra import read_spectrum as read_spectrum
from .spectra import register_layout as register_layout
