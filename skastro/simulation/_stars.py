# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of stars."""

import numpy as np
from astropy import constants
from numpy.typing import ArrayLike

from skastro.simulation._grid import LIGHT_SPEED, LogGrid
from skastro.simulation._stellar_opacity import opacity_templates

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

# Strength of each absorber as pairs (temperature in K, factor of its template),
# interpolated in the logarithm of the temperature and constant beyond the ends.
# Between 3500 and 9500 K they follow mean spectra of LAMOST and SDSS stars.
_STRENGTHS = {
    "balmer_narrow": (
        (3200, 0.0),
        (3850, 0.1),
        (4500, 0.18),
        (4950, 0.31),
        (5500, 0.48),
        (5850, 0.65),
        (6600, 0.72),
        (7050, 0.54),
        (7750, 0.4),
        (8400, 0.14),
        (9400, 0.08),
        (15000, 0.25),
        (30000, 0.2),
        (45000, 0.12),
    ),
    "balmer_broad": (
        (5700, 0.0),
        (6200, 0.08),
        (7050, 0.25),
        (7750, 0.61),
        (8400, 0.9),
        (9400, 1.03),
        (12000, 0.75),
        (15000, 0.5),
        (20000, 0.3),
        (30000, 0.12),
        (45000, 0.05),
    ),
    "balmer_edge": (
        (5200, 0.0),
        (6200, 0.25),
        (7050, 0.6),
        (8400, 1.1),
        (9400, 1.15),
        (12000, 0.85),
        (20000, 0.4),
        (45000, 0.0),
    ),
    "paschen": (
        (7000, 0.01),
        (7750, 0.07),
        (8400, 0.12),
        (9400, 0.14),
        (15000, 0.08),
        (30000, 0.02),
    ),
    "hydrogen_bound_free": (
        (6500, 0.0),
        (7750, 0.1),
        (9400, 0.14),
        (20000, 0.05),
        (40000, 0.0),
    ),
    "neutral_helium": (
        (9700, 0.0),
        (12500, 0.2),
        (20000, 0.55),
        (30000, 0.4),
        (42000, 0.1),
    ),
    "ionised_helium": ((27000, 0.0), (33000, 0.2), (45000, 0.6)),
    "calcium_hk": (
        (3500, 0.3),
        (4100, 0.15),
        (4500, 0.55),
        (5000, 1.15),
        (5850, 1.55),
        (6600, 1.8),
        (7050, 1.55),
        (7750, 0.65),
        (8400, 0.45),
        (9400, 0.14),
        (12000, 0.04),
    ),
    "calcium_hk_wings": (
        (3500, 0.3),
        (4500, 0.65),
        (5300, 0.7),
        (5850, 0.38),
        (6200, 0.3),
        (7000, 0.02),
        (7200, 0.0),
    ),
    "calcium_triplet": (
        (3500, 0.55),
        (4100, 0.82),
        (5000, 0.95),
        (5850, 0.7),
        (6600, 0.58),
        (7750, 0.38),
        (9400, 0.15),
        (12000, 0.0),
    ),
    "neutral_calcium": (
        (3500, 1.3),
        (4100, 1.35),
        (4500, 1.25),
        (5000, 0.85),
        (5850, 0.35),
        (7050, 0.18),
        (8400, 0.04),
        (9000, 0.0),
    ),
    "magnesium_b": (
        (3500, 0.35),
        (4100, 0.55),
        (4950, 0.9),
        (5400, 0.7),
        (5850, 0.38),
        (7050, 0.2),
        (9400, 0.05),
        (12000, 0.0),
    ),
    "sodium_d": (
        (3500, 1.3),
        (4100, 2.4),
        (4500, 2.1),
        (4950, 1.15),
        (5400, 0.6),
        (6200, 0.25),
        (8000, 0.12),
        (12000, 0.06),
    ),
    "sodium_d_wings": ((3200, 0.5), (3550, 0.42), (3850, 0.2), (4100, 0.05), (4500, 0)),
    "alkali_red": ((2800, 1.0), (3550, 0.3), (4100, 0.21), (4950, 0.06), (5500, 0)),
    "neutral_metals": (
        (3200, 0.4),
        (3700, 0.9),
        (4100, 1.3),
        (4500, 1.45),
        (4950, 1.25),
        (5200, 0.95),
        (5600, 0.6),
        (6200, 0.3),
        (7050, 0.17),
        (8400, 0.03),
        (9400, 0.0),
    ),
    "ionised_metals": (
        (5000, 0.03),
        (6000, 0.08),
        (7050, 0.16),
        (8400, 0.14),
        (9400, 0.08),
        (12000, 0.04),
        (20000, 0.0),
    ),
    "weak_lines": (
        (3200, 0.35),
        (4000, 0.5),
        (4500, 0.6),
        (5200, 0.4),
        (5850, 0.22),
        (6600, 0.13),
        (7500, 0.08),
        (9400, 0.0),
    ),
    "ch_band": (
        (3500, 0.15),
        (4500, 0.2),
        (5000, 0.3),
        (5500, 0.3),
        (6200, 0.18),
        (7050, 0.06),
        (7500, 0.0),
    ),
    "cyanogen": (
        (3500, 0.1),
        (4100, 0.25),
        (4950, 0.6),
        (5500, 0.45),
        (6200, 0.06),
        (6600, 0.0),
    ),
    "magnesium_hydride": (
        (3200, 0.5),
        (3550, 0.65),
        (3850, 1.4),
        (4300, 1.3),
        (4950, 0.5),
        (5400, 0.12),
        (5800, 0.0),
    ),
    "titanium_oxide": (
        (2800, 2.2),
        (3200, 1.6),
        (3550, 1.0),
        (3680, 0.72),
        (3850, 0.4),
        (4100, 0.2),
        (4500, 0.08),
        (4800, 0.0),
    ),
    "calcium_hydride": (
        (2800, 1.6),
        (3550, 1.05),
        (3850, 0.55),
        (4100, 0.35),
        (4500, 0.15),
        (4800, 0.0),
    ),
    "vanadium_oxide": ((2800, 1.0), (3200, 0.25), (3550, 0.05), (3850, 0.0)),
    "blanket_4000": (
        (3500, 0.1),
        (4100, 0.35),
        (4500, 0.4),
        (5000, 0.2),
        (5500, 0.13),
        (6200, 0.05),
        (7500, 0.0),
    ),
    "blanket_4500": (
        (3500, 0.3),
        (3850, 0.4),
        (4500, 0.25),
        (5000, 0.07),
        (5500, 0.03),
        (6000, 0.0),
    ),
    "blanket_visual": ((2800, 1.2), (3200, 0.95), (3550, 0.75), (3850, 0.3), (4200, 0)),
}

