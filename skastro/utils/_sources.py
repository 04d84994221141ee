# SPDX-License-Identifier: BSD-3-Clause
"""Opening arrays on disk again in another process."""

import os
import pickle
from mmap import ALLOCATIONGRANULARITY
from typing import Any

import numpy as np


def root_module(value: Any) -> str:
    """Return the name of the package that defines the type of a value."""
    return type(value).__module__.partition(".")[0]


class StoredDataset:
    """What it takes to open an HDF5 data set again."""

    def __init__(self, dataset: Any) -> None:
        if not dataset:
            raise pickle.PicklingError(
                "Cannot pickle a lazy array whose HDF5 file is closed; open the file "
                "and make the array again."
            )
        filename = dataset.file.filename
        if dataset.file.driver in ("core", "fileobj") or dataset.name is None:
            raise pickle.PicklingError(
                f"Cannot pickle a lazy array of HDF5 data in memory ({filename!r}); "
                "write them to a file on disk and open that."
            )
        self.filename = os.path.abspath(os.fsdecode(filename))
        self.name = dataset.name

    def open(self) -> Any:
        """Open the file for reading; it closes when the data set is forgotten."""
        import h5py

        return h5py.File(self.filename, "r")[self.name]


class StoredMemmap:
    """What it takes to map a file into memory again."""

    def __init__(self, array: np.memmap) -> None:
        mapped = getattr(array, "_mmap", None)
        advice = "pickle a LazyArray of the whole np.memmap, with rows=... for a part."
        if mapped is None or array.filename is None:
            raise pickle.PicklingError(
                "Cannot pickle a lazy array of a memory map that has no file; save it "
                f"with numpy.save, and {advice}"
            )
        if not array.flags.c_contiguous or array.mode == "c":
            raise pickle.PicklingError(
                "Cannot pickle a lazy array of a memory map that is strided, or open "
                f"in mode 'c'; {advice}"
            )
        self.filename = os.path.abspath(array.filename)
        self.shape, self.dtype = array.shape, array.dtype
        # numpy gives views the offset of the map that they were cut from, and maps
        # files from a multiple of the page size on.
        address = np.frombuffer(mapped, np.uint8).ctypes.data
        map_offset = array.offset - array.offset % ALLOCATIONGRANULARITY
        self.offset = map_offset + array.ctypes.data - address

    def open(self) -> np.memmap:
        """Map the file for reading."""
        return np.memmap(self.filename, self.dtype, "r", self.offset, self.shape)
