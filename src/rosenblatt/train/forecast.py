"""Windows of series for the supervised loop, and the linear layer's closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rosenblatt._types import Float
from rosenblatt.losses.quantile import pinball

RIDGE = 1e-2
"""Penalty of the linear layer, as a share of the mean square of its inputs."""


@dataclass(frozen=True)
class Windows:
    """All windows of a panel: one resident table, and the row where each window starts.

    Nothing is copied per window: batches are gathered on the device from the row numbers.

    Attributes:
        table: (rows, C) the scaled inputs of all series, one after the other, no value missing.
        truth: (rows, K) the scaled targets; NaN where missing.
        starts: (N,) first rows of the windows.
        length: L.
        horizon: H.
    """

    table: Tensor
    truth: Tensor
    starts: Tensor
    length: int
    horizon: int

    def inputs(self, starts: Tensor, *, ahead: bool) -> Float[Tensor, "N L C"]:
        """Windows, with the H rows after them where known covariates are read there; their targets are blanked."""
        rows = starts[:, None] + torch.arange(self.length + (self.horizon if ahead else 0), device=starts.device)
        x = self.table[rows]
        if ahead:
            x[:, self.length :, : self.truth.shape[1]] = 0.0
        return x

    def targets(self, starts: Tensor) -> Float[Tensor, "N H K"]:
        """What follows each window."""
        return self.truth[starts[:, None] + self.length + torch.arange(self.horizon, device=starts.device)]

    def to(self, device: torch.device) -> Windows:
        """On another device."""
        moved = (t.to(device) for t in (self.table, self.truth, self.starts))
        return Windows(*moved, self.length, self.horizon)


def window_loss(windows: Windows, levels: Tensor) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The loop's loss: its targets are row numbers, the values are gathered here."""

    def loss(output: Tensor, starts: Tensor, weight: Tensor | None) -> Tensor:
        return pinball(output, windows.targets(starts), levels)

    return loss


def solve_linear(windows: Windows, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (H, L) and offsets (H,) of the linear layer with last-value subtraction, by ridge regression.

    Windows whose target has a missing value are left out; all targets share the layer.
    """
    x = windows.inputs(windows.starts, ahead=False)[..., :targets].double().cpu()
    y = windows.targets(windows.starts).double().cpu()
    last = x[:, -1:]
    x, y = (x - last).transpose(1, 2).flatten(0, 1), (y - last).transpose(1, 2).flatten(0, 1)  # NK L, NK H
    there = ~torch.isnan(y).any(1)
    x, y = x[there], y[there]
    if not len(x):
        return np.zeros((windows.horizon, windows.length)), np.zeros(windows.horizon)
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    penalty = RIDGE * float(x.square().mean()) + 1e-12
    gram = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    coef = torch.linalg.solve(gram, x.T @ y / len(x)).T  # H L
    return coef.numpy(), (mean_y - coef @ mean_x).numpy()


def fill_forward(values: np.ndarray) -> np.ndarray:
    """Missing values replaced by the last one before; leading ones by the column's first value.

    Only the past is looked at, so a window is the same whatever comes after it.

    Example:
        >>> fill_forward(np.array([[1.0], [np.nan], [3.0]])).ravel().tolist()
        [1.0, 1.0, 3.0]
    """
    there = ~np.isnan(values)
    row = np.where(there, np.arange(len(values))[:, None], 0)
    np.maximum.accumulate(row, axis=0, out=row)
    filled = np.take_along_axis(values, row, axis=0)
    first = np.take_along_axis(values, there.argmax(axis=0)[None], axis=0)
    return np.nan_to_num(np.where(np.isnan(filled), first, filled))


def scale_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column; a constant column has deviation 1."""
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, values, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(there, values - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-30), deviation, 1.0)
