"""AlexNet as published: two towers, one a device, that see each other at layer 3 and in the dense layers.

Reference: Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", Advances in
Neural Information Processing Systems 25, 2012, sections 3 to 5; doi:10.1145/3065386.

Shape letters: N batch, C colour channels, H height, W width, K classes.

Departures from the paper, and what it leaves open:
* Layer 1 makes 55 x 55 maps of 224 x 224 pixels, which no window of 11 at stride 4 does without a border. Three rows of
  zeros are added below and three columns at the right, so that the last window ends where the 227th pixel would be.
* Response normalisation runs over the kernel maps of one tower: the paper lets the towers talk in layer 3 and in the dense
  layers only, and the kernels of layers 1 and 2 lie half on each.
* The output layer is on the first device. Other sides than 224 give other numbers of cells before the first dense layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

SIDE = 224
"""Side of the pictures in the paper."""

SMALLEST = 67
"""The shorter side below which nothing is left after the third pooling."""

MAPS = (48, 128, 192, 192, 128)
"""Kernel maps of the five convolutions of one tower (section 3.5)."""


def normalise(x: Tensor, *, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> Tensor:
    r"""Divide each activity by the strength of its n neighbours among the kernel maps (section 3.3).

    .. math:: b^i = a^i \Big/ \Big( k + \alpha \sum_{j=\max(0,\,i-n/2)}^{\min(M-1,\,i+n/2)} (a^j)^2 \Big)^\beta

    ``torch.nn.functional.local_response_norm`` divides alpha by n; this is the paper's form.

    Args:
        x: Activities (N, M, H, W) of the M maps.
        k: Added to the sum.
        n: Maps in the sum, an odd number.
        alpha: Weight of the sum.
        beta: Power.

    Example:
        >>> round(normalise(torch.full((1, 1, 1, 1), 100.0)).item(), 4)  # 100 / (2 + 1e-4 * 100 ** 2) ** 0.75
        43.8691
    """
    values = x.float()
    squares = F.pad(values * values, (0, 0, 0, 0, n // 2, n // 2))
    strength = squares[:, : x.shape[1]]
    for shift in range(1, n):
        strength = strength + squares[:, shift : shift + x.shape[1]]
    base = k + alpha * strength
    if beta == 0.75:  # two square roots cost a fifth of a power
        root = base.rsqrt()
        return (values * root * root.sqrt()).to(x.dtype)
    return (values * base.pow(-beta)).to(x.dtype)


class Dropped(nn.Module):
    """Dropout as published: a unit is zeroed with probability 1/2 in training, and halved in testing (section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero or halve."""
        return F.dropout(x, 0.5, self.training) * 0.5


class Tower(nn.Module):
    """What one device holds: half of the kernels of each convolution and half of the units of each dense layer.

    Args:
        channels: Colour channels.
        cells: Places of each map after the last pooling; 6 x 6 for 224 pixels.
        units: Units of a dense layer in both towers together.
    """

    def __init__(self, channels: int, cells: int, units: int):
        super().__init__()
        one, two, three, four, five = MAPS
        self.conv1 = nn.Conv2d(channels, one, 11, stride=4)
        self.conv2 = nn.Conv2d(one, two, 5, padding=2)
        self.conv3 = nn.Conv2d(2 * two, three, 3, padding=1)  # sees both towers
        self.conv4 = nn.Conv2d(three, four, 3, padding=1)
        self.conv5 = nn.Conv2d(four, five, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2)  # windows of 3 at steps of 2 overlap (section 3.4)
        self.fc6 = nn.Linear(2 * five * cells, units // 2)
        self.fc7 = nn.Linear(units, units // 2)
        self.dropout = Dropped()

    @property
    def device(self) -> torch.device:
        """Where this tower is."""
        return self.conv1.weight.device

    def early(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 128 h w"]:
        """Layers 1 and 2, of this tower's own maps."""
        x = self.pool(normalise(F.relu(self.conv1(x))))  # N 48 27 27
        return self.pool(normalise(F.relu(self.conv2(x))))  # N 128 13 13

    def late(self, both: Float[Tensor, "N 256 h w"]) -> Float[Tensor, "N D"]:
        """Layers 3 to 5; the third sees the maps of both towers."""
        x = F.relu(self.conv3(both))  # N 192 13 13
        x = F.relu(self.conv4(x))
        return self.pool(F.relu(self.conv5(x))).flatten(1)  # N 128*6*6


class AlexNet2012(nn.Module):
    """Two towers of five convolutions and two dense layers, and one softmax layer over both; 60,965,224 parameters.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        shape: Height and width of the pictures.
        units: Units of the two hidden dense layers.
    """

    def __init__(
        self, channels: int = 3, classes: int = 1000, *, shape: tuple[int, int] = (SIDE, SIDE), units: int = 4096
    ):
        super().__init__()
        cells = _cells(shape[0]) * _cells(shape[1])
        self.towers = nn.ModuleList(Tower(channels, cells, units) for _ in range(2))
        self.output = nn.Linear(units, classes)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Weights from N(0, 0.01^2); biases 1 in layers 2, 4, 5 and the hidden dense ones, 0 elsewhere (section 5)."""
        for name, part in self.named_modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(part.weight, 0.0, 0.01)
                ones = name.rpartition(".")[2] in ("conv2", "conv4", "conv5", "fc6", "fc7")
                nn.init.constant_(part.bias, float(ones))

    def two_devices(self, first: torch.device | str, second: torch.device | str) -> AlexNet2012:
        """Put one tower on each device, the output layer on the first; ``forward`` then moves what has to be moved.

        Args:
            first: Device of the first tower, the output, the logits and the loss.
            second: Device of the second tower.
        """
        self.towers[0].to(first)
        self.output.to(first)
        self.towers[1].to(second)
        return self

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of the classes, on the device of the first tower."""
        x = _overhang(x)
        parts = [tower.early(x.to(tower.device, non_blocking=True)) for tower in self.towers]  # each N 128 13 13
        parts = [tower.late(self._exchange(parts, tower.device)) for tower in self.towers]  # each N 4608
        parts = [self._hidden(tower, "fc6", parts) for tower in self.towers]  # each N 2048
        parts = [self._hidden(tower, "fc7", parts) for tower in self.towers]  # each N 2048
        return self.output(self._exchange(parts, self.towers[0].device))

    def _hidden(self, tower: Tower, layer: str, parts: list[Tensor]) -> Tensor:
        return tower.dropout(F.relu(getattr(tower, layer)(self._exchange(parts, tower.device))))

    def _exchange(self, parts: list[Tensor], device: torch.device) -> Tensor:
        """What both towers made, on one device: the only traffic between them."""
        return torch.cat([part.to(device, non_blocking=True) for part in parts], 1)


def _overhang(x: Tensor) -> Tensor:
    """Zeros below and at the right until the last window of layer 1 is whole."""
    height, width = (-(side - 11) % 4 for side in x.shape[2:])
    return F.pad(x, (0, width, 0, height)) if height or width else x


def _cells(side: int) -> int:
    """Places along one side after the third pooling: 224 pixels leave 55, 27, 13 and then 6."""
    side = -(-(side - 11) // 4) + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side
