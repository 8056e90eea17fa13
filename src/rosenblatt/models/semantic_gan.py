"""GauGAN: from a label map to a photograph, by normalisation whose scale and shift are read off the map at every pixel.

Reference: Park, Liu, Wang & Zhu, "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019, arXiv:1903.07291,
section 3, figures 2 to 4 and appendix A. The critic is that of Isola et al. 2017, arXiv:1611.07004, at several scales as in Wang
et al. 2018, arXiv:1711.11585.

Pictures are (N, 3, H, W) in -1 to 1; label maps are ids (N, H, W) from 0 to K - 1, and K where nobody cares. The shorter side
is halved until it is 4 to 7, the longer one as often.

Shape letters: N batch, H height, W width, K classes, M = K + 1 label channels, C channels, Z code.

Departures from the paper:
* Normalisation: groups of 16 channels of each picture by their own mean and variance (group normalisation, Wu & He 2018), in
  the place of statistics over all pictures of all devices. Nothing is remembered from training, so a picture is the same
  whatever else is in the batch. One channel a group would wash the style out, which is the mean of channels; the critic, which
  needs no style, has it so. The style encoder's first layer has none.
* Scale and shift are one convolution with twice the outputs, which is the same function.
* Leaky rectifiers throughout, as in the critic.
* Glorot's start without the gain of 0.02, which only the layers without spectral norm would feel: scales and shifts then
  differ between classes from the first step on.
* Sides other than 256 have as many blocks as halvings fit; `width` 64 and `hidden` 128 are the published size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils import parametrize

from rosenblatt._types import Float, Shaped
from rosenblatt.layers.spectral import bounded
from rosenblatt.models.gan import stages

EPSILON = 1e-5
GROUP = 16
"""Channels that the generator normalises together (Wu & He 2018, arXiv:1803.08494, table 3)."""


def label_channels(maps: Shaped[Tensor, "N H W"], classes: int) -> Float[Tensor, "N M H W"]:
    """One channel a class, and one of the pixels that nobody cares for.

    Example:
        >>> label_channels(torch.tensor([[[0, 2]]]), 2)[0, :, 0].tolist()
        [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    channels = F.one_hot(maps.long(), classes + 1).permute(0, 3, 1, 2)  # N M H W
    return channels.float().contiguous(memory_format=torch.channels_last)


class _ByPicture(torch.autograd.Function):
    """`by_picture` with its gradient by hand: autograd's of its parts takes three times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int) -> Tensor:
        flat = _pixels_last(x)
        centred = flat - _mean(flat, groups)
        scale = (_mean(centred * centred, groups, precise=True) + EPSILON).rsqrt().to(x.dtype)
        y = centred.mul_(scale)
        ctx.save_for_backward(y, scale)
        ctx.groups = groups
        return _as_pictures(y, x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y, scale), g = ctx.saved_tensors, _pixels_last(gradient)
        # what would change the mean or the variance is taken out
        changed = (g - _mean(g, ctx.groups)).addcmul_(y, _mean(g * y, ctx.groups), value=-1).mul_(scale)
        return _as_pictures(changed, gradient.shape), None


def _mean(flat: Float[Tensor, "N P C"], groups: int, *, precise: bool = False) -> Float[Tensor, "N 1 C"]:
    """Mean over all pixels and the channels of a group, for each channel of it; summed in fp32 or better."""
    kind = torch.promote_types(flat.dtype, torch.float32)
    mean = flat.mean(1, keepdim=True, dtype=kind)
    count = flat.shape[2]
    if groups < count:
        mean = mean.view(len(flat), 1, groups, -1).mean(3, keepdim=True).expand(-1, -1, -1, count // groups)
        mean = mean.reshape(len(flat), 1, count)
    return mean if precise else mean.to(flat.dtype)


def _pixels_last(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P C"]:
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1])  # a view in the layout that convolutions like


def _as_pictures(x: Float[Tensor, "N P C"], shape: torch.Size) -> Float[Tensor, "N C H W"]:
    return x.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)


def by_picture(x: Float[Tensor, "N C H W"], groups: int | None = None) -> Float[Tensor, "N C H W"]:
    """Each group of channels of each picture with mean 0 and variance 1: the same in training and in use, in any batch.

    Args:
        x: Responses.
        groups: Groups of neighbouring channels; None makes one of each channel (instance normalisation).

    Example:
        >>> by_picture(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[[[-1.0000,  1.0000]]]])
    """
    return _ByPicture.apply(x, x.shape[1] if groups is None else groups)


def groups_of(channels: int) -> int:
    """Groups of 16 channels where these go into ``channels``, else of what both can be divided by."""
    return channels // math.gcd(channels, GROUP)


class SpatiallyAdaptive(nn.Module):
    r"""Normalisation with scale and shift from the label map, :math:`\gamma(m)\,\frac{h - \mu}{\sigma} + \beta(m)` (eq. 1).

    As in the published network, the scale is 1 plus what the convolution says, so that it starts near 1.

    Args:
        channels: C.
        labels: M.
        hidden: Channels between the map and its scales and shifts.
    """

    def __init__(self, channels: int, labels: int, hidden: int):
        super().__init__()
        self.shared = nn.Conv2d(labels, hidden, 3, padding=1)
        self.modulation = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "N C H W"], labels: Float[Tensor, "N M H W"]) -> Float[Tensor, "N C H W"]:
        """Modulated responses."""
        scale, shift = self.modulation(F.relu(self.shared(labels))).chunk(2, 1)
        return torch.addcmul(shift, by_picture(x, groups_of(x.shape[1])).to(scale.dtype), 1 + scale)


class SpatiallyAdaptiveBlock(nn.Module):
    """Two convolutions and a shortcut, each behind its own normalisation (figure 4)."""

    def __init__(self, inputs: int, outputs: int, labels: int, hidden: int):
        super().__init__()
        middle = min(inputs, outputs)
        self.norms = nn.ModuleList(SpatiallyAdaptive(c, labels, hidden) for c in (inputs, middle))
        self.one = bounded(nn.Conv2d(inputs, middle, 3, padding=1))
        self.two = bounded(nn.Conv2d(middle, outputs, 3, padding=1))
        self.shortcut = None
        if inputs != outputs:
            self.norms.append(SpatiallyAdaptive(inputs, labels, hidden))
            self.shortcut = bounded(nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Float[Tensor, "N C H W"], labels: Float[Tensor, "N M H W"]) -> Tensor:
        """Responses of the same side."""
        y = self.one(F.leaky_relu(self.norms[0](x, labels), 0.2))
        y = self.two(F.leaky_relu(self.norms[1](y, labels), 0.2))
        return y + (x if self.shortcut is None else self.shortcut(self.norms[2](x, labels)))


class StyleEncoder(nn.Module):
    """Mean and log-variance of the code of a photograph (appendix A, figure 14)."""

    def __init__(self, shape: tuple[int, int], code: int, width: int):
        super().__init__()
        _, count = stages(min(shape))
        widths = [3, *(min(width << n, 8 * width) for n in range(count))]
        self.layers = nn.ModuleList(
            bounded(nn.Conv2d(widths[n], widths[n + 1], 3, 2, 1, bias=False)) for n in range(count)
        )
        size = widths[-1] * (shape[0] >> count) * (shape[1] >> count)
        self.mean, self.log_variance = nn.Linear(size, code), nn.Linear(size, code)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N Z"], Float[Tensor, "N Z"]]:
        """The two vectors that a code is drawn with."""
        for number, layer in enumerate(self.layers):
            x = layer(x)  # the first layer sees how bright the photograph is
            x = F.leaky_relu(by_picture(x, groups_of(x.shape[1])) if number else x, 0.2)
        flat = x.flatten(1)
        return self.mean(flat).float(), self.log_variance(flat).float()


class SemanticGenerator(nn.Module):
    """From a label map and a code to a photograph; without a style encoder the smallest map takes the code's place.

    Args:
        shape: (H, W) of the photographs.
        classes: K.
        width: Channels at full size.
        hidden: See `SpatiallyAdaptive`.
        code: Z; 0 builds no style encoder.

    Raises:
        ValueError: The sides do not halve down to 4 to 7.
    """

    def __init__(self, shape: tuple[int, int], classes: int, *, width: int, hidden: int, code: int):
        super().__init__()
        _, count = stages(min(shape))
        if any(side % (1 << count) for side in shape):
            raise ValueError(f"shape {shape}")
        self.classes, self.base, self.code = classes, (shape[0] >> count, shape[1] >> count), code
        # 16, ..., 16, 8, 4, 2, 1 times the width (appendix A, figure 11)
        outputs = [width * min(16, 1 << (count - n)) for n in range(count + 1)]
        inputs = [width * 16, *outputs[:-1]]
        top = inputs[0]
        self.encoder = StyleEncoder(shape, code, width) if code else None
        self.first = (
            nn.Linear(code, top * self.base[0] * self.base[1]) if code else nn.Conv2d(classes + 1, top, 3, padding=1)
        )
        self.blocks = nn.ModuleList(
            SpatiallyAdaptiveBlock(a, b, classes + 1, hidden) for a, b in zip(inputs, outputs, strict=True)
        )
        self.last = nn.Conv2d(outputs[-1], 3, 3, padding=1)
        self.apply(_start)
        nn.init.xavier_normal_(self.last.weight, gain=0.1)  # pictures start grey, where the tanh has a gradient

    def encode(self, x: Float[Tensor, "N 3 H W"]) -> tuple[Float[Tensor, "N Z"], Float[Tensor, "N Z"]]:
        """Mean and log-variance of the codes of photographs."""
        return self.encoder(x)

    def forward(self, maps: Shaped[Tensor, "N H W"], z: Float[Tensor, "N Z"] | None = None) -> Float[Tensor, "N 3 H W"]:
        """Photographs."""
        count = len(self.blocks) - 1
        # nearest sampling commutes with one channel a class
        pyramid = [label_channels(maps[:, :: 1 << n, :: 1 << n], self.classes) for n in range(count, -1, -1)]
        if self.encoder is None:
            x = self.first(pyramid[0])
        else:
            if z is None:
                z = torch.zeros(len(maps), self.code, device=maps.device)
            x = self.first(z).view(len(maps), -1, *self.base)  # N C H W
        for number, (block, labels) in enumerate(zip(self.blocks, pyramid, strict=True)):
            x = block(F.interpolate(x, scale_factor=2, mode="nearest") if number else x, labels)
        return torch.tanh(self.last(F.leaky_relu(x, 0.2)))


class PatchCritic(nn.Module):
    """A logit for each patch of a picture beside its label map (Isola et al. 2017, section 3.2; appendix A, figure 13)."""

    def __init__(self, inputs: int, width: int, layers: int):
        super().__init__()
        widths = [inputs, *(min(width << n, 8 * width) for n in range(layers))]
        self.layers = nn.ModuleList()
        for n in range(layers):
            stride = 1 if n == layers - 1 else 2
            # a normalisation takes the bias away again; the first layer has none
            conv = nn.Conv2d(widths[n], widths[n + 1], 4, stride, 2, bias=n == 0)
            self.layers.append(bounded(conv))
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 2)

    def forward(self, x: Float[Tensor, "N C H W"]) -> list[Tensor]:
        """Responses of every layer, the logits (N, 1, h, w) at the end."""
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            x = F.leaky_relu(by_picture(x) if number else x, 0.2)
            found.append(x)
        return [*found, self.last(x)]


class MultiscaleCritic(nn.Module):
    """The same kind of critic at the full side, the half, ... (Wang et al. 2018, section 3.2).

    Args:
        classes: K.
        width: Channels of the first layer.
        layers: Convolutions of each critic before the last one.
        scales: Critics.
    """

    def __init__(self, classes: int, *, width: int, layers: int = 4, scales: int = 2):
        super().__init__()
        self.classes = classes
        self.critics = nn.ModuleList(PatchCritic(classes + 4, width, layers) for _ in range(scales))
        self.apply(_start)

    def forward(self, maps: Shaped[Tensor, "N H W"], x: Float[Tensor, "N 3 H W"]) -> list[list[Tensor]]:
        """By scale, the responses of every layer; the last are logits, large where the patch looks like data."""
        x = torch.cat([label_channels(maps, self.classes), x.float()], 1)
        found = []
        for number, critic in enumerate(self.critics):
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if number else x
            found.append(critic(x))
        return found


class SemanticPlayers(nn.Module):
    """Both sides of the game."""

    def __init__(self, generator: SemanticGenerator, critic: MultiscaleCritic):
        super().__init__()
        self.generator, self.critic = generator, critic

    def forward(self, maps: Tensor, z: Tensor | None = None) -> Tensor:
        """Photographs of label maps."""
        return self.generator(maps, z)


def _start(part: nn.Module) -> None:
    """Glorot's normal start; behind a spectral norm only the direction of the weights counts, and stays."""
    if isinstance(part, (nn.Conv2d, nn.Linear)):
        if not parametrize.is_parametrized(part):
            nn.init.xavier_normal_(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
