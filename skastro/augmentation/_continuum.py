# SPDX-License-Identifier: BSD-3-Clause
"""Errors of the flux calibration: smooth changes of the continuum."""

import math
from numbers import Integral

import torch

from skastro.augmentation._base import SpectrumOperation, check_number, draw_uniform


class ScaleContinuum(SpectrumOperation):
    r"""Multiply each spectrum by a smooth random curve.

    As an error of the flux calibration, or reddening, does. The factor in pixel
    :math:`x`, which runs from -1 to 1, is

    .. math:: \exp \sum_{k=1}^{d} c_k T_k(x), \qquad
              |c_k| \le \frac{1}{d} \log(1 + m)

    with the Chebyshev polynomials :math:`T_k` and coefficients drawn evenly between
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
    Meant for flux whose zero is the absence of light. Where the mean was subtracted,
    as in standardised spectra, it is the deviation from the mean that is scaled.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.augmentation import ScaleContinuum
    >>> ScaleContinuum(0.5)(np.ones((2, 5)), generator=1).round(2)
    array([[1.43, 1.19, 1.  , 0.84, 0.7 ],
           [1.25, 1.12, 1.  , 0.89, 0.8 ]])
    """

    def __init__(self, max_change: float = 0.2, *, degree: int = 1) -> None:
        check_number("max_change", max_change)
        if not isinstance(degree, Integral):
            raise TypeError(f"degree must be a whole number, but got {degree!r}.")
        check_number("degree", degree, 1)
        self.max_change = max_change
        self.degree = degree

    def _vary_spectra(
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

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"ScaleContinuum({self.max_change}, degree={self.degree})"
