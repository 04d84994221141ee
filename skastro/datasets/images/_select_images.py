# SPDX-License-Identifier: BSD-3-Clause
"""Selecting image files of one shape by their headers."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from numbers import Integral
from typing import NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import DTypeLike
from sklearn.utils import Bunch

from skastro.datasets._failures import Failure, name_failures, report_failures
from skastro.utils import (
    IMAGE_SUFFIXES,
    atomic_write,
    format_path_list,
    progress_bar,
    read_image_header,
    read_path_list,
)

_MOST_CHANNELS = 4
# Headers read by one task: enough to make the overhead of a thread negligible.
_TASK = 64
# Threads mostly wait for the disk or for Pillow's decoders; more are not faster.
N_THREADS = 8
_MOST_NAMED = 5
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class OtherShape(NamedTuple):
    """An image file of another shape, (n_channels, height, width), or data type."""

    path: str
    shape: tuple[int, ...]
    dtype: str


class Header(NamedTuple):
    """Content of the header of an image file; attributes as those of OtherShape."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


def list_images(
    folder: str | os.PathLike, suffixes: Iterable[str] = IMAGE_SUFFIXES
) -> tuple[list[str], list[Failure]]:
    """List the files with `suffixes` in a folder and below it, and unreadable folders.

    The files are sorted. Hidden ones are left out. Links to files count; links to
    folders are not followed, because they can form a cycle.
    """
    paths: list[str] = []
    errors: list[OSError] = []
    endings = tuple(suffixes)
    for parent, folders, names in os.walk(os.fspath(folder), onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            os.path.join(parent, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(endings)
        ]
    failures = [
        Failure(str(error.filename), f"the folder cannot be read: {error.strerror}")
        for error in errors
    ]
    return sorted(paths), failures


def read_headers(
    paths: Sequence[str], hdu: int | str | None, n_jobs: int | None, verbose: int
) -> list[Header | Failure]:
    """Read the headers of many image files in threads; return failures too."""
    read = partial(_read_one, hdu=hdu)
    return [*in_threads(read, paths, "Reading headers", n_jobs, verbose)]


def in_threads(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    what: str,
    n_jobs: int | None,
    verbose: int,
    *,
    n_task: int = _TASK,
    unit: str = "file",
) -> Iterator[_Result]:
    """Call a function that reads image files for many items; yield results in order.

    `n_task` is the number of items of one task of a thread.
    """
    from PIL import Image

    # Pillow loads its plugins at the first unknown format. A second thread that opens
    # a file in the meantime would take it for damaged.
    Image.init()
    tasks = (
        delayed(_run_task)(function, items[start : start + n_task])
        for start in range(0, len(items), n_task)
    )
    n_jobs = N_THREADS if n_jobs is None else n_jobs
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    progress = progress_bar(total=len(items), desc=what, unit=unit, disable=not verbose)
    with warnings.catch_warnings(), progress as bar:
        # Pillow warns about large images, which are harmless here, and about damaged
        # ones, which are reported with their names.
        warnings.filterwarnings("ignore", module="PIL")
        for found in parallel(tasks):
            yield from found
            bar.update(len(found))


def describe(headers: Iterable[Header]) -> str:
    """Describe the shapes and their numbers, the most frequent first."""
    counts = Counter(headers).most_common()
    named = [f"{header}: {count}" for header, count in counts[:_MOST_NAMED]]
    hidden = len(counts) - _MOST_NAMED
    return ", ".join(named + [f"and {hidden} other shapes"] * (hidden > 0))


def _run_task(
    function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    return [function(item) for item in items]


def _read_one(path: str, hdu: int | str | None) -> Header | Failure:
    try:
        shape, dtype = read_image_header(path, hdu)
    # Pillow raises errors of many kinds for damaged files. One bad file must not stop
    # the work on hundreds of thousands of others.
    except Exception as error:
        return Failure(path, reason_of(path, error))
    return Header((*shape[2:], *shape[:2]), np.dtype(dtype).name)


def reason_of(path: str, error: Exception) -> str:
    """Return the reason of an error without the name of the file."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    reason = str(cause).removeprefix(f"{path!r} ").removeprefix(f"{path}: ")
    reason = reason.replace(f" {path!r}", "").rstrip(".")
    return reason or type(cause).__name__


def select_images(
    paths_or_folder: str | os.PathLike | Iterable[str | os.PathLike],
    shape: tuple[int, ...] = (3, 256, 256),
    out: str | os.PathLike | None = "train.txt",
    *,
    dtype: DTypeLike | None = "uint8",
    hdu: int | str | None = None,
    n_jobs: int | None = None,
    verbose: int = 1,
) -> Bunch:
    """List the image files of one shape, so that they can form one array.

    Only the headers of the files are read, not their pixels. The list is written to a
    text file, which :class:`ImageFiles` reads.

    Parameters
    ----------
    paths_or_folder : path-like, or iterable of path-like
        One of

        - a folder, which is searched with all folders below it for the suffixes .bmp,
          .gif, .jpeg, .jpg, .png, .tif, .tiff and .webp, in upper or lower case.
          Names that begin with a dot are left out, and links to folders are not
          followed;
        - the files themselves, with any suffix;
        - a text file that lists them, one per line.
    shape : tuple of int, default=(3, 256, 256)
        ``(n_channels, height, width)`` of the images to keep: three channels for RGB,
        four with an alpha channel. ``(height, width)`` or ``(1, height, width)`` are
        gray images.
    out : path-like or None, default="train.txt"
        Text file to write the paths to, one per line in UTF-8. An existing file is
        replaced at the end. None writes nothing.
    dtype : dtype or None, default="uint8"
        Data type of the images to keep; gray images can also be uint16, int32 or
        float32. None keeps all; they can form one array only if their types agree.
    hdu : int or str, default=None
        Number or name of the HDU of the image in FITS files. None stands for the only
        image in a file; several are an error.
    n_jobs : int, default=None
        Number of threads, which mostly wait for the disk; None means 8, -1 one per
        processor. In a :obj:`joblib.parallel_config` context with a backend of
        processes, the number of processes.
    verbose : int, default=1
        Whether to show a progress bar and print how many images have another shape; 0
        is silent.

    Returns
    -------
    selection : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        paths : list of str
            Absolute paths of the selected files, so that the list can be read from any
            folder. Those of a folder are sorted; others keep the given order.
        rejected : list of (path, shape, dtype)
            Images of another shape or data type, with their shape and type.
        unreadable : list of (path, reason)
            Files that are not images, have a damaged header, do not exist, or hold
            several images or colors that are not brightness values, such as CMYK; and
            folders that could not be searched.
        shape : tuple of int
            The selected shape, ``(height, width)`` for gray images.
        filename : str or None
            The file, if `out` is given.

    Raises
    ------
    FileNotFoundError
        If the folder, the text file or the folder of `out` does not exist.
    ValueError
        If there are no images, or none of this shape (the message counts the shapes);
        if `shape` is not that of an image; or if a path contains a line break, so that
        it cannot be listed.

    Warns
    -----
    UserWarning
        If some files could not be read; all are named in `unreadable`.

    See Also
    --------
    ImageFiles : The chosen images as one array.
    read_images : Images of any size, with labels from a table.
    images_to_hdf5 : Packs them into one file.

    Notes
    -----
    An image with an intact header and truncated pixels is not noticed here; reading it
    or :func:`images_to_hdf5` will.

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
        selection = _select(paths, failures, shape, wanted, hdu, n_jobs, verbose)
    else:
        # Checked first, so that no work is lost.
        format_path_list(paths)
        with atomic_write(out, "wb") as file:
            selection = _select(paths, failures, shape, wanted, hdu, n_jobs, verbose)
            file.write(format_path_list(selection.paths))
        selection.filename = os.fspath(out)
    if selection.unreadable:
        warnings.warn(
            f"{report_failures(selection.unreadable, len(paths))}\nThe list is in the "
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
    hdu: int | str | None,
    n_jobs: int | None,
    verbose: int,
) -> Bunch:
    """Sort files by their headers; raise if none has the shape."""
    selection = Bunch(
        paths=[], rejected=[], unreadable=failures, shape=shape, filename=None
    )
    headers = read_headers(paths, hdu, n_jobs, verbose)
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
            message += f" {report_failures(selection.unreadable, len(paths))}"
        raise ValueError(message)
    if others and verbose:
        print(
            f"Left out {len(selection.rejected)} of {len(paths)} files for their "
            f"shape: {others}."
        )
    return selection


def _check_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = ()
    whole = all(isinstance(size, Integral) and size > 0 for size in sizes)
    if not whole or len(sizes) not in (2, 3):
        raise ValueError(
            "shape must be (n_channels, height, width), or (height, width) for gray "
            f"images; got {shape!r}."
        )
    sizes = tuple(int(size) for size in sizes)
    if len(sizes) == 3 and sizes[0] > _MOST_CHANNELS:
        first = (sizes[2], *sizes[:2])
        raise ValueError(
            "shape must begin with the number of channels, 1 to "
            f"{_MOST_CHANNELS}; got {sizes}. Did you mean {first}?"
        )
    return sizes[1:] if len(sizes) == 3 and sizes[0] == 1 else sizes


def _list_paths(
    source: str | os.PathLike | Iterable[str | os.PathLike],
    out: str | os.PathLike | None,
) -> tuple[list[str], list[Failure]]:
    """Return the absolute paths of the files to read, and failures."""
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
                f"out={os.fspath(out)!r} is the list that is read and would be "
                "overwritten; give another name, or out=None."
            )
    if not paths:
        reasons = f"\n{name_failures(failures)}" if failures else ""
        raise ValueError(f"There are no images: {where} holds none.{reasons}")
    return [os.path.abspath(path) for path in paths], failures
