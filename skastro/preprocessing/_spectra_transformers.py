# SPDX-License-Identifier: BSD-3-Clause
"""Transformers of single spectra: scaling of each, and rebinning to one grid."""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from astropy import units
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skastro._compat import (
    Interval,
    Options,
    StrOptions,
    fit_context,
    offers_set_output,
    wrap_output,
)
from skastro.preprocessing._collect_spectra import (
    SpectraBlock,
    check_grid,
    collect_spectra,
)
from skastro.preprocessing._resolution import check_resolution, fwhm_of
from skastro.simulation import air_to_vacuum, vacuum_to_air
from skastro.utils import (
    LazyArray,
    RowwiseSource,
    apply_rebin_matrix,
    as_lazy,
    bin_edges,
    check_finite,
    check_spectra_layout,
    is_lazy,
    name_rows,
    pixel_matrix,
    plain_array,
    row_batches,
    to_unit_of,
    unit_of,
)

_ADVICE_NAN = (
    'Set nan_policy="interpolate" to fill NaN pixels from their neighbors, or leave '
    "these rows out."
)
_ADVICE_INFINITY = (
    "Only NaN pixels can be interpolated: set the infinite ones to NaN, or leave these "
    "rows out."
)
# The standard deviation of normally distributed values over their median absolute
# deviation, 1 / Phi^-1(3/4).
_SIGMA_PER_MAD = 1.482602218505602
_SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
# Resolutions are hardly known better.
_SAME_FWHM = 1.01


