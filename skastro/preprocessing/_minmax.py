# SPDX-License-Identifier: BSD-3-Clause
"""Scaling of each spectrum to a range by its minimum and maximum, or by quantiles."""

from typing import ClassVar

import numpy as np

from skastro.preprocessing._base import BaseSpectraScaler


class MinMaxSpectra(BaseSpectraScaler):
    r"""Scale each spectrum to a given range by its own limits.

    The flux :math:`F` of each spectrum, and of each of its channels, becomes

    .. math:: F' = \frac{F - F_\min}{F_\max - F_\min}

    as in [1]_. A sky residual or a cosmic ray is often the largest pixel of a real
    spectrum, and squeezes everything else into a small part of the range. Limits by
    quantiles (`quantile_range`) withstand it.

    Parameters
    ----------
    feature_range : tuple of two float, default=(0, 1)
        What the limits become.

    quantile_range : tuple of two float, default=(0.0, 100.0)
        Percentiles of the pixels of a spectrum that serve as :math:`F_\min` and
        :math:`F_\max`. The default is the plain minimum and maximum.
        ``(1.0, 99.0)`` lets one pixel in a hundred on each side fall outside of
        `feature_range`. Where both percentiles coincide, as in a spectrum of mostly
        zeros, the minimum and maximum are taken instead.

    clip : bool, default=False
        Set what lies outside of `feature_range` to its nearer end. Only matters
        together with `quantile_range`.

    nan_policy : {"raise", "interpolate"}, default="raise"
        What to do with NaN pixels: refuse the input, or interpolate each spectrum
        linearly between the neighbouring good pixels, repeating the outermost good
        pixel towards the ends. Infinite values are always refused.

    Attributes
    ----------
    sample_shape_ : tuple of int
        Shape of a spectrum seen during ``fit``, ``(n_pixels,)`` or
        ``(n_channels, n_pixels)``.

    n_features_in_ : int
        Length of the second axis of the input seen during ``fit``.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen during ``fit``. Defined only when `X` has
        feature names that are all strings.

    See Also
    --------
    StandardizeSpectra : Zero mean and unit variance instead of a range.
    RebinSpectra : Another wavelength grid.

    Notes
    -----
    A constant spectrum becomes the lower end of `feature_range`. The transformer is
    stateless: :meth:`transform` works without :meth:`fit`.

    References
    ----------
    .. [1] Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95.

    Examples
    --------
    >>> from skastro.preprocessing import MinMaxSpectra
    >>> flux = [[1.0, 2.0, 3.0, 2.0, 101.0], [5.0, 5.0, 5.0, 5.0, 5.0]]
    >>> MinMaxSpectra().fit_transform(flux)
    array([[0.  , 0.01, 0.02, 0.01, 1.  ],
           [0.  , 0.  , 0.  , 0.  , 0.  ]])
    >>> MinMaxSpectra(quantile_range=(0.0, 75.0), clip=True).fit_transform(flux)
    array([[0. , 0.5, 1. , 0.5, 1. ],
           [0. , 0. , 0. , 0. , 0. ]])
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseSpectraScaler._parameter_constraints,
        "feature_range": [tuple, list],
        "quantile_range": [tuple, list],
        "clip": ["boolean"],
    }

    def __init__(
        self,
        feature_range: tuple[float, float] = (0, 1),
        *,
        quantile_range: tuple[float, float] = (0.0, 100.0),
        clip: bool = False,
        nan_policy: str = "raise",
    ) -> None:
        self.feature_range = feature_range
        self.quantile_range = quantile_range
        self.clip = clip
        self.nan_policy = nan_policy

    def _validate_params(self) -> None:
        super()._validate_params()
        _check_interval(self.feature_range, "feature_range", -np.inf, np.inf)
        _check_interval(self.quantile_range, "quantile_range", 0, 100)

    def _scale(self, batch: np.ndarray) -> None:
        low, high = self._limits(batch)
        width = high - low
        width[width == 0] = 1
        batch -= low
        batch /= width
        bottom, top = self.feature_range
        if (bottom, top) != (0, 1):
            batch *= top - bottom
            batch += bottom
        if self.clip:
            np.clip(batch, bottom, top, out=batch)

    def _limits(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flux of each spectrum that becomes the ends of the range."""
        lowest = batch.min(axis=-1, keepdims=True)
        highest = batch.max(axis=-1, keepdims=True)
        if tuple(self.quantile_range) == (0, 100):
            return lowest, highest
        low, high = np.percentile(batch, self.quantile_range, axis=-1, keepdims=True)
        flat = low == high
        return np.where(flat, lowest, low), np.where(flat, highest, high)


def _check_interval(
    interval: tuple[float, float], name: str, lower: float, upper: float
) -> None:
    """Refuse what is not a pair of ascending numbers within bounds."""
    try:
        low, high = (float(end) for end in interval)
        fine = lower <= low < high <= upper and np.isfinite([low, high]).all()
    except (TypeError, ValueError):
        fine = False
    if not fine:
        bounds = "" if np.isinf(upper) else f" from {lower:g} to {upper:g}"
        raise ValueError(
            f"{name} must be two finite numbers{bounds}, the smaller one first; got "
            f"{interval!r}."
        )
