# SPDX-License-Identifier: BSD-3-Clause
"""How alike samples are to the training set, by the features of the network."""

from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch.nn.functional import normalize
from torch.utils.data import IterableDataset, Subset

from skastro.training import find_source

# Training samples that others are compared with, at most.
_MOST_KEPT = 2048
# Samples kept for each that an epoch of the training went through. A prediction takes
# about a third of a training step, so that keeping them adds less than 2 % to it.
_KEPT_PER_TRAINED = 0.05
# But so many of a class: with fewer, real spectra look unlike the training set too.
_LEAST_KEPT_OF_CLASS = 5
# The neighbour that counts: one odd training sample cannot vouch for others like it.
_NEIGHBOUR = 3


class _Features(torch.nn.Module):
    """What a network gives to its last layer, as directions of length one."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average the feature maps over their pixels."""
        maps = self.network.forward_features(x).float()
        if maps.ndim > 2:
            maps = maps.flatten(2).mean(dim=2)
        return normalize(maps, dim=1)


class Likeness(NeuralNet):
    """Classifiers that tell samples unlike those that they were trained on."""

    def _of_features(self) -> Any:
        """Give a net that shares everything with this one, but predicts features."""
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        vars(view)["module_"] = _Features(self.module_)
        return view

    def _learn_features(self, dataset: Any, n_epochs: int) -> None:
        """Keep the features of some of the samples that so many epochs went through."""
        has_features = hasattr(self.module_, "forward_features")
        if not has_features or isinstance(dataset, IterableDataset):
            return
        least = _LEAST_KEPT_OF_CLASS * len(self.classes_inferred_)
        n_kept = max(least, int(_KEPT_PER_TRAINED * n_epochs * len(dataset)))
        rows = _some_rows(_codes_of(dataset), len(dataset), min(n_kept, _MOST_KEPT))
        some = Subset(dataset, rows)
        outputs = self._of_features().forward_iter(some)
        self.training_features_ = torch.cat(list(outputs)).numpy()

    def score_samples(self, X: Any) -> np.ndarray:
        """Say how alike samples are to the training set.

        Noise, other instruments or objects of no known class get low scores, whatever
        class is predicted. The score is the cosine of the angle between the features
        of the sample and those of its third nearest neighbour among training samples
        that show all classes alike [1]_: all of them, or 2048, or fewer after less than
        20 epochs, see the :ref:`User Guide <trust>`. The features are what the module's
        method ``forward_features`` gives, averaged over the pixels. For a module
        without that method the score is the logarithm of the sum of the exponentials of
        the logits [2]_, which tells less.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        score : ndarray of shape (n_samples,), float32
            The higher, the more alike; at most 1 where there are features.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity, or if
            there are neither features nor logits.

        References
        ----------
        .. [1] Sun, Y. et al. (2022). "Out-of-distribution detection with deep nearest
               neighbors". ICML. https://arxiv.org/abs/2204.06507
        .. [2] Liu, W. et al. (2020). "Energy-based out-of-distribution detection".
               NeurIPS. https://arxiv.org/abs/2010.03759
        """
        self.check_is_fitted()
        known = vars(self).get("training_features_")
        if known is not None:
            known = torch.as_tensor(known, device=self._torch_device)
            n_nearest = min(_NEIGHBOUR, len(known))

            def of_nearest(features: torch.Tensor) -> torch.Tensor:
                return (features @ known.T).topk(n_nearest, dim=1).values[:, -1]

            return self._of_features()._predict_outputs(X, of_nearest)
        if not isinstance(self.criterion_, torch.nn.CrossEntropyLoss):
            raise ValueError(
                "score_samples needs features or logits: a module with a method "
                "forward_features, trained by fit, or criterion="
                f"torch.nn.CrossEntropyLoss; but {type(self.module_).__name__} has no "
                f"features of training samples, and criterion={self.criterion!r}."
            )
        return self._predict_outputs(X, lambda logits: logits.logsumexp(dim=1))


def _codes_of(dataset: Any) -> np.ndarray | None:
    """Find the encoded targets of a data set made from arrays."""
    source = find_source(dataset)
    if source is None or source.y is None:
        return None
    codes = source.y if source.rows is None else source.y[source.rows]
    return codes.numpy()


def _some_rows(codes: np.ndarray | None, n_samples: int, n_wanted: int) -> np.ndarray:
    """Choose rows, spread over the data set, and equally many of each class."""
    if n_samples <= n_wanted:
        return np.arange(n_samples)
    if codes is None:
        return _spread(np.arange(n_samples), n_wanted)
    present, counts = np.unique(codes, return_counts=True)
    # What rare classes leave free goes to the others.
    chosen, n_left = [], n_wanted
    for n_done, place in enumerate(np.argsort(counts, kind="stable")):
        share = n_left // (len(present) - n_done)
        chosen.append(_spread(np.flatnonzero(codes == present[place]), share))
        n_left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def _spread(rows: np.ndarray, n_wanted: int) -> np.ndarray:
    if len(rows) <= n_wanted:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n_wanted).astype(np.int64)]
