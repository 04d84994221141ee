# SPDX-License-Identifier: BSD-3-Clause
"""The multi-layer perceptron."""

from collections.abc import Iterable, Sequence
from math import prod

from torch import Tensor, nn

from skastro.networks.layers import BatchNorm1d, Dropout, Head, check_dropout
from skastro.networks.registry import register
from skastro.utils import check_count, check_each, check_option

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


@register("mlp", ndim=1)
@register("mlp", ndim=2)
class MLP(nn.Module):
    """Multi-layer perceptron on flattened spectra or images.

    Parameters
    ----------
    input_size : int or sequence of int
        Length of the spectra, or height and width of the images.
    n_outputs : int
        Outputs: classes, or numbers to regress.
    n_channels : int, default=1
        Channels of the input.
    hidden : sequence of int, default=(128,)
        Units of each hidden layer. Empty for a linear model.
    activation : {"relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"}, \
            default="relu"
        Function after each hidden layer.
    batch_norm : bool, default=False
        Normalize each hidden layer before its activation.
    dropout : float, default=0.0
        Probability with which a hidden unit is zeroed in training.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer.

    Notes
    -----
    The default on 69 x 69 pixels of three channels and 10 classes has 1 829 642
    parameters: the usual baseline for Galaxy10.

    The network does not apply softmax; the criterion does.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import MLP
    >>> network = MLP(input_size=(69, 69), n_outputs=10, n_channels=3)
    >>> network(torch.zeros(4, 3, 69, 69)).shape
    torch.Size([4, 10])
    """

    def __init__(
        self,
        input_size: int | Sequence[int],
        n_outputs: int,
        n_channels: int = 1,
        *,
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(input_size, Iterable):
            sizes = check_each(input_size, "input_size", min_size=1)
        else:
            sizes = (check_count(input_size, "input_size"),)
        check_count(n_outputs, "n_outputs")
        check_count(n_channels, "n_channels")
        check_option(activation, "activation", _ACTIVATIONS)
        check_dropout(dropout)
        hidden = check_each(hidden, "hidden")

        layers: list[nn.Module] = [nn.Flatten()]
        n_features = n_channels * prod(sizes)
        for n_units in hidden:
            layers.append(nn.Linear(n_features, n_units))
            if batch_norm:
                layers.append(BatchNorm1d(n_units))
            layers += [_ACTIVATIONS[activation](), Dropout(dropout)]
            n_features = n_units
        self.hidden = nn.Sequential(*layers)
        self.fc = Head(n_features, n_outputs)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the values of the last hidden layer.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length), \
                (batch, n_channels, height, width) or (batch, n_features)
            Spectra, images, or either of them flattened.

        Returns
        -------
        Tensor of shape (batch, n_units)
            One value for each unit. These features have no pixel axis.
        """
        return self.hidden(x)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length), \
                (batch, n_channels, height, width) or (batch, n_features)
            Spectra, images, or either of them flattened.

        Returns
        -------
        Tensor of shape (batch, n_outputs)
            Logits, or the numbers regressed.
        """
        return self.fc(self.forward_features(x))