# Temperature of the black body over the effective temperature: what the lines block in
# the blue leaves the photosphere between them.
_CONTINUUM_TEMPERATURE = (
    (3800, 1.0),
    (4500, 1.05),
    (6500, 1.06),
    (9400, 1.15),
    (15000, 1.05),
    (30000, 1.0),
)

# White dwarfs of type DA: nothing but Stark-broadened hydrogen.
_WHITE_DWARF_STRENGTHS = {
    "balmer_degenerate": (
        (7500, 0.15),
        (9000, 0.6),
        (12500, 1.0),
        (20000, 0.75),
        (40000, 0.3),
    ),
    "balmer_broad": ((8000, 0.1), (12500, 0.3), (40000, 0.1)),
    "balmer_edge": ((8000, 0.1), (12500, 0.4), (40000, 0.05)),
}

_HYDROGEN_AND_HELIUM = (
    "balmer_narrow",
    "balmer_broad",
    "balmer_edge",
    "paschen",
    "hydrogen_bound_free",
    "neutral_helium",
    "ionised_helium",
)

# Factors that tell giants from dwarfs in cool stars (Gray & Corbally 2009).
_GIANT_FACTORS = {
    "magnesium_b": 0.7,
    "magnesium_hydride": 0.4,
    "calcium_hydride": 0.4,
    "sodium_d": 0.7,
    "sodium_d_wings": 0.3,
    "alkali_red": 0.5,
    "cyanogen": 2.0,
    "calcium_triplet": 1.35,
    "titanium_oxide": 1.1,
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
    2.634e+06
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    planck, light, boltzmann = (
        getattr(constants, name).cgs.value for name in ("h", "c", "k_B")
    )
    metres = wavelength * 1e-8  # Å to cm
    exponent = planck * light / (metres * boltzmann * np.asarray(temperature))
    # 1e-8: per Å instead of per cm.
    return 2 * planck * light**2 / metres**5 / np.expm1(exponent) * 1e-8


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
        table = _WHITE_DWARF_STRENGTHS if white_dwarf else _STRENGTHS
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
        return np.array([name not in _HYDROGEN_AND_HELIUM for name in self.names])

    def flux(self, temperature: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Spectra whose black body is one at 5500 Å, shape (n, grid.size), float32."""
        depth = strengths.astype(np.float32) @ self.templates
        knots, factor = np.transpose(_CONTINUUM_TEMPERATURE)
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
        flux = self.grid.blur(
            flux, self.grid.sigma(rotation), shift=np.log1p(redshift)
        )
        return {
            "flux": flux,
            "subclass": subclass,
            "redshift": redshift,
            "reddening": np.minimum(rng.exponential(0.08, n), 1.0),
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
        strengths[giant] *= self.library.group_factors(**_GIANT_FACTORS)
        active = (temperature < 3800) & ~giant & (rng.random(n) < 0.25)
        # Emission instead of absorption, in chromospherically active M dwarfs.
        column = self.library.names.index("balmer_narrow")
        strengths[active, column] = -rng.uniform(0.3, 1.2, n)[active]
        return strengths
