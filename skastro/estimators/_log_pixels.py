# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of any wavelengths on pixels of equal width in ln(wavelength)."""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional as F

from skastro.utils import arm_starts, bin_edges

# Width of the pixels in ln(wavelength), 69 km/s, as of SDSS; the first and the last
# wavelength in Å.
STEP = 2.3e-4
_FIRST, _LAST = 3500.0, 10400.0
LN_WAVELENGTH = np.log(_FIRST) + STEP * np.arange(
    int(np.log(_LAST / _FIRST) / STEP) // 3 * 3
)
N_PIXELS = LN_WAVELENGTH.size

# Points of a pixel at which its flux is interpolated, at least.
_POINTS = 3
# Pixels over which the scatter of the noise is averaged where it is not given.
_NOISE_WINDOW = 200
# The mean of |x| of a normal distribution over its standard deviation.
_MEAN_PER_SIGMA = np.sqrt(2 / np.pi)
# Parts of a pixel that must be known.
_LEAST_KNOWN = 0.5


def running_mean(
    x: torch.Tensor, weight: torch.Tensor, n_pixels: int, n_times: int = 2
) -> torch.Tensor:
    """Average over the last axis around each pixel, several times, with weights."""
    total = x * weight
    for _ in range(n_times):
        total, weight = _box(total, n_pixels), _box(weight, n_pixels)
    return total / weight.clamp(min=1e-6)


def _box(x: torch.Tensor, n_pixels: int) -> torch.Tensor:
    """Sum over pixels around each one, over fewer at the ends."""
    length, half = x.shape[-1], n_pixels // 2
    # Sums of many pixels need the digits; there is no float64 on Apple's devices.
    exact = x if x.device.type == "mps" else x.double()
    total = F.pad(exact.cumsum(dim=-1), (1, 0))
    pixels = torch.arange(length, device=x.device)
    upper, lower = (pixels + half + 1).clamp(max=length), (pixels - half).clamp(min=0)
    return ((total[..., upper] - total[..., lower]) / (2 * half + 1)).to(x.dtype)


class LogPixels:
    """Brings spectra from pixels of any wavelengths to those of `LN_WAVELENGTH`.

    `wavelength` are the centers of the pixels, ascending, in Å.
    """

    def __init__(self, wavelength: np.ndarray) -> None:
        arms = np.split(wavelength, arm_starts(wavelength))
        width = np.concatenate([np.diff(bin_edges(arm)) for arm in arms])
        matrix = _interpolation(wavelength, width)
        counts = np.diff(matrix.indptr)
        # As many entries in each row, so that it is one gather on any device.
        index = np.zeros((N_PIXELS, max(counts.max(), 1)), dtype=np.int64)
        weight = np.zeros(index.shape, dtype=np.float32)
        filled = np.arange(index.shape[1]) < counts[:, None]
        index[filled], weight[filled] = matrix.indices, matrix.data
        self.index, self.weight = torch.from_numpy(index), torch.from_numpy(weight)
        # Information is conserved: pixels that are interpolated are not independent.
        pixels_in_one = np.exp(LN_WAVELENGTH) * STEP / np.maximum(matrix @ width, 1e-30)
        self.pixels_in_one = torch.from_numpy(pixels_in_one.astype(np.float32))

    def _mean(self, x: torch.Tensor) -> torch.Tensor:
        index, weight = self.index.to(x.device), self.weight.to(x)
        total = torch.zeros(*x.shape[:-1], N_PIXELS, dtype=x.dtype, device=x.device)
        for column in range(index.shape[1]):
            total += x[..., index[:, column]] * weight[:, column]
        return total

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Rebin flux, or flux and inverse variance.

        Parameters
        ----------
        X : Tensor of shape (batch, n_pixels) or (batch, 2, n_pixels)
            Flux, NaN where it is not known; then inverse variance, 0 where the flux is
            not known. Without it 0 means not known, too, and the noise is measured.

        Returns
        -------
        X : Tensor of shape (batch, 2, N_PIXELS)
            Flux over its mean, and its inverse variance, 0 where nothing is known.
        """
        flux, known = _known_flux(X)
        mean = mean_flux(X)
        # The product of the largest and the smallest numbers is no number.
        flux = (flux / mean[:, None]).nan_to_num()
        if X.ndim == 2:
            ivar = _measured_ivar(flux, known)
        else:
            ivar = X[:, 1].nan_to_num().clamp(min=0).sqrt() * mean[:, None]
            ivar = ivar.clamp(max=1e15).square()
        coverage = self._mean(known)
        covered = coverage > _LEAST_KNOWN
        coverage = coverage.clamp(min=_LEAST_KNOWN)
        flux = torch.where(covered, self._mean(flux) / coverage, 0.0)
        ivar = self._mean(ivar * known) * self.pixels_in_one.to(ivar)
        return torch.stack([flux, torch.where(covered, ivar, 0.0)], dim=1)


def _known_flux(X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the flux, 0 where it is not known, and where it is, as 0 and 1."""
    flux = X if X.ndim == 2 else X[:, 0]
    known = flux.isfinite() & (flux != 0 if X.ndim == 2 else X[:, 1] > 0)
    return torch.where(known, flux, 0.0), known.to(X.dtype)


