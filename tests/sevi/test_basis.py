# SPDX-License-Identifier: BSD-3-Clause
"""Images of electron shells without noise."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from scipy.integrate import quad

from skastro.sevi import (
    ShellBasis,
    angular_density,
    even_legendre,
    line_of_sight_moments,
)
from skastro.sevi._basis import product_expansion

BETA = torch.tensor(
    [1, 0.85, 0.55, 0.25, 0.1, 0.04, 0.015, 0.0026, 0.0004, 7e-5, 5e-6, 1e-7]
).double()


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def abel(s, k, radius, width):
    """Integral over r, whose singularity at r = s goes by r = s + q²."""

    def integrand(q):
        r = s + q**2
        normal = math.exp(-(((r - radius) / width) ** 2) / 2)
        normal /= width * math.sqrt(2 * math.pi)
        polynomial = legendre.legval(s / r, [0] * (2 * k) + [1])
        return normal * polynomial / (math.pi * r) * 2 / math.sqrt(r + s)

    low = max(radius - 8 * width, s)
    ends = math.sqrt(low - s), math.sqrt(radius + 8 * width - s)
    return quad(integrand, *ends, epsabs=1e-12, epsrel=1e-10, limit=400)[0]


def test_legendre():
    c = np.linspace(-1, 1, 11)
    expected = [legendre.legval(c, [0] * (2 * k) + [1]) for k in range(13)]
    np.testing.assert_allclose(even_legendre(torch.tensor(c)).T, expected, atol=1e-14)


def test_product_expansion():
    u, t = numbers(0.3, 0.8), numbers(0.95, -0.1)
    expanded = torch.einsum(
        "lmk,im,ik->il", product_expansion(), even_legendre(u), even_legendre(t)
    )
    torch.testing.assert_close(expanded, even_legendre(u * t))


def test_angular_density():
    c = np.linspace(-1, 1, 5)
    vmi = 1 + 2 * 0.3 * (3 * c**2 - 1) / 2
    np.testing.assert_allclose(angular_density([0.3], c), vmi / 2)
    assert angular_density(np.zeros((2, 3, 12)), c).shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("radius", "width"), [(0.6, 0.007), (0.3, 0.009), (0.9, 0.005), (0.5, 0.05)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments(radius, width, dtype):
    places = [0.0, 0.4 * radius, 0.9 * radius]
    places += [radius + step * width for step in (-4, -2, -1, 0, 1, 2, 4)]
    dtype = getattr(torch, dtype)
    moments = line_of_sight_moments(
        torch.tensor([places], dtype=dtype),
        torch.tensor([radius], dtype=dtype),
        torch.tensor([width], dtype=dtype),
    )
    assert moments.shape == (1, len(places), 13)
    for place, found in zip(places, moments[0], strict=True):
        isotropic = abel(place, 0, radius, width)
        for k in (0, 1, 5, 12):
            expected = abel(place, k, radius, width)
            assert float(found[k]) == pytest.approx(expected, abs=6e-5 * isotropic)


def test_thin_isotropic_shell():
    s = torch.linspace(0, 0.5, 6).double()[None]
    moments = line_of_sight_moments(s, numbers(0.6), numbers(1e-5))
    density = 0.5 * moments[..., 0]
    expected = 1 / (2 * math.pi * 0.6 * torch.sqrt(0.6**2 - s**2))
    torch.testing.assert_close(density, expected, rtol=1e-5, atol=0)


def test_moments_gradients():
    s = torch.linspace(0, 0.62, 9).double()[None]
    radius, width = numbers(0.6).requires_grad_(), numbers(0.008).requires_grad_()
    value, by_radius, by_width = line_of_sight_moments(
        s, radius, width, derivatives=True
    )
    torch.testing.assert_close(value, line_of_sight_moments(s, radius, width))
    value.sum().backward()
    torch.testing.assert_close(radius.grad, by_radius.sum()[None])
    torch.testing.assert_close(width.grad, by_width.sum()[None])


@pytest.mark.parametrize(
    ("size", "radius", "width"), [(64, 0.45, 0.009), (257, 0.8, 0.005)]
)
def test_pixels(size, radius, width):
    """Against the integral over pixels by many points."""
    basis = ShellBasis(size)
    shell = torch.tensor([[radius]]), torch.tensor([[width]])
    image = basis.expected(BETA[None, None], *shell, torch.ones(1, 1))[0].double()
    center = (np.arange(size) - (size - 1) / 2) * 2 / size
    s = np.hypot(*np.meshgrid(center, center, indexing="ij"))
    chosen = np.argwhere(s < radius + 5 * width)
    chosen = chosen[np.random.default_rng(0).permutation(len(chosen))[:200]]
    nodes, weights = np.polynomial.legendre.leggauss(14)
    x = torch.tensor(center[chosen[:, 0], None, None] + nodes[:, None] / size)
    z = torch.tensor(center[chosen[:, 1], None, None] + nodes / size)
    s = torch.hypot(x, z)
    moments = line_of_sight_moments(s.reshape(1, -1), numbers(radius), numbers(width))[
        0
    ]
    beta = torch.cat([numbers(0.5), BETA])
    mixed = torch.einsum("l,lmk->km", beta, product_expansion())
    density = (moments @ mixed * even_legendre((z / s).flatten())).sum(1)
    density = density.reshape(s.shape) @ torch.tensor(weights) @ torch.tensor(weights)
    expected = density / size**2
    found = image[chosen[:, 0], chosen[:, 1]]
    assert found == pytest.approx(expected, abs=4e-4 * float(image.max()))
    # Of two million electrons.
    assert float((2e6 * (found - expected) ** 2 / expected).mean()) < 2e-3


@pytest.mark.parametrize("size", [64, 129, 256])
def test_normalization_and_moments(size):
    basis = ShellBasis(size, finest_width=0.006, dtype=torch.float64)
    radius, width = numbers(0.4, 0.85), numbers(0.006, 0.02)
    images = basis.images(radius, width)
    sums = images.sum((2, 3))
    torch.testing.assert_close(
        sums, 2 * torch.eye(13)[:1].double().expand(2, -1), atol=3e-4, rtol=0
    )
    axis = basis.pixel * (torch.arange(size).double() - (size - 1) / 2)
    beta = torch.cat([numbers(0.5), BETA])
    image = torch.einsum("l,nlxz->nxz", beta, images)
    squared = radius**2 + width**2
    along = 1 / 3 + 4 / 15 * BETA[0]
    # The pixels' own width adds to the second moments.
    own = basis.pixel**2 / 12
    torch.testing.assert_close(
        (image * axis**2).sum((1, 2)), squared * along + own, atol=2e-4, rtol=0
    )
    torch.testing.assert_close(
        (image * axis[:, None] ** 2).sum((1, 2)),
        squared * (1 - along) / 2 + own,
        atol=2e-4,
        rtol=0,
    )
    # A projection of P_2 alone: no l but 1 changes second moments.
    others = (images[:, 2:] * axis**2).sum((2, 3))
    assert float(others.abs().max()) < 3e-4


def test_expected_is_linear_sum_of_images():
    basis = ShellBasis(48, dtype=torch.float64)
    radius, width = numbers(0.4, 0.7), numbers(0.006, 0.009)
    images = basis.images(radius, width)
    beta = torch.stack([BETA, 0.5 * BETA])
    n_electrons = numbers(10.0, 30.0)
    coefficients = torch.cat([torch.full((2, 1), 0.5).double(), beta], dim=1)
    expected = torch.einsum("n,nl,nlxz->xz", n_electrons, coefficients, images)
    found = basis.expected(beta[None], radius[None], width[None], n_electrons[None])
    torch.testing.assert_close(found[0], expected)
    # As many images as are computed in several parts.
    many = basis.expected(
        beta.expand(60, 2, 12),
        radius.expand(60, 2),
        width.expand(60, 2),
        n_electrons.expand(60, 2),
    )
    torch.testing.assert_close(many[59], expected)


@pytest.mark.parametrize("size", [32, 33])
def test_quadrant(size):
    shell = torch.tensor([0.5]), torch.tensor([0.01])
    whole = ShellBasis(size).images(*shell)
    quarter = ShellBasis(size, quadrant=True).images(*shell)
    assert quarter.shape[2:] == ((size + 1) // 2,) * 2
    torch.testing.assert_close(quarter, whole[..., size // 2 :, size // 2 :])
    torch.testing.assert_close(whole, whole.flip(2, 3))


def test_quadrant_of_distorted_image():
    shell = torch.tensor([0.5]), torch.tensor([0.01])
    with pytest.raises(ValueError, match="quadrant=False"):
        ShellBasis(32, quadrant=True).images(*shell, tilt=torch.tensor([2.0]))


def test_extent():
    shell = torch.tensor([0.5]), torch.tensor([0.01])
    near = ShellBasis(32).images(*shell)
    far = ShellBasis(32, extent=2.0, finest_width=0.01).images(*(2 * x for x in shell))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)


def test_linearized():
    beta = torch.tensor([[0.6, 0.2, 0.1]], dtype=torch.float64)
    distortion = {"tilt": numbers(3.0), "ellipticity": numbers(0.02)}
    for quadrant, options in ((True, {}), (False, distortion)):
        basis = ShellBasis(24, dtype=torch.float64, quadrant=quadrant)
        shell = numbers(0.5), numbers(0.02)
        found = basis.linearized(beta, *shell, **options)
        images = basis.images(*shell, derivatives=True, **options)[:, :, :4]
        torch.testing.assert_close(found[:, :4], images[0])
        weight = torch.cat([numbers(0.5)[None], beta], dim=1)[..., None, None]
        for place in (1, 2):
            mixed = (images[place] * weight).sum(1)
            torch.testing.assert_close(found[:, 3 + place], mixed)


def test_derivatives():
    basis = ShellBasis(40, dtype=torch.float64)
    radius, width = numbers(0.5), numbers(0.02)
    images, by_radius, by_width = basis.images(radius, width, derivatives=True)
    torch.testing.assert_close(images, basis.images(radius, width))
    step = 1e-3
    differences = [
        (basis.images(radius + step, width) - basis.images(radius - step, width)),
        (basis.images(radius, width + step) - basis.images(radius, width - step)),
    ]
    for found, difference in zip((by_radius, by_width), differences, strict=True):
        error = (found - difference / (2 * step)).abs().max()
        assert float(error) < 0.01 * float(found.abs().max())
    radius.requires_grad_()
    weights = torch.linspace(0, 1, 40).double()
    (basis.images(radius, width) * weights).sum().backward()
    torch.testing.assert_close(radius.grad, (by_radius * weights).sum()[None])


def test_distortion():
    """A quarter turn swaps the axes; shifts by whole pixels move the image."""
    basis = ShellBasis(50)
    shell = torch.tensor([0.5]), torch.tensor([0.01])
    straight = basis.images(*shell)
    turned = basis.images(*shell, tilt=torch.tensor([90.0]))
    tolerance = {"atol": 2e-4 * float(straight.max()), "rtol": 0}
    torch.testing.assert_close(turned, straight.mT, **tolerance)
    shifted = basis.images(*shell, center=torch.tensor([[3.0, -2.0]]))
    torch.testing.assert_close(shifted, straight.roll((3, -2), (2, 3)), **tolerance)
