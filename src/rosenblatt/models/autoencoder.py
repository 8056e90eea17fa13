"""Autoencoders: a network that squeezes its input through a code and unfolds it again.

Reference: Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647 (deep, linear code); tied weights and denoising:
Vincent et al. 2010, JMLR 11:3371; k largest code units: Makhzani & Frey 2014, arXiv:1312.5663.

Shape letters: N batch, D features (a picture's pixels in a row, channel by channel), Z code.

Departures from the 2006 paper: no layer-wise pretraining with restricted Boltzmann machines, which today's initialisation
and optimizers have made unnecessary; any activation in place of the logistic one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float
from rosenblatt.layers.codec import PictureDecoder, PictureEncoder
from rosenblatt.losses.code import top_k

Function = Callable[[Tensor], Tensor]


def keeping_gain(activation: Function) -> float:
    """1 / sqrt(E f(z)²) for a standard normal z: He et al. 2015 (arXiv:1502.01852, eq. 10) for any activation f.

    Example:
        >>> round(keeping_gain(torch.relu), 2)
        1.41
    """
    z = torch.special.ndtri((torch.arange(4096, device="cpu", dtype=torch.float64) + 0.5) / 4096)  # its quantiles
    return float(activation(z).square().mean().clamp(min=1e-2) ** -0.5)


class DenseAutoencoder(nn.Module):
    """Dense layers down to the code and the same widths up again.

    Args:
        features: D.
        code: Z.
        hidden: Widths of the layers between input and code.
        activation: Function of the hidden layers.
        code_activation: Function of the code.
        output: Function of the reconstruction, or None for a linear one.
        tied: The decoder's matrices are the encoder's, transposed; its biases are its own.
        keep: Code units that are not set to zero; None for all.
    """

    def __init__(
        self, features: int, code: int, hidden: Sequence[int], *, activation: Function, code_activation: Function,
        output: Function | None = None, tied: bool = False, keep: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.inputs, sizes = features, [features, *hidden, code]
        self.encoder = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))
        if tied:
            self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes[-2::-1])
            self.decoder = None
        else:
            self.decoder = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes[::-1]))
        self.activation, self.code_activation, self.output, self.keep = activation, code_activation, output, keep
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Weights that keep the variance from layer to layer: PyTorch's own let it vanish in a deep chain."""
        halves = [(self.encoder, 1.0)] if self.decoder is None else [(self.encoder, 1.0), (self.decoder, 1.0)]
        for layers, gain in halves:
            for layer in layers:
                nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
                nn.init.zeros_(layer.bias)
                gain = keeping_gain(self.activation)

    def before_code(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N Z"]:
        """The code before its function."""
        *hidden, last = self.encoder
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)

    def encode(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N Z"]:
        """The code."""
        z = self.code_activation(self.before_code(x))
        return z if self.keep is None else top_k(z, self.keep)

    def decode(self, z: Float[Tensor, "N Z"], *, raw: bool = False) -> Float[Tensor, "N D"]:
        """The reconstruction, or with ``raw`` what its output function is applied to."""
        layers = list(self.decoder) if self.decoder is not None else self._transposed()
        for number, layer in enumerate(layers):
            z = layer(z)
            if number < len(layers) - 1:
                z = self.activation(z)
        return z if raw or self.output is None else self.output(z)

    def _transposed(self) -> list[Function]:
        pairs = zip(reversed(self.encoder), self.biases, strict=True)
        return [lambda z, w=layer.weight, b=bias: F.linear(z, w.T, b) for layer, bias in pairs]

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The reconstruction."""
        return self.decode(self.encode(x))


class ConvAutoencoder(nn.Module):
    """Residual convolutions around a dense code.

    Args:
        shape: (C, H, W).
        code: Z.
        width: Channels at half the side.
        features: Width of the dense layer beside the code.
        code_activation: As `DenseAutoencoder`.
        output: As `DenseAutoencoder`.
        keep: As `DenseAutoencoder`.
    """

    def __init__(
        self, shape: tuple[int, int, int], code: int, *, width: int, features: int, code_activation: Function,
        output: Function | None = None, keep: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.shape, self.inputs = shape, shape[0] * shape[1] * shape[2]
        self.encoder = PictureEncoder(shape, width, features)
        self.code = nn.Linear(features, code)
        self.widen = nn.Linear(code, features)
        self.decoder = PictureDecoder(shape, width, features)
        self.code_activation, self.output, self.keep = code_activation, output, keep

    def before_code(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N Z"]:
        """The code before its function."""
        return self.code(self.encoder(x.view(-1, *self.shape)))

    def encode(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N Z"]:
        """The code."""
        z = self.code_activation(self.before_code(x))
        return z if self.keep is None else top_k(z, self.keep)

    def decode(self, z: Float[Tensor, "N Z"], *, raw: bool = False) -> Float[Tensor, "N D"]:
        """The reconstruction, or with ``raw`` what its output function is applied to."""
        out = self.decoder(F.silu(self.widen(z))).flatten(1)  # N C H W -> N D
        return out if raw or self.output is None else self.output(out)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The reconstruction."""
        return self.decode(self.encode(x))
