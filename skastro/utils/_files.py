# SPDX-License-Identifier: BSD-3-Clause
"""Checks of files before they are read: their kind, and the memory that they take."""

import io
import lzma
import math
import os
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 2**20
# Gzip makes data of surveys a few times smaller, and zeros a thousand times.
_MOST_GZIP_RATIO, _SMALL_FILE = 200, 2**26


def check_file(path: str | os.PathLike) -> Path:
    """Return the path of an ordinary file, or raise an error that names it.

    Opening a named pipe would wait forever, and a device may have no end.
    """
    path = Path(os.fsdecode(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file.") from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file in it.")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path}: is no ordinary file, but a pipe, socket or device.")
    return path


def check_memory(
    n_bytes: float, path: str | os.PathLike, max_bytes: float | None = None
) -> None:
    """Refuse a file whose content would take more memory than `max_bytes`.

    None means half of the memory that is available now. A small file can announce, or
    unpack to, any amount.
    """
    limit = free_memory() / 2 if max_bytes is None else max_bytes
    if n_bytes > limit:
        which = "half of what is available" if max_bytes is None else "max_bytes"
        raise OSError(
            f"{os.fspath(path)}: its content takes at least {n_bytes / 1e9:.3g} GB of "
            f"memory, more than the limit of {limit / 1e9:.3g} GB ({which}). If the "
            "file is in order, pass a larger max_bytes, or lazy=True where there is "
            "this option."
        )


def read_bytes(
    path: str | os.PathLike,
    opener: Callable[..., Any] = open,
    max_bytes: float | None = None,
) -> io.BytesIO:
    """Read a file into memory; `opener`, such as ``gzip.open``, unpacks it.

    Content that would take more than `max_bytes` is not read further. None means half
    of the memory that is available.
    """
    path = check_file(path)
    limit = free_memory() / 2 if max_bytes is None else max_bytes
    content = io.BytesIO()
    try:
        with opener(path, "rb") as file:
            while content.tell() <= limit and (block := file.read(_BLOCK_BYTES)):
                content.write(block)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise OSError(f"{path}: cannot be read: {error}") from error
    if content.tell() > limit:
        check_memory(content.tell(), path, max_bytes)
    content.seek(0)
    return content


def gzip_limit(path: str | os.PathLike) -> float:
    """Return how many bytes a gzip-compressed file may have when it is unpacked."""
    by_ratio = _MOST_GZIP_RATIO * os.path.getsize(path)
    return min(free_memory() / 2, max(_SMALL_FILE, by_ratio))


def free_memory() -> float:
    """Return the bytes that the system, a container and the process's limits leave."""
    limits = [physical_memory()]
    # Each is missing on some systems; a limit can be the word "max".
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(1024 * float(found.split()[1]))
    with suppress(OSError, ValueError):
        limits.append(float(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    with suppress(ImportError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits += [soft] * (soft != resource.RLIM_INFINITY)
    return min(limits)


def physical_memory() -> float:
    """Return the machine's memory in bytes; infinity if it is unknown."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf
