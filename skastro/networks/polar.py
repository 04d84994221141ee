# SPDX-License-Identifier: BSD-3-Clause
"""A network for round images that reads angular moments of rings instead of pixels."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skastro.networks.layers import Conv1d, Head
from skastro.networks.registry import register
from skastro.utils import check_count, check_each, check_option


@register("polar", ndim=2)
class PolarNet(nn.Module):
    """Network on the angular moments of rings, for images of electron shells.

    The counts of an image are summed over rings about its center, weighted by each of
    the even Legendre polynomials of the cosine of the angle from the second axis. A
    one-dimensional convolutional network reads these radial profiles, as fractions of
    the total count, and the logarithm of the total, which tells how noisy they are. The
    four quadrants of the image count equally. Images of one row are taken as profiles.

    Parameters
    ----------
    input_size : sequence of int
        Height and width of the images.
    n_outputs : int
        Numbers to regress.
    n_channels : int, default=1
        Channels of the input; must be 1.
    n_rings : int, default=128
        Rings between the center and the nearest edge; at most one for each pixel.
    n_moments : int, default=13
        Polynomials, from P_0 on.
    widths : sequence of int, default=(64, 64, 64)
        Feature maps of the convolutions; each halves the number of rings.
    hidden : int, default=256
        Units of the hidden layer after them.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import PolarNet
    >>> network = PolarNet(input_size=(32, 32), n_outputs=12)
    >>> network(torch.ones(4, 1, 32, 32)).shape
    torch.Size([4, 12])
    """

    def __init__(
        self,
        input_size: Sequence[int],
        n_outputs: int,
        n_channels: int = 1,
        *,
        n_rings: int = 128,
        n_moments: int = 13,
        widths: Sequence[int] = (64, 64, 64),
        hidden: int = 256,
    ) -> None:
        super().__init__()
        height, width = check_each(input_size, "input_size")
        check_option(n_channels, "n_channels", (1,))
        check_count(n_outputs, "n_outputs")
        check_count(n_rings, "n_rings")
        check_count(n_moments, "n_moments")
        check_count(hidden, "hidden")
        widths = check_each(widths, "widths", min_size=1)

        rows, columns = _distances(height), _distances(width)
        if height == 1:
            self.n_rings, n_moments = width, 1
            ring = columns = torch.arange(width)
            polynomials = torch.ones(1, 1, width)
        else:
            edge = min(height, width) / 2
            self.n_rings = min(n_rings, math.ceil(edge))
            across, along = rows.unique(), columns.unique()
            radius = torch.hypot(across[:, None], along[None])
            ring = (radius / edge * self.n_rings).long().clamp(max=self.n_rings)
            polynomials = _even_legendre(along / radius.clamp(min=0.1), n_moments)
        self._quadrant = polynomials.shape[1:]
        # The row and the column of the folded image where each row and column goes.
        self.register_buffer("rows", rows.long(), persistent=False)
        self.register_buffer("columns", columns.long(), persistent=False)
        self.register_buffer("ring", ring.flatten(), persistent=False)
        self.register_buffer("polynomials", polynomials.flatten(1), persistent=False)
        convolutions: list[nn.Module] = []
        channels = (n_moments + 2, *widths)
        length = self.n_rings
        for n_before, n_after in pairwise(channels):
            convolutions += [Conv1d(n_before, n_after, 5, stride=2), nn.ReLU()]
            length = (length + 1) // 2
        self.convolutions = nn.Sequential(*convolutions)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(length * widths[-1], hidden), nn.ReLU()
        )
        self.fc = Head(hidden, n_outputs)

    def profiles(self, x: Tensor) -> Tensor:
        """Compute the profiles.

        Parameters
        ----------
        x : Tensor of shape (batch, 1, height, width)
            Counts.

        Returns
        -------
        Tensor of shape (batch, n_moments + 2, n_rings)
            Moments, scaled to about one; position of the ring; logarithm of the total.
        """
        for axis, places in ((2, self.rows), (3, self.columns)):
            shape = list(x.shape)
            shape[axis] = self._quadrant[axis - 2]
            x = x.new_zeros(shape).index_add(axis, places, x)
        weighted = x.flatten(2) * self.polynomials
        sums = x.new_zeros(x.shape[0], len(self.polynomials), self.n_rings + 1)
        sums = sums.index_add(2, self.ring, weighted)[..., :-1]
        total = x.sum((1, 2, 3))[:, None, None]
        moments = sums * (self.n_rings / total.clamp(min=1e-30))
        position = torch.linspace(-1, 1, self.n_rings).to(x).expand(x.shape[0], 1, -1)
        level = torch.log10(total.clamp(min=1e-3)) / 4 - 1
        return torch.cat([moments, position, level.expand_as(position)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs.

        Parameters
        ----------
        x : Tensor of shape (batch, 1, height, width)
            Counts.

        Returns
        -------
        Tensor of shape (batch, n_outputs)
            The numbers regressed.
        """
        return self.fc(self.hidden(self.convolutions(self.profiles(x))))


def _distances(size: int) -> Tensor:
    return (torch.arange(size) - (size - 1) / 2).abs()


def _even_legendre(cosine: Tensor, n: int) -> Tensor:
    """Stack P_0, P_2 … as (n, height, width)."""
    before, now = torch.ones_like(cosine), cosine
    values = [before]
    for degree in range(2, 2 * n):
        before, now = (
            now,
            ((2 * degree - 1) * cosine * now - (degree - 1) * before) / (degree),
        )
        if degree % 2 == 0:
            values.append(now)
    return torch.stack(values)
