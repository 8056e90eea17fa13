"""quick: a small modern convolutional network, the default for pictures.

References: batch normalisation, Ioffe & Szegedy 2015, arXiv:1502.03167; pooling before the nonlinearity and the
three-block layout follow the short MNIST and CIFAR training recipes of the field (Page 2018; Jordan 2024,
arXiv:2404.00498).

Shape letters: N batch, C colour channels, H height, W width, K classes.

Departures from the sources: none is followed to the letter; widths and depths were chosen on a validation split of MNIST.
"""

from __future__ import annotations

from torch import Tensor, nn

from rosenblatt._types import Float

WIDTHS = (32, 64, 128)


def block(wide_in: int, wide_out: int, *, kernel: int = 3, pool: bool = True) -> nn.Sequential:
    """Convolution, pooling, normalisation, rectifier; pooling first makes the other two four times cheaper."""
    layers: list[nn.Module] = [nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(wide_out), nn.ReLU(inplace=True))


class Quick(nn.Module):
    """Three convolution blocks, a 2 x 2 or 3 x 3 summary of the maps, dropout, one linear layer.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        side: The shorter side of the pictures; long ones get more pooling.
        dropout: Share of the summary dropped in training.
    """

    def __init__(self, channels: int = 1, classes: int = 10, *, side: int = 28, dropout: float = 0.2):
        super().__init__()
        first, second, third = WIDTHS
        self.features = nn.Sequential(
            block(channels, first, kernel=5 if side >= 16 else 3, pool=side >= 16),
            block(first, second),
            block(second, third, pool=side >= 8),
        )
        # 32 px leave 4 x 4 maps; each doubling of the side gets one more halving before the summary
        extra = max(0, side.bit_length() - 6)
        self.shrink = nn.Sequential(*(nn.MaxPool2d(2) for _ in range(extra)))
        cells = 3 if side >= 24 else 2
        self.summary = nn.AdaptiveMaxPool2d(cells)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(third * cells * cells, classes)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of the classes."""
        x = self.shrink(self.features(x))  # N 128 h w
        x = self.summary(x).flatten(1)  # N D
        return self.output(self.dropout(x))
