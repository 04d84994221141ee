# SPDX-License-Identifier: BSD-3-Clause
"""Setting validation samples aside, with every class in the training part."""

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from torch.utils.data import Subset


class ValidationSplit:
    """Set a random part of the data aside for validation.

    Parameters
    ----------
    fraction : float, default=0.1
        Part of the samples to set aside, between 0 and 1.
    stratify : bool, default=False
        Keep the proportions of the classes. Classes with one sample, or one group, stay
        in the training part.
    min_samples : int, default=20
        With fewer samples than this no samples are set aside: a loss on one or two
        samples would choose the weights by chance.
    random_state : int, RandomState instance or None, default=None
        Seed of the split.

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.training import ValidationSplit
    >>> split = ValidationSplit(0.25, stratify=True, random_state=0)
    >>> train, valid = split(range(40), np.repeat([0, 1], [32, 8]))
    >>> len(train), len(valid)
    (30, 10)

    Of objects with four spectra each, all four are on one side:

    >>> groups = np.repeat(range(10), 4)
    >>> train, valid = split(range(40), np.repeat([0, 1], [32, 8]), groups)
    >>> len(valid), set(groups[train.indices]) & set(groups[valid.indices])
    (12, set())
    """

    def __init__(
        self,
        fraction: float = 0.1,
        stratify: bool = False,
        min_samples: int = 20,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.fraction = fraction
        self.stratify = stratify
        self.min_samples = min_samples
        self.random_state = random_state

    def __call__(
        self, dataset: Any, y: np.ndarray | None = None, groups: Any = None
    ) -> tuple[Any, Subset | None]:
        """Split a data set.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            The data.
        y : ndarray of shape (len(dataset),), default=None
            The classes to stratify by.
        groups : ndarray of shape (len(dataset),), default=None
            What each sample belongs to, such as the name of its object. Samples of one
            group stay on one side. The part set aside is as close to `fraction` of the
            samples of each class as the sizes of the groups allow.

        Returns
        -------
        dataset_train : Subset
            The training part; ``dataset`` itself if nothing is set aside.
        dataset_valid : Subset or None
            The validation part.
        """
        n_samples = len(dataset)
        if n_samples < self.min_samples:
            return dataset, None
        rows = np.arange(n_samples)
        labels = None
        if self.stratify and y is not None:
            labels = np.unique(np.asarray(y), return_inverse=True)[1]
        if groups is not None:
            valid = self._draw_groups(groups, labels)
        elif labels is not None:
            candidates = rows[np.bincount(labels)[labels] > 1]
            n_classes = len(np.unique(labels[candidates]))
            n_valid = max(round(self.fraction * len(candidates)), n_classes)
            # Stratification needs at least one sample of each class on either side.
            if n_valid > len(candidates) - n_classes or not n_classes:
                return dataset, None
            valid = self._draw(candidates, n_valid, labels[candidates])
        else:
            valid = self._draw(rows, max(1, round(self.fraction * n_samples)))
        if not len(valid):
            return dataset, None
        return Subset(dataset, np.setdiff1d(rows, valid)), Subset(dataset, valid)

    def _draw(self, rows: np.ndarray, n_valid: int, labels: Any = None) -> np.ndarray:
        """Draw so many rows."""
        _, valid = train_test_split(
            rows,
            test_size=n_valid,
            stratify=labels,
            random_state=check_random_state(self.random_state),
        )
        return np.sort(valid)

    def _draw_groups(self, groups: Any, labels: np.ndarray | None) -> np.ndarray:
        """Draw groups of each class, and return their rows."""
        groups = encode_groups(groups)
        sizes = np.bincount(groups)
        kinds = np.zeros(len(sizes), int)
        if labels is not None:
            # A group of several classes counts for the rarest.
            rarity = np.argsort(np.argsort(np.bincount(labels)))[labels]
            kinds += len(labels)
            np.minimum.at(kinds, groups, rarity)
        generator = check_random_state(self.random_state)
        is_valid = np.zeros(len(sizes), bool)
        for kind in np.unique(kinds):
            members = generator.permutation(np.flatnonzero(kinds == kind))
            wanted = self.fraction * sizes[members].sum()
            # A group that is larger alone would make the part too large.
            limit = max(wanted, np.median(sizes[members]))
            drawn = members[sizes[members] <= limit][: len(members) - 1]
            if len(drawn):
                n_drawn = 1 + np.abs(sizes[drawn].cumsum() - wanted).argmin()
                is_valid[drawn[:n_drawn]] = True
        return np.flatnonzero(is_valid[groups])


def encode_groups(groups: Any) -> np.ndarray:
    """Give each group, of any hashable kind, a number, in the order they come in."""
    known: dict[Any, int] = {}
    names = np.asarray(groups).tolist()
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)
