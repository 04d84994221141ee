# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations of spectra: noise, defects of the detector, continuum, shifts."""

import math
from numbers import Integral

import numpy as np
import torch
from numpy.typing import ArrayLike

from skastro.augmentation._base import (
    SpectrumAugmentation,
    draw_below,
    draw_uniform,
)
from skastro.utils import check_count, check_number, plain_array

_MAX_SHIFT = 0.0067
_SPEED_OF_LIGHT = 299792.458  # km/s


class CCDNoise(SpectrumAugmentation):
    """Add the noise of a CCD to each spectrum.

    The noise is white and Gaussian, and independent in every channel, as in [1]_.

    Parameters
    ----------
    scale : float, default=0.02
        Standard deviation of the noise, in the units of the flux. The paper does not
        give it. Half of the min-max normalized spectra of LAMOST, SDSS and BOSS have a
        noise of less than 0.01, nine of ten have less than 0.025.
    relative : bool, default=False
        Whether `scale` is in units of the standard deviation of each channel of the
        spectrum.
    random_scale : bool, default=False
        Whether to draw the standard deviation of the noise for each spectrum, uniformly
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
        check_number(scale, "scale", 0)
        self.scale = scale
        self.relative = relative
        self.random_scale = random_scale

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        deviation = self.scale
        if self.random_scale:
            deviation = deviation * draw_uniform(batch, generator)
        if self.relative:
            # Faster than torch's std. The scale keeps squares finite.
            apart = batch - batch.mean(dim=-1, keepdim=True)
            least = torch.finfo(batch.dtype).tiny
            scale = apart.abs().amax(dim=-1, keepdim=True).clamp(min=least)
            norm = torch.linalg.vector_norm(apart / scale, dim=-1, keepdim=True)
            deviation = deviation * scale * norm / math.sqrt(batch.shape[-1])
        noise = torch.randn(
            batch.shape, generator=generator, device=batch.device, dtype=batch.dtype
        )
        return batch + (noise * deviation).to(batch.dtype)


class GaussianNoise(CCDNoise):
    """Add white Gaussian noise of a random strength to each spectrum.

    Parameters
    ----------
    max_scale : float, default=0.5
        The standard deviation of the noise, in units of that of the spectrum, is drawn
        uniformly from 0 to this number for each spectrum.

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
        check_number(max_scale, "max_scale", 0)
        super().__init__(max_scale, relative=True, random_scale=True)

    @property
    def max_scale(self) -> float:
        """The largest standard deviation, in units of that of the spectrum."""
        return self.scale


