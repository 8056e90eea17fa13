"""LeNet-5: the convolutional network that read cheques.

Reference: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proceedings of the
IEEE 86(11), 1998, section II.B and appendix A; doi:10.1109/5.726791.

Shape letters: N batch, C colour channels, H height, W width, K classes.

Departures from the paper:
* K classes: the output codes of classes beyond ten, or of other symbols than digits, are drawn as random signs (the
  paper allows it: section II.B, "could have been chosen at random with equal probabilities for -1 and +1"). The ten
  digits have 7 x 12 bitmaps of our own drawing, in the manner of the paper's figure 3.
* Colour: with C > 1 layer C1 sees all channels; with C = 1 the sizes are the paper's.
* Training is by the library's loop and optimizer, not by the stochastic diagonal Levenberg-Marquardt method.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

SIDE = 32
"""Side of the input field; the characters are smaller and sit in its middle."""

BACKGROUND, FOREGROUND = -0.1, 1.175
"""Grey levels of white and black in the paper (section II.B): the mean is about 0 and the variance about 1."""

# Table I of the paper: which of S2's six maps (rows) feed each of C3's sixteen (columns)
_TABLE = (
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
)

_DIGITS = (
    ". ..###.. .#...#. #.....# #.....# #.....# #.....# #.....# #.....# #.....# .#...#. ..###.. .......",
    ". ...#... ..##... .#.#... ...#... ...#... ...#... ...#... ...#... ...#... ...#... .#####. .......",
    ". .#####. #.....# ......# ......# .....#. ....#.. ...#... ..#.... .#..... #...... ####### .......",
    ". .#####. #.....# ......# ......# ..####. ......# ......# ......# ......# #.....# .#####. .......",
    ". .....#. ....##. ...#.#. ..#..#. .#...#. #....#. ####### .....#. .....#. .....#. .....#. .......",
    ". ####### #...... #...... #...... ######. ......# ......# ......# ......# #.....# .#####. .......",
    ". ..####. .#..... #...... #...... ######. #.....# #.....# #.....# #.....# #.....# .#####. .......",
    ". ####### ......# .....#. .....#. ....#.. ....#.. ...#... ...#... ..#.... ..#.... ..#.... .......",
    ". .#####. #.....# #.....# #.....# .#####. #.....# #.....# #.....# #.....# #.....# .#####. .......",
    ". .#####. #.....# #.....# #.....# #.....# .###### ......# ......# ......# .....#. .####.. .......",
)


def digit_codes() -> Float[Tensor, "10 84"]:
    """The target codes of the ten digits: 7 x 12 bitmaps with +1 for ink and -1 for paper."""
    maps = [text.split()[1:] for text in _DIGITS]
    return torch.tensor([[1.0 if dot == "#" else -1.0 for row in rows for dot in row] for rows in maps])


def class_codes(classes: int) -> Float[Tensor, "K 84"]:
    """Codes of K classes: the digits' bitmaps for ten, fixed random signs otherwise."""
    if classes == 10:
        return digit_codes()
    signs = torch.randint(0, 2, (classes, 84), generator=torch.Generator("cpu").manual_seed(1998), device="cpu")
    return signs.float() * 2 - 1


def squash(a: Tensor) -> Tensor:
    """Scaled hyperbolic tangent f(a) = 1.7159 tanh(2a/3), so that f(1) = 1 and f(-1) = -1 (eq. 6, appendix A)."""
    return 1.7159 * torch.tanh(a * (2 / 3))


class Subsampling(nn.Module):
    """Sum of each 2 x 2 block, times one trainable coefficient a map, plus one bias, squashed (layers S2 and S4)."""

    def __init__(self, maps: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps).uniform_(-2.4 / 4, 2.4 / 4))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Float[Tensor, "N M H W"]) -> Float[Tensor, "N M H/2 W/2"]:
        """Halve both sides."""
        summed = F.avg_pool2d(x, 2) * 4
        return squash(summed * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1))


class SparseConvolution(nn.Conv2d):
    """Layer C3: a 5 x 5 convolution in which each map sees only the maps that table I gives it.

    The absent connections are held at zero by a mask and are not counted: 1,516 trainable parameters, not 2,416.
    """

    def __init__(self) -> None:
        super().__init__(6, 16, 5)
        table = torch.tensor([[float(mark == "X") for mark in row] for row in _TABLE]).T  # (16, 6)
        self.register_buffer("mask", table.view(16, 6, 1, 1))

    @property
    def connections(self) -> int:
        """Trainable parameters: 25 a connection in table I and one bias a map."""
        return 25 * sum(row.count("X") for row in _TABLE) + 16

    def forward(self, x: Float[Tensor, "N 6 14 14"]) -> Float[Tensor, "N 16 10 10"]:
        """Convolve with the masked filters."""
        return F.conv2d(x, self.weight * self.mask, self.bias)


class RadialOutput(nn.Module):
    """Euclidean radial basis units: y_k = sum_j (x_j - w_kj)^2, eq. 7, with fixed codes w."""

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("codes", class_codes(classes))

    def forward(self, x: Float[Tensor, "N 84"]) -> Float[Tensor, "N K"]:
        """Squared distance of F6 to each class's code; small means likely."""
        x = x.float()
        return (x * x).sum(1, keepdim=True) - 2 * x @ self.codes.T + (self.codes**2).sum(1)


class LeNet5(nn.Module):
    """LeNet-5 as published: C1 S2 C3 S4 C5 F6 and radial output units; 60,000 trainable parameters for C = 1.

    ``forward`` returns the negative penalties -y_k, so that the largest is the answer as in every other network here;
    the loss is eq. 9 (see `map_loss`).
    """

    def __init__(self, channels: int = 1, classes: int = 10, published: bool = True):
        super().__init__()
        self.C1 = nn.Conv2d(channels, 6, 5)
        self.S2 = Subsampling(6)
        self.C3 = SparseConvolution()
        self.S4 = Subsampling(16)
        self.C5 = nn.Conv2d(16, 120, 5)
        self.F6 = nn.Linear(120, 84)
        self.output = RadialOutput(classes)
        for layer, fan_in in ((self.C1, 25 * channels), (self.C3, 150), (self.C5, 400), (self.F6, 120)):
            bound = 2.4 / fan_in if published else 1 / math.sqrt(fan_in)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "N C 32 32"]) -> Float[Tensor, "N K"]:
        """Negative penalties of the classes."""
        x = squash(self.C1(x))  # N 6 28 28
        x = self.S2(x)  # N 6 14 14
        x = squash(self.C3(x))  # N 16 10 10
        x = self.S4(x)  # N 16 5 5
        x = squash(self.C5(x)).flatten(1)  # N 120
        x = squash(self.F6(x))  # N 84
        return -self.output(x)


def trainable_parameters(module: LeNet5) -> dict[str, int]:
    """Trainable parameters layer by layer, as the paper counts them (absent connections of C3 are none)."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in module.named_children()}
    return counts | {"C3": module.C3.connections}
