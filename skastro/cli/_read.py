# SPDX-License-Identifier: BSD-3-Clause
"""Images in one file of HDF5, or in files of their own."""

from collections.abc import Sequence

import h5py
from sklearn.utils import Bunch

from skastro.datasets import read_galaxy10, read_images


def read_any_images(files: Sequence[str], *, lazy: bool = False) -> Bunch:
    """Read images from a file of HDF5, a folder, or files of their own."""
    if len(files) == 1:
        (file,) = files
        if not _is_hdf5(file):
            return read_images(file, lazy=lazy, verbose=0)
        with h5py.File(file) as opened:
            target = "ans" if "ans" in opened else None
        return read_galaxy10(file, target=target, lazy=lazy, verbose=0)
    if any(map(_is_hdf5, files)):
        raise ValueError("Give one file of HDF5 at a time, by itself.")
    return read_images(files, lazy=lazy, verbose=0)


def _is_hdf5(file: str) -> bool:
    try:
        return h5py.is_hdf5(file)
    except OSError:
        return False