class SpikedNoise(CCDNoise):
    """Add white Gaussian noise, and a spike in one pixel of some spectra.

    The LAMOST 1-D ResNet-18 was trained with this noise and its default parameters, on
    standardized spectra (``augment="resclass"``).

    Parameters
    ----------
    scale : float, default=1/3
        Standard deviation of the noise, in units of that of the spectrum.
    probability : float, default=0.5
        Fraction of the spectra with a spike: the largest absolute flux of the spectrum
        is added to a random pixel or subtracted from it, with equal probability. Pixel
        and sign are the same in all channels; the flux is that of each channel before
        the noise.

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
        check_number(probability, "probability", 0, 1)
        self.probability = probability

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        noisy = super()._augment(batch, generator)
        pixel = draw_below(batch.shape[-1], batch, generator)
        drawn = draw_uniform(batch, generator)
        pushed = (drawn < self.probability).to(batch.dtype)
        sign = pushed - 2 * (drawn < self.probability / 2).to(batch.dtype)
        push = sign * batch.abs().amax(dim=-1, keepdim=True)
        return noisy.scatter_add_(-1, pixel.expand(push.shape), push)


class BadPixels(SpectrumAugmentation):
    """Set a random window of random length in each spectrum to zero, as in [1]_.

    The window is the same in all channels of a sample, as for one detector.

    Parameters
    ----------
    max_length : int or float, default=0.1
        The longest window: an int is a number of pixels, a float a fraction of the
        length of the spectrum. Lengths are drawn uniformly from one pixel to this, and
        positions uniformly among those inside of the spectrum. The paper does not give
        the lengths.
    probability : float, default=1.0
        Fraction of the spectra that have bad pixels.
    value : float, default=0.0
        The flux of bad pixels, in the units of the flux; 0 as in the paper, where it
        is the lowest flux of a min-max normalized spectrum.

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
            check_number(max_length, "max_length", 1)
        else:
            check_number(max_length, "max_length", 0, 1)
        check_number(probability, "probability", 0, 1)
        check_number(value, "value")
        self.max_length = max_length
        self.probability = probability
        self.value = value

    def _augment(
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


class CosmicRays(SpectrumAugmentation):
    """Set one random pixel of each spectrum, or several, to a high flux, as in [1]_.

    The pixels are the same in all channels of a sample.

    Parameters
    ----------
    n_hits : int, default=1
        Number of hits per spectrum. Pixels are drawn with replacement, so that two hits
        may fall on one pixel.
    probability : float, default=1.0
        Fraction of the spectra that are hit.
    value : float or "max", default=1.0
        The flux of a pixel that was hit, in the units of the flux; 1 as in the paper,
        where it is the highest flux of a min-max normalized spectrum. ``"max"`` is the
        highest flux of each channel of the spectrum, in any units.

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
        check_count(n_hits, "n_hits", 1)
        check_number(probability, "probability", 0, 1)
        if isinstance(value, str):
            if value != "max":
                raise ValueError(f'value must be a number or "max", but got {value!r}.')
        else:
            check_number(value, "value")
        self.n_hits = n_hits
        self.probability = probability
        self.value = value

    def _augment(
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


class ScaleContinuum(SpectrumAugmentation):
    r"""Multiply each spectrum by a smooth random curve.

    It simulates an error of the flux calibration, or reddening. The factor in pixel
    :math:`x`, which runs from -1 to 1, is

    .. math:: \exp \sum_{k=1}^{d} c_k T_k(x), \qquad
              |c_k| \le \frac{1}{d} \log(1 + m)

    with the Chebyshev polynomials :math:`T_k` and coefficients drawn uniformly between
    their limits. It is the same in all channels of a sample.

    Parameters
    ----------
    max_change : float, default=0.2
        The largest change :math:`m`: factors lie from :math:`1 / (1 + m)` to
        :math:`1 + m`.
    degree : int, default=1
        Degree :math:`d` of the polynomial; 1 is a slope.

    Raises
    ------
    ValueError
        If `max_change` is negative or `degree` less than 1.

    Notes
    -----
    Use it for flux whose zero is the absence of light. If the mean was subtracted, as
    in standardized spectra, the deviation from the mean is scaled.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import ScaleContinuum
    >>> ScaleContinuum(0.5)(np.ones((2, 5)), generator=1).round(2)
    array([[1.43, 1.19, 1.  , 0.84, 0.7 ],
           [1.25, 1.12, 1.  , 0.89, 0.8 ]])
    """

    def __init__(self, max_change: float = 0.2, *, degree: int = 1) -> None:
        check_number(max_change, "max_change", 0)
        check_count(degree, "degree", 1)
        self.max_change = max_change
        self.degree = degree

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        coefficients = 2 * draw_uniform(batch, generator, self.degree) - 1
        coefficients *= math.log1p(self.max_change) / self.degree
        x = torch.linspace(
            -1, 1, batch.shape[-1], device=batch.device, dtype=coefficients.dtype
        )
        angle = x.acos()
        exponent = sum(
            coefficients[..., k - 1 : k] * (k * angle).cos()
            for k in range(1, self.degree + 1)
        )
        return batch * exponent.exp().to(batch.dtype)


class ShiftSpectra(SpectrumAugmentation):
    r"""Shift each spectrum by a random number of pixels, or a random velocity.

    A shift by pixels is a whole number of them, which does not change the noise. A
    shift by a velocity :math:`v` stretches wavelengths by the Doppler factor
    :math:`\sqrt{(1 + v/c) / (1 - v/c)}` [1]_ and interpolates the flux linearly between
    pixels, which averages out some of the noise. In both cases the outermost pixel is
    repeated at the ends, and the channels of a sample shift together.

    Parameters
    ----------
    max_shift : float, default=None
        The largest shift to either side, as a fraction of the length of the spectrum;
        0.0067 of 3000 pixels are 20. Shifts of less than a pixel have no effect. None
        is 0.0067 if no velocity is given.
    max_velocity : float, default=None
        The largest velocity to either side, in km/s, instead of `max_shift`. Velocities
        are drawn uniformly; positive ones shift lines to the red.
    wavelength : array-like of shape (length,), default=None
        Wavelengths of the pixels, ascending, in any unit, evenly spaced or not. Needed
        with `max_velocity`.

    Raises
    ------
    ValueError
        If `max_shift` is not between 0 and 1, `max_velocity` not between 0 and the
        speed of light, `wavelength` not ascending, or if one of `max_velocity` and
        `wavelength` is given without the other or together with `max_shift`.

    References
    ----------
    .. [1] Rybicki & Lightman (1979), Radiative Processes in Astrophysics, chapter 4.

    Examples
    --------
    >>> import torch
    >>> from skastro.augmentation import ShiftSpectra
    >>> shift = ShiftSpectra(0.25)
    >>> generator = torch.Generator().manual_seed(1)
    >>> shift(torch.arange(8.0).expand(3, 8), generator=generator)
    tensor([[2., 3., 4., 5., 6., 7., 7., 7.],
            [0., 0., 0., 1., 2., 3., 4., 5.],
            [0., 0., 0., 1., 2., 3., 4., 5.]])
    >>> import numpy as np
    >>> wavelength = np.linspace(3900, 9000, 3000)
    >>> ShiftSpectra(max_velocity=300, wavelength=wavelength)
    ShiftSpectra(max_velocity=300, wavelength=<3000 pixels from 3900 to 9000>)
    """

    def __init__(
        self,
        max_shift: float | None = None,
        *,
        max_velocity: float | None = None,
        wavelength: ArrayLike | None = None,
    ) -> None:
        if (max_velocity is None) != (wavelength is None):
            raise ValueError(
                "Shifts by velocity need both max_velocity and wavelength, but got "
                + ("wavelength" if max_velocity is None else "max_velocity")
                + " alone."
            )
        if max_velocity is None:
            max_shift = _MAX_SHIFT if max_shift is None else max_shift
            check_number(max_shift, "max_shift", 0, 1)
        elif max_shift is None:
            check_number(max_velocity, "max_velocity", 0, 0.999 * _SPEED_OF_LIGHT)
            wavelength = _check_wavelength(wavelength)
        else:
            raise ValueError(
                f"Give either max_shift or max_velocity, but got max_shift={max_shift} "
                f"and max_velocity={max_velocity}."
            )
        self.max_shift = max_shift
        self.max_velocity = max_velocity
        self.wavelength = wavelength

    def _augment(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        if self.max_velocity is None or self.wavelength is None:
            return self._shift_by_pixels(batch, generator)
        shift = self.max_velocity / _SPEED_OF_LIGHT, self.wavelength
        return self._shift_by_velocity(batch, generator, *shift)

    def _shift_by_pixels(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        length = batch.shape[-1]
        pixels = int(self.max_shift * length)
        if pixels == 0:
            return batch
        shift = torch.randint(
            -pixels,
            pixels + 1,
            (len(batch), *[1] * (batch.ndim - 1)),
            generator=generator,
            device=batch.device,
        )
        source = torch.arange(length, device=batch.device) - shift
        return batch.gather(-1, source.clamp(0, length - 1).expand(batch.shape))

    @staticmethod
    def _shift_by_velocity(
        batch: torch.Tensor,
        generator: torch.Generator | None,
        max_beta: float,
        wavelength: np.ndarray,
    ) -> torch.Tensor:
        length = batch.shape[-1]
        if length != len(wavelength):
            raise ValueError(
                f"ShiftSpectra has the wavelengths of {len(wavelength)} pixels, "
                f"but got spectra of {length}."
            )
        drawn = 2 * draw_uniform(batch, generator) - 1
        beta = drawn * max_beta
        grid = torch.tensor(wavelength, dtype=beta.dtype, device=batch.device)
        # The wavelengths whose flux is shifted to the pixels, and their neighbors.
        source = grid * ((1 - beta) / (1 + beta)).sqrt()
        right = torch.searchsorted(grid, source).clamp(1, length - 1)
        left = right - 1
        weight = (source - grid[left]) / (grid[right] - grid[left])
        low = batch.gather(-1, left.expand(batch.shape))
        high = batch.gather(-1, right.expand(batch.shape))
        return torch.lerp(low, high, weight.clamp(0, 1).to(batch.dtype))

    def __repr__(self) -> str:
        """Show the parameters."""
        if self.wavelength is None:
            return f"ShiftSpectra({self.max_shift})"
        first, last = self.wavelength[0], self.wavelength[-1]
        return (
            f"ShiftSpectra(max_velocity={self.max_velocity}, wavelength="
            f"<{len(self.wavelength)} pixels from {first:g} to {last:g}>)"
        )


def _check_wavelength(wavelength: ArrayLike) -> np.ndarray:
    """Return ascending wavelengths in double precision, a copy."""
    # Shifts by velocity are the same in all units.
    grid = plain_array(wavelength, "wavelength", any_unit=True).astype(np.float64)
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(
            "wavelength must be of shape (length,) with two pixels at least, but got "
            f"{grid.shape}."
        )
    if not (np.isfinite(grid).all() and grid[0] > 0 and (np.diff(grid) > 0).all()):
        raise ValueError("wavelength must be positive, finite and strictly ascending.")
    return grid
