# SPDX-License-Identifier: BSD-3-Clause
"""Rebinning of spectra to another wavelength grid."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin

from skastro._compat import Interval
from skastro.preprocessing._base import BaseSpectraTransformer
from skastro.utils import apply_rebin_matrix, bin_edges, rebin_matrix, to_unit_of


class RebinSpectra(ClassNamePrefixFeaturesOutMixin, BaseSpectraTransformer):
    """Put spectra on another wavelength grid, conserving the flux.

    A new pixel takes the mean of the flux density over its width: each old pixel
    counts by the length of its overlap with the new one, as in [1]_. So the integral
    of the flux over the pixels that the input covers stays what it was.

    Parameters
    ----------
    wavelength : array-like or Quantity of shape (n_pixels,), default=None
        Centres of the pixels of the input, strictly ascending, evenly spaced or not.
        Pixels meet midway between their centres. None numbers the pixels 0, 1, 2, ...

    new_wavelength : array-like or Quantity of shape (n_new_pixels,), default=None
        Centres of the new pixels, strictly ascending. Plain numbers are in the unit
        of `wavelength`; quantities are converted to it. None asks for evenly spaced
        pixels over the range of the input.

    n_bins : int, default=None
        Number of evenly spaced new pixels where `new_wavelength` is None. None takes
        as many as the input has.

    fill_value : float, default=nan
        Value of new pixels of which less than half lies within the range of the
        input. The other transformers interpolate NaN pixels if they are asked to.

    nan_policy : {"raise", "interpolate"}, default="raise"
        What to do with NaN pixels: refuse the input, or interpolate each spectrum
        linearly along `wavelength` between the neighbouring good pixels, repeating
        the outermost good pixel towards the ends. Infinite values are always refused.

    Attributes
    ----------
    new_wavelength_ : ndarray of shape (n_new_pixels,)
        Centres of the new pixels, in the unit of `wavelength`.

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
    skastro.utils.rebin : The same as a function.
    MinMaxSpectra : Scale each spectrum to a range.
    StandardizeSpectra : Scale each spectrum to zero mean and unit variance.

    Notes
    -----
    Flux means flux density per unit of wavelength, as survey files hold it, not
    counts per pixel. The transformer is stateless: :meth:`transform` works without
    :meth:`fit`.

    References
    ----------
    .. [1] Carnall (2017), "SpectRes: a fast spectral resampling tool in Python",
       :arxiv:`1705.05165`.

    Examples
    --------
    >>> from skastro.preprocessing import RebinSpectra
    >>> flux = [[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 4.0, 4.0]]
    >>> RebinSpectra(n_bins=2).fit_transform(flux)
    array([[2., 6.],
           [2., 4.]])
    >>> rebin = RebinSpectra([4000, 4010, 4020, 4030], [4005, 4025]).fit(flux)
    >>> rebin.transform(flux)
    array([[2., 6.],
           [2., 4.]])
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseSpectraTransformer._parameter_constraints,
        "wavelength": ["array-like", None],
        "new_wavelength": ["array-like", None],
        "n_bins": [Interval(Integral, 1, None, closed="left"), None],
        "fill_value": [Real],
    }

    def __init__(
        self,
        wavelength: ArrayLike | None = None,
        new_wavelength: ArrayLike | None = None,
        *,
        n_bins: int | None = None,
        fill_value: float = np.nan,
        nan_policy: str = "raise",
    ) -> None:
        self.wavelength = wavelength
        self.new_wavelength = new_wavelength
        self.n_bins = n_bins
        self.fill_value = fill_value
        self.nan_policy = nan_policy

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check the parameters and the spectra, and note the new grid.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels) or \
                (n_spectra, n_channels, n_pixels)
            Spectra.

        y : None
            Ignored.

        Returns
        -------
        self : object
            The transformer itself. `transform` works without `fit` as well.
        """
        super().fit(X)
        _, _, new_edges = self._grids(self.sample_shape_[-1])
        if self.new_wavelength is None:
            self.new_wavelength_ = 0.5 * (new_edges[1:] + new_edges[:-1])
        else:
            new_wavelength = to_unit_of(self.wavelength, self.new_wavelength)
            self.new_wavelength_ = np.array(new_wavelength, dtype=np.float64)
        # Feature names are those of the second axis: of the channels where there are.
        is_flat = len(self.sample_shape_) == 1
        self._n_features_out = (
            len(self.new_wavelength_) if is_flat else self.sample_shape_[0]
        )
        return self

    def _transform(self, X: np.ndarray) -> np.ndarray:
        positions, edges, new_edges = self._grids(X.shape[-1])
        matrix = rebin_matrix(edges, new_edges)
        X_tr = np.empty((*X.shape[:-1], matrix.shape[0]), dtype=X.dtype)
        for rows, batch in self._batches(X, positions):
            X_tr[rows] = apply_rebin_matrix(matrix, batch, fill_value=self.fill_value)
        return X_tr

    def _grids(self, n_pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the old pixels' centres and edges and the new pixels' edges."""
        if self.new_wavelength is not None and self.n_bins is not None:
            raise ValueError(
                "new_wavelength and n_bins both say what the new grid is: set one of "
                "them to None."
            )
        if self.wavelength is None:
            wavelength = np.arange(n_pixels, dtype=np.float64)
        else:
            wavelength = np.asarray(self.wavelength, dtype=np.float64)
            if wavelength.shape != (n_pixels,):
                raise ValueError(
                    f"X holds spectra of {n_pixels} pixels, but wavelength has "
                    f"{_describe_length(wavelength)}: it must have one value a pixel."
                )
        edges = bin_edges(wavelength)
        if self.new_wavelength is not None:
            new_edges = bin_edges(to_unit_of(self.wavelength, self.new_wavelength))
            if new_edges[0] >= edges[-1] or new_edges[-1] <= edges[0]:
                raise ValueError(
                    f"new_wavelength, from {new_edges[0]:g} to {new_edges[-1]:g}, lies "
                    f"outside of the input, from {edges[0]:g} to {edges[-1]:g}: give "
                    "both in the same unit."
                )
        else:
            n_bins = n_pixels if self.n_bins is None else self.n_bins
            new_edges = np.linspace(edges[0], edges[-1], n_bins + 1)
        return wavelength, edges, new_edges


def _describe_length(wavelength: np.ndarray) -> str:
    """Say how long a grid is."""
    if wavelength.ndim == 1:
        return f"{wavelength.size} values"
    return f"shape {wavelength.shape}"