class BaseSpectraTransformer(  # type: ignore[call-arg]
    TransformerMixin, BaseEstimator, metaclass=ABCMeta, auto_wrap_output_keys=None
):
    """Base of the transformers that treat each spectrum by itself.

    It checks the input and calls the method `_transform` of the subclass, which takes
    the spectra in batches from `_batches`.
    """

    # Whether a unit of the flux does not matter for the result.
    _any_unit = True
    _parameter_constraints: ClassVar[dict] = {
        "channel_axis": [None, Options(Integral, {1, 2, -1, -2})],
        "nan_policy": [StrOptions({"raise", "interpolate"})],
    }

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check the parameters and the spectra, and note the shape of a spectrum.

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
        self._note_shape(X)
        return self

    def _note_shape(self, X: ArrayLike) -> None:
        """Check spectra and note their shape."""
        if is_lazy(X):
            X = as_lazy(X)
            self.__dict__.pop("sample_shape_", None)
            self.__dict__.pop("feature_names_in_", None)
            self.sample_shape_ = self._validate_lazy(X)
            self.n_features_in_ = X.shape[1]
        else:
            self._validate(X, reset=True)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Transform each spectrum, and each of its channels, by itself.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels) or \
                (n_spectra, n_channels, n_pixels)
            Spectra. They are not changed. May be an array on disk, such as an
            `h5py.Dataset`.

        Returns
        -------
        X_tr : ndarray of the shape of `X`, but with the number of pixels of the new \
                grid in `RebinSpectra`
            float32 if `X` is float32, otherwise float64. A
            :class:`~skastro.datasets.LazyArray` if `X` is an array on disk: its spectra
            are checked and transformed when they are read.
        """
        self._validate_params()
        if is_lazy(X):
            return self._transform_lazy(as_lazy(X))
        X_tr = self._transform_given(self._validate(X, reset=False))
        return wrap_output("transform", X_tr, X, self) if X_tr.ndim == 2 else X_tr

    # The inherited one would put results of three axes into data frames.
    def fit_transform(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Fit, and transform the same spectra.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels) or \
                (n_spectra, n_channels, n_pixels)
            Spectra.
        y : None
            Ignored.

        Returns
        -------
        X_tr : ndarray
            What ``fit(X).transform(X)`` returns.
        """
        return self.fit(X, y).transform(X)

    def _transform_given(self, X: np.ndarray) -> np.ndarray:
        """Transform spectra in the layout in which they were given."""
        X_tr = self._transform(self._channels_first(X))
        # Two axes are exchanged, so that the way back is the same.
        return np.ascontiguousarray(self._channels_first(X_tr))

    def _transform_rows(self, X: np.ndarray) -> np.ndarray:
        """Check and transform rows that were read from disk."""
        return self._transform_given(self._validate(X, reset=False))

    def _transform_lazy(self, X: LazyArray) -> LazyArray:
        # Rows are read later; the copy keeps the current parameters until then.
        transformer = copy.copy(self)
        flat = np.zeros((1, *self._validate_lazy(X)), self._dtype_of(X.dtype))
        example = self._transform_given(flat)
        transform = transformer._transform_rows
        source = RowwiseSource(X, transform, example.shape[1:], example.dtype)
        return LazyArray(source, X.rows)

    def _validate_lazy(self, X: LazyArray) -> tuple[int, ...]:
        """Check all but the values of an array on disk; return a spectrum's shape."""
        if X.ndim not in (2, 3) or X.dtype.kind not in "biuf" or 0 in X.shape:
            raise ValueError(
                f"Found an array on disk of shape {X.shape} and dtype {X.dtype}: "
                f"{type(self).__name__} expects spectra of shape (n_spectra, n_pixels) "
                "or (n_spectra, n_channels, n_pixels), real numbers, at least one."
            )
        self._check_layout(X.shape[1:])
        self._check_sample_shape(X.shape[1:])
        return X.shape[1:]

    def _check_layout(self, shape: tuple[int, ...]) -> None:
        """Refuse swapped axes, unless the user has said where the channels are."""
        if self.channel_axis is None:
            check_spectra_layout(shape, "channel_axis=1")

    def _channels_first(self, X: np.ndarray) -> np.ndarray:
        """View spectra with the pixels on the last axis."""
        if X.ndim == 3 and self.channel_axis in (2, -1):
            return np.moveaxis(X, -1, 1)
        return X

    @staticmethod
    def _dtype_of(dtype: np.dtype) -> type:
        return np.float32 if dtype == np.float32 else np.float64

    @abstractmethod
    def _transform(self, X: np.ndarray) -> np.ndarray:
        """Transform spectra that have been checked, and leave them unchanged."""

    def _batches(
        self, X: np.ndarray, positions: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield batches of spectra as float64 copies, NaN pixels filled.

        Double precision costs little in the processor's cache and avoids the round-off
        of large fluxes; the copies may be changed in place. NaN pixels are interpolated
        along `positions`, the coordinates of the pixels.
        """
        for rows in row_batches(X.shape):
            batch = X[rows].astype(np.float64, order="C")
            if self.nan_policy == "interpolate":
                _fill_nan(batch, positions)
            yield rows, batch

    def _validate(self, X: ArrayLike, *, reset: bool) -> np.ndarray:
        """Return the spectra as a checked array of native float32 or float64."""
        array = plain_array(X, any_unit=self._any_unit)
        # Data frames have names, too.
        original = X if hasattr(X, "columns") else array
        X = check_array(
            array,
            dtype=[np.float64, np.float32],
            allow_nd=True,
            ensure_all_finite=False,
            estimator=self,
            input_name="X",
        )
        if X.ndim > 3 or X.shape[-1] == 0:
            raise ValueError(
                f"Found array of shape {X.shape}: {type(self).__name__} expects spectra"
                " of shape (n_spectra, n_pixels) or (n_spectra, n_channels, n_pixels) "
                "with at least one pixel."
            )
        self._check_layout(X.shape[1:])
        if not reset and hasattr(self, "sample_shape_"):
            if max(X.ndim - 1, len(self.sample_shape_)) > 1:
                self._check_sample_shape(X.shape[1:])
            validate_data(self, original, reset=False, skip_check_array=True)
        interpolate = self.nan_policy == "interpolate"
        check_finite(
            X,
            allow_nan=interpolate,
            advice=_ADVICE_INFINITY if interpolate else _ADVICE_NAN,
        )
        if interpolate:
            _check_fillable(self._channels_first(X))
        if reset:
            # Set last, so that a failing fit sets no attribute.
            validate_data(self, original, reset=True, skip_check_array=True)
            self.sample_shape_ = X.shape[1:]
        return X

    def _check_sample_shape(self, shape: tuple[int, ...]) -> None:
        """Compare channels and lengths; scikit-learn does this for 2-D input only."""
        if shape != tuple(getattr(self, "sample_shape_", shape)):
            raise ValueError(
                f"X holds spectra of shape {shape}, but {type(self).__name__} was "
                f"fitted on spectra of shape {self.sample_shape_}, that is "
                "([n_channels,] n_pixels)."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.nan_policy == "interpolate"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class BaseSpectraScaler(OneToOneFeatureMixin, BaseSpectraTransformer):
    """Base of the transformers that scale each spectrum by its own flux."""

    def _transform(self, X: np.ndarray) -> np.ndarray:
        X_tr = np.empty(X.shape, dtype=X.dtype)
        for rows, batch in self._batches(X, np.arange(X.shape[-1])):
            self._scale(batch)
            X_tr[rows] = batch
        return X_tr

    @abstractmethod
    def _scale(self, batch: np.ndarray) -> None:
        """Scale finite float64 spectra in place."""


def _check_fillable(X: np.ndarray) -> None:
    """Refuse spectra without any finite pixel."""
    empty = []
    for rows in row_batches(X.shape):
        hopeless = np.isnan(X[rows]).all(axis=-1)
        if hopeless.ndim > 1:
            hopeless = hopeless.any(axis=1)
        empty.extend(rows.start + np.flatnonzero(hopeless))
    if empty:
        what = "spectra" if X.ndim == 2 else "spectra with a channel"
        raise ValueError(
            f"Input X contains {len(empty)} {what} of NaN only, which cannot be "
            f"interpolated, in rows {name_rows(empty)}. Leave these rows out."
        )


def _fill_nan(batch: np.ndarray, positions: np.ndarray) -> None:
    """Interpolate NaN pixels in place; beyond the outermost good pixel, repeat it."""
    spectra = batch.reshape(-1, batch.shape[-1])
    missing = np.isnan(spectra)
    for row in np.flatnonzero(missing.any(axis=1)):
        bad = missing[row]
        good = ~bad
        spectra[row, bad] = np.interp(
            positions[bad], positions[good], spectra[row, good]
        )


class MinMaxSpectra(BaseSpectraScaler):
    r"""Scale each spectrum to a given range by its own limits.

    The flux :math:`F` of each spectrum, and of each of its channels, becomes

    .. math:: F' = \frac{F - F_\min}{F_\max - F_\min}

    as in [1]_. The largest pixel of a real spectrum is often a sky residual or a cosmic
    ray, which compresses all other pixels into a small part of the range. Limits by
    quantiles (`quantile_range`) do not depend on it.

    Parameters
    ----------
    feature_range : tuple of two float, default=(0, 1)
        Lower and upper end of the new range.
    quantile_range : tuple of two float, default=(0.0, 100.0)
        Percentiles of the pixels of a spectrum that serve as :math:`F_\min` and
        :math:`F_\max`. The default is the plain minimum and maximum.
        ``(1.0, 99.0)`` lets one pixel in a hundred on each side fall outside of
        `feature_range`. If both percentiles coincide, as in a spectrum of mostly zeros,
        the minimum and maximum are used instead.
    clip : bool, default=False
        Set values outside of `feature_range` to its nearer end. It has an effect only
        together with `quantile_range`.
    nan_policy : {"raise", "interpolate"}, default="raise"
        What to do with NaN pixels: refuse the input, or interpolate each spectrum
        linearly between the neighboring good pixels, repeating the outermost good
        pixel toward the ends. Infinite values are always refused.
    channel_axis : {1, 2, -1, -2} or None, default=None
        The axis of 3-D X that holds the channels; 2 is the layout of Keras,
        ``(n_spectra, n_pixels, n_channels)``. None stands for 1, but refuses X whose
        axes look swapped; a number says that they are meant as they are.

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
        channel_axis: int | None = None,
    ) -> None:
        self.feature_range = feature_range
        self.quantile_range = quantile_range
        self.clip = clip
        self.nan_policy = nan_policy
        self.channel_axis = channel_axis

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


