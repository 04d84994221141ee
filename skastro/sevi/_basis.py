# SPDX-License-Identifier: BSD-3-Clause
"""Images of electron shells, linear in the coefficients of their angular density."""

import math
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.polynomial import legendre
from torch.nn.functional import grid_sample

from skastro.sevi._electrons import N_BETAS


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
    >>> from skastro.sevi import even_legendre
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


@cache
def product_expansion() -> torch.Tensor:
    """Expand P_2l(u t) in the products P_2m(u) P_2k(t), at [l, m, k] of (13, 13, 13).

    Powers of t would have coefficients of up to 10^8; those of products are at most 1.
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


# Standard deviations of the radius at which a shell is cut off.
REACH = 6.0

# Points of the integral, for an accuracy of 1e-5.
_N_DEPTHS = 24


def line_of_sight_moments(
    s: torch.Tensor,
    radius: torch.Tensor,
    radius_width: torch.Tensor,
    derivatives: bool = False,
) -> torch.Tensor:
    r"""Integrate shells along the line of sight.

    Electrons of a radius r whose density in cos θ is f have the density
    f(cos θ) / (2π r²) on their sphere. On a line of sight at the distance s from the
    center, both halves of the sphere contribute f(z/r) / (π r y), with y² = r² - s².
    For radii with the normal density N the sum is

    .. math:: \int_0^\infty N(r)\, f(z / r)\, \frac{dy}{\pi r^2},

    whose integrand, in contrast to the integral over r, has no singularity at r = s.

    Parameters
    ----------
    s : Tensor of shape (n, n_radii)
        Distances from the center in the image.
    radius, radius_width : Tensors of shape (n,)
        Mean and standard deviation of the radii. Both may require gradients.
    derivatives : bool, default=False
        Whether to return the derivatives with respect to `radius` and `radius_width`.

    Returns
    -------
    moments : Tensor of shape (n, n_radii, 13) or (3, n, n_radii, 13)
        The integral with P_2k(s / r), k = 0 … 12, instead of f; with `derivatives`
        followed by those with respect to `radius` and `radius_width`.

    Examples
    --------
    >>> import torch
    >>> from skastro.sevi import line_of_sight_moments
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
    # Only the normal density depends on radius and width; the derivatives do not
    # include the positions of the nodes.
    with torch.no_grad():
        reach = REACH * radius_width
        near = torch.maximum(radius - reach, s)
        far = radius + reach
        # Products, because differences of squares would lose digits.
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


def detector_matrix(tilt: torch.Tensor, ellipticity: torch.Tensor) -> torch.Tensor:
    """Compute matrices (n, 2, 2) from an upright, round image to the detector.

    They act on (x, z), across the polarization axis and along it. The axis is rotated
    by `tilt`, in degrees from the detector's second axis to its first. The image is
    then stretched along the second axis by `ellipticity`, at equal area.
    """
    angle = torch.deg2rad(tilt)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    stretch = torch.sqrt(1 + ellipticity)
    first = torch.stack([cosine / stretch, sine / stretch], dim=-1)
    second = torch.stack([-sine * stretch, cosine * stretch], dim=-1)
    return torch.stack([first, second], dim=-2)


# Nodes of the tables in radius and in angle, between which values are interpolated to
# about 1e-4 of the image's peak.
_N_RADII = 192
_N_ANGLES = 257

# Further than this many pixels inside the shell, the value at the center of a pixel
# equals its mean to 5e-4.
_SMOOTH = 8.0

# Size of a temporary array that stays in the processor's cache.
_AT_ONCE = 2**19


