"""Adaptive instance normalisation: any style in one pass.

Reference: Huang & Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization", ICCV 2017,
arXiv:1703.06868.

Shape letters: N batch, C channels, H height, W width.

Departures from the paper:
* The encoder is any perceptual network of this package: VGG-19 to relu4_1 as in the paper, or a lighter one with a stride
  of 4, whose decoder is shorter accordingly.
* The decoder ends in a logistic function, so that its pictures lie between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float
from rosenblatt.losses.style import channel_statistics
from rosenblatt.models.perceptual import Perceptual

Statistics = tuple[Tensor, Tensor]


def adain(
    content: Float[Tensor, "N C H W"],
    style: Statistics,
    *,
    alpha: float = 1.0,
    own: Statistics | None = None,
) -> Float[Tensor, "N C H W"]:
    """Give the content's code the channel statistics of a style: sigma(y) (x - mu(x)) / sigma(x) + mu(y).

    Args:
        content: Code x of the content.
        style: Means and deviations (N, C, 1, 1) of the style's code y.
        alpha: Share of the style; 0 leaves the code as it is (equation 14).
        own: Statistics of the whole content, where ``content`` is only a tile of it.

    Reference:
        Equations 8 and 14.

    Example:
        >>> x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> y = adain(x, (torch.full((1, 2, 1, 1), 5.0), torch.full((1, 2, 1, 1), 2.0)))
        >>> bool(torch.allclose(y.mean((2, 3)), torch.tensor(5.0), atol=1e-4))
        True
    """
    mean, deviation = channel_statistics(content) if own is None else own
    wide = content.float()
    moved = (wide - mean) * (style[1] / deviation) + style[0]
    return torch.lerp(wide, moved, alpha)


class Decoder(nn.Module):
    """From the code back to a picture: halving channels and doubling sides until the stride is undone.

    Args:
        channels: Of the code.
        stride: Of the code; a power of two.
    """

    def __init__(self, channels: int, stride: int):
        super().__init__()
        layers: list[nn.Module] = []
        self.doubling: list[int] = []
        while stride > 1:
            narrower = max(32, channels // 2)
            layers += [nn.Conv2d(channels, channels, 3), nn.Conv2d(channels, narrower, 3)]
            self.doubling.append(len(layers) - 1)
            channels, stride = narrower, stride // 2
        layers += [nn.Conv2d(channels, channels, 3), nn.Conv2d(channels, 3, 3)]
        self.layers = nn.ModuleList(layers)

    def forward(self, code: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 3 H W"]:
        """The picture, RGB from 0 to 1."""
        x = code
        for number, layer in enumerate(self.layers):
            x = layer(F.pad(x, (1, 1, 1, 1), mode="reflect"))
            if number < len(self.layers) - 1:
                x = F.relu(x)
            if number in self.doubling:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
        return torch.sigmoid(x.float())


class AdaIN(nn.Module):
    """Encoder (fixed), adaptive instance normalisation, decoder (trained)."""

    def __init__(self, encoder: Perceptual):
        super().__init__()
        self.layer, channels, stride = encoder.ENCODER
        self.decoder = Decoder(channels, stride)

    def decode(self, code: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 3 H W"]:
        """The picture of a code."""
        return self.decoder(code)


def blend(statistics: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    """Weighted mean of the statistics of several styles; the weights are scaled to a sum of 1."""
    total = float(sum(weights))
    mean = sum(w / total * s[0] for w, s in zip(weights, statistics, strict=True))
    deviation = sum(w / total * s[1] for w, s in zip(weights, statistics, strict=True))
    return torch.as_tensor(mean), torch.as_tensor(deviation)
