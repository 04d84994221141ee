# SPDX-License-Identifier: BSD-3-Clause
"""Files that appear under their name only when they are complete."""

import errno
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted.
    fcntl = None  # type: ignore[assignment]  # a module, elsewhere

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.part(\.[^.]*)?")


@contextmanager
def atomic_write(
    path: str | os.PathLike,
    mode: str = "w",
    *,
    encoding: str | None = None,
    newline: str | None = None,
) -> Iterator[IO]:
    """Open a file that gets its name only when it has been written to the end.

    The content goes to a temporary file in the same folder, with the same suffix,
    which is renamed to `path` when the block ends, and removed when the block raises.
    So a reader never sees half a file, and an interrupted run leaves an older file of
    that name as it was. If a write fails, as on a full disk, what follows is dropped,
    and the error is raised when the block ends: call :func:`check_space` before long
    work. A temporary file that a killed process has left in the folder
    is removed. The permissions of a file that is replaced are kept. `mode` is "w" or
    "wb"; text is UTF-8 unless `encoding` says otherwise, and `newline` is that of
    :func:`open`. The file's ``name`` is the temporary path, for writers that want a
    path instead of a file object.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}.")
    # A symbolic link is kept; the file that it points to is replaced.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is no ordinary file, but a pipe, socket or device.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {path}: the folder {target.parent} does not exist."
        )
    _remove_abandoned(target.parent)
    raw = _open_temporary(target)
    file: Any = io.BufferedWriter(raw)
    if mode == "w":
        file = io.TextIOWrapper(file, encoding or "utf-8", newline=newline)
    # The writer may close the file; it stays locked as long as this one is open.
    with os.fdopen(os.dup(raw.fileno()), "rb") as lock:
        try:
            with file:
                yield file
            if raw.error is not None:
                raise raw.error
            # After a power cut the name must not stand for an empty file.
            os.fsync(lock)
            if target.exists():
                shutil.copymode(target, raw.name)
            if fcntl is None:
                lock.close()
            os.replace(raw.name, target)
        except BaseException as error:
            lock.close()
            Path(raw.name).unlink(missing_ok=True)
            if raw.error is not None and isinstance(error, Exception):
                raw.error.filename = os.fspath(path)
                raise raw.error from None
            raise


@contextmanager
def atomic_hdf5(path: str | os.PathLike) -> Iterator[Any]:
    """Open an HDF5 file for writing as :func:`atomic_write` does."""
    import h5py

    with atomic_write(path, "wb") as file:
        raw: Any = file
        with h5py.File(raw.raw, "w") as hdf5:
            yield hdf5


def check_space(path: str | os.PathLike, n_bytes: float) -> None:
    """Refuse to write a file for which the disk has no space."""
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free
    if n_bytes > free:
        need = f"{n_bytes / 1e9:.3g} GB are needed, and {free / 1e9:.3g} GB are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {need}", os.fspath(path))


class _KeepsError(io.FileIO):
    """A file that keeps the first error of writing, and drops what follows it.

    HDF5 ends the interpreter if it cannot write what it holds in memory, and torch
    raises other errors.
    """

    error: OSError | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        n_bytes = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return n_bytes

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self.error is None else size or 0
        except OSError as error:
            self.error = error
            return size or 0


def _open_temporary(target: Path) -> _KeepsError:
    """Open a new file beside the target, locked until it is closed."""
    while True:
        name = f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}"
        file = _KeepsError(os.fspath(target.with_name(name)), "x+")
        # Some file systems cannot lock.
        with suppress(OSError):
            _lock(file, wait=True)
        # Another process may have taken it for abandoned before it was locked.
        if os.path.exists(file.name):
            return file
        file.close()


def _remove_abandoned(folder: Path) -> None:
    """Delete temporary files that no process has open."""
    with suppress(OSError):
        for item in list(os.scandir(folder)):
            if not _TEMPORARY.fullmatch(item.name) or not item.is_file():
                continue
            # A process has it open, or the file system cannot tell.
            with suppress(OSError):
                if fcntl is None:
                    os.unlink(item)
                    continue
                with open(item, "r+b") as file:
                    _lock(file, wait=False)
                    os.unlink(item)


def _lock(file: Any, wait: bool) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
