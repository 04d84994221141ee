# SPDX-License-Identifier: BSD-3-Clause
"""The simulated images of electrons as users see them."""

import numpy as np
import pytest
import torch

from skastro.sevi import SEVISimulator, angular_density, make_sevi


def make(n_images=6, **settings):
    defaults = {"size": 64, "n_electrons": 1e5, "random_state": 0}
    return make_sevi(n_images, **{**defaults, **settings})


def second_moments(sevi, i=0):
    """Center, and covariance of the electrons, in pixels."""
    image = sevi.images[i].astype(float)
    places = np.indices(image.shape).reshape(2, -1)
    center = (places * image.ravel()).sum(1) / image.sum()
    apart = places - center[:, None]
    return center, (apart * image.ravel()) @ apart.T / image.sum()


def test_fields():
    sevi = make(5, n_shells=2)
    assert sevi.images.shape == (5, 64, 64)
    assert sevi.images.dtype == np.float32
    assert (sevi.images == np.round(sevi.images)).all()
    assert sevi.images.min() == 0
    assert sevi.beta.shape == (5, 24)
    assert sevi.radius.shape == sevi.radius_width.shape == (5, 2)
    assert (sevi.n_electrons == 1e5).all()
    assert (np.diff(sevi.radius) > 0).all()
    assert sevi.pixel_size == 2 / 64
    assert (sevi.center == 31.5).all()
    assert not sevi.tilt.any()
    assert not sevi.ellipticity.any()
    assert not sevi.background.any()
    assert sevi.images.sum((1, 2)) == pytest.approx(2e5, rel=0.012)
    assert angular_density(sevi.beta.reshape(10, 12), [0, 0.5, 1]).min() > 0
    assert "5, of 2 shell(s)" in sevi.DESCR


def test_random_state():
    first, second = make(3), make(3)
    np.testing.assert_array_equal(first.images, second.images)
    assert (make(3, random_state=1).radius != first.radius).all()
    state = torch.get_rng_state()
    make(2, random_state=None)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["poisson", "electrons"])
def test_number_of_electrons(method):
    sevi = make(80, n_electrons=(3e2, 3e4), size=16, method=method)
    drawn = sevi.n_electrons[:, 0]
    assert drawn.min() < 500
    assert drawn.max() > 2e4
    assert np.median(drawn) == pytest.approx(3e3, rel=0.5)
    pulls = (sevi.images.sum((1, 2)) - drawn) / np.sqrt(drawn)
    assert pulls.std() == pytest.approx(1, abs=0.3)
    assert abs(pulls.mean()) < 0.4


def test_contrast():
    sevi = make(50, n_shells=2, contrast=4.0, size=16)
    ratio = sevi.n_electrons[:, 0] / sevi.n_electrons[:, 1]
    assert 0.25 <= ratio.min() < 0.5
    assert 2 < ratio.max() <= 4
    assert sevi.n_electrons.mean(1) == pytest.approx(1e5)


def test_methods_show_the_same_shells():
    settings = {"tilt": (-5, 5), "center_offset": 3.0, "background": (0.1, 0.2)}
    drawn = make(2, **settings)
    thrown = make(2, method="electrons", **settings)
    for name in ("beta", "radius", "tilt", "center", "background"):
        np.testing.assert_array_equal(drawn[name], thrown[name])
    difference = drawn.images - thrown.images
    variance = drawn.images + thrown.images
    counted = variance > 10
    statistic = (difference[counted] ** 2 / variance[counted]).mean()
    assert statistic == pytest.approx(1, abs=0.1)
    assert (difference != 0).any()


def test_conventions():
    density, vmi = make(), make(convention="vmi")
    np.testing.assert_allclose(vmi.beta, 2 * density.beta)
    np.testing.assert_array_equal(vmi.images, density.images)
    assert vmi.convention == "vmi"


def test_polarization_axis():
    along, across = make(), make(polarization_axis=0)
    _, covariance = second_moments(along)
    assert covariance[1, 1] > 1.5 * covariance[0, 0]
    _, covariance = second_moments(across)
    assert covariance[0, 0] > 1.5 * covariance[1, 1]


@pytest.mark.parametrize("polarization_axis", [0, 1])
@pytest.mark.parametrize("method", ["poisson", "electrons"])
def test_tilt(method, polarization_axis):
    sevi = make(
        1, tilt=20.0, method=method, polarization_axis=polarization_axis, size=100
    )
    assert sevi.tilt.tolist() == [20.0]
    _, covariance = second_moments(sevi)
    if polarization_axis == 0:
        covariance = covariance[::-1, ::-1]
    angle = np.arctan2(2 * covariance[0, 1], covariance[1, 1] - covariance[0, 0]) / 2
    assert np.degrees(angle) == pytest.approx(20, abs=0.6)


