# SPDX-License-Identifier: BSD-3-Clause
"""Light within a radius: the profile of Sérsic, and a bulge with a disc."""

import numpy as np
from scipy.special import gammainc, gammaincinv

# Halvings of an interval: more than double precision resolves.
_HALVINGS = 60

BULGE_INDEX = 4.0
DISC_INDEX = 1.0


def sersic_flux_fraction(
    radius: np.ndarray | float, sersic_index: np.ndarray | float
) -> np.ndarray:
    r"""Give the part of a galaxy's light within a radius.

    The surface brightness of Sérsic's profile falls as
    :math:`\exp(-b_n (R/R_e)^{1/n})`, with :math:`b_n` such that half of the light is
    within the half-light radius :math:`R_e` [1]_. Index 1 is the exponential disc,
    index 4 de Vaucouleurs's law, index 0.5 a Gaussian.

    Parameters
    ----------
    radius : array-like of float
        Radius in units of the half-light radius.
    sersic_index : array-like of float
        Sérsic index n, of a shape that broadcasts with that of `radius`.

    Returns
    -------
    fraction : ndarray of float
        From 0 to 1, of the common shape.

    References
    ----------
    .. [1] Graham, A. W. & Driver, S. P. 2005, PASA 22, 118, doi:10.1071/AS05001.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.simulation import sersic_flux_fraction
    >>> np.round(sersic_flux_fraction([0.5, 1.0, 4.0], 1.0), 3)
    array([0.205, 0.5  , 0.991])
    >>> np.round(sersic_flux_fraction([0.5, 1.0, 4.0], 4.0), 3)
    array([0.32 , 0.5  , 0.847])
    """
    index = np.asarray(sersic_index, dtype=np.float64)
    scale = gammaincinv(2 * index, 0.5)
    return gammainc(2 * index, scale * np.asarray(radius) ** (1 / index))


def bulge_and_disc_radii(
    half_light_radius: np.ndarray, bulge_fraction: np.ndarray, radius_ratio: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the radii of a bulge and a disc from the radius of both together.

    Parameters
    ----------
    half_light_radius : ndarray of shape (n,)
        Radius with half of the light of the galaxy.
    bulge_fraction : ndarray of shape (n,)
        Part of the light that the bulge has.
    radius_ratio : ndarray of shape (n,)
        Half-light radius of the bulge over that of the disc.

    Returns
    -------
    bulge_radius, disc_radius : ndarray of shape (n,)
        Their half-light radii, in the unit of `half_light_radius`.
    """
    # The radius of the whole, in units of the disc's, lies between those of the parts.
    low = np.minimum(radius_ratio, 1.0)
    high = np.maximum(radius_ratio, 1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        light = bulge_fraction * sersic_flux_fraction(
            middle / radius_ratio, BULGE_INDEX
        ) + (1 - bulge_fraction) * sersic_flux_fraction(middle, DISC_INDEX)
        low = np.where(light < 0.5, middle, low)
        high = np.where(light < 0.5, high, middle)
    disc_radius = half_light_radius / ((low + high) / 2)
    return radius_ratio * disc_radius, disc_radius
