# SPDX-License-Identifier: BSD-3-Clause
"""The number format that a network computes in."""

import torch

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


def resolve_precision(
    precision: str, device: torch.device, input_size: int
) -> torch.dtype | None:
    """Choose the format for autocast.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        What the user asks for.
    device : torch.device
        Where the network runs.
    input_size : int
        Numbers in one sample.

    Returns
    -------
    dtype : torch.dtype or None
        None stands for float32 throughout. ``"auto"`` takes bfloat16 where the
        hardware computes in it; on samples of less than 512 numbers it stays with
        float32, which is as fast there.

    Examples
    --------
    >>> import torch
    >>> from skastro.training import resolve_precision
    >>> resolve_precision("bfloat16", torch.device("cpu"), 3000)
    torch.bfloat16
    """
    if precision != "auto":
        return PRECISIONS[precision]
    if input_size < 512 or not _has_bfloat16(device):
        return None
    return torch.bfloat16


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        return flags.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()
    return False
