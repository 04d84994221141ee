# SPDX-License-Identifier: BSD-3-Clause
"""Numbers on a scale that a network does not expect: warnings, and refusals."""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

# Networks learn from numbers around 1, and tolerate these.
_SIZES = 1e-3, 1e3


def warn_of_size(estimator: Any, X: np.ndarray, advice: str) -> None:
    """Warn where a network gets numbers far from 1 as they are."""
    size = float(np.abs(X.astype(np.float64)).mean())
    if size and not _SIZES[0] <= size <= _SIZES[1]:
        warnings.warn(
            f"{type(estimator).__name__} gives numbers of about {size:.1e} to the "
            "network as they are, but networks learn from numbers around 1. "
            f"{advice}",
            UserWarning,
            stacklevel=2,
        )


def size_of(batches: Iterable[np.ndarray]) -> np.ndarray:
    """Give mean and highest absolute value of samples, and 1 for whole numbers."""
    sizes = [
        (np.abs(x, dtype=np.float64).mean(), np.abs(x).max(), (x == np.round(x)).all())
        for x in batches
    ]
    means, highest, whole = np.array(sizes, dtype=np.float64).T
    return np.array([means.mean(), highest.max(), whole.min()])


def refuse_other_scale(
    estimator: Any, X: torch.Tensor, are_bytes: bool, size: np.ndarray
) -> None:
    """Refuse numbers that cannot be on the scale of those in fit.

    `are_bytes` and `size` are of the samples in fit. Numbers count as they are,
    whatever their data type: what was 200 in fit is 200.
    """
    if torch.compiler.is_exporting():
        # Graphs raise nothing.
        return
    is_bytes = X.dtype == torch.uint8
    if is_bytes == are_bytes and (is_bytes or estimator._is_training()):
        return
    x = X.float()
    low, high = (end.item() for end in x.aminmax())
    if not math.isfinite(low + high):
        # Refused elsewhere, by rows.
        return
    level, highest, were_whole = size
    is_whole = bool((x == x.round()).all())
    ratio = x.abs().mean().item() / level if level else 1.0
    is_near = ratio == 0 or 1 / 20 <= ratio <= 20
    if is_bytes == are_bytes:
        # Fractions of 1 after whole numbers, or the reverse.
        fits = not (
            were_whole and highest > 1 and not is_whole and 0 <= low <= high <= 1
        ) and not (not were_whole and highest <= 1 and is_whole and high > 1)
    elif are_bytes:
        # Bytes in another data type. Fractions, of resampled ones, may go beyond.
        is_byte = is_whole and 0 <= low <= high <= 255
        fits = is_byte or (is_near and not is_whole and -64 <= low <= high <= 319)
    else:
        fits = is_near and 16 <= highest <= 510
    if not fits:
        were, given = (
            f"{'bytes' if bytes_ else 'numbers'} up to {top:.3g}"
            for bytes_, top in ((are_bytes, highest), (is_bytes, high))
        )
        raise ValueError(
            f"{type(estimator).__name__} was fitted on {were}, but X has {given}, "
            "which cannot be the same scale. Give X in the numbers of fit: multiply or "
            "divide it by 255, for instance."
        )
