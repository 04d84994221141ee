# SPDX-License-Identifier: BSD-3-Clause
"""The number format that a network computes in, and the kernels that go with it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import RLock

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
_LOCK = RLock()
_OPEN: list[torch.device] = []
_BEFORE: list[tuple[bool, str]] = []


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
    """Let a CUDA device use its fastest kernels within a block.

    Where the precision was left open (``"auto"``), what is still computed in float32
    may use the TensorFloat format, of 10 bits behind the point; ``"float32"`` leaves
    torch's setting alone. With `search`, cuDNN tries its algorithms for each shape and
    keeps the fastest; another run may keep another one, so that results agree to
    rounding only. Elsewhere than on CUDA devices nothing is changed.
    """
    if device.type != "cuda":
        yield
        return
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
