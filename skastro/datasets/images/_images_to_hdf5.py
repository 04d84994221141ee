# SPDX-License-Identifier: BSD-3-Clause
"""Packing image files into one HDF5 file."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import h5py
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skastro.datasets._failures import Failure, name_failures
from skastro.datasets._hdf5 import open_hdf5
from skastro.datasets.galaxies._galaxy10 import check_labels
from skastro.datasets.images._select_images import (
    N_THREADS,
    Header,
    OtherShape,
    describe,
    read_headers,
    reason_of,
)
from skastro.utils import (
    ImageFiles,
    LazyArray,
    atomic_hdf5,
    check_space,
    plain_labels,
    progress_bar,
    read_path_list,
)

# One image of 256 x 256 pixels per chunk: random rows are then read without others, and
# ranges of rows as fast as with larger chunks.
_CHUNK_BYTES = 2**18
# Pixels decoded before they are written.
_BLOCK_BYTES = 2**25
_LABELS, _PATHS = "ans", "paths"


def images_to_hdf5(
    paths: Iterable[str | os.PathLike] | str | os.PathLike,
    out: str | os.PathLike,
    *,
    channel_axis: int = -1,
    dataset: str = "images",
    labels: ArrayLike | None = None,
    chunk_rows: int | None = None,
    compression: str | None = None,
    on_error: str = "raise",
    hdu: int | str | None = None,
    n_jobs: int | None = None,
    verbose: int = 1,
) -> Bunch:
    """Pack image files of one shape into an HDF5 file.

    Training on this file reads pixels instead of decoding files in each epoch. The
    layout is that of Galaxy10, which :func:`read_galaxy10` reads. Images are written
    while others are still being read, so that they need not fit into memory.

    Parameters
    ----------
    paths : iterable of path-like, or path-like
        The image files, in order; or a text file that lists them, one per line, such as
        :func:`select_images` writes. All must have one shape and data type.
    out : path-like
        HDF5 file to write. It appears when it is complete, and then replaces an
        existing one.
    channel_axis : {-1, 3, 1, -3}, default=-1
        Axis of the channels in the array of all images: the last, ``(n, H, W, C)``, or
        the second, ``(n, C, H, W)``. Gray images have no such axis.
    dataset : str, default="images"
        Name of the data set of the images.
    labels : array-like of shape (n_files,), default=None
        Class of each file, an integer or a string. Stored as integers in "ans"; the
        strings are stored, sorted, in the file's attribute ``class_names``.
    chunk_rows : int, default=None
        Images per chunk, which HDF5 reads and compresses as a whole. None means 256
        KiB, and at least one image.
    compression : {"gzip", "lzf"} or None, default=None
        Filter of HDF5. "gzip" makes images of galaxies smaller and reading slower;
        "lzf" does little for noise.
    on_error : {"raise", "skip"}, default="raise"
        How to treat files that cannot be read, or whose shape or data type is not the
        most frequent one: raise an error, or leave them out, with their labels, and
        list them.
    hdu : int or str, default=None
        Number or name of the HDU of the image in FITS files. None stands for the only
        image in a file; several are an error.
    n_jobs : int, default=None
        Number of threads that decode; None means 8, -1 one per processor.
    verbose : int, default=1
        Whether to show progress bars; 0 is silent.

    Returns
    -------
    packed : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        images : :class:`LazyArray` of shape (n_images, height, width[, n_channels])
            The images in the file, in the data type of the image files, usually uint8.
        paths : list of str
            The image files; the data set "paths" of the file.
        label : ndarray of int of shape (n_images,), or None
            The data set "ans" of the file.
        class_names : list of str or None
            The names of these integers, if `labels` are strings.
        skipped : list of (path, reason) or (path, shape, dtype)
            Files that ``on_error="skip"`` has left out.
        filename : str
            The file.

    Raises
    ------
    ValueError
        If files differ in shape or data type, if all images are left out, if the number
        of `labels` differs from that of files, or if a parameter is wrong.
    OSError
        If a file cannot be read, or `out` cannot be written. An older file of that name
        is not changed.

    See Also
    --------
    read_images : Reads images and joins a table of labels.
    select_images : Lists the images of one shape in a folder.
    read_galaxy10 : Reads the file.
    ImageFiles : The images as one array without a copy.

    Notes
    -----
    All headers are read first, so that a file of another shape is found at the
    beginning. Data sets of further columns can be added with h5py.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from skastro.datasets import images_to_hdf5, read_galaxy10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [f"{folder}/{name}.png" for name in "abc"]
    ...     for path in paths:
    ...         Image.new("RGB", (32, 32)).save(path)
    ...     labels = ["spiral", "smooth", "spiral"]
    ...     out = f"{folder}/galaxies.h5"
    ...     packed = images_to_hdf5(paths, out, labels=labels, verbose=0)
    ...     galaxies = read_galaxy10(out, verbose=0)
    >>> packed.images
    LazyArray(Dataset, shape=(3, 32, 32, 3), dtype=uint8)
    >>> galaxies.target.tolist()
    ['spiral', 'smooth', 'spiral']
    """
    _check_options(dataset, chunk_rows, compression, on_error)
    if isinstance(paths, str | os.PathLike):
        paths = read_path_list(paths)
    files = [os.fspath(path) for path in paths]
    if not files:
        raise ValueError("paths holds no files; give at least one.")
    label, class_names = _encode(labels, len(files))

    with atomic_hdf5(out) as hdf5:
        rows, skipped = _check_headers(files, on_error, hdu, n_jobs, verbose)
        images = ImageFiles(
            [files[row] for row in rows], channel_axis=channel_axis, hdu=hdu
        )
        if compression is None:
            check_space(out, images.nbytes)
        if chunk_rows is None:
            chunk_rows = max(1, _CHUNK_BYTES * len(images) // images.nbytes)
        stored = hdf5.create_dataset(
            dataset,
            images.shape,
            images.dtype,
            chunks=(min(chunk_rows, len(images)), *images.shape[1:]),
            maxshape=(None, *images.shape[1:]),
            compression=compression,
        )
        written, damaged = _copy(images, stored, on_error, n_jobs, verbose)
        rows = rows[written]
        skipped += damaged
        if not len(rows):
            raise ValueError(
                f"No image could be read:\n{name_failures(skipped)}\n"
                f"{os.fspath(out)!r} is not written."
            )
        kept = [files[row] for row in rows]
        # As bytes, because names of files need not be UTF-8.
        names = [path.encode("utf-8", "surrogateescape") for path in kept]
        hdf5.create_dataset(_PATHS, data=names, dtype=h5py.string_dtype())
        if label is not None:
            label = label[rows]
            hdf5[_LABELS] = label
        if class_names is not None:
            hdf5.attrs["class_names"] = json.dumps(class_names)
    # A separate handle, which closes when the array is deleted.
    return Bunch(
        images=LazyArray(open_hdf5(out)[dataset]),
        paths=kept,
        label=label,
        class_names=class_names,
        skipped=skipped,
        filename=os.fspath(out),
    )


def _check_options(
    dataset: str, chunk_rows: int | None, compression: str | None, on_error: str
) -> None:
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'; got {on_error!r}.")
    if compression not in (None, "gzip", "lzf"):
        raise ValueError(
            f"compression must be 'gzip', 'lzf' or None; got {compression!r}."
        )
    reserved = (_LABELS, _PATHS)
    if not isinstance(dataset, str) or not dataset.strip("./") or "/" in dataset:
        raise ValueError(f"dataset must be a name without slashes; got {dataset!r}.")
    if dataset in reserved:
        raise ValueError(
            f"dataset must not be {' or '.join(map(repr, reserved))}, the names of the "
            f"labels and of the paths; got {dataset!r}."
        )
    if chunk_rows is not None and not (
        isinstance(chunk_rows, Integral) and chunk_rows > 0
    ):
        raise ValueError(
            f"chunk_rows must be a positive integer or None; got {chunk_rows!r}."
        )


def _encode(
    labels: ArrayLike | None, n_files: int
) -> tuple[np.ndarray | None, list[str] | None]:
    """Check labels, and convert strings to integers and the list of strings."""
    if labels is None:
        return None, None
    labels = plain_labels(labels, "labels")
    if labels.dtype.kind == "O":
        # For example strings of pandas.
        labels = np.array(labels.tolist())
    label = check_labels(labels, n_files, "labels")
    if label.dtype.kind != "U":
        return label.astype(np.int64), None
    names, label = np.unique(label, return_inverse=True)
    return label, names.tolist()


def _check_headers(
    paths: list[str],
    on_error: str,
    hdu: int | str | None,
    n_jobs: int | None,
    verbose: int,
) -> tuple[np.ndarray, list[Failure | OtherShape]]:
    """Return the rows of images of the most frequent shape, and the other files."""
    found = read_headers(paths, hdu, n_jobs, verbose)
    headers = [header for header in found if isinstance(header, Header)]
    failures = [header for header in found if isinstance(header, Failure)]
    if failures and (on_error == "raise" or not headers):
        raise OSError(
            f"{len(failures)} of {len(paths)} files cannot be read:\n"
            f"{name_failures(failures)}\nLeave them out by on_error='skip'."
        )
    usual = Counter(headers).most_common(1)[0][0]
    others = [
        OtherShape(path, *header)
        for path, header in zip(paths, found, strict=True)
        if isinstance(header, Header) and header != usual
    ]
    if others and on_error == "raise":
        raise ValueError(
            "The images must all have one shape and data type, but there are (channels "
            f"first) {describe(headers)}. These differ from most:\n"
            f"{name_failures(others)}\nChoose those of one shape by select_images, or "
            "leave the others out by on_error='skip'."
        )
    rows = np.array([row for row, header in enumerate(found) if header == usual])
    return rows, [*failures, *others]


def _copy(
    images: ImageFiles,
    stored: h5py.Dataset,
    on_error: str,
    n_jobs: int | None,
    verbose: int,
) -> tuple[np.ndarray, list[Failure]]:
    """Decode the images into a data set; return the decoded rows and the failures."""
    n_images = len(images)
    # Whole chunks, because a chunk is compressed each time that a part is written.
    row_bytes = math.prod(images.shape[1:]) * images.dtype.itemsize
    n_block = max(1, _BLOCK_BYTES // (row_bytes * stored.chunks[0])) * stored.chunks[0]
    buffer = np.empty((min(n_block, n_images), *images.shape[1:]), images.dtype)
    good = np.zeros(n_images, dtype=bool)
    failures: list[Failure] = []
    n_written = 0

    def decode(row: int, out: np.ndarray) -> Failure | None:
        try:
            images.read_rows([row], out=out)
        # Pillow raises errors of many kinds.
        except Exception as error:
            if on_error == "raise":
                raise
            return Failure(images.paths[row], reason_of(images.paths[row], error))
        return None

    jobs = N_THREADS if n_jobs is None else n_jobs
    with (
        Parallel(n_jobs=jobs, require="sharedmem") as parallel,
        progress_bar(
            total=n_images, desc="Packing images", unit="image", disable=not verbose
        ) as bar,
    ):
        for start in range(0, n_images, len(buffer)):
            block = range(start, min(start + len(buffer), n_images))
            results: list[Any] = parallel(
                delayed(decode)(row, buffer[i : i + 1]) for i, row in enumerate(block)
            )
            whole = np.array([result is None for result in results])
            failures += [result for result in results if result is not None]
            good[start : block.stop] = whole
            n_new = int(whole.sum())
            pixels = buffer[: len(block)]
            stored[n_written : n_written + n_new] = (
                pixels if whole.all() else pixels[whole]
            )
            n_written += n_new
            bar.update(len(block))
    stored.resize(n_written, axis=0)
    return np.flatnonzero(good), failures
