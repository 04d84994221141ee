# SPDX-License-Identifier: BSD-3-Clause
"""The multi-scale DenseNet with squeeze-and-excitation for spectra."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skastro.networks.layers import (
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Head,
    SqueezeExcitation,
    check_dropout,
    check_kernel_size,
    enter_maps,
    global_average,
    leave_maps,
)
from skastro.networks.registry import register
from skastro.utils import check_count, check_each


def _activation(n_channels: int, reduction: int | None) -> nn.Sequential:
    """Return the layers that precede every convolution on feature maps."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(norm=BatchNorm1d(n_channels))
    if reduction is not None:
        layers["gate"] = SqueezeExcitation(n_channels, reduction)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class MultiScaleConv(nn.Module):
    """Convolutions of several odd widths side by side, mixed by one of width 1.

    Each of the parallel convolutions has `branch_width` feature maps. `reduction` is
    that of the squeeze-and-excitation, which None leaves out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        branch_width: int,
        kernel_sizes: Sequence[int],
        reduction: int | None,
    ) -> None:
        super().__init__()
        n_parallel = branch_width * len(kernel_sizes)
        self.activation1 = _activation(in_channels, reduction)
        self.branches = nn.ModuleList(
            Conv1d(in_channels, branch_width, size) for size in kernel_sizes
        )
        self.activation2 = _activation(n_parallel, reduction)
        self.mix = Conv1d(n_parallel, out_channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(batch, in_channels, ...)`` to ``(batch, out_channels, ...)``."""
        maps = self.activation1(maps)
        parallel = torch.cat([branch(maps) for branch in self.branches], dim=1)
        return self.mix(self.activation2(parallel))


class DenseBlock(nn.ModuleList):
    """Convolutional blocks, each of which reads the input and all blocks before it."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the input and all that the blocks computed, side by side."""
        for block in self:
            maps = torch.cat([maps, block(maps)], dim=1)
        return maps


class Transition(nn.Sequential):
    """Reduce the feature maps by a convolution of width 1, the length by pooling."""

    def __init__(
        self, in_channels: int, out_channels: int, reduction: int | None
    ) -> None:
        super().__init__(
            OrderedDict(
                activation=_activation(in_channels, reduction),
                conv=Conv1d(in_channels, out_channels, 1),
                pool=AvgPool1d(2),
            )
        )


