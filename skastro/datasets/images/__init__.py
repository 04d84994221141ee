# SPDX-License-Identifier: BSD-3-Clause
"""Image files: labeled sets of them, selection by shape, packing into one file."""

from skastro.datasets.images._images_to_hdf5 import images_to_hdf5
from skastro.datasets.images._read_images import read_images
from skastro.datasets.images._select_images import select_images
from skastro.utils import ImageFiles, LazyArray

__all__ = ["ImageFiles", "LazyArray", "images_to_hdf5", "read_images", "select_images"]
