# SPDX-License-Identifier: BSD-3-Clause
"""Finding image files and reading the headers of many of them."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from skastro.datasets.spectra._single_files import Failure
from skastro.utils import IMAGE_SUFFIXES, read_image_header

# Headers read by one task: enough to hide the cost of handing it to a thread.
_TASK = 64
# Threads mostly wait for the disk or for Pillow's decoders; more wait for each other.
N_THREADS = 8
_MOST_NAMED = 5


class OtherShape(NamedTuple):
    """An image file of another shape or data type than the ones wanted.

    Attributes
    ----------
    path : str
        The file.
    shape : tuple of int
        ``(n_channels, height, width)``, or ``(height, width)`` of grey images.
    dtype : str
        Data type of its pixels, such as "uint8".
    """

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
    """List the image files in a folder and below it, sorted, hidden ones left out.

    Parameters
    ----------
    folder : path-like
        The folder.

    Returns
    -------
    paths : list of str
        Files with one of the endings of images. Links to files are among them; links
        to folders are not followed, because they can lead in a circle.
    failures : list of Failure
        Folders that could not be read.
    """
    paths: list[str] = []
    errors: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=errors.append):
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
    """Read the headers of many image files, in threads.

    Parameters
    ----------
    paths : sequence of str
        The files.
    n_jobs : int or None
        Number of threads, None for eight.
    verbose : int
        0 for silence.

    Returns
    -------
    headers : list of Header or Failure
        What each says, channels first, or why it could not be read.
    """
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


def name_failures(failures: Sequence[tuple]) -> str:
    """Name the first few files that could not be used, one a line."""
    lines = [f"  {path}: {' '.join(map(str, why))}" for path, *why in failures]
    hidden = len(lines) - _MOST_NAMED
    return "\n".join(lines[:_MOST_NAMED] + [f"  and {hidden} more"] * (hidden > 0))


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
