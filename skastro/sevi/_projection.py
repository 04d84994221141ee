# SPDX-License-Identifier: BSD-3-Clause
"""Electron shells along the line of sight."""

import math

import numpy as np
import torch

from skastro.simulation._sevi_legendre import even_legendre

# Standard deviations of the radius beyond which a shell is taken to end.
REACH = 6.0

# Points of the integral, which is exact to 1e-5 with them.
_N_DEPTHS = 24


def line_of_sight_moments(
    s: torch.Tensor,
    radius: torch.Tensor,
    radius_width: torch.Tensor,
    derivatives: bool = False,
) -> torch.Tensor:
    r"""Integrate shells along the line of sight.

    Electrons of a radius r whose density in cos θ is f have the density
    f(cos θ) / (2π r²) on their sphere. Where the line of sight passes the centre at the
    distance s, both halves of the sphere give f(z/r) / (π r y), with y² = r² - s². For
    radii of the normal density N this is summed to

    .. math:: \int_0^\infty N(r)\, f(z / r)\, \frac{dy}{\pi r^2},

    whose integrand has no singularity at r = s, unlike that of the integral over r.

    Parameters
    ----------
    s : Tensor of shape (n, n_radii)
        Distances from the centre in the image.
    radius, radius_width : Tensors of shape (n,)
        Mean and standard deviation of the radii. Both may require gradients.
    derivatives : bool, default=False
        Whether to give the derivatives with respect to `radius` and `radius_width` too.

    Returns
    -------
    moments : Tensor of shape (n, n_radii, 13) or (3, n, n_radii, 13)
        The integral with P_2k(s / r), k = 0 … 12, in place of f; with `derivatives`
        followed by those by `radius` and by `radius_width`.

    Examples
    --------
    >>> import torch
    >>> from skastro.simulation.sevi import line_of_sight_moments
    >>> radius, width = torch.tensor([0.5]), torch.tensor([0.005])
    >>> moments = line_of_sight_moments(torch.tensor([[0.0, 0.3]]), radius, width)
    >>> [round(value, 2) for value in moments[0, :, 0].tolist()]  # 1 / (π R y)
    [1.27, 1.59]
    """
    nodes, weights = np.polynomial.legendre.leggauss(_N_DEPTHS)
    nodes = torch.as_tensor((nodes + 1) / 2).to(s)
    weights = torch.as_tensor(weights / 2).to(s)
    radius, radius_width = radius[:, None, None], radius_width[:, None, None]
    s = s[..., None]
    # The integral depends on radius and width by the normal density alone: where its
    # nodes lie is no matter of derivatives.
    with torch.no_grad():
        reach = REACH * radius_width
        near = torch.maximum(radius - reach, s)
        far = radius + reach
        # Products, since differences of squares would lose digits.
        low = torch.sqrt((near - s) * (near + s))
        high = torch.sqrt(((far - s) * (far + s)).clamp(min=0))
        y = low + (high - low) * nodes
        r = torch.hypot(s, y)
        measure = (high - low) * weights / (math.pi * r**2)
        cosine = s / r
    deviation = (r - radius) / radius_width
    normal = torch.exp(-(deviation**2) / 2) / (math.sqrt(2 * math.pi) * radius_width)
    weight = (measure * normal)[..., None]
    if derivatives:
        scores = torch.stack([deviation, deviation**2 - 1], dim=-1)
        weight = torch.cat([weight, weight * scores / radius_width[..., None]], dim=-1)
    moments = weight.mT @ even_legendre(cosine)
    return moments.movedim(2, 0) if derivatives else moments[:, :, 0]
