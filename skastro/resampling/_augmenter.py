# SPDX-License-Identifier: BSD-3-Clause
"""Noisy copies of all samples."""

from collections.abc import Callable
from numbers import Integral
from typing import ClassVar

import numpy as np

from skastro._compat import Interval
from skastro.resampling._base import BaseNoiseSampler


class NoiseAugmenter(BaseNoiseSampler):
    """Add noisy copies of all samples.

    A sampler: in a :class:`~skastro.Pipeline` it acts in ``fit`` only, and in
    cross-validation on the training folds alone.

    Parameters
    ----------
    n_copies : int, default=1
        Copies of each sample. There will be ``n_copies + 1`` times as many samples.

    noise : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How copies are varied. ``"noise"`` is white noise of up to half the spectrum's
        standard deviation, in any units of the flux; ``"wang2020"`` that of a CCD,
        cosmic rays and bad pixels, on min-max normalised spectra [1]_; ``"resclass"``
        that of the LAMOST 1-D ResNet-18, on standardised spectra. A callable takes a
        Tensor of shape (n_samples, ...) and gives one, see :ref:`noise`. None makes
        plain copies.

    random_state : int, RandomState instance or None, default=None
        Seed of the noise. With an int the result is the same at each call. Operations
        draw from torch's global generator, which is set aside meanwhile.

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
    NoiseResampler : Noisy copies of the rare classes, so many as are asked for.

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
    }

    def __init__(
        self,
        n_copies: int = 1,
        *,
        noise: str | Callable | None = "noise",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_copies = n_copies
        self.noise = noise
        self.random_state = random_state

    def _count_per_class(self, y: np.ndarray) -> dict:
        classes, counts = np.unique(y, return_counts=True)
        counts = counts * (self.n_copies + 1)
        return dict(zip(classes.tolist(), counts.tolist(), strict=True))

    def _choose(
        self, y: np.ndarray, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(y))
        return rows, np.tile(rows, self.n_copies)
