# SPDX-License-Identifier: BSD-3-Clause
"""A network that finds the shift of a spectrum: features, compared with templates."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional as F

from skastro.networks.layers import (
    BatchNorm1d,
    Conv1d,
    ConvolutionalLayers,
    check_kernel_size,
    enter_maps,
    leave_maps,
)
from skastro.networks.registry import register
from skastro.networks.resnet import BasicBlock
from skastro.utils import check_count

# Numbers of which each template has a smooth offset over the outputs.
_OFFSETS = 24


class TemplateHead(nn.Module):
    """Correlate feature maps with learned templates, at every shift.

    Output j compares the maps with the part of a template that begins at position
    ``n_outputs - 1 - j``: one step more of redshift moves the spectrum by one position.
    The evidence of several templates is added up by log-sum-exp.

    Parameters
    ----------
    n_features : int
        Feature maps.
    length : int
        Positions of a map.
    n_outputs : int
        Shifts.
    n_templates : int
        Templates.
    """

    def __init__(
        self, n_features: int, length: int, n_outputs: int, n_templates: int
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        extent = length + n_outputs - 1
        # Positions of the transform, so that no shift wraps around.
        self.n_fourier = next_fast_len(extent, real=True)
        weight = 0.1 / math.sqrt(length) * torch.randn(n_templates, n_features, extent)
        self.weight = nn.Parameter(weight)
        offsets = min(_OFFSETS, n_outputs)
        self.bias = nn.Parameter(torch.zeros(n_templates, offsets))

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(batch, n_features, length)`` to ``(batch, n_outputs)``."""
        # Transforms need their digits, and know no short formats.
        with torch.autocast(maps.device.type, enabled=False):
            maps, weight = maps.float(), self.weight.float()
            if torch.compiler.is_exporting():
                # ONNX Runtime's transforms keep four digits, and take three times as
                # long as this.
                score = F.conv1d(weight, maps).transpose(0, 1)
            else:
                spectrum = torch.fft.rfft(maps, self.n_fourier)
                weight = torch.fft.rfft(weight, self.n_fourier)
                product = torch.einsum(
                    "bfw,tfw->btw", torch.conj_physical(spectrum), weight
                )
                score = torch.fft.irfft(product, self.n_fourier)[..., : self.n_outputs]
            offset = F.interpolate(
                self.bias[None], size=self.n_outputs, mode="linear", align_corners=True
            )
            return torch.logsumexp(score.flip(-1) + offset, dim=1)


@register("redshift", ndim=1)
class RedshiftNet(nn.Module):
    """Convolutions that find features, and learned templates that find their shift.

    On pixels of equal width in ln(wavelength) a redshift is a shift. Convolutions turn
    the spectrum into maps of features, such as lines in emission and in absorption, and
    the maps are correlated with templates of them at every shift, by Fourier
    transforms, as the cross-correlation of Tonry & Davis [1]_ does with the flux. What
    the network learns at one redshift holds at all others.

    Parameters
    ----------
    n_channels : int
        Channels of the input. The last one tells how much each pixel is worth, 0 where
        nothing is known; the features are multiplied by it.
    n_outputs : int
        Shifts, each `stride` pixels more than the one before.
    input_size : int
        Pixels of a spectrum.
    width : int, default=32
        Feature maps of the convolutions.
    n_blocks : int, default=3
        Residual blocks.
    kernel_size : int, default=5
        Pixels of the kernels in the blocks; odd.
    stride : int, default=3
        Pixels from one position of a map to the next.
    n_features : int, default=12
        Feature maps that are correlated.
    n_templates : int, default=4
        Templates.

    Attributes
    ----------
    head : TemplateHead
        The last layer.

    Notes
    -----
    The network does not apply softmax; the criterion does.

    References
    ----------
    .. [1] Tonry, J. & Davis, M. (1979). "A survey of galaxy redshifts. I". AJ 84, 1511.
           https://doi.org/10.1086/112569

    Examples
    --------
    >>> import torch
    >>> from skastro.networks import RedshiftNet
    >>> network = RedshiftNet(n_channels=3, n_outputs=2000, input_size=4000)
    >>> network(torch.zeros(2, 3, 4000)).shape
    torch.Size([2, 2000])
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        input_size: int,
        *,
        width: int = 32,
        n_blocks: int = 3,
        kernel_size: int = 5,
        stride: int = 3,
        n_features: int = 12,
        n_templates: int = 4,
    ) -> None:
        super().__init__()
        check_count(n_channels, "n_channels")
        check_count(n_outputs, "n_outputs")
        n_pixels = check_count(input_size, "input_size")
        check_count(width, "width")
        check_count(n_blocks, "n_blocks", 0)
        check_kernel_size(kernel_size, "kernel_size")
        check_count(n_features, "n_features")
        check_count(n_templates, "n_templates")
        self.stride = check_count(stride, "stride")
        self.stem = ConvolutionalLayers(
            # Wide enough to see all pixels between two positions, and their neighbors.
            Conv1d(n_channels, width, 2 * self.stride + 3, stride=self.stride),
            BatchNorm1d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(
            *[BasicBlock(1, width, width, kernel_size, 1) for _ in range(n_blocks)]
        )
        self.features = Conv1d(width, n_features, 1)
        length = -(-n_pixels // self.stride)
        # The templates see the worth of the pixels, too: what is missing where there
        # should be a line tells as much as a line.
        self.head = TemplateHead(n_features + 1, length, n_outputs, n_templates)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs.

        Parameters
        ----------
        x : Tensor of shape (batch, n_channels, length)
            Spectra.

        Returns
        -------
        Tensor of shape (batch, n_outputs)
            Logarithms of the evidence for each shift, but for a constant.
        """
        maps = self.features(self.blocks(self.stem(enter_maps(x, 1))))
        worth = x[:, -1:, :: self.stride]
        maps = leave_maps(maps, 1).to(worth.dtype)
        return self.head(torch.cat([maps * worth, worth], dim=1))
