# SPDX-License-Identifier: BSD-3-Clause
"""Published formulas: black bodies, wavelengths in air, extinction by dust."""

from typing import Any

import numpy as np
from astropy import constants
from astropy.units import Quantity
from numpy.typing import ArrayLike

from skastro.utils import in_unit, plain_array

# Coefficients of y^1, y^2, … of the optical part, y = x - 1.82 (CCM89, eq. 3).
_OPTICAL_A = (0.17699, -0.50447, -0.02427, 0.72085, 0.01979, -0.77530, 0.32999)
_OPTICAL_B = (1.41338, 2.28305, 1.07233, -5.38434, -0.62251, 5.30260, -2.09002)


def planck_flux(
    wavelength: ArrayLike | Quantity, temperature: ArrayLike | Quantity
) -> np.ndarray:
    """Radiance B_λ(T) of a black body.

    Parameters
    ----------
    wavelength : array-like or Quantity
        Vacuum wavelengths; plain numbers are in Å.
    temperature : array-like or Quantity
        Temperatures, of a shape that broadcasts with `wavelength`; plain numbers are
        in K.

    Returns
    -------
    radiance : ndarray, float64
        In erg / (s cm² Å sr).

    Raises
    ------
    ValueError
        If a wavelength or temperature is not positive and finite, or has a unit of
        another dimension.

    References
    ----------
    Planck, M. 1901, Ann. Phys. 309, 553, doi:10.1002/andp.19013090310.

    Examples
    --------
    >>> from skastro.simulation import planck_flux
    >>> print(f"{planck_flux(5000.0, 5772.0):.3e}")
    2.624e+06
    """
    wavelength = _positive(wavelength, "Angstrom", "wavelength")
    temperature = _positive(temperature, "K", "temperature")
    planck, light, boltzmann = (
        getattr(constants, name).cgs.value for name in ("h", "c", "k_B")
    )
    length = wavelength * 1e-8  # Å to cm
    exponent = planck * light / (length * boltzmann * temperature)
    with np.errstate(over="ignore"):
        photons = 1 / np.expm1(exponent)
    # 1e-8: per Å instead of per cm.
    return 2 * planck * light**2 / length**5 * photons * 1e-8


def _positive(values: Any, unit: str, name: str) -> np.ndarray:
    """Return positive, finite numbers in a unit, or refuse them."""
    values = in_unit(values, unit, name) if unit else plain_array(values, name)
    wrong = values[~((values > 0) & np.isfinite(values))]
    if wrong.size:
        raise ValueError(
            f"{name} must be positive and finite; {wrong.size} of {values.size} values "
            f"are not, such as {wrong[0]:g}."
        )
    return values


def air_to_vacuum(wavelength: ArrayLike | Quantity) -> np.ndarray:
    """Convert wavelengths from standard air to vacuum.

    The refractive index of standard air (15 °C, 101325 Pa, dry) as a function of the
    vacuum wavelength is that of Morton (2000, eq. 8), after Birch and Downs (1994);
    the equation is inverted by fixed-point iteration.

    Parameters
    ----------
    wavelength : array-like or Quantity
        Wavelengths in air, 2000 Å or longer; plain numbers are in Å. By convention
        shorter ones are never given in air.

    Returns
    -------
    vacuum : ndarray, float64
        Wavelengths in vacuum, in Å, in the shape of `wavelength`.

    Raises
    ------
    ValueError
        If a wavelength is not finite or is shorter than 2000 Å, or if its unit is not
        one of length.

    References
    ----------
    Morton, D. C. 2000, ApJS 130, 403, doi:10.1086/317349.

    Birch, K. P. & Downs, M. J. 1994, Metrologia 31, 315,
    doi:10.1088/0026-1394/31/4/006.

    Examples
    --------
    >>> from skastro.simulation import air_to_vacuum
    >>> air_to_vacuum([3968.469, 5889.951]).round(2)
    array([3969.59, 5891.58])
    """
    air = in_unit(wavelength, "Angstrom", "wavelength")
    if not (np.isfinite(air).all() and (air >= 2000).all()):
        raise ValueError(
            "Wavelengths in air must be finite and at least 2000 Å; got values from "
            f"{air.min()} to {air.max()}."
        )
    vacuum = air
    # Each pass gains four digits, because dn/dλ is of that size.
    for _ in range(4):
        vacuum = air * _refractive_index(vacuum)
    return vacuum


