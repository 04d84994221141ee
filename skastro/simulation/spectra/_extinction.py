# SPDX-License-Identifier: BSD-3-Clause
"""Interstellar extinction."""

import numpy as np
from numpy.typing import ArrayLike

# Coefficients of y^1, y^2, … of the optical part, y = x - 1.82 (CCM89, eq. 3).
_OPTICAL_A = (0.17699, -0.50447, -0.02427, 0.72085, 0.01979, -0.77530, 0.32999)
_OPTICAL_B = (1.41338, 2.28305, 1.07233, -5.38434, -0.62251, 5.30260, -2.09002)


def extinction_curve(wavelength: ArrayLike, r_v: float = 3.1) -> np.ndarray:
    """Extinction A(λ)/A(V) of Cardelli, Clayton and Mathis (1989).

    Parameters
    ----------
    wavelength : array-like
        Wavelengths in Å, from 1695 to 33333.
    r_v : float, default=3.1
        Ratio of total to selective extinction, A(V)/E(B-V).

    Returns
    -------
    curve : ndarray, float64
        Extinction in magnitudes relative to that in the V band.

    Raises
    ------
    ValueError
        If a wavelength is outside the range of the law.

    References
    ----------
    Cardelli, J. A., Clayton, G. C. & Mathis, J. S. 1989, ApJ 345, 245,
    doi:10.1086/167900 (equations 2 to 4, without the far ultraviolet).

    Examples
    --------
    >>> from skastro.simulation import extinction_curve
    >>> extinction_curve([4400.0, 5494.5, 7000.0]).round(2)
    array([1.32, 1.  , 0.75])
    """
    x = 1e4 / np.asarray(wavelength, dtype=np.float64)
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
