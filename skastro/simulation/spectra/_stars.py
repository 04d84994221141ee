# SPDX-License-Identifier: BSD-3-Clause
"""Spectra of stars: a black body and the optical depths of absorbers."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from skastro.simulation.spectra._formulas import air_to_vacuum, planck_flux
from skastro.simulation.spectra._grid import LIGHT_SPEED, LogGrid
from skastro.simulation.spectra._tables import read_rows, read_table

# Strength of each absorber by temperature, and lines of the absorbers that are lists.
STRENGTHS = read_table("stellar_strengths.csv")
WHITE_DWARF_STRENGTHS = read_table("white_dwarf_strengths.csv")
_LINES = read_table("stellar_lines.csv")
# Band heads of molecules: wavelength (vacuum, Å), decay length (Å), relative depth.
_BANDS = read_table("molecular_bands.csv")
# Optical depth of the metals in the Sun by wavelength (Å).
_ULTRAVIOLET = np.array(read_rows("ultraviolet_metals.csv"), dtype=float)

# Wavelength (Å) at which continua are set to one.
REFERENCE_WAVELENGTH = 5500.0

# Effective temperature (K) of dwarfs; types count ten a letter from O0 = 0 to M9 = 69.
_TEMPERATURE_SCALE = np.array(read_rows("temperature_scale.csv"), dtype=float)

# Fraction of the types among simulated stars, first and last type (white dwarfs: none).
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

# Temperature of the black body divided by the effective temperature. The flux that
# lines block in the blue leaves the photosphere between them; in A and B stars, where
# hydrogen is opaque, the optical continuum is bluer than a black body. Chosen together
# with the blankets so that dwarfs of solar metallicity have the colors B-V and V-I of
# Pecaut & Mamajek (2013), doi:10.1088/0067-0049/208/1/9, with the passbands of Bessell
# (1990), doi:10.1086/132749, to 0.05 mag.
CONTINUUM_TEMPERATURE = (
    (3300, 0.95),
    (3800, 1.02),
    (4300, 1.05),
    (5000, 1.12),
    (5800, 1.11),
    (6500, 1.155),
    (7500, 1.23),
    (8600, 1.31),
    (9700, 1.46),
    (12300, 1.52),
    (17000, 1.47),
    (26000, 1.46),
    (38000, 1.0),
)

# Mean color excess E(B-V) of hot stars and giants, which are distant, and of others.
_MEAN_EXCESS = (0.12, 0.03)

# Absorbers that do not depend on the metal content.
HYDROGEN_AND_HELIUM = (
    "balmer_narrow",
    "balmer_broad",
    "balmer_edge",
    "paschen",
    "hydrogen_bound_free",
    "neutral_helium",
    "ionized_helium",
)

# log g of the main sequence by temperature (K), to which STRENGTHS belong: masses and
# radii of Torres, Andersen & Giménez (2010), doi:10.1007/s00159-009-0025-1.
_MAIN_SEQUENCE = (
    (3000, 5.0),
    (4000, 4.65),
    (5000, 4.55),
    (5800, 4.42),
    (6500, 4.3),
    (8000, 4.2),
    (10000, 4.15),
    (20000, 4.05),
    (45000, 3.9),
)

# log g of the red giant branch: isochrones of Bressan et al. (2012), rounded,
# doi:10.1111/j.1365-2966.2012.21948.x.
_GIANT_BRANCH = ((3500, 0.8), (4000, 1.5), (4500, 2.3), (5000, 2.9), (5300, 3.3))

# Factors of absorbers in giants, 2.5 dex below the main sequence, among cool stars;
# others are interpolated in log g. The absorbers are those that tell giants from dwarfs
# (Gray & Corbally 2009, Stellar Spectral Classification, Princeton University Press),
# the factors follow mean spectra of stars of MILES and LAMOST.
GIANT_FACTORS = {
    "balmer_narrow": 1.15,
    "calcium_hk": 1.8,
    "calcium_triplet": 1.5,
    "neutral_calcium": 0.6,
    "magnesium_b": 0.5,
    "magnesium_hydride": 0.15,
    "calcium_hydride": 0.35,
    "sodium_d": 0.4,
    "sodium_d_wings": 0.3,
    "alkali_red": 0.5,
    "neutral_metals": 0.6,
    "ionized_metals": 1.8,
    "cyanogen": 2.0,
    "titanium_oxide": 1.1,
    "blanket_4500": 0.75,
}
GIANT_OFFSET = -2.5

# Share of the gravity's effect by temperature (K): on metals in cool stars; on the
# wings of Balmer lines, which electrons broaden, in hot ones.
_COOL_SHARE = ((5500, 1.0), (8000, 0.0))
_HOT_SHARE = ((7000, 0.0), (9500, 1.0))

# Change of lg(optical depth) of the wings with log g. Their width goes as its 0.4th
# power, so that giants of type B have lines half as wide as dwarfs (Gray & Corbally).
_WING_EXPONENT = 0.5

# Change of lg(optical depth) with [Fe/H]: the square-root part of the curve of growth
# (Gray 2005, chapter 16, doi:10.1017/CBO9781316036570), and [Fe/H] of STRENGTHS, the
# mean of the stars of LAMOST.
METAL_EXPONENT = 0.5
_MEAN_METALLICITY = -0.2

# Populations of the Milky Way: share, mean and scatter of [Fe/H]; thin disk, thick
# disk, halo (Bland-Hawthorn & Gerhard 2016, doi:10.1146/annurev-astro-081915-023441).
# Shares are those of a survey at high latitude.
_POPULATIONS = ((0.78, -0.08, 0.2), (0.14, -0.55, 0.25), (0.08, -1.5, 0.5))
_METALLICITY_RANGE = (-2.5, 0.5)

# Width of the absorption lines (standard deviation, km/s). Real lines are narrower
# and more saturated; surveys resolve only their equivalent width.
LINE_VELOCITY = 25.0

# Rydberg constant of hydrogen in 1/Å (CODATA, reduced by the electron's mass).
RYDBERG = 1.09677583e-3

# Relative strength of the Balmer lines in their wings, H alpha first.
_BALMER = (0.8, 0.95, 1.0, 1.0, 0.95, 0.85, 0.72, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15)


def opacity_templates(grid: LogGrid) -> dict[str, np.ndarray]:
    """Optical depths (grid.size,) of all absorbers, of unit strength, by name."""
    wavelength = grid.wavelength

    def lines(group: str, velocity: float = LINE_VELOCITY) -> np.ndarray:
        air, strength = np.transpose(_LINES[group])
        return grid.profile(air_to_vacuum(air), strength, velocity)

    return {
        "balmer_narrow": _balmer(wavelength, 1.2),
        "balmer_broad": _balmer(wavelength, 7.0),
        "balmer_degenerate": _balmer(wavelength, 26.0),
        # The opacity beyond the edge falls toward the blue.
        "balmer_edge": expit((3722.0 - wavelength) / 30.0)
        * np.minimum(wavelength / 2400.0, 1.0) ** 4,
        "paschen": _paschen(wavelength),
        # The Paschen edge at 8204 Å, washed out by the lines that crowd there.
        "hydrogen_bound_free": (wavelength / 8204.0) ** 3
        * expit((8450.0 - wavelength) / 120.0),
        "neutral_helium": lines("neutral_helium", 60.0),
        "ionized_helium": lines("ionized_helium", 80.0),
        "calcium_hk": _damped(wavelength, 3934.78, 2.0)
        + 0.85 * _damped(wavelength, 3969.59, 2.0),
        "calcium_hk_wings": _damped(wavelength, 3934.78, 9.0)
        + 0.85 * _damped(wavelength, 3969.59, 9.0),
        "calcium_triplet": 0.6 * _damped(wavelength, 8500.35, 1.0)
        + _damped(wavelength, 8544.44, 1.4)
        + 0.8 * _damped(wavelength, 8664.52, 1.2),
        "neutral_calcium": lines("neutral_calcium"),
        "magnesium_b": 0.8 * _damped(wavelength, 5168.76, 0.7)
        + _damped(wavelength, 5174.13, 1.1)
        + 1.2 * _damped(wavelength, 5185.05, 1.3)
        + 0.25 * _damped(wavelength, 5529.94, 0.8)
        + 0.3 * _damped(wavelength, 8809.18, 0.8),
        "sodium_d": _damped(wavelength, 5891.58, 0.9)
        + 0.9 * _damped(wavelength, 5897.56, 0.8),
        "sodium_d_wings": _damped(wavelength, 5891.58, 9.0)
        + 0.7 * _damped(wavelength, 5897.56, 9.0),
        "alkali_red": _damped(wavelength, 7667.01, 1.2)
        + 0.8 * _damped(wavelength, 7701.08, 1.2)
        + 0.7 * _damped(wavelength, 8185.51, 1.2)
        + 0.9 * _damped(wavelength, 8197.08, 1.4),
        "neutral_metals": lines("neutral_metals"),
        "ionized_metals": lines("ionized_metals"),
        "weak_lines": _weak_lines(grid),
        "ch_band": _bump(wavelength, 4308.0, 11.0) + 0.45 * _bump(wavelength, 4298, 25),
        "cyanogen": _bands(wavelength, "cyanogen"),
        "magnesium_hydride": _bands(wavelength, "magnesium_hydride"),
        "titanium_oxide": _bands(wavelength, "titanium_oxide"),
        "calcium_hydride": _bands(wavelength, "calcium_hydride"),
        "vanadium_oxide": _bands(wavelength, "vanadium_oxide"),
        "blanket_4000": expit((3990.0 - wavelength) / 15.0),
        "blanket_4500": expit((4270.0 - wavelength) / 80.0),
        "blanket_visual": expit((6500.0 - wavelength) / 500.0),
        "ultraviolet_metals": _ultraviolet_metals(wavelength),
    }


def _damped(wavelength: np.ndarray, center: float, half_width: float) -> np.ndarray:
    """Lorentzian of unit peak: a line with damping wings."""
    return 1 / (1 + ((wavelength - center) / half_width) ** 2)


def _bump(wavelength: np.ndarray, center: float, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * ((wavelength - center) / sigma) ** 2)


def hydrogen_wavelength(lower: int, upper: int) -> float:
    """Vacuum wavelength (Å) of a hydrogen line, by Rydberg's formula.

    Fine structure moves H alpha by 0.1 Å and the others by less.
    """
    return 1 / (RYDBERG * (lower**-2 - upper**-2))


def _balmer(wavelength: np.ndarray, half_width: float) -> np.ndarray:
    """Balmer series; the power 1.25 is that of Stark-broadened wings, τ ∝ Δλ^-2.5."""
    total = np.zeros_like(wavelength)
    for upper, strength in enumerate(_BALMER, start=3):
        offset = (wavelength - hydrogen_wavelength(2, upper)) / half_width
        total += strength / (1 + offset**2) ** 1.25
    return total


def _paschen(wavelength: np.ndarray) -> np.ndarray:
    total = np.zeros_like(wavelength)
    for upper in range(7, 21):
        center = hydrogen_wavelength(3, upper)
        total += (9 / max(upper, 9)) * _damped(wavelength, center, 9.0)
    return total


def _ultraviolet_metals(wavelength: np.ndarray) -> np.ndarray:
    """Crowded lines of metals below 3600 Å, and Mg II and Mg I."""
    return (
        np.interp(wavelength, *_ULTRAVIOLET.T)
        + 2.5 * _damped(wavelength, 2796.35, 4.0)
        + 2.2 * _damped(wavelength, 2803.53, 4.0)
        + 1.5 * _damped(wavelength, 2852.96, 4.0)
    )


def _bands(wavelength: np.ndarray, molecule: str) -> np.ndarray:
    """Band profiles: zero before the band head, exponential decay after it."""
    total = np.zeros_like(wavelength)
    for head, decay, depth in _BANDS[molecule]:
        distance = (wavelength - head) / decay
        # The heads are blends of a few Å; those of the hydrides are washed out.
        onset = expit((wavelength - head) * np.sign(decay) / (3 if decay > 0 else 12))
        total += depth * onset * np.exp(-np.maximum(distance, 0.0))
    return total


def _weak_lines(grid: LogGrid) -> np.ndarray:
    """Forest of weak metal lines at fixed artificial wavelengths.

    Thousands of blended lines make the jagged pseudo-continuum of cool stars. Their
    positions and strengths are drawn once, so that all stars share them. They become
    denser and stronger toward the blue, as the real ones do.
    """
    generator = np.random.default_rng(20)
    centers = generator.uniform(3000.0, 9500.0, 6000)
    density = 0.06 + expit((5450.0 - centers) / 150.0) + expit((4500 - centers) / 100.0)
    strengths = generator.exponential(0.2, centers.size) * density
    ultraviolet = generator.uniform(1000.0, 3000.0, 4000)
    strengths = np.append(strengths, generator.exponential(0.4, ultraviolet.size))
    return grid.profile(np.append(centers, ultraviolet), strengths, LINE_VELOCITY)


def _by_temperature(temperature: np.ndarray, knots: ArrayLike) -> np.ndarray:
    """Interpolate a table in the logarithm of the temperature."""
    kelvin, values = np.transpose(knots)
    return np.interp(np.log(temperature), np.log(kelvin), values)


def main_sequence_gravity(temperature: ArrayLike) -> np.ndarray:
    """Lg of the surface gravity (cm/s²) of dwarfs of given temperature (K)."""
    return _by_temperature(temperature, _MAIN_SEQUENCE)


def spectral_type_temperature(code: ArrayLike) -> np.ndarray:
    """Effective temperature (K) of dwarfs of spectral type O5 (5.0) to M6.9 (66.9)."""
    codes, temperatures = np.transpose(_TEMPERATURE_SCALE)
    return np.exp(np.interp(code, codes, np.log(temperatures)))


class StellarLibrary:
    """Stellar spectra without velocity, dust or instrument, for any temperature."""

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
            column = self.names.index(name)
            factors[:, column] = _by_temperature(temperature, knots)
        return factors

    def adjust(
        self,
        strengths: np.ndarray,
        temperature: np.ndarray,
        log_gravity: np.ndarray,
        metallicity: np.ndarray,
    ) -> None:
        """Change factors of dwarfs of mean metallicity for log g and [Fe/H], in place.

        Metals of cool giants change by GIANT_FACTORS. Balmer lines of hot giants have
        narrower wings and a core as deep as that of dwarfs.
        """
        offset = log_gravity - main_sequence_gravity(temperature)
        giant = offset / GIANT_OFFSET * _by_temperature(temperature, _COOL_SHARE)
        strengths *= self.group_factors(**GIANT_FACTORS) ** giant[:, None]
        metals = 10 ** (METAL_EXPONENT * (metallicity - _MEAN_METALLICITY))
        strengths[:, self.is_metal] *= metals[:, None]
        narrow = self.names.index("balmer_narrow")
        broad = self.names.index("balmer_broad")
        hot = _by_temperature(temperature, _HOT_SHARE)
        wings = strengths[:, broad] * 10 ** (_WING_EXPONENT * offset * hot)
        strengths[:, narrow] += np.maximum(strengths[:, broad] - wings, 0.0)
        strengths[:, broad] = wings

    def group_factors(self, **factors: float) -> np.ndarray:
        """One factor for each template, 1 where none is named."""
        return np.array([factors.get(name, 1.0) for name in self.names])

    @property
    def is_metal(self) -> np.ndarray:
        """Mask of the templates that depend on the metal content."""
        return np.array([name not in HYDROGEN_AND_HELIUM for name in self.names])

    def flux(self, temperature: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Spectra whose black body is one at 5500 Å, shape (n, grid.size), float32."""
        depth = strengths.astype(np.float32) @ self.templates
        kelvin = temperature * _by_temperature(temperature, CONTINUUM_TEMPERATURE)
        kelvin = kelvin[:, None]
        scale = planck_flux(REFERENCE_WAVELENGTH, kelvin)
        continuum = planck_flux(self.grid.wavelength, kelvin) / scale
        return np.exp(-depth, out=depth) * continuum.astype(np.float32)