def vacuum_to_air(wavelength: ArrayLike | Quantity) -> np.ndarray:
    """Convert wavelengths from vacuum to standard air.

    The inverse of :func:`air_to_vacuum`, with the same refractive index.

    Parameters
    ----------
    wavelength : array-like or Quantity
        Wavelengths in vacuum, of at least 2000 Å in air; plain numbers are in Å.

    Returns
    -------
    air : ndarray, float64
        Wavelengths in standard air, in Å, in the shape of `wavelength`.

    Raises
    ------
    ValueError
        If a wavelength is not finite or is shorter than 2000 Å in air, or if its unit
        is not one of length.

    References
    ----------
    Morton, D. C. 2000, ApJS 130, 403, doi:10.1086/317349.

    Examples
    --------
    >>> from skastro.simulation import vacuum_to_air
    >>> vacuum_to_air([3969.59, 5891.58]).round(2)
    array([3968.47, 5889.95])
    """
    vacuum = in_unit(wavelength, "Angstrom", "wavelength")
    air = vacuum / _refractive_index(vacuum)
    if not (air >= 2000).all():
        raise ValueError(
            "Wavelengths must be finite and at least 2000 Å in air; got values from "
            f"{vacuum.min()} to {vacuum.max()} in vacuum."
        )
    return air


def _refractive_index(vacuum: np.ndarray) -> np.ndarray:
    wavenumber_squared = (1e4 / vacuum) ** 2
    return (
        1
        + 8.34254e-5
        + 2.406147e-2 / (130 - wavenumber_squared)
        + 1.5998e-4 / (38.9 - wavenumber_squared)
    )


def extinction_curve(wavelength: ArrayLike | Quantity, r_v: float = 3.1) -> np.ndarray:
    """Extinction A(λ)/A(V) of Cardelli, Clayton and Mathis (1989).

    Parameters
    ----------
    wavelength : array-like or Quantity
        Wavelengths from 1695 to 33333 Å; plain numbers are in Å.
    r_v : float, default=3.1
        Ratio of total to selective extinction, A(V)/E(B-V).

    Returns
    -------
    curve : ndarray, float64
        Extinction in magnitudes relative to that in the V band.

    Raises
    ------
    ValueError
        If a wavelength is outside the range of the law, or its unit is not one of
        length, or if `r_v` is not positive.

    References
    ----------
    Cardelli, J. A., Clayton, G. C. & Mathis, J. S. 1989, ApJ 345, 245,
    doi:10.1086/167900 (equations 2 to 4, without the far ultraviolet).

    Examples
    --------
    >>> from skastro.simulation import extinction_curve
    >>> extinction_curve([4400.0, 5494.5, 7000.0]).round(2)
    array([1.32, 1.  , 0.75])

    Quantities of another unit are converted:

    >>> from astropy import units as u
    >>> extinction_curve([0.44, 0.7] * u.um).round(2)
    array([1.32, 0.75])
    """
    x = 1e4 / _positive(wavelength, "Angstrom", "wavelength")
    r_v = _positive(r_v, "", "r_v")
    if not ((x >= 0.3) & (x <= 5.9)).all():
        raise ValueError(
            "The extinction law holds from 1695 to 33333 Å; got wavelengths from "
            f"{(1e4 / x).min():.6g} to {(1e4 / x).max():.6g} Å."
        )
    y = x - 1.82
    optical_a = np.polynomial.polynomial.polyval(y, (1.0, *_OPTICAL_A))
    optical_b = np.polynomial.polynomial.polyval(y, (0.0, *_OPTICAL_B))
    ultraviolet_a = 1.752 - 0.316 * x - 0.104 / ((x - 4.67) ** 2 + 0.341)
    ultraviolet_b = -3.090 + 1.825 * x + 1.206 / ((x - 4.62) ** 2 + 0.263)
    regimes = [x < 1.1, x < 3.3]
    a = np.select(regimes, [0.574 * x**1.61, optical_a], ultraviolet_a)
    b = np.select(regimes, [-0.527 * x**1.61, optical_b], ultraviolet_b)
    return a + b / r_v
