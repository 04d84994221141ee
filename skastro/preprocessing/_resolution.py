# SPDX-License-Identifier: BSD-3-Clause
"""Spectral resolutions: a resolving power, or a full width at half maximum."""

from typing import Any

import numpy as np
from astropy import units

# Less is no spectrum, but an FWHM without its unit, or one in another unit.
_LOWEST_POWER = 10


def check_resolution(resolution: Any) -> Any:
    """Return a resolving power as a float, an FWHM as a Quantity, or None."""
    if resolution is None or resolution is np.ma.masked:
        return None
    try:
        if isinstance(resolution, bool | np.bool_ | str | bytes):
            raise TypeError
        value = units.Quantity(resolution, dtype=float)
        is_power = value.unit.is_equivalent(units.dimensionless_unscaled)
        least = _LOWEST_POWER if is_power else np.finfo(float).tiny
        is_known = is_power or value.unit.is_equivalent(units.Angstrom)
        number = value.to_value("") if is_power else value.value
        fine = number.ndim == 0 and is_known and least <= number < np.inf
    except (TypeError, ValueError, AttributeError):
        fine = False
    if not fine:
        raise ValueError(
            "resolution must be a resolving power, wavelength over FWHM, a number of "
            f"at least {_LOWEST_POWER}, or an FWHM with its unit of length, such as "
            f"3.5 * astropy.units.Angstrom; got {resolution!r}."
        )
    return float(number) if is_power else value


def fwhm_of(resolution: Any, wavelength: np.ndarray, unit: Any) -> np.ndarray:
    """Return the FWHM at each wavelength, in the unit of the wavelengths."""
    if not isinstance(resolution, units.Quantity):
        return wavelength / resolution
    if not resolution.unit.is_equivalent(unit):
        raise ValueError(
            f"The resolution is an FWHM of {resolution}, but the grid of RebinSpectra "
            f"is in {unit}: give a resolving power, wavelength over FWHM."
        )
    fwhm = np.full(wavelength.shape, resolution.to_value(unit))
    if (fwhm * _LOWEST_POWER > wavelength).any():
        raise ValueError(
            f"The resolution is an FWHM of {resolution}, more than a tenth of the "
            f"wavelength at {wavelength[0]:g} {unit}: give it in its own unit."
        )
    return fwhm
