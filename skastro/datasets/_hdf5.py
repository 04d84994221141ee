# SPDX-License-Identifier: BSD-3-Clause
"""Opening HDF5 files, with one clear error for a bad file."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from skastro.utils import LazyArray, check_file, check_memory, progress_bar

_MOST_DATASETS_NAMED = 12


def open_hdf5(path: str | os.PathLike, allow_external: bool = False) -> h5py.File:
    """Open an HDF5 file for reading.

    Without `allow_external` nothing in it may refer to another file: a file from others
    could name any file of this machine, whose bytes would become pixels.
    """
    path = check_file(path)
    if path.stat().st_size == 0:
        raise OSError(f"{path}: not a readable HDF5 file: it is empty (0 bytes).")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(
            f"{path}: not a readable HDF5 file: {_reason(path, error)}."
        ) from error
    try:
        links: list[tuple[str, Any]] = []
        file.visititems_links(lambda *link: links.append(link))
        for name, link in links:
            _check_item(file, allow_external, name, link)
    except Exception as error:
        file.close()
        if str(error).startswith(f"{path}: "):
            raise
        raise OSError(f"{path}: the file is damaged: {error}") from error
    return file


def _check_item(file: h5py.File, allow_external: bool, name: str, link: Any) -> None:
    """Refuse data in other files, and a row or chunk that exceeds the memory."""
    where = None
    if isinstance(link, h5py.ExternalLink):
        where = f"is a link into {link.filename!r}"
    elif isinstance(link, h5py.HardLink) and isinstance(file[name], h5py.Dataset):
        dataset = file[name]
        if dataset.external:
            where = f"is stored in {dataset.external[0][0]!r}"
        elif dataset.is_virtual:
            where = f"is stored in {dataset.virtual_sources()[0].file_name!r}"
        n_values = math.prod(dataset.chunks or (dataset.shape or ())[1:])
        check_memory(n_values * dataset.id.get_type().get_size(), file.filename)
    if where and not allow_external:
        raise ValueError(
            f"{file.filename}: {name!r} {where}, another file. Pass "
            "allow_external=True if you trust the origin of the file."
        )


@contextmanager
def reading_hdf5(
    path: str | os.PathLike, allow_external: bool = False
) -> Iterator[h5py.File]:
    """Open an HDF5 file for a block, and name the file in errors of damaged files."""
    with open_hdf5(path, allow_external) as file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            if str(path) in str(error):
                raise
            raise OSError(f"{path}: the file is damaged: {error}") from error


def find_dataset(file: h5py.File, name: str, advice: str) -> h5py.Dataset | h5py.Group:
    """Look up a data set by its name."""
    if name in file:
        return file[name]
    raise ValueError(
        f"{file.filename}: there is no data set {name!r}; the file holds "
        f"{describe_datasets(file)}. {advice}"
    )


def describe_datasets(file: h5py.File) -> str:
    """Describe the data sets of a file for error messages."""
    found: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(f"{name!r} {item.shape} {item.dtype}")

    file.visititems(note)
    hidden = len(found) - _MOST_DATASETS_NAMED
    if hidden > 0:
        found[_MOST_DATASETS_NAMED:] = [f"and {hidden} more"]
    return ", ".join(found) or "no data sets"


def read_column(dataset: h5py.Dataset, max_bytes: float | None = None) -> np.ndarray:
    """Read a data set of numbers or texts, in the machine's byte order."""
    where = dataset.file.filename
    check_memory(dataset.nbytes, where, max_bytes)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        texts = np.asarray(dataset.asstr(errors="replace")[()])
        longest = max(map(len, texts.ravel()), default=0)
        # Numpy stores four bytes for each character of the longest text.
        check_memory(4 * longest * texts.size, where, max_bytes)
        return texts.astype(np.str_)
    values = np.asarray(dataset[()])
    return values.astype(values.dtype.newbyteorder("="))


def read_images(
    source: Any, path: str | os.PathLike, max_bytes: float | None, verbose: int
) -> np.ndarray:
    """Read all images into memory, block by block, with a progress bar."""
    array = LazyArray(source)
    check_memory(array.nbytes, path, max_bytes)
    images = np.empty(array.shape, array.dtype)
    with progress_bar(
        total=len(array), desc="Reading", unit="image", delay=2, disable=not verbose
    ) as bar:
        for rows in array.blocks():
            array.read_rows(np.arange(rows.start, rows.stop), out=images[rows])
            bar.update(rows.stop - rows.start)
    return images


def read_attributes(item: h5py.File | h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Read the attributes as strings, numbers and arrays of them."""
    return {name: _plain(value) for name, value in item.attrs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return np.array([str(_plain(item)) for item in value.ravel()])
    return value.item() if isinstance(value, np.generic) else value


def _reason(path: Path, error: OSError) -> str:
    message = str(error)
    truncated = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", message)
    if truncated:
        found, announced = truncated.groups()
        return f"it is truncated: {found} bytes where its header announces {announced}"
    if not h5py.is_hdf5(path):
        return "it does not begin with the signature of HDF5"
    return message
