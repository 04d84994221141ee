# SPDX-License-Identifier: BSD-3-Clause
"""Deletion tests: whether activation maps show the pixels that matter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from sklearn.utils import Bunch, check_random_state

from skastro.inspection._class_activation_map import (
    class_activation_map,
    encode_target,
    find_classifier,
)
from skastro.inspection._thumbnails import channels_first
from skastro.utils import check_count, plain_array

# Kept pixels on either side of a deleted run that define the flux there.
_N_NEIGHBORS = 10


def deletion_score(
    estimator: Any,
    X: Any,
    target: Any = None,
    *,
    maps: ArrayLike | None = None,
    fraction: float = 0.1,
    n_random: int = 10,
    method: str = "auto",
    layer: str | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Test whether maps show the pixels on which a decision depends.

    The pixels with the highest values in each map are deleted. For comparison, the same
    number of random pixels is deleted, in runs of the same lengths. If the map is
    right, the probability of the class drops more in the first case [1]_ [2]_.

    Parameters
    ----------
    estimator : SpectrumClassifier, GalaxyClassifier or Pipeline
        A fitted classifier, or a pipeline that ends in one.
    X : array-like of shape (n_samples, ...)
        Spectra or images, as ``estimator.predict`` takes them; not the training
        samples, if the score is to hold for new samples.
    target : label or array-like of shape (n_samples,), default=None
        The class whose probability is compared; None means the predicted class.
    maps : array-like of shape (n_samples, length) or (n_samples, height, width), \
            default=None
        The maps to test, of any kind. None computes them by
        :func:`class_activation_map`.
    fraction : float, default=0.1
        Fraction of the pixels to delete, between 0 and 1.
    n_random : int, default=10
        Random deletions of each sample.
    method : {"auto", "cam", "gradcam"}, default="auto"
        Method of :func:`class_activation_map`.
    layer : str, default=None
        The layer for Grad-CAM.
    random_state : int, RandomState instance or None, default=None
        Seed of the random deletions; pass an int for the same ones every time.

    Returns
    -------
    score : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        mean_drop : float
            Mean drop of the probability by deleting highlighted pixels.
        mean_random_drop : float
            Mean drop by deleting random pixels.
        wins : float
            Fraction of the samples whose highlighted drop is above the median of their
            random drops; 0.5 for maps no better than chance. Ties count half.
        p_value : float
            Probability of at least as many wins by chance: a one-sided sign test.
        target : ndarray of shape (n_samples,)
            The classes.
        probability : ndarray of shape (n_samples,)
            Their probabilities before deletion.
        drop : ndarray of shape (n_samples,)
            Each sample's drop by deleting highlighted pixels.
        random_drop : ndarray of shape (n_samples, n_random)
            Each sample's drops by deleting random pixels.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or the maps have another shape than X.
    TypeError
        If the estimator is of another kind, or its network has no such maps.

    See Also
    --------
    deletion_curve : The probability as a function of the deleted fraction.

    Notes
    -----
    Pixels are deleted in the input of the network, after the steps of a pipeline. In
    spectra a deleted run of pixels is replaced by a straight line between the medians
    of the ten kept pixels on either side, the local continuum. In images deleted pixels
    are replaced by the median of the kept ones in each channel. Random deletions in
    spectra have the same number of runs of the same lengths, at uniformly random
    positions; in images the deleted regions are shifted, wrapping around at the
    borders, and mirrored. Among equal values in a map the first count as higher.

    References
    ----------
    .. [1] W. Samek, A. Binder, G. Montavon, S. Lapuschkin, K.-R. Müller, "Evaluating
       the Visualization of What a Deep Neural Network Has Learned", IEEE Transactions
       on Neural Networks and Learning Systems 28, 2660, 2017,
       doi:10.1109/TNNLS.2016.2599820.
    .. [2] V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for
       Explanation of Black-box Models", BMVC 2018, arXiv:1806.07421.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import SpectrumClassifier
    >>> from skastro.inspection import deletion_score
    >>> rng = np.random.default_rng(0)
    >>> flux = rng.normal(size=(80, 200))
    >>> target = np.repeat(["line", "no line"], 40)
    >>> flux[target == "line", 140:150] += 5
    >>> clf = SpectrumClassifier(
    ...     module__width=8, module__n_blocks=(1,), verbose=0, random_state=0
    ... )
    >>> score = deletion_score(clf.fit(flux, target), flux[:40], random_state=0)
    >>> bool(score.mean_drop > 5 * score.mean_random_drop)
    True
    """
    test = _DeletionTest(estimator, X, target, maps, method, layer)
    n_random = check_count(n_random, "n_random", 1)
    rng = check_random_state(random_state)
    (fraction,) = _check_fractions([fraction])
    deleted = test.highlighted(fraction)
    drop = test.probability - test.probability_without(deleted)
    random_drop = np.empty((len(drop), n_random))
    for column in range(n_random):
        moved = random_like(deleted, rng)
        random_drop[:, column] = test.probability - test.probability_without(moved)
    median = np.median(random_drop, axis=1)
    n_wins, n_losses = int((drop > median).sum()), int((drop < median).sum())
    p_value = 1.0
    if n_wins or n_losses:
        test_of_signs = binomtest(n_wins, n_wins + n_losses, alternative="greater")
        p_value = float(test_of_signs.pvalue)
    return Bunch(
        mean_drop=float(drop.mean()),
        mean_random_drop=float(random_drop.mean()),
        wins=0.5 + 0.5 * (n_wins - n_losses) / len(drop),
        p_value=p_value,
        target=test.target,
        probability=test.probability,
        drop=drop,
        random_drop=random_drop,
    )


