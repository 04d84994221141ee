# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of stars."""

import numpy as np
from astropy import constants
from numpy.typing import ArrayLike

from skastro.simulation.spectra._grid import LIGHT_SPEED, LogGrid
from skastro.simulation.spectra._stellar_opacity import opacity_templates
from skastro.simulation.spectra._stellar_strengths import (
    CONTINUUM_TEMPERATURE,
    GIANT_FACTORS,
    HYDROGEN_AND_HELIUM,
    STRENGTHS,
    WHITE_DWARF_STRENGTHS,
)

# Wavelength (Å) at which continua are set to one.
REFERENCE_WAVELENGTH = 5500.0

# Effective temperature (K) of dwarfs; types count ten a letter from O0 = 0 to M9 = 69.
_TYPE_LETTERS = "OBAFGKM"
_TEMPERATURE_SCALE = (
    (5, 41400),
    (9, 33300),
    (10, 31400),
    (12, 20600),
    (15, 15700),
    (18, 12500),
    (20, 9700),
    (22, 8800),
    (25, 8080),
    (27, 7800),
    (30, 7220),
    (32, 6820),
    (35, 6550),
    (38, 6180),
    (40, 5930),
    (42, 5770),
    (45, 5660),
    (48, 5490),
    (50, 5270),
    (52, 5040),
    (54, 4600),
    (55, 4440),
    (57, 4100),
    (60, 3850),
    (61, 3660),
    (62, 3560),
    (63, 3430),
    (64, 3210),
    (65, 3060),
    (66, 2810),
)

# Share of the types among simulated stars, first and last type (white dwarfs: none).
_TYPE_SHARES = {
    "O": (0.01, 5.0, 10.0),
    "B": (0.05, 10.0, 20.0),
    "A": (0.15, 20.0, 30.0),
    "F": (0.24, 30.0, 40.0),
    "G": (0.24, 40.0, 50.0),
    "K": (0.18, 50.0, 60.0),
    "M": (0.10, 60.0, 66.9),
    "WD": (0.03, None, None),
}


def planck_flux(wavelength: ArrayLike, temperature: ArrayLike) -> np.ndarray:
    """Radiance B_λ(T) of a black body.

    Parameters
    ----------
    wavelength : array-like
        Vacuum wavelengths in Å.
    temperature : array-like
        Temperatures in K, of a shape that broadcasts with `wavelength`.

    Returns
    -------
    radiance : ndarray, float64
        In erg / (s cm² Å sr).

    References
    ----------
    Planck, M. 1901, Ann. Phys. 309, 553, doi:10.1002/andp.19013090310.

    Examples
    --------
    >>> from skastro.simulation import planck_flux
    >>> print(f"{planck_flux(5000.0, 5772.0):.3e}")
    2.624e+06
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    planck, light, boltzmann = (
        getattr(constants, name).cgs.value for name in ("h", "c", "k_B")
    )
    length = wavelength * 1e-8  # Å to cm
    exponent = planck * light / (length * boltzmann * np.asarray(temperature))
    # 1e-8: per Å instead of per cm.
    return 2 * planck * light**2 / length**5 / np.expm1(exponent) * 1e-8


def spectral_type_temperature(code: ArrayLike) -> np.ndarray:
    """Effective temperature (K) of dwarfs of spectral type O5 (5.0) to M6.9 (66.9)."""
    codes, temperatures = np.transpose(_TEMPERATURE_SCALE)
    return np.exp(np.interp(code, codes, np.log(temperatures)))


class StellarLibrary:
    """Stellar spectra without velocity, dust or instrument, for any temperature.

    Parameters
    ----------
    grid : LogGrid
        The wavelengths.
    """

    def __init__(self, grid: LogGrid) -> None:
        self.grid = grid
        templates = opacity_templates(grid)
        self.names = tuple(templates)
        self.templates = np.array(list(templates.values()), dtype=np.float32)

    def strengths(
        self, temperature: np.ndarray, *, white_dwarf: bool = False
    ) -> np.ndarray:
        """Factors of the templates, shape (n, n_templates), at given temperatures."""
        table = WHITE_DWARF_STRENGTHS if white_dwarf else STRENGTHS
        factors = np.zeros((len(temperature), len(self.names)))
        for name, knots in table.items():
            knot_temperature, value = np.transpose(knots)
            factors[:, self.names.index(name)] = np.interp(
                np.log(temperature), np.log(knot_temperature), value
            )
        return factors

    def group_factors(self, **factors: float) -> np.ndarray:
        """One factor for each template, 1 where none is named."""
        return np.array([factors.get(name, 1.0) for name in self.names])

    @property
    def is_metal(self) -> np.ndarray:
        """Which templates depend on the metal content."""
        return np.array([name not in HYDROGEN_AND_HELIUM for name in self.names])

    def flux(self, temperature: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Spectra whose black body is one at 5500 Å, shape (n, grid.size), float32."""
        depth = strengths.astype(np.float32) @ self.templates
        knots, factor = np.transpose(CONTINUUM_TEMPERATURE)
        kelvin = temperature * np.interp(np.log(temperature), np.log(knots), factor)
        kelvin = kelvin[:, None]
        scale = planck_flux(REFERENCE_WAVELENGTH, kelvin)
        continuum = planck_flux(self.grid.wavelength, kelvin) / scale
        return np.exp(-depth, out=depth) * continuum.astype(np.float32)


