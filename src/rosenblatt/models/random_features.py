"""Features of an untrained network with fixed filters: a measure of pictures when no trained weights are at hand.

Random convolutions see edges, colours and textures at several scales and prefer no kind of picture, which trained ones do
(Naeem, Oh, Uh, Choi & Yoo, "Reliable fidelity and diversity metrics for generative models", ICML 2020, arXiv:2002.09797,
section 3.3, which recommends them for pictures unlike ImageNet's). The filters come from a generator with a documented stream,
so they are the same on every machine.

Shape letters: N batch, C channels, H height, W width, D features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float

WIDTHS = (32, 64, 128, 256)
SEED = 1958


class RandomFeatures(nn.Module):
    """Four convolutions of 3 x 3 with average pooling; the features are the mean and deviation of each map of the last three.

    Example:
        >>> RandomFeatures()(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 896])
    """

    def __init__(self) -> None:
        super().__init__()
        source, inputs = np.random.Generator(np.random.PCG64(SEED)), 3
        self.convolutions = nn.ModuleList()
        for width in WIDTHS:
            layer = nn.utils.skip_init(nn.Conv2d, inputs, width, 3, padding=1).requires_grad_(False)
            scale = np.sqrt(2 / (9 * inputs))  # He et al. 2015: responses keep their size
            layer.weight.copy_(torch.from_numpy(scale * source.standard_normal(layer.weight.shape)))
            layer.bias.zero_()
            self.convolutions.append(layer)
            inputs = width

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Features of pictures from 0 to 1."""
        x, found = 4 * x - 2, []
        for number, layer in enumerate(self.convolutions):
            x = F.relu(layer(x))
            if number:
                found += [x.mean((2, 3)), x.flatten(2).std(2)]
            x = F.avg_pool2d(x, 2)
        return torch.cat(found, 1)
