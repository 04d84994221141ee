# SPDX-License-Identifier: BSD-3-Clause
"""Choosing the images of one shape among many files."""

import os
import warnings
from collections.abc import Iterable
from numbers import Integral

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils import Bunch

from skastro.datasets.images._image_headers import (
    Header,
    OtherShape,
    describe,
    list_images,
    name_failures,
    read_headers,
)
from skastro.datasets.spectra._single_files import Failure
from skastro.utils import (
    IMAGE_SUFFIXES,
    atomic_write,
    format_path_list,
    read_path_list,
)

_MOST_CHANNELS = 4


def select_images(
    paths_or_folder: str | os.PathLike | Iterable[str | os.PathLike],
    shape: tuple[int, ...] = (3, 256, 256),
    out: str | os.PathLike | None = "train.txt",
    *,
    dtype: DTypeLike | None = "uint8",
    n_jobs: int | None = None,
    verbose: int = 1,
) -> Bunch:
    """List the image files of one shape, of which an estimator can make one array.

    Only the files' headers are read, not their pixels. The list is written to a text
    file, which :class:`ImageFiles` reads.

    Parameters
    ----------
    paths_or_folder : path-like, or iterable of path-like
        One of

        - a folder, which is searched with all folders below it for the endings .bmp,
          .gif, .jpeg, .jpg, .png, .tif, .tiff and .webp, in upper or lower case.
          Names that begin with a dot are left out, and links to folders are not
          followed;
        - the files themselves, whatever their endings;
        - a text file that lists them, one a line.
    shape : tuple of int, default=(3, 256, 256)
        ``(n_channels, height, width)`` of the images to keep: three channels for RGB,
        four with an alpha channel. ``(height, width)`` or ``(1, height, width)`` are
        grey images.
    out : path-like or None, default="train.txt"
        Text file to write the paths to, one a line in UTF-8. An existing file is
        replaced once all is known. None writes nothing.
    dtype : dtype or None, default="uint8"
        Data type of the images to keep; grey images can also be uint16, int32 or
        float32. None keeps all, of which one array can be made only if they agree.
    n_jobs : int, default=None
        Number of threads, which mostly wait for the disk; None means 8, -1 one a
        processor. In a :obj:`joblib.parallel_config` context that names a backend of
        processes, the number of these.
    verbose : int, default=1
        Whether to show a progress bar and say how many images have another shape; 0 is
        silent.

    Returns
    -------
    selection : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        paths : list of str
            The files that fit, absolute, so that the list can be read from anywhere.
            Those of a folder are sorted, others in the order given.
        rejected : list of (path, shape, dtype)
            Images of another shape or data type, with those that they have.
        unreadable : list of (path, reason)
            Files that are no images, are damaged as far as their headers tell, do not
            exist, hold several images, or colours that are no numbers of brightness (a
            palette, CMYK); and folders that could not be searched.
        shape : tuple of int
            The shape wanted, ``(height, width)`` for grey images.
        filename : str or None
            The file, where `out` is given.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or text file, or no folder to write `out` to.
    ValueError
        If there are no images, or none that fits (the message counts the shapes that
        there are); if `shape` is none of an image; or if a path holds the end of a
        line, so that it cannot be listed.

    Warns
    -----
    UserWarning
        If some files could not be read; all are named in `unreadable`.

    See Also
    --------
    ImageFiles : The chosen images as one array.
    images_to_hdf5 : Packs them into one file.

    Notes
    -----
    An image whose header is whole but whose pixels are cut short passes;
    :func:`images_to_hdf5` finds it, and so does reading it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skastro.datasets import ImageFiles, select_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number, size in enumerate([64, 64, 48]):
    ...         Image.new("RGB", (size, size)).save(f"{folder}/{number}.jpg")
    ...     out = Path(folder) / "train.txt"
    ...     selection = select_images(folder, (3, 64, 64), out, verbose=0)
    ...     images = ImageFiles(out)
    >>> [Path(path).name for path in selection.paths]
    ['0.jpg', '1.jpg']
    >>> selection.rejected[0].shape
    (3, 48, 48)
    >>> images
    ImageFiles(shape=(2, 64, 64, 3), dtype=uint8)
    """
    shape = _check_shape(shape)
    wanted = None if dtype is None else np.dtype(dtype).name
    paths, failures = _list_paths(paths_or_folder, out)
    if out is None:
        selection = _select(paths, failures, shape, wanted, n_jobs, verbose)
    else:
        # Before the work, so that it is not lost.
        format_path_list(paths)
        with atomic_write(out, "wb") as file:
            selection = _select(paths, failures, shape, wanted, n_jobs, verbose)
            file.write(format_path_list(selection.paths))
        selection.filename = os.fspath(out)
    if selection.unreadable:
        warnings.warn(
            f"{_report(selection.unreadable, len(paths))}\nThe list is in the "
            "attribute unreadable.",
            UserWarning,
            stacklevel=2,
        )
    return selection


