# SPDX-License-Identifier: BSD-3-Clause
"""Defects of a detector in spectra: pixels that do not work, and cosmic rays."""

from numbers import Integral

import torch

from skastro.augmentation._base import (
    SpectrumOperation,
    check_number,
    draw_below,
    draw_uniform,
)


class BadPixels(SpectrumOperation):
    """Blank a random window of random length in each spectrum, as in [1]_.

    All channels of a sample lose the same pixels, as from one detector.

    Parameters
    ----------
    max_length : int or float, default=0.1
        The longest window: an int is a number of pixels, a float a part of the
        spectrum's length. Lengths are drawn evenly from one pixel to this, and the
        window's place evenly among those where it lies inside of the spectrum. The
        paper does not give the lengths.
    probability : float, default=1.0
        Part of the spectra that have bad pixels.
    value : float, default=0.0
        The flux of bad pixels, in the units of the flux; 0 as in the paper, where it
        is the lowest flux of a min-max normalised spectrum.

    Raises
    ------
    ValueError
        If `max_length` is not positive, or more than 1.0 as a float, or `probability`
        not between 0 and 1.

    References
    ----------
    .. [1] Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import BadPixels
    >>> BadPixels(4)(np.ones((3, 8)), generator=0)
    array([[1., 1., 1., 1., 0., 0., 0., 0.],
           [1., 1., 1., 0., 0., 0., 1., 1.],
           [1., 1., 1., 1., 1., 0., 0., 1.]])
    """

    def __init__(
        self,
        max_length: float = 0.1,
        *,
        probability: float = 1.0,
        value: float = 0.0,
    ) -> None:
        if isinstance(max_length, Integral):
            check_number("max_length", max_length, 1)
        else:
            check_number("max_length", max_length, 0, 1)
        check_number("probability", probability, 0, 1)
        check_number("value", value, -float("inf"))
        self.max_length = max_length
        self.probability = probability
        self.value = value

    def _vary_spectra(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        length = batch.shape[-1]
        longest = self.max_length
        if not isinstance(longest, Integral):
            longest = max(1, int(longest * length))
        window = 1 + draw_below(min(longest, length), batch, generator)
        start = draw_below(length + 1 - window, batch, generator)
        pixel = torch.arange(length, device=batch.device)
        bad = (start <= pixel) & (pixel < start + window)
        bad &= draw_uniform(batch, generator) < self.probability
        return batch.masked_fill(bad, self.value)

    def __repr__(self) -> str:
        """Show the parameters."""
        return (
            f"BadPixels({self.max_length}, probability={self.probability}, "
            f"value={self.value})"
        )


class CosmicRays(SpectrumOperation):
    """Set one random pixel of each spectrum, or several, to a high flux, as in [1]_.

    The pixels are the same in all channels of a sample.

    Parameters
    ----------
    n_hits : int, default=1
        Pixels that are hit in a spectrum. They are drawn with replacement, so that
        two hits may fall on one pixel.
    probability : float, default=1.0
        Part of the spectra that are hit.
    value : float or "max", default=1.0
        The flux of a pixel that was hit, in the units of the flux; 1 as in the paper,
        where it is the highest flux of a min-max normalised spectrum. ``"max"`` is the
        highest flux of the spectrum, of each channel by itself, whatever its units.

    Raises
    ------
    ValueError
        If `n_hits` is less than 1, `probability` not between 0 and 1, or `value`
        another word.

    References
    ----------
    .. [1] Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import CosmicRays
    >>> CosmicRays()(np.zeros((3, 6)), generator=0)
    array([[0., 0., 0., 0., 0., 1.],
           [0., 0., 0., 0., 1., 0.],
           [0., 0., 1., 0., 0., 0.]])
    """

    def __init__(
        self,
        n_hits: int = 1,
        *,
        probability: float = 1.0,
        value: float | str = 1.0,
    ) -> None:
        if not isinstance(n_hits, Integral):
            raise TypeError(f"n_hits must be a whole number, but got {n_hits!r}.")
        check_number("n_hits", n_hits, 1)
        check_number("probability", probability, 0, 1)
        if isinstance(value, str) and value != "max":
            raise ValueError(f'value must be a number or "max", but got {value!r}.')
        if value != "max":
            check_number("value", value, -float("inf"))
        self.n_hits = n_hits
        self.probability = probability
        self.value = value

    def _vary_spectra(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        pixel = draw_below(batch.shape[-1], batch, generator, self.n_hits)
        pixel = pixel.expand(*batch.shape[:-1], self.n_hits)
        if self.value == "max":
            height = batch.amax(dim=-1, keepdim=True)
        else:
            height = torch.full_like(batch[..., :1], self.value)
        hit = draw_uniform(batch, generator) < self.probability
        flux = torch.where(hit, height, batch.gather(-1, pixel))
        return batch.scatter(-1, pixel, flux)

    def __repr__(self) -> str:
        """Show the parameters."""
        return (
            f"CosmicRays({self.n_hits}, probability={self.probability}, "
            f"value={self.value!r})"
        )
