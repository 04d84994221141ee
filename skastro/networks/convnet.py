# SPDX-License-Identifier: BSD-3-Clause
"""A convolutional network that knows at which wavelength a feature is."""

from collections.abc import Sequence

from torch import Tensor, nn

from skastro.networks.layers import (
    BatchNorm1d,
    Conv1d,
    ConvolutionalLayers,
    Dropout,
    Head,
    check_dropout,
    check_kernel_size,
    enter_maps,
    leave_maps,
)
from skastro.networks.registry import register
from skastro.utils import check_count, check_each


@register("convnet", ndim=1)
class ConvNet(nn.Module):
    """Convolutions of stride 2, then a hidden layer that sees each position.

    A residual network averages its feature maps over all pixels, and finds a line
    anywhere. This network keeps the positions, as networks that measure stars do [1]_:
    the same line at two wavelengths means two things.

    Parameters
    ----------
    n_channels : int
        Channels of the input, such as 1 for flux.
    n_outputs : int
        Outputs: classes, or numbers to regress.
    input_size : int
        Pixels of a spectrum.
    widths : sequence of int, default=(16, 32, 32, 64, 64, 64)
        Feature maps of each convolution, which halves the number of pixels.
    kernel_size : int, default=7
        Pixels of each kernel; odd.
    hidden : int, default=128
        Units of the hidden layer.
    dropout : float, default=0.0
        Probability with which an input and an output of the hidden layer is zeroed in
        training.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer.

    Notes
    -----
    The network does not apply softmax; the criterion does.

    References
    ----------
    .. [1] Fabbro, S. et al. (2018). "An application of deep learning in the analysis of
           stellar spectra". MNRAS 475, 2978. https://doi.org/10.1093/mnras/stx3298

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import ConvNet
    >>> network = ConvNet(n_channels=1, n_outputs=3, input_size=3000)
    >>> network(torch.zeros(4, 1, 3000)).shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        input_size: int,
        *,
        widths: Sequence[int] = (16, 32, 32, 64, 64, 64),
        kernel_size: int = 7,
        hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        previous = check_count(n_channels, "n_channels")
        n_pixels = check_count(input_size, "input_size")
        check_count(n_outputs, "n_outputs")
        check_count(hidden, "hidden")
        check_kernel_size(kernel_size, "kernel_size")
        check_dropout(dropout)
        layers: list[nn.Module] = []
        for width in check_each(widths, "widths", min_size=1):
            convolution = Conv1d(previous, width, kernel_size, stride=2)
            layers += [convolution, BatchNorm1d(width), nn.ReLU(inplace=True)]
            previous, n_pixels = width, (n_pixels + 1) // 2
        self.maps = ConvolutionalLayers(*layers)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(previous * n_pixels, hidden),
            nn.ReLU(inplace=True),
            Dropout(dropout),
        )
        self.fc = Head(hidden, n_outputs)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the values of the hidden layer.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length)
            Spectra.

        Returns
        -------
        Tensor of shape (batch, hidden)
            One value for each unit. These features have no pixel axis.
        """
        return self.hidden(leave_maps(self.maps(enter_maps(x, 1)), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length)
            Spectra.

        Returns
        -------
        Tensor of shape (batch, n_outputs)
            Logits, or the numbers regressed.
        """
        return self.fc(self.forward_features(x))
