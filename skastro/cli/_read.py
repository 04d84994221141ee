# SPDX-License-Identifier: BSD-3-Clause
"""Images in one file of HDF5, or in files of their own."""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
from sklearn.utils import Bunch

from skastro.datasets import read_galaxy10, read_images


def known_flux(flux: np.ndarray) -> np.ndarray:
    """Make infinite pixels unknown ones, which steps of a pipeline fill."""
    return np.where(np.isfinite(flux), flux, np.nan)


def blank_rows(X: np.ndarray) -> np.ndarray:
    """Find samples without any number."""
    if X.dtype.kind != "f":
        return np.zeros(len(X), dtype=bool)
    return ~np.isfinite(X.reshape(len(X), -1)).any(axis=1)


def read_any_images(
    files: Sequence[str],
    *,
    target: str | None = None,
    size: int | None = None,
    lazy: bool = False,
) -> Bunch:
    """Read images from a file of HDF5, a folder, or files of their own.

    `target` is the data set of the labels in HDF5; images in files of their own are
    resampled to `size`.
    """
    options: dict[str, Any] = {"lazy": lazy, "verbose": 0, "size": size}
    options["resize"] = size is not None
    if len(files) == 1:
        (file,) = files
        if not _is_hdf5(file):
            return read_images(file, **options)
        if target is None:
            with h5py.File(file) as opened:
                target = "ans" if "ans" in opened else None
        return read_galaxy10(file, target=target, lazy=lazy, verbose=0)
    if any(map(_is_hdf5, files)):
        raise ValueError("Give one file of HDF5 at a time, by itself.")
    return read_images(files, **options)


def _is_hdf5(file: str) -> bool:
    try:
        return h5py.is_hdf5(file)
    except OSError:
        return False
