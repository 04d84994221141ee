# SPDX-License-Identifier: BSD-3-Clause
"""HDF5 files of simulated galaxies."""

import os
from collections.abc import Callable

import h5py
import numpy as np
from astropy.table import Table
from sklearn.utils import Bunch

from skastro.datasets._hdf5 import find_dataset, open_hdf5, reading_hdf5
from skastro.utils import LazyArray, atomic_write

# Bytes that are read at once at least: few enough for random rows.
_CHUNK_BYTES = 2**20
_ADVICE = "Files of simulated galaxies are made by make_galaxies(out=...)."


def write_galaxies(
    path: str | os.PathLike,
    shape: tuple[int, ...],
    fill: Callable[[h5py.Dataset], Table],
    about: Bunch,
) -> None:
    """Write a file while its images are being made.

    Parameters
    ----------
    path : str or path-like
        The file; it appears once it is complete.
    shape : tuple of int
        Shape of the images, ``(n, size, size)`` or with the bands.
    fill : callable
        Takes the data set of the images, fills it, and gives the parameters.
    about : Bunch
        ``bands``, ``zero_points``, ``background_std``, ``pixel_scale`` and ``DESCR``.
    """
    rows = max(1, min(shape[0], _CHUNK_BYTES // (4 * int(np.prod(shape[1:])))))
    with atomic_write(path, "wb") as file, h5py.File(file.name, "w") as hdf5:
        images = hdf5.create_dataset(
            "images", shape, dtype="<f4", chunks=(rows, *shape[1:])
        )
        images.attrs["bands"] = list(about.bands)
        images.attrs["zero_points"] = about.zero_points
        images.attrs["background_std"] = about.background_std
        images.attrs["pixel_scale"] = about.pixel_scale
        images.attrs["unit"] = "electron"
        hdf5.attrs["DESCR"] = about.DESCR
        table = fill(images)
        table.write(hdf5, path="parameters", serialize_meta=True)


def read_galaxies(path: str | os.PathLike) -> Bunch:
    """Open a file of simulated galaxies that :func:`make_galaxies` has written.

    The file holds the data set ``images``, float32, with the attributes ``bands``,
    ``zero_points``, ``background_std`` and ``pixel_scale``, and the table
    ``parameters``, which ``astropy.table.Table.read(path, "parameters")`` reads too.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    galaxies : :class:`~sklearn.utils.Bunch`
        What :func:`make_galaxies` returns; ``images`` is a
        :class:`~skastro.datasets.LazyArray`, of which ``images[:]`` reads all.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is no HDF5 file, or damaged.
    ValueError
        If it is an HDF5 file of something else.

    See Also
    --------
    make_galaxies : Makes such files.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skastro.datasets import make_galaxies, read_galaxies
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "galaxies.h5"
    ...     _ = make_galaxies(3, size=16, sersic_index=1, out=path, verbose=0)
    ...     galaxies = read_galaxies(path)
    ...     galaxies.images[:2].shape, len(galaxies.parameters)
    ((2, 16, 16), 3)
    """
    with reading_hdf5(path) as hdf5:
        images = find_dataset(hdf5, "images", _ADVICE)
        find_dataset(hdf5, "parameters", _ADVICE)
        missing = {"bands", "zero_points", "background_std", "pixel_scale"}
        missing -= set(images.attrs)
        if missing:
            raise ValueError(
                f"{path}: its images lack the attributes {sorted(missing)}. {_ADVICE}"
            )
        galaxies = Bunch(
            images=None,
            parameters=Table.read(hdf5, path="parameters", character_as_bytes=False),
            bands=tuple(map(str, images.attrs["bands"])),
            zero_points=np.asarray(images.attrs["zero_points"]),
            background_std=np.asarray(images.attrs["background_std"]),
            pixel_scale=float(images.attrs["pixel_scale"]),
            filename=os.fspath(path),
            DESCR=str(hdf5.attrs.get("DESCR", "")),
        )
    # A handle of its own, which closes when the array is forgotten.
    galaxies.images = LazyArray(open_hdf5(path)["images"])
    return galaxies