@pytest.mark.parametrize("method", ["poisson", "electrons"])
def test_ellipticity(method):
    round_, stretched = (
        second_moments(make(1, ellipticity=e, method=method, size=100))[1]
        for e in (0.0, 0.1)
    )
    assert stretched[1, 1] / round_[1, 1] == pytest.approx(1.1, abs=0.01)
    assert stretched[0, 0] / round_[0, 0] == pytest.approx(1 / 1.1, abs=0.01)


@pytest.mark.parametrize("polarization_axis", [0, 1])
@pytest.mark.parametrize("method", ["poisson", "electrons"])
def test_center(method, polarization_axis):
    sevi = make(
        3,
        center_offset=4.0,
        method=method,
        polarization_axis=polarization_axis,
        radius=(0.3, 0.7),
    )
    assert (np.abs(sevi.center - 31.5) <= 4).all()
    assert np.ptp(sevi.center) > 2
    for i, expected in enumerate(sevi.center):
        assert second_moments(sevi, i)[0] == pytest.approx(expected, abs=0.25)


def test_background():
    sevi = make(4, background=1.0, radius=(0.3, 0.7))
    assert sevi.images.sum((1, 2)) == pytest.approx(2e5, rel=0.01)
    assert sevi.images[:, :8, :8].mean() == pytest.approx(1e5 / 64**2, rel=0.05)


def test_extent_loses_electrons():
    sevi = make(2, radius=(0.8, 0.9), extent=0.5)
    assert sevi.pixel_size == 1 / 64
    assert (sevi.images.sum((1, 2)) < 8e4).all()


def test_min_separation():
    sevi = make(50, n_shells=3, min_separation=0.25, size=16, n_electrons=10)
    assert np.diff(sevi.radius).min() >= 0.25


def test_verbose(capsys):
    make(1)
    assert capsys.readouterr() == ("", "")
    make(1, verbose=1)
    assert "1/1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_images": 0}, ValueError, "n_images must be at least 1"),
        ({"n_images": 2.0}, TypeError, "n_images must be an integer"),
        ({"n_shells": 0}, ValueError, "n_shells must be at least 1"),
        ({"size": 4}, ValueError, "size must be at least 8"),
        ({"size": "64"}, TypeError, "size must be an integer"),
        ({"n_electrons": 0}, ValueError, "n_electrons must be from 1"),
        ({"n_electrons": (1e4, 1e3)}, ValueError, r"be \(lowest, highest\)"),
        ({"n_electrons": (1, 2, 3)}, TypeError, "a number or a pair"),
        ({"background": -0.1}, ValueError, "background must be from 0"),
        ({"background": np.nan}, ValueError, "background must be from 0"),
        ({"tilt": "2"}, TypeError, "tilt must be a number or a pair"),
        ({"ellipticity": -1}, ValueError, "ellipticity must be from -0.5"),
        ({"contrast": 0.5}, ValueError, "contrast must be from 1"),
        ({"center_offset": (0, 1)}, TypeError, "center_offset must be a number"),
        ({"extent": 0}, ValueError, "extent must be from"),
        ({"radius": (0.01, 0.5)}, ValueError, "at least 6 times as large"),
        ({"radius_width": 0}, ValueError, "radius_width must be positive"),
        ({"min_separation": 0.4, "n_shells": 3}, ValueError, "lower min_separation"),
        ({"min_separation": -1}, ValueError, "min_separation must be at least 0"),
        ({"polarization_axis": 2}, ValueError, "polarization_axis must be 0 or 1"),
        ({"convention": "abel"}, ValueError, "convention must be one of"),
        ({"method": "fast"}, ValueError, "method must be one of"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors(settings, error, message):
    with pytest.raises(error, match=message):
        make(**{"n_images": 1, **settings})


def test_simulator_call():
    simulator = SEVISimulator(n_shells=2, size=32, convention="vmi")
    images, beta = simulator(3, torch.Generator().manual_seed(0))
    assert images.shape == (3, 32, 32)
    assert beta.shape == (3, 24)
    assert beta.dtype == torch.float32
    scenes = simulator.draw(3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(beta, 2 * scenes["beta"].flatten(1).float())
    again, _ = simulator(3, torch.Generator().manual_seed(0))
    assert torch.equal(images, again)
