"""Generators and critics: DCGAN, a style-based pair with residual critic, and a dense pair for tables.

References: Radford, Metz & Chintala 2015, "Unsupervised representation learning with deep convolutional generative adversarial
networks", arXiv:1511.06434 (DCGAN); Karras, Laine & Aila 2018, arXiv:1812.04948, and Karras et al. 2019, arXiv:1912.04958
(mapping network, modulated convolutions, skip generator, residual critic); Miyato & Koyama 2018, arXiv:1802.05637 (projection
of labels); Karras et al. 2017, arXiv:1710.10196 (deviation over the batch).

Pictures are (N, C, S, S) in -1 to 1. S is halved until it is 4 to 7, so 28, 32, 48, 64, 96, 128 and 256 fit among others.

Shape letters: N batch, Z code, W style, C channels, S side, K classes, D columns.

Departures:
* DCGAN's widths go from 8 times `width` down; sides other than 64 have as many layers as halvings fit.
* Style-based: plain weights with He's initialisation in place of the equalised learning rate; bilinear resampling without a
  blur filter; no path-length penalty; two dense layers map the code.
* Modulation is done on the responses before and after one shared convolution, which is the same number as modulated filters.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float, Int
from rosenblatt.layers.spectral import bounded

LEAST, MOST = 4, 7
"""Side of the smallest maps."""


def stages(side: int) -> tuple[int, int]:
    """Side of the smallest maps, and halvings down to it.

    Raises:
        ValueError: No number of halvings ends between 4 and 7.

    Example:
        >>> stages(28), stages(64)
        ((7, 2), (4, 4))
    """
    base, count = side, 0
    while base > MOST and base % 2 == 0:
        base, count = base // 2, count + 1
    if not LEAST <= base <= MOST or count == 0:
        raise ValueError(f"side {side}")
    return base, count


def _he(layer: nn.Module, gain: float = math.sqrt(2)) -> nn.Module:
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Code(nn.Module):
    """A code of length sqrt(Z) and, of K classes, a learned one of the label beside it."""

    def __init__(self, size: int, classes: int):
        super().__init__()
        self.size = size * (2 if classes else 1)
        self.labels = nn.Embedding(classes, size) if classes else None

    def forward(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"] | None) -> Tensor:
        """Codes that the networks see; without labels those of the first class."""
        if self.labels is not None and y is None:
            y = torch.zeros(len(z), dtype=torch.long, device=z.device)
        parts = [z] if self.labels is None else [z, self.labels(y)]
        return torch.cat([part * part.square().mean(1, keepdim=True).add(1e-8).rsqrt() for part in parts], 1)


# ------------------------------------------------------------------------------------------------------------- DCGAN


class DCGenerator(nn.Module):
    """Transposed convolutions with batch normalisation, from code to picture (section 3, figure 1)."""

    def __init__(self, side: int, channels: int, code: int, width: int, classes: int = 0):
        super().__init__()
        self.base, count = stages(side)
        widths = [width << n for n in range(count - 1, -1, -1)]
        self.code = Code(code, classes)
        self.first = nn.Linear(self.code.size, widths[0] * 2 * self.base**2, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0] * 2), nn.ReLU()]
        before = widths[0] * 2
        for number, inner in enumerate(widths):
            last = number == count - 1
            layers.append(nn.ConvTranspose2d(before, channels if last else inner, 4, 2, 1, bias=last))
            layers += [] if last else [nn.BatchNorm2d(inner), nn.ReLU()]
            before = inner
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_dcgan_start)

    def forward(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, "N C S S"]:
        """Pictures."""
        x = self.first(self.code(z, y))
        return self.layers(x.view(len(z), -1, self.base, self.base))


class DCCritic(nn.Module):
    """Strided convolutions with leaky rectifiers, batch normalisation in all but the first (section 3)."""

    def __init__(self, side: int, channels: int, width: int, classes: int = 0, *, spectral: bool = False):
        super().__init__()
        base, count = stages(side)
        layers: list[nn.Module] = []
        before = channels
        for number in range(count):
            after = width << number
            plain = number == 0 or spectral  # batch normalisation would undo the bound on the singular values
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=plain), *([] if plain else [nn.BatchNorm2d(after)])]
            layers.append(nn.LeakyReLU(0.2))
            before = after
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = Head(before * base**2, classes)
        self.apply(_dcgan_start)
        if spectral:
            _bound(self)

    def forward(self, x: Float[Tensor, "N C S S"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, " N"]:
        """Logits: large where the picture looks like data."""
        return self.head(self.layers(x), y)


def _dcgan_start(part: nn.Module) -> None:
    if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(part.weight, std=0.02)  # section 4
    elif isinstance(part, nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1.0, 0.02)


class Head(nn.Module):
    """A logit, plus the agreement of what was seen with the label (Miyato & Koyama 2018, eq. 3)."""

    def __init__(self, size: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(size, 1)
        self.labels = nn.Embedding(classes, size) if classes else None
        if self.labels is not None:
            nn.init.normal_(self.labels.weight, std=1 / math.sqrt(size))

    def forward(self, h: Float[Tensor, "N D"], y: Int[Tensor, " N"] | None) -> Float[Tensor, " N"]:
        """Logits."""
        logit = self.linear(h)[:, 0]
        return logit if self.labels is None else logit + (self.labels(y) * h).sum(1)


def _bound(module: nn.Module) -> None:
    for part in list(module.modules()):
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            bounded(part)


# ------------------------------------------------------------------------------------------------------- style-based


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by the style, its outputs brought back to one size (2019, eq. 1 to 3)."""

    def __init__(self, inputs: int, outputs: int, style: int, *, kernel: int = 3, demodulate: bool = True):
        super().__init__()
        self.conv = _he(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), gain=1.0)
        self.affine = _he(nn.Linear(style, inputs), gain=1.0)
        nn.init.ones_(self.affine.bias)
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.demodulate = demodulate

    def forward(self, x: Float[Tensor, "N C S S"], w: Float[Tensor, "N W"]) -> Tensor:
        """Responses."""
        scale = self.affine(w)  # N C
        x = self.conv(x * scale[:, :, None, None])
        if self.demodulate:
            power = self.conv.weight.float().square().sum((2, 3))  # outputs inputs
            x = x * (scale.float().square() @ power.T + 1e-8).rsqrt()[:, :, None, None].to(x.dtype)
        return x + self.bias


