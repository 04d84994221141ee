# SPDX-License-Identifier: BSD-3-Clause
"""The base of classifiers: labels in, labels out; calibration and novelty scores."""

import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.exceptions import NotFittedError
from sklearn.utils import (
    check_consistent_length,
    column_or_1d,
    compute_sample_weight,
)
from sklearn.utils.multiclass import check_classification_targets
from skorch import NeuralNetClassifier
from skorch.utils import data_from_dataset, to_numpy
from typing_extensions import override

from skastro.base._net import MOST_KEPT, BaseNet, spread_rows
from skastro.training import find_source
from skastro.utils import name_rows, plain_array, plain_labels, score_plain

# Losses that divide by the weights of the classes.
_WEIGHTED_LOSSES = (torch.nn.CrossEntropyLoss, torch.nn.NLLLoss)
_LOSSES_OF_NUMBERS = (
    torch.nn.L1Loss,
    torch.nn.MSELoss,
    torch.nn.SmoothL1Loss,
    torch.nn.HuberLoss,
    torch.nn.PoissonNLLLoss,
    torch.nn.GaussianNLLLoss,
    torch.nn.BCELoss,
    torch.nn.BCEWithLogitsLoss,
)
# Limits of log(temperature). What lies beyond comes from logits that tell nothing.
_BOUNDS = (-4.0, 4.0)
# Standard deviation of the prior of log(temperature). Of 0.2 to 0.5, and none, it gave
# the lowest log loss on real spectra, with 37 to 127 samples for the temperature.
_PRIOR_WIDTH = 0.25
# At least features of so many of each class: with fewer, real spectra look novel too.
_LEAST_KEPT_PER_CLASS = 5


