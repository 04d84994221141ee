# SPDX-License-Identifier: BSD-3-Clause
"""White noise on spectra."""

import torch

from skastro.augmentation._base import (
    SpectrumOperation,
    check_number,
    draw_below,
    draw_uniform,
)


class CCDNoise(SpectrumOperation):
    """Add the noise of a CCD's electrons to each spectrum.

    White Gaussian noise in every pixel of every channel, as in [1]_.

    Parameters
    ----------
    scale : float, default=0.02
        The noise's standard deviation, in the units of the flux. The paper does not
        give its strength. Of min-max normalised spectra of LAMOST, SDSS and BOSS half
        have a noise of less than 0.01, nine of ten of less than 0.025.
    relative : bool, default=False
        Whether `scale` is in units of the standard deviation of the spectrum, taken
        for each channel.
    random_scale : bool, default=False
        Whether to draw the noise's standard deviation for each spectrum anew, evenly
        from 0 to `scale`.

    Raises
    ------
    ValueError
        If `scale` is negative.

    See Also
    --------
    GaussianNoise : The same with ``relative=True, random_scale=True``.

    References
    ----------
    .. [1] Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import CCDNoise
    >>> flux = np.ones((4, 1000))
    >>> noisy = CCDNoise(0.1)(flux, generator=0)
    >>> noisy.std(axis=1).round(2)
    array([0.1, 0.1, 0.1, 0.1])
    """

    def __init__(
        self,
        scale: float = 0.02,
        *,
        relative: bool = False,
        random_scale: bool = False,
    ) -> None:
        check_number("scale", scale)
        self.scale = scale
        self.relative = relative
        self.random_scale = random_scale

    def _vary_spectra(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        deviation = self.scale
        if self.random_scale:
            deviation = deviation * draw_uniform(batch, generator)
        if self.relative:
            deviation = deviation * batch.std(dim=-1, keepdim=True, correction=0)
        noise = torch.randn(
            batch.shape, generator=generator, device=batch.device, dtype=batch.dtype
        )
        return batch + (noise * deviation).to(batch.dtype)

    def __repr__(self) -> str:
        """Show the parameters."""
        return (
            f"CCDNoise({self.scale}, relative={self.relative}, "
            f"random_scale={self.random_scale})"
        )


class GaussianNoise(CCDNoise):
    """Add white Gaussian noise of a random strength to each spectrum.

    Parameters
    ----------
    max_scale : float, default=0.5
        The noise's standard deviation in units of the spectrum's own is drawn evenly
        from 0 to this number, for each spectrum anew.

    Raises
    ------
    ValueError
        If `max_scale` is negative.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import GaussianNoise
    >>> flux = torch.sin(torch.arange(1000.0)).expand(4, 1000)
    >>> noisy = GaussianNoise(0.2)(flux, generator=torch.Generator().manual_seed(0))
    >>> 0 < (noisy - flux).std() < 0.2
    tensor(True)
    """

    def __init__(self, max_scale: float = 0.5) -> None:
        check_number("max_scale", max_scale)
        super().__init__(max_scale, relative=True, random_scale=True)

    @property
    def max_scale(self) -> float:
        """The largest standard deviation, in units of the spectrum's own."""
        return self.scale

    def __repr__(self) -> str:
        """Show the parameter."""
        return f"GaussianNoise({self.max_scale})"


class SpikedNoise(CCDNoise):
    """Add white Gaussian noise, and push one pixel of some spectra up or down.

    With its defaults the noise with which the LAMOST 1-D ResNet-18 was trained, on
    standardised spectra (``augment="resclass"``).

    Parameters
    ----------
    scale : float, default=1/3
        The noise's standard deviation in units of the spectrum's own.
    probability : float, default=0.5
        Part of the spectra in which one pixel, drawn at random, is pushed by the
        spectrum's largest absolute flux, up or down with equal chances. Pixel and
        sign are the same in all channels, the flux is each channel's own, before the
        noise.

    Raises
    ------
    ValueError
        If `scale` is negative or `probability` not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import SpikedNoise
    >>> flux = np.full((3, 6), 2.0)
    >>> SpikedNoise(probability=1)(flux, generator=0)
    array([[2., 2., 0., 2., 2., 2.],
           [2., 2., 2., 2., 2., 4.],
           [2., 2., 2., 0., 2., 2.]])
    """

    def __init__(self, scale: float = 1 / 3, *, probability: float = 0.5) -> None:
        super().__init__(scale, relative=True)
        check_number("probability", probability, 0, 1)
        self.probability = probability

    def _vary_spectra(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        noisy = super()._vary_spectra(batch, generator)
        pixel = draw_below(batch.shape[-1], batch, generator)
        drawn = draw_uniform(batch, generator)
        pushed = (drawn < self.probability).to(batch.dtype)
        sign = pushed - 2 * (drawn < self.probability / 2).to(batch.dtype)
        push = sign * batch.abs().amax(dim=-1, keepdim=True)
        return noisy.scatter_add_(-1, pixel.expand(push.shape), push)

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"SpikedNoise({self.scale}, probability={self.probability})"
