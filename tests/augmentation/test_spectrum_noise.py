# SPDX-License-Identifier: BSD-3-Clause
"""Noise, detector defects and shifts of spectra, against their definitions."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skastro.augmentation import (
    AUGMENTATIONS,
    BadPixels,
    CCDNoise,
    CosmicRays,
    GaussianNoise,
    ScaleContinuum,
    ShiftSpectra,
    SpikedNoise,
)

LENGTH = 30
GRID = np.geomspace(4000, 4100, LENGTH)


def make_flux(*shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, 1.0, size=shape)


# White noise ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(200, 250), (70, 3, 211)])
@pytest.mark.parametrize("relative", [False, True])
def test_ccd_noise_is_white_gaussian_noise_of_its_scale(shape, relative):
    flux = 10 * make_flux(*shape)
    noise = CCDNoise(0.3, relative=relative)(flux, generator=0) - flux
    if relative:
        noise /= flux.std(axis=-1, keepdims=True)
    assert stats.kstest(noise.ravel() / 0.3, "norm").pvalue > 0.01
    neighbors = np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1]
    assert abs(neighbors) < 0.02
    if len(shape) == 3:
        channels = np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]
        assert abs(channels) < 0.02


def test_random_scales_are_even_and_shared_by_channels():
    flux = np.zeros((1500, 2, 400))
    noise = CCDNoise(0.5, random_scale=True)(flux, generator=0)
    scale = noise.std(axis=(1, 2)) / 0.5
    # The standard deviation of 800 pixels is known to 2.5 per cent.
    assert stats.kstest(scale, "uniform").pvalue > 0.01
    assert_allclose(noise[:, 0].std(axis=1), noise[:, 1].std(axis=1), rtol=0.25)


def test_gaussian_noise_is_ccd_noise_of_random_relative_scale():
    flux = torch.tensor(make_flux(5, LENGTH))
    other = CCDNoise(0.4, relative=True, random_scale=True)
    noise = GaussianNoise(0.4)
    assert noise.max_scale == 0.4
    assert torch.equal(noise(flux, generator=0), other(flux, generator=0))


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_spikes_push_one_pixel_by_the_largest_absolute_flux(probability):
    flux = make_flux(4000, 2, 50) - 3
    push = SpikedNoise(0.0, probability=probability)(flux, generator=0) - flux
    touched = np.abs(push) > 1e-9
    n_pixels = touched.sum(axis=2)
    assert set(np.unique(n_pixels)) <= {0, 1}
    assert_array_equal(touched[:, 0], touched[:, 1])
    hit = n_pixels[:, 0] == 1
    assert hit.mean() == pytest.approx(probability, abs=0.03)
    height = push[hit].sum(axis=2)
    assert_allclose(np.abs(height), np.abs(flux[hit]).max(axis=2))
    assert_array_equal(np.sign(height[:, 0]), np.sign(height[:, 1]))
    if probability:
        assert (height[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.04)
        pixels = np.bincount(touched[hit, 0].argmax(axis=1), minlength=50)
        assert stats.chisquare(pixels).pvalue > 0.01


def test_spiked_noise_has_a_third_of_the_standard_deviation():
    flux = 20 * make_flux(200, 500)
    noise = SpikedNoise(probability=0.0)(flux, generator=0) - flux
    assert (
        stats.kstest(3 * noise.ravel() / flux.std(axis=1).repeat(500), "norm").pvalue
        > 0.01
    )
    # The largest flux is the spectrum's own, without the noise.
    spiked = AUGMENTATIONS["resclass"](flux, generator=0) - flux
    height = np.abs(spiked - noise).max(axis=1)
    hit = height > 1e-9
    assert hit.mean() == pytest.approx(0.5, abs=0.1)
    assert_allclose(height[hit], np.abs(flux[hit]).max(axis=1))


# Defects --------------------------------------------------------------------------


@pytest.mark.parametrize(("max_length", "longest"), [(6, 6), (0.3, 9), (99, 30)])
def test_bad_pixels_are_windows_of_even_lengths_and_places(max_length, longest):
    flux = np.ones((6000, 2, LENGTH))
    bad = BadPixels(max_length)(flux, generator=0) == 0
    assert_array_equal(bad[:, 0], bad[:, 1])
    bad = bad[:, 0]
    window = bad.sum(axis=1)
    assert stats.chisquare(np.bincount(window, minlength=longest + 1)[1:]).pvalue > 0.01
    start = bad.argmax(axis=1)
    pixel = np.arange(LENGTH)
    inside = (start[:, None] <= pixel) & (pixel < (start + window)[:, None])
    assert_array_equal(bad, inside)
    for length in (1, longest):
        places = np.bincount(start[window == length], minlength=LENGTH + 1 - length)
        assert len(places) == LENGTH + 1 - length
        if len(places) > 1:
            assert stats.chisquare(places).pvalue > 0.01


def test_bad_pixels_in_part_of_the_spectra_with_another_value():
    flux = make_flux(3000, LENGTH)
    varied = BadPixels(1.0, probability=0.25, value=-7.0)(flux, generator=0)
    changed = varied != flux
    assert changed.any(axis=1).mean() == pytest.approx(0.25, abs=0.03)
    assert (varied[changed] == -7).all()


@pytest.mark.parametrize("n_hits", [1, 4])
def test_cosmic_rays_hit_pixels_evenly(n_hits):
    flux = np.zeros((5000, 2, LENGTH))
    hit = CosmicRays(n_hits)(flux, generator=0)
    assert set(np.unique(hit)) == {0.0, 1.0}
    assert_array_equal(hit[:, 0], hit[:, 1])
    # Draws with replacement: the mean number of different pixels.
    expected = LENGTH * (1 - (1 - 1 / LENGTH) ** n_hits)
    assert hit[:, 0].sum(axis=1).mean() == pytest.approx(expected, rel=0.01)
    assert hit[:, 0].sum(axis=1).max() == n_hits
    assert stats.chisquare(hit[:, 0].sum(axis=0)).pvalue > 0.01


@pytest.mark.parametrize(("value", "probability"), [("max", 1.0), (50.0, 0.3)])
def test_cosmic_rays_of_other_height_and_chance(value, probability):
    flux = make_flux(3000, 3, LENGTH)
    flux[:, 1] *= 1000
    operation = CosmicRays(2, probability=probability, value=value)
    varied = operation(flux, generator=0)
    changed = varied != flux
    height = (
        np.full(flux.shape, value)
        if value != "max"
        else np.broadcast_to(flux.max(axis=-1, keepdims=True), flux.shape)
    )
    assert_array_equal(varied[changed], height[changed])
    # The brightest pixel may be the one that is hit, which changes nothing.
    expected = probability * (1 if value != "max" else 1 - 1 / LENGTH**2)
    changed = changed.any(axis=2).mean(axis=0)
    assert_allclose(changed, expected, atol=0.03)


def test_the_papers_order_is_ccd_noise_cosmic_rays_bad_pixels():
    wang = AUGMENTATIONS["wang2020"]
    kinds = [type(operation) for operation in wang.operations]
    assert kinds == [CCDNoise, CosmicRays, BadPixels]
    flux = np.full((2000, 200), 0.5)
    varied = wang(flux, generator=0)
    bad, struck = varied == 0, varied == 1
    # Neither noise nor a cosmic ray comes after the bad pixels, no noise after the ray.
    assert set(np.unique(struck.sum(axis=1))) == {0, 1}
    window = bad.sum(axis=1)
    assert window.min() == 1
    assert window.max() == 20
    ends = 200 - bad[:, ::-1].argmax(axis=1)
    assert_array_equal(ends - bad.argmax(axis=1), window)
    hidden = 1 - struck.any(axis=1).mean()
    assert hidden == pytest.approx(window.mean() / 200, abs=0.02)
    noise = varied[~bad & ~struck] - 0.5
    assert stats.kstest(noise / wang.operations[0].scale, "norm").pvalue > 0.01


# Calibration ----------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_continuum_changes_by_a_smooth_bounded_curve(degree):
    flux = 7 * make_flux(500, 2, 101) + 30
    operation = ScaleContinuum(0.3, degree=degree)
    factor = operation(flux, generator=0) / flux
    assert_allclose(factor[:, 0], factor[:, 1])
    assert factor.max() <= 1.3 + 1e-12
    assert factor.min() >= 1 / 1.3 - 1e-12
    x = np.linspace(-1, 1, 101)
    fitted = np.polynomial.chebyshev.chebfit(x, np.log(factor[:, 0]).T, degree + 1)
    assert_allclose(fitted[[0, degree + 1]], 0, atol=1e-12)
    limit = np.log(1.3) / degree
    for coefficient in fitted[1 : degree + 1]:
        even = stats.uniform(-limit, 2 * limit)
        assert stats.kstest(coefficient, even.cdf).pvalue > 0.01


# Velocities -----------------------------------------------------------------------

GRIDS = {
    "linear": np.linspace(3900.0, 9000.0, 800),
    "logarithmic": np.geomspace(3700.0, 9100.0, 800),
    "uneven": np.cumsum(np.random.default_rng(0).uniform(1, 3, 800)) + 5000,
    "micrometers": np.linspace(0.37, 0.9, 800),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_velocities_move_spectra_by_the_doppler_factor(grid):
    # One channel is the wavelength itself and tells how far each sample moved.
    flux = np.stack([np.tile(grid, (300, 1)), make_flux(300, 800)], axis=1)
    shift = ShiftSpectra(max_velocity=3000.0, wavelength=grid)
    shifted = shift(flux, generator=0)
    stretch = grid[400] / shifted[:, 0, 400]
    beta = (stretch**2 - 1) / (stretch**2 + 1)
    velocity = 299792.458 * beta
    assert stats.kstest(velocity, stats.uniform(-3000, 6000).cdf).pvalue > 0.01
    for row in range(300):
        expected = np.interp(grid / stretch[row], grid, flux[row, 1])
        assert_allclose(shifted[row, 1], expected, atol=1e-6)
    single = shift(torch.tensor(flux, dtype=torch.float32), generator=0)
    assert single.dtype == torch.float32


def test_single_precision_places_lines_to_a_hundredth_of_a_pixel():
    grid = np.linspace(3900.0, 9000.0, 3000)
    line = np.exp(-0.5 * ((grid - 6564.6) / 8) ** 2)
    flux = np.stack([grid, line])[None].repeat(50, axis=0)
    shift = ShiftSpectra(max_velocity=500.0, wavelength=grid)
    shifted = shift(flux.astype(np.float32), generator=0).astype(float)
    stretch = grid[1500] / shifted[:, 0, 1500]
    center = (shifted[:, 1] * grid).sum(axis=1) / shifted[:, 1].sum(axis=1)
    assert_allclose(center, 6564.6 * stretch, atol=0.017)


def test_no_velocity_is_no_change():
    flux = torch.tensor(make_flux(3, LENGTH))
    shift = ShiftSpectra(max_velocity=0, wavelength=GRID)
    assert torch.allclose(shift(flux, generator=0), flux, rtol=1e-12)


def test_bad_velocities_and_grids():
    with pytest.raises(ValueError, match=r"need both .* but got max_velocity alone"):
        ShiftSpectra(max_velocity=10.0)
    with pytest.raises(ValueError, match=r"need both .* but got wavelength alone"):
        ShiftSpectra(wavelength=GRID)
    with pytest.raises(ValueError, match=r"either .* got max_shift=0\.1 and max_vel"):
        ShiftSpectra(0.1, max_velocity=10.0, wavelength=GRID)
    for velocity in (-1.0, 3e5, np.nan):
        with pytest.raises(ValueError, match="velocity must be from 0 to 299493"):
            ShiftSpectra(max_velocity=velocity, wavelength=GRID)
    for grid in (GRID[::-1], -GRID, [1.0, 1.0], [1.0, np.nan]):
        with pytest.raises(ValueError, match="positive, finite and strictly ascending"):
            ShiftSpectra(max_velocity=10.0, wavelength=grid)
    for grid in ([4000.0], [[4000.0, 4001.0]]):
        with pytest.raises(ValueError, match=r"must be of shape .* but got"):
            ShiftSpectra(max_velocity=10.0, wavelength=grid)
    with pytest.raises(ValueError, match=r"wavelengths of 30 pixels, .* spectra of 31"):
        ShiftSpectra(max_velocity=10.0, wavelength=GRID)(torch.ones(2, 31))
