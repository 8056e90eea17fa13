"""Inception v3 as the Frechet inception distance uses it: 2,048 features of pictures of 299 x 299 pixels.

Reference: Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, "Rethinking the Inception architecture for computer vision", 2015,
arXiv:1512.00567, table 1 and figures 5 to 7; as a measure of generated pictures Heusel et al. 2017, arXiv:1706.08500.

The distance is defined by one set of weights (TensorFlow's of 2015, 1,008 outputs), and names of layers are those of the file
that carries them to PyTorch. They differ from the paper in what their pooling branches do: averages leave the padding out, and
the last block takes maxima.

Shape letters: N batch, C channels, H height, W width, D = 2048 features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

SIDE = 299
"""Pixels along a side of what the network sees."""


class Conv(nn.Module):
    """Convolution without bias, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, size: int | tuple[int, int], **options: int | tuple[int, int]):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, bias=False, **options)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Responses of the layer."""
        return F.relu(self.bn(self.conv(x)))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


class BlockA(nn.Module):
    """35 x 35: one filter of 5 x 5 beside two of 3 x 3 in a row (figure 5)."""

    def __init__(self, inputs: int, pooled: int):
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(inputs, 48, 1), Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of all branches side by side."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), twice, self.branch_pool(_average(x))], 1
        )


class BlockB(nn.Module):
    """35 x 35 to 17 x 17 (figure 10)."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of all branches side by side."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, F.max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """17 x 17: filters of 7 x 7 as 1 x 7 and 7 x 1 (figure 6)."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        row, column = {"padding": (0, 3)}, {"padding": (3, 0)}
        self.branch1x1 = Conv(inputs, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = Conv(inputs, width, 1), Conv(width, width, (1, 7), **row)
        self.branch7x7_3 = Conv(width, 192, (7, 1), **column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(inputs, width, 1), Conv(width, width, (7, 1), **column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = (
            Conv(width, width, (1, 7), **row),
            Conv(width, width, (7, 1), **column),
        )
        self.branch7x7dbl_5 = Conv(width, 192, (1, 7), **row)
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of all branches side by side."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, inputs: int):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(inputs, 192, 1), Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(inputs, 192, 1), Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, (7, 1), padding=(3, 0)), Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of all branches side by side."""
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, F.max_pool2d(x, 3, stride=2)], 1)


class BlockE(nn.Module):
    """8 x 8: filters spread out in two directions (figure 7).

    Args:
        inputs: Channels.
        maxima: What the pooling branch takes; averages otherwise.
    """

    def __init__(self, inputs: int, *, maxima: bool):
        super().__init__()
        self.pool = _maximum if maxima else _average
        self.branch1x1 = Conv(inputs, 320, 1)
        self.branch3x3_1 = Conv(inputs, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = (
            Conv(384, 384, (1, 3), padding=(0, 1)),
            Conv(384, 384, (3, 1), padding=(1, 0)),
        )
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 448, 1), Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of all branches side by side."""
        once, twice = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(self.pool(x))]
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """Inception v3 up to its 2,048 pooled features; the classifier belongs to the file and is not used.

    Example:
        >>> with torch.device("meta"):
        ...     net = Inception()
        >>> sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.fc.parameters())
        21785568
    """

    def __init__(self, outputs: int = 1008):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, stride=2), Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80, 1), Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c = BlockC(768, 128), BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, maxima=False), BlockE(2048, maxima=True)
        self.fc = nn.Linear(2048, outputs)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Features of pictures of 299 x 299 pixels from 0 to 1."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(2 * x - 1)))
        x = F.max_pool2d(x, 3, stride=2)  # N 64 73 73
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)  # N 192 35 35
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = self.get_submodule(f"Mixed_{name}")(x)
        return x.mean((2, 3))  # N 2048