class StyleBlock(nn.Module):
    """Twice the side, one or two modulated convolutions with noise, and this side's share of the picture."""

    def __init__(self, inputs: int, outputs: int, style: int, channels: int, side: int, *, first: bool):
        super().__init__()
        self.first = first
        count = 1 if first else 2
        self.convs = nn.ModuleList(Modulated(inputs if n == 0 else outputs, outputs, style) for n in range(count))
        self.strength = nn.Parameter(torch.zeros(count))
        self.register_buffer("noise", torch.randn(count, 1, side, side))
        self.picture = Modulated(outputs, channels, style, kernel=1, demodulate=False)

    def forward(self, x: Tensor, picture: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """Responses, and the picture so far."""
        if not self.first:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        for number, conv in enumerate(self.convs):
            x = conv(x, w)
            # the noise of evaluation is fixed, so that a code is one picture
            shape = (len(x), 1, *x.shape[2:])
            noise = torch.randn(shape, device=x.device) if self.training else self.noise[number]
            x = math.sqrt(2) * F.leaky_relu(x + self.strength[number] * noise.to(x.dtype), 0.2)
        part = self.picture(x, w)
        if picture is not None:
            part = part + F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
        return x, part


class StyleGenerator(nn.Module):
    """Mapping network, learned constant, modulated blocks; each adds to the picture."""

    def __init__(self, side: int, channels: int, code: int, width: int, classes: int = 0):
        super().__init__()
        base, count = stages(side)
        self.code = Code(code, classes)
        sizes = (self.code.size, code, code)
        self.mapping = nn.ModuleList(_he(nn.Linear(a, b)) for a, b in itertools.pairwise(sizes))
        widths = [min(width << (count - n), 8 * width) for n in range(count + 1)]
        self.constant = nn.Parameter(torch.randn(1, widths[0], base, base))
        self.blocks = nn.ModuleList(
            StyleBlock(
                widths[max(n - 1, 0)], widths[n], code, channels, base << n, first=n == 0
            )
            for n in range(count + 1)
        )  # fmt: skip
        self.register_buffer("mean_style", torch.zeros(code))

    def style(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, "N W"]:
        """Styles of codes; a running mean of them is kept in training."""
        w = self.code(z, y)
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), 0.2)
        if self.training:
            self.mean_style.lerp_(w.detach().float().mean(0), 0.005)
        return w

    def paint(self, styles: list[Tensor]) -> Float[Tensor, "N C S S"]:
        """Pictures of one style a block."""
        x, picture = self.constant.expand(len(styles[0]), -1, -1, -1), None
        for block, w in zip(self.blocks, styles, strict=True):
            x, picture = block(x, picture, w)
        return picture

    def forward(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, "N C S S"]:
        """Pictures; in training half of the batches mix two styles at a random block (2018, section 3.1)."""
        w = self.style(z, y)
        styles = [w] * len(self.blocks)
        if self.training and len(self.blocks) > 1:
            cut = int(torch.randint(1, 2 * len(self.blocks), ()))
            if cut < len(self.blocks):
                other = self.style(torch.randn_like(z), y)
                styles = [w] * cut + [other] * (len(self.blocks) - cut)
        return self.paint(styles)


