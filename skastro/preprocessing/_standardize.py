# SPDX-License-Identifier: BSD-3-Clause
"""Scaling of each spectrum to zero mean and unit variance, or their robust kin."""

from numbers import Real
from typing import ClassVar

import numpy as np

from skastro._compat import Interval
from skastro.preprocessing._base import BaseSpectraScaler

# The standard deviation of normally distributed values over their median absolute
# deviation, 1 / Phi^-1(3/4).
_SIGMA_PER_MAD = 1.482602218505602


class StandardizeSpectra(BaseSpectraScaler):
    """Shift each spectrum to zero mean and scale it to unit standard deviation.

    Each spectrum, and each of its channels, is treated by itself. Optionally the
    median and the median absolute deviation take the places of mean and standard
    deviation, so that a few pixels of sky residuals, cosmic rays or strong emission
    lines do not set the scale of all others [1]_.

    Parameters
    ----------
    robust : bool, default=False
        Use the median, and the median absolute deviation times 1.4826, which is the
        standard deviation of normally distributed values. Where the median absolute
        deviation is zero, as in a spectrum of mostly zeros, the root mean square
        about the median is taken instead.

    clip : float, default=None
        Limit the absolute values after scaling to this number. None does not limit
        them.

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
    MinMaxSpectra : A range instead of zero mean and unit variance.
    RebinSpectra : Another wavelength grid.

    Notes
    -----
    A constant spectrum becomes zero. The transformer is stateless: :meth:`transform`
    works without :meth:`fit`.

    References
    ----------
    .. [1] Rousseeuw & Croux (1993), "Alternatives to the median absolute deviation",
       Journal of the American Statistical Association 88(424), 1273-1283,
       :doi:`10.1080/01621459.1993.10476408`.

    Examples
    --------
    >>> from skastro.preprocessing import StandardizeSpectra
    >>> flux = [[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 5.0, 5.0]]
    >>> StandardizeSpectra().fit_transform(flux)
    array([[-1., -1.,  1.,  1.],
           [ 0.,  0.,  0.,  0.]])
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseSpectraScaler._parameter_constraints,
        "robust": ["boolean"],
        "clip": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        robust: bool = False,
        clip: float | None = None,
        nan_policy: str = "raise",
    ) -> None:
        self.robust = robust
        self.clip = clip
        self.nan_policy = nan_policy

    def _scale(self, batch: np.ndarray) -> None:
        if self.robust:
            batch -= np.median(batch, axis=-1, keepdims=True)
            scale = np.median(np.abs(batch), axis=-1, keepdims=True)
            scale *= _SIGMA_PER_MAD
            scale = np.where(scale == 0, _root_mean_square(batch), scale)
        else:
            # Without this first step the mean of a constant spectrum is off by
            # round-off, which would then be scaled to one.
            batch -= batch[..., :1].copy()
            batch -= batch.mean(axis=-1, keepdims=True)
            scale = _root_mean_square(batch)
        scale[scale == 0] = 1
        batch /= scale
        if self.clip is not None:
            np.clip(batch, -self.clip, self.clip, out=batch)


def _root_mean_square(batch: np.ndarray) -> np.ndarray:
    """Return the root mean square of each spectrum."""
    return np.sqrt(np.square(batch).mean(axis=-1, keepdims=True))
