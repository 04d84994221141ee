# SPDX-License-Identifier: BSD-3-Clause
"""The same augmentations twice: one sample at a time, and a batch at a time.

Spectra get Gaussian noise of a third of their standard deviation and, in half of the
cases, a spike of the largest absolute flux in one pixel. Images are rotated by up to 30
degrees, flipped along both axes, and vary in brightness (0.9), contrast (0.2),
saturation (0.2) and hue (0.1), the numbers having the meaning that torchvision's
``ColorJitter`` gives them.

The version for one image uses Pillow (which comes with Matplotlib), as torchvision does
on images from files. That for a batch turns hues in the plane of chrominance instead of
the HSV hexagon, and draws everything for a whole batch at once.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional as F

# Red, green and blue to luminance and two chrominances (NTSC).
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def vary_spectrum(flux: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary one spectrum of shape (length,)."""
    noise = rng.standard_normal(len(flux), dtype=np.float32)
    varied = flux + noise * np.float32(flux.std() / 3)
    if rng.random() < 0.5:
        push = np.abs(flux).max()
        varied[rng.integers(len(flux))] += push if rng.random() < 0.5 else -push
    return varied


def vary_spectra(batch: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Vary a batch of spectra, a Tensor of shape (n_samples, ..., length)."""
    flux = batch.reshape(-1, batch.shape[-1])
    options = {"generator": generator, "device": flux.device}
    noise = torch.randn(flux.shape, dtype=flux.dtype, **options)
    deviation = flux.std(dim=1, keepdim=True, correction=0)
    varied = torch.addcmul(flux, noise, deviation, value=1 / 3)
    drawn = torch.randint(0, 4, (len(flux), 1), **options)
    sign = torch.tensor([-1, 0, 0, 1], dtype=flux.dtype, device=flux.device)[drawn]
    pixel = torch.randint(0, flux.shape[1], (len(flux), 1), **options)
    varied.scatter_add_(1, pixel, sign * flux.abs().amax(dim=1, keepdim=True))
    return varied.view_as(batch)


def vary_image(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary one image, uint8 of shape (height, width, 3)."""
    picture = Image.fromarray(image)
    picture = picture.rotate(
        rng.uniform(-30, 30), resample=Image.Resampling.BILINEAR, expand=False
    )
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.1, 1.9))
    picture = ImageEnhance.Contrast(picture).enhance(rng.uniform(0.8, 1.2))
    picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.8, 1.2))
    shift = int(255 * rng.uniform(-0.1, 0.1))
    hue, saturation, value = picture.convert("HSV").split()
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB"))


def vary_images(batch: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Vary a batch of images in [0, 1], of shape (n_samples, 3, height, width)."""
    n_samples, device = len(batch), batch.device

    def uniform(low: float, high: float) -> Tensor:
        drawn = torch.rand(n_samples, generator=generator, device=device)
        return drawn * (high - low) + low

    def sign() -> Tensor:
        return uniform(-1, 1).sign()

    angle = uniform(-math.pi / 6, math.pi / 6)
    across, down = sign(), sign()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    geometry = torch.stack(
        [across * cos, -across * sin, zero, down * sin, down * cos, zero], dim=1
    )
    grid = F.affine_grid(geometry.view(-1, 2, 3), batch.shape, align_corners=False)
    turned = F.grid_sample(batch, grid.to(batch.dtype), align_corners=False)

    brightness, contrast = uniform(0.1, 1.9), uniform(0.8, 1.2)
    saturation, hue = uniform(0.8, 1.2), uniform(-0.1, 0.1) * 2 * math.pi
    # All but contrast's gray level is linear in the color: one matrix an image.
    to_yiq = torch.tensor(_YIQ, device=device)
    one = torch.ones_like(zero)
    cos, sin = saturation * hue.cos(), saturation * hue.sin()
    chroma = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1)
    gain = brightness * contrast
    matrix = torch.linalg.inv(to_yiq) @ chroma.view(-1, 3, 3) @ to_yiq
    pixels = turned.flatten(2)
    gray = to_yiq[0] @ pixels.mean(dim=2).T
    offset = (brightness * (1 - contrast) * gray).view(-1, 1, 1)
    varied = torch.baddbmm(offset, matrix * gain.view(-1, 1, 1), pixels)
    return varied.clamp_(0, 1).view_as(turned)
