# SPDX-License-Identifier: BSD-3-Clause
"""The strict net: a skorch net that keeps scikit-learn's contract."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from skorch.utils import is_dataset

from skastro.base._compute import Computing
from skastro.base._contract import ParameterContract
from skastro.base._door import check_weights, check_X_y
from skastro.base._loop import TrainingLoop
from skastro.base._parts import PartsBuilder
from skastro.base._random import draw_seed, torch_generator
from skastro.base._recipes import RecipeMixin
from skastro.training import fast_kernels, forget_placed
from skastro.utils import LazyArray, is_lazy

# Attributes that live as long as a training runs.
_OF_A_TRAINING = (
    "_first_epoch",
    "_listening",
    "_pieces",
    "_split",
    "_terms",
    "_training",
    "_varies_batches",
)


class StrictNet(RecipeMixin, ParameterContract, PartsBuilder, TrainingLoop, Computing):
    """Mixin over :class:`skorch.NeuralNet` that adds scikit-learn's contract.

    A class that derives from it (and, to the right of it, from one of skorch's nets)
    writes its parameters into the signature of its ``__init__`` and hands them over
    with ``self._set_init_params(locals())``. All else is shared:

    - parameters: see ``ParameterContract``;
    - sizes: ``n_channels``, ``n_outputs`` and ``input_size`` are inferred at each fit
      and passed to those modules that take them; they are never written to parameters;
    - data: one validation for ``fit`` and ``predict``, see ``check_X_y``; a torch
      ``Dataset`` is taken as it is;
    - seeds: ``random_state`` governs weights, split, order and dropout, and leaves the
      global generators alone;
    - training: batches by index, schedule, precision, best weights.
    """

    # What kinds of estimators differ in.
    _input_ndims: ClassVar = (2, 3)
    _input_dtypes: ClassVar = (np.float32,)
    _finite_advice = ""
    # Arguments of scikit-learn's validation that concern y.
    _target_checks: ClassVar[dict[str, bool]] = {}

    def _infer_sizes(self, sample_shape: tuple[int, ...]) -> dict[str, Any]:
        """Name the sizes of one sample, as modules take them."""
        if len(sample_shape) == 1:
            return {"n_channels": 1, "input_size": sample_shape[0]}
        return {"n_channels": sample_shape[0], "input_size": sample_shape[1]}

    # Fitting --------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit the network; with ``warm_start`` and an initialized net, train it on.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input. A data set is passed on to skorch as it is.
        y : array-like of shape (n_samples, ...), default=None
            The target; None where X is a data set that holds it.
        **fit_params : dict
            ``sample_weight``, array-like of shape (n_samples,): weights in the loss, on
            training and validation samples alike; samples of weight zero are left
            out. All others go to the module's ``forward``, as in skorch.

        Returns
        -------
        self : object
            The fitted estimator.

        Notes
        -----
        ``sample_weight`` is not in the signature because scikit-learn would take that
        for the promise that a weight of two equals a sample given twice, which holds
        for no network trained on batches. With metadata routing it is requested by
        ``set_fit_request(sample_weight=True)``.
        """
        reset = not (self.warm_start and self.initialized_)
        return self._train(X, y, fit_params, method="fit", reset=reset)

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> Self:
        """Train for another ``max_epochs`` epochs without starting anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input.
        y : array-like of shape (n_samples, ...), default=None
            The target.
        classes : array-like of shape (n_classes,), default=None
            All labels that later calls may bring; at the first call only, and by
            classifiers only.
        **fit_params : dict
            As in ``fit``.

        Returns
        -------
        self : object
            The estimator.
        """
        reset = not hasattr(self, "sample_shape_")
        return self._train(
            X, y, fit_params, method="partial_fit", reset=reset, classes=classes
        )

    def _train(
        self,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        *,
        method: str,
        reset: bool,
        classes: Any = None,
    ) -> Self:
        self._validate_params()
        fit_params = dict(fit_params)
        seed = draw_seed(self.random_state)
        state = None if reset else getattr(self, "_generator_state", None)
        device = torch.device(self.device or "cpu")
        with (
            torch_generator(device, seed, state),
            fast_kernels(device, self.precision, search=True),
        ):
            with self._unchanged_on_error():
                weight = fit_params.pop("sample_weight", None)
                X, y = self._check_training_data(X, y, weight, classes, reset=reset)
                if method == "fit" and reset:
                    # A fresh start: skorch does not announce what it builds anew.
                    self.initialized_ = False
                    self.initialize()
            with self._on_encoded_targets():
                super().partial_fit(X, y, _routing_method=method, **fit_params)
            if seed is not None:
                self._generator_state = torch.get_rng_state()
        return self

    def _check_training_data(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, *, reset: bool
    ) -> tuple[Any, Any]:
        """Validate, learn shapes and labels, and encode for skorch's loop."""
        if not is_dataset(X):
            X, y = check_X_y(self, X, y, reset=reset)
            y = self._encode_target(y, reset=reset, classes=classes)
            X, y = self._attach_weights(X, y, sample_weight)
        elif sample_weight is not None:
            raise ValueError(
                "sample_weight cannot be given beside a data set; give X and y as "
                "arrays."
            )
        elif self.class_weight is not None:
            raise ValueError(
                "class_weight needs X and y as arrays, but X is a data set; give "
                "arrays, or weights to the criterion."
            )
        elif reset:
            self._inspect_dataset(X, y)
        if reset:
            for name in self._learned_from_rows:
                vars(self).pop(name, None)
            self.module_sizes_ = {
                **self._infer_sizes(self.sample_shape_),
                **self._infer_output_size(y),
            }
        return X, y

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave a fitted net as it was where new data or parameters are refused."""
        before = dict(vars(self))
        try:
            yield
        except Exception:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _attach_weights(self, X: np.ndarray, y: Any, sample_weight: Any) -> tuple:
        """Let weights travel with X to the loss, and leave out samples of weight 0."""
        weight = check_weights(sample_weight, X, self._class_weight_per_sample(y))
        if weight is None:
            return X, y
        kept = weight > 0
        if not kept.all():
            X = LazyArray(X)[kept] if is_lazy(X) else X[kept]
            y, weight = None if y is None else y[kept], weight[kept]
        # Of mean 1, so that a weighted loss is as large as an unweighted one and the
        # learning rate keeps its meaning.
        weight = (weight / weight.mean()).astype(np.float32)
        return {"X": X, "sample_weight": weight}, y

    def _inspect_dataset(self, dataset: Any, y: Any) -> None:
        """Learn the shape of a sample from a data set, as ``check_X_y`` does."""
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"A data set needs a length and samples by number, but got "
                f"{type(dataset).__name__}. Give arrays, or arrays on disk, which may "
                "be larger than memory."
            )
        sample = np.asarray(dataset[0][0])
        self.sample_shape_ = sample.shape
        self.n_features_in_ = sample.shape[0] if sample.ndim else 1

    def _encode_target(self, y: Any, *, reset: bool, classes: Any) -> Any:
        """Turn the target into what the criterion takes."""
        return y

    def _class_weight_per_sample(self, y: Any) -> np.ndarray | None:
        return None

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple:
        """Split the data into a training and a validation part.

        Parameters
        ----------
        X : array or dataset
            The input.
        y : array, default=None
            The encoded target.
        **fit_params : dict
            Parameters for the split.

        Returns
        -------
        dataset_train, dataset_valid : datasets
            The parts; the second may be None.
        """
        self._split = super().get_split_datasets(X, y, **fit_params)
        return self._split

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call a method of the net and of every callback.

        Parameters
        ----------
        method_name : str
            Such as ``"on_batch_end"``.
        **kwargs : dict
            Its arguments.
        """
        super().notify(method_name, **kwargs)
        # The callbacks have put the best weights back.
        if method_name == "on_train_end" and "_split" in vars(self):
            self._after_training(*vars(self).pop("_split"))

    def _after_training(self, train: Any, valid: Any) -> None:
        """Measure what the weights make of the samples that they were trained on."""

    def on_train_end(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Warn where the training came to nothing.

        Parameters
        ----------
        net : StrictNet
            The estimator itself.
        X : array or dataset
            The input.
        y : array
            The encoded target.
        **kwargs : dict
            Unused.
        """
        loss = self.history[-1].get("train_loss", 0.0) if self.history else 0.0
        if not math.isfinite(loss):
            warnings.warn(
                f"The training loss of the last epoch is {loss}: the weights diverged. "
                f"Lower lr (it is {self.lr}), scale X, or take precision='float32'.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def __sklearn_tags__(self) -> Tags:
        """Say what input the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = 3 in self._input_ndims
        return tags

    @contextmanager
    def _on_encoded_targets(self) -> Iterator[None]:
        """Mark the time when callbacks compare predictions with encoded targets."""
        self._training = True
        try:
            yield
        finally:
            for name in _OF_A_TRAINING:
                vars(self).pop(name, None)
            forget_placed()

    def _is_training(self) -> bool:
        return "_training" in vars(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what belongs to a running training out of a pickle."""
        state = super().__getstate__()
        transient = {*_OF_A_TRAINING, "_scaler"}
        return {k: v for k, v in state.items() if k not in transient}
