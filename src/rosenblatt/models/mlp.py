"""The multilayer perceptron: a chain of dense layers.

Reference: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature 323, 1986;
doi:10.1038/323533a0.

Shape letters: N batch, D features, K outputs.

Departures from the paper: any activation; dropout (Srivastava et al. 2014) between the layers if asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from rosenblatt._types import Float


class MLP(nn.Module):
    """Dense layers with one activation between them; ``forward`` gives raw outputs (logits, or the regression).

    Args:
        sizes: Widths of all layers, from D to K.
        activation: Function between the layers.
        dropout: Share of each hidden layer dropped in training.
    """

    def __init__(self, sizes: Sequence[int], activation: Callable[[Tensor], Tensor], dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Raw outputs."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.dropout(self.activation(layer(x)))
        return last(x)
