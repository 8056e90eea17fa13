"""robust: a small convolutional network for adversarial training, whose first layer cuts the range of the pixels.

Source: Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv:1706.06083: two convolutions and a dense layer on MNIST (section 5),
whose first filters, once trained against attacks, have turned into thresholds of single pixels (appendix C).

Shape letters: N batch, C colour channels, H height, W width, K classes.

DEPARTS: the threshold is a layer of its own, learned from a start that has it, where the paper's network has to find it first;
strides in place of pooling make the two convolutions five times cheaper; 16 and 32 channels and 128 units for 32, 64 and 1,024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rosenblatt._types import Float

WIDTHS = (16, 32)
HIDDEN = 128
_NARROWEST, _LEAK = 0.05, 0.01


class Window(nn.Module):
    r"""Each channel seen through a window of its range.

    .. math:: u = (x - a) / (b - a), \qquad c = \min(1, \max(0, u)), \qquad h = c + 0.01 \, (u - c)

    Below a and above b a change passes as a hundredth: black that turns dark grey stays black. Without that hundredth there would
    be no gradient, and with several windows a channel the gradient outside of one could point the wrong way: either hides from
    attacks by gradients, the training's own too, what Square finds (LOG.md, 2026-11-28). Here h rises with x everywhere.

    Args:
        channels: C; values are expected from 0 to 1.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.low, self.high = nn.Parameter(torch.full((channels,), 0.2)), nn.Parameter(torch.full((channels,), 0.8))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """The channels, from about 0 to about 1."""
        low = self.low.view(1, -1, 1, 1)
        u = (x - low) / (self.high.view(1, -1, 1, 1) - low).clamp_min(_NARROWEST)
        return torch.lerp(u.clamp(0, 1), u, _LEAK)


class Robust(nn.Module):
    """A window, two convolutions of stride 2, a dense layer, logits.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        shape: (H, W) of the pictures; those of more than 32 pixels are averaged to 8 x 8 cells before the dense layer.
    """

    def __init__(self, channels: int = 1, classes: int = 10, *, shape: tuple[int, int] = (28, 28)):
        super().__init__()
        first, second = WIDTHS
        self.window = Window(channels)
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 4, stride=2, padding=1), nn.ReLU(),
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
        x = self.features(self.window(x))  # N 32 h w
        return self.output(self.summary(x).flatten(1))
