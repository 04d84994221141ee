# SPDX-License-Identifier: BSD-3-Clause
"""Residual networks, one definition for spectra and images."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from skastro.networks.layers import (
    BATCH_NORM,
    CONVOLUTION,
    MAX_POOL,
    ConvolutionalLayers,
    Dropout,
    Head,
    check_dropout,
    check_kernel_size,
    convolve_and_normalize,
    enter_maps,
    global_average,
    leave_maps,
)
from skastro.networks.registry import register
from skastro.utils import check_count, check_each, check_option

# Kernel size and stride of the first convolution, and whether a max-pool follows. None
# stands for the kernel size of the blocks.
_STEMS = {
    "imagenet": (7, 2, True),
    "stride2": (7, 2, False),
    "stride1": (None, 1, False),
    "stride4": (15, 4, True),
}


class _Block(nn.Module):
    """A residual block: convolutions, and the shortcut around them."""

    expansion: int

    def __init__(self, ndim: int, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = ConvolutionalLayers(
                CONVOLUTION[ndim](in_channels, out_channels, 1, stride=stride),
                BATCH_NORM[ndim](out_channels),
            )

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the shortcut, which is added to the result of the convolutions."""
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(_Block):
    """Two convolutions of the same width; the block of ResNet-18 and ResNet-34."""

    expansion = 1

    def __init__(
        self, ndim: int, in_channels: int, channels: int, kernel_size: int, stride: int
    ) -> None:
        super().__init__(ndim, in_channels, channels, stride)
        conv, norm = CONVOLUTION[ndim], BATCH_NORM[ndim]
        self.conv1 = conv(in_channels, channels, kernel_size, stride=stride)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, kernel_size)
        self.bn2 = norm(channels)

    @property
    def last_norm(self) -> nn.Module:
        """The batch norm before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, ...)`` to ``(batch, channels, ...)``."""
        maps = convolve_and_normalize(x, self.conv1, self.bn1, self.relu)
        return convolve_and_normalize(
            maps, self.conv2, self.bn2, self.relu, self.shortcut(x)
        )


class Bottleneck(_Block):
    """A wide convolution between two of width 1; the block of ResNet-50 and ResNet-101.

    The stride is in the middle convolution, as in torchvision ("v1.5"); in the paper it
    is in the first.
    """

    expansion = 4

    def __init__(
        self, ndim: int, in_channels: int, channels: int, kernel_size: int, stride: int
    ) -> None:
        super().__init__(ndim, in_channels, channels, stride)
        conv, norm = CONVOLUTION[ndim], BATCH_NORM[ndim]
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, kernel_size, stride=stride)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, channels * self.expansion, 1)
        self.bn3 = norm(channels * self.expansion)

    @property
    def last_norm(self) -> nn.Module:
        """The batch norm before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, ...)`` to ``(batch, 4 * channels, ...)``."""
        maps = convolve_and_normalize(x, self.conv1, self.bn1, self.relu)
        maps = convolve_and_normalize(maps, self.conv2, self.bn2, self.relu)
        return convolve_and_normalize(
            maps, self.conv3, self.bn3, self.relu, self.shortcut(x)
        )


_BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(nn.Module):
    """Residual network [1]_ for spectra or images.

    A first convolution (the stem), stages of residual blocks, global average pooling
    and a linear layer. Each stage but the first halves the length and doubles the
    width. Any length, height and width of at least 1 will do.

    Parameters have torchvision's names (``conv1``, ``layer1.0.bn2``, ``fc``, ...) and,
    for images, its shapes, so that its checkpoints load.

    Parameters
    ----------
    n_channels : int
        Channels of the input.
    n_outputs : int
        Outputs: classes, or numbers to regress.
    ndim : {1, 2}, default=1
        1 for spectra, 2 for images.
    block : {"basic", "bottleneck"}, default="basic"
        Kind of residual block: two convolutions of `kernel_size`, or one between two
        of width 1, which quadruples the feature maps.
    n_blocks : sequence of int, default=(2, 2, 2, 2)
        Blocks in each stage; the default makes ResNet-18.
    width : int, default=64
        Feature maps of the stem and of the first stage.
    stem : {"imagenet", "stride2", "stride1", "stride4"}, default="imagenet"
        The first convolution. ``"imagenet"``: width 7, stride 2, then a max-pool of
        width 3, stride 2, as in the paper; ``"stride2"``: the same without max-pool;
        ``"stride1"``: width `kernel_size`, stride 1, no max-pool, which keeps the
        full resolution at four times the cost of ``"imagenet"`` in 1-D, sixteen times
        in 2-D; ``"stride4"``: width 15, stride 4, then the max-pool, for spectra of
        thousands of samples.
    kernel_size : int, default=3
        Odd width of the kernels in the blocks.
    dropout : float, default=0.0
        Probability with which a feature is zeroed before the last layer in training.
    zero_init_residual : bool, default=False
        Start with the last batch norm of each block at zero [2]_, so that each block
        begins as identity.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer; its ``weight`` has shape ``(n_outputs, n_features)``, where
        `n_features` is the number of feature maps.

    Notes
    -----
    Convolutions start from a normal distribution of variance 2 / (fan-out) [3]_, batch
    norms as identity. The stride of a bottleneck is in its wide convolution, as in
    torchvision.

    The network does not apply softmax; the criterion does.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image
       Recognition", CVPR 2016, doi:10.1109/CVPR.2016.90.
    .. [2] P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, arXiv:1706.02677,
       section 5.1.
    .. [3] K. He, X. Zhang, S. Ren, J. Sun, "Delving Deep into Rectifiers", ICCV 2015,
       doi:10.1109/ICCV.2015.123.

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import ResNet
    >>> network = ResNet(n_channels=1, n_outputs=3, width=8)
    >>> network(torch.zeros(4, 1, 3000)).shape
    torch.Size([4, 3])
    >>> network.forward_features(torch.zeros(4, 1, 3000)).shape
    torch.Size([4, 64, 94])
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        *,
        ndim: int = 1,
        block: str = "basic",
        n_blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        stem: str = "imagenet",
        kernel_size: int = 3,
        dropout: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        check_count(n_channels, "n_channels")
        check_count(n_outputs, "n_outputs")
        check_option(ndim, "ndim", (1, 2))
        check_option(block, "block", _BLOCKS)
        check_option(stem, "stem", _STEMS)
        check_count(width, "width")
        check_kernel_size(kernel_size, "kernel_size")
        check_dropout(dropout)
        n_blocks = check_each(n_blocks, "n_blocks", min_size=1)

        self.ndim = ndim
        self.n_stages = len(n_blocks)
        stem_kernel_size, stem_stride, pooled = _STEMS[stem]
        self.conv1 = CONVOLUTION[ndim](
            n_channels, width, stem_kernel_size or kernel_size, stride=stem_stride
        )
        self.bn1 = BATCH_NORM[ndim](width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = MAX_POOL[ndim](3, stride=2) if pooled else nn.Identity()

        block_class = _BLOCKS[block]
        in_channels = width
        for stage, count in enumerate(n_blocks):
            channels = width * 2**stage
            blocks = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(
                    block_class(ndim, in_channels, channels, kernel_size, stride)
                )
                in_channels = channels * block_class.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

        self.dropout = Dropout(dropout)
        self.fc = Head(in_channels, n_outputs)
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )
            elif zero_init_residual and isinstance(module, _Block):
                nn.init.zeros_(module.last_norm.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the feature maps before pooling.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            Spectra (`ndim` 1) or images (`ndim` 2).

        Returns
        -------
        Tensor of shape (batch, n_features, length') or \
                (batch, n_features, height', width')
            The maps, never negative, shorter by the product of all strides.
        """
        maps = enter_maps(x, self.ndim)
        maps = convolve_and_normalize(maps, self.conv1, self.bn1, self.relu)
        maps = self.maxpool(maps)
        for stage in range(self.n_stages):
            maps = self.get_submodule(f"layer{stage + 1}")(maps)
        return leave_maps(maps, self.ndim)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length) or \
                (batch, n_channels, height, width)
            Spectra (`ndim` 1) or images (`ndim` 2).

        Returns
        -------
        Tensor of shape (batch, n_outputs)
            Logits, or the numbers regressed.
        """
        features = global_average(self.forward_features(x), self.fc.weight.dtype)
        return self.fc(self.dropout(features))


for _name, _block, _n_blocks in (
    ("resnet18", "basic", (2, 2, 2, 2)),
    ("resnet34", "basic", (3, 4, 6, 3)),
    ("resnet50", "bottleneck", (3, 4, 6, 3)),
    ("resnet101", "bottleneck", (3, 4, 23, 3)),
):
    for _ndim in (1, 2):
        register(_name, _ndim)(
            partial(ResNet, ndim=_ndim, block=_block, n_blocks=_n_blocks)
        )
_SMALL: dict[str, Any] = {
    "block": "basic",
    "n_blocks": (1, 1, 1, 1),
    "width": 32,
    "dropout": 0.5,
}
# Few wide kernels were measured to learn more from a few hundred spectra, and faster,
# than many narrow ones.
register("resnet10", 1)(
    partial(ResNet, ndim=1, kernel_size=7, stem="stride4", **_SMALL)
)
# The arms of galaxies of a few dozen pixels are resolved only if the first stage reads
# every second pixel. A thousand images are too few for more layers.
register("resnet10", 2)(partial(ResNet, ndim=2, stem="stride2", **_SMALL))
