# SPDX-License-Identifier: BSD-3-Clause
"""Wavelengths of spectra: their unit, order and range."""

import numpy as np
from astropy import units
from numpy.typing import ArrayLike

from skastro.utils._arrays import plain_array, unit_of

# Outside this range, in Angstrom, a wavelength is in another unit or a logarithm.
_RANGE = (100.0, 1e6)
# Wavelengths without a unit that begin below the first value or end below the second
# may be in nanometers.
_PLAIN_RANGE = (900.0, 3000.0)
# Steps relative to the wavelength; those of the finest spectrographs are 1e-6.
_LEAST_STEP = 1e-7


def check_wavelength(values: ArrayLike) -> np.ndarray:
    """Return ascending wavelengths as float64 in Angstrom, or refuse them.

    Values without a unit are taken to be in Angstrom unless they could be nanometers.
    """
    unit = unit_of(values)
    wavelength = plain_array(values, "wavelength", any_unit=True).astype(np.float64)
    plain = unit is None or unit == units.dimensionless_unscaled
    if not plain:
        wavelength = (wavelength * unit).to_value(units.Angstrom)
    if wavelength.ndim != 1 or wavelength.size == 0:
        raise ValueError(
            f"the wavelengths must be a vector, but have shape {wavelength.shape}"
        )
    if not np.isfinite(wavelength).all():
        count = np.count_nonzero(~np.isfinite(wavelength))
        raise ValueError(f"{count} of {wavelength.size} wavelengths are not finite")
    equal = np.diff(wavelength) <= _LEAST_STEP * np.abs(wavelength[:-1])
    if equal.any():
        at = int(np.argmax(equal))
        raise ValueError(
            f"the wavelengths must ascend, but {wavelength[at]:g} of pixel {at} is "
            f"followed by {wavelength[at + 1]:g}"
        )
    low, high = _RANGE
    first, last = wavelength[[0, -1]]
    if first < low or last > high:
        raise ValueError(
            f"the wavelengths must be in Angstrom, between {low:g} and {high:g}; they "
            f"run from {first:g} to {last:g}"
        )
    if plain and (first < _PLAIN_RANGE[0] or last < _PLAIN_RANGE[1]):
        raise ValueError(
            f"the wavelengths, {first:g} to {last:g}, have no unit and may be in "
            "Angstrom or in nanometers; state it, by BUNIT or TUNIT in a file, or by "
            "an astropy quantity"
        )
    return wavelength
