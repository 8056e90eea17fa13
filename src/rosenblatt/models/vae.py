"""The variational autoencoder: a Gaussian code, and a network each way.

Reference: Kingma & Welling 2014, arXiv:1312.6114; Rezende, Mohamed & Wierstra 2014, arXiv:1401.4082; conditional on
labels: Sohn, Lee & Yan 2015 (NeurIPS).

Shape letters: N batch, S samples of the code, D features (a picture's pixels in a row), K label columns, Z code.

Departures from the paper:
- Residual convolutions for pictures, SiLU in place of tanh and sigmoid units.
- The noise of the Gaussian likelihood is one learned number (Rybkin et al. 2021, arXiv:2006.13202), or a fixed one.
- The logarithm of the code's variance is kept between -14 and 6 by a smooth bend, so that no step can make it overflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.layers.codec import PictureDecoder, PictureEncoder


def dense(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """Dense layers, each followed by SiLU and dropout."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class VAE(nn.Module):
    """q(z | x) = N(mean, diag exp(log_variance)), p(z) = N(0, I), p(x | z) by the decoder.

    Args:
        features: D.
        latent: Z.
        labels: K, columns of a one-hot label that both networks see; 0 for none.
        hidden: Widths of the encoder's dense layers, mirrored in the decoder; of the convolutional form the first is the
            channels at half the side and the last the width of the dense layer.
        shape: (C, H, W) for the convolutional form; None for the dense one.
        dropout: Share of the hidden units dropped in training.
        noise: Starting value of the Gaussian likelihood's standard deviation; None for the Bernoulli likelihood.
        learn_noise: Whether training changes it.
    """

    def __init__(
        self, features: int, latent: int, *, labels: int = 0, hidden: Sequence[int] = (500, 500),
        shape: tuple[int, int, int] | None = None, dropout: float = 0.0, noise: float | None = None,
        learn_noise: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.shape, self.features, self.latent, self.labels = shape, features, latent, labels
        self.inputs = features + labels
        if shape is None:
            back = [latent + labels, *hidden[::-1]]
            self.encoder: nn.Module = dense([features + labels, *hidden], dropout)
            self.decoder: nn.Module = nn.Sequential(dense(back, dropout), nn.Linear(back[-1], features))
            width = hidden[-1] if hidden else features + labels
        else:
            width = hidden[-1]
            self.encoder = PictureEncoder(shape, hidden[0], width, dropout)
            self.decoder = nn.Sequential(
                dense([latent + labels, width], dropout), PictureDecoder(shape, hidden[0], width)
            )
            width += labels
        self.mean = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)
        if noise is not None:
            self.log_noise = nn.Parameter(torch.tensor(math.log(noise)), requires_grad=learn_noise)

    def encode(
        self, x: Float[Tensor, "N D"], c: Float[Tensor, "N K"] | None = None
    ) -> tuple[Float[Tensor, "N Z"], Float[Tensor, "N Z"]]:
        """Mean and log-variance of q(z | x)."""
        if self.shape is None:
            h = self.encoder(x if c is None else torch.cat([x, c], 1))
        else:
            h = self.encoder(x.view(-1, *self.shape))
            h = h if c is None else torch.cat([h, c], 1)
        return self.mean(h).float(), bend(self.log_variance(h).float())

    def decode(self, z: Float[Tensor, "N Z"], c: Float[Tensor, "N K"] | None = None) -> Float[Tensor, "N D"]:
        """Logits of the Bernoulli likelihood, means of the Gaussian one."""
        return self.decoder(z if c is None else torch.cat([z, c], 1)).flatten(1).float()

    def forward(self, x: Float[Tensor, "N _"], c: Float[Tensor, "N K"] | None = None) -> Float[Tensor, "N D"]:
        """Decoded mean code: deterministic. The label columns may follow those of x."""
        if c is None and self.labels:
            x, c = x[:, : self.features], x[:, self.features :]
        return self.decode(self.encode(x, c)[0], c)


def bend(x: Tensor, low: float = -14.0, high: float = 6.0) -> Tensor:
    """X between the bounds, smooth, slope 1 and value 0 at 0."""
    up, down = high * torch.tanh(x / high), -low * torch.tanh(x / -low)
    return torch.where(x > 0, up, down)
