"""robust: a small convolutional network for adversarial training, whose first layer cuts the range of the pixels.

Source: Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv:1706.06083: two convolutions and a dense layer on MNIST (section 5),
whose first filters, once trained against attacks, have turned into thresholds of single pixels (appendix C).

Shape letters: N batch, C colour channels, H height, W width, K classes.

DEPARTS: the thresholds are a layer of their own, learned from a start that has them, where the paper's network has to find them
first; strides in place of pooling make the two convolutions five times cheaper; 16 and 32 channels and 128 units for 32, 64 and
1,024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rosenblatt._types import Float

WINDOWS = 4
WIDTHS = (16, 32)
HIDDEN = 128
_NARROWEST = 0.05


class Windows(nn.Module):
    r"""Each channel seen through windows of its range.

    .. math:: h_i = \min(1, \max(0, (x - a_i) / (b_i - a_i)))

    What lies below a or above b does not pass, and has no gradient: an attack that follows gradients from the picture itself sees
    little where most pixels lie so. One from random starts, or without gradients, does not depend on it.

    Args:
        channels: C; values are expected from 0 to 1.
        windows: Of each channel; they begin as [0.05, 0.95], [0.15, 0.85] and so on.
    """

    def __init__(self, channels: int, windows: int = WINDOWS):
        super().__init__()
        edge = 0.4 * (torch.arange(windows) + 0.5) / windows
        self.low = nn.Parameter(edge.repeat(channels))
        self.high = nn.Parameter((1 - edge).repeat(channels))
        self.windows = windows

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D H W"]:
        """Channels C to C times ``windows``."""
        x = x.repeat_interleave(self.windows, 1)
        low = self.low.view(1, -1, 1, 1)
        wide = (self.high.view(1, -1, 1, 1) - low).clamp_min(_NARROWEST)
        return ((x - low) / wide).clamp(0, 1)


class Robust(nn.Module):
    """Windows, two convolutions of stride 2, a dense layer, logits.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        shape: (H, W) of the pictures; those of more than 32 pixels are averaged to 8 x 8 cells before the dense layer.
    """

    def __init__(self, channels: int = 1, classes: int = 10, *, shape: tuple[int, int] = (28, 28)):
        super().__init__()
        first, second = WIDTHS
        self.windows = Windows(channels)
        self.features = nn.Sequential(
            nn.Conv2d(WINDOWS * channels, first, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(first, second, 4, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        cells = [max(1, min(8, side // 4)) for side in shape]
        same = all(side // 2 // 2 == cell for side, cell in zip(shape, cells, strict=True))
        self.summary = nn.Identity() if same else nn.AdaptiveAvgPool2d(cells)
        self.output = nn.Sequential(
            nn.Linear(second * cells[0] * cells[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)
        )

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of the classes; pixels are from 0 to 1."""
        x = self.features(self.windows(x))  # N 32 h w
        return self.output(self.summary(x).flatten(1))
