# SPDX-License-Identifier: BSD-3-Clause
"""A fine logarithmic wavelength grid, on which the forward models work."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from scipy.special import ndtr

LIGHT_SPEED = 299792.458  # km/s

# Standard deviations per FWHM of a Gaussian.
SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


class LogGrid:
    """Pixels of equal width in ln(wavelength).

    On such a grid a redshift is a shift and a constant resolving power or a velocity
    dispersion is a convolution with one kernel. `low` and `high` are wavelengths in Å;
    `step`, the width of a pixel, and `instrument_sigma` are in ln(wavelength). Fourier
    transforms of `size` pixels are fast.
    """

    def __init__(
        self, low: float, high: float, step: float, instrument_sigma: float = 0.0
    ) -> None:
        self.step = step
        self.instrument_sigma = instrument_sigma
        needed = int(np.ceil(np.log(high / low) / step)) + 1
        self.size = fft.next_fast_len(needed, real=True)
        self.ln_wavelength = np.log(low) + step * np.arange(self.size)
        self.wavelength = np.exp(self.ln_wavelength)

    @property
    def edges(self) -> np.ndarray:
        """Pixel edges in Å, shape (size + 1,)."""
        first = self.ln_wavelength[0] - 0.5 * self.step
        return np.exp(first + self.step * np.arange(self.size + 1))

    def sigma(self, velocity: ArrayLike = 0.0) -> np.ndarray:
        """Width of a line of given velocity dispersion after the instrument.

        Lines and templates are averaged over pixels, which adds step²/12 to the
        variance. It is subtracted here, so that the width on the grid is correct.
        `velocity` is in km/s, the result in ln(wavelength).
        """
        variance = (
            self.instrument_sigma**2
            + (np.asarray(velocity) / LIGHT_SPEED) ** 2
            - self.step**2 / 12
        )
        return np.sqrt(np.maximum(variance, 0.0))

    def window(
        self, rest: "LogGrid", redshift: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the start of this observed grid on a rest-frame grid of equal step.

        Returns the nearest pixel of `rest`, and the remaining shift in ln(wavelength),
        less than half a pixel. Both have the shape of `redshift`.
        """
        first = self.ln_wavelength[0] - np.log1p(redshift)
        position = (first - rest.ln_wavelength[0]) / self.step
        start = np.rint(position).astype(int)
        return start, (start - position) * self.step

    def profile(
        self, centers: ArrayLike, strengths: ArrayLike, velocity: float
    ) -> np.ndarray:
        """Sum of Gaussians of given centers (Å), peaks and width (km/s), by pixel."""
        width = velocity / LIGHT_SPEED / self.step
        position = (np.log(centers) - self.ln_wavelength[0]) / self.step
        half = int(np.ceil(5 * width)) + 1
        pixel = np.rint(position).astype(int)[:, None] + np.arange(-half, half + 1)
        edges = np.append(pixel, pixel[:, -1:] + 1, axis=1) - 0.5
        values = np.diff(ndtr((edges - position[:, None]) / width), axis=1)
        values *= np.asarray(strengths)[:, None] * width * np.sqrt(2 * np.pi)
        inside = (pixel >= 0) & (pixel < self.size)
        return np.bincount(pixel[inside], values[inside], minlength=self.size)

    def add_lines(
        self,
        flux: np.ndarray,
        centers: np.ndarray,
        sigma: np.ndarray,
        line_flux: np.ndarray,
    ) -> None:
        """Add one Gaussian emission line to each spectrum, in place.

        `centers` are in Å, `sigma` in ln(wavelength), `line_flux` in flux density times
        Å. Lines beyond the grid are left out; a negative flux is an absorption line.
        """
        # F dλ = F λ dlnλ: dividing by λ at the center keeps the Gaussian symmetric.
        area = line_flux / centers
        position = (np.log(centers) - self.ln_wavelength[0]) / self.step
        width = np.maximum(sigma / self.step, 1e-3)
        first = np.maximum(np.floor(position - 5 * width).astype(int), 0)
        stop = np.minimum(np.ceil(position + 5 * width).astype(int) + 1, self.size)
        # Widths differ by a factor of a hundred, so a loop over rows is fastest.
        for row in np.flatnonzero((first < stop) & (area != 0)):
            edges = np.arange(first[row], stop[row] + 1) - 0.5
            cumulative = ndtr((edges - position[row]) / width[row])
            values = np.diff(cumulative) * (area[row] / self.step)
            flux[row, first[row] : stop[row]] += values.astype(flux.dtype)

    def blur(
        self, flux: np.ndarray, sigma: ArrayLike, shift: ArrayLike = 0.0
    ) -> np.ndarray:
        """Convolve spectra with Gaussians and move them, in the Fourier domain.

        The grid is periodic: pixels within five standard deviations, or within the
        shift, of an end are invalid. `sigma` and `shift` are in ln(wavelength), one for
        all rows or one per row.
        """
        frequency = 2 * np.pi * fft.rfftfreq(self.size)
        width = np.atleast_1d(np.asarray(sigma) / self.step)[:, None]
        transfer = np.exp(-0.5 * (width * frequency) ** 2)
        if np.any(shift):
            pixels = np.atleast_1d(np.asarray(shift) / self.step)[:, None]
            transfer = transfer * np.exp(-1j * frequency * pixels)
        spectrum = fft.rfft(flux, axis=1)
        return fft.irfft(spectrum * transfer.astype(spectrum.dtype), self.size, axis=1)


def draw_redshifts(
    n: int, interval: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Redshifts uniform in ln(1 + z): shifts on such a grid are uniform."""
    return np.expm1(rng.uniform(*np.log1p(interval), n))


def mix(
    bank: np.ndarray, weights: np.ndarray, start: np.ndarray, size: int
) -> np.ndarray:
    """Sum templates (n_templates, n_pixels) with weights (n, n_templates).

    Row i begins at pixel start[i] of the templates and has `size` pixels.
    """
    weights = weights.astype(bank.dtype)
    mixed = np.empty((len(weights), size), dtype=bank.dtype)
    for row, (weight, first) in enumerate(zip(weights, start, strict=True)):
        np.dot(weight, bank[:, first : first + size], out=mixed[row])
    return mixed