class BaseClassifier(BaseNet, NeuralNetClassifier):
    """The base of classifiers: labels of any type, encoded for the criterion and back.

    While a training runs, callbacks see what the module sees, the encoded targets 0 to
    n_classes - 1, and so do ``predict`` and ``classes_`` as far as callbacks call them.

    Further parameters are those of :class:`BaseNet`.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance
        The network.
    criterion : str or class, default=torch.nn.CrossEntropyLoss
        The loss; a name stands for a loss of torch or of :mod:`skastro.training`.
    restore_best_weights : bool, default=True
        Keep the weights of the epoch with the highest validation accuracy, the later
        one of equals, in the last quarter of the training, where the scheduled rate is
        low. Without validation those of the last epoch stay.
        ``callbacks__best_weights__monitor`` names another figure.
    calibrate : bool, default=False
        Divide the logits by a temperature, fitted on the validation samples after the
        training, so that probabilities are what they promise; see :ref:`the user guide
        <trust>`. It needs `train_split` and the default criterion. ``class_weight`` and
        `sampler` shift probabilities toward rare classes, which no temperature mends.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss, by label; ``"balanced"`` makes them
        inversely proportional to the classes' numbers.
    sampler : {"balanced"} or None, default=None
        ``"balanced"`` draws training samples with replacement such that all classes
        come equally often, and in a class all groups, where ``fit`` is given groups.
    classes : array-like of shape (n_classes,), default=None
        All labels, where the training samples may not show every class.
    warn_novelty : bool, default=False
        Whether predictions warn of samples that are less alike to the training set, by
        ``score_samples``, than any sample of the validation. It takes a second pass
        through the network.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; the columns of ``predict_proba``.
    temperature_ : float
        What the logits are divided by; 1 unless `calibrate`.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from skastro.base import BaseClassifier
    >>> X = np.random.default_rng(0).normal(size=(40, 30)).astype("float32")
    >>> y = np.repeat(["GALAXY", "STAR"], 20)
    >>> module = nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> net = BaseClassifier(module, max_epochs=2, verbose=0).fit(X, y)
    >>> net.predict_proba(X).shape
    (40, 2)
    """

    _stratify = True
    _keeps_features = True
    _scores_logits = True
    # Growing confidence raises the loss long before classes change.
    _monitored: ClassVar = {
        "monitor": "valid_acc",
        "lower_is_better": False,
        "start": 0.75,
    }

    def __init__(
        self,
        module: Any,
        criterion: Any = torch.nn.CrossEntropyLoss,
        *,
        calibrate: bool = False,
        class_weight: dict | str | None = None,
        sampler: str | None = None,
        classes: Any = None,
        warn_novelty: bool = False,
        **kwargs: Any,
    ) -> None:
        BaseNet.__init__(self, module, criterion, **kwargs)
        self.calibrate = calibrate
        self.class_weight = class_weight
        self.sampler = sampler
        self.classes = classes
        self.warn_novelty = warn_novelty

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, sorted; the columns of ``predict_proba``."""
        is_empty = self.classes is not None and not len(self.classes)
        labels = self.__dict__.get("classes_inferred_")
        if labels is None and self.classes is not None and not is_empty:
            labels = np.unique(plain_labels(self.classes))
        if labels is None or is_empty:
            # skorch says what is missing.
            return super().classes_
        return np.arange(len(labels)) if self._is_training() else labels

    @override
    def check_data(self, X: Any, y: Any) -> None:
        # The data were checked before the training began.
        pass

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        if y.dtype.kind in "UO" and (y == "").any():
            rows = name_rows(np.flatnonzero(y == ""))
            raise ValueError(
                "y has empty labels, by which readers of surveys mark unknown classes, "
                f"in rows {rows}. Leave these rows out, or keep those of y != ''."
            )
        given = self.classes if classes is None else classes
        given = None if given is None or not len(given) else plain_labels(given)
        if not reset and given is not None:
            self._check_same_classes(given)
        if given is not None and _are_codes(y, given):
            # As in skorch, y may hold the classes' numbers already, in the order in
            # which these are given.
            self.classes_inferred_ = np.unique(given)
            return np.searchsorted(self.classes_inferred_, given)[y].astype(np.int64)
        if reset:
            labels = np.unique(y if given is None else given)
            if len(labels) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least two classes, but "
                    f"y has only one class: {labels.tolist()[0]!r}."
                )
        else:
            labels = self.classes_inferred_
        codes = np.minimum(np.searchsorted(labels, y), len(labels) - 1)
        unknown = np.flatnonzero(labels[codes] != y)
        if len(unknown):
            raise ValueError(
                f"y has labels that are not among the classes {labels.tolist()}: "
                f"{np.unique(y[unknown]).tolist()} in rows {name_rows(unknown)}. Name "
                "all classes beforehand with the parameter classes."
            )
        self.classes_inferred_ = labels
        return codes.astype(np.int64)

    def _check_same_classes(self, given: np.ndarray) -> None:
        known = self.__dict__.get("classes_inferred_", given)
        if not np.array_equal(np.unique(given), np.unique(known)):
            raise ValueError(
                f"The classes are now {np.unique(given).tolist()}, but the training "
                f"that goes on began with {known.tolist()}. Name the same ones, or "
                "none, or fit anew, with warm_start=False."
            )

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        if self.classes is not None and len(self.classes):
            given = plain_labels(self.classes)
            self.classes_inferred_ = np.unique(given)
            if not np.array_equal(given, self.classes_inferred_):
                raise ValueError(
                    "The targets of a data set are numbers of classes in their sorted "
                    f"order, {self.classes_inferred_.tolist()}, but classes are "
                    f"{given.tolist()}. Encode the targets so, as LabelEncoder does, "
                    "and sort classes."
                )
            self._check_numbers(dataset, len(given))
            return
        if y is None:
            y = _targets_in(dataset)
        if y is None:
            if "n_outputs" in self._sizes_taken() - {*self.get_params_for("module")}:
                raise ValueError(
                    "The classes cannot be read off this data set; name them with the "
                    "parameter classes, sorted, as the encoded targets number them."
                )
            return
        self.classes_inferred_ = np.arange(int(to_numpy(y).max()) + 1)

    def _check_numbers(self, dataset: Any, n_classes: int) -> None:
        """Refuse names, and numbers of other classes, in the first and last targets."""
        if not hasattr(dataset, "__len__") or self._is_overridden("get_loss"):
            return
        ends = {0, len(dataset) // 2, len(dataset) - 1}
        y = np.stack([np.asarray(dataset[row][1]) for row in sorted(ends)])
        is_name = y.dtype.kind not in "biuf"
        if is_name or (y.dtype.kind in "iu" and (y.min() < 0 or y.max() >= n_classes)):
            raise ValueError(
                f"The targets of the data set must be numbers from 0 to {n_classes - 1}"
                f", the places of the classes {self.classes_inferred_.tolist()}, but "
                f"they are {y.tolist()} in rows {name_rows(sorted(ends))}. Encode "
                "them, as LabelEncoder does."
            )

    def _infer_output_size(self, y: Any) -> dict[str, int]:
        labels = self.__dict__.get("classes_inferred_")
        return {} if labels is None else {"n_outputs": len(labels)}

    def _class_weight_per_sample(self, y: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        return compute_sample_weight(self.class_weight, self.classes_inferred_[y])

    def _count_terms(self, y: Any, is_weighted: bool) -> float | None:
        if is_weighted or not isinstance(self.criterion_, _WEIGHTED_LOSSES):
            return None
        # torch divides by the weights of the classes that occur.
        weight, ignored = self.criterion_.weight, self.criterion_.ignore_index
        if weight is None and ignored < 0:
            return None
        known = y[y != ignored].long()
        if weight is None:
            return float(len(known))
        return float(weight[known.to(weight.device)].sum())

    # After the training ---------------------------------------------------------

    def _validate_params(self) -> None:
        super()._validate_params()
        own_loss = self._is_overridden("get_loss")
        if issubclass(self._criterion_type, _LOSSES_OF_NUMBERS) and not own_loss:
            raise ValueError(
                f"criterion={self.criterion!r} compares numbers, but a classifier "
                "compares classes: take the default, or a regressor for numbers."
            )
        if self.calibrate:
            self._check_can_calibrate()

    def _after_training(self, train: Any, valid: Any) -> None:
        super()._after_training(train, valid)
        self._calibrate(valid)

    def _check_state_is_complete(self) -> None:
        super()._check_state_is_complete()
        if self.calibrate and not self._is_training():
            self._require_learned("temperature_")

    def _check_can_calibrate(self) -> None:
        """Refuse, before any work, what leaves no temperature to fit."""
        if self.train_split is None:
            raise ValueError(
                "calibrate=True fits a temperature on the validation samples, but "
                "train_split=None sets none aside; give train_split=0.1 for instance."
            )
        if (
            not issubclass(self._criterion_type, torch.nn.CrossEntropyLoss)
            or self.predict_nonlinearity != "auto"
        ):
            raise ValueError(
                "calibrate=True divides logits, which go with "
                "criterion=torch.nn.CrossEntropyLoss and predict_nonlinearity='auto', "
                f"but got criterion={self.criterion!r} and "
                f"predict_nonlinearity={self.predict_nonlinearity!r}."
            )

    def _calibrate(self, dataset: Any) -> None:
        """Fit the temperature on the validation samples, if there are any."""
        self.temperature_ = 1.0
        if not self.calibrate:
            return
        if dataset is None:
            warnings.warn(
                "The samples are too few to set some aside for validation, so that "
                "calibrate=True leaves the probabilities as they are.",
                UserWarning,
                stacklevel=2,
            )
            return
        results = [(output.cpu(), y.cpu()) for _, output, y in self._evaluate(dataset)]
        logits, codes = map(torch.cat, zip(*results, strict=True))
        self.temperature_ = fit_temperature(logits.numpy(), codes.numpy())

    def _get_predict_nonlinearity(self) -> Callable:
        nonlinearity = super()._get_predict_nonlinearity()
        temperature = self.__dict__.get("temperature_", 1.0)
        if temperature == 1.0:
            return nonlinearity
        return lambda logits: nonlinearity(logits / temperature)

    # How alike samples are to the training set --------------------------------------

    def _rows_to_keep(self, dataset: Any, n_wanted: int) -> np.ndarray:
        least = _LEAST_KEPT_PER_CLASS * len(self.classes_inferred_)
        n_kept = min(max(least, n_wanted), MOST_KEPT)
        return rows_of_all_classes(_codes_of(dataset), len(dataset), n_kept)

    def _check_has_score(self) -> None:
        has_features = hasattr(self.module_, "forward_features")
        has_logits = isinstance(self.criterion_, torch.nn.CrossEntropyLoss)
        if not has_features and not has_logits:
            raise ValueError(
                "score_samples needs features or logits: a module with a method "
                "forward_features, trained by fit, or criterion="
                f"torch.nn.CrossEntropyLoss; but {type(self.module_).__name__} has no "
                f"features of training samples, and criterion={self.criterion!r}."
            )

    # Predicting ---------------------------------------------------------------------

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes), float32
            One column a class, in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized.
        ValueError
            If X has another shape than in ``fit``, or holds NaN or infinity, or if the
            module's outputs do not match the classes.
        """
        self.check_is_fitted()
        probability = self._predict_outputs(X)
        if hasattr(self, "classes_") and probability.shape[1:] != self.classes_.shape:
            raise ValueError(
                f"The module gives outputs of shape {probability.shape[1:]} for "
                f"{len(self.classes_)} classes. Give it one output a class, or name "
                "all classes with the parameter classes."
            )
        self._warn_of_novelty(X, ", and RejectingClassifier rejects such samples")
        return probability

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy of the predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.
        y : array-like of shape (n_samples,)
            The true labels; bytes count as text, as in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        accuracy : float
            The part of the samples that is classified correctly.

        Raises
        ------
        ValueError
            If labels are missing.
        """
        return score_plain(super().score, X, plain_labels(y), sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels; after ``initialize`` alone the columns' numbers.

        Raises
        ------
        NotFittedError
            If the net is neither fitted nor initialized, or if its weights are from a
            file without labels, and `classes` does not name them.
        """
        codes = self.predict_proba(X).argmax(axis=1)
        if hasattr(self, "classes_"):
            return self.classes_[codes]
        if self._has_weights_alone:
            raise NotFittedError(
                f"This {type(self).__name__} has weights from a file that holds no "
                "labels. Name them, in their sorted order, by set_params(classes=[...])"
                ", or load a file that save_params wrote after fit."
            )
        return codes


