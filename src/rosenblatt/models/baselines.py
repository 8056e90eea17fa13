"""What every forecaster is compared with: last value, last season, one linear layer with last-value subtraction.

Reference: the linear layer is NLinear of Zeng et al. 2022, "Are Transformers effective for time series forecasting?",
arXiv:2205.13504, section 3.

Shapes: N windows, L rows, H steps of the horizon, K targets.

Departures: the layer is solved by ridge regression (`rosenblatt.train.forecast.solve_linear`), not descended to: it has one
minimum, and no learning rate can then be blamed when it wins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Float


def last_value(y: Float[Tensor, "N L K"], horizon: int) -> Float[Tensor, "N H K"]:
    """The last value, for all steps (the "naive" forecast, best possible for a random walk)."""
    return y[:, -1:].expand(-1, horizon, -1)


def last_season(y: Float[Tensor, "N L K"], horizon: int, season: int) -> Float[Tensor, "N H K"]:
    """The value of the same step one season ago, repeated beyond the first season.

    Example:
        >>> last_season(torch.tensor([[[1.0], [2.0], [3.0]]]), 3, 2).flatten().tolist()
        [2.0, 3.0, 2.0]
    """
    tail = y[:, -season:]
    return torch.cat([tail] * -(-horizon // season), 1)[:, :horizon]


def linear(
    y: Float[Tensor, "N L K"], coef: Float[Tensor, "H L"], intercept: Float[Tensor, " H"]
) -> Float[Tensor, "N H K"]:
    """One linear layer over time, shared by the targets: W (y - y_L) + b + y_L."""
    last = y[:, -1:]
    return torch.einsum("hl,nlk->nhk", coef, y - last) + intercept[:, None] + last
