# SPDX-License-Identifier: BSD-3-Clause
"""The strict net's side for classifiers: labels in, labels out."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from skorch.utils import data_from_dataset, to_numpy

from skastro.base._calibration import Calibration
from skastro.base._likeness import Likeness
from skastro.base._net import StrictNet
from skastro.utils import name_rows

# What is learnt from the predictions of a trained module.
_OF_THE_WEIGHTS = ("temperature_", "training_features_")


class StrictClassifier(Calibration, Likeness, StrictNet):
    """Classifiers: labels of any type, encoded for the criterion and decoded again.

    Stands to the left of :class:`skorch.NeuralNetClassifier`. While a training runs,
    callbacks see what the module sees, the encoded targets 0 to n_classes - 1, and so
    do ``predict`` and ``classes_`` as far as callbacks call them.
    """

    _stratify = True
    # Of a growing confidence the loss suffers long before the classes do.
    _monitored: ClassVar = {
        "monitor": "valid_acc",
        "lower_is_better": False,
        "start": 0.75,
    }

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, sorted; the columns of ``predict_proba``."""
        if "classes_inferred_" not in vars(self):
            if self.classes is None:
                raise AttributeError(
                    f"{type(self).__name__} learns classes_ in fit; give classes=... "
                    "to use it before."
                )
            return np.unique(self.classes)
        labels = self.classes_inferred_
        return np.arange(len(labels)) if self._is_training() else labels

    def check_data(self, X: Any, y: Any) -> None:
        """Do nothing: the data were checked before the training began.

        Parameters
        ----------
        X : array or dataset
            The input.
        y : array
            The encoded target.
        """

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> np.ndarray:
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        if reset:
            given = self.classes if classes is None else classes
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

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        super()._inspect_dataset(dataset, y)
        if self.classes is not None:
            self.classes_inferred_ = np.unique(self.classes)
            return
        if y is None:
            try:
                y = data_from_dataset(dataset)[1]
            except AttributeError:
                y = None
        if y is None:
            raise ValueError(
                "The classes cannot be read off this data set; name them with the "
                "parameter classes, in the order of the encoded targets."
            )
        self.classes_inferred_ = np.arange(int(to_numpy(y).max()) + 1)

    def _infer_output_size(self, y: Any) -> dict[str, int]:
        return {"n_outputs": len(self.classes_inferred_)}

    def _class_weight_per_sample(self, y: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        return compute_sample_weight(self.class_weight, self.classes_inferred_[y])

    # After the training --------------------------------------------------------------

    def _validate_params(self) -> None:
        super()._validate_params()
        self._check_can_calibrate()

    def initialize_module(self) -> Self:
        """Build the module, of which nothing is known yet.

        Returns
        -------
        self : object
            The estimator.
        """
        for name in _OF_THE_WEIGHTS:
            vars(self).pop(name, None)
        return super().initialize_module()

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call a method of the net and of every callback.

        Parameters
        ----------
        method_name : str
            Such as ``"on_batch_end"``.
        **kwargs : dict
            Its arguments.
        """
        if method_name == "on_train_begin":
            for name in _OF_THE_WEIGHTS:
                vars(self).pop(name, None)
            self._first_epoch = len(self.history)
        super().notify(method_name, **kwargs)

    def _after_training(self, train: Any, valid: Any) -> None:
        self._calibrate(valid)
        self._learn_features(train, len(self.history) - self._first_epoch)

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
        return probability

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input, in the shape it had in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels; after ``initialize`` and ``load_params`` alone, where the labels
            are not known, the columns' numbers.
        """
        codes = self.predict_proba(X).argmax(axis=1)
        return self.classes_[codes] if hasattr(self, "classes_") else codes
