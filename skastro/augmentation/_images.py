# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations of images: flips and quarter turns, affine maps, colors, noise."""

import math
from collections.abc import Iterator
from numbers import Real

import torch
from torch.nn.functional import grid_sample

from skastro.augmentation._base import (
    ImageAugmentation,
    check_images,
    draw_uniform,
)
from skastro.utils import check_number, check_option

_PADDING_MODES = ("reflection", "border", "zeros")
# Rec. ITU-R BT.601.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
# Images that are transformed together on the CPU, so that intermediate results stay in
# its caches.
_BLOCK = 8


class RandomFlip(ImageAugmentation):
    """Mirror each image with a probability of one half.

    Clockwise spirals become counterclockwise.

    Parameters
    ----------
    horizontal : bool, default=True
        Swap left and right with a probability of one half.
    vertical : bool, default=True
        Swap top and bottom with a probability of one half. Both together rotate an
        image by 180 degrees.

    See Also
    --------
    RandomDihedral : Quarter turns and flips.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import RandomFlip
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.arange(4.0).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    >>> RandomFlip()(images, generator=generator).flatten(1)
    tensor([[1., 0., 3., 2.],
            [3., 2., 1., 0.],
            [1., 0., 3., 2.]])
    """

    def __init__(self, horizontal: bool = True, vertical: bool = True) -> None:
        self.horizontal = horizontal
        self.vertical = vertical

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        chosen = draw_uniform(batch, generator, 2) < 0.5
        augmented = batch.clone()
        if self.horizontal:
            augmented = torch.where(chosen[..., :1], augmented.flip(-1), augmented)
        if self.vertical:
            augmented = torch.where(chosen[..., 1:], augmented.flip(-2), augmented)
        return augmented


class RandomDihedral(ImageAugmentation):
    """Rotate each image by a multiple of 90 degrees, and mirror half of them.

    Each image is transformed by one of the eight symmetries of the square, drawn
    uniformly, without interpolation. Images that are not square are transformed by one
    of the four symmetries that keep their shape: flips and the half turn.

    Parameters
    ----------
    flips : bool, default=True
        Whether to mirror images. False leaves the four rotations (two if images are not
        square), which keep the winding direction of spirals.

    See Also
    --------
    image_symmetries : All symmetries, one after the other.
    RandomAffine : Rotations by any angle.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import RandomDihedral
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.arange(4.0).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    >>> RandomDihedral(flips=False)(images, generator=generator).flatten(1)
    tensor([[3., 2., 1., 0.],
            [2., 0., 3., 1.],
            [3., 2., 1., 0.]])
    """

    def __init__(self, flips: bool = True) -> None:
        self.flips = flips

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        chosen = draw_uniform(batch, generator, 3) < 0.5
        half, quarter, mirrored = chosen.split(1, dim=-1)
        augmented = torch.where(half, batch.flip(-1, -2), batch)
        if _is_square(batch):
            augmented = torch.where(quarter, augmented.rot90(1, (-2, -1)), augmented)
        if self.flips:
            augmented = torch.where(mirrored, augmented.flip(-1), augmented)
        return augmented