@register("densenet", ndim=1)
class SEDenseNet(nn.Module):
    """Multi-scale DenseNet with squeeze-and-excitation for spectra [1]_.

    The network consists of a first convolution, dense blocks [2]_, global average
    pooling and a linear layer. A transition follows each dense block but the last; it
    reduces the number of feature maps and halves the length. A dense block contains
    convolutional blocks, which run kernels of several widths in parallel, from single
    samples to broad features, and mix them by a convolution of width 1. Batch norm,
    squeeze-and-excitation [3]_ and ReLU, in that order, precede every convolution that
    reads feature maps. Extra transitions skip the dense block between two transitions,
    so that the features of one scale reach the next scale directly.

    The default has the 36 layers of the paper, counted along the deepest path: the
    first convolution, 2 convolutions in each of 2 convolutional blocks in each of 7
    dense blocks, 6 transitions, and the linear layer. Spectra of 2600 samples are 40
    samples long before pooling. Any length of at least 1 will do.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    n_outputs : int
        Outputs: classes, or numbers to regress.
    n_dense_blocks : int, default=7
        Dense blocks, one for each scale.
    n_conv_blocks : int, default=2
        Convolutional blocks in each dense block.
    growth_rate : int, default=12
        Feature maps that each convolutional block adds.
    kernel_sizes : sequence of int, default=(1, 11, 25, 41)
        Odd widths of the parallel convolutions, in samples.
    branch_width : int, default=None
        Feature maps of each of these convolutions; `growth_rate` if None.
    n_initial : int, default=None
        Feature maps of the first convolution; twice `growth_rate` if None.
    initial_kernel_size : int, default=7
        Odd width of the first convolution, in samples.
    compression : float, default=0.5
        Ratio of a transition's output feature maps to its input feature maps.
    reduction : int, default=4
        Ratio of feature maps to hidden units in squeeze-and-excitation.
    squeeze_excitation : bool, default=True
        Whether to use squeeze-and-excitation between batch norm and ReLU.
    extra_transitions : bool, default=True
        Whether extra transitions skip the dense blocks.
    dropout : float, default=0.0
        Probability with which a feature is zeroed before the last layer in training.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer; its ``weight`` has shape ``(n_outputs, n_features)``, where
        `n_features` is the number of feature maps.

    Notes
    -----
    The paper names the order of the layers, the four kernel widths, two convolutional
    blocks to a dense block, and 36 layers. The rest is inferred:

    - 7 dense blocks, since they make 36 layers;
    - growth rate, width of the branches, first convolution and compression: the paper
      gives none. A growth rate of 12, twice the growth rate at the start and
      compression by one half are DenseNet's; 12 is its smallest, chosen because
      kernels of 78 samples in all run at full resolution;
    - the parallel convolutions share one batch norm, squeeze-and-excitation and ReLU,
      because they read the same maps;
    - the first convolution reads the spectrum itself, as in DenseNet: a ReLU would
      drop all values below the mean at once. Also as in DenseNet, an activation
      precedes global pooling;
    - an extra transition reads the output of the previous transition, and its output is
      concatenated with that of the next transition;
    - the reduction of squeeze-and-excitation: 16 in its paper, for networks of more
      than ten times as many feature maps.

    Convolutions start from He's uniform distribution, within ±sqrt(6 / fan-in) [4]_.

    The paper trains with Adam and cross-entropy for 60 epochs, learning rate 0.01,
    divided by ten at epochs 10, 30 and 50, on min-max normalized spectra:
    ``SpectrumClassifier.from_recipe("wang2020")``. The plain DenseNet of 36 layers
    that it compares with has ``kernel_sizes=(3,)``, ``squeeze_excitation=False`` and
    ``extra_transitions=False``.

    The network does not apply softmax; the criterion does.

    References
    ----------
    .. [1] Q. Wang, G. Zhao, Z. Fan, 2020, Astronomical Research and Technology
       17(1), 85-95.
    .. [2] G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, "Densely Connected
       Convolutional Networks", CVPR 2017, doi:10.1109/CVPR.2017.243.
    .. [3] J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
       doi:10.1109/CVPR.2018.00745.
    .. [4] K. He, X. Zhang, S. Ren, J. Sun, "Delving Deep into Rectifiers", ICCV 2015,
       doi:10.1109/ICCV.2015.123.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import SEDenseNet
    >>> network = SEDenseNet(n_channels=1, n_outputs=3, growth_rate=4)
    >>> network(torch.zeros(2, 1, 2600)).shape
    torch.Size([2, 3])
    >>> network.forward_features(torch.zeros(2, 1, 2600)).shape[2]
    40
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        *,
        n_dense_blocks: int = 7,
        n_conv_blocks: int = 2,
        growth_rate: int = 12,
        kernel_sizes: Sequence[int] = (1, 11, 25, 41),
        branch_width: int | None = None,
        n_initial: int | None = None,
        initial_kernel_size: int = 7,
        compression: float = 0.5,
        reduction: int = 4,
        squeeze_excitation: bool = True,
        extra_transitions: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        branch_width = growth_rate if branch_width is None else branch_width
        n_initial = 2 * growth_rate if n_initial is None else n_initial
        for name, value in {
            "n_channels": n_channels,
            "n_outputs": n_outputs,
            "n_dense_blocks": n_dense_blocks,
            "n_conv_blocks": n_conv_blocks,
            "growth_rate": growth_rate,
            "branch_width": branch_width,
            "n_initial": n_initial,
            "reduction": reduction,
        }.items():
            check_count(value, name)
        check_kernel_size(initial_kernel_size, "initial_kernel_size")
        kernel_sizes = check_each(
            kernel_sizes, "kernel_sizes", check_kernel_size, min_size=1
        )
        if not 0 < compression <= 1:
            raise ValueError(
                f"compression must be above 0 and at most 1, but got {compression!r}."
            )
        check_dropout(dropout)

        hidden_over = reduction if squeeze_excitation else None
        self.conv = Conv1d(n_channels, n_initial, initial_kernel_size)
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        self.skips = nn.ModuleList()
        n_maps = n_initial
        n_written = 0
        for scale in range(n_dense_blocks):
            if scale > 0:
                n_skipped = 0
                if scale > 1 and extra_transitions:
                    n_skipped = max(1, int(compression * n_written))
                    self.skips.append(Transition(n_written, n_skipped, hidden_over))
                n_written = max(1, int(compression * n_maps))
                self.transitions.append(Transition(n_maps, n_written, hidden_over))
                n_maps = n_written + n_skipped
            block = DenseBlock()
            for _ in range(n_conv_blocks):
                block.append(
                    MultiScaleConv(
                        n_maps, growth_rate, branch_width, kernel_sizes, hidden_over
                    )
                )
                n_maps += growth_rate
            self.blocks.append(block)
        self.activation = _activation(n_maps, hidden_over)
        self.dropout = Dropout(dropout)
        self.fc = Head(n_maps, n_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the feature maps before pooling.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length)
            Spectra.

        Returns
        -------
        Tensor of shape (batch, n_features, length')
            The maps, never negative; the length is halved ``n_dense_blocks - 1``
            times, rounded down, and is at least 1.
        """
        maps = self.blocks[0](self.conv(enter_maps(x, ndim=1)))
        written = None
        for scale, transition in enumerate(self.transitions):
            skipped: list[Tensor] = []
            if self.skips and written is not None:
                skipped = [self.skips[scale - 1](written)]
            written = transition(maps)
            maps = self.blocks[scale + 1](torch.cat([written, *skipped], dim=1))
        return leave_maps(self.activation(maps), ndim=1)

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
        features = global_average(self.forward_features(x), self.fc.weight.dtype)
        return self.fc(self.dropout(features))