class StarModel:
    """Draws stars and computes their spectra at the resolution of the instrument.

    Parameters
    ----------
    grid : LogGrid
        Observed wavelengths.
    """

    def __init__(self, grid: LogGrid) -> None:
        self.grid = grid
        self.library = StellarLibrary(grid)

    def simulate(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw stars.

        Parameters
        ----------
        n : int
            Number of stars.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        stars : dict
            ``flux`` (n, grid.size), of arbitrary scale; ``subclass`` and ``redshift``
            (n,); ``reddening`` (n,), the colour excess E(B-V).
        """
        letters = np.array(list(_TYPE_SHARES))
        shares = np.array([share for share, _, _ in _TYPE_SHARES.values()])
        letter = rng.choice(letters, n, p=shares / shares.sum())
        dwarf = letter == "WD"
        temperature = np.exp(rng.uniform(np.log(7500.0), np.log(40000.0), n))
        subclass = np.full(n, "WD", dtype="U2")
        for name, (_, first, last) in _TYPE_SHARES.items():
            (rows,) = np.nonzero(letter == name)
            if first is None:
                continue
            code = rng.uniform(first, last, rows.size)
            temperature[rows] = spectral_type_temperature(code)
            subclass[rows] = [f"{name}{int(c) % 10}" for c in code]

        strengths = self._draw_strengths(temperature, dwarf, rng)
        flux = self.library.flux(temperature, strengths)
        velocity = np.clip(rng.normal(0.0, 80.0, n), -300.0, 300.0)
        rotation = np.where(temperature > 7000, rng.uniform(20, 120, n), 5.0)
        redshift = velocity / LIGHT_SPEED
        flux = self.grid.blur(flux, self.grid.sigma(rotation), shift=np.log1p(redshift))
        return {
            "flux": flux,
            "subclass": subclass,
            "redshift": redshift,
            "reddening": np.minimum(rng.exponential(0.06, n), 1.0),
        }

    def _draw_strengths(
        self, temperature: np.ndarray, dwarf: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Scatter of the absorbers: metals, giants, active stars."""
        n = len(temperature)
        strengths = np.where(
            dwarf[:, None],
            self.library.strengths(temperature, white_dwarf=True),
            self.library.strengths(temperature),
        )
        strengths *= np.exp(rng.normal(0.0, 0.1, strengths.shape))
        metals = np.exp(rng.normal(0.0, 0.25, n))
        metals[rng.random(n) < 0.08] *= 0.35  # halo stars
        strengths[:, self.library.is_metal] *= metals[:, None]
        giant = (temperature < 5300) & (rng.random(n) < 0.4)
        strengths[giant] *= self.library.group_factors(**GIANT_FACTORS)
        active = (temperature < 3800) & ~giant & (rng.random(n) < 0.25)
        # Emission instead of absorption, in chromospherically active M dwarfs.
        column = self.library.names.index("balmer_narrow")
        strengths[active, column] = -rng.uniform(0.3, 1.2, n)[active]
        return strengths
