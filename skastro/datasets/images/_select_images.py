# SPDX-License-Identifier: BSD-3-Clause
"""Choosing the images of one shape among many files, by their headers."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import DTypeLike
from sklearn.utils import Bunch
from tqdm.auto import tqdm

from skastro.datasets._failures import Failure, name_failures, report_failures
from skastro.utils import (
    IMAGE_SUFFIXES,
    atomic_write,
    format_path_list,
    read_image_header,
    read_path_list,
)

_MOST_CHANNELS = 4
# Headers read by one task: enough to hide the cost of handing it to a thread.
_TASK = 64
# Threads mostly wait for the disk or for Pillow's decoders; more wait for each other.
N_THREADS = 8
_MOST_NAMED = 5


class OtherShape(NamedTuple):
    """An image file of another shape, (n_channels, height, width), or data type."""

    path: str
    shape: tuple[int, ...]
    dtype: str


class Header(NamedTuple):
    """What the header of an image file says; the attributes are OtherShape's."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


def list_images(folder: str | os.PathLike) -> tuple[list[str], list[Failure]]:
    """List the image files in a folder and below it, sorted, and what cannot be read.

    Hidden files are left out. Links to files count; links to folders are not followed,
    because they can lead in a circle.
    """
    paths: list[str] = []
    errors: list[OSError] = []
    for parent, folders, names in os.walk(os.fspath(folder), onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            os.path.join(parent, name)
            for name in names
            if not name.startswith(".")
            and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    failures = [
        Failure(str(error.filename), f"the folder cannot be read: {error.strerror}")
        for error in errors
    ]
    return sorted(paths), failures


def read_headers(
    paths: Sequence[str], n_jobs: int | None, verbose: int
) -> list[Header | Failure]:
    """Read the headers of many image files in threads, or why that failed."""
    from PIL import Image

    # Pillow loads its plugins when it meets a format that it does not know yet, and a
    # second thread that comes by in the meantime would take the file for damaged.
    Image.init()
    tasks = (
        delayed(_read_task)(paths[start : start + _TASK])
        for start in range(0, len(paths), _TASK)
    )
    n_jobs = N_THREADS if n_jobs is None else n_jobs
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    headers: list[Header | Failure] = []
    progress = tqdm(
        total=len(paths), desc="Reading headers", unit="file", disable=not verbose
    )
    with warnings.catch_warnings(), progress as bar:
        # Pillow warns of large images, which are no harm here, and of damaged ones,
        # which are reported with their names.
        warnings.filterwarnings("ignore", module="PIL")
        for found in parallel(tasks):
            headers += found
            bar.update(len(found))
    return headers


def describe(headers: Iterable[Header]) -> str:
    """Say which shapes there are and how many of each, the most frequent first."""
    counts = Counter(headers).most_common()
    named = [f"{header}: {count}" for header, count in counts[:_MOST_NAMED]]
    hidden = len(counts) - _MOST_NAMED
    return ", ".join(named + [f"and {hidden} other shapes"] * (hidden > 0))


def _read_task(paths: Sequence[str]) -> list[Header | Failure]:
    return [_read_one(path) for path in paths]


def _read_one(path: str) -> Header | Failure:
    try:
        shape, dtype = read_image_header(path)
    # Pillow raises errors of many kinds for damaged files, and no one file of hundreds
    # of thousands may end the work on the others.
    except Exception as error:
        return Failure(path, reason_of(path, error))
    return Header((*shape[2:], *shape[:2]), np.dtype(dtype).name)


def reason_of(path: str, error: Exception) -> str:
    """Say what is wrong with a file, without its name."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    reason = str(cause).removeprefix(f"{path!r} ").replace(f" {path!r}", "")
    return reason or type(cause).__name__


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
            exist, hold several images, or colors that are no numbers of brightness (a
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
