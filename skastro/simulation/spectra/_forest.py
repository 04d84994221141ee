# SPDX-License-Identifier: BSD-3-Clause
"""Absorption by intergalactic hydrogen."""

import numpy as np

from skastro.simulation.spectra._grid import LIGHT_SPEED, LogGrid
from skastro.simulation.spectra._lines import SPECTRAL_LINES

LYMAN_LIMIT = 911.75

# Scatter of ln τ in the forest and its correlation lengths (km/s) with their shares.
_SCATTER = 1.8
_CORRELATIONS = ((45.0, 0.8), (250.0, 0.6))

# Optical depth of Lyman beta over that of Lyman alpha: ratio of f λ (Morton 2003).
_BETA_OVER_ALPHA = 0.16


def effective_optical_depth(redshift: np.ndarray) -> np.ndarray:
    """Effective optical depth of the Lyman forest (Becker et al. 2013).

    The fit holds for 2.15 < z < 4.85; it is continued to other redshifts, and does not
    fall below 0.02.

    Parameters
    ----------
    redshift : ndarray
        Redshift of the absorbing gas.

    Returns
    -------
    depth : ndarray
        Minus the logarithm of the mean transmission.

    References
    ----------
    Becker, G. D. et al. 2013, MNRAS 430, 2067, doi:10.1093/mnras/stt031.
    """
    growth = ((1 + np.maximum(redshift, 0.0)) / 4.5) ** 2.90
    return np.maximum(0.751 * growth - 0.132, 0.02)


class IntergalacticMedium:
    """Forests of Lyman alpha and beta, damped and Lyman-limit systems.

    The optical depth of the forest is a log-normal random field, as in the
    approximation of Bi and Davidsen (1997), scaled so that its mean transmission is
    that of :func:`effective_optical_depth`.

    Parameters
    ----------
    grid : LogGrid
        Observed wavelengths.
    """

    def __init__(self, grid: LogGrid) -> None:
        self.grid = grid
        self.scale_table = _mean_transmission_table()

    def absorb(
        self, flux: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Multiply spectra by the transmission of the gas in front, in place.

        Parameters
        ----------
        flux : ndarray of shape (n, grid.size)
            Spectra without instrumental resolution.
        redshift : ndarray of shape (n,)
            Redshifts of the sources.
        rng : numpy.random.Generator
            Source of randomness.
        """
        alpha = SPECTRAL_LINES["Ly alpha"].wavelength
        first = self.grid.wavelength[0]
        (rows,) = np.nonzero(alpha * (1 + redshift) > first)
        if not rows.size:
            return
        last = alpha * (1 + redshift[rows].max())
        stop = int(np.searchsorted(self.grid.wavelength, last))
        wavelength = self.grid.wavelength[:stop]
        depth = np.zeros((rows.size, stop), dtype=np.float32)
        beta = SPECTRAL_LINES["Ly beta"].wavelength
        for line, strength in ((alpha, 1.0), (beta, _BETA_OVER_ALPHA)):
            gas_redshift = wavelength / line - 1
            if gas_redshift[0] > redshift[rows].max():
                continue
            scale = self._scale(gas_redshift) * strength
            field = self._field(rows.size, rng)[:, :stop]
            in_front = gas_redshift < redshift[rows, None]
            depth += np.where(in_front, scale * np.exp(_SCATTER * field), 0.0)
        depth += self._damped_systems(wavelength, redshift[rows], rng)
        depth += self._limit_systems(wavelength, redshift[rows], rng)
        flux[rows, :stop] *= np.exp(-depth)

    def _scale(self, redshift: np.ndarray) -> np.ndarray:
        depth, scale = self.scale_table
        return np.interp(effective_optical_depth(redshift), depth, scale)

    def _field(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Gaussian random field of unit variance, with correlations in velocity."""
        total = np.zeros((n, self.grid.size), dtype=np.float32)
        for velocity, share in _CORRELATIONS:
            noise = rng.standard_normal((n, self.grid.size), dtype=np.float32)
            sigma = velocity / LIGHT_SPEED
            # Smoothing leaves 1 / (2 √π sigma) of the variance of white noise.
            kept = 1 / (2 * np.sqrt(np.pi) * sigma / self.grid.step)
            total += self.grid.blur(noise, sigma) * np.float32(share / np.sqrt(kept))
        return total

    def _damped_systems(
        self, wavelength: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Damping wings τ = (a / Δλ)², with a in Å at rest = 2.06 √(N / 1e20 cm⁻²).

        That is the equivalent width of 7.3 Å at 1e20 cm⁻² (Draine 2011).
        """
        n = len(redshift)
        alpha = SPECTRAL_LINES["Ly alpha"].wavelength
        lowest = max(wavelength[0] / alpha - 1, 0.0)
        highest = redshift - 0.03
        gas_redshift = lowest + rng.random(n) * np.maximum(highest - lowest, 0.0)
        half_width = 2.06 * 10 ** (0.5 * rng.uniform(0.0, 1.3, n))
        present = (rng.random(n) < 0.15) & (highest > lowest)
        half_width[~present] = 0.0
        rest = wavelength / (1 + gas_redshift)[:, None]
        # Half an Å of offset keeps the square finite; the core is black there.
        offset = np.maximum(np.abs(rest - alpha), 0.25)
        return np.minimum((half_width[:, None] / offset) ** 2, 50.0)

    def _limit_systems(
        self, wavelength: np.ndarray, redshift: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """One opaque system in front of each source; incidence of Songaila & Cowie."""
        incidence = 2.8 * ((1 + redshift) / 4.5) ** 1.94
        gas_redshift = np.maximum(redshift - rng.exponential(1 / incidence), 0.0)
        rest = wavelength / (1 + gas_redshift)[:, None]
        depth = np.exp(rng.normal(1.3, 0.8, len(redshift)))[:, None]
        return np.where(rest < LYMAN_LIMIT, depth * (rest / LYMAN_LIMIT) ** 3, 0.0)


def _mean_transmission_table() -> tuple[np.ndarray, np.ndarray]:
    """Effective optical depth as a function of the scale of a log-normal field."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    scale = np.geomspace(1e-4, 1e3, 200)
    transmission = np.exp(-np.outer(scale, np.exp(_SCATTER * nodes))) @ weights
    return -np.log(transmission), scale
