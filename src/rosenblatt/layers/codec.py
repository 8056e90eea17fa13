"""Picture to vector and back: the convolutional halves that the autoencoders share.

The first and last layer trade pixels for channels (Shi et al. 2016, arXiv:1609.05158, eq. 4), so that no convolution runs
at full resolution; two residual blocks (He et al. 2016, arXiv:1603.05027: activation first, no normalisation) do the rest.

Shape letters: N batch, C channels, H height, W width, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

STRIDE = 4
"""Both halves work on a quarter of the side; other sizes are padded with zeros, and the padding is cut off again."""


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))), the second convolution starting at zero, so that the block starts as the identity.

    Args:
        width: Channels.
        kernel: Side of the filters.
    """

    def __init__(self, width: int, kernel: int = 3):
        super().__init__()
        self.first = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """The sum."""
        return x + self.second(F.silu(self.first(F.silu(x))))


class PictureEncoder(nn.Module):
    """Pictures to vectors.

    Args:
        shape: (C, H, W).
        width: Channels at half the side; twice as many at a quarter.
        features: D.
        dropout: Share of the features dropped in training.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, features: int, dropout: float = 0.0):
        super().__init__()
        channels, height, wide = shape
        self.pad = (0, -wide % STRIDE, 0, -height % STRIDE)
        cells = -(-height // STRIDE) * -(-wide // STRIDE)
        self.maps = nn.Sequential(
            nn.PixelUnshuffle(2),  # N C H W -> N 4C H/2 W/2
            nn.Conv2d(4 * channels, width, 3, padding=1),
            Residual(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            Residual(2 * width),
            nn.SiLU(),
        )
        self.dense = nn.Linear(2 * width * cells, features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Features after their activation."""
        x = F.pad(x, self.pad).contiguous(memory_format=torch.channels_last)
        return self.dropout(F.silu(self.dense(self.maps(x).flatten(1))))


class PictureDecoder(nn.Module):
    """Vectors to pictures, the mirror of `PictureEncoder`.

    Args:
        shape: (C, H, W).
        width: Channels at half the side; twice as many at a quarter.
        features: Length of the vectors, D.
        dropout: Share of the first layer dropped in training.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, features: int, dropout: float = 0.0):
        super().__init__()
        channels, height, wide = shape
        self.size = (height, wide)
        self.cells = (2 * width, -(-height // STRIDE), -(-wide // STRIDE))
        self.dense = nn.Linear(features, self.cells[0] * self.cells[1] * self.cells[2])
        self.dropout = nn.Dropout(dropout)
        self.maps = nn.Sequential(
            Residual(2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 1),
            nn.PixelShuffle(2),  # N 4D h w -> N D 2h 2w
            Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N C H W"]:
        """Pictures without any output function."""
        x = self.dropout(self.dense(x)).view(-1, *self.cells).contiguous(memory_format=torch.channels_last)
        height, width = self.size
        return self.maps(x)[..., :height, :width]
