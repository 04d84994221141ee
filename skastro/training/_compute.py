# SPDX-License-Identifier: BSD-3-Clause
"""How a device computes: number format, kernels, threads and memory."""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path

import joblib
import torch

from skastro._compat import cpu_multiplies_bfloat16

PRECISIONS = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

# Below these sizes converting between formats costs more than the short format saves.
_LEAST_INPUT = 512
_LEAST_WEIGHTS = 2**15

# The settings belong to the process. If blocks overlap in several threads, the first to
# start stores the settings and the last to end restores them.
_LOCK = threading.RLock()
_OPEN: list[torch.device] = []
_BEFORE: list[tuple[bool, str]] = []

# Settings of the GNU C library, by their numbers in malloc.h: bytes at the end of the
# heap that are given back, the size from which blocks are kept apart, and how many.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEP_ALL = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}
# The library raises the sizes to these by itself as a program goes on.
_USUAL = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25, _MMAP_MAX: 2**16}
_KEEPING: list[torch.device] = []
# Seconds.
_LONG_BLOCK = 0.5

# Seconds that a look at the cores takes: at least, as the system counts hundredths of a
# second; between two looks while batches are computed; and at most, in a training.
_SHORTEST, _BETWEEN_BATCHES, _LONGEST = 0.05, 0.25, 2.0
# A core that other programs use for less of the time counts as free.
_TOLERATED = 0.3


def resolve_precision(
    precision: str, device: torch.device, input_size: int, n_weights: int
) -> torch.dtype | None:
    """Choose the format for autocast; None stands for float32 throughout.

    ``"auto"`` takes bfloat16 where the hardware computes in it, float16 on CUDA devices
    that have fast units for that format only, and float32 elsewhere, and for samples of
    few numbers (`input_size`) and networks of few weights, where nothing is gained.

    >>> import torch
    >>> from skastro.training import resolve_precision
    >>> resolve_precision("bfloat16", torch.device("cpu"), 3000, 100_000)
    torch.bfloat16
    """
    if precision != "auto":
        return PRECISIONS[precision]
    if input_size < _LEAST_INPUT or n_weights < _LEAST_WEIGHTS:
        return None
    return _fast_format(device)


@cache
def _fast_format(device: torch.device) -> torch.dtype | None:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        # Volta and Turing multiply float16 in their tensor cores.
        return (
            torch.float16 if torch.cuda.get_device_capability(device)[0] >= 7 else None
        )
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        if flags.startswith("AVX512") and cpu_multiplies_bfloat16():
            return torch.bfloat16
    return None


@contextmanager
def fast_kernels(
    device: torch.device, precision: str, *, search: bool = False
) -> Iterator[None]:
    """Let a device compute as fast as it can within a block.

    On CUDA devices, where the precision was left open (``"auto"``), what is still
    computed in float32 may use the TensorFloat format, of 10 bits behind the point;
    ``"float32"`` leaves torch's setting alone. With `search`, cuDNN tries its
    algorithms for each shape and keeps the fastest; another run may keep another one,
    so that results agree to rounding only.

    On the CPU, torch takes no more threads than other programs leave cores free, and
    `adapt_threads` follows changes. With `search`, finding out may take 50 ms. Memory
    that is freed stays with the process until the end of the block.
    """
    block: AbstractContextManager[None] = nullcontext()
    if device.type == "cuda":
        block = _fast_on_cuda(device, precision, search)
    elif device.type == "cpu" and _may_change_threads():
        block = _on_free_cores(search)
    with block, _keeping_memory(device):
        yield


@contextmanager
def _fast_on_cuda(device: torch.device, precision: str, search: bool) -> Iterator[None]:
    with _LOCK:
        if not _OPEN:
            _BEFORE.append(
                (torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision())
            )
        _OPEN.append(device)
        # Respect a request for deterministic results.
        if search and not torch.backends.cudnn.deterministic:
            torch.backends.cudnn.benchmark = True
        if precision == "auto":
            _set_matmul_precision("high")
    try:
        yield
    finally:
        with _LOCK:
            _OPEN.pop()
            if not _OPEN:
                torch.backends.cudnn.benchmark, matmul = _BEFORE.pop()
                _set_matmul_precision(matmul)


def _set_matmul_precision(precision: str) -> None:
    # torch raises if the user has chosen by its newer settings, which then apply.
    with suppress(RuntimeError):
        torch.set_float32_matmul_precision(precision)


@contextmanager
def _keeping_memory(device: torch.device) -> Iterator[None]:
    """Use memory again instead of giving it back to the system after each layer.

    The system fills new memory with zeros, page by page, which takes a third of the
    time of a prediction of images.
    """
    library = _gnu_c_library() if device.type == "cpu" else None
    if library is None:
        yield
        return
    started = time.monotonic()
    with _LOCK:
        if not _KEEPING:
            for name, value in _KEEP_ALL.items():
                library.mallopt(name, value)
        _KEEPING.append(device)
    try:
        yield
    finally:
        with _LOCK:
            _KEEPING.pop()
            if not _KEEPING:
                for name, value in _USUAL.items():
                    library.mallopt(name, value)
                # After shorter blocks there is little to give back.
                if time.monotonic() - started > _LONG_BLOCK:
                    library.malloc_trim(0)


