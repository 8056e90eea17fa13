"""SqueezeNet 1.0: AlexNet's accuracy with fifty times fewer parameters; here also a light perceptual network.

Reference: Iandola, Han, Moskewicz, Ashraf, Dally & Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
<0.5MB model size", 2016, arXiv:1602.07360, table 1 and the published network definition.

Shape letters: N batch, C channels, H height, W width, K classes.

Departures from the paper:
* `padding` of the first convolution: the paper has none. As a perceptual network 3 pixels keep responses and picture in
  step (H/2 for even H), so that tiles of a large picture fit together; the responses inside are the same.
* No dropout before the last convolution: the network is not trained here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float
from rosenblatt.models.perceptual import Perceptual

SQUEEZE = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""Squeeze filters of the fire modules; each expands to four times as many of 1 x 1 and of 3 x 3 (table 1)."""


class Fire(nn.Module):
    """Squeeze to few channels, expand by filters of 1 x 1 and 3 x 3 side by side (section 3.2)."""

    def __init__(self, channels: int, squeeze: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, 4 * squeeze, 1)
        self.expand3 = nn.Conv2d(squeeze, 4 * squeeze, 3, padding=1)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Tensor:
        """Responses with eight times the squeeze channels."""
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1(x), self.expand3(x)], 1))


class SqueezeNet(Perceptual):
    """SqueezeNet 1.0.

    Args:
        classes: K.
        padding: Of the first convolution: 0 as trained, 3 as a perceptual network.
        last: Last layer built as a perceptual network, "conv1" or "fire2" to "fire9"; None builds the classifier too.

    Example:
        >>> sum(p.numel() for p in SqueezeNet().parameters())
        1248424
    """

    STYLE_LAYERS = ("conv1", "fire2", "fire3", "fire4", "fire5", "fire6")
    CONTENT_LAYERS = ("fire4",)
    ENCODER = ("fire3", 128, 4)

    def __init__(self, classes: int = 1000, *, padding: int = 0, last: str | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2, padding=padding)
        channels, until = 96, 9 if last is None else int(last.removeprefix("fire").replace("conv1", "1"))
        for number in range(2, until + 1):
            self.add_module(f"fire{number}", Fire(channels, SQUEEZE[number]))
            channels = 8 * SQUEEZE[number]
        self.until = until
        self.conv_final = nn.Conv2d(channels, classes, 1, padding=1) if last is None else None

    def features(self, x: Float[Tensor, "N 3 H W"], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Responses of the wanted layers: "conv1" (after its rectifier), "fire2" to "fire9"."""
        found: dict[str, Tensor] = {}
        x = F.relu(self.conv1(self.normalised(x)))
        if "conv1" in wanted:
            found["conv1"] = x
        for number in range(2, self.until + 1):
            if len(found) == len(set(wanted)):
                break
            if number in (2, 5, 9):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)  # after conv1, fire4 and fire8
            x = self.get_submodule(f"fire{number}")(x)
            if f"fire{number}" in wanted:
                found[f"fire{number}"] = x
        return found

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Tensor:
        """Logits (N, K), or the responses of the last layer built."""
        last = f"fire{self.until}" if self.until > 1 else "conv1"
        x = self.features(x, (last,))[last]
        return x if self.conv_final is None else F.relu(self.conv_final(x)).mean((2, 3))