class RandomAffine(ImageAugmentation):
    """Rotate, translate, scale and mirror each image.

    One bilinear interpolation does all of this, so that images are blurred only once.
    Each image is mirrored first, then rotated and magnified about its center, then
    shifted, by its own random numbers; all channels of an image move together.

    Parameters
    ----------
    degrees : float, default=180
        The largest rotation to either side, in degrees. Angles are drawn uniformly; 180
        gives all orientations.
    translate : float, default=0.05
        The largest shift to either side, as a fraction of the width and of the height.
        Shifts along the two axes are drawn uniformly and independently.
    scale : tuple of float, default=(0.9, 1.1)
        The lowest and the highest magnification; its logarithm is drawn uniformly.
    flips : bool, default=True
        Whether to mirror images left to right and top to bottom, each with a
        probability of one half. Flips make clockwise spirals counterclockwise.
    padding_mode : {"reflection", "border", "zeros"}, default="reflection"
        Values outside of the image: the image mirrored at its edge, its outermost
        pixels repeated, or zeros. Mirrored sky looks like sky, repeated pixels make
        streaks, and zeros make dark corners. Mirroring may repeat the object: use
        ``"border"`` for images that are not square, or are scaled to less than 0.7.
        Beyond one image's size pixels are repeated in any case.

    Raises
    ------
    ValueError
        If `degrees` is not between 0 and 180, `translate` not between 0 and 1, `scale`
        not a pair of positive numbers in ascending order, or `padding_mode` another
        word.

    See Also
    --------
    RandomRotation : Rotation only.
    RandomTranslateScale : Translation and scale only.
    RandomDihedral : Quarter turns and flips, without interpolation.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import RandomAffine
    >>> images = torch.zeros(3, 1, 33, 33)
    >>> images[:, :, 16, 20:28] = 1
    >>> augmented = RandomAffine(flips=False)(images, generator=0)
    >>> augmented.shape
    torch.Size([3, 1, 33, 33])
    >>> bool(augmented[0].equal(augmented[1]))
    False
    """

    def __init__(
        self,
        degrees: float = 180.0,
        *,
        translate: float = 0.05,
        scale: tuple[float, float] = (0.9, 1.1),
        flips: bool = True,
        padding_mode: str = "reflection",
    ) -> None:
        check_number(degrees, "degrees", 0, 180)
        check_number(translate, "translate", 0, 1)
        _check_scale(scale)
        check_option(padding_mode, "padding_mode", _PADDING_MODES)
        self.degrees = degrees
        self.translate = translate
        self.scale = scale
        self.flips = flips
        self.padding_mode = padding_mode

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        drawn = draw_uniform(batch, generator, 6).flatten(1)
        angle = (2 * drawn[:, 0] - 1) * math.radians(self.degrees)
        low, high = map(math.log, self.scale)
        scale = (low + (high - low) * drawn[:, 1]).exp()
        shift = (2 * drawn[:, 2:4] - 1) * self.translate
        sign = torch.ones_like(shift)
        if self.flips:
            sign = torch.where(drawn[:, 4:] < 0.5, -sign, sign)
        return transform_images(batch, angle, scale, shift, sign, self.padding_mode)


class RandomRotation(RandomAffine):
    """Rotate each image about its center, by any angle.

    Parameters
    ----------
    degrees : float, default=180
        The largest rotation to either side, in degrees. Angles are drawn uniformly; 180
        gives all orientations.
    padding_mode : {"reflection", "border", "zeros"}, default="reflection"
        Values in the corners; see :class:`RandomAffine`.

    Raises
    ------
    ValueError
        If `degrees` is not between 0 and 180, or `padding_mode` another word.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import RandomRotation
    >>> RandomRotation(45)(torch.ones(2, 3, 20, 20), generator=0).shape
    torch.Size([2, 3, 20, 20])
    """

    def __init__(
        self, degrees: float = 180.0, *, padding_mode: str = "reflection"
    ) -> None:
        super().__init__(
            degrees,
            translate=0.0,
            scale=(1.0, 1.0),
            flips=False,
            padding_mode=padding_mode,
        )


class RandomTranslateScale(RandomAffine):
    """Translate and magnify each image.

    Parameters
    ----------
    translate : float, default=0.05
        The largest shift to either side, as a fraction of the width and of the height.
        Shifts along the two axes are drawn uniformly and independently.
    scale : tuple of float, default=(0.9, 1.1)
        The lowest and the highest magnification; its logarithm is drawn uniformly.
    padding_mode : {"reflection", "border", "zeros"}, default="reflection"
        Values outside of the image; see :class:`RandomAffine`.

    Raises
    ------
    ValueError
        If `translate` is not between 0 and 1, `scale` not a pair of positive numbers in
        ascending order, or `padding_mode` another word.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import RandomTranslateScale
    >>> augmented = RandomTranslateScale(0.1)(torch.ones(2, 3, 20, 30), generator=0)
    >>> augmented.shape
    torch.Size([2, 3, 20, 30])
    """

    def __init__(
        self,
        translate: float = 0.05,
        *,
        scale: tuple[float, float] = (0.9, 1.1),
        padding_mode: str = "reflection",
    ) -> None:
        super().__init__(
            0.0,
            translate=translate,
            scale=scale,
            flips=False,
            padding_mode=padding_mode,
        )


