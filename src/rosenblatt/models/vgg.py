"""VGG-19 as a perceptual network: sixteen convolutions of 3 x 3, five poolings.

Reference: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
arXiv:1409.1556, configuration E. As a perceptual network: Gatys, Ecker & Bethge, CVPR 2016.

Shape letters: N batch, C channels, H height, W width.

Departures from the papers:
* The three dense layers (119.5 of 143.7 million parameters) are left out: they take no part in style transfer. What
  lies beyond the last wanted layer is never built.
* Pooling takes the maximum, as in training; Gatys et al. offer averages as an alternative.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.models.perceptual import Perceptual

BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
"""Convolutions and channels of the five blocks (configuration E)."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation that torchvision's weights were trained with, RGB from 0 to 1."""


class VGG19(Perceptual):
    """The convolutional part of VGG-19 up to a layer.

    Args:
        last: Last layer, "relu1_1" to "relu5_4".

    Example:
        >>> net = VGG19("relu1_2")
        >>> sum(p.numel() for p in net.parameters())
        38720
    """

    STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    CONTENT_LAYERS = ("relu4_2",)
    ENCODER = ("relu4_1", 512, 8)

    def __init__(self, last: str = "relu5_1"):
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        self.names, layers, channels = {}, [], 3
        for block, (count, width) in enumerate(BLOCKS, start=1):
            for number in range(1, count + 1):
                # not in place: the caller may hold the responses of the layer before
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
                self.names[len(layers) - 1] = f"relu{block}_{number}"
                if f"relu{block}_{number}" == last:
                    break
            if last in self.names.values():
                break
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.layers = nn.Sequential(*layers)  # numbered as in torchvision's `features`

    def features(self, x: Float[Tensor, "N 3 H W"], wanted: Sequence[str]) -> dict[str, Tensor]:
        """Responses of the wanted layers, "relu1_1" to the last one built."""
        found: dict[str, Tensor] = {}
        x = self.normalised(x)
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if self.names.get(number) in wanted:
                found[self.names[number]] = x
                if len(found) == len(set(wanted)):
                    break
        return found

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Tensor:
        """Responses of the last layer."""
        return self.layers(self.normalised(x))
