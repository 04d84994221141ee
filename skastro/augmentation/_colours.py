# SPDX-License-Identifier: BSD-3-Clause
"""Changes of brightness and colour, and noise, in images."""

import torch

from skastro.augmentation._base import ImageOperation, check_number, draw_uniform

# Rec. ITU-R BT.601.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
# Images that the CPU works on together, so that what it notes stays in its caches.
_BLOCK = 8


class JitterColours(ImageOperation):
    r"""Change brightness, contrast, saturation and hue of each image.

    The numbers mean what they mean in torchvision's ``ColorJitter``. Of the first three
    a factor is drawn evenly from :math:`\max(0, 1 - x)` to :math:`1 + x` for each
    image:

    - brightness multiplies all values;
    - contrast multiplies their distances from the mean of the grey image;
    - saturation multiplies their distances from the grey image.

    The hue, a number from 0 to 1 around the circle of colours, is shifted by what is
    drawn from :math:`-x` to :math:`x`. Changes are applied in this order, while
    torchvision draws the order.

    Values are clipped to the range from 0 to 1 after each change. An image that goes
    beyond that range, as one in counts does, is clipped to its own.

    Parameters
    ----------
    brightness : float, default=0.2
        Largest change of the brightness, 0 or more. 0 changes nothing, here and below.
    contrast : float, default=0.2
        Largest change of the contrast, 0 or more.
    saturation : float, default=0.2
        Largest change of the saturation, 0 or more.
    hue : float, default=0.0
        Largest shift of the hue, from 0 to 0.5.

    Raises
    ------
    ValueError
        If a number is negative or `hue` more than 0.5; when called, if `saturation` or
        `hue` are to change images of 2 channels, or of more than 3. Images of one
        channel have neither, and stay as they are.

    Notes
    -----
    Grey is :math:`0.299 R + 0.587 G + 0.114 B` [1]_ of images of 3 channels, the mean
    of all channels of others. Hue is that of the model of hue, saturation and value
    [2]_.

    References
    ----------
    .. [1] Recommendation ITU-R BT.601-7 (2011). https://www.itu.int/rec/R-REC-BT.601
    .. [2] Smith, A. R. (1978). "Color gamut transform pairs". SIGGRAPH 78, 12-19.
           https://doi.org/10.1145/800248.807361

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import JitterColours
    >>> pixel = np.array([0.4, 0.2, 0.1]).reshape(1, 3, 1, 1)
    >>> brighter = JitterColours(0.5, 0, 0)(pixel, generator=2)
    >>> (brighter / pixel).round(3).ravel()
    array([1.418, 1.418, 1.418])
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.0,
    ) -> None:
        check_number("brightness", brightness)
        check_number("contrast", contrast)
        check_number("saturation", saturation)
        check_number("hue", hue, 0, 0.5)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def _vary_images(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        n_channels = batch.shape[1]
        if n_channels not in (1, 3) and (self.saturation or self.hue):
            raise ValueError(
                "JitterColours changes saturation and hue of images of 3 channels, but "
                f"got {n_channels}. Set both to 0."
            )
        drawn = draw_uniform(batch, generator, 4).to(batch.dtype)
        varied = batch.clone(memory_format=torch.contiguous_format)
        size = _BLOCK if batch.device.type == "cpu" else len(batch)
        for images, numbers in zip(varied.split(size), drawn.split(size), strict=True):
            self._change(images, *numbers.split(1, dim=-1))
        return varied

    def _change(
        self,
        images: torch.Tensor,
        brightness: torch.Tensor,
        contrast: torch.Tensor,
        saturation: torch.Tensor,
        hue: torch.Tensor,
    ) -> None:
        """Change images in place, by numbers from 0 to 1 for each of them."""
        lowest = images.amin(dim=(1, 2, 3), keepdim=True).clamp_(max=0)
        highest = images.amax(dim=(1, 2, 3), keepdim=True).clamp_(min=1)

        def clip() -> None:
            # In place, these take a tenth of the time of clamp with tensors.
            torch.maximum(images, lowest, out=images)
            torch.minimum(images, highest, out=images)

        if self.brightness:
            images.mul_(_factor(self.brightness, brightness))
            clip()
        if self.contrast:
            mean = _grey(images).mean(dim=(2, 3), keepdim=True)
            images.sub_(mean).mul_(_factor(self.contrast, contrast)).add_(mean)
            clip()
        if self.saturation and images.shape[1] == 3:
            grey = _grey(images)
            images.sub_(grey).mul_(_factor(self.saturation, saturation)).add_(grey)
            clip()
        if self.hue and images.shape[1] == 3:
            _shift_hue(images, (2 * hue[..., 0] - 1) * self.hue)

    def __repr__(self) -> str:
        """Show the parameters."""
        return (
            f"JitterColours(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )


class PixelNoise(ImageOperation):
    """Add white Gaussian noise of a random strength to each image.

    Every pixel of every channel gets noise of its own.

    Parameters
    ----------
    max_scale : float, default=0.02
        The noise's standard deviation, in the units of the image, is drawn evenly from
        0 to this number, for each image anew. Images of bytes reach from 0 to 1, once
        they are divided by 255.

    Raises
    ------
    ValueError
        If `max_scale` is negative.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import PixelNoise
    >>> noisy = PixelNoise(0.1)(torch.zeros(4, 3, 20, 20), generator=0)
    >>> 0 < noisy.std() < 0.1
    tensor(True)
    """

    def __init__(self, max_scale: float = 0.02) -> None:
        check_number("max_scale", max_scale)
        self.max_scale = max_scale

    def _vary_images(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        deviation = (self.max_scale * draw_uniform(batch, generator)).to(batch.dtype)
        noise = torch.randn(
            batch.shape, generator=generator, device=batch.device, dtype=batch.dtype
        )
        return batch + noise.mul_(deviation)

    def __repr__(self) -> str:
        """Show the parameter."""
        return f"PixelNoise({self.max_scale})"


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Give the brightness of each pixel, of shape (n_samples, 1, height, width)."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    return _RED * red + _GREEN * green + _BLUE * blue


def _factor(change: float, number: torch.Tensor) -> torch.Tensor:
    """Turn a number from 0 to 1 into a factor about 1."""
    low, high = max(0.0, 1 - change), 1 + change
    return low + (high - low) * number


def _shift_hue(images: torch.Tensor, shift: torch.Tensor) -> None:
    """Shift the hues of images of 3 channels in place.

    The value of a pixel, its largest channel, stays, and so does its chroma, the
    distance to the smallest. Shifts, of shape (n_samples, 1, 1), are parts of the
    circle.
    """
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    # In sixths of the circle. Without chroma there is no hue, and any will do.
    safe = chroma.clamp(min=torch.finfo(images.dtype).tiny)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (hue + 6 * shift) % 6
    # Where on the circle each channel is at its largest.
    for channel, place in ((red, 0), (green, 2), (blue, 4)):
        # The distance to that place, whichever way round is shorter.
        distance = 3 - (3 - (hue - place).abs_()).abs_()
        torch.addcmul(value, chroma, (distance - 1).clamp_(0, 1), value=-1, out=channel)