class ColorJitter(ImageAugmentation):
    r"""Change brightness, contrast, saturation and hue of each image.

    The parameters have the meaning that they have in torchvision's ``ColorJitter``. For
    each of the first three, a factor is drawn uniformly from :math:`\max(0, 1 - x)` to
    :math:`1 + x` for each image:

    - brightness multiplies all values;
    - contrast multiplies their distances from the mean of the gray image;
    - saturation multiplies their distances from the gray image.

    The hue, a number from 0 to 1 around the color circle, is shifted by a number drawn
    from :math:`-x` to :math:`x`. Changes are applied in this order, while torchvision
    draws the order.

    Values are clipped to the range from 0 to 1 after each change. An image that exceeds
    this range, such as an image in counts, is clipped to its own range.

    Parameters
    ----------
    brightness : float, default=0.2
        Largest change of the brightness, 0 or more; 0 disables a change.
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
        `hue` is not 0 and images have 2 channels or more than 3. Images of one channel
        have neither, and keep their values.

    Notes
    -----
    Gray is :math:`0.299 R + 0.587 G + 0.114 B` [1]_ of images of 3 channels, the mean
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
    >>> from skastro.augmentation import ColorJitter
    >>> pixel = np.array([0.4, 0.2, 0.1]).reshape(1, 3, 1, 1)
    >>> brighter = ColorJitter(0.5, 0, 0)(pixel, generator=2)
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
        check_number(brightness, "brightness", 0)
        check_number(contrast, "contrast", 0)
        check_number(saturation, "saturation", 0)
        check_number(hue, "hue", 0, 0.5)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        n_channels = batch.shape[1]
        if n_channels not in (1, 3) and (self.saturation or self.hue):
            raise ValueError(
                "ColorJitter changes saturation and hue of images of 3 channels, but "
                f"got {n_channels}. Set both to 0."
            )
        drawn = draw_uniform(batch, generator, 4).to(batch.dtype)
        augmented = batch.clone(memory_format=torch.contiguous_format)
        size = _BLOCK if batch.device.type == "cpu" else len(batch)
        for images, numbers in zip(
            augmented.split(size), drawn.split(size), strict=True
        ):
            self._change(images, *numbers.split(1, dim=-1))
        return augmented

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
            # In place, these take a tenth of the time of clamp with tensor limits.
            torch.maximum(images, lowest, out=images)
            torch.minimum(images, highest, out=images)

        if self.brightness:
            images.mul_(_factor(self.brightness, brightness))
            clip()
        if self.contrast:
            mean = _gray(images).mean(dim=(2, 3), keepdim=True)
            images.sub_(mean).mul_(_factor(self.contrast, contrast)).add_(mean)
            clip()
        if self.saturation and images.shape[1] == 3:
            gray = _gray(images)
            images.sub_(gray).mul_(_factor(self.saturation, saturation)).add_(gray)
            clip()
        if self.hue and images.shape[1] == 3:
            _shift_hue(images, (2 * hue[..., 0] - 1) * self.hue)


class PixelNoise(ImageAugmentation):
    """Add white Gaussian noise of a random strength to each image.

    The noise is independent in every pixel of every channel.

    Parameters
    ----------
    max_scale : float, default=0.02
        The standard deviation of the noise, in the units of the image, is drawn
        uniformly from 0 to this number for each image. Bytes are divided by 255 and
        range from 0 to 1.

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
        check_number(max_scale, "max_scale", 0)
        self.max_scale = max_scale

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        deviation = (self.max_scale * draw_uniform(batch, generator)).to(batch.dtype)
        noise = torch.randn(
            batch.shape, generator=generator, device=batch.device, dtype=batch.dtype
        )
        return batch + noise.mul_(deviation)


def image_symmetries(
    batch: torch.Tensor, *, flips: bool = True
) -> Iterator[torch.Tensor]:
    """Yield images in all orientations, without interpolation.

    Parameters
    ----------
    batch : Tensor of shape (n_samples, n_channels, height, width)
        Images of any dtype.
    flips : bool, default=True
        Whether to include mirror images.

    Yields
    ------
    turned : Tensor of shape (n_samples, n_channels, height, width)
        All images rotated by 0, 90, 180 and 270 degrees, or by 0 and 180 if they are
        not square; then their mirror images in the same way.

    Raises
    ------
    ValueError
        If the batch has another number of axes.

    See Also
    --------
    RandomDihedral : One of them at random for each image.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import image_symmetries
    >>> image = torch.arange(4).reshape(1, 1, 2, 2)
    >>> for turned in image_symmetries(image, flips=False):
    ...     print(turned.flatten().tolist())
    [0, 1, 2, 3]
    [1, 3, 0, 2]
    [3, 2, 1, 0]
    [2, 0, 3, 1]
    """
    check_images(batch, "image_symmetries")
    turns = (0, 1, 2, 3) if _is_square(batch) else (0, 2)
    for images in (batch, batch.flip(-1)) if flips else (batch,):
        for turn in turns:
            yield images.rot90(turn, (-2, -1))


