# SPDX-License-Identifier: BSD-3-Clause
"""Deleting pixels: what takes their place, and equal deletions at random places."""

import numpy as np

# Kept pixels on either side of a deleted run that say where the flux was.
_N_NEIGHBOURS = 10


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find where runs of marked pixels start and stop."""
    change = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def fill_from_neighbours(channels: np.ndarray, mask: np.ndarray) -> None:
    """Replace runs of pixels by straight lines between the levels beside them.

    Parameters
    ----------
    channels : ndarray of shape (n_channels, length)
        A spectrum, changed in place.
    mask : ndarray of shape (length,), bool
        The pixels to replace.
    """
    kept = np.flatnonzero(~mask)
    for start, stop in zip(*_runs(mask), strict=True):
        place = np.searchsorted(kept, start)
        left = channels[:, kept[max(0, place - _N_NEIGHBOURS) : place]]
        right = channels[:, kept[place : place + _N_NEIGHBOURS]]
        # At the ends of the spectrum there is one side only.
        left, right = (left, right) if left.size else (right, right)
        right = right if right.size else left
        levels = np.median(left, axis=1), np.median(right, axis=1)
        line = np.linspace(*levels, stop - start + 2, axis=1)
        channels[:, start:stop] = line[:, 1:-1]


def fill_with_median(channels: np.ndarray, mask: np.ndarray) -> None:
    """Replace pixels by the median of the others, in each channel.

    Parameters
    ----------
    channels : ndarray of shape (n_channels, height, width)
        An image, changed in place.
    mask : ndarray of shape (height, width), bool
        The pixels to replace.
    """
    channels[:, mask] = np.median(channels[:, ~mask], axis=1, keepdims=True)


def random_like(deleted: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Choose as many pixels at random places, in pieces of the same sizes.

    Parameters
    ----------
    deleted : ndarray of shape (n_samples, length) or (n_samples, height, width), bool
        The pixels whose like is sought.
    rng : RandomState
        The source of chance.

    Returns
    -------
    moved : ndarray of the same shape, bool
        Spectra: runs of the same lengths, none touching another. Images: the same
        regions moved, around the borders, and mirrored.
    """
    move = _random_runs if deleted.ndim == 2 else _random_shift
    return np.stack([move(mask, rng) for mask in deleted])


def _random_runs(mask: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    starts, stops = _runs(mask)
    lengths = rng.permutation(stops - starts)
    n_kept = mask.size - lengths.sum()
    # Behind how many kept pixels each run stands; no two of them touch.
    behind = np.sort(rng.choice(n_kept + 1, size=len(lengths), replace=False))
    moved = np.zeros_like(mask)
    starts = behind + np.cumsum(lengths) - lengths
    for start, length in zip(starts, lengths, strict=True):
        moved[start : start + length] = True
    return moved


def _random_shift(mask: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    flips = [axis for axis in range(mask.ndim) if rng.randint(2)]
    shift = [rng.randint(size) for size in mask.shape]
    return np.roll(np.flip(mask, flips), shift, axis=tuple(range(mask.ndim)))
