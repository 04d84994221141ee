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
        Keep the proportions of the classes. Classes with one sample stay in the
        training part.
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
        self, dataset: Any, y: np.ndarray | None = None
    ) -> tuple[Any, Subset | None]:
        """Split a data set.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            The data.
        y : ndarray of shape (len(dataset),), default=None
            The classes to stratify by.

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
        candidates = rows
        if labels is not None:
            candidates = rows[np.bincount(labels)[labels] > 1]
            n_classes = len(np.unique(labels[candidates]))
            n_valid = max(round(self.fraction * len(candidates)), n_classes)
            # Stratification needs at least one sample of each class on either side.
            if n_valid > len(candidates) - n_classes or not n_classes:
                return dataset, None
            labels = labels[candidates]
        else:
            n_valid = max(1, round(self.fraction * n_samples))
        _, valid = train_test_split(
            candidates,
            test_size=n_valid,
            stratify=labels,
            random_state=check_random_state(self.random_state),
        )
        valid = np.sort(valid)
        return Subset(dataset, np.setdiff1d(rows, valid)), Subset(dataset, valid)