class ResidualCritic(nn.Module):
    """Residual blocks down to the smallest side, deviation over the batch, two dense layers (2019, figure 7)."""

    def __init__(self, side: int, channels: int, width: int, classes: int = 0, *, spectral: bool = False):
        super().__init__()
        base, count = stages(side)
        widths = [min(width << n, 8 * width) for n in range(count + 1)]
        self.first = _he(nn.Conv2d(channels, widths[0], 1))
        self.blocks = nn.ModuleList(ResidualDown(widths[n], widths[n + 1]) for n in range(count))
        self.last = _he(nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1))
        self.dense = _he(nn.Linear(widths[-1] * base**2, 4 * widths[-1]))
        self.head = Head(4 * widths[-1], classes)
        if spectral:
            _bound(self)

    def forward(self, x: Float[Tensor, "N C S S"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, " N"]:
        """Logits: large where the picture looks like data."""
        x = F.leaky_relu(self.first(x), 0.2)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(self.last(torch.cat([x, deviation_map(x)], 1)), 0.2)
        return self.head(F.leaky_relu(self.dense(x.flatten(1)), 0.2), y)


class ResidualDown(nn.Module):
    """Two convolutions and a shortcut, to half the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.one, self.two = (
            _he(nn.Conv2d(inputs, inputs, 3, padding=1)),
            _he(nn.Conv2d(inputs, outputs, 3, padding=1)),
        )
        self.shortcut = _he(nn.Conv2d(inputs, outputs, 1, bias=False), gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Responses of half the side."""
        y = F.leaky_relu(self.one(x), 0.2)
        y = F.leaky_relu(self.two(F.avg_pool2d(y, 2)), 0.2)
        return (y + self.shortcut(F.avg_pool2d(x, 2))) / math.sqrt(2)


def deviation_map(x: Float[Tensor, "N C S S"], group: int = 4) -> Tensor:
    """One map with the mean deviation of the responses among samples of a group: low where samples are all alike."""
    count = len(x)
    group = math.gcd(group, count)
    y = x.float().view(group, count // group, *x.shape[1:])
    variance = (y - y.mean(0)).square().mean(0)  # torch's var along the first axis is ten times slower
    spread = (variance + 1e-8).sqrt().mean((1, 2, 3))  # N / group
    return spread.repeat(group).view(count, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x.dtype)


# ------------------------------------------------------------------------------------------------------------ tables


class TableGenerator(nn.Module):
    """Dense layers from code to a row."""

    def __init__(self, columns: int, code: int, width: int, classes: int = 0):
        super().__init__()
        self.code = Code(code, classes)
        self.one, self.two = _he(nn.Linear(self.code.size, width)), _he(nn.Linear(width, width))
        self.last = _he(nn.Linear(width, columns), gain=1.0)

    def forward(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, "N D"]:
        """Rows."""
        x = F.leaky_relu(self.one(self.code(z, y)), 0.2)
        return self.last(F.leaky_relu(self.two(x), 0.2))


class TableCritic(nn.Module):
    """Dense layers from a row to a logit."""

    def __init__(self, columns: int, width: int, classes: int = 0, *, spectral: bool = False):
        super().__init__()
        self.one, self.two = _he(nn.Linear(columns, width)), _he(nn.Linear(width, width))
        self.head = Head(width, classes)
        if spectral:
            _bound(self)

    def forward(self, x: Float[Tensor, "N D"], y: Int[Tensor, " N"] | None = None) -> Float[Tensor, " N"]:
        """Logits: large where the row looks like data."""
        return self.head(F.leaky_relu(self.two(F.leaky_relu(self.one(x), 0.2)), 0.2), y)


class Players(nn.Module):
    """Both sides of the game."""

    def __init__(self, generator: nn.Module, critic: nn.Module):
        super().__init__()
        self.generator, self.critic = generator, critic

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Samples."""
        return self.generator(z, y)
