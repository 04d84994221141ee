# SPDX-License-Identifier: BSD-3-Clause
"""Wavelengths in air and in vacuum."""

import numpy as np
from numpy.typing import ArrayLike


def air_to_vacuum(wavelength: ArrayLike) -> np.ndarray:
    """Convert wavelengths from standard air to vacuum.

    The refractive index of standard air (15 °C, 101325 Pa, dry) as a function of the
    vacuum wavelength is that of Morton (2000, eq. 8), after Birch and Downs (1994);
    the equation is inverted by fixed-point iteration.

    Parameters
    ----------
    wavelength : array-like
        Wavelengths in air, in Å, 2000 Å or longer. By convention shorter ones are
        never given in air.

    Returns
    -------
    vacuum : ndarray, float64
        Wavelengths in vacuum, in Å, in the shape of `wavelength`.

    Raises
    ------
    ValueError
        If a wavelength is not finite or is shorter than 2000 Å.

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
    air = np.asarray(wavelength, dtype=np.float64)
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


def _refractive_index(vacuum: np.ndarray) -> np.ndarray:
    wavenumber_squared = (1e4 / vacuum) ** 2
    return (
        1
        + 8.34254e-5
        + 2.406147e-2 / (130 - wavenumber_squared)
        + 1.5998e-4 / (38.9 - wavenumber_squared)
    )