def _are_codes(y: np.ndarray, classes: Any) -> bool:
    """Tell whether y holds numbers of classes whose names are text."""
    names = np.asarray(classes)
    is_text = names.dtype.kind in "US"
    if not is_text or y.dtype.kind not in "iu" or not len(y):
        return False
    return bool(y.min() >= 0 and y.max() < len(names))


def fit_temperature(logits: np.ndarray, codes: np.ndarray) -> float:
    """Find the temperature by which to divide logits, from samples kept apart.

    The log loss is minimized [1]_, with a normal prior of the temperature's logarithm
    about zero. Where all of a few samples are classified correctly, the loss alone
    would ask for certainty, and one error too many for much doubt; a few hundred
    samples outweigh the prior.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_classes)
        Outputs of the network.
    codes : ndarray of shape (n_samples,)
        The columns of the true classes.

    Returns
    -------
    temperature : float
        Above 1 where the network is too confident; 1 where logits are not finite.

    Raises
    ------
    ValueError
        If a code is no column of the logits.

    References
    ----------
    .. [1] Guo, C. et al. (2017). "On calibration of modern neural networks". ICML.
           https://arxiv.org/abs/1706.04599

    Examples
    --------
    >>> import numpy as np
    >>> from skastro.base import fit_temperature
    >>> logits = np.repeat([[8.0, 0.0]], 10_000, axis=0)
    >>> temperature = fit_temperature(logits, np.repeat([0, 1], [9000, 1000]))
    >>> probability = 1 / (1 + np.exp(-8 / temperature))
    >>> print(f"{probability:.2f}")
    0.90
    """
    logits = plain_array(logits, "logits").astype(np.float64)
    codes = plain_array(codes, "codes")
    check_consistent_length(logits, codes)
    if logits.ndim != 2 or not np.isin(codes, range(logits.shape[1])).all():
        raise ValueError(
            "codes must be columns of logits (n_samples, n_classes), but logits have "
            f"the shape {logits.shape} and codes the values {np.unique(codes)}."
        )
    codes = codes.astype(np.intp)
    if not np.isfinite(logits).all():
        return 1.0
    rows = np.arange(len(logits))

    def loss(log_temperature: float) -> float:
        log_probability = log_softmax(logits * math.exp(-log_temperature), axis=1)
        prior = 0.5 * (log_temperature / _PRIOR_WIDTH) ** 2
        return prior - float(log_probability[rows, codes].sum())

    found = minimize_scalar(loss, bounds=_BOUNDS, method="bounded")
    return math.exp(found.x)


