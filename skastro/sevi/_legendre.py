# SPDX-License-Identifier: BSD-3-Clause
"""Even Legendre polynomials, in which densities of electrons are written."""

from functools import cache

import numpy as np
import torch
from numpy.polynomial import legendre
from numpy.typing import ArrayLike

# P_2 to P_24, as in the published data.
N_BETAS = 12


def even_legendre(c: torch.Tensor) -> torch.Tensor:
    """Evaluate P_0, P_2 … P_24.

    Parameters
    ----------
    c : Tensor of shape (...)
        Arguments from -1 to 1.

    Returns
    -------
    values : Tensor of shape (..., 13)
        The polynomials.

    Examples
    --------
    >>> import torch
    >>> from skastro.simulation.sevi import even_legendre
    >>> even_legendre(torch.tensor([0.0, 1.0]))[:, :2].tolist()
    [[1.0, -0.5], [1.0, 1.0]]
    """
    before, now = torch.ones_like(c), c
    values = [before]
    for degree in range(2, 2 * N_BETAS + 1):
        before, now = now, ((2 * degree - 1) * c * now - (degree - 1) * before) / degree
        if degree % 2 == 0:
            values.append(now)
    return torch.stack(values, dim=-1)


def angular_density(beta: ArrayLike, cos_theta: ArrayLike) -> np.ndarray:
    """Give the density 1/2 + Σ β_l P_2l(cos θ) of electrons in cos θ.

    Parameters
    ----------
    beta : array-like of shape (..., n_betas)
        The coefficients β_1, β_2 …
    cos_theta : array-like of shape (n_angles,)
        Cosines of the angle from the polarisation axis.

    Returns
    -------
    density : ndarray of shape (..., n_angles)
        Its integral over cos θ from -1 to 1 is one.

    Examples
    --------
    >>> from skastro.simulation.sevi import angular_density
    >>> angular_density([1.0], [0.0, 1.0])
    array([0. , 1.5])
    """
    beta = np.asarray(beta, dtype=np.float64)
    coefficients = np.zeros((2 * beta.shape[-1] + 1, *beta.shape[:-1]))
    coefficients[0] = 0.5
    coefficients[2::2] = np.moveaxis(beta, -1, 0)
    return legendre.legval(np.asarray(cos_theta, dtype=np.float64), coefficients)


@cache
def product_expansion() -> torch.Tensor:
    """Expand P_2l(u t) in the products P_2m(u) P_2k(t).

    Powers of t would do as well, were it not for their coefficients of up to 10^8;
    here none is above 1 in absolute value.

    Returns
    -------
    coefficients : Tensor of shape (13, 13, 13), float64
        At [l, m, k]. Zero unless m and k are at most l.
    """
    nodes, weights = legendre.leggauss(4 * N_BETAS)
    nodes, weights = torch.as_tensor(nodes), torch.as_tensor(weights)
    degrees = 2 * torch.arange(N_BETAS + 1)
    # Orthogonal with the norm 2 / (2 n + 1).
    project = even_legendre(nodes) * weights[:, None] * (2 * degrees + 1) / 2
    products = even_legendre(nodes[:, None] * nodes)
    coefficients = torch.einsum("utl,um,tk->lmk", products, project, project)
    allowed = degrees <= degrees[:, None]
    return coefficients * (allowed[:, :, None] & allowed[:, None, :])