@cache
def _gnu_c_library() -> ctypes.CDLL | None:
    """Find the library, unless a user has chosen its settings."""
    chosen = [n for n in os.environ if n.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    if sys.platform != "linux" or chosen:
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def read_idle_time(path: str | os.PathLike = "/proc/stat") -> float | None:
    """Read how many seconds the cores of this process have been idle; on Linux only."""
    if sys.platform != "linux":
        return None
    try:
        rows = [line.split() for line in Path(path).read_text("ascii").splitlines()]
        # The fourth number counts idle time, the fifth waiting for disks.
        idle = {r[0]: int(r[4]) + int(r[5]) for r in rows if r and r[0][:3] == "cpu"}
        own = [idle[f"cpu{core}"] for core in os.sched_getaffinity(0)]
    except (OSError, ValueError, LookupError):
        return None
    # The line of all cores is rounded once.
    ticks = idle["cpu"] if len(own) == len(idle) - 1 else sum(own)
    return ticks / os.sysconf("SC_CLK_TCK")


class FreeCores:
    """Count the cores that other programs leave free, by looks at the system's clocks.

    ``read`` gives the time that cores have been idle, ``work`` that of this process,
    and ``clock`` the time, all in seconds; ``sleep`` waits.
    """

    def __init__(
        self,
        read: Callable[[], float | None] = read_idle_time,
        work: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.read, self.work, self.clock, self.sleep = read, work, clock, sleep
        self.n_sharing = 0
        self._lock = threading.Lock()
        self._n_free: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._time, self._idle, self._own = self.clock(), self.read(), self.work()

    def join(self, n_more: int) -> None:
        """Count the blocks, in threads of Python, that share the free cores."""
        with self._lock:
            self.n_sharing += n_more

    def share(self, least: float, *, wait: bool = False) -> int | None:
        """Give the share of a block in the free cores, at least 1; None if unknown.

        A look covers the time since the one before, and is not repeated within the
        next `least` seconds. Without a recent one, `wait` for a short one.
        """
        with self._lock:
            if self._idle is None:
                return None
            if wait and self.clock() - self._time > _LONGEST:
                self._begin()
                self._n_free = None
            if wait and self._n_free is None:
                self.sleep(max(0.0, self._time + _SHORTEST - self.clock()))
            before, idle, own = self._time, self._idle, self._own
            if self.clock() - before >= least:
                self._begin()
                if self._idle is None:
                    return None
                n_free = (self._idle - idle + self._own - own) / (self._time - before)
                self._n_free = min(int(n_free + _TOLERATED), joblib.cpu_count())
            if self._n_free is None:
                return None
            return max(1, self._n_free // self.n_sharing)


class _Threads(threading.local):
    """Torch's number of threads before a block, and in it."""

    before = 0
    chosen = 0


CORES = FreeCores()
_THREADS = _Threads()


def _may_change_threads() -> bool:
    """Tell whether the number of threads is torch's own, and not a user's choice."""
    n_threads = torch.get_num_threads()
    if n_threads == 1 or _THREADS.before or sys.platform != "linux":
        return False
    n_cores = len(os.sched_getaffinity(0))
    # Torch takes one thread a core, of which two can be on one piece of hardware.
    return n_threads in (n_cores, n_cores // 2) and not (
        {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys()
    )


@contextmanager
def _on_free_cores(wait: bool) -> Iterator[None]:
    _THREADS.before = _THREADS.chosen = torch.get_num_threads()
    cores = CORES
    cores.join(1)
    try:
        adapt_threads(_SHORTEST, wait=wait)
        yield
    finally:
        cores.join(-1)
        if torch.get_num_threads() == _THREADS.chosen:
            torch.set_num_threads(_THREADS.before)
        _THREADS.before = 0


def adapt_threads(least: float = _BETWEEN_BATCHES, *, wait: bool = False) -> None:
    """Within a block of `fast_kernels`, take as many threads as there are free cores.

    Threads of one step wait for each other in loops, on cores that they hold. Where
    another program keeps one of them from running, a step takes many times as long as
    on a single thread. The number is torch's own, or a half, a quarter, ... of it:
    few numbers, as each rounds in its own way.
    """
    chosen = _THREADS.chosen
    # Code of the user may have set another number within the block.
    if not _THREADS.before or torch.get_num_threads() != chosen:
        return
    share = CORES.share(least, wait=wait)
    if share is None:
        return
    n_threads = _THREADS.before
    while n_threads > share:
        n_threads //= 2
    if n_threads != chosen:
        torch.set_num_threads(n_threads)
        _THREADS.chosen = n_threads
