# SPDX-License-Identifier: BSD-3-Clause
"""Samplers that make noisy copies of samples."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from imblearn.base import BaseSampler
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from imblearn.utils import check_sampling_strategy, check_target_type
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import validate_data

from skastro._compat import Interval, RealNotInt, StrOptions
from skastro.augmentation import AUGMENTATIONS, augment_array
from skastro.utils import (
    check_finite,
    check_spectra_layout,
    draw_from_seed,
    is_lazy,
    lend_to,
    plain_array,
    plain_labels,
)

_ADVICE = (
    'Fill missing values before resampling, for instance by nan_policy="interpolate" '
    "of skastro's transformers of spectra, or leave these rows out."
)
_STRATEGIES = {"auto", "balanced", "minority", "not minority", "not majority", "all"}


class BaseNoiseSampler(BaseSampler):
    """Base of the samplers that make noisy copies of samples.

    Subclasses choose the rows, from the classes only.
    """

    _parameter_constraints: ClassVar[dict] = {
        "noise": [StrOptions(set(AUGMENTATIONS)), callable, None],
        "random_state": ["random_state"],
    }

    # With "bypass" imbalanced-learn leaves `sampling_strategy` to the subclass. It
    # reads the attribute even if the sampler has no such parameter.
    _sampling_type = "bypass"
    sampling_strategy: Any = None
    sampling_strategy_: dict
    # Whether targets are numbers; rows are then chosen without classes.
    continuous = False

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Check the input and compute the number of samples of each class.

        Resampling needs `fit_resample` only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Samples, such as spectra of shape (n_samples, n_channels, n_pixels).
        y : array-like of shape (n_samples,)
            Classes, or what a regressor predicts, as in `fit_resample`.

        Returns
        -------
        self : object
            The sampler itself.
        """
        if self._resamples_numbers(y):
            super().fit(X, _stand_in(y))
            del self.sampling_strategy_
            return self
        y = _plain_target(y)
        super().fit(X, y)
        self.sampling_strategy_ = self._count_per_class(
            check_target_type(plain_labels(y))
        )
        return self

    def fit_resample(self, X: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
        """Resample the data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Samples, such as spectra of shape (n_samples, n_channels, n_pixels). They
            are not changed.
        y : array-like of shape (n_samples,)
            Classes, labels of any type; with `continuous` what a regressor predicts,
            numbers of shape (n_samples,) or (n_samples, n_outputs), of which some may
            be unknown: NaN or masked.

        Returns
        -------
        X_resampled : array-like of shape (n_samples_new, ...)
            The samples that were kept, unchanged and in their order, followed by the
            copies with noise. An array is float32 if `X` is float32, otherwise float64.
            Lists give a list, data frames a data frame.
        y_resampled : array-like of shape (n_samples_new,) or (n_samples_new, n_outputs)
            Their classes, or numbers.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, if classes are missing, or if y holds continuous
            numbers where classes are expected.
        TypeError
            If y holds no numbers with `continuous`.
        """
        X = _as_float_frame(X)
        if not self._resamples_numbers(y):
            return super().fit_resample(X, _plain_target(y))
        X_resampled, _ = super().fit_resample(X, _stand_in(y))
        del self.sampling_strategy_
        return X_resampled, _take_rows(y, self.sample_indices_)

    def _resamples_numbers(self, y: Any) -> bool:
        """Tell whether y is what a regressor predicts, which classes must not be."""
        if self.continuous:
            plain_array(y, "y", any_unit=True)
            return True
        try:
            values = plain_array(y, "y", any_unit=True)
        except (TypeError, ValueError):
            return False
        if values.dtype.kind == "f" and (values != np.round(values)).any(
            where=np.isfinite(values)
        ):
            raise ValueError(
                f"Unknown label type: {type(self).__name__} expects classes, but y "
                "holds continuous numbers, as for a regressor. Take "
                "NoiseAugmenter(continuous=True), or augment=... of the estimator."
            )
        return False

    @abstractmethod
    def _count_per_class(self, y: np.ndarray) -> dict:
        """Compute the number of samples of each class after resampling."""

    @abstractmethod
    def _choose(
        self, y: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows to keep and the rows to copy."""

    def _check_X_y(
        self, X: ArrayLike, y: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        if is_lazy(X):
            raise TypeError(
                f"{type(self).__name__} needs X in memory, but got an array on disk, "
                f'{type(X).__name__}. Read it, X[:], or use sampler="balanced" and '
                "augment=... of the estimator, which work on arrays on disk."
            )
        y, binarize_y = check_target_type(plain_labels(y), indicate_one_vs_all=True)
        # Only a data frame with sparse columns has this attribute.
        values = X.sparse.to_dense() if hasattr(X, "sparse") else X
        values = check_array(
            plain_array(values),
            dtype=[np.float64, np.float32],
            allow_nd=True,
            ensure_all_finite=False,
            estimator=self,
            input_name="X",
        )
        check_consistent_length(values, y)
        check_finite(values, advice=_ADVICE)
        if isinstance(self.noise, str):
            name = f"AUGMENTATIONS[{self.noise!r}]"
            check_spectra_layout(values.shape[1:], f"noise=skastro.augmentation.{name}")
        original = X if hasattr(X, "columns") else values
        validate_data(self, original, y, reset=True, skip_check_array=True)
        return values, y, binarize_y

    def _fit_resample(
        self, X: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        random_state = check_random_state(self.random_state)
        self.sampling_strategy_ = self._count_per_class(y)
        kept, copied = self._choose(y, random_state)
        self.sample_indices_ = np.concatenate([kept, copied])
        resampled = X[self.sample_indices_]
        copies = resampled[len(kept) :]
        copies[...] = self._augment(copies, random_state)
        return resampled, y[self.sample_indices_]

    def _augment(
        self, X: np.ndarray, random_state: np.random.RandomState
    ) -> np.ndarray:
        """Add the noise, drawn from a seed."""
        noise = AUGMENTATIONS[self.noise] if isinstance(self.noise, str) else self.noise
        if noise is None:
            return X
        seed = random_state.randint(np.iinfo(np.int32).max)
        with draw_from_seed(torch.device("cpu"), int(seed)), lend_to(noise):
            return augment_array(noise, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.three_d_array = True
        tags.sampler_tags.sample_indices = True
        return tags


def _plain_target(y: Any) -> Any:
    """Convert labels, in the container in which they come back."""
    labels = plain_labels(y)
    if isinstance(y, list):
        return labels.tolist()
    if hasattr(y, "columns"):
        return type(y)(labels, index=y.index, columns=y.columns)
    if hasattr(y, "iloc"):
        return type(y)(labels, index=y.index, name=y.name)
    return labels


def _stand_in(y: Any) -> np.ndarray:
    """Make classes for samples whose rows are chosen without them."""
    n_samples = y.shape[0] if hasattr(y, "shape") else len(y)
    return np.arange(n_samples) % 2


def _take_rows(y: Any, rows: np.ndarray) -> Any:
    """Select rows of a target, in its own container."""
    if hasattr(y, "iloc"):
        return y.iloc[rows].reset_index(drop=True)
    if isinstance(y, list | tuple):
        return [y[row] for row in rows.tolist()]
    return (y if isinstance(y, np.ndarray) else plain_array(y, "y"))[rows]


def _as_float_frame(X: Any) -> Any:
    """Convert integer columns to floats, so that noise can be added."""
    if hasattr(X, "iloc") and any(dtype.kind != "f" for dtype in X.dtypes):
        return type(X)(
            plain_array(X).astype(np.float64), index=X.index, columns=X.columns
        )
    return X


class NoiseAugmenter(BaseNoiseSampler):
    """Add noisy copies of all samples, of classes or of what a regressor predicts.

    A sampler: in a :class:`~skastro.Pipeline` it acts in ``fit`` only, and in
    cross-validation on the training folds alone.

    Parameters
    ----------
    n_copies : int, default=1
        Copies of each sample. The result has ``n_copies + 1`` times as many samples.
    continuous : bool, default=False
        Whether y is what a regressor predicts, and not classes: numbers, one or several
        a sample, of which some may be unknown.
    noise : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How copies are varied. ``"noise"`` is white noise of up to half the spectrum's
        standard deviation, in any units of the flux; ``"wang2020"`` that of a CCD,
        cosmic rays and bad pixels, on min-max normalized spectra [1]_; ``"resclass"``
        that of the LAMOST 1-D ResNet-18, on standardized spectra. A callable takes a
        Tensor of shape (n_samples, ...) and returns one, see :ref:`noise`. None makes
        plain copies.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers. With an int the result is the same at each call.
        The global generators of numpy and torch keep their state.

    Attributes
    ----------
    sampling_strategy_ : dict
        Number of samples of each class after resampling.
    sample_indices_ : ndarray of shape (n_samples_new,)
        The row of `X` that each new sample is, or is a noisy copy of.
    n_features_in_ : int
        Length of the second axis of `X`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features of `X`. Defined only when they are all strings.

    See Also
    --------
    NoiseResampler : Noisy copies of the rare classes, in chosen numbers.

    Notes
    -----
    An estimator's ``augment`` varies each batch anew instead, takes no memory, and
    works on arrays on disk. This sampler serves estimators without that parameter.

    References
    ----------
    .. [1] Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.resampling import NoiseAugmenter
    >>> flux = np.random.RandomState(0).normal(size=(5, 40))
    >>> sampler = NoiseAugmenter(n_copies=2, random_state=0)
    >>> X, y = sampler.fit_resample(flux, list("AABBB"))
    >>> X.shape
    (15, 40)
    >>> sampler.sampling_strategy_
    {'A': 6, 'B': 9}
    >>> bool((X[:5] == flux).all())
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseNoiseSampler._parameter_constraints,
        "n_copies": [Interval(Integral, 1, None, closed="left")],
        "continuous": ["boolean"],
    }

    def __init__(
        self,
        n_copies: int = 1,
        *,
        continuous: bool = False,
        noise: str | Callable | None = "noise",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_copies = n_copies
        self.continuous = continuous
        self.noise = noise
        self.random_state = random_state

    def _count_per_class(self, y: np.ndarray) -> dict:
        return {label: n * (self.n_copies + 1) for label, n in _counts(y).items()}

    def _choose(
        self, y: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(y))
        return rows, np.tile(rows, self.n_copies)


class NoiseResampler(BaseNoiseSampler):
    """Resample classes to chosen numbers of samples, with noise on the copies.

    A class that needs more samples gets noisy copies of samples that are drawn with
    replacement; the samples themselves are not changed. A class that needs fewer
    samples is reduced by a random choice without replacement. [1]_ balanced stars,
    galaxies and quasars in this way.

    A sampler: in a :class:`~skastro.Pipeline` it acts in ``fit`` only, and in
    cross-validation on the training folds alone.

    Parameters
    ----------
    sampling_strategy : str, int, float, dict or callable, default="auto"
        Numbers of samples of the classes after resampling.

        - ``"balanced"``: ``n_samples // n_classes`` of each class, so that the total
          does not increase. Frequent classes shrink and rare classes grow, as
          ``class_weight="balanced"`` would weight them.
        - int: this number of each class.
        - dict: the number for each label, more or fewer than there are. Classes that
          are not in the dict do not change.
        - ``"auto"`` or ``"not majority"``: each class gets as many as the largest has.
          ``"all"`` is the same; ``"minority"`` and ``"not minority"`` bring the
          smallest class, or all but the smallest, to that number.
        - float, for two classes: the number of the smaller class as a fraction of
          that of the larger one.
        - callable: takes `y` and returns a dict.

        The words and the float have the meaning that they have in
        :class:`~imblearn.over_sampling.RandomOverSampler`.
    noise : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How copies are varied. ``"noise"`` is white noise of up to half the spectrum's
        standard deviation, in any units of the flux; ``"wang2020"`` that of a CCD,
        cosmic rays and bad pixels, on min-max normalized spectra [1]_; ``"resclass"``
        that of the LAMOST 1-D ResNet-18, on standardized spectra. A callable takes a
        Tensor of shape (n_samples, ...) and returns one, see :ref:`noise`. None makes
        plain copies.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers. With an int the result is the same at each call.
        The global generators of numpy and torch keep their state.

    Attributes
    ----------
    sampling_strategy_ : dict
        Number of samples of each class after resampling.
    sample_indices_ : ndarray of shape (n_samples_new,)
        The row of `X` that each new sample is, or is a noisy copy of.
    n_features_in_ : int
        Length of the second axis of `X`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features of `X`. Defined only when they are all strings.

    See Also
    --------
    NoiseAugmenter : Noisy copies of all samples.
    imblearn.over_sampling.RandomOverSampler : Copies without noise.

    Notes
    -----
    An estimator's own ``sampler="balanced"`` with ``augment`` draws batches in which
    all classes are equally frequent, and varies each anew. It takes no memory.

    References
    ----------
    .. [1] Wang, Zhao & Fan (2020), Astronomical Research and Technology 17(1), 85-95.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.resampling import NoiseResampler
    >>> flux = np.random.RandomState(0).normal(size=(100, 40))
    >>> y = np.repeat(["STAR", "GALAXY", "QSO"], [90, 7, 3])
    >>> sampler = NoiseResampler("balanced", random_state=0)
    >>> X, y_resampled = sampler.fit_resample(flux, y)
    >>> sampler.sampling_strategy_
    {'GALAXY': 33, 'QSO': 33, 'STAR': 33}
    >>> X.shape
    (99, 40)
    >>> NoiseResampler({"QSO": 10, "STAR": 20}).fit(flux, y).sampling_strategy_
    {'GALAXY': 7, 'QSO': 10, 'STAR': 20}
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseNoiseSampler._parameter_constraints,
        "sampling_strategy": [
            StrOptions(_STRATEGIES),
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
            Mapping,
            callable,
        ],
    }

    def __init__(
        self,
        sampling_strategy: str | float | Mapping | Callable = "auto",
        *,
        noise: str | Callable | None = "noise",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.sampling_strategy = sampling_strategy
        self.noise = noise
        self.random_state = random_state

    def _count_per_class(self, y: np.ndarray) -> dict:
        present = _counts(y)
        strategy = self.sampling_strategy
        if callable(strategy):
            strategy = strategy(y)
        if strategy == "balanced":
            strategy = len(y) // len(present)
        if isinstance(strategy, Integral):
            return dict.fromkeys(present, int(strategy))
        if isinstance(strategy, Mapping):
            _check_numbers(strategy, present)
            return {label: int(strategy.get(label, n)) for label, n in present.items()}
        copies = check_sampling_strategy(strategy, y, "over-sampling")
        return {label: n + int(copies.get(label, 0)) for label, n in present.items()}

    def _choose(
        self, y: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        present, rows = _counts(y), np.arange(len(y))
        numbers = self.sampling_strategy_
        fewer = {c: n for c, n in numbers.items() if n < present[c]}
        more = {c: n for c, n in numbers.items() if n > present[c]}
        under = RandomUnderSampler(sampling_strategy=fewer, random_state=random_state)
        under.fit_resample(rows[:, None], y)
        over = RandomOverSampler(sampling_strategy=more, random_state=random_state)
        over.fit_resample(rows[:, None], y)
        return np.sort(under.sample_indices_), over.sample_indices_[len(y) :]


def _counts(y: np.ndarray) -> dict:
    """Count the samples of each class."""
    classes, counts = np.unique(y, return_counts=True)
    return dict(zip(classes.tolist(), counts.tolist(), strict=True))


def _check_numbers(strategy: Mapping, present: dict) -> None:
    """Refuse labels that are not in y, and invalid numbers of samples."""
    unknown = [label for label in strategy if label not in present]
    if unknown:
        raise ValueError(
            f"sampling_strategy names classes that are not in y: {unknown!r}. There "
            f"are {list(present)!r}."
        )
    wrong: dict[Any, Any] = {
        label: n
        for label, n in strategy.items()
        if not isinstance(n, Integral) or n < 0
    }
    if wrong:
        raise ValueError(
            "sampling_strategy must give whole numbers of samples, 0 or more, but got "
            f"{wrong!r}."
        )