def _select(
    paths: list[str],
    failures: list[Failure],
    shape: tuple[int, ...],
    dtype: str | None,
    n_jobs: int | None,
    verbose: int,
) -> Bunch:
    """Sort files by their headers; raise where none fits."""
    selection = Bunch(
        paths=[], rejected=[], unreadable=failures, shape=shape, filename=None
    )
    headers = read_headers(paths, n_jobs, verbose)
    for path, header in zip(paths, headers, strict=True):
        if isinstance(header, Failure):
            selection.unreadable.append(header)
        elif header.shape == shape and dtype in (None, header.dtype):
            selection.paths.append(path)
        else:
            selection.rejected.append(OtherShape(path, *header))
    others = describe(Header(*image[1:]) for image in selection.rejected)
    if not selection.paths:
        message = (
            f"None of {len(paths)} files is an image of shape {shape} (channels first) "
            f"and type {dtype or 'any'}."
        )
        if others:
            message += f" The shapes are {others}."
        if selection.unreadable:
            message += f" {_report(selection.unreadable, len(paths))}"
        raise ValueError(message)
    if others and verbose:
        print(
            f"Left out {len(selection.rejected)} of {len(paths)} files for their "
            f"shape: {others}."
        )
    return selection


def _report(failures: list[Failure], n_files: int) -> str:
    return (
        f"{len(failures)} of {n_files} files could not be read:\n"
        f"{name_failures(failures)}"
    )


def _check_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = ()
    whole = all(isinstance(size, Integral) and size > 0 for size in sizes)
    if not whole or len(sizes) not in (2, 3):
        raise ValueError(
            "shape must be (n_channels, height, width), or (height, width) for grey "
            f"images; got {shape!r}."
        )
    sizes = tuple(int(size) for size in sizes)
    if len(sizes) == 3 and sizes[0] > _MOST_CHANNELS:
        first = (sizes[2], *sizes[:2])
        raise ValueError(
            "shape has the channels, of which image files have 1 to "
            f"{_MOST_CHANNELS}, first; got {sizes}. Did you mean {first}?"
        )
    return sizes[1:] if len(sizes) == 3 and sizes[0] == 1 else sizes


def _list_paths(
    source: str | os.PathLike | Iterable[str | os.PathLike],
    out: str | os.PathLike | None,
) -> tuple[list[str], list[Failure]]:
    """Give the absolute paths of the files to look at, and what is amiss with some."""
    failures: list[Failure] = []
    if not isinstance(source, str | os.PathLike):
        paths = [os.fspath(path) for path in source]
        where = "paths_or_folder"
    elif os.path.isdir(source):
        paths, failures = list_images(source)
        where = f"the folder {os.fspath(source)!r}, with those below it,"
    elif os.path.splitext(source)[1].lower() in IMAGE_SUFFIXES:
        raise ValueError(
            "paths_or_folder must be a folder, a list of files or a text file of "
            f"paths, but got an image, {os.fspath(source)!r}; give a list of one."
        )
    else:
        paths = read_path_list(source)
        where = f"the list {os.fspath(source)!r}"
        if out is not None and os.path.exists(out) and os.path.samefile(source, out):
            raise ValueError(
                f"out={os.fspath(out)!r} is the list that is read, of which it would "
                "keep a part only; give another name, or out=None."
            )
    if not paths:
        reasons = f"\n{name_failures(failures)}" if failures else ""
        raise ValueError(f"There are no images: {where} holds none.{reasons}")
    return [os.path.abspath(path) for path in paths], failures
