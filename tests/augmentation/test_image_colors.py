# SPDX-License-Identifier: BSD-3-Clause
"""Changes of color and noise on batches of images."""

import colorsys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skastro.augmentation import ColorJitter, PixelNoise


def gray(images):
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def factors(varied, images, about):
    """Recover each image's factor from where nothing was clipped."""
    ratio = (varied - about) / (images - about)
    return ratio.flatten(1).median(dim=1).values


@pytest.mark.parametrize("change", [0.3, 1.5])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_factors_of_brightness_contrast_and_saturation(make_images, place, change):
    images = make_images(400) * 0.2 + 0.1
    changes = [0.0, 0.0, 0.0]
    changes[place] = change
    varied = ColorJitter(*changes)(images, generator=0)
    mean = gray(images).mean(dim=(2, 3), keepdim=True)
    about = (torch.zeros(1, 1, 1, 1), mean, gray(images))[place]
    factor = factors(varied, images, about)
    expected = about + (images - about) * factor[:, None, None, None]
    assert_allclose(varied, expected.clamp(0, 1), atol=1e-5)
    low, high = max(0, 1 - change), 1 + change
    assert low <= factor.min() < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < factor.max() <= high
    assert factor.mean() == pytest.approx((low + high) / 2, rel=0.05)


def test_hue_against_the_standard_library(make_images):
    images = make_images(6, 3, 4, 4)
    # Pixels without a hue, and ties of the largest channels.
    images[0, :, 0] = 0.4
    images[1, :2, 0] = 0.9
    images[2, 1:, 0] = 0.9
    images[3] = 0
    varied = ColorJitter(0, 0, 0, 0.5)(images, generator=1)
    for image, result in zip(images, varied, strict=True):
        pixels = [colorsys.rgb_to_hsv(*p) for p in image.flatten(1).T.tolist()]
        shifted = np.array(
            [colorsys.rgb_to_hsv(*p)[0] for p in result.flatten(1).T.tolist()]
        )
        shift = np.median((shifted - [h for h, _, _ in pixels]) % 1)
        expected = [colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in pixels]
        assert_allclose(result.flatten(1).T, expected, atol=2e-4)
    assert not torch.equal(varied[:3], images[:3])


def test_hue_shifts_are_even_and_small():
    images = torch.tensor([0.8, 0.3, 0.2])[:, None, None].expand(500, 3, 2, 2)
    varied = ColorJitter(0, 0, 0, 0.1)(images, generator=0)
    hue = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in varied[:, :, 0, 0].tolist()]
    shift = (np.array(hue) - colorsys.rgb_to_hsv(0.8, 0.3, 0.2)[0] + 0.5) % 1 - 0.5
    assert 0.098 < abs(shift).max() < 0.1001
    assert shift.std() == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_colors_change_one_after_the_other(make_images):
    images = make_images(5)
    jitter = ColorJitter(0.5, 0.4, 0.3, 0.2)
    generator = torch.Generator().manual_seed(3)
    expected = images
    drawn = torch.rand(5, 1, 1, 4, generator=generator)
    for place, change in enumerate((0.5, 0.4, 0.3)):
        mean = gray(expected).mean(dim=(2, 3), keepdim=True)
        about = (torch.zeros(1), mean, gray(expected))[place]
        factor = 1 - change + 2 * change * drawn[..., place : place + 1]
        expected = (about + (expected - about) * factor).clamp(0, 1)
    varied = jitter(images, generator=3)
    # The hue changes neither the largest nor the smallest channel of a pixel.
    assert_allclose(varied.amax(dim=1), expected.amax(dim=1), atol=1e-5)
    assert_allclose(varied.amin(dim=1), expected.amin(dim=1), atol=1e-5)
    still = ColorJitter(0, 0, 0)(images, generator=0)
    assert torch.equal(still, images)
    assert still.data_ptr() != images.data_ptr()


def test_values_are_clipped_to_one_or_to_the_image(make_images):
    images = make_images(50)
    varied = ColorJitter(3, 3, 3)(images, generator=0)
    assert (varied.min(), varied.max()) == (0, 1)
    counts = 1000 * images - 100
    varied = ColorJitter(3, 3, 3)(counts, generator=0)
    excess = varied.amax((1, 2, 3)) - counts.amax((1, 2, 3))
    lack = counts.amin((1, 2, 3)) - varied.amin((1, 2, 3))
    for beyond in (excess, lack):
        assert beyond.max() == pytest.approx(0, abs=1e-3)
        assert (beyond > -1e-3).sum() > 25


def test_images_without_colors(make_images):
    gray_images = make_images(5, 1)
    varied = ColorJitter(0, 0, 0.5, 0.2)(gray_images, generator=0)
    assert torch.equal(varied, gray_images)
    assert not torch.equal(ColorJitter()(gray_images, generator=0), gray_images)
    bands = make_images(5, 4)
    assert ColorJitter(0.2, 0.2, 0)(bands, generator=0).shape == bands.shape
    for jitter in (ColorJitter(0, 0, 0.1), ColorJitter(0, 0, 0, 0.1)):
        with pytest.raises(ValueError, match="3 channels, but got 4"):
            jitter(bands)


def test_noise_has_the_strength_it_says():
    noise = PixelNoise(0.3)(torch.zeros(400, 3, 20, 20), generator=0)
    deviation = noise.flatten(1).std(dim=1)
    assert deviation.max() < 0.32
    assert deviation.square().mean().sqrt() == pytest.approx(0.3 / 3**0.5, rel=0.1)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    # Channels have noise of their own.
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.02