def _targets_in(dataset: Any) -> np.ndarray | None:
    """Find the targets of a data set in its attributes, if it has any."""
    try:
        y = to_numpy(data_from_dataset(dataset)[1])
    except (AttributeError, TypeError):
        return None
    # A data set may make other targets of its attribute y.
    ends = {0, len(dataset) - 1}
    is_target = len(y) == len(dataset) and all(y[i] == dataset[i][1] for i in ends)
    return y if is_target else None


def _codes_of(dataset: Any) -> np.ndarray | None:
    """Find the encoded targets of a data set made from arrays."""
    source = find_source(dataset)
    if source is None or source.y is None:
        return None
    codes = source.y if source.rows is None else source.y[source.rows]
    return codes.numpy()


def rows_of_all_classes(
    codes: np.ndarray | None, n_samples: int, n_wanted: int
) -> np.ndarray:
    """Choose rows, spread over the data set, and equally many of each class."""
    if n_samples <= n_wanted:
        return np.arange(n_samples)
    if codes is None:
        return spread_rows(np.arange(n_samples), n_wanted)
    present, counts = np.unique(codes, return_counts=True)
    # What rare classes leave free goes to the others.
    chosen, n_left = [], n_wanted
    for n_done, place in enumerate(np.argsort(counts, kind="stable")):
        share = n_left // (len(present) - n_done)
        chosen.append(spread_rows(np.flatnonzero(codes == present[place]), share))
        n_left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))
