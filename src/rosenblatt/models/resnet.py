"""resnet: a small residual network, the modern reference beside the classic ones.

References: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2015, arXiv:1512.03385 (basic blocks);
He et al., "Bag of tricks for image classification with convolutional neural networks", 2018, arXiv:1812.01187 (averages
in the shortcuts, last gain of a block from zero).

Shape letters: N batch, C colour channels, H height, W width, K classes.

Departures from the papers: three stages of 32, 64 and 128 maps with two blocks each, for pictures from 8 pixels on; from
48 pixels on the first convolution halves the picture, and from 96 on a pooling halves it again.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

WIDTHS = (32, 64, 128)


class Block(nn.Module):
    """Two convolutions beside a shortcut: what they learn is what has to be added.

    Args:
        wide_in: Maps that come in.
        wide_out: Maps that go out.
        stride: 2 halves the maps.
    """

    def __init__(self, wide_in: int, wide_out: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide_out)
        self.conv2 = nn.Conv2d(wide_out, wide_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide_out)
        nn.init.zeros_(self.norm2.weight)  # a block starts as its shortcut
        self.shortcut = nn.Sequential()
        if stride > 1 or wide_in != wide_out:
            pool = [nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)] if stride > 1 else []
            self.shortcut = nn.Sequential(*pool, nn.Conv2d(wide_in, wide_out, 1, bias=False), nn.BatchNorm2d(wide_out))

    def forward(self, x: Float[Tensor, "N M H W"]) -> Float[Tensor, "N M2 h w"]:
        """The shortcut plus what the block adds."""
        added = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        return F.relu(self.shortcut(x) + added, inplace=True)


class ResNet(nn.Module):
    """Stem, three stages of residual blocks, the mean over all places, one linear layer.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        side: The shorter side of the pictures; the stem shrinks large ones.
        depth: Blocks a stage.
    """

    def __init__(self, channels: int = 3, classes: int = 10, *, side: int = 32, depth: int = 2):
        super().__init__()
        first = WIDTHS[0]
        stem: list[nn.Module] = [
            nn.Conv2d(channels, first, 3, stride=2 if side >= 48 else 1, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        ]
        self.stem = nn.Sequential(*stem, *([nn.MaxPool2d(3, stride=2, padding=1)] if side >= 96 else []))
        stages, wide_in = [], first
        for number, width in enumerate(WIDTHS):
            blocks = [Block(wide_in, width, stride=2 if number else 1)]
            blocks += [Block(width, width) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            wide_in = width
        self.features = nn.Sequential(*stages)
        self.output = nn.Linear(wide_in, classes)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of the classes."""
        x = self.features(self.stem(x))  # N 128 h w
        return self.output(x.mean((2, 3)))
