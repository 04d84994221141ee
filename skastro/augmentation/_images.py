# SPDX-License-Identifier: BSD-3-Clause
"""Rotation by any angle, shift and zoom of images, in one interpolation."""

import math
from numbers import Real

import torch
from torch.nn.functional import grid_sample

from skastro.augmentation._base import ImageOperation, check_number, draw_uniform

_PADDINGS = ("reflection", "border", "zeros")


class WarpImages(ImageOperation):
    """Rotate, shift, zoom and mirror each image.

    All of it is one bilinear interpolation, so that images are blurred once only. An
    image is mirrored first, then rotated and magnified about its centre, then shifted,
    each by numbers of its own; its channels move together.

    Parameters
    ----------
    degrees : float, default=180
        The largest angle of rotation to either side, in degrees. Angles are drawn
        evenly; 180 lets images point in all directions.
    max_shift : float, default=0.05
        The largest shift to either side, as a part of the width and of the height.
        Shifts along the two are drawn evenly, each by itself.
    zoom : tuple of float, default=(0.9, 1.1)
        The lowest and the highest magnification; the logarithm of it is drawn evenly.
    flips : bool, default=True
        Whether to mirror images left to right and top to bottom, each in every other
        image. Flips make clockwise spirals anticlockwise.
    padding : {"reflection", "border", "zeros"}, default="reflection"
        What appears where an image ends: the image mirrored at its edge, its outermost
        pixels repeated, or zeros. Mirrored sky looks like sky, while repeated pixels
        make streaks, and zeros dark corners. But what is mirrored may be the object:
        take ``"border"`` for images that are not square, or are zoomed to less than
        0.7. Beyond one image's size pixels are repeated in any case.

    Raises
    ------
    ValueError
        If `degrees` is not between 0 and 180, `max_shift` not between 0 and 1, `zoom`
        no pair of positive numbers in ascending order, or `padding` another word.

    See Also
    --------
    RotateImages : Rotation alone.
    ShiftZoomImages : Shift and zoom alone.
    ReorientImages : Quarter turns and flips, without interpolation.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import WarpImages
    >>> images = torch.zeros(3, 1, 33, 33)
    >>> images[:, :, 16, 20:28] = 1
    >>> varied = WarpImages(flips=False)(images, generator=0)
    >>> varied.shape
    torch.Size([3, 1, 33, 33])
    >>> bool(varied[0].equal(varied[1]))
    False
    """

    def __init__(
        self,
        degrees: float = 180.0,
        *,
        max_shift: float = 0.05,
        zoom: tuple[float, float] = (0.9, 1.1),
        flips: bool = True,
        padding: str = "reflection",
    ) -> None:
        check_number("degrees", degrees, 0, 180)
        check_number("max_shift", max_shift, 0, 1)
        _check_zoom(zoom)
        if padding not in _PADDINGS:
            raise ValueError(
                f"padding must be one of {_PADDINGS}, but got {padding!r}."
            )
        self.degrees = degrees
        self.max_shift = max_shift
        self.zoom = zoom
        self.flips = flips
        self.padding = padding

    def _vary_images(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        drawn = draw_uniform(batch, generator, 6).flatten(1)
        angle = (2 * drawn[:, 0] - 1) * math.radians(self.degrees)
        low, high = map(math.log, self.zoom)
        zoom = (low + (high - low) * drawn[:, 1]).exp()
        shift = (2 * drawn[:, 2:4] - 1) * self.max_shift
        sign = torch.ones_like(shift)
        if self.flips:
            sign = torch.where(drawn[:, 4:] < 0.5, -sign, sign)
        return warp(batch, angle, zoom, shift, sign, self.padding)

    def __repr__(self) -> str:
        """Show the parameters."""
        return (
            f"WarpImages({self.degrees}, max_shift={self.max_shift}, zoom={self.zoom}, "
            f"flips={self.flips}, padding={self.padding!r})"
        )


class RotateImages(WarpImages):
    """Rotate each image about its centre, by any angle.

    Parameters
    ----------
    degrees : float, default=180
        The largest angle to either side, in degrees. Angles are drawn evenly; 180 lets
        images point in all directions.
    padding : {"reflection", "border", "zeros"}, default="reflection"
        What appears in the corners: see :class:`WarpImages`.

    Raises
    ------
    ValueError
        If `degrees` is not between 0 and 180, or `padding` another word.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import RotateImages
    >>> RotateImages(45)(torch.ones(2, 3, 20, 20), generator=0).shape
    torch.Size([2, 3, 20, 20])
    """

    def __init__(self, degrees: float = 180.0, *, padding: str = "reflection") -> None:
        super().__init__(
            degrees, max_shift=0.0, zoom=(1.0, 1.0), flips=False, padding=padding
        )

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"RotateImages({self.degrees}, padding={self.padding!r})"


class ShiftZoomImages(WarpImages):
    """Shift and magnify each image.

    Parameters
    ----------
    max_shift : float, default=0.05
        The largest shift to either side, as a part of the width and of the height.
        Shifts along the two are drawn evenly, each by itself.
    zoom : tuple of float, default=(0.9, 1.1)
        The lowest and the highest magnification; the logarithm of it is drawn evenly.
    padding : {"reflection", "border", "zeros"}, default="reflection"
        What appears where an image ends: see :class:`WarpImages`.

    Raises
    ------
    ValueError
        If `max_shift` is not between 0 and 1, `zoom` no pair of positive numbers in
        ascending order, or `padding` another word.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import ShiftZoomImages
    >>> varied = ShiftZoomImages(0.1)(torch.ones(2, 3, 20, 30), generator=0)
    >>> varied.shape
    torch.Size([2, 3, 20, 30])
    """

    def __init__(
        self,
        max_shift: float = 0.05,
        *,
        zoom: tuple[float, float] = (0.9, 1.1),
        padding: str = "reflection",
    ) -> None:
        super().__init__(
            0.0, max_shift=max_shift, zoom=zoom, flips=False, padding=padding
        )

    def __repr__(self) -> str:
        """Show the parameters."""
        return (
            f"ShiftZoomImages({self.max_shift}, zoom={self.zoom}, "
            f"padding={self.padding!r})"
        )


def warp(
    batch: torch.Tensor,
    angle: torch.Tensor,
    zoom: torch.Tensor,
    shift: torch.Tensor,
    sign: torch.Tensor,
    padding: str,
) -> torch.Tensor:
    """Warp images by given numbers.

    Parameters
    ----------
    batch : Tensor of shape (n_samples, n_channels, height, width)
        The images.
    angle : Tensor of shape (n_samples,)
        Rotation, anticlockwise where row 0 is on top, in radians.
    zoom : Tensor of shape (n_samples,)
        Magnification.
    shift : Tensor of shape (n_samples, 2)
        Shift to the right, as a part of the width, and down, as a part of the height.
    sign : Tensor of shape (n_samples, 2)
        -1 mirrors left to right, and top to bottom.
    padding : {"reflection", "border", "zeros"}
        What stands outside of the images.

    Returns
    -------
    warped : Tensor of shape (n_samples, n_channels, height, width)
        New images.
    """
    height, width = batch.shape[-2:]
    # Where each pixel's light comes from, in units of half the image from its centre.
    # Every coordinate is a sum of one part for the column and one for the row.
    x = _from_centre(width, shift) - shift[:, :1] * width
    y = _from_centre(height, shift) - shift[:, 1:] * height
    cosine, sine = (angle.cos() / zoom)[:, None], (angle.sin() / zoom)[:, None]
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
    if padding == "reflection":
        # Mirrors once, in less time than grid_sample takes for doing it.
        source = source.clamp(-1, 1).mul_(2).sub_(source)
    warped = grid_sample(
        # Half precision could not tell neighbouring pixels of large images apart.
        batch.to(source.dtype),
        source,
        padding_mode="zeros" if padding == "zeros" else "border",
        align_corners=False,
    )
    return warped.to(batch.dtype)


def _from_centre(n_pixels: int, like: torch.Tensor) -> torch.Tensor:
    """Give the pixels' distances from the middle of a row."""
    pixel = torch.arange(n_pixels, device=like.device, dtype=like.dtype)
    return pixel - (n_pixels - 1) / 2


def _check_zoom(zoom: tuple[float, float]) -> None:
    if not (
        isinstance(zoom, tuple | list)
        and len(zoom) == 2
        and all(isinstance(limit, Real) for limit in zoom)
        and 0 < zoom[0] <= zoom[1] < float("inf")
    ):
        raise ValueError(
            "zoom must be the lowest and the highest magnification, such as "
            f"(0.9, 1.1), but got {zoom!r}."
        )
