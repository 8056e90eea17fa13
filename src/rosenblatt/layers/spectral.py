"""Layers whose matrix has a largest singular value of one.

Reference: Miyato, Kataoka, Koyama & Yoshida, "Spectral normalization for generative adversarial networks", ICLR 2018,
arXiv:1802.05957, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from rosenblatt._types import Shaped

_FIRST = 15


class SpectralNorm(nn.Module):
    r"""A weight divided by its largest singular value, :math:`W / (u^\top W v)`, followed by one power iteration a use.

    The matrix is (outputs, everything else), its arithmetic fp32 whatever the network's is. On the device "meta", where a model
    file's network is laid out, nothing is computed.

    Args:
        weight: Of the layer, with the values that it starts from.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        matrix = weight.detach().flatten(1)
        for name, size in zip("uv", matrix.shape, strict=True):
            self.register_buffer(name, F.normalize(torch.randn(size, device=matrix.device), dim=0))
        if not matrix.is_meta:
            for _ in range(_FIRST):
                self.follow(matrix)

    @torch.no_grad()
    def follow(self, matrix: Tensor) -> None:
        """One power iteration."""
        F.normalize(matrix @ self.v, dim=0, out=self.u)
        F.normalize(matrix.T @ self.u, dim=0, out=self.v)

    def forward(self, weight: Shaped[Tensor, "outputs ..."]) -> Tensor:
        """The divided weight."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self.follow(matrix.detach())
            # copies: the next use changes the buffers before this one's gradient is asked for
            return weight / torch.dot(self.u.clone(), matrix @ self.v.clone())


def bounded(layer: nn.Module) -> nn.Module:
    """The layer with its weight under spectral normalisation.

    Example:
        >>> layer = bounded(nn.Linear(4, 3)).train()
        >>> _ = [layer(torch.ones(1, 4)) for _ in range(50)]
        >>> torch.linalg.matrix_norm(layer.weight, 2).item() < 1.01
        True
    """
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight), unsafe=True)
    return layer
