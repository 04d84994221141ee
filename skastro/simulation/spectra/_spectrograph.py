# SPDX-License-Identifier: BSD-3-Clause
"""A fiber spectrograph and the night sky: pixels, noise and artifacts."""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.sparse import csr_array
from scipy.special import expit

from skastro.simulation.spectra._formulas import planck_flux
from skastro.simulation.spectra._grid import SIGMA_PER_FWHM, LogGrid
from skastro.simulation.spectra._instruments import Instrument
from skastro.simulation.spectra._tables import read_table
from skastro.utils import apply_rebin_matrix, bin_edges, pixel_matrix, rebin_matrix

# Groups of lines of the night sky that vary together, in vacuum.
SKY_LINES = read_table("sky_lines.csv")

# Pixels of the internal grid: a third of the instrument's standard deviation, but no
# wider than this in ln(wavelength) (30 km/s), which keeps intrinsic lines sampled.
_MAX_STEP = 1e-4

# Largest displacement on the internal grid in ln(wavelength): stars up to 300 km/s.
MAX_SHIFT = 1.2e-3

# Equivalent width (Å) of a sky line of intensity 1 over the dark sky's continuum.
_SKY_WIDTH = 2.8

# Squared S/N of an exposure at which object and sky are equally bright, times two.
_DEPTH = 300.0

# Residuals of sky lines: error of the flux and error of the wavelength in units of the
# instrument's standard deviation, in units of the line; that of 5578.9 Å is larger.
_SKY_ERROR = (0.025, 0.03)
_GREEN_FACTOR = 2.5

# Color temperature (K) of the stars, of type F, that calibrate the flux.
_STANDARD_TEMPERATURE = 7000.0

# Telluric bands: center and half-width (Å), depth.
_TELLURIC_BANDS = (
    (6885, 22, 0.25),
    (7220, 70, 0.15),
    (7615, 30, 0.6),
    (7655, 25, 0.35),
    (8180, 90, 0.12),
    (9050, 120, 0.3),
    (9400, 180, 0.7),
)


