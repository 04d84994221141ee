# SPDX-License-Identifier: BSD-3-Clause
"""What the per-spectrum transformers have in common."""

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skastro._compat import StrOptions, fit_context
from skastro.utils import (
    LazyArray,
    RowwiseSource,
    as_lazy,
    check_finite,
    is_lazy,
    name_rows,
    plain_array,
    row_batches,
)

_ADVICE_NAN = (
    'Set nan_policy="interpolate" to fill NaN pixels from their neighbours, or leave '
    "these rows out."
)
_ADVICE_INFINITY = (
    "Only NaN pixels can be interpolated: set the infinite ones to NaN, or leave these "
    "rows out."
)


class BaseSpectraTransformer(TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """Template of a stateless transformer of spectra.

    It checks the input and leaves the work to the method `_transform` of the subclass,
    which walks through the spectra by means of `_batches`.
    """

    _parameter_constraints: ClassVar[dict] = {
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
        if is_lazy(X):
            X = as_lazy(X)
            vars(self).pop("sample_shape_", None)
            vars(self).pop("feature_names_in_", None)
            self.sample_shape_ = self._validate_lazy(X)
            self.n_features_in_ = X.shape[1]
        else:
            self._validate(X, reset=True)
        return self

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
        X_tr : ndarray of the shape of `X` but for the number of pixels, which is \
                that of the new grid in `RebinSpectra`
            float32 where `X` is float32, else float64. A
            :class:`~skastro.datasets.LazyArray` where `X` is an array on disk: its
            spectra are checked and transformed when they are read.
        """
        self._validate_params()
        if is_lazy(X):
            return self._transform_lazy(as_lazy(X))
        return self._transform(self._validate(X, reset=False))

    def _transform_lazy(self, X: LazyArray) -> LazyArray:
        # Settings that change later are not to change what was promised now.
        transformer = copy.copy(self)
        flat = np.zeros((1, *self._validate_lazy(X)), self._dtype_of(X.dtype))
        example = self._transform(flat)
        source = RowwiseSource(
            X, transformer.transform, example.shape[1:], example.dtype
        )
        return LazyArray(source, X.rows)

    def _validate_lazy(self, X: LazyArray) -> tuple[int, ...]:
        """Check all but the values of an array on disk; return a spectrum's shape."""
        if X.ndim not in (2, 3) or X.dtype.kind not in "biuf" or 0 in X.shape:
            raise ValueError(
                f"Found an array on disk of shape {X.shape} and dtype {X.dtype}: "
                f"{type(self).__name__} expects spectra of shape (n_spectra, n_pixels) "
                "or (n_spectra, n_channels, n_pixels), real numbers, at least one."
            )
        if hasattr(self, "sample_shape_"):
            if X.shape[1:] != tuple(self.sample_shape_):
                raise ValueError(
                    f"X holds spectra of shape {X.shape[1:]}, but "
                    f"{type(self).__name__} was fitted on spectra of shape "
                    f"{tuple(self.sample_shape_)}."
                )
        return X.shape[1:]

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

        Double precision costs little in the processor's cache, spares large fluxes
        the round-off, and the copies may be worked on in place. `positions` is where
        the pixels lie; NaN pixels are interpolated along it.
        """
        for rows in row_batches(X.shape):
            batch = X[rows].astype(np.float64, order="C")
            if self.nan_policy == "interpolate":
                _fill_nan(batch, positions)
            yield rows, batch

    def _validate(self, X: ArrayLike, *, reset: bool) -> np.ndarray:
        """Return the spectra as a checked array of native float32 or float64."""
        original = X
        X = check_array(
            plain_array(X),
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
        if not reset and hasattr(self, "sample_shape_"):
            self._check_sample_shape(X.shape[1:])
            validate_data(self, original, reset=False, skip_check_array=True)
        interpolate = self.nan_policy == "interpolate"
        check_finite(
            X,
            allow_nan=interpolate,
            advice=_ADVICE_INFINITY if interpolate else _ADVICE_NAN,
        )
        if interpolate:
            _check_fillable(X)
        if reset:
            # Last, so that a failing fit leaves nothing behind.
            validate_data(self, original, reset=True, skip_check_array=True)
            self.sample_shape_ = X.shape[1:]
        return X

    def _check_sample_shape(self, shape: tuple[int, ...]) -> None:
        """Compare channels and lengths, which scikit-learn does for 2-D input only."""
        if max(len(shape), len(self.sample_shape_)) > 1 and shape != self.sample_shape_:
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
    """Template of a transformer that scales each spectrum by its own flux."""

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
    """Refuse spectra without a single finite pixel."""
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
