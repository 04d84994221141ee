# SPDX-License-Identifier: BSD-3-Clause
"""Chosen numbers of samples per class, copies being noisy."""

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from imblearn.utils import check_sampling_strategy

from skastro._compat import Interval, RealNotInt, StrOptions
from skastro.resampling._base import BaseNoiseSampler

_STRATEGIES = {"auto", "balanced", "minority", "not minority", "not majority", "all"}


class NoiseResampler(BaseNoiseSampler):
    """Bring classes to chosen numbers of samples: noisy copies, or a random choice.

    Of a class that is to have more samples than it has, copies are made of samples
    drawn with replacement, and the copies get noise; the samples themselves stay as
    they are. Of a class that is to have fewer, so many are chosen, without replacement.
    This is how [1]_ balanced stars, galaxies and quasars.

    A sampler: in a :class:`~skastro.Pipeline` it acts in ``fit`` only, and in
    cross-validation on the training folds alone.

    Parameters
    ----------
    sampling_strategy : str, int, float, dict or callable, default="auto"
        Numbers of samples of the classes after resampling.

        - ``"balanced"``: as many of each class, and no more samples in all than there
          were: ``n_samples // n_classes``. Frequent classes shrink, rare ones grow, as
          ``class_weight="balanced"`` would weight them.
        - int: that number of each class.
        - dict: the number of each class by its label, more or fewer than there are.
          Classes that are not named stay as they are.
        - ``"auto"`` or ``"not majority"``: as many of each class as the largest has.
          ``"all"`` is the same, ``"minority"`` and ``"not minority"`` bring the
          smallest class, or all but the smallest, to that number.
        - float, for two classes: the number of the smaller class in parts of the
          larger one's.
        - callable: takes `y` and gives a dict.

        The words and the float mean what they do in
        :class:`~imblearn.over_sampling.RandomOverSampler`.

    noise : {"noise", "wang2020", "resclass"}, callable or None, default="noise"
        How copies are varied. ``"noise"`` is white noise of up to half the spectrum's
        standard deviation, in any units of the flux; ``"wang2020"`` that of a CCD,
        cosmic rays and bad pixels, on min-max normalised spectra [1]_; ``"resclass"``
        that of the LAMOST 1-D ResNet-18, on standardised spectra. A callable takes a
        Tensor of shape (n_samples, ...) and gives one, see :ref:`noise`. None makes
        plain copies.

    random_state : int, RandomState instance or None, default=None
        Seed of the choice and the noise. With an int the result is the same at each
        call. Operations draw from torch's global generator, which is set aside
        meanwhile.

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
    all classes are as frequent, and varies each anew. It takes no memory.

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
    """Refuse labels that are not in y, and what is no number of samples."""
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
