# SPDX-License-Identifier: BSD-3-Clause
"""Flux-conserving rebinning of spectra from one wavelength grid to another."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, hstack
from scipy.special import ndtr

from skastro.utils._arrays import in_unit, plain_array, unit_of
from skastro.utils._lazy import row_batches

# Overlaps below this fraction of the narrower bin are round-off errors of edges that
# coincide. They are dropped, because a NaN pixel would spread to a neighboring bin.
_SLIVER = 1e-9
# A step this many times as wide as the median and those beside it is a gap.
_GAP = 20
# Gaussians end at this many standard deviations: 6e-5 of their area is beyond.
_REACH = 4


def bin_edges(centers: ArrayLike) -> np.ndarray:
    """Return edges of the bins around the given centers, ``(n_bins + 1,)`` float64.

    Inner edges are midway between neighboring centers. The end bins are symmetric about
    their centers. A single bin has a width of one unit.

    >>> bin_edges([1.0, 2.0, 4.0])
    array([0.5, 1.5, 3. , 5. ])
    """
    centers = _check_ascending(centers, "centers")
    if centers.size == 1:
        return centers[0] + np.array([-0.5, 0.5])
    inner = 0.5 * (centers[1:] + centers[:-1])
    first = 2 * centers[0] - inner[0]
    last = 2 * centers[-1] - inner[-1]
    return np.concatenate([[first], inner, [last]])


def arm_starts(centers: np.ndarray) -> np.ndarray:
    """List the pixels that follow a gap, such as that between a spectrograph's arms.

    >>> arm_starts(np.array([1.0, 2, 3, 4, 50, 51, 52]))
    array([4])
    """
    steps = np.diff(centers)
    wide = steps[1:-1] > _GAP * np.maximum(steps[:-2], steps[2:])
    if wide.any():
        wide &= steps[1:-1] > _GAP * np.median(steps)
    return np.flatnonzero(wide) + 2


def rebin_matrix(edges: ArrayLike, new_edges: ArrayLike) -> csr_array:
    """Compute the matrix that rebins a flux density from one set of bins to another.

    Parameters
    ----------
    edges : array-like of shape (n_bins + 1,)
        Edges of the bins, strictly ascending.
    new_edges : array-like of shape (n_new_bins + 1,)
        Edges of the new bins, in the unit of `edges`, strictly ascending.

    Returns
    -------
    matrix : scipy.sparse.csr_array of shape (n_new_bins, n_bins), float64
        Row ``i`` holds the part that each old bin has in the new bin ``i``, as a
        fraction of the width of the new bin that the old bins cover. So every row sums
        to 1, or to 0 where less than half of the new bin is covered. The variance of
        the rebinned flux, where the pixels are independent, is
        ``matrix.power(2) @ variance``.

    Examples
    --------
    >>> from skastro.utils import rebin_matrix
    >>> rebin_matrix([0, 1, 2, 3, 4], [0, 2, 4]).toarray()
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
    """
    edges = _check_ascending(edges, "edges", minimum=2)
    new_edges = _check_ascending(new_edges, "new_edges", minimum=2)
    shape = (new_edges.size - 1, edges.size - 1)

    # Every interval between neighboring edges of the union of both sets lies in at most
    # one old bin and one new bin.
    union = np.union1d(edges, new_edges)
    overlap = np.diff(union)
    middle = union[:-1] + 0.5 * overlap
    old = np.searchsorted(edges, middle) - 1
    new = np.searchsorted(new_edges, middle) - 1
    inside = (old >= 0) & (old < shape[1]) & (new >= 0) & (new < shape[0])
    old, new, overlap = old[inside], new[inside], overlap[inside]

    new_width = np.diff(new_edges)
    narrower = np.minimum(np.diff(edges)[old], new_width[new])
    real = overlap > _SLIVER * narrower
    old, new, overlap = old[real], new[real], overlap[real]

    covered = np.bincount(new, weights=overlap, minlength=shape[0])
    keep = (covered >= (0.5 - _SLIVER) * new_width)[new]
    old, new, overlap = old[keep], new[keep], overlap[keep]
    return csr_array((overlap / covered[new], (new, old)), shape=shape)


def pixel_matrix(
    centers: ArrayLike, new_edges: ArrayLike, *, sigma: ArrayLike | None = None
) -> csr_array:
    """Compute the matrix that rebins pixels around the given centers.

    As :func:`rebin_matrix` with the edges of :func:`bin_edges`, except that no pixel
    extends into a gap, such as that between the arms of a spectrograph: a step twenty
    times as wide as those beside it and as the median.

    With `sigma`, standard deviations of Gaussians, one for each pixel or one for all,
    in the unit of the centers, the flux of each pixel is convolved before rebinning.
    The widths of the pixels are no part of them, so that Gaussians of less than 0.4
    pixels change nothing. Each ends four standard deviations from its pixel, and in a
    gap. Rows sum to 1 or 0 as before, so that constant spectra stay constant up to the
    ends. A NaN pixel makes those new bins NaN that its Gaussian reaches.
    """
    centers = _check_ascending(centers, "centers")
    new_edges = _check_ascending(new_edges, "new_edges", minimum=2)
    starts = arm_starts(centers)
    edges = [*map(bin_edges, np.split(centers, starts))]
    matrix = rebin_matrix(np.concatenate(edges), new_edges)
    if starts.size:
        # Between the edges of two arms there is one bin too many.
        gaps = np.cumsum([arm.size for arm in edges])[:-1] - 1
        matrix = matrix[:, np.delete(np.arange(matrix.shape[1]), gaps)]
        matrix = _normalize(matrix, matrix.sum(axis=1) >= 0.5 - _SLIVER)
    if sigma is None:
        return matrix
    sigma = plain_array(sigma, "sigma", any_unit=True)
    if not ((sigma >= 0) & np.isfinite(sigma)).all():
        raise ValueError("sigma must be finite and not negative.")
    sigmas = np.split(np.broadcast_to(sigma, centers.shape), starts)
    parts = [_spread(*arm, new_edges) for arm in zip(edges, sigmas, strict=True)]
    # Which new bins are covered by half does not depend on the Gaussians.
    return _normalize(hstack(parts), np.diff(matrix.indptr) > 0)


def _normalize(matrix: Any, is_covered: np.ndarray) -> csr_array:
    """Divide rows by their sums, and empty those that are not covered."""
    total = matrix.sum(axis=1)
    factor = np.where(is_covered, 1 / np.where(is_covered, total, 1), 0)
    matrix = csr_array(matrix.multiply(factor[:, None]))
    matrix.eliminate_zeros()
    return matrix


def _spread(edges: np.ndarray, sigma: np.ndarray, new_edges: np.ndarray) -> csr_array:
    """Distribute old bins by Gaussians over the part of the new bins in their range.

    The values are lengths, which are those of the overlaps where the Gaussians are
    narrow. The matrix has the shape (n_new_bins, n_bins).
    """
    shape = new_edges.size - 1, edges.size - 1
    new_edges = np.clip(new_edges, edges[0], edges[-1])
    inside = np.flatnonzero(np.diff(new_edges))
    if not inside.size:
        return csr_array(shape)
    width = np.diff(edges)
    # Pixels hold means over their width, and the flux is taken to be constant over it:
    # each convolves with a variance of a twelfth of the squared width already.
    sigma = np.sqrt(np.maximum(sigma**2 - width**2 / 6, 0))
    reach = _REACH * sigma
    first = np.searchsorted(new_edges, edges[:-1] - reach, side="right") - 1
    last = np.searchsorted(new_edges, edges[1:] + reach) - 1
    first = np.clip(first, inside[0], inside[-1])
    counts = np.clip(last, first, inside[-1]) - first + 1
    old = np.repeat(np.arange(shape[1]), counts)
    new = np.arange(old.size) + (first - np.cumsum(counts) + counts)[old]
    sigma = np.maximum(sigma, _SLIVER * width)[old]

    def integral(offset: np.ndarray) -> np.ndarray:
        """Integrate the normal distribution twice, up to an offset."""
        scaled = offset / sigma
        density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
        return offset * ndtr(scaled) + sigma * density

    left, right = new_edges[new], new_edges[new + 1]
    length = integral(right - edges[old]) - integral(right - edges[old + 1])
    length -= integral(left - edges[old]) - integral(left - edges[old + 1])
    real = length > _SLIVER * np.minimum(width[old], right - left)
    return csr_array((length[real], (new[real], old[real])), shape=shape)


def apply_rebin_matrix(
    matrix: csr_array, flux: np.ndarray, *, fill_value: float = np.nan
) -> np.ndarray:
    """Multiply spectra by a matrix of :func:`rebin_matrix`, batch by batch.

    The result is float32 if `flux` is, else float64. Bins with an empty row get
    `fill_value`.
    """
    flux = plain_array(flux, "flux")
    if flux.shape[-1:] != matrix.shape[1:]:
        raise ValueError(
            f"flux has shape {flux.shape}, but the matrix rebins {matrix.shape[1]} "
            "pixels: the last axis of flux must be as long."
        )
    if flux.dtype not in (np.float32, np.float64):
        flux = flux.astype(np.float64)
    spectra = flux.reshape(-1, flux.shape[-1])
    rebinned = np.empty((len(spectra), matrix.shape[0]), dtype=flux.dtype)
    for rows in row_batches((len(spectra), max(matrix.shape))):
        columns = spectra[rows].T.astype(np.float64, order="C")
        rebinned[rows] = (matrix @ columns).T
    rebinned[:, np.diff(matrix.indptr) == 0] = fill_value
    return rebinned.reshape(*flux.shape[:-1], matrix.shape[0])


def rebin(
    flux: ArrayLike,
    wavelength: ArrayLike,
    new_wavelength: ArrayLike,
    *,
    fill_value: float = np.nan,
) -> np.ndarray:
    """Rebin spectra to another wavelength grid, conserving the flux.

    The value of a new bin is the mean of the flux density over its width: each old
    pixel is weighted by the length of its overlap with the new bin. The integral of the
    flux over fully covered bins is therefore conserved. A new bin that extends beyond
    the old grid gets the mean over its covered part if that is at least half of the
    bin, otherwise `fill_value`. So do bins in a gap, a step of the old grid twenty
    times as wide as those beside it and as the median.

    Parameters
    ----------
    flux : array-like of shape (..., n_pixels)
        A density per unit of wavelength, not counts per pixel. NaN pixels make those
        new bins NaN that they touch, and no others.
    wavelength : array-like of shape (n_pixels,)
        Centers of the pixels, strictly ascending, evenly spaced or not. Pixels are
        taken to meet midway between them.
    new_wavelength : array-like of shape (n_new_pixels,)
        Centers of the new pixels. Plain numbers are in the unit of `wavelength`;
        quantities are converted to it.
    fill_value : float, default=nan
        The value of bins of which less than half is covered.

    Returns
    -------
    rebinned : ndarray of shape (..., n_new_pixels)
        float32 or float64 as `flux`; other dtypes give float64.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.utils import rebin
    >>> rebin([1.0, 3.0, 5.0, 7.0], [0.5, 1.5, 2.5, 3.5], [1.0, 3.0])
    array([2., 6.])
    >>> rebin([1.0, 3.0], [0.5, 1.5], [1.0, 3.0], fill_value=0.0)
    array([2., 0.])
    """
    flux = plain_array(flux, "flux")
    new_wavelength = to_unit_of(wavelength, new_wavelength)
    wavelength = _check_ascending(wavelength, "wavelength")
    new_wavelength = _check_ascending(new_wavelength, "new_wavelength")
    if flux.ndim == 0 or flux.shape[-1] != wavelength.size:
        raise ValueError(
            f"flux has shape {flux.shape}, but wavelength has {wavelength.size} values:"
            " the last axis of flux must be the wavelength axis and of the same length."
        )
    matrix = pixel_matrix(wavelength, bin_edges(new_wavelength))
    return apply_rebin_matrix(matrix, flux, fill_value=fill_value)


def to_unit_of(wavelength: Any, new_wavelength: Any) -> Any:
    """Convert `new_wavelength` to the unit of `wavelength`; neither may have a unit."""
    unit, new_unit = unit_of(wavelength), unit_of(new_wavelength)
    if (unit is None) != (new_unit is None):
        raise ValueError(
            f"wavelength has {f'the unit {unit}' if unit else 'no unit'}, but "
            f"new_wavelength has {f'the unit {new_unit}' if new_unit else 'none'}: "
            "give both of them a unit, or neither."
        )
    return in_unit(new_wavelength, unit, "new_wavelength")


def _check_ascending(values: ArrayLike, name: str, minimum: int = 1) -> np.ndarray:
    """Check a grid and return it as float64."""
    values = plain_array(values, name, any_unit=True).astype(np.float64)
    if values.ndim != 1 or values.size < minimum:
        raise ValueError(
            f"{name} must be one-dimensional with at least {minimum} value(s); got "
            f"shape {values.shape}."
        )
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"{name} must be finite; {count} of its values are not.")
    steps = np.diff(values)
    if (steps <= 0).any():
        if (steps < 0).all():
            hint = "It is descending: reverse it, and the flux with it."
        else:
            at = int(np.argmax(steps <= 0))
            hint = (
                f"{name}[{at}] = {values[at]:g} is followed by {values[at + 1]:g}: "
                "sort the grid, and the flux with it, and drop repeated values."
            )
        raise ValueError(f"{name} must be strictly ascending. {hint}")
    return values
