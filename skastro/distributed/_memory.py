# SPDX-License-Identifier: BSD-3-Clause
"""Memory that a worker keeps between batches."""

import ctypes
import os

# Parameters of glibc's mallopt: above these sizes freed memory goes back to the system,
# from the end of the heap, and from blocks of their own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SET_BY_DASK = "MALLOC_TRIM_THRESHOLD_"
# What glibc arrives at by itself where a program frees large blocks.
_KEPT_BYTES = 2**25
_GLIBC_BYTES = 2**17


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
