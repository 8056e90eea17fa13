"""A small network that says what every pixel shows: down three halvings and up again, with shortcuts of the same side.

Reference: Ronneberger, Fischer & Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015,
arXiv:1505.04597, figure 1.

Shape letters: N batch, H height, W width (multiples of 8), K classes.

Departures from the paper: three halvings in the place of four, padded convolutions, group normalisation, nearest sampling
on the way up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

HALVINGS = 3


class SegmentationNetwork(nn.Module):
    """Logits of the class of every pixel.

    Args:
        classes: K.
        width: Channels at full size.
    """

    def __init__(self, classes: int, width: int = 24):
        super().__init__()
        sizes = [width << n for n in range(HALVINGS + 1)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([3, *sizes[:-1]], sizes, strict=True))
        self.up = nn.ModuleList(_twice(sizes[n] + sizes[n - 1], sizes[n - 1]) for n in range(HALVINGS, 0, -1))
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K H W"]:
        """Logits."""
        kept = []
        for number, part in enumerate(self.down):
            x = part(F.max_pool2d(x, 2) if number else x)
            kept.append(x)
        for part, other in zip(self.up, kept[-2::-1], strict=True):
            x = part(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), other], 1))
        return self.last(x)


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU()]
    return nn.Sequential(*layers)