class StandardizeSpectra(BaseSpectraScaler):
    """Shift each spectrum to zero mean and scale it to unit standard deviation.

    Each spectrum, and each of its channels, is scaled by itself. With `robust` the
    median and the median absolute deviation replace mean and standard deviation, so
    that a few pixels of sky residuals, cosmic rays or strong emission lines do not set
    the scale of all others [1]_.

    Parameters
    ----------
    robust : bool, default=False
        Use the median, and the median absolute deviation times 1.4826, which is the
        standard deviation of normally distributed values. If the median absolute
        deviation is zero, as in a spectrum of mostly zeros, the root mean square about
        the median is used instead.
    clip : float, default=None
        Limit the absolute values after scaling to this number. None does not limit
        them.
    nan_policy : {"raise", "interpolate"}, default="raise"
        What to do with NaN pixels: refuse the input, or interpolate each spectrum
        linearly between the neighboring good pixels, repeating the outermost good
        pixel toward the ends. Infinite values are always refused.
    channel_axis : {1, 2, -1, -2} or None, default=None
        The axis of 3-D X that holds the channels; 2 is the layout of Keras,
        ``(n_spectra, n_pixels, n_channels)``. None stands for 1, but refuses X whose
        axes look swapped; a number says that they are meant as they are.

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
        channel_axis: int | None = None,
    ) -> None:
        self.robust = robust
        self.clip = clip
        self.nan_policy = nan_policy
        self.channel_axis = channel_axis

    def _scale(self, batch: np.ndarray) -> None:
        if self.robust:
            batch -= np.median(batch, axis=-1, keepdims=True)
            scale = np.median(np.abs(batch), axis=-1, keepdims=True)
            scale *= _SIGMA_PER_MAD
            if (scale == 0).any():
                scale = np.where(scale == 0, _root_mean_square(batch), scale)
        else:
            # Without this first step the mean of a constant spectrum has a round-off
            # error, which would then be scaled to one.
            batch -= batch[..., :1].copy()
            batch -= batch.mean(axis=-1, keepdims=True)
            scale = _root_mean_square(batch)
        scale[scale == 0] = 1
        batch /= scale
        if self.clip is not None:
            np.clip(batch, -self.clip, self.clip, out=batch)


def _root_mean_square(batch: np.ndarray) -> np.ndarray:
    """Return the root mean square of each spectrum."""
    # Squares of very small and very large values cannot be represented.
    largest = np.abs(batch).max(axis=-1, keepdims=True)
    largest[largest == 0] = 1
    return largest * np.sqrt(np.square(batch / largest).mean(axis=-1, keepdims=True))


@offers_set_output
class RebinSpectra(  # type: ignore[call-arg]
    ClassNamePrefixFeaturesOutMixin, BaseSpectraTransformer, auto_wrap_output_keys=None
):
    """Rebin spectra to one wavelength grid, conserving the flux.

    The value of a new pixel is the mean of the flux density over its width: each old
    pixel is weighted by the length of its overlap with the new one, as in [1]_. The
    integral of the flux over the pixels that the input covers is therefore conserved.

    A fitted transformer, and a pipeline that begins with it, knows its grid, and takes
    spectra of other grids, of other surveys for instance, to it. `X` is one of

    - an array of spectra on the grid of the training spectra, or on the one that the
      argument `wavelength` of :meth:`fit` and :meth:`transform` states;
    - a list of spectra that hold their wavelengths, each of any length:
      ``(wavelength, flux)`` or ``(wavelength, flux, ivar)`` in a tuple, what
      :func:`~skastro.datasets.read_spectrum` returns, or objects with `spectral_axis`
      and `flux`, such as ``specutils.Spectrum``; ``cross_val_score``, ``GridSearchCV``
      and ``train_test_split`` split such lists;
    - what :func:`~skastro.datasets.read_spectra` returns, any dictionary with `flux`,
      `wavelength` and, if they are known, `medium` and `resolution`, or an object of
      many spectra, such as ``specutils.SpectrumCollection``.

    Spectra that state a sharper `resolution` than that of the training spectra are
    convolved to it.

    Read more in the :ref:`User Guide <wavelength_grids>`.

    Parameters
    ----------
    wavelength : array-like or Quantity of shape (n_pixels,), default=None
        Centers of the pixels of the input, strictly ascending, evenly spaced or not.
        Pixels meet midway between their centers, except across a gap: a step twenty
        times as wide as those beside it and as the median. None stands for what
        :meth:`fit` is told, or else for 0, 1, 2, ...
    new_wavelength : array-like or Quantity of shape (n_new_pixels,), default=None
        Centers of the new pixels, strictly ascending. Plain numbers are in the unit
        of `wavelength`; quantities are converted to it. None stands for evenly spaced
        pixels over the range of the training spectra, or the one that all of them
        have.
    medium : {"air", "vacuum"}, default=None
        Medium of `new_wavelength` and `wavelength`. None stands for that of the
        training spectra. Spectra that state another one are converted, by
        :func:`~skastro.simulation.air_to_vacuum`; those that state none are taken to be
        in this one.
    resolution : float or Quantity, default=None
        Spectral resolution of the new spectra: a number is the resolving power λ/FWHM,
        the same at all wavelengths, at least 10; a quantity of a length is the full
        width at half maximum (FWHM) of a narrow line. None stands for that of the
        training spectra. Spectra that state a sharper one are convolved to it; those
        that state none are taken to have this one.
    n_bins : int, default=None
        Number of evenly spaced new pixels if `new_wavelength` is None. None keeps the
        number of pixels of the input, or, of training spectra on several grids, the
        least number of pixels within the range that they have in common.
    fill_value : float, default=nan
        Value of new pixels if less than half of their width is within the range of the
        input. The other transformers can interpolate NaN pixels (`nan_policy`).
    nan_policy : {"raise", "interpolate"}, default="raise"
        What to do with NaN pixels: refuse the input, or interpolate each spectrum
        linearly between the neighboring good pixels, repeating the outermost good
        pixel toward the ends. Infinite values are always refused.
    channel_axis : {1, 2, -1, -2} or None, default=None
        The axis of 3-D X that holds the channels; 2 is the layout of Keras,
        ``(n_spectra, n_pixels, n_channels)``. None stands for 1, but refuses X whose
        axes look swapped; a number says that they are meant as they are.

    Attributes
    ----------
    new_wavelength_ : ndarray of shape (n_new_pixels,)
        Centers of the new pixels, in `wavelength_unit_` and `medium_`.
    wavelength_ : ndarray of shape (n_pixels,) or None
        Centers of the pixels of the training spectra, in the same unit and medium. None
        if they have several grids, or none.
    wavelength_unit_ : :class:`astropy.units.Unit` or None
        Unit of the wavelengths: that of the parameters, or Å if these are plain
        numbers. None if pixels are counted.
    medium_ : {"air", "vacuum"} or None
        Medium of the wavelengths. None if nothing states it.
    resolution_ : float, Quantity or None
        Spectral resolution of the new spectra: that of the parameter, or the coarsest
        one that training spectra state, by its FWHM in the middle of the new grid. None
        if nothing states it.
    frame_ : {"heliocentric", "rest", "topocentric"} or None
        Frame of the wavelengths as :func:`~skastro.datasets.read_spectra` states it,
        with barycentric under heliocentric. None if it is unknown or not the same for
        all training spectra.
    flux_unit_ : :class:`astropy.units.Unit` or None
        Unit of the flux of the first training spectrum that states one. Flux in units
        that differ from it by a factor is converted.
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
    skastro.simulation.air_to_vacuum : The conversion of wavelengths.
    MinMaxSpectra : Scale each spectrum to a range.
    StandardizeSpectra : Scale each spectrum to zero mean and unit variance.

    Notes
    -----
    Flux means flux density per unit of wavelength, as survey files hold it, not
    counts per pixel. Pixels that a spectrum with wavelengths marks as bad, by a mask or
    by an inverse variance or an error that is not positive, are NaN for `nan_policy`;
    good pixels have equal weight. The variance of the new pixels is
    ``rebin_matrix(...).power(2) @ variance``, see :func:`skastro.utils.rebin_matrix`.

    Spectra that are sharper than the new ones are convolved before rebinning, at each
    wavelength by a Gaussian whose FWHM is the square root of the difference of the
    squares of the two FWHM. The widths of the pixels are no part of these: a Gaussian
    of less than 0.4 pixels in standard deviation, narrower than what rebinning adds
    between other grids, is left out. A Gaussian ends four standard deviations from its
    pixel, does not extend across gaps, and is normalized over the pixels that there
    are. So far reaches a pixel that `nan_policy` fills. A resolving power is taken to
    be the same in air and in vacuum.

    Plain numbers that are given with the spectra are in Å; those that could be in
    nanometers, and logarithms, are refused, as by the readers. :meth:`transform` works
    without :meth:`fit` as well, and then takes its input for the training spectra.
    Training spectra on several grids leave `sample_shape_` and `n_features_in_`
    undefined.

    With metadata routing enabled, pipelines pass the arguments `wavelength`, `medium`
    and `resolution` on to this step. Dictionaries and lists work with and without it.

    References
    ----------
    .. [1] Carnall (2017), "SpectRes: a fast spectral resampling tool in Python",
       :arxiv:`1705.05165`.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.preprocessing import RebinSpectra
    >>> flux = [[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 4.0, 4.0]]
    >>> RebinSpectra(n_bins=2).fit_transform(flux)
    array([[2., 6.],
           [2., 4.]])
    >>> rebin = RebinSpectra([4000, 4010, 4020, 4030], [4005, 4025]).fit(flux)
    >>> rebin.transform(flux)
    array([[2., 6.],
           [2., 4.]])

    Spectra on another grid, and of several lengths:

    >>> wavelength = np.linspace(3990.0, 4040.0, 501)
    >>> rebin.transform([wavelength], wavelength=wavelength).round(6)
    array([[4005., 4025.]])
    >>> rebin.transform([(wavelength, wavelength), (wavelength[9:], wavelength[9:])])
    array([[4005., 4025.],
           [4005., 4025.]])

    Spectra in air, for a grid in vacuum:

    >>> rebin = RebinSpectra(new_wavelength=[4005, 4025], medium="vacuum")
    >>> rebin.fit([wavelength], wavelength=wavelength)
    RebinSpectra(medium='vacuum', new_wavelength=[4005, 4025])
    >>> spectra = {"flux": [wavelength], "wavelength": wavelength, "medium": "air"}
    >>> rebin.transform(spectra).round(2)
    array([[4003.87, 4023.86]])

    A line of 3 Å and one of 5 Å, for a grid of the latter resolution:

    >>> from astropy import units as u
    >>> rebin = RebinSpectra(wavelength, [4009, 4012, 4015, 4018], resolution=5 * u.AA)
    >>> narrow = 0.5 ** ((wavelength - 4015) / 1.5) ** 2
    >>> wide = 3 / 5 * 0.5 ** ((wavelength - 4015) / 2.5) ** 2
    >>> rebin.fit_transform([narrow, wide], resolution=[3 * u.AA, 5 * u.AA]).round(3)
    array([[0.018, 0.237, 0.554, 0.237],
           [0.018, 0.237, 0.554, 0.237]])
    """

    _any_unit = False
    _parameter_constraints: ClassVar[dict] = {
        **BaseSpectraTransformer._parameter_constraints,
        "wavelength": ["array-like", None],
        "new_wavelength": ["array-like", None],
        "n_bins": [Interval(Integral, 1, None, closed="left"), None],
        "fill_value": [Real],
        "medium": [StrOptions({"air", "vacuum"}), None],
        "resolution": [Real, units.Quantity, None],
    }
    # Arguments of `fit` and `transform` that pipelines pass on.
    __metadata_request__fit: ClassVar[dict] = {
        "wavelength": True,
        "medium": True,
        "resolution": True,
    }
    __metadata_request__transform: ClassVar[dict] = __metadata_request__fit
    # Positions of the pixels and the matrix of a copy for spectra of one block.
    _plan: Any = None
    # Wavelengths of the training spectra as they were given, medium and resolution.
    _given: Any = None

    def __init__(
        self,
        wavelength: ArrayLike | None = None,
        new_wavelength: ArrayLike | None = None,
        *,
        medium: str | None = None,
        resolution: Any = None,
        n_bins: int | None = None,
        fill_value: float = np.nan,
        nan_policy: str = "raise",
        channel_axis: int | None = None,
    ) -> None:
        self.wavelength = wavelength
        self.new_wavelength = new_wavelength
        self.medium = medium
        self.resolution = resolution
        self.n_bins = n_bins
        self.fill_value = fill_value
        self.nan_policy = nan_policy
        self.channel_axis = channel_axis

    def _validate_params(self) -> None:
        super()._validate_params()
        check_resolution(self.resolution)

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        wavelength: ArrayLike | None = None,
        medium: str | Sequence[str] | None = None,
        resolution: Any = None,
    ) -> Self:
        """Learn the new grid, its unit, medium and resolution from training spectra.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels) or \
                (n_spectra, n_channels, n_pixels), or spectra with wavelengths
            Spectra: an array, or spectra that hold their wavelengths as in the class
            description.
        y : None
            Ignored.
        wavelength : array-like or Quantity of shape (n_pixels,) or \
                (n_spectra, n_pixels), default=None
            Centers of the pixels of `X`, one grid or one for each spectrum, which may
            be of several lengths in a list; plain numbers are in Å. None stands for the
            parameter `wavelength`.
        medium : {"air", "vacuum"} or sequence of these, default=None
            Medium of the wavelengths of `X`, one or one for each spectrum. None stands
            for what `X` says, or else for the parameter `medium`.
        resolution : float, Quantity or sequence of these, default=None
            Spectral resolution of `X`, one or one for each spectrum: resolving power or
            FWHM as in the parameter `resolution`. None stands for what `X` says, or
            else for the parameter.

        Returns
        -------
        self : object
            The transformer itself.

        Raises
        ------
        ValueError
            If wavelengths do not ascend, are not finite, are no wavelengths in Å, are
            not as many as the pixels, or do not overlap the new grid; if spectra are
            in air and in vacuum, and the parameter `medium` does not say which the new
            grid is in; or if a resolution is no resolving power of at least 10 and no
            positive length.
        """
        fitted = self._without_state()
        blocks, fitted.flux_unit_, frames = collect_spectra(
            X, wavelength, medium, resolution
        )
        fitted.frame_ = next(iter(frames)) if len(frames) == 1 else None
        is_one = len(blocks) == 1
        if is_one:
            fitted._note_shape(blocks[0].flux)
        for block in () if is_one else blocks:
            with _naming_rows(block):
                fitted._validate(block.flux, reset=False)
        shapes = [
            fitted.sample_shape_ if is_one else block.flux.shape[1:] for block in blocks
        ]
        # The pixels are on one axis, the channels on the other.
        is_last = len(shapes[0]) == 1 or self.channel_axis not in (2, -1)
        fitted._learn(blocks, [shape[-1 if is_last else 0] for shape in shapes])
        if len(shapes[0]) == 2 and is_last:
            # Feature names belong to the second axis, of channels or pixels.
            fitted._n_features_out = shapes[0][0]
        for block in blocks:
            with _naming_rows(block):
                fitted._check_overlap(fitted._centers(block))
        self.__dict__ = fitted.__dict__
        return self

    def transform(
        self,
        X: Any,
        *,
        wavelength: ArrayLike | None = None,
        medium: str | Sequence[str] | None = None,
        resolution: Any = None,
    ) -> np.ndarray:
        """Rebin each spectrum, and each of its channels, to the new grid.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels) or \
                (n_spectra, n_channels, n_pixels), or spectra with wavelengths
            Spectra, as in :meth:`fit`. They are not changed. May be an array on disk,
            such as an `h5py.Dataset`.
        wavelength : array-like or Quantity of shape (n_pixels,) or \
                (n_spectra, n_pixels), default=None
            Centers of the pixels of `X` as in :meth:`fit`, any grid that overlaps the
            new one. None stands for the grid of the training spectra.
        medium : {"air", "vacuum"} or sequence of these, default=None
            Medium of these wavelengths as in :meth:`fit`. None stands for what `X`
            says, or else for the medium of the new grid.
        resolution : float, Quantity or sequence of these, default=None
            Spectral resolution of `X` as in :meth:`fit`. None stands for what `X` says,
            or else, without `wavelength`, for that of the training spectra, with it for
            that of the new spectra.

        Returns
        -------
        X_tr : ndarray of shape (n_spectra, n_new_pixels) or \
                (n_spectra, n_channels, n_new_pixels)
            float32 if the spectra are float32, otherwise float64. A
            :class:`~skastro.datasets.LazyArray` if `X` is an array on disk: its spectra
            are checked and transformed when they are read.

        Raises
        ------
        ValueError
            As in :meth:`fit`; and if the medium or the resolution is stated, but not
            known of the new grid.

        Warns
        -----
        UserWarning
            If spectra with their own wavelengths do not cover the new grid and
            `fill_value` is NaN; if they are in another frame than the training spectra;
            or if they state a resolution that is coarser than `resolution_` by more
            than 1 %, which is left as it is.
        """
        self._validate_params()
        unit = getattr(self, "flux_unit_", None)
        blocks, _, frames = collect_spectra(X, wavelength, medium, resolution, unit)
        frame = getattr(self, "frame_", None)
        if frame is not None and frames - {frame}:
            warnings.warn(
                f"Wavelengths of spectra are {' or '.join(sorted(frames - {frame}))}, "
                f"those of the training spectra {frame}: lines are shifted by the "
                "velocities between these frames. Read both in one frame.",
                UserWarning,
                stacklevel=2,
            )
        state = self
        if not hasattr(self, "new_wavelength_") and not all(map(_is_plain, blocks)):
            state = self._without_state()
            state._learn(blocks, [None] * len(blocks))
        bound = []
        for block in blocks:
            with _naming_rows(block):
                bound.append(state._bind(block))
        state._warn_of_missing(blocks, bound)
        state._warn_of_coarse(blocks, bound)
        if blocks[0].rows is None:
            return super(RebinSpectra, bound[0]).transform(blocks[0].flux)
        n_spectra = sum(len(block.rows) for block in blocks if block.rows is not None)
        parts = []
        for block, transformer in zip(blocks, bound, strict=True):
            with _naming_rows(block):
                part = super(RebinSpectra, transformer).transform(block.flux)
            parts.append(np.asarray(part))
        X_tr = np.empty((n_spectra, *parts[0].shape[1:]), np.result_type(*parts))
        for block, part in zip(blocks, parts, strict=True):
            X_tr[block.rows] = part
        return wrap_output("transform", X_tr, X, self) if X_tr.ndim == 2 else X_tr

    def fit_transform(
        self,
        X: Any,
        y: Any = None,
        *,
        wavelength: ArrayLike | None = None,
        medium: str | Sequence[str] | None = None,
        resolution: Any = None,
    ) -> np.ndarray:
        """Fit, and transform the same spectra.

        Parameters
        ----------
        X : array-like of shape (n_spectra, n_pixels) or \
                (n_spectra, n_channels, n_pixels), or spectra with wavelengths
            Spectra, as in :meth:`fit`.
        y : None
            Ignored.
        wavelength : array-like or Quantity of shape (n_pixels,) or \
                (n_spectra, n_pixels), default=None
            Centers of the pixels of `X` as in :meth:`fit`.
        medium : {"air", "vacuum"} or sequence of these, default=None
            Medium of these wavelengths as in :meth:`fit`.
        resolution : float, Quantity or sequence of these, default=None
            Spectral resolution of `X` as in :meth:`fit`.

        Returns
        -------
        X_tr : ndarray
            What ``fit(X).transform(X)`` returns.
        """
        grid = {"wavelength": wavelength, "medium": medium, "resolution": resolution}
        return self.fit(X, y, **grid).transform(X, **grid)

    def _without_state(self) -> Self:
        """Return a copy with the parameters and without what has been learned."""
        other = copy.copy(self)
        for name in [name for name in vars(self) if name.endswith("_")]:
            del other.__dict__[name]
        return other

    def _learn(
        self, blocks: list[SpectraBlock], n_pixels: Sequence[int | None]
    ) -> None:
        """Learn the new grid, where the blocks have so many pixels, if it is known."""
        if self.new_wavelength is not None and self.n_bins is not None:
            raise ValueError(
                "new_wavelength and n_bins both define the new grid: set one of them "
                "to None."
            )
        given = blocks[0].wavelength is not None
        reference = self.wavelength
        if given and reference is None:
            reference = self.new_wavelength
        has_wavelengths = given or self.wavelength is not None
        unit = (unit_of(reference) or units.Angstrom) if has_wavelengths else None
        stated = {block.medium for block in blocks} - {None}
        resolutions = {block.resolution for block in blocks} - {None}
        for name, values in (("medium", stated), ("resolution", resolutions)):
            if unit is None and (values or getattr(self, name) is not None):
                raise ValueError(
                    f"The {name} is stated, but the spectra have no wavelengths: give "
                    "wavelength=, in fit or when RebinSpectra is built."
                )
        if self.medium is None and len(stated) > 1:
            raise ValueError(
                "X holds spectra in air and in vacuum: set the parameter medium to "
                "that of the new grid, as in RebinSpectra(medium='vacuum')."
            )
        self.wavelength_unit_ = unit
        self.medium_ = next(iter(stated), None) if self.medium is None else self.medium
        numbers = [*map(self._numbers, blocks, n_pixels)]
        is_one = all(np.array_equal(numbers[0], other) for other in numbers[1:])
        own_medium = next(iter(stated)) if len(stated) == 1 else self.medium_
        own_resolution = next(iter(resolutions)) if len(resolutions) == 1 else None
        self._given = (numbers[0], own_medium, own_resolution) if is_one else None
        grids = [*map(self._in_medium, numbers, [block.medium for block in blocks])]
        self.wavelength_ = grids[0] if len(grids) == 1 and unit is not None else None
        limits = np.array([bin_edges(grid)[[0, -1]] for grid in grids])
        low, high = limits[:, 0].max(), limits[:, 1].min()
        if self.new_wavelength is not None:
            values = to_unit_of(reference, self.new_wavelength)
            self._new_edges = bin_edges(values)
            self.new_wavelength_ = plain_array(values, any_unit=True).astype(np.float64)
        elif low < high:
            inside = [np.sum((low < grid) & (grid < high)) for grid in grids]
            n_bins = max(1, min(inside)) if self.n_bins is None else self.n_bins
            self._new_edges = np.linspace(low, high, n_bins + 1)
            self.new_wavelength_ = 0.5 * (self._new_edges[1:] + self._new_edges[:-1])
        else:
            raise ValueError(
                "The spectra have no range of wavelengths in common: some begin at "
                f"{low:g}, others end at {high:g}. Give new_wavelength."
            )
        self._n_features_out = self.new_wavelength_.size
        middle = self._new_edges[[0, -1]].mean(keepdims=True)
        target = check_resolution(self.resolution)
        self.resolution_ = max(
            resolutions if target is None else [target],
            key=lambda resolution: fwhm_of(resolution, middle, unit)[0],
            default=None,
        )

    def _numbers(self, block: SpectraBlock, n_pixels: int | None) -> np.ndarray:
        """Return a block's wavelengths in the unit of the new grid."""
        if block.wavelength is not None:
            constructed = [self.wavelength, self.new_wavelength]
            if self.new_wavelength is not None and not any(map(unit_of, constructed)):
                check_grid(self.new_wavelength, "new_wavelength")
            unit = self.wavelength_unit_
            if not units.Angstrom.is_equivalent(unit):
                raise ValueError(
                    f"The grid of RebinSpectra is in {unit}, which is no unit of "
                    "wavelengths, so that it takes only spectra on the grid of the "
                    "parameter wavelength. Give this grid in wavelengths."
                )
            wavelength = block.wavelength * units.Angstrom.to(unit)
        elif self.wavelength is None:
            return np.arange(n_pixels, dtype=np.float64)
        else:
            wavelength = plain_array(self.wavelength, "wavelength", any_unit=True)
        _check_length(wavelength, n_pixels)
        return wavelength.astype(np.float64)

    def _in_medium(self, numbers: np.ndarray, medium: str | None) -> np.ndarray:
        """Convert wavelengths to the medium of the new grid."""
        if medium in (None, self.medium_):
            return numbers
        if self.medium_ is None:
            raise ValueError(
                f"The spectra are in {medium}, but the medium of the new grid is not "
                "known: state it, as in RebinSpectra(medium='vacuum')."
            )
        convert = air_to_vacuum if medium == "air" else vacuum_to_air
        converted = convert(numbers * self.wavelength_unit_)
        return converted * units.Angstrom.to(self.wavelength_unit_)

    def _centers(self, block: SpectraBlock) -> np.ndarray:
        """Return a block's wavelengths in the unit and medium of the new grid."""
        if block.wavelength is None:
            # The training spectra's.
            if self._given is None:
                raise ValueError(
                    "RebinSpectra was fitted on spectra of several wavelength grids: "
                    "give spectra with their wavelengths, or wavelength=."
                )
            numbers, medium, _ = self._given
            return self._in_medium(numbers, block.medium or medium)
        if self.wavelength_unit_ is None:
            raise ValueError(
                "The spectra have wavelengths, but RebinSpectra was fitted without, so "
                "that it counts pixels: give wavelength= in fit, too, or when it is "
                "built."
            )
        return self._in_medium(self._numbers(block, None), block.medium)

    def _bind(self, block: SpectraBlock) -> Self:
        """Return a copy for spectra of a block; itself where nothing is learned."""
        if not hasattr(self, "new_wavelength_"):
            return self
        bound = copy.copy(self)
        if not _is_plain(block):
            for name in ("sample_shape_", "n_features_in_", "feature_names_in_"):
                bound.__dict__.pop(name, None)
        centers = self._centers(block)
        bound._plan = centers, self._matrix(centers, self._sigma(block, centers))
        return bound

    def _sigma(self, block: SpectraBlock, centers: np.ndarray) -> np.ndarray | None:
        """Return the widths of the Gaussians that convolve a block's spectra."""
        own = block.resolution
        if own is None and block.wavelength is None:
            # The training spectra's.
            own = self._given[2]
        if own is None:
            return None
        unit, target = self.wavelength_unit_, self.resolution_
        if target is None:
            raise ValueError(
                f"The spectra have a resolution of {own}, but that of the new grid is "
                "not known: state it, as in RebinSpectra(resolution=1800)."
            )
        squares = [fwhm_of(one, centers, unit) ** 2 for one in (target, own)]
        excess = np.maximum(squares[0] - squares[1], 0)
        return _SIGMA_PER_FWHM * np.sqrt(excess) if excess.any() else None

    def _matrix(self, centers: np.ndarray, sigma: np.ndarray | None) -> csr_array:
        """Compute the matrix that convolves and rebins to the new grid."""
        self._check_overlap(centers)
        matrix = pixel_matrix(centers, self._new_edges, sigma=sigma)
        if not matrix.nnz:
            raise ValueError(
                f"The pixels of the input, from {centers[0]:g} to {centers[-1]:g}, "
                "cover no new pixel by half: leave these spectra out, or give a "
                "finer new_wavelength."
            )
        return matrix

    def _check_overlap(self, centers: np.ndarray) -> None:
        """Refuse wavelengths that do not overlap the new grid."""
        edges, new_edges = bin_edges(centers), self._new_edges
        if new_edges[0] >= edges[-1] or new_edges[-1] <= edges[0]:
            raise ValueError(
                f"new_wavelength, from {new_edges[0]:g} to {new_edges[-1]:g}, lies "
                f"outside of the input, from {edges[0]:g} to {edges[-1]:g}: give "
                "both in the same unit."
            )

    def _transform(self, X: np.ndarray) -> np.ndarray:
        n_pixels = X.shape[-1]
        plan = self._plan
        if plan is None:
            state = self._without_state()
            state._learn([SpectraBlock(X)], [n_pixels])
            plan = state._bind(SpectraBlock(X))._plan
        positions, matrix = plan
        _check_length(positions, n_pixels)
        X_tr = np.empty((*X.shape[:-1], matrix.shape[0]), dtype=X.dtype)
        for rows, batch in self._batches(X, positions):
            X_tr[rows] = apply_rebin_matrix(matrix, batch, fill_value=self.fill_value)
        return X_tr

    def _warn_of_missing(self, blocks: list[SpectraBlock], bound: list[Self]) -> None:
        """Warn of spectra that do not cover the new grid, where NaN stands for them."""
        ranges, n_short = [], 0
        for block, transformer in zip(blocks, bound, strict=True):
            if _is_plain(block) or not np.isnan(self.fill_value):
                continue
            covered = np.flatnonzero(np.diff(transformer._plan[1].indptr))
            ends = covered[[0, -1]]
            ranges.append(ends)
            if ends[0] > 0 or ends[1] < self.new_wavelength_.size - 1:
                n_short += len(block.flux)
        if not n_short:
            return
        first, last = np.max(ranges, axis=0)[0], np.min(ranges, axis=0)[1]
        grid, unit = self.new_wavelength_, self.wavelength_unit_
        missing = [f"below {grid[first]:.10g}"] * bool(first > 0)
        missing += [f"above {grid[last]:.10g}"] * bool(last < grid.size - 1)
        advice = ""
        if first < last:
            values = f"{grid[first]:.10g}, {grid[last]:.10g}, {last - first + 1}"
            factor = "" if unit == units.Angstrom else f" * astropy.units.{unit}"
            advice = (
                " To train on the range that all of these spectra have, set "
                f"new_wavelength=numpy.linspace({values}){factor}."
            )
        warnings.warn(
            f"{n_short} of {sum(len(block.flux) for block in blocks)} spectra do not "
            f"cover the grid, {grid[0]:.10g} to {grid[-1]:.10g} {unit}: new pixels "
            f"{' or '.join(missing)} {unit} become NaN, which estimators refuse. "
            "nan_policy='interpolate' of a later step would fill them with the "
            f"outermost values.{advice}",
            UserWarning,
            stacklevel=3,
        )

    def _warn_of_coarse(self, blocks: list[SpectraBlock], bound: list[Self]) -> None:
        """Warn of spectra that are less sharp than those of the new grid."""
        n_coarse, worst = 0, (0.0, "")
        for block, transformer in zip(blocks, bound, strict=True):
            if block.resolution is None:
                continue
            unit = self.wavelength_unit_
            is_covered = np.diff(transformer._plan[1].indptr) > 0
            grid = self.new_wavelength_[is_covered]
            own = fwhm_of(block.resolution, grid, unit)
            target = fwhm_of(self.resolution_, grid, unit)
            excess = own - _SAME_FWHM * target
            at = int(np.argmax(excess))
            if excess[at] <= 0:
                continue
            n_coarse += len(block.flux)
            text = (
                f"{own[at]:.4g} {unit} at {grid[at]:.6g} {unit}, while the new grid "
                f"has {target[at]:.4g} {unit}"
            )
            worst = max(worst, (excess[at], text))
        if n_coarse:
            warnings.warn(
                f"{n_coarse} of {sum(len(block.flux) for block in blocks)} spectra are "
                f"coarser than the new grid: their FWHM is up to {worst[1]}. They "
                "cannot be sharpened, so that their lines are wider than those of the "
                "training spectra. To train on their resolution, give it to "
                "RebinSpectra, as the parameter resolution.",
                UserWarning,
                stacklevel=3,
            )


def _is_plain(block: SpectraBlock) -> bool:
    """Whether nothing is stated of spectra, which are as those of the training."""
    stated = block.wavelength, block.medium, block.resolution
    return all(part is None for part in stated)


@contextmanager
def _naming_rows(block: SpectraBlock) -> Iterator[None]:
    """Add the rows of a block to errors that count spectra within it."""
    try:
        yield
    except ValueError as error:
        if block.rows is not None:
            error.add_note(
                f"This is about the spectra in rows {name_rows(block.rows)} of X, "
                "which share one wavelength grid."
            )
        raise


def _check_length(wavelength: np.ndarray, n_pixels: int | None) -> None:
    """Refuse wavelengths that are not as many as the pixels, if these are known."""
    if n_pixels is None or wavelength.shape == (n_pixels,):
        return
    found = (
        f"{wavelength.size} values"
        if wavelength.ndim == 1
        else f"shape {wavelength.shape}"
    )
    raise ValueError(
        f"X holds spectra of {n_pixels} pixels, but wavelength has {found}: it must "
        "have one value per pixel."
    )