class ShellBasis:
    """Images of shells on square pixels, linear in the angular coefficients.

    The expected image of an electron of a shell is Σ β_l B_l with l = 0 … 12 and
    β_0 = 1/2, where the images B_l depend on the shell's mean radius R and on the
    standard deviation of its radii only. As P_2l(z/r) = P_2l(cos φ s/r) is a sum of
    products of Legendre polynomials in cos φ and in s/r, an image needs 13 integrals at
    some radii s, which are tabulated densely about R and interpolated. Pixels near the
    shell are integrated with several points along each axis.

    Lengths are in the unit in which the image reaches from -1 to 1 for ``extent=1``.
    Images have the polarization along their second axis.

    Parameters
    ----------
    size : int
        Height and width of the images, in pixels.
    extent : float, default=1
        Half the side of the image.
    finest_width : float, default=0.005
        The smallest standard deviation for which pixels are integrated precisely.
    quadrant : bool, default=False
        Return only the upper right quadrant: rows and columns from the middle, with the
        middle for odd sizes. It is sufficient, because shells are symmetric.
    device : str or torch.device, default="cpu"
        Device of the computation.
    dtype : torch.dtype, default=torch.float32
        Precision of the images.

    Attributes
    ----------
    pixel : float
        Side of a pixel.
    n_points : int
        Points along each axis of a pixel near a shell.

    See Also
    --------
    SEVISimulator : Draws images with Poisson noise.

    Examples
    --------
    >>> import torch
    >>> from skastro.sevi import ShellBasis
    >>> basis = ShellBasis(64)
    >>> images = basis.images(torch.tensor([0.5, 0.7]), torch.tensor([0.01, 0.02]))
    >>> images.shape
    torch.Size([2, 13, 64, 64])
    >>> images[:, :2].sum((2, 3)).mul(0.5).round(decimals=3).abs().tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """

    def __init__(
        self,
        size: int,
        *,
        extent: float = 1.0,
        finest_width: float = 0.005,
        quadrant: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.size = size
        self.extent = extent
        self.finest_width = finest_width
        self.quadrant = quadrant
        self.device = torch.device(device)
        self.dtype = dtype
        self.pixel = 2 * extent / size
        self.n_points = math.ceil(1 + 1.2 * self.pixel / finest_width)
        like: dict[str, Any] = {"device": self.device, "dtype": dtype}
        whole = (torch.arange(size, **like) - (size - 1) / 2) * self.pixel
        self._axes = {False: whole, True: whole[size // 2 :]}
        # Row of the quadrant for each row of a whole image.
        distance = (2 * torch.arange(size, device=self.device) - (size - 1)).abs()
        self._unfold = distance // 2
        nodes, weights = np.polynomial.legendre.leggauss(self.n_points)
        points = torch.as_tensor(nodes / 2 * self.pixel).to(**like)
        weights = torch.as_tensor(weights / 2).to(**like)
        self._offsets = torch.cartesian_prod(points, points)
        self._weights = torch.outer(weights, weights).flatten()
        angles = torch.linspace(0, math.pi / 2, _N_ANGLES, dtype=torch.float64)
        self._angular = even_legendre(torch.cos(angles)).T.to(**like)
        self._expansion = product_expansion().to(**like)

    def images(
        self,
        radius: torch.Tensor,
        radius_width: torch.Tensor,
        *,
        derivatives: bool = False,
        tilt: torch.Tensor | None = None,
        ellipticity: torch.Tensor | None = None,
        center: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute the 13 basis images of each shell.

        Parameters
        ----------
        radius, radius_width : Tensors of shape (n,)
            Mean and standard deviation of the radii. Gradients propagate to both.
        derivatives : bool, default=False
            Whether to return the derivatives with respect to both too.
        tilt, ellipticity : Tensors of shape (n,), default=None
            Rotation of the polarization axis, from the image's second axis to its
            first, in degrees; ratio of the stretch along the second axis to that along
            the first, minus one.
        center : Tensor of shape (n, 2), default=None
            Displacement of the center along both axes, in pixels.

        Returns
        -------
        images : Tensor of shape (n, 13, height, width) or (3, n, 13, height, width)
            Probabilities of the pixels for β_l = 1; with `derivatives` followed by
            those with respect to `radius` and `radius_width`.
        """
        radius, radius_width = self._number(radius), self._number(radius_width)
        nodes = self._nodes(radius, radius_width)
        moments = line_of_sight_moments(nodes, radius, radius_width, derivatives)
        radial = torch.einsum("...nvk,lmk->n...lvm", moments, self._expansion)
        tables = (radial @ self._angular).flatten(1, -3)
        frame = self._frame(len(radius), tilt, ellipticity, center)
        images = self._project(tables, radius, radius_width, frame)
        if not derivatives:
            return images
        return images.unflatten(1, (3, N_BETAS + 1)).movedim(1, 0)

    def linearized(
        self,
        beta: torch.Tensor,
        radius: torch.Tensor,
        radius_width: torch.Tensor,
        *,
        tilt: torch.Tensor | None = None,
        ellipticity: torch.Tensor | None = None,
        center: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute basis images, and derivatives with respect to the radii.

        Parameters
        ----------
        beta : Tensor of shape (n, n_betas)
            Coefficients of the angular density, at most 12.
        radius, radius_width : Tensors of shape (n,)
            Mean and standard deviation of the radii.
        tilt, ellipticity, center : Tensors, default=None
            As in :meth:`images`.

        Returns
        -------
        images : Tensor of shape (n, n_betas + 3, height, width)
            B_0 to the B_l of the last coefficient, then the derivatives of
            1/2 B_0 + Σ β_l B_l with respect to `radius` and `radius_width`.
        """
        beta, radius, radius_width = (
            self._number(value) for value in (beta, radius, radius_width)
        )
        beta = torch.cat([torch.full_like(beta[:, :1], 0.5), beta], dim=1)
        expansion = self._expansion[: beta.shape[1]]
        nodes = self._nodes(radius, radius_width)
        moments = line_of_sight_moments(nodes, radius, radius_width, derivatives=True)
        radial = torch.einsum("nvk,lmk->nlvm", moments[0], expansion)
        mixed = torch.einsum("nl,lmk->nkm", beta, expansion)
        changes = (moments[1:] @ mixed).movedim(0, 1)
        tables = torch.cat([radial, changes], dim=1) @ self._angular
        frame = self._frame(len(radius), tilt, ellipticity, center)
        return self._project(tables, radius, radius_width, frame)

    def quadrant_axes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances of the pixels of a quadrant from the axes of the image.

        Returns
        -------
        across, along : Tensors of shape (height, width)
            Distances of the pixel centers from the second axis and from the first.
        """
        axis = self._axes[True]
        across, along = torch.meshgrid(axis, axis, indexing="ij")
        return across, along

    def pixel_places(self) -> torch.Tensor:
        """Return the places of the pixels of a whole image.

        Returns
        -------
        places : Tensor of shape (size**2, 2)
            Distances of their centers from the middle along both axes, in pixels.
        """
        axis = self._axes[False] / self.pixel
        return torch.cartesian_prod(axis, axis)

    def points(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the points at which pixels are integrated.

        Parameters
        ----------
        pixels : Tensor of int of shape (n,)
            Indices of pixels, those of a quadrant if there is only one.

        Returns
        -------
        places : Tensor of shape (n, n_points**2, 2)
            Distances from the second axis of the image and from the first.
        weights : Tensor of shape (n_points**2,)
            Shares of the pixel.
        """
        axis = self._axes[self.quadrant]
        rows, columns = pixels // len(axis), pixels % len(axis)
        places = torch.stack([axis[rows], axis[columns]], dim=1)
        return places[:, None] + self._offsets, self._weights

    def expected(
        self,
        beta: torch.Tensor,
        radius: torch.Tensor,
        radius_width: torch.Tensor,
        n_electrons: torch.Tensor,
        *,
        tilt: torch.Tensor | None = None,
        ellipticity: torch.Tensor | None = None,
        center: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute expected numbers of electrons, many times faster than by the basis.

        Parameters
        ----------
        beta : Tensor of shape (n, n_shells, 12)
            Coefficients of the angular density 1/2 + Σ β_l P_2l(cos θ).
        radius, radius_width : Tensors of shape (n, n_shells)
            Mean and standard deviation of the radii.
        n_electrons : Tensor of shape (n, n_shells)
            Expected number of electrons of each shell, including those that miss the
            image.
        tilt, ellipticity, center : Tensors, default=None
            As in :meth:`images`, for each image.

        Returns
        -------
        expected : Tensor of shape (n, height, width)
            Expected counts without background.
        """
        beta, radius, radius_width, n_electrons = (
            self._number(value) for value in (beta, radius, radius_width, n_electrons)
        )
        distorted = not (tilt is ellipticity is center is None)
        side = self._axes[self.quadrant or not distorted].numel()
        step = max(1, _AT_ONCE // max(side**2, _N_RADII * _N_ANGLES))
        pieces = []
        for first in range(0, len(beta), step):
            rows = slice(first, first + step)
            frame = self._frame(
                len(beta[rows]),
                *(
                    None if part is None else part[rows]
                    for part in (tilt, ellipticity, center)
                ),
            )
            image = torch.zeros((), device=self.device, dtype=self.dtype)
            for shell in range(beta.shape[1]):
                part = (rows, shell)
                table = self._table(beta[part], radius[part], radius_width[part])
                table = table * n_electrons[part][:, None, None]
                image = image + self._project(
                    table[:, None], radius[part], radius_width[part], frame
                )
            pieces.append(image[:, 0])
        return torch.cat(pieces)

    def _number(self, value: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(value).to(device=self.device, dtype=self.dtype)

    def _table(
        self, beta: torch.Tensor, radius: torch.Tensor, radius_width: torch.Tensor
    ) -> torch.Tensor:
        """Compute the density of a shell at the nodes of radius and angle."""
        nodes = self._nodes(radius, radius_width)
        moments = line_of_sight_moments(nodes, radius, radius_width)
        beta = torch.cat([torch.full_like(beta[:, :1], 0.5), beta], dim=1)
        mixed = torch.einsum("nl,lmk->nkm", beta, self._expansion)
        return moments @ mixed @ self._angular

    @torch.no_grad()
    def _nodes(self, radius: torch.Tensor, radius_width: torch.Tensor) -> torch.Tensor:
        """Radii of the tables: dense about the shell, sparse inside, none beyond."""
        low, high = _node_range(radius, radius_width)
        steps = torch.linspace(0, 1, _N_RADII, device=self.device, dtype=self.dtype)
        nodes = torch.sinh(low + (high - low) * steps) * radius_width[:, None]
        return (nodes + radius[:, None]).clamp(min=0)

    def _frame(
        self,
        n: int,
        tilt: torch.Tensor | None,
        ellipticity: torch.Tensor | None,
        center: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Matrices from the detector to the upright image, and centers."""
        if tilt is ellipticity is center is None:
            return None
        if self.quadrant:
            raise ValueError(
                "An image that is tilted, elliptical or off center has no symmetric "
                "quadrants; make the basis with quadrant=False."
            )
        none = torch.zeros(n, device=self.device, dtype=self.dtype)
        matrix = detector_matrix(
            none if tilt is None else self._number(tilt),
            none if ellipticity is None else self._number(ellipticity),
        )
        shift = torch.zeros(n, 2).to(none) if center is None else self._number(center)
        return torch.linalg.inv(matrix), shift * self.pixel

    def _project(
        self,
        tables: torch.Tensor,
        radius: torch.Tensor,
        radius_width: torch.Tensor,
        frame: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> torch.Tensor:
        """Integrate tables (n, n_channels, n_radii, n_angles) over the pixels."""
        n_channels = tables.shape[1]
        if frame is None:
            pixels, fine = self._polar_grid
        else:
            matrix, shift = frame
            axis = self._axes[False]
            places = torch.cartesian_prod(axis, axis)
            places = (places - shift[:, None]) @ matrix.mT
            offsets = (self._offsets @ matrix.mT)[:, None]
            pixels = _polar(places)
        values = _sample(tables, pixels, radius, radius_width)

        s = pixels[0]
        reach = REACH * radius_width[:, None] + self.pixel
        smooth = reach.clamp(min=_SMOOTH * self.pixel)
        near = (s < radius[:, None] + reach) & (s > radius[:, None] - smooth)
        # Near the center the angle varies within a pixel.
        near |= s < _SMOOTH * self.pixel
        # The pixels of each image form a row, which is padded with pixels that are
        # computed elsewhere.
        count = int(near.sum(1).max())
        listed = near.to(torch.uint8).topk(count, dim=1, sorted=False).indices
        if frame is None:
            points = fine[:, listed]
        else:
            rows = listed[..., None].expand(-1, -1, 2)
            points = _polar(places.gather(1, rows)[:, :, None] + offsets)
        means = _sample(tables, points.flatten(2), radius, radius_width)
        means = means.unflatten(2, (count, -1)) @ self._weights
        values = values.scatter(2, listed[:, None].expand(-1, n_channels, -1), means)

        side = math.isqrt(values.shape[2])
        values = values.unflatten(2, (side, side)) * self.pixel**2
        if frame is None and not self.quadrant:
            values = values[..., self._unfold[:, None], self._unfold]
        return values

    @cached_property
    def _polar_grid(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the pixels of the quadrant and the points in each."""
        axis = self._axes[True]
        places = torch.cartesian_prod(axis, axis)
        return _polar(places[None]), _polar(places[:, None] + self._offsets)


def _node_range(
    radius: torch.Tensor, radius_width: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    low = -torch.asinh(radius / radius_width)[:, None]
    return low, torch.full_like(low, math.asinh(REACH))


def _polar(points: torch.Tensor) -> torch.Tensor:
    """Compute radii of points (..., 2), and angles in the units of the tables."""
    across, along = points.abs().unbind(-1)
    angle = torch.atan2(across, along) * (4 / math.pi) - 1
    return torch.stack([torch.hypot(across, along), angle])


def _sample(
    tables: torch.Tensor,
    polar: torch.Tensor,
    radius: torch.Tensor,
    radius_width: torch.Tensor,
) -> torch.Tensor:
    """Interpolate tables (n, n_channels, n_radii, n_angles) at points (2, n, m)."""
    with torch.no_grad():
        distance = (polar[0] - radius[:, None]) / radius_width[:, None]
        # asinh, which torch does not vectorize on the CPU.
        size = distance.abs()
        step = torch.log1p(size + size**2 / (1 + torch.sqrt(1 + size**2)))
        low, high = _node_range(radius, radius_width)
        row = (torch.copysign(step, distance) - low) / (high - low) * 2 - 1
        grid = torch.stack([polar[1].expand_as(row), row], dim=-1)[:, :, None]
    return grid_sample(tables, grid, align_corners=True)[..., 0]
