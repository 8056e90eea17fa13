"""A small perceptual network, for when no pretrained weights are at hand; and what all perceptual networks share.

A perceptual network turns pictures (N, 3, H, W), RGB from 0 to 1, into responses by layer. Its normalisation of the pixels
belongs to its weights and lies beside them as two buffers, so that nobody can pair weights with the wrong one.

The small network learns on the user's own pictures, without labels: it tells by how many quarter turns a crop was rotated and
from which picture it comes (Gidaris, Singh & Komodakis, "Unsupervised representation learning by predicting image
rotations", ICLR 2018, arXiv:1803.07728). Its filters are then scaled to a mean square response of 1. (Gatys et al. 2016,
section 2, scaled VGG-19's to a mean of 1; here that lets filters which respond rarely and strongly rule the Gram matrices.)

Shape letters: N batch, C channels, H height, W width, K answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float


class Perceptual(nn.Module):
    """Base of perceptual networks.

    Attributes:
        STYLE_LAYERS: Layers whose Gram matrices describe a style.
        CONTENT_LAYERS: Layers whose responses describe the content.
        ENCODER: Layer, channels and stride of the code that AdaIN works on.
        mean, std: Buffers (1, 3, 1, 1): the network sees ``(pixel - mean) / std``.
    """

    STYLE_LAYERS: ClassVar[tuple[str, ...]] = ()
    CONTENT_LAYERS: ClassVar[tuple[str, ...]] = ()
    ENCODER: ClassVar[tuple[str, int, int]] = ("", 0, 0)

    def __init__(self, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def normalised(self, x: Float[Tensor, "N 3 H W"]) -> Tensor:
        """Pixels as the weights want them."""
        return (x - self.mean) / self.std

    def features(self, x: Float[Tensor, "N 3 H W"], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Responses of the wanted layers; nothing beyond the last of them is computed."""
        raise NotImplementedError


class Small(Perceptual):
    """Five convolutions of 3 x 3 with two poolings.

    Args:
        answers: Outputs of the head that it learns with: four turns times the number of pictures.
        width: Channels of the first layers.
    """

    STYLE_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
    CONTENT_LAYERS = ("relu4",)
    WIDTH = 32
    ENCODER = ("relu4", 4 * WIDTH, 4)

    def __init__(self, answers: int = 4, width: int = WIDTH):
        super().__init__()
        sizes = (3, width, width, 2 * width, 4 * width, 4 * width)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(sizes[-1], answers)
        for layer in self.convolutions:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def features(self, x: Float[Tensor, "N 3 H W"], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Responses of the wanted layers, "relu1" to "relu5"."""
        found: dict[str, Tensor] = {}
        x = self.normalised(x)
        for number, layer in enumerate(self.convolutions, start=1):
            if number in (3, 4):
                x = F.avg_pool2d(x, 2)  # N C H/2 W/2; average, as Gatys et al. advise for pictures made by gradients
            x = F.relu(layer(x))
            if f"relu{number}" in wanted:
                found[f"relu{number}"] = x
                if len(found) == len(set(wanted)):
                    break
        return found

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """Which turn of which picture."""
        return self.head(self.features(x, ("relu5",))["relu5"].mean((2, 3)))

    @torch.no_grad()
    def equalise(self, pictures: Float[Tensor, "N 3 H W"]) -> None:
        """Scale each filter so that its mean square response on the pictures is 1; what follows is scaled back.

        The function of the head stays the same, since rectifiers and averages pass positive factors on. Filters that
        hardly ever respond are not blown up: they count as a tenth of their layer's strongest.
        """
        responses = self.features(pictures, self.STYLE_LAYERS)
        before = None
        for number, layer in enumerate(self.convolutions, start=1):
            strength = responses[f"relu{number}"].square().mean((0, 2, 3)).sqrt()  # C
            scale = strength.clamp_min(max(1e-6, 0.1 * float(strength.max())))
            if before is not None:
                layer.weight.mul_(before.view(1, -1, 1, 1))
            layer.weight.div_(scale.view(-1, 1, 1, 1))
            layer.bias.div_(scale)
            before = scale
        self.head.weight.mul_(before)


class Stylist(nn.Module):
    """A perceptual network and, for the methods that train one, the network that paints."""

    def __init__(self, features: Perceptual, painter: nn.Module | None = None):
        super().__init__()
        self.features, self.painter = features, painter
        self.features.requires_grad_(False)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Tensor:
        """The last response of the perceptual network, or the painted picture."""
        if self.painter is not None and not hasattr(self.painter, "decode"):
            return self.painter(x)
        last = self.features.STYLE_LAYERS[-1] if self.painter is None else self.features.ENCODER[0]
        code = self.features.features(x, (last,))[last]
        return code if self.painter is None else self.painter.decode(code)
