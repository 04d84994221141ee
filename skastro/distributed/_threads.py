# SPDX-License-Identifier: BSD-3-Clause
"""One thread for each task, so that workers share the cores without crowding."""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial

from threadpoolctl import ThreadpoolController


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

    Libraries that are imported in the block do not know the limit.
    """
    if "torch" in sys.modules:
        # PyTorch sets the number of a thread at its first use, which would end the
        # limit.
        sys.modules["torch"].get_num_threads()
    # OpenMP, and PyTorch with it, keeps a number for each thread.
    with _one_blas_thread, _one_thread_of("openmp"):
        yield
