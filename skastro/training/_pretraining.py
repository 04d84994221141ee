# SPDX-License-Identifier: BSD-3-Clause
"""Greedy pretraining, which turns a perceptron into a deep belief network."""

from typing import Any

import torch
from sklearn.neural_network import BernoulliRBM
from skorch.callbacks import Callback
from skorch.dataset import unpack_data
from torch import nn

from skastro.training._batches import separate_weight
from skastro.utils import own_generator, progress_bar

# Layers that the hidden part of a perceptron may have: the units of a Boltzmann machine
# are sigmoids of a linear map.
_UNDERSTOOD = (nn.Flatten, nn.Linear, nn.Sigmoid, nn.Dropout)


class GreedyPretraining(Callback):
    """Start the hidden layers from restricted Boltzmann machines, layer by layer.

    Before the first epoch each hidden layer in turn is trained, without labels, as a
    :class:`sklearn.neural_network.BernoulliRBM` on the output of the layers below. The
    epochs that follow fine-tune all layers together. The result is a deep belief
    network [1]_.

    The machines read the same batches as the network: training samples only, sampled as
    ``sampler`` asks, in streamed blocks if the data are on disk. ``augment`` does not
    apply to them.

    Parameters
    ----------
    n_iter : int, default=10
        Passes over the training samples for each layer.
    learning_rate : float, default=0.1
        Learning rate of the Boltzmann machines.

    Raises
    ------
    TypeError
        When the training begins, if the network is not ``module="mlp"`` with
        ``module__activation="sigmoid"`` and without batch norm.
    ValueError
        If X is not between 0 and 1, as visible units are.

    References
    ----------
    .. [1] Hinton, G. E., Osindero, S. and Teh, Y.-W. (2006). "A fast learning algorithm
           for deep belief nets". Neural Computation 18(7), 1527-1554,
           doi:10.1162/neco.2006.18.7.1527.

    Examples
    --------
    >>> from skastro import SpectrumClassifier
    >>> from skastro.training import GreedyPretraining
    >>> clf = SpectrumClassifier(
    ...     "mlp",
    ...     module__hidden=(64, 16),
    ...     module__activation="sigmoid",
    ...     callbacks=[("pretraining", GreedyPretraining)],
    ...     callbacks__pretraining__n_iter=5,
    ... )
    """

    def __init__(self, n_iter: int = 10, learning_rate: float = 0.1) -> None:
        self.n_iter = n_iter
        self.learning_rate = learning_rate

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Pretrain before the first epoch of a new network."""
        if len(net.history) > 1:
            return
        hidden = getattr(net.module_, "hidden", None)
        if not isinstance(hidden, nn.Sequential) or not all(
            isinstance(layer, _UNDERSTOOD) for layer in hidden
        ):
            raise TypeError(
                "GreedyPretraining needs module='mlp' with module__activation="
                "'sigmoid' and module__batch_norm=False, but the network is "
                f"{type(net.module_).__name__} with the hidden layers {hidden!r}."
            )
        layers = [layer for layer in hidden if isinstance(layer, nn.Linear)]
        with progress_bar(
            total=len(layers) * self.n_iter,
            desc="Pretraining",
            unit="pass",
            disable=not net.verbose,
            leave=False,
        ) as bar:
            for depth, layer in enumerate(layers):
                machine = self._machine(net, layer, len(dataset_train))
                for _step in range(self.n_iter):
                    for batch in net.get_iterator(dataset_train, training=True):
                        units = _units(unpack_data(batch)[0], layers[:depth])
                        # The number of its chains is that of samples in a full batch.
                        if len(units) == machine.batch_size:
                            machine.partial_fit(units.cpu().numpy())
                    bar.update()
                if self.n_iter:
                    _copy(machine, layer)

    def _machine(self, net: Any, layer: nn.Linear, n_samples: int) -> BernoulliRBM:
        batch_size = net.batch_size if net.batch_size > 0 else n_samples
        return BernoulliRBM(
            layer.out_features,
            learning_rate=self.learning_rate,
            batch_size=min(batch_size, n_samples),
            random_state=int(torch.randint(2**31 - 1, (), generator=own_generator())),
        )


@torch.no_grad()
def _units(X: Any, layers: list[nn.Linear]) -> torch.Tensor:
    """Compute the output of the layers below for a batch."""
    units = separate_weight(X)[0].flatten(1)
    if not layers and not (0 <= units.min() and units.max() <= 1):
        raise ValueError(
            "The visible units of a Boltzmann machine lie between 0 and 1, but X has "
            f"values from {units.min():.3g} to {units.max():.3g}; put MinMaxSpectra() "
            "before the network in a pipeline."
        )
    for layer in layers:
        units = torch.sigmoid(layer(units.to(layer.weight)))
    return units


@torch.no_grad()
def _copy(machine: BernoulliRBM, layer: nn.Linear) -> None:
    """Write a machine's weights into a layer."""
    layer.weight.copy_(torch.from_numpy(machine.components_))
    layer.bias.copy_(torch.from_numpy(machine.intercept_hidden_))
