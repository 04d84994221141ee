# SPDX-License-Identifier: BSD-3-Clause
"""Small shifts of spectra along the wavelength."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from skastro.augmentation._base import SpectrumOperation, check_number, draw_uniform

_MAX_SHIFT = 0.0067
_SPEED_OF_LIGHT = 299792.458  # km/s


class ShiftSpectra(SpectrumOperation):
    r"""Shift each spectrum by a random number of pixels, or a random velocity.

    By pixels, it is a whole number of them, so that the noise stays as it is. By
    velocity :math:`v`, wavelengths are stretched by the Doppler factor
    :math:`\sqrt{(1 + v/c) / (1 - v/c)}` [1]_, and the flux is interpolated linearly
    between pixels, which averages some of the noise out. In both cases the outermost
    pixel is repeated where nothing else is known, and the channels of a sample shift
    together.

    Parameters
    ----------
    max_shift : float, default=None
        The largest shift to either side, as a part of the spectrum's length; 0.0067
        of 3000 pixels are 20. Shifts of less than a pixel do nothing. None is 0.0067
        where no velocity is given.
    max_velocity : float, default=None
        The largest velocity to either side, in km/s, in place of `max_shift`.
        Velocities are drawn evenly; positive ones move lines to the red.
    wavelength : array-like of shape (length,), default=None
        The pixels' wavelengths, ascending, in any unit: an even grid, a logarithmic
        one, or any other. Needed with `max_velocity`.

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
            check_number("max_shift", max_shift, 0, 1)
        elif max_shift is None:
            check_number("max_velocity", max_velocity, 0, 0.999 * _SPEED_OF_LIGHT)
            wavelength = _check_wavelength(wavelength)
        else:
            raise ValueError(
                f"Give either max_shift or max_velocity, but got max_shift={max_shift} "
                f"and max_velocity={max_velocity}."
            )
        self.max_shift = max_shift
        self.max_velocity = max_velocity
        self.wavelength = wavelength

    def _vary_spectra(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        if self.max_velocity is None:
            return self._shift_by_pixels(batch, generator)
        return self._shift_by_velocity(batch, generator)

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

    def _shift_by_velocity(
        self, batch: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        length = batch.shape[-1]
        if length != len(self.wavelength):
            raise ValueError(
                f"ShiftSpectra has the wavelengths of {len(self.wavelength)} pixels, "
                f"but got spectra of {length}."
            )
        drawn = 2 * draw_uniform(batch, generator) - 1
        beta = drawn * (self.max_velocity / _SPEED_OF_LIGHT)
        grid = torch.tensor(self.wavelength, dtype=beta.dtype, device=batch.device)
        # The wavelengths whose flux arrives in the pixels, and the pixels around them.
        source = grid * ((1 - beta) / (1 + beta)).sqrt()
        right = torch.searchsorted(grid, source).clamp(1, length - 1)
        left = right - 1
        weight = (source - grid[left]) / (grid[right] - grid[left])
        low = batch.gather(-1, left.expand(batch.shape))
        high = batch.gather(-1, right.expand(batch.shape))
        return torch.lerp(low, high, weight.clamp(0, 1).to(batch.dtype))

    def __repr__(self) -> str:
        """Show the parameters."""
        if self.max_velocity is None:
            return f"ShiftSpectra({self.max_shift})"
        first, last = self.wavelength[0], self.wavelength[-1]
        return (
            f"ShiftSpectra(max_velocity={self.max_velocity}, wavelength="
            f"<{len(self.wavelength)} pixels from {first:g} to {last:g}>)"
        )


def _check_wavelength(wavelength: ArrayLike) -> np.ndarray:
    """Return ascending wavelengths in double precision, a copy."""
    grid = np.array(wavelength, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(
            "wavelength must be of shape (length,) with two pixels at least, but got "
            f"{grid.shape}."
        )
    if not (np.isfinite(grid).all() and grid[0] > 0 and (np.diff(grid) > 0).all()):
        raise ValueError("wavelength must be positive, finite and strictly ascending.")
    return grid
