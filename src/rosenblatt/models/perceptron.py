"""The perceptron: a layer of threshold units, each a weighted sum held against a threshold.

Reference: Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the brain",
Psychological Review 65, 1958; doi:10.1037/h0042519. The unit: McCulloch & Pitts 1943; doi:10.1007/BF02478259.

Shape letters: N batch, D features, K units (1 for two classes, else one a class).

Departures from the paper: the input is the table itself, where Rosenblatt put a layer of fixed random association
units between retina and response; the threshold is a learned intercept; several classes are told apart by the unit
with the largest sum, where the paper has binary responses alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.layers.activations import activation


class ThresholdUnits(nn.Module):
    """K threshold units; ``forward`` gives the sums before the threshold, ``fire`` the outputs 0 and 1.

    The sums are what a margin, an attack or an export needs; the step's derivative is zero everywhere.

    Args:
        n_features: D.
        n_units: K.
    """

    def __init__(self, n_features: int, n_units: int = 1):
        super().__init__()
        self.linear = nn.Linear(n_features, n_units)
        self.threshold = activation("step")

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Weighted sums, w·x + b."""
        return self.linear(x)

    def fire(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Outputs: 1 where the sum reaches the threshold, else 0."""
        return self.threshold(self(x))

    @classmethod
    def of(cls, weights: Float[Tensor, "K D"], thresholds: Float[Tensor, " K"]) -> ThresholdUnits:
        """Units of given weights and intercepts, in their precision.

        Example:
            >>> nand = ThresholdUnits.of(torch.tensor([[-2.0, -2.0]]), torch.tensor([3.0]))
            >>> nand.fire(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).flatten().tolist()
            [1.0, 1.0, 0.0]
        """
        units = cls.__new__(cls)
        nn.Module.__init__(units)
        units.linear = nn.Linear(weights.shape[1], weights.shape[0], device="meta", dtype=weights.dtype)
        units.linear.to_empty(device=weights.device)  # no random start: the global generators stay as they are
        units.threshold = activation("step")
        with torch.no_grad():
            units.linear.weight.copy_(weights)
            units.linear.bias.copy_(thresholds)
        return units