class StarModel:
    """Draws stars and computes their spectra at the resolution of the instrument."""

    def __init__(self, grid: LogGrid) -> None:
        self.grid = grid
        self.library = StellarLibrary(grid)

    def simulate(
        self,
        n: int,
        rng: np.random.Generator,
        redshift_range: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw stars: ``flux`` (n, grid.size) of arbitrary scale, and arrays (n,).

        ``subclass``, ``redshift`` and ``reddening``, the color excess E(B-V) in the
        Milky Way; ``teff`` (K), ``logg`` and ``feh`` (dex), the last one NaN for white
        dwarfs. `redshift_range` has no effect.
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

        giant = (temperature < 5300) & ~dwarf & (rng.random(n) < 0.4)
        gravity = _draw_gravities(temperature, giant, dwarf, rng)
        metallicity = _draw_metallicities(temperature, rng)
        strengths = self._draw_strengths(temperature, dwarf, rng)
        active = (temperature < 3800) & ~giant & (rng.random(n) < 0.25)
        # Emission instead of absorption, in chromospherically active M dwarfs.
        column = self.library.names.index("balmer_narrow")
        strengths[active, column] = -rng.uniform(0.3, 1.2, n)[active]
        stars = ~dwarf
        adjusted = strengths[stars]
        self.library.adjust(
            adjusted, temperature[stars], gravity[stars], metallicity[stars]
        )
        strengths[stars] = adjusted
        flux = self.library.flux(temperature, strengths)
        velocity = np.clip(rng.normal(0.0, 80.0, n), -300.0, 300.0)
        rotation = np.where(temperature > 7000, rng.uniform(20, 120, n), 5.0)
        redshift = velocity / LIGHT_SPEED
        distant = ~dwarf & ((temperature > 8000) | (gravity < 3.6))
        excess = np.where(distant, *_MEAN_EXCESS)
        flux = self.grid.blur(flux, self.grid.sigma(rotation), shift=np.log1p(redshift))
        return {
            "flux": flux,
            "subclass": subclass,
            "redshift": redshift,
            "reddening": np.minimum(rng.exponential(excess), 1.0),
            "teff": temperature,
            "logg": gravity,
            "feh": np.where(dwarf, np.nan, metallicity),
        }

    def _draw_strengths(
        self, temperature: np.ndarray, dwarf: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Strengths of the absorbers with their scatter."""
        strengths = np.where(
            dwarf[:, None],
            self.library.strengths(temperature, white_dwarf=True),
            self.library.strengths(temperature),
        )
        return strengths * np.exp(rng.normal(0.0, 0.1, strengths.shape))


def _draw_gravities(
    temperature: np.ndarray,
    giant: np.ndarray,
    white_dwarf: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw log g: dwarfs, cool giants, hotter stars on their way there, white dwarfs.

    That of white dwarfs is 8 on average (Kepler, S. O. et al. 2007, MNRAS 375, 1315,
    doi:10.1111/j.1365-2966.2006.11388.x).
    """
    n = len(temperature)
    gravity = main_sequence_gravity(temperature) + rng.normal(0.0, 0.1, n)
    evolved = (temperature > 5300) & (rng.random(n) < 0.25)
    gravity = np.where(evolved, gravity - rng.uniform(0.1, 1.2, n), gravity)
    branch = _by_temperature(temperature, _GIANT_BRANCH) + rng.normal(0.0, 0.3, n)
    gravity = np.where(giant, branch.clip(0.5, 3.5), gravity)
    return np.where(white_dwarf, rng.normal(8.0, 0.2, n), gravity)


def _draw_metallicities(
    temperature: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw [Fe/H]; stars above 8000 K are young and belong to the thin disk."""
    share, mean, scatter = np.transpose(_POPULATIONS)
    kind = rng.choice(share.size, len(temperature), p=share)
    kind[temperature > 8000] = 0
    return rng.normal(mean[kind], scatter[kind]).clip(*_METALLICITY_RANGE)
