# SPDX-License-Identifier: BSD-3-Clause
"""The base of transformers: samples in, features out, no target."""

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from skorch.dataset import unpack_data

from skastro.base._net import BaseNet


class BaseTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseNet):
    """The base of transformers, which are fitted without a target.

    A class that derives from it writes ``transform`` and has ``_n_features_out`` once
    fitted; the columns' names and ``set_output`` follow from these. Its ``get_loss``
    compares the module's output with X, since there is no target.

    Parameters
    ----------
    module : str, torch.nn.Module class or instance
        The network.
    criterion : str or class
        The loss.

    Examples
    --------
    An autoencoder of one layer, whose features are projections of the spectra:

    >>> import numpy as np
    >>> from torch import nn
    >>> from skastro.base import BaseTransformer
    >>> class Projection(BaseTransformer):
    ...     def __init__(self, module, criterion=nn.MSELoss, **kwargs):
    ...         super().__init__(module, criterion, **kwargs)
    ...
    ...     def get_loss(self, y_pred, y_true, X=None, **kwargs):
    ...         return super().get_loss(y_pred, self._prepare(X), X=X, **kwargs)
    ...
    ...     def transform(self, X):
    ...         return self._predict_outputs(X, self.module_[0])
    ...
    ...     @property
    ...     def _n_features_out(self):
    ...         return self.module_[0].out_features
    >>> X = np.random.default_rng(0).normal(size=(40, 30)).astype("float32")
    >>> module = nn.Sequential(nn.Linear(30, 3), nn.Linear(3, 30))
    >>> net = Projection(module, max_epochs=2, verbose=0)
    >>> net.fit_transform(X).shape
    (40, 3)
    >>> net.get_feature_names_out().tolist()
    ['projection0', 'projection1', 'projection2']
    """

    _is_measurement = True
    _has_outputs = False

    @property
    def predict(self) -> Any:
        """Absent: there is no target to predict."""
        raise AttributeError(f"{type(self).__name__} has no predict, but transform.")

    @property
    def predict_proba(self) -> Any:
        """Absent: there are no classes."""
        raise AttributeError(f"{type(self).__name__} has no predict_proba.")

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit the network; with ``warm_start`` and an initialized net, train it on.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input. A data set, of pairs whose second part is not looked at, is
            passed on to skorch as it is.
        y : None
            Ignored; here for pipelines.
        **fit_params : dict
            ``sample_weight``, array-like of shape (n_samples,): weights in the loss, on
            training and validation samples alike; samples of weight zero are left
            out.
            ``groups``, array-like of shape (n_samples,): what each sample belongs to;
            all samples of a group are on one side of the validation split.
            All others go to the module's ``forward``, as in skorch.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, None, **fit_params)

    # skorch declares for metadata routing that there are classes, which are not routed.
    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> Self:
        """Train for another ``max_epochs`` epochs without starting anew.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or torch.utils.data.Dataset
            The input.
        y, classes : None
            Ignored; here for pipelines, and for skorch.
        **fit_params : dict
            As in ``fit``.

        Returns
        -------
        self : object
            The estimator.
        """
        return super().partial_fit(X, None, **fit_params)

    def _predict_batches(
        self, X: Any, function: Callable, *, check: bool
    ) -> Iterator[torch.Tensor]:
        """Yield a function of batch after batch, each as the module takes it."""

        def step(part: Any) -> torch.Tensor:
            X, _ = unpack_data(part)
            with torch.no_grad():
                self._set_training(False)
                batch = self._prepare(X)
                with self._autocast(self._torch_device, batch[0].numel()):
                    return function(batch).float()

        yield from self._run_batches(step, X, check=check)

    def __sklearn_tags__(self) -> Tags:
        """Say that features are float32, whatever the samples are."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
