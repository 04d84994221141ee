# SPDX-License-Identifier: BSD-3-Clause
"""What the samplers with noise have in common."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from imblearn.base import BaseSampler
from imblearn.utils import check_target_type
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import validate_data

from skastro._compat import StrOptions
from skastro.augmentation import AUGMENTATIONS, vary_array
from skastro.utils import check_finite, is_lazy, plain_array

_ADVICE = (
    'Fill missing values before resampling, for instance by nan_policy="interpolate" '
    "of skastro's transformers of spectra, or leave these rows out."
)


class BaseNoiseSampler(BaseSampler):
    """Template of a sampler whose copies of samples get noise.

    Subclasses choose rows; they are given the classes only.
    """

    _parameter_constraints: ClassVar[dict] = {
        "noise": [StrOptions(set(AUGMENTATIONS)), callable, None],
        "random_state": ["random_state"],
    }

    # imbalanced-learn then leaves `sampling_strategy` to the subclass. It reads it in
    # any case, also of a sampler that has no such parameter.
    _sampling_type = "bypass"
    sampling_strategy: Any = None

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Check the input and count the samples that there will be of each class.

        Resampling needs `fit_resample` only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Samples, such as spectra of shape (n_samples, n_channels, n_pixels).

        y : array-like of shape (n_samples,)
            Classes.

        Returns
        -------
        self : object
            The sampler itself.
        """
        super().fit(X, y)
        self.sampling_strategy_ = self._count_per_class(check_target_type(y))
        return self

    def fit_resample(self, X: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
        """Resample the data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Samples, such as spectra of shape (n_samples, n_channels, n_pixels). They
            are not changed.

        y : array-like of shape (n_samples,)
            Classes, labels of any type.

        Returns
        -------
        X_resampled : array-like of shape (n_samples_new, ...)
            The samples that were kept, unchanged and in their order, and then the
            copies with noise. An array is float32 where `X` is, else float64; lists
            and data frames come back as such.

        y_resampled : array-like of shape (n_samples_new,)
            Their classes.
        """
        return super().fit_resample(_as_float_frame(X), y)

    @abstractmethod
    def _count_per_class(self, y: np.ndarray) -> dict:
        """Count the samples that there will be of each class."""

    @abstractmethod
    def _choose(
        self, y: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that are kept, and the rows of which copies are made."""

    def _check_X_y(
        self, X: ArrayLike, y: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        if is_lazy(X):
            raise TypeError(
                f"{type(self).__name__} needs X in memory, but got an array on disk, "
                f'{type(X).__name__}. Read it, X[:], or use sampler="balanced" and '
                "augment=... of the estimator, which work on arrays on disk."
            )
        y, binarize_y = check_target_type(y, indicate_one_vs_all=True)
        # A data frame of sparse columns; others have no such attribute.
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
        validate_data(self, X, y, reset=True, skip_check_array=True)
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
        copies[...] = self._vary(copies, random_state)
        return resampled, y[self.sample_indices_]

    def _vary(self, X: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Add the noise; operations draw from torch's global generator by default."""
        noise = AUGMENTATIONS[self.noise] if isinstance(self.noise, str) else self.noise
        if noise is None:
            return X
        seed = random_state.randint(np.iinfo(np.int32).max)
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which seeds the generators of GPUs, too.
            torch.default_generator.manual_seed(int(seed))
            return vary_array(noise, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.three_d_array = True
        tags.sampler_tags.sample_indices = True
        return tags


def _as_float_frame(X: Any) -> Any:
    """Let columns of whole numbers take noise; the result has the columns' dtypes."""
    if hasattr(X, "iloc") and any(dtype.kind != "f" for dtype in X.dtypes):
        return X.astype(np.float64)
    return X
