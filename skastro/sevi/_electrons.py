# SPDX-License-Identifier: BSD-3-Clause
"""Images of electron shells, simulated electron by electron."""

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike

from skastro.utils import plain_array

# Number of coefficients of a shell, P_2 to P_24, as in the published data.
N_BETAS = 12

# Factor of the coefficients of 1/2 + Σ β_l P_2l in each convention: "vmi" has b_l of
# 1 + Σ b_l P_2l.
FACTORS = {"density": 1.0, "vmi": 2.0}

# Cells of equal width in cos θ, with constant density in each. This changes P_24 by
# less than a millionth.
_N_CELLS = 20_000


def angular_density(beta: ArrayLike, cos_theta: ArrayLike) -> np.ndarray:
    """Compute the density 1/2 + Σ β_l P_2l(cos θ) of electrons in cos θ.

    Parameters
    ----------
    beta : array-like of shape (..., n_betas)
        The coefficients β_1, β_2 …
    cos_theta : array-like of shape (n_angles,)
        Cosines of the angle from the polarization axis.

    Returns
    -------
    density : ndarray of shape (..., n_angles)
        Its integral over cos θ from -1 to 1 is one.

    Raises
    ------
    TypeError, ValueError
        If a cosine is not from -1 to 1, or has a unit.

    Examples
    --------
    >>> from skastro.sevi import angular_density
    >>> angular_density([1.0], [0.0, 1.0])
    array([0. , 1.5])
    """
    beta = np.atleast_1d(plain_array(beta, "beta"))
    cos_theta = plain_array(cos_theta, "cos_theta")
    if (np.abs(cos_theta) > 1 + 1e-6).any():
        raise ValueError(
            "cos_theta must hold cosines, from -1 to 1; got values from "
            f"{cos_theta.min():g} to {cos_theta.max():g}."
        )
    coefficients = np.zeros((2 * beta.shape[-1] + 1, *beta.shape[:-1]))
    coefficients[0] = 0.5
    coefficients[2::2] = np.moveaxis(beta, -1, 0)
    return legendre.legval(cos_theta, coefficients)


def throw_electrons(
    beta: ArrayLike,
    radius: float,
    radius_width: float,
    n_electrons: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw electrons of a shell one by one.

    Their distance from the center is normally distributed, the cosine of their angle
    from the polarization axis has the density 1/2 + Σ β_l P_2l(cos θ), and the azimuth
    is uniform. They are projected along the axis perpendicular to the image.

    Parameters
    ----------
    beta : array-like of shape (n_betas,)
        Coefficients, any number of them. The density must not be negative.
    radius, radius_width : float
        Mean and standard deviation of the distance from the center.
    n_electrons : int
        Number of electrons.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    electrons : dict of str to ndarray of shape (n_electrons,)
        Sorted by angle: ``r`` and ``cos_theta`` as generated; ``x``, across the
        polarization axis, and ``z``, along it, as detected.

    Raises
    ------
    TypeError
        If a number has a unit.
    ValueError
        If the density is negative somewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.sevi import throw_electrons
    >>> rng = np.random.default_rng(0)
    >>> electrons = throw_electrons([1.0], 0.5, 0.005, 100_000, rng)
    >>> float((electrons["cos_theta"] ** 2).mean().round(2))  # 1/3 + β_1 4/15
    0.6
    """
    radius = plain_array(radius, "radius")
    radius_width = plain_array(radius_width, "radius_width")
    edges = np.linspace(-1, 1, _N_CELLS + 1)
    density = angular_density(beta, (edges[1:] + edges[:-1]) / 2)
    # Rounding may give small negative values for a density of zero.
    if density.min() < -1e-6:
        raise ValueError(
            "The angular density 1/2 + Σ β_l P_2l(cos θ) of a shell must not be "
            f"negative; for beta={np.asarray(beta).tolist()} it falls to "
            f"{density.min():.3g}. Divide coefficients b_l of 1 + Σ b_l P_2l by two."
        )
    density = np.maximum(density, 0)
    counts = rng.multinomial(n_electrons, density / density.sum())
    cosine = rng.uniform(0, edges[1] - edges[0], n_electrons)
    cosine += np.repeat(edges[:-1], counts)
    r = rng.normal(radius, radius_width, n_electrons)
    x = r * np.sqrt(np.maximum(1 - cosine**2, 0))
    x *= np.cos(rng.uniform(0, 2 * np.pi, n_electrons))
    return {"r": r, "cos_theta": cosine, "x": x, "z": r * cosine}


def bin_electrons(
    x: ArrayLike, z: ArrayLike, size: int, extent: float = 1.0
) -> np.ndarray:
    """Count electrons in square pixels.

    Parameters
    ----------
    x, z : array-like of shape (n_electrons,)
        Positions on the detector, along the image's first axis and its second.
    size : int
        Height and width of the image, in pixels.
    extent : float, default=1
        Half the side of the image; electrons beyond are not counted.

    Returns
    -------
    image : ndarray of shape (size, size), int64
        Numbers of electrons.

    Raises
    ------
    TypeError
        If positions have a unit: `extent` has none.
    ValueError
        If x and z differ in their shapes.

    Examples
    --------
    >>> from skastro.sevi import bin_electrons
    >>> bin_electrons([-0.5, 0.5, 3.0], [0.5, 0.5, 0.0], 2)
    array([[0, 1],
           [0, 1]])
    """
    row, column = (
        np.floor((plain_array(place, name) + extent) * (size / 2 / extent))
        for name, place in (("x", x), ("z", z))
    )
    if row.shape != column.shape:
        raise ValueError(
            "x and z must have the same shape, one position for each electron; got "
            f"{row.shape} and {column.shape}."
        )
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    index = (row[inside] * size + column[inside]).astype(np.int64)
    return np.bincount(index, minlength=size**2).reshape(size, size)
