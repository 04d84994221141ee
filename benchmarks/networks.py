# SPDX-License-Identifier: BSD-3-Clause
"""The networks that the benchmarks train besides skastro's own."""

from collections.abc import Sequence

from torch import Tensor, nn

_CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


class PlainBlock(nn.Module):
    """A residual block of torch's own layers; its convolutions are (size, stride)."""

    def __init__(
        self, ndim: int, channels: Sequence[int], layers: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.n_layers = len(layers)
        stride = 1
        for i, (size, step) in enumerate(layers):
            convolution = _CONVOLUTION[ndim](
                channels[i], channels[i + 1], size, step, size // 2, bias=False
            )
            self.add_module(f"conv{i + 1}", convolution)
            self.add_module(f"bn{i + 1}", _BATCH_NORM[ndim](channels[i + 1]))
            stride *= step
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels[0] != channels[-1]:
            self.downsample = nn.Sequential(
                _CONVOLUTION[ndim](channels[0], channels[-1], 1, stride, bias=False),
                _BATCH_NORM[ndim](channels[-1]),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add the convolutions' result to the input."""
        maps = x
        for i in range(1, self.n_layers + 1):
            maps = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(maps))
            if i < self.n_layers:
                maps = self.relu(maps)
        return self.relu(maps + (x if self.downsample is None else self.downsample(x)))


class PlainResNet(nn.Module):
    """A residual network as people write it: torch's layers in torch's usual layout.

    Parameters have the names and shapes of :class:`skastro.networks.ResNet`, so that
    weights can be copied.

    Parameters
    ----------
    n_channels, n_outputs : int
        Channels of the input, and classes.
    ndim : {1, 2}
        1 for spectra, 2 for images.
    n_blocks : sequence of int
        Blocks in each stage.
    bottleneck : bool
        The blocks of ResNet-50 instead of those of ResNet-18.
    stride1 : bool
        A stem of width 3 and stride 1 without max-pool, instead of the usual one.
    width : int
        Feature maps of the first stage.
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        *,
        ndim: int,
        n_blocks: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        stride1: bool = False,
        width: int = 64,
    ) -> None:
        super().__init__()
        size, stride = (3, 1) if stride1 else (7, 2)
        self.conv1 = _CONVOLUTION[ndim](
            n_channels, width, size, stride, size // 2, bias=False
        )
        self.bn1 = _BATCH_NORM[ndim](width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stride1 else _MAX_POOL[ndim](3, 2, 1)
        self.n_stages = len(n_blocks)
        maps = width
        for stage, count in enumerate(n_blocks):
            narrow, blocks = width * 2**stage, []
            for i in range(count):
                step = 2 if stage and not i else 1
                if bottleneck:
                    channels = [maps, narrow, narrow, 4 * narrow]
                    layers = [(1, 1), (3, step), (1, 1)]
                else:
                    channels, layers = [maps, narrow, narrow], [(3, step), (3, 1)]
                blocks.append(PlainBlock(ndim, channels, layers))
                maps = channels[-1]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(maps, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits for ``(batch, n_channels, ...)``."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.n_stages):
            maps = getattr(self, f"layer{stage + 1}")(maps)
        return self.fc(maps.flatten(2).mean(dim=2))


class TinyNet(nn.Module):
    """A network so small that the loop around it takes most of the time.

    Parameters
    ----------
    n_channels, n_outputs : int
        Channels of the input, and classes.
    """

    def __init__(self, n_channels: int, n_outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_channels, 4, 7, stride=8)
        self.fc = nn.Linear(4, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits for ``(batch, n_channels, length)``."""
        return self.fc(self.conv(x).relu().mean(dim=2))


class SmallImageNet(nn.Module):
    """Two convolutions of stride 2 for the data set that does not fit into memory.

    Parameters
    ----------
    n_channels, n_outputs : int
        Channels of the input, and classes.
    """

    def __init__(self, n_channels: int, n_outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(n_channels, 8, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
        )
        self.fc = nn.Linear(16, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits for ``(batch, n_channels, height, width)``."""
        return self.fc(self.features(x).mean(dim=(2, 3)))