def _is_square(batch: torch.Tensor) -> bool:
    return batch.shape[-1] == batch.shape[-2]


def transform_images(
    batch: torch.Tensor,
    angle: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    sign: torch.Tensor,
    padding_mode: str,
) -> torch.Tensor:
    """Transform images by the numbers given for each of them.

    The images have shape (n_samples, n_channels, height, width). They are mirrored by
    `sign` of shape (n_samples, 2), where -1 mirrors left to right and top to bottom;
    rotated by `angle` of shape (n_samples,), in radians, counterclockwise with row 0 on
    top; magnified by `scale` of shape (n_samples,); and moved by `shift` of shape
    (n_samples, 2), to the right as a fraction of the width, down as a fraction of the
    height.
    """
    height, width = batch.shape[-2:]
    # Source coordinates of each pixel, from the center, in units of half the image.
    # Every coordinate is a sum of one term for the column and one for the row.
    x = _from_center(width, shift) - shift[:, :1] * width
    y = _from_center(height, shift) - shift[:, 1:] * height
    cosine, sine = (angle.cos() / scale)[:, None], (angle.sin() / scale)[:, None]
    unit_x, unit_y = sign[:, :1] * (2 / width), sign[:, 1:] * (2 / height)
    source = batch.new_empty(len(batch), height, width, 2, dtype=shift.dtype)
    torch.sub(
        (unit_x * cosine * x)[:, None, :],
        (unit_x * sine * y)[:, :, None],
        out=source[..., 0],
    )
    torch.add(
        (unit_y * sine * x)[:, None, :],
        (unit_y * cosine * y)[:, :, None],
        out=source[..., 1],
    )
    if padding_mode == "reflection":
        # Reflects once, faster than grid_sample does.
        source = source.clamp(-1, 1).mul_(2).sub_(source)
    transformed = grid_sample(
        # Half precision cannot resolve neighboring pixels of large images.
        batch.to(source.dtype),
        source,
        padding_mode="zeros" if padding_mode == "zeros" else "border",
        align_corners=False,
    )
    return transformed.to(batch.dtype)


def _from_center(n_pixels: int, like: torch.Tensor) -> torch.Tensor:
    """Return the distances of the pixels from the middle of a row."""
    pixel = torch.arange(n_pixels, device=like.device, dtype=like.dtype)
    return pixel - (n_pixels - 1) / 2


def _check_scale(scale: tuple[float, float]) -> None:
    if not (
        isinstance(scale, tuple | list)
        and len(scale) == 2
        and all(isinstance(limit, Real) for limit in scale)
        and 0 < scale[0] <= scale[1] < float("inf")
    ):
        raise ValueError(
            "scale must be the lowest and the highest magnification, such as "
            f"(0.9, 1.1), but got {scale!r}."
        )


def _gray(images: torch.Tensor) -> torch.Tensor:
    """Return the brightness of each pixel, of shape (n_samples, 1, height, width)."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    return _RED * red + _GREEN * green + _BLUE * blue


def _factor(change: float, number: torch.Tensor) -> torch.Tensor:
    """Convert a number from 0 to 1 to a factor about 1."""
    low, high = max(0.0, 1 - change), 1 + change
    return low + (high - low) * number


def _shift_hue(images: torch.Tensor, shift: torch.Tensor) -> None:
    """Shift the hues of images of 3 channels in place.

    The value of a pixel (its largest channel) and its chroma (the difference from the
    smallest) do not change. Shifts, of shape (n_samples, 1, 1), are fractions of the
    color circle.
    """
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    # In sixths of the circle. Without chroma the hue is undefined and has no effect.
    safe = chroma.clamp(min=torch.finfo(images.dtype).tiny)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (hue + 6 * shift) % 6
    # Position on the circle at which each channel is largest.
    for channel, place in ((red, 0), (green, 2), (blue, 4)):
        # The shorter of the two distances to that position.
        distance = 3 - (3 - (hue - place).abs_()).abs_()
        torch.addcmul(value, chroma, (distance - 1).clamp_(0, 1), value=-1, out=channel)