class Spectrograph:
    """Converts model spectra on `grid` to observed ones.

    The lines of the grid are as narrow as anywhere in the spectrum; where the resolving
    power is lower, pixels blur them further. `sky` (n_pixels,) is the brightness of the
    sky over its continuum.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.wavelength = wavelength = np.asarray(instrument.wavelength)
        edges = bin_edges(wavelength)
        # The ends of a very coarse grid must not reach far beyond it.
        edges[0] = max(edges[0], 0.97 * wavelength[0])
        edges[-1] = min(edges[-1], 1.03 * wavelength[-1])
        sigma = SIGMA_PER_FWHM / instrument.resolving_power(wavelength).max()
        step = min(sigma / 3, _MAX_STEP)
        margin = np.exp(6 * sigma + MAX_SHIFT + step)
        self.grid = LogGrid(edges[0] / margin, edges[-1] * margin, step, sigma)
        self.matrix = self._matrix(edges)
        # Photons per flux density: energy of a photon, throughput, width of a pixel.
        response = wavelength * _throughput(instrument, wavelength) * np.diff(edges)
        self.response = response / response.max()
        # Flux of one in the unit of the spectra.
        self.gain = np.ones(1)
        if instrument.response is not None:
            self.gain = np.interp(wavelength, *np.transpose(instrument.response))
        self.sky_patterns = self._sky_patterns()
        names = list(SKY_LINES)
        self.sky = 1 + self.sky_patterns[: len(names)].sum(axis=0)
        self.green = names.index("oxygen green")
        self.telluric = _telluric_depth(wavelength)
        center, half_range = self._center_and_half_range()
        self.position = (np.log(wavelength) - center) / half_range

    def _matrix(self, edges: np.ndarray) -> csr_array:
        """Return the matrix of the means in pixels, blurred to their resolution."""
        grid = self.grid
        power = self.instrument.resolving_power(grid.wavelength)
        wider = (SIGMA_PER_FWHM / power) ** 2 - grid.instrument_sigma**2
        if wider.max() < 1e-4 * grid.instrument_sigma**2:
            return rebin_matrix(grid.edges, edges)
        sigma = np.sqrt(wider.clip(0.0)) * grid.wavelength
        return pixel_matrix(grid.wavelength, edges, sigma=sigma)

    def _center_and_half_range(self) -> tuple[float, float]:
        first, last = np.log(self.wavelength[[0, -1]])
        return (first + last) / 2, max((last - first) / 2, 1e-12)

    def _sky_patterns(self) -> np.ndarray:
        """Line groups of the sky, then their derivatives (2 groups, n_pixels)."""
        rows = np.zeros((len(SKY_LINES), self.grid.size))
        for row, lines in zip(rows, SKY_LINES.values(), strict=True):
            for center, intensity in lines:
                self.grid.add_lines(
                    row[None],
                    np.array([center]),
                    self.grid.sigma()[None],
                    np.array([intensity * _SKY_WIDTH]),
                )
        # A line shifted by a hundredth of its width changes by this times 0.01.
        slope = np.gradient(rows, self.grid.step, axis=1) * self.grid.instrument_sigma
        return self.to_pixels(np.concatenate([rows, slope]))

    def to_pixels(self, flux: np.ndarray) -> np.ndarray:
        """Mean flux densities in the pixels (n, n_pixels) of spectra on the grid."""
        return apply_rebin_matrix(self.matrix, flux)

    def miscalibrate(self, flux: np.ndarray, rng: np.random.Generator) -> None:
        """Errors of the flux calibration, in place.

        Scattered light, a smooth curve, steps where the arms meet, remnants of telluric
        bands.
        """
        scattered = self.instrument.scattered_light
        if scattered:
            standard = planck_flux(self.wavelength, _STANDARD_TEMPERATURE)
            flux += scattered * flux.mean(axis=1, keepdims=True)
            flux /= 1 + scattered * standard.mean() / standard
        n = len(flux)
        errors, arms = self.instrument.calibration_errors, self.instrument.arms
        basis = np.polynomial.chebyshev.chebvander(self.position, len(errors))[:, 1:]
        steps = [expit((self.wavelength - arm) / 40.0) for arm in arms]
        basis = np.column_stack([basis, *steps, -self.telluric])
        telluric, scatter = self.instrument.telluric
        size = np.array([*errors, *[self.instrument.arm_step] * len(arms), scatter])
        mean = np.zeros(size.size)
        mean[-1] = telluric
        exponent = rng.normal(mean, size, (n, size.size)) @ basis.T
        flux *= np.exp(exponent)

    def observe(
        self, flux: np.ndarray, snr: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expose: scale to the brightness that gives the S/N, and add noise.

        The variance is that of photons of object and sky plus read noise. Objects of
        low S/N are fainter than the sky, so that the sky's lines show in their noise;
        in objects of high S/N the noise follows the object. `snr` (n,) is the mean S/N
        per pixel. Returns flux with noise, flux without, and inverse variance, all of
        shape (n, n_pixels).
        """
        n = len(flux)
        depth = _DEPTH * np.exp(rng.normal(0.0, 0.5, n))
        # Solve snr² = depth x² / (x + 1) for the brightness x over the sky.
        q = snr**2 / depth
        brightness = ((q + np.sqrt(q**2 + 4 * q)) / 2)[:, None]
        shape = flux / flux.mean(axis=1, keepdims=True)
        truth = shape * brightness
        photons = (truth.clip(0) + self.sky) / self.response
        variance = photons + self.instrument.read_noise / self.response**2
        reached = (truth / np.sqrt(variance)).mean(axis=1)
        variance *= ((reached / snr) ** 2)[:, None]
        noise = rng.standard_normal(flux.shape, dtype=np.float32) * np.sqrt(variance)
        median, scatter = self.instrument.scale
        unit = median * np.exp(rng.normal(0.0, scatter, n))[:, None]
        unit = unit * self.gain
        return (truth + noise) * unit, truth * unit, 1 / (variance * unit**2)

    def add_sky_residuals(
        self,
        flux: np.ndarray,
        ivar: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Imperfect subtraction of the sky's lines, in place; `ivar` ignores it.

        Each group of lines leaves a few per cent of its flux and an S-shaped remnant
        of a small error of the wavelengths. The line at 5578.9 Å, by far the
        brightest, varies most: its errors have a heavy tail.
        """
        n, groups = len(flux), len(SKY_LINES)
        error = rng.normal(0.0, 1.0, (n, 2, groups))
        error[:, :, self.green] = _GREEN_FACTOR * rng.standard_t(2.5, (n, 2))
        size = np.array(_SKY_ERROR)[:, None] * self.instrument.sky_residuals
        # In units of the noise under a dark sky: brighter than the object if faint.
        noise = 1 / np.sqrt(np.median(ivar, axis=1))
        scale = noise * np.exp(rng.normal(0.7, 0.6, n))
        pattern = (error * size).reshape(n, 2 * groups) @ self.sky_patterns
        flux += pattern * scale[:, None] * self.gain

    def add_cosmic_rays(
        self,
        flux: np.ndarray,
        ivar: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Add cosmic rays that the reduction missed, in place: one or two pixels."""
        counts = rng.poisson(self.instrument.cosmic_rays, len(flux))
        rows = np.repeat(np.arange(len(flux)), counts)
        columns = rng.integers(flux.shape[1], size=rows.size)
        height = 10 ** rng.uniform(0.8, 1.9, rows.size)
        height /= np.sqrt(ivar[rows, columns])
        np.add.at(flux, (rows, columns), height)
        spill = (columns + 1 < flux.shape[1]) & (rng.random(rows.size) < 0.4)
        share = rng.uniform(0.1, 0.7, rows.size)
        np.add.at(flux, (rows[spill], columns[spill] + 1), (height * share)[spill])

    def blank_bad_pixels(
        self,
        flux: np.ndarray,
        ivar: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Set flux and inverse variance to zero in runs of bad pixels, in place."""
        counts = rng.poisson(self.instrument.bad_pixels, len(flux))
        rows = np.repeat(np.arange(len(flux)), counts)
        first = rng.integers(flux.shape[1], size=rows.size)
        for row, start, length in zip(
            rows, first, rng.geometric(1 / 3, rows.size), strict=True
        ):
            flux[row, start : start + length] = 0.0
            ivar[row, start : start + length] = 0.0


def _throughput(instrument: Instrument, wavelength: np.ndarray) -> np.ndarray:
    """Fraction of the light that is detected, of any scale."""
    knots, values = np.transpose(np.asarray(instrument.throughput))
    if knots.size == 1:
        return np.full_like(wavelength, values[0])
    return PchipInterpolator(knots, values)(np.clip(wavelength, knots[0], knots[-1]))


def _telluric_depth(wavelength: np.ndarray) -> np.ndarray:
    depth = np.zeros_like(wavelength)
    for center, half_width, strength in _TELLURIC_BANDS:
        depth += strength * np.exp(-(((wavelength - center) / half_width) ** 4))
    return depth
