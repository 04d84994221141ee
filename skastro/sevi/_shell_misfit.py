# SPDX-License-Identifier: BSD-3-Clause
"""Signs that an image is none of electron shells."""

import torch

# Standard deviations by which χ² is too large, or halves of an image differ; and those
# by which χ² is too small.
_MISFIT = 6.0
_EVEN = 4.5
# Cells with fewer expected electrons tell nothing of the fit, and neither do deviations
# below this part.
_LEAST_EXPECTED = 5.0
_MODEL_ERROR = 0.01
# The part of the counts by which the halves of an image may differ for its centre.
_OFF_CENTER = 0.05
# By how much more probable shells make the counts, in the logarithm, than even noise.
_LEAST_GAIN = 30.0


def compare_cells(
    counts: torch.Tensor, expected: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare counts in cells with those expected.

    Parameters
    ----------
    counts, expected : Tensors of shape (n, n_cells)
        Of large cells.

    Returns
    -------
    misfit : Tensor of shape (n,)
        By how many standard deviations χ² is larger than it should be. Of many counts
        small deviations do not matter.
    unlike : Tensor of bool of shape (n,)
        Whether it is much larger, or the counts are too even for counts of electrons.
    """
    used = expected > _LEAST_EXPECTED
    freedom = used.sum(1).clamp(min=1)
    squares = (counts - expected) ** 2 * used
    noise = expected.clamp(min=1)
    deviations = [
        ((squares / (noise + error**2)).sum(1) - freedom) / torch.sqrt(2.0 * freedom)
        for error in (_MODEL_ERROR * expected, torch.zeros_like(expected))
    ]
    misfit, pure = deviations
    return misfit, (misfit > _MISFIT) | (pure < -_EVEN)


def like_even_noise(
    counts: torch.Tensor, multiplicity: torch.Tensor, log_likelihood: torch.Tensor
) -> torch.Tensor:
    """Tell images (n,) that an even background explains as well as shells do.

    Parameters
    ----------
    counts : Tensor of shape (n, n_pixels)
        The images, perhaps folded.
    multiplicity : Tensor of shape (n_pixels,)
        Pixels that are folded onto each.
    log_likelihood : Tensor of shape (n,)
        Of the shells: the sum of counts log(expected / mean) - expected.
    """
    even = multiplicity * (len(multiplicity) / multiplicity.sum())
    value = (torch.xlogy(counts, even) - counts).double().sum(1)
    return log_likelihood - value < _LEAST_GAIN


def lopsided(
    images: torch.Tensor, expected: torch.Tensor | None = None
) -> torch.Tensor:
    """Tell images whose halves differ, or do so otherwise than expected.

    Parameters
    ----------
    images : Tensor of shape (n, size, size)
        Counts.
    expected : Tensor of the same shape, default=None
        Expected counts; None: those of images with equal halves.

    Returns
    -------
    differ : Tensor of bool of shape (n,)
        Whether they differ.
    """
    total = images.sum((1, 2), dtype=torch.float64)
    rest = images.double() if expected is None else images.double() - expected
    differ = torch.zeros_like(total, dtype=torch.bool)
    for axis in (1, 2):
        half = images.shape[axis] // 2
        sums = rest.sum(3 - axis)
        difference = (sums[:, :half].sum(1) - sums[:, -half:].sum(1)).abs()
        differ |= difference > _MISFIT * total.sqrt() + _OFF_CENTER * total
    return differ
