"""The network of Johnson et al. that repaints a picture in one style in one pass.

Reference: Johnson, Alahi & Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016,
arXiv:1603.08155, and its supplementary material, table 1.

Shape letters: N batch, C channels, H height, W width.

Departures from the paper:
* Instance normalisation instead of batch normalisation (Ulyanov, Vedaldi & Lempitsky 2017, arXiv:1701.02096): the
  contrast of the content picture drops out, and results are better for the same training.
* Upsampling by repetition and a convolution instead of transposed convolutions, which leave checkerboards (Odena,
  Dumoulin & Olah 2016), and reflection padding at every convolution instead of 40 pixels around the input.
* For pictures larger than memory the normalisation's statistics are taken once, from patches spread over the picture, and
  held while tiles are painted: tiles then have no seams. (Chen et al. 2022, arXiv:2203.02855, take them from a reduced
  picture; patches keep the scale that the filters see.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float


class InstanceNorm(nn.Module):
    """Each channel of each picture to mean 0 and variance 1, then a gain and a bias; statistics in fp32.

    Attributes:
        held: Statistics (mean, variance) that are used instead of the input's own, or None.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.held: tuple[Tensor, Tensor] | None = None
        self.keeping = False

    def forward(self, x: Float[Tensor, "N C H W"]) -> Tensor:
        """Normalised responses, in the precision of the input."""
        if self.held is None:
            with torch.autocast(x.device.type, enabled=False):
                # statistics that are kept belong to one picture, whose patches the batch holds
                over = (0, 2, 3) if self.keeping else (2, 3)
                variance, mean = torch.var_mean(x.float(), dim=over, keepdim=True, correction=0)
            if self.keeping:
                self.held = (mean, variance)
        else:
            mean, variance = self.held
        # one multiplication and one addition a pixel: gain / deviation and what is left
        gain = self.weight.view(1, -1, 1, 1) * torch.rsqrt(variance + 1e-5)
        return torch.addcmul((self.bias.view(1, -1, 1, 1) - mean * gain).to(x.dtype), x, gain.to(x.dtype))


class _Convolution(nn.Module):
    """Reflection padding, convolution, and normalisation where asked for."""

    def __init__(self, channels: int, filters: int, side: int, stride: int = 1, norm: bool = True):
        super().__init__()
        self.pad = side // 2
        self.convolution = nn.Conv2d(channels, filters, side, stride)
        self.norm = InstanceNorm(filters) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(F.pad(x, (self.pad,) * 4, mode="reflect"))
        return x if self.norm is None else self.norm(x)


class _Residual(nn.Module):
    """Two convolutions around which the input is led (supplementary material, figure 1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = _Convolution(channels, channels, 3), _Convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Johnson(nn.Module):
    """Down to a quarter of the side, five residual blocks, and up again.

    Args:
        width: Filters of the first layer; the paper's are 32.

    Example:
        >>> sum(p.numel() for p in Johnson().parameters())
        1679235
    """

    STRIDE = 4
    """Sides of the input are multiples of it."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.down = nn.ModuleList(
            [
                _Convolution(3, width, 9),
                _Convolution(width, 2 * width, 3, 2),
                _Convolution(2 * width, 4 * width, 3, 2),
            ]
        )
        self.blocks = nn.Sequential(*(_Residual(4 * width) for _ in range(5)))
        self.up = nn.ModuleList([_Convolution(4 * width, 2 * width, 3), _Convolution(2 * width, width, 3)])
        self.last = _Convolution(width, 3, 9, norm=False)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
        """The painted picture, RGB from 0 to 1."""
        x = 2 * x - 1
        for layer in self.down:
            x = F.relu(layer(x))
        x = self.blocks(x)  # N 4*width H/4 W/4
        for layer in self.up:
            x = F.relu(layer(F.interpolate(x, scale_factor=2, mode="nearest")))
        return 0.5 + 0.5 * torch.tanh(self.last(x).float())


@contextmanager
def held_statistics(network: nn.Module, patches: Tensor | None) -> Iterator[None]:
    """Inside the block all instance normalisations use the statistics of these patches; None changes nothing."""
    norms = [part for part in network.modules() if isinstance(part, InstanceNorm)] if patches is not None else []
    try:
        for norm in norms:
            norm.keeping = True
        if norms:
            network(patches)
        yield
    finally:
        for norm in norms:
            norm.keeping, norm.held = False, None