def mean_flux(X: torch.Tensor) -> torch.Tensor:
    """Average the absolute flux of the known pixels: (batch,), 1 where it is zero."""
    flux, known = _known_flux(X)
    # The sum of the largest numbers is no number.
    size = flux.abs().amax(dim=-1)
    size = torch.where(size > 0, size, 1.0)
    parts = (flux / size[:, None]).abs().sum(-1) / known.sum(-1).clamp(min=1)
    return torch.where(parts > 0, parts * size, 1.0)


def _interpolation(wavelength: np.ndarray, width: np.ndarray) -> csr_array:
    """Matrix that averages linear interpolations within each pixel of the new grid."""
    new_width = np.exp(LN_WAVELENGTH) * STEP
    nearest = np.interp(np.exp(LN_WAVELENGTH), wavelength, width)
    inside = (np.exp(LN_WAVELENGTH) >= wavelength[0] - width[0] / 2) & (
        np.exp(LN_WAVELENGTH) <= wavelength[-1] + width[-1] / 2
    )
    if not inside.any():
        raise ValueError(
            f"wavelength runs from {wavelength[0]:g} to {wavelength[-1]:g} Å, but has "
            f"to overlap with {_FIRST:g} to {_LAST:g} Å; give optical spectra."
        )
    ratio = (new_width / nearest)[inside].max()
    n_points = int(max(_POINTS, np.ceil(min(ratio, 100))))
    offset = (np.arange(n_points) + 0.5) / n_points - 0.5
    at = np.exp(LN_WAVELENGTH[:, None] + STEP * offset)
    row, point = np.nonzero(
        (at >= wavelength[0] - width[0] / 2) & (at <= wavelength[-1] + width[-1] / 2)
    )
    position = np.interp(at[row, point], wavelength, np.arange(wavelength.size))
    lower = np.minimum(position.astype(int), max(wavelength.size - 2, 0))
    upper = np.minimum(lower + 1, wavelength.size - 1)
    part = np.minimum(position - lower, 1.0)
    # Between two arms nothing is known.
    is_known = np.ones(row.size, dtype=bool)
    for start in arm_starts(wavelength):
        between = (lower == start - 1) & (part > 0)
        distance = at[row, point] - wavelength[start - 1]
        left = distance <= width[start - 1] / 2
        right = at[row, point] >= wavelength[start] - width[start] / 2
        part = np.where(between, np.where(left, 0.0, 1.0), part)
        is_known &= ~between | left | right
    row, lower, upper, part = (x[is_known] for x in (row, lower, upper, part))
    entries = (
        np.concatenate([1 - part, part]) / n_points,
        (np.concatenate([row, row]), np.concatenate([lower, upper])),
    )
    matrix = csr_array(entries, shape=(N_PIXELS, wavelength.size))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _measured_ivar(flux: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Measure the noise from second differences of every second pixel.

    As the estimator DER_SNR does (Stoehr et al. 2008, ASPC 394, 505), but with running
    means in place of one median.
    """
    if flux.shape[-1] < 5:
        return known
    middle = known[:, 2:-2] * known[:, :-4] * known[:, 4:]
    difference = (2 * flux[:, 2:-2] - flux[:, :-4] - flux[:, 4:]).abs()
    # Lines and glitches are no noise.
    limit = 4 * running_mean(difference, middle, _NOISE_WINDOW)
    middle = middle * (difference <= limit).to(middle.dtype)
    scatter = running_mean(difference, middle, _NOISE_WINDOW)
    noise = F.pad(scatter, (2, 2), mode="replicate") / np.sqrt(6) / _MEAN_PER_SIGMA
    return noise.clamp(min=1e-4).pow(-2)
