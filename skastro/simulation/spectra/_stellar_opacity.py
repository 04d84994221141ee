# SPDX-License-Identifier: BSD-3-Clause
"""Templates of optical depth of stellar atmospheres, one for each absorber."""

import numpy as np
from scipy.special import expit

from skastro.simulation.spectra._air import air_to_vacuum
from skastro.simulation.spectra._grid import LogGrid
from skastro.simulation.spectra._metal_lines import (
    IONISED_HELIUM,
    IONISED_METALS,
    NEUTRAL_CALCIUM,
    NEUTRAL_HELIUM,
    NEUTRAL_METALS,
)

# Width of the absorption lines (standard deviation, km/s). Real lines are narrower
# and more saturated; at the resolution of surveys only their equivalent width shows.
LINE_VELOCITY = 25.0

# Rydberg constant of hydrogen in 1/Å (CODATA, reduced by the electron's mass).
RYDBERG = 1.09677583e-3

# Relative strength of the Balmer lines in their wings, H alpha first.
_BALMER = (0.62, 0.95, 1.0, 1.0, 0.95, 0.85, 0.72, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15)

# Molecular band heads: wavelength (vacuum, Å), decay length (Å, negative where the
# band is degraded to the violet), relative depth.
_TITANIUM_OXIDE = (
    (4762, 130, 0.3),
    (4956, 130, 0.38),
    (5168, 130, 0.25),
    (5449, 130, 0.4),
    (5661, 130, 0.25),
    (5848, 130, 0.35),
    (6160, 130, 0.4),
    (6188, 110, 0.4),
    (6653, 100, 0.25),
    (6683, 130, 0.2),
    (6716, 130, 0.2),
    (7056, 60, 0.15),
    (7090, 60, 0.28),
    (7128, 70, 0.42),
    (7592, 60, 0.1),
    (7674, 130, 0.15),
    (8434, 130, 0.18),
    (8862, 130, 0.18),
)
_CALCIUM_HYDRIDE = ((6384, 30, 0.1), (6757, 130, 0.26), (6840, 70, 0.36))
_VANADIUM_OXIDE = ((7336, 50, 0.3), (7402, 50, 0.3), (7853, 70, 0.5), (7925, 60, 0.4))
_MAGNESIUM_HYDRIDE = ((5212, -160, 0.5), (4846, -60, 0.25))
_CYANOGEN = ((3884, -40, 1.0), (4216, -40, 0.5))


def opacity_templates(grid: LogGrid) -> dict[str, np.ndarray]:
    """Optical depths of all absorbers of stellar atmospheres, of unit strength.

    Parameters
    ----------
    grid : LogGrid
        The wavelengths.

    Returns
    -------
    templates : dict of str to ndarray of shape (grid.size,), float64
        Optical depth of each absorber, in the order in which the strengths of
        :mod:`skastro.simulation.spectra._stellar_strengths` name them.
    """
    wavelength = grid.wavelength

    def lines(pairs: tuple, velocity: float = LINE_VELOCITY) -> np.ndarray:
        air, strength = np.transpose(pairs)
        return grid.profile(air_to_vacuum(air), strength, velocity)

    return {
        "balmer_narrow": _balmer(wavelength, 1.2),
        "balmer_broad": _balmer(wavelength, 7.0),
        "balmer_degenerate": _balmer(wavelength, 26.0),
        "balmer_edge": expit((3690.0 - wavelength) / 18.0),
        "paschen": _paschen(wavelength),
        # The Paschen edge at 8204 Å, washed out by the lines that crowd there.
        "hydrogen_bound_free": (wavelength / 8204.0) ** 3
        * expit((8450.0 - wavelength) / 120.0),
        "neutral_helium": lines(NEUTRAL_HELIUM, 60.0),
        "ionised_helium": lines(IONISED_HELIUM, 80.0),
        "calcium_hk": _damped(wavelength, 3934.78, 2.0)
        + 0.85 * _damped(wavelength, 3969.59, 2.0),
        "calcium_hk_wings": _damped(wavelength, 3934.78, 9.0)
        + 0.85 * _damped(wavelength, 3969.59, 9.0),
        "calcium_triplet": 0.6 * _damped(wavelength, 8500.35, 1.0)
        + _damped(wavelength, 8544.44, 1.4)
        + 0.8 * _damped(wavelength, 8664.52, 1.2),
        "neutral_calcium": lines(NEUTRAL_CALCIUM),
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
        "neutral_metals": lines(NEUTRAL_METALS),
        "ionised_metals": lines(IONISED_METALS),
        "weak_lines": _weak_lines(grid),
        "ch_band": _bump(wavelength, 4308.0, 11.0) + 0.45 * _bump(wavelength, 4298, 25),
        "cyanogen": _bands(wavelength, _CYANOGEN),
        "magnesium_hydride": _bands(wavelength, _MAGNESIUM_HYDRIDE),
        "titanium_oxide": _bands(wavelength, _TITANIUM_OXIDE),
        "calcium_hydride": _bands(wavelength, _CALCIUM_HYDRIDE),
        "vanadium_oxide": _bands(wavelength, _VANADIUM_OXIDE),
        "blanket_4000": expit((3990.0 - wavelength) / 15.0),
        "blanket_4500": expit((4420.0 - wavelength) / 60.0),
        "blanket_visual": expit((6500.0 - wavelength) / 500.0),
    }


def _damped(wavelength: np.ndarray, centre: float, half_width: float) -> np.ndarray:
    """Lorentzian of unit peak: a line with damping wings."""
    return 1 / (1 + ((wavelength - centre) / half_width) ** 2)


def _bump(wavelength: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2)


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
        centre = hydrogen_wavelength(3, upper)
        total += (9 / max(upper, 9)) * _damped(wavelength, centre, 9.0)
    return total


def _bands(wavelength: np.ndarray, heads: tuple) -> np.ndarray:
    """Saw teeth: nothing before the band head, exponential decay behind it."""
    total = np.zeros_like(wavelength)
    for head, decay, depth in heads:
        distance = (wavelength - head) / decay
        # The heads are blends of a few Å; those of the hydrides are washed out.
        onset = expit((wavelength - head) * np.sign(decay) / (3 if decay > 0 else 12))
        total += depth * onset * np.exp(-np.maximum(distance, 0.0))
    return total


def _weak_lines(grid: LogGrid) -> np.ndarray:
    """Forest of weak metal lines at fixed made-up wavelengths.

    Thousands of blended lines make the jagged pseudo-continuum of cool stars. Their
    positions and strengths are drawn once and for all, so that all stars share them;
    they grow denser and stronger towards the blue as the real ones do.
    """
    generator = np.random.default_rng(20)
    centres = generator.uniform(3000.0, 9500.0, 6000)
    density = 0.06 + expit((5450.0 - centres) / 150.0) + expit((4500 - centres) / 100.0)
    strengths = generator.exponential(0.2, centres.size) * density
    return grid.profile(centres, strengths, LINE_VELOCITY)