def deletion_curve(
    estimator: Any,
    X: Any,
    target: Any = None,
    *,
    maps: ArrayLike | None = None,
    fractions: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    n_random: int = 3,
    method: str = "auto",
    layer: str | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Compute the probability of a class as a function of the deleted fraction.

    Parameters
    ----------
    estimator : SpectrumClassifier, GalaxyClassifier or Pipeline
        A fitted classifier, or a pipeline that ends in one.
    X : array-like of shape (n_samples, ...)
        Spectra or images, as ``estimator.predict`` takes them.
    target : label or array-like of shape (n_samples,), default=None
        The class whose probability is computed; None means the predicted class.
    maps : array-like of shape (n_samples, length) or (n_samples, height, width), \
            default=None
        The maps to test. None computes them by :func:`class_activation_map`.
    fractions : sequence of float, default=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
        Fractions of the pixels to delete, between 0 and 1.
    n_random : int, default=3
        Random deletions of each sample for each fraction.
    method : {"auto", "cam", "gradcam"}, default="auto"
        Method of :func:`class_activation_map`.
    layer : str, default=None
        The layer for Grad-CAM.
    random_state : int, RandomState instance or None, default=None
        Seed of the random deletions; pass an int for the same ones every time.

    Returns
    -------
    curve : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        fractions : ndarray of shape (n_fractions + 1,)
            The deleted fractions; the first is 0.
        probability : ndarray of shape (n_samples, n_fractions + 1)
            The class's probability without the highlighted pixels.
        random_probability : ndarray of shape (n_samples, n_fractions + 1)
            The same without random pixels, the mean over the random deletions.
        target : ndarray of shape (n_samples,)
            The classes.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or the maps have another shape than X.
    TypeError
        If the estimator is of another kind, or its network has no such maps.

    See Also
    --------
    deletion_score : A test for one fraction; describes how pixels are deleted.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro import SpectrumClassifier
    >>> from skastro.inspection import deletion_curve
    >>> rng = np.random.default_rng(0)
    >>> flux = rng.normal(size=(80, 200))
    >>> target = np.repeat(["line", "no line"], 40)
    >>> flux[target == "line", 140:150] += 5
    >>> clf = SpectrumClassifier(
    ...     module__width=8, module__n_blocks=(1,), verbose=0, random_state=0
    ... )
    >>> curve = deletion_curve(clf.fit(flux, target), flux[:5], fractions=[0.1, 0.2])
    >>> curve.fractions.tolist(), curve.probability.shape
    ([0.0, 0.1, 0.2], (5, 3))
    """
    test = _DeletionTest(estimator, X, target, maps, method, layer)
    n_random = check_count(n_random, "n_random", 1)
    rng = check_random_state(random_state)
    columns, random_columns = [test.probability], [test.probability]
    fractions = _check_fractions(fractions)
    for fraction in fractions:
        deleted = test.highlighted(fraction)
        columns.append(test.probability_without(deleted))
        at_random = [
            test.probability_without(random_like(deleted, rng)) for _ in range(n_random)
        ]
        random_columns.append(np.mean(at_random, axis=0))
    return Bunch(
        fractions=np.array([0.0, *fractions]),
        probability=np.stack(columns, axis=1),
        random_probability=np.stack(random_columns, axis=1),
        target=test.target,
    )


class _DeletionTest:
    """Samples, their maps, and predictions for samples with deleted pixels."""

    def __init__(
        self,
        estimator: Any,
        X: Any,
        target: Any,
        maps: ArrayLike | None,
        method: str,
        layer: str | None,
    ) -> None:
        self.net, X = find_classifier(estimator, X, "A deletion test")
        X = plain_array(X)
        # Networks of images take bytes unchanged, and no other integers.
        is_bytes = hasattr(self.net, "image_shape") and X.dtype == np.uint8
        self.X = np.array(X, dtype=np.uint8 if is_bytes else np.float32, order="C")
        self.codes = encode_target(self.net, self.X, target)
        self.target = self.net.classes_[self.codes]
        self.probability = self._predict(self.X)
        if maps is None:
            maps = class_activation_map(
                self.net, self.X, self.target, method=method, layer=layer
            )
        # Negative bytes would be large.
        self.maps = plain_array(maps, "maps").astype(np.float32, copy=False)
        pixels = self._channels_first(self.X)
        if self.maps.shape != (len(pixels), *pixels.shape[2:]):
            raise ValueError(
                f"maps have shape {self.maps.shape}, but the samples that the network "
                f"reads have pixels of shape {(len(pixels), *pixels.shape[2:])}."
            )

    def highlighted(self, fraction: float) -> np.ndarray:
        """Mark the pixels with the highest values of each map."""
        flat = self.maps.reshape(len(self.maps), -1)
        n_deleted = min(max(1, round(fraction * flat.shape[1])), flat.shape[1] - 1)
        highest = np.argsort(-flat, axis=1, kind="stable")[:, :n_deleted]
        deleted = np.zeros(flat.shape, dtype=bool)
        np.put_along_axis(deleted, highest, True, axis=1)
        return deleted.reshape(self.maps.shape)

    def probability_without(self, deleted: np.ndarray) -> np.ndarray:
        """Predict the probabilities of the target with pixels replaced."""
        X = self.X.copy()
        fill = fill_from_neighbors if deleted.ndim == 2 else fill_with_median
        for channels, mask in zip(self._channels_first(X), deleted, strict=True):
            fill(channels, mask)
        return self._predict(X)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        """Predict the probabilities of the target."""
        probability = self.net.predict_proba(X)
        return probability[np.arange(len(X)), self.codes].astype(np.float64)

    def _channels_first(self, X: np.ndarray) -> np.ndarray:
        """View samples as ``(n_samples, n_channels, ...)``, in the same memory."""
        if hasattr(self.net, "image_shape"):
            return channels_first(X, self.net.channel_axis, self.net.image_shape)
        return X[:, None] if X.ndim == 2 else X


def _check_fractions(fractions: Sequence[float]) -> list[float]:
    fractions = [float(fraction) for fraction in fractions]
    for fraction in fractions:
        if not 0 < fraction < 1:
            raise ValueError(
                f"The fraction of pixels to delete must be between 0 and 1, but got "
                f"{fraction!r}."
            )
    return fractions


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the start and the end of runs of marked pixels."""
    change = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def fill_from_neighbors(channels: np.ndarray, mask: np.ndarray) -> None:
    """Replace runs of pixels by straight lines between the levels on either side.

    Changes `channels`, of shape (n_channels, length), in place.
    """
    kept = np.flatnonzero(~mask)
    for start, stop in zip(*_runs(mask), strict=True):
        place = np.searchsorted(kept, start)
        left = channels[:, kept[max(0, place - _N_NEIGHBORS) : place]]
        right = channels[:, kept[place : place + _N_NEIGHBORS]]
        # At the ends of the spectrum there is one side only.
        left, right = (left, right) if left.size else (right, right)
        right = right if right.size else left
        levels = np.median(left, axis=1), np.median(right, axis=1)
        line = np.linspace(*levels, stop - start + 2, axis=1)
        channels[:, start:stop] = line[:, 1:-1]


def fill_with_median(channels: np.ndarray, mask: np.ndarray) -> None:
    """Replace pixels by the median of the others, in each channel.

    Changes `channels`, of shape (n_channels, height, width), in place.
    """
    channels[:, mask] = np.median(channels[:, ~mask], axis=1, keepdims=True)


def random_like(deleted: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Choose the same number of pixels at random, in regions of the same sizes.

    In spectra, of shape (n_samples, length), they are runs of the same lengths, which
    do not touch. In images, of shape (n_samples, height, width), the regions are
    shifted, wrapping around at the borders, and mirrored.
    """
    move = _random_runs if deleted.ndim == 2 else _random_shift
    return np.stack([move(mask, rng) for mask in deleted])


def _random_runs(mask: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    starts, stops = _runs(mask)
    lengths = rng.permutation(stops - starts)
    n_kept = mask.size - lengths.sum()
    # Number of kept pixels before each run; no two runs touch.
    behind = np.sort(rng.choice(n_kept + 1, size=len(lengths), replace=False))
    moved = np.zeros_like(mask)
    starts = behind + np.cumsum(lengths) - lengths
    for start, length in zip(starts, lengths, strict=True):
        moved[start : start + length] = True
    return moved


def _random_shift(mask: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    flips = [axis for axis in range(mask.ndim) if rng.randint(2)]
    shift = [rng.randint(size) for size in mask.shape]
    return np.roll(np.flip(mask, flips), shift, axis=tuple(range(mask.ndim)))
