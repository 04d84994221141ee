# SPDX-License-Identifier: BSD-3-Clause
"""The process of a worker: its threads, its warnings and its memory."""

import ctypes
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial

from threadpoolctl import ThreadpoolController

# Parameters of glibc's mallopt: above these sizes freed memory goes back to the system,
# from the end of the heap, and from blocks of their own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SET_BY_DASK = "MALLOC_TRIM_THRESHOLD_"
# What glibc arrives at by itself where a program frees large blocks.
_KEPT_BYTES = 2**25
_GLIBC_BYTES = 2**17


class SharedContext:
    """A change of the whole process: the first thread makes it, the last undoes it."""

    def __init__(self, make: Callable[[], AbstractContextManager]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._context = self._make()
                self._context.__enter__()
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._context.__exit__(None, None, None)


@contextmanager
def _without_warnings_of_files() -> Iterator[None]:
    with warnings.catch_warnings():
        message = r"(?s)\d+ of \d+ files could not be read"
        warnings.filterwarnings("ignore", message, UserWarning)
        # Of astropy, about units such as W/m2/um.
        warnings.filterwarnings("ignore", ".*multiple slashes")
        yield


@lru_cache(maxsize=1)
def _libraries(n_modules: int) -> ThreadpoolController:
    """Find the libraries with threads, again where modules have been imported."""
    return ThreadpoolController()


def _one_thread_of(kind: str) -> AbstractContextManager:
    return _libraries(len(sys.modules)).limit(limits=1, user_api=kind)


_one_blas_thread = SharedContext(partial(_one_thread_of, "blas"))
# The failed files are rows of the result.
no_warnings_of_files = SharedContext(_without_warnings_of_files)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on the thread of the caller alone, until the block ends.

    Tasks of one machine then share its cores without crowding. Libraries that are
    imported in the block do not know the limit.
    """
    if "torch" in sys.modules:
        # PyTorch sets the number of a thread at its first use, which would end the
        # limit.
        sys.modules["torch"].get_num_threads()
    # OpenMP, and PyTorch with it, keeps a number for each thread.
    with _one_blas_thread, _one_thread_of("openmp"):
        yield


def keep_freed_memory(keep: bool) -> None:
    """Let a process keep up to 64 MiB that it has freed, or do as Dask wants.

    Dask starts workers that return memory at once. Each batch of a network then waits
    for the system to clear other memory, which doubles its time.
    """
    wanted = os.environ.get(_SET_BY_DASK)
    if wanted is None:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    # Only glibc has it.
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _KEPT_BYTES if keep else _GLIBC_BYTES)
    mallopt(_TRIM_THRESHOLD, 2 * _KEPT_BYTES if keep else int(wanted))
