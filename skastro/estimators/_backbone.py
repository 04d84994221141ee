# SPDX-License-Identifier: BSD-3-Clause
"""Starting from trained weights, and training them at a rate of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any, ClassVar, Self

from skorch import NeuralNet
from torch import nn

from skastro._compat import Interval, is_normalization
from skastro.estimators._checkpoint import find_head, load_all_but_head, read_weights


class Backbone(NeuralNet):
    """Mixin over the strict net: parameters ``backbone`` and ``backbone_lr``.

    It stands to the left of the strict net. The backbone is the network without its
    last layer, the head.
    """

    initialized_: bool
    _backbone_constraints: ClassVar[dict] = {
        "backbone": [None, str, os.PathLike],
        "backbone_lr": [None, Interval(Real, 0, None, closed="left")],
    }

    def load_backbone(self, path: str | os.PathLike) -> Self:
        """Let the following ``fit`` start from the weights of a trained network.

        It is the same as ``set_params(backbone=path)``, but for the file, which is
        read here at once, so that one that is missing or damaged shows early.

        Parameters
        ----------
        path : str or path-like
            A file of weights, see the parameter ``backbone``.

        Returns
        -------
        self : object
            The estimator, which is to be fitted, also where it was before.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file cannot be read or holds something else. Whether the weights
            fit the network shows in ``fit``, before the training.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from skastro import GalaxyClassifier
        >>> from skastro.networks import get_module
        >>> trained = get_module("resnet18", ndim=2)(n_channels=3, n_outputs=1000)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "resnet18.pth"
        ...     torch.save(trained.state_dict(), path)
        ...     clf = GalaxyClassifier("resnet18").load_backbone(path)
        >>> clf.backbone.name
        'resnet18.pth'
        """
        read_weights(path)
        return self.set_params(backbone=path)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the parts included.

        On an initialized net new parameters of the module, the criterion or the
        callbacks build that part anew at once, as in skorch; so does a new
        ``backbone_lr`` with the optimizer. A new ``backbone`` is loaded by the next
        ``fit`` or ``partial_fit``, even of an estimator with ``warm_start``.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        super().set_params(**params)
        if self.initialized_ and "backbone" in params:
            self.initialized_ = False
        elif self.initialized_ and "backbone_lr" in params:
            self._initialize_optimizer()
        return self

    def initialize_module(self) -> Self:
        """Build the module, with the weights of the backbone where there is one.

        Returns
        -------
        self : object
            The estimator.
        """
        super().initialize_module()
        if self.backbone is not None:
            weights = read_weights(self.backbone)
            load_all_but_head(self.module_, weights, self.backbone, self._module_ndim)
        return self

    # The rate of the backbone ---------------------------------------------------------

    def _backbone_weights(self) -> dict[str, nn.Parameter]:
        name, _ = find_head(self.module_)
        return {
            key: weight
            for key, weight in self.module_.named_parameters()
            if not key.startswith(name + ".")
        }

    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> tuple:
        """Collect the parameters of an optimizer; the backbone is a group of its own.

        Parameters
        ----------
        prefix : str
            The optimizer's name.
        named_parameters : iterable of (str, Parameter)
            What it optimizes.

        Returns
        -------
        args, kwargs : tuple
            Arguments of the optimizer's ``__init__``.

        Raises
        ------
        ValueError
            If groups are given besides ``backbone_lr``.
        """
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if prefix != "optimizer" or self.backbone_lr is None:
            return args, kwargs
        if "param_groups" in self.get_params_for(prefix):
            raise ValueError(
                "Both backbone_lr and optimizer__param_groups set learning rates; give "
                "one of them."
            )
        (group,) = args[0]
        slow = {id(weight) for weight in self._backbone_weights().values()}
        # The head stands first: the history records the rate of the first group.
        head = [weight for weight in group["params"] if id(weight) not in slow]
        backbone = [weight for weight in group["params"] if id(weight) in slow]
        groups = [{"params": head}, {"params": backbone, "lr": self.backbone_lr}]
        return (groups, *args[1:]), kwargs

    @property
    def _is_frozen(self) -> bool:
        return self.backbone_lr is not None and self.backbone_lr == 0

    def on_train_begin(
        self, net: Any, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        """Set the backbone's rate, and freeze it where that is 0.

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
        super().on_train_begin(net, X, y, **kwargs)
        # A copy that was pickled in the middle of a training is still frozen.
        self._thaw()
        if self.backbone_lr is not None:
            # set_params(lr=...) on an initialized net sets the rate of all groups.
            self.optimizer_.param_groups[-1]["lr"] = self.backbone_lr
        if self._is_frozen:
            weights = self._backbone_weights()
            self._frozen = [k for k, weight in weights.items() if weight.requires_grad]
            for name in self._frozen:
                weights[name].requires_grad_(False)

    @contextmanager
    def _while_training(self) -> Iterator[None]:
        """Thaw what the training has frozen, however it ends."""
        try:
            with super()._while_training():
                yield
        finally:
            self._thaw()

    def _thaw(self) -> None:
        for name in self.__dict__.pop("_frozen", ()):
            self.module_.get_parameter(name).requires_grad_(True)

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        if training and self._is_frozen:
            # Running means and variances are as much part of the backbone as weights.
            for layer in self.module_.modules():
                if is_normalization(layer):
                    layer.eval()
