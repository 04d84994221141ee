# SPDX-License-Identifier: BSD-3-Clause
"""Transformer that cuts and pads images of any size to one size."""

import copy
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skastro._compat import Interval, fit_context, offers_set_output, wrap_output
from skastro.utils import (
    ImageLayout,
    LazyArray,
    RowwiseSource,
    as_lazy,
    check_rows_are_images,
    is_lazy,
    plain_array,
    shared_range,
)

_POSITIVE = Interval(Integral, 1, None, closed="left")


@offers_set_output
class CropPadImages(  # type: ignore[call-arg]
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    """Cut and pad images to one size about their centers.

    The pixel at ``length // 2`` of an axis moves to ``new_length // 2``. So the central
    pixels of images of all sizes coincide, cutting after padding restores the image,
    and two steps have the same result as one.

    Parameters
    ----------
    size : int or pair of int, default=128
        Height and width of the new images, in pixels; one number means both.
    channel_axis : {-1, 1, 2, 3, -2, -3} or None, default=None
        The axis of 4-D X that holds the channels (colors), which stay as they are.
        Images of 3-D X have one channel. None
        is the last one, but refuses X whose axes look swapped; a number says that its
        axes are meant as they are.
    image_shape : tuple of int, default=None
        Shape of one image, ``(height, width)`` or with the channels, if X is 2-D and
        each row is a flattened image. With None a row of 2-D X is an image of height
        1. The new images are flattened to rows too.
    fill_value : float, default=0
        Value of the pixels around an image that is smaller than `size`. The data type
        of the images must be able to hold it.

    Attributes
    ----------
    sample_shape_ : tuple of int or None
        Shape of an image seen during ``fit``; None along an axis on which the images
        of a list differed.
    n_features_in_ : int
        Length of the second axis of the input seen during ``fit``; absent if the
        images of a list differed in it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen during ``fit``. Defined only when `X` has
        feature names that are all strings.

    See Also
    --------
    GalaxyClassifier : Takes the images that result.
    RebinSpectra : Rebins spectra to a common grid.

    Notes
    -----
    The transformer is stateless: :meth:`transform` works without :meth:`fit`, and
    height and width may differ from those in ``fit`` unless X is 2-D. Pixels are
    copied, never resampled; NaN passes.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import CropPadImages
    >>> image = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], dtype="uint8")
    >>> CropPadImages((1, 5)).fit_transform(image)
    array([[[0, 4, 5, 6, 0]]], dtype=uint8)

    Images of unequal size become one array:

    >>> images = [np.ones((60, 72, 3)), np.ones((150, 128, 3))]
    >>> CropPadImages(128).fit_transform(images).shape
    (2, 128, 128, 3)
    """

    _parameter_constraints: ClassVar[dict] = {
        "size": [_POSITIVE, tuple, list],
        **ImageLayout.constraints,
        "fill_value": [Real],
    }

    def __init__(
        self,
        size: int | tuple[int, int] = 128,
        *,
        channel_axis: int | None = None,
        image_shape: tuple[int, ...] | None = None,
        fill_value: float = 0,
    ) -> None:
        self.size = size
        self.channel_axis = channel_axis
        self.image_shape = image_shape
        self.fill_value = fill_value

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike | Sequence[ArrayLike], y: Any = None) -> Self:
        """Check the parameters and the images, and note the shape of an image.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or with an axis of \
                channels, or a list of images
            Images.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The transformer itself. `transform` works without `fit` as well.
        """
        images: Any
        if _is_image_list(X):
            images = self._check_list(X)
            shape, dtype = _common_shape(images), np.result_type(*images)
        else:
            lazy = is_lazy(X)
            images = self._check_lazy(as_lazy(X)) if lazy else self._check_array(X)
            shape, dtype = tuple(images.shape[1:]), images.dtype
        self._check_fill(dtype)
        n_features_out = self._new_shape(shape)[0]
        # Set last, so that a failing fit sets no attribute.
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        if isinstance(images, np.ndarray):
            original = X if hasattr(X, "columns") else images
            validate_data(self, original, reset=True, skip_check_array=True)
        elif shape[0] is not None:
            self.n_features_in_ = shape[0]
        self.sample_shape_ = shape
        self._n_features_out = n_features_out
        return self

    def transform(self, X: ArrayLike | Sequence[ArrayLike]) -> np.ndarray:
        """Cut and pad each image to the new size.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or with an axis of \
                channels, or a list of images
            Images. They are not changed. May be an array on disk, such as an
            `h5py.Dataset`. In a list, each image is an array ``(height, width)``, or
            each has an axis of channels.

        Returns
        -------
        X_tr : ndarray of shape (n_images, new_height, new_width) or with an axis of \
                channels where it was
            New images with the data type of X; 2-D if X is 2-D. A
            :class:`~skastro.datasets.LazyArray` if `X` is an array on disk: its images
            are cut and padded when they are read.
        """
        self._validate_params()
        if _is_image_list(X):
            listed = self._check_list(X)
            self._check_against_fit(listed[0].shape)
            self._check_fill(np.result_type(*listed))
            return self._transform_list(listed)
        lazy = is_lazy(X)
        images = self._check_lazy(as_lazy(X)) if lazy else self._check_array(X)
        self._check_against_fit(images.shape[1:])
        self._check_fill(images.dtype)
        if lazy:
            # Rows are read later; the copy keeps the current parameters until then.
            function = copy.copy(self)._transform
            new_shape = self._new_shape(images.shape[1:])
            source = RowwiseSource(images, function, new_shape, images.dtype)
            return LazyArray(source, images.rows)
        if images.ndim == 2 and hasattr(self, "sample_shape_"):
            original = X if hasattr(X, "columns") else images
            validate_data(self, original, reset=False, skip_check_array=True)
        X_tr = self._transform(images)
        return wrap_output("transform", X_tr, X, self) if X_tr.ndim == 2 else X_tr

    # The inherited one would put results of three axes into data frames.
    def fit_transform(
        self, X: ArrayLike | Sequence[ArrayLike], y: Any = None
    ) -> np.ndarray:
        """Fit, and cut and pad the same images.

        Parameters
        ----------
        X : array-like of shape (n_images, height, width) or with an axis of \
                channels, or a list of images
            Images.
        y : None
            Ignored.

        Returns
        -------
        X_tr : ndarray
            What ``fit(X).transform(X)`` returns.
        """
        return self.fit(X, y).transform(X)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        """Cut and pad images of one size that have been checked."""
        images = X.reshape(len(X), *self._layout.image_shape_of(X.shape[1:]))
        new_shape = self._new_image_shape(images.shape[1:])
        out = np.full((len(X), *new_shape), self.fill_value, X.dtype)
        lengths = zip(images.shape[1:], new_shape, strict=True)
        shared = [shared_range(length, new_length) for length, new_length in lengths]
        old, new = zip(*shared, strict=True)
        out[:, *new] = images[:, *old]
        return out.reshape(len(X), *self._new_shape(X.shape[1:]))

    def _transform_list(self, images: list[np.ndarray]) -> np.ndarray:
        out = np.empty(
            (len(images), *self._new_image_shape(images[0].shape)),
            np.result_type(*images),
        )
        for new, image in zip(out, images, strict=True):
            new[...] = self._transform(image[None])[0]
        return out

    @property
    def _layout(self) -> ImageLayout:
        return ImageLayout(self.channel_axis, self.image_shape)

    def _new_shape(self, sample_shape: tuple[int | None, ...]) -> tuple[int, ...]:
        """Return the shape of a new sample, flat if X is 2-D."""
        new_shape = self._new_image_shape(self._layout.image_shape_of(sample_shape))
        return (math.prod(new_shape),) if len(sample_shape) == 1 else new_shape

    def _new_image_shape(self, image_shape: tuple[Any, ...]) -> tuple[int, ...]:
        height, width = self._size()
        new_shape = [height, width]
        if len(image_shape) == 3:
            axis = self._layout.axis_in_sample
            new_shape.insert(axis, image_shape[axis])
        return tuple(new_shape)

    def _size(self) -> tuple[int, int]:
        size = self.size
        if isinstance(size, int | Integral):
            return int(size), int(size)
        if len(size) != 2 or not all(_POSITIVE.is_satisfied_by(item) for item in size):
            raise ValueError(
                f"size must be a number of pixels or a pair (height, width) of them, 1 "
                f"or more; got {size!r}."
            )
        height, width = size
        return int(height), int(width)

    def _check_array(self, X: ArrayLike) -> np.ndarray:
        X = check_array(
            plain_array(X),
            dtype="numeric",
            allow_nd=True,
            ensure_all_finite=False,
            estimator=self,
            input_name="X",
        )
        self._check_shape(X)
        return X

    def _check_lazy(self, X: LazyArray) -> LazyArray:
        if len(X) == 0:
            raise ValueError(f"Found an array on disk without images: {X!r}.")
        self._check_shape(X)
        return X

    def _check_shape(self, X: np.ndarray | LazyArray) -> None:
        """Check all but the values."""
        # New images of one row say that the old ones are rows too.
        if X.ndim == 2 and self.image_shape is None and self._size()[0] > 1:
            check_rows_are_images(X.shape[1])
        if X.ndim not in (2, 3, 4) or 0 in X.shape or X.dtype.kind not in "biuf":
            raise ValueError(
                f"Found array of shape {X.shape} and dtype {X.dtype}: "
                f"{type(self).__name__} expects images of shape (n, height, width), "
                "(n, height, width, channels) or, flattened, (n, n_pixels), real "
                "numbers, at least one."
            )
        self._layout.check(X.shape[1:])

    def _check_list(self, X: Sequence[np.ndarray]) -> list[np.ndarray]:
        images = [plain_array(image, f"X[{row}]") for row, image in enumerate(X)]
        for row, image in enumerate(images):
            if image.ndim not in (2, 3) or 0 in image.shape:
                found = f"of shape {image.shape}"
            elif image.dtype.kind not in "biuf":
                found = f"of dtype {image.dtype}"
            elif image.ndim != images[0].ndim or (
                self._channels_of(image.shape) != self._channels_of(images[0].shape)
            ):
                found = f"of shape {image.shape} after one of shape {images[0].shape}"
            else:
                continue
            raise ValueError(
                f"X is a list of images, but number {row} is an array {found}: "
                f"{type(self).__name__} expects real numbers of shape (height, width) "
                "or (height, width, channels), in any size, with as many channels in "
                f"all of them (channel_axis={self.channel_axis})."
            )
        for image in images:
            self._layout.check(image.shape)
        return images

    def _check_against_fit(self, shape: tuple[int, ...]) -> None:
        """Compare the number of axes and channels with those in ``fit``."""
        fitted = getattr(self, "sample_shape_", None)
        if fitted is None:
            return
        if len(shape) != len(fitted) or (
            self._channels_of(shape) != self._channels_of(fitted)
        ):
            raise ValueError(
                f"X holds images of shape {tuple(shape)}, but {type(self).__name__} "
                f"was fitted on images of shape {fitted}: height and width may differ, "
                "the number of axes and channels may not."
            )

    def _channels_of(self, shape: tuple[int | None, ...]) -> int | None:
        return shape[self._layout.axis_in_sample] if len(shape) == 3 else None

    def _check_fill(self, dtype: np.dtype) -> None:
        if dtype.kind == "f":
            return
        with np.errstate(invalid="ignore"):
            fits = np.isfinite(self.fill_value) and (
                np.array(self.fill_value).astype(dtype) == self.fill_value
            )
        if not fits:
            raise ValueError(
                f"fill_value={self.fill_value!r} is a value that images of {dtype} "
                "cannot hold; choose another, or convert the images beforehand."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _is_image_list(X: Any) -> bool:
    """Return whether X is a list of images, which may differ in size."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    return (
        isinstance(X, list | tuple)
        and len(X) > 0
        and not is_lazy(X)
        and all(len(np.shape(image)) > 1 or hasattr(image, "mode") for image in X)
    )


def _common_shape(images: list[np.ndarray]) -> tuple[int | None, ...]:
    """Return the shape of an image, with None on the axes on which they differ."""
    lengths = zip(*(image.shape for image in images), strict=True)
    return tuple(axis[0] if len({*axis}) == 1 else None for axis in lengths)
