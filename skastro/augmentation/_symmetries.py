# SPDX-License-Identifier: BSD-3-Clause
"""The symmetries of the pixel grid: flips and turns that move whole pixels."""

from collections.abc import Iterator

import torch

from skastro.augmentation._base import ImageOperation, check_images, draw_uniform


class FlipImages(ImageOperation):
    """Mirror half of the images, drawn at random.

    Spirals that wind clockwise become such that wind anticlockwise.

    Parameters
    ----------
    horizontal : bool, default=True
        Swap left and right, in every other image.
    vertical : bool, default=True
        Swap top and bottom, in every other image. Both together turn by 180 degrees.

    See Also
    --------
    ReorientImages : Quarter turns besides.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import FlipImages
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.arange(4.0).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    >>> FlipImages()(images, generator=generator).flatten(1)
    tensor([[1., 0., 3., 2.],
            [3., 2., 1., 0.],
            [1., 0., 3., 2.]])
    """

    def __init__(self, horizontal: bool = True, vertical: bool = True) -> None:
        self.horizontal = horizontal
        self.vertical = vertical

    def _vary_images(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        chosen = draw_uniform(batch, generator, 2) < 0.5
        varied = batch.clone()
        if self.horizontal:
            varied = torch.where(chosen[..., :1], varied.flip(-1), varied)
        if self.vertical:
            varied = torch.where(chosen[..., 1:], varied.flip(-2), varied)
        return varied

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"FlipImages(horizontal={self.horizontal}, vertical={self.vertical})"


class ReorientImages(ImageOperation):
    """Turn each image by a multiple of 90 degrees, and mirror half of them.

    Each image gets one of the eight symmetries of the square, drawn evenly, without
    interpolation. Images that are not square get one of the four symmetries that keep
    their shape: flips and the half turn.

    Parameters
    ----------
    flips : bool, default=True
        Whether to mirror images. Without, which keeps the sense in which spirals wind,
        the four turns are left, or two of images that are not square.

    See Also
    --------
    image_symmetries : All of them, one after the other.
    WarpImages : Turns by any angle.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import ReorientImages
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.arange(4.0).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    >>> ReorientImages(flips=False)(images, generator=generator).flatten(1)
    tensor([[3., 2., 1., 0.],
            [2., 0., 3., 1.],
            [3., 2., 1., 0.]])
    """

    def __init__(self, flips: bool = True) -> None:
        self.flips = flips

    def _vary_images(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        chosen = draw_uniform(batch, generator, 3) < 0.5
        half, quarter, mirrored = chosen.split(1, dim=-1)
        varied = torch.where(half, batch.flip(-1, -2), batch)
        if _is_square(batch):
            varied = torch.where(quarter, varied.rot90(1, (-2, -1)), varied)
        if self.flips:
            varied = torch.where(mirrored, varied.flip(-1), varied)
        return varied

    def __repr__(self) -> str:
        """Show the parameter."""
        return f"ReorientImages(flips={self.flips})"


def image_symmetries(
    batch: torch.Tensor, *, flips: bool = True
) -> Iterator[torch.Tensor]:
    """Show images from all sides, moving whole pixels.

    Parameters
    ----------
    batch : Tensor of shape (n_samples, n_channels, height, width)
        Images of any dtype.
    flips : bool, default=True
        Whether mirror images are among them.

    Yields
    ------
    turned : Tensor of shape (n_samples, n_channels, height, width)
        All images turned by 0, 90, 180 and 270 degrees, or by 0 and 180 where they are
        not square; then the same of their mirror images.

    Raises
    ------
    ValueError
        If the batch has another number of axes.

    See Also
    --------
    ReorientImages : One of them at random for each image.

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
