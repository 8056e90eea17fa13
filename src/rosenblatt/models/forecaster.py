"""The recurrent forecaster: an Elman, GRU or LSTM network reads a window, linear heads write all quantiles of the horizon.

Reference: Elman 1990 (doi:10.1207/s15516709cog1402_1); Hochreiter & Schmidhuber 1997 (LSTM, doi:10.1162/neco.1997.9.8.1735);
Cho et al. 2014 (GRU, arXiv:1406.1078); direct quantile heads: Wen et al. 2017 (arXiv:1711.11053); last-value subtraction:
Zeng et al. 2022 (NLinear, arXiv:2205.13504).

Shapes: N windows, L rows of a window, H steps of the horizon, K targets, P past-only and F known columns, Q quantiles.

Departures:
- One multi-layer head in place of Wen's two decoders.
- The heads start at zero, so an untrained network forecasts exactly what it subtracts (last value, or last season).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.models.baselines import last_season

CELLS = ("elman", "gru", "lstm")


class RecurrentForecaster(nn.Module):
    """Window in, quantiles of the next H steps out.

    The window's columns are the K targets, ``extra`` others (missing-value marks, past-only covariates) and the F known
    ones, in this order. With F > 0 the input has H rows more, of which only the known columns are read.

    Args:
        targets: K.
        extra: Columns between the targets and the known ones.
        known: F.
        horizon: H.
        quantiles: Q.
        cell: "elman", "gru" or "lstm".
        hidden_size: Width of the recurrent layers.
        layers: Recurrent layers.
        dropout: Between recurrent layers and before the head.
        season: 0 subtracts the last value; s > 0 subtracts the value one season of s steps before, from the outputs and,
            as further inputs, from the window.
    """

    def __init__(
        self, targets: int, extra: int, known: int, horizon: int, quantiles: int, *,
        cell: str = "lstm", hidden_size: int = 32, layers: int = 1, dropout: float = 0.0, season: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.targets, self.known, self.horizon, self.quantiles, self.season = targets, known, horizon, quantiles, season
        size = targets * (2 if season else 1) + extra + known
        kind = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.cells = kind(size, hidden_size, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, horizon * targets * quantiles)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if known:
            self.ahead = nn.Sequential(nn.Linear(hidden_size + known, hidden_size), nn.Tanh())
            self.known_head = nn.Linear(hidden_size, targets * quantiles, bias=False)
            nn.init.zeros_(self.known_head.weight)

    def forward(self, x: Float[Tensor, "N L C"]) -> Float[Tensor, "N H K Q"]:
        """Quantiles of the horizon; the input has L rows, or L + H where there are known columns."""
        window, ahead = (x[:, : -self.horizon], x[:, -self.horizon :, -self.known :]) if self.known else (x, None)
        y = window[..., : self.targets]  # N L K
        inputs = torch.cat([y - y[:, -1:], window[..., self.targets :]], -1)
        if self.season:
            seasonal = y[:, self.season :] - y[:, : -self.season]  # N L-s K
            inputs = torch.cat([inputs[:, self.season :], seasonal], -1)
        state = self.dropout(self.cells(inputs)[0][:, -1])  # N D
        out = self.head(state).view(-1, self.horizon, self.targets, self.quantiles)
        if ahead is not None:
            both = torch.cat([state[:, None].expand(-1, self.horizon, -1), ahead], -1)  # N H D+F
            out = out + self.known_head(self.ahead(both)).view(-1, self.horizon, self.targets, self.quantiles)
        return out + self.subtracted(y)[..., None]

    def subtracted(self, y: Float[Tensor, "N L K"]) -> Float[Tensor, "N H K"]:
        """What the network's outputs are added to."""
        return last_season(y, self.horizon, self.season) if self.season else y[:, -1:].expand(-1, self.horizon, -1)
