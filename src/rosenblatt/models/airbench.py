"""airbench: a network for small photographs that learns in few passes.

Reference: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498: the first layer whitens patches
of 2 x 2 pixels with fixed filters (section 3.2), blocks of convolution, pooling, normalisation and nonlinearity follow.

Shape letters: N batch, C colour channels, H height, W width, K classes, M maps.

Departures from the paper: widths of 32, 96 and 128 in place of 64, 256 and 256, and rectifiers in place of GELU, for
processors that have no matrix units; no scaling of the logits; the bias of the first layer learns throughout; pictures of
64 pixels and more are whitened in larger patches, which lie side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rosenblatt._types import Float

WIDTHS = (32, 96, 128)
EPSILON = 5e-4
"""Added to the variances, so that directions with hardly any are not blown up to noise."""
_MOST = 24
_PATCHES = 200_000


def unit(wide_in: int, wide_out: int, *, pool: bool) -> nn.Sequential:
    """Convolution, pooling where asked for, normalisation, rectifier."""
    layers: list[nn.Module] = [nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    # the statistics of the last few batches: training is too short for the usual slow average
    return nn.Sequential(*layers, nn.BatchNorm2d(wide_out, momentum=0.4), nn.ReLU(inplace=True))


class Airbench(nn.Module):
    """Whitening, three blocks of two convolutions, the maximum over all places, one linear layer.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        side: The shorter side of the pictures; long ones are whitened in larger patches.
    """

    def __init__(self, channels: int = 3, classes: int = 10, *, side: int = 32):
        super().__init__()
        patch, stride = max(2, side // 32), max(1, side // 32)
        directions = min(_MOST, channels * patch**2)
        self.white = nn.Conv2d(channels, 2 * directions, patch, stride=stride)
        self.white.weight.requires_grad_(False)
        nn.init.zeros_(self.white.bias)
        blocks, wide_in, left = [], 2 * directions, (side - patch) // stride + 1
        for width in WIDTHS:
            pool = left >= 2
            blocks.append(nn.Sequential(unit(wide_in, width, pool=pool), unit(width, width, pool=False)))
            wide_in, left = width, left // 2 if pool else left
        self.features = nn.Sequential(*blocks)
        self.output = nn.Linear(wide_in, classes, bias=False)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of the classes."""
        x = self.features(torch.relu(self.white(x)))  # N 128 h w
        return self.output(x.amax((2, 3)))

    @torch.no_grad()
    def whiten(self, x: Float[Tensor, "N C H W"]) -> None:
        r"""Set the first layer's filters from pictures: principal directions of patches over their deviations, and the negatives.

        With the covariance :math:`\Sigma = V \Lambda V^T` of the patches, filter i is
        :math:`\pm v_i / \sqrt{\lambda_i + \epsilon}`, for the largest variances.
        """
        patch, directions = self.white.kernel_size[0], len(self.white.weight) // 2
        parts = x.unfold(2, patch, 1).unfold(3, patch, 1).permute(0, 2, 3, 1, 4, 5)  # N h w C p p
        flat = parts.reshape(-1, x.shape[1] * patch**2)  # P D
        flat = flat[:: max(1, len(flat) // _PATCHES)].double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))  # variances rise
        rows = (vectors / torch.sqrt(values + EPSILON)).T.flip(0)[:directions]
        filters = rows.reshape(-1, x.shape[1], patch, patch)
        self.white.weight.copy_(torch.cat([filters, -filters]))
