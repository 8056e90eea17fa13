"""A fitted forecaster at work: one pass for its own horizon, feeding back beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rosenblatt.models.baselines import last_season, last_value, linear
from rosenblatt.train.seeds import generator

PATHS = 100
"""Sampled futures a window where quantiles have to be fed back."""
_BATCH = 1024


class Rollout:
    """One model of a fitted forecaster, on scaled windows.

    Args:
        fitted: A forecaster: sizes, network, linear layer and bands are read from it.
        name: "network", "last value", "seasonal naive" or "linear".
    """

    def __init__(self, fitted: Any, name: str):
        self.fitted, self.name = fitted, name
        self.step, self.length, self.known = fitted.step_, fitted.window_, fitted.n_known_
        self.middle = fitted.levels_.index(0.5)

    @torch.no_grad()
    def run(self, x: Tensor, horizon: int, *, bands: bool) -> Tensor:
        """Quantiles (N, H, K, Q), or with ``bands=False`` the medians (N, H, K, 1), of scaled windows.

        Args:
            x: (N, L, C), or with known covariates (N, L + H, C).
            horizon: H.
            bands: Whether quantiles are wanted.
        """
        if not bands:
            return self.medians(x, horizon)[..., None]
        window, ahead = self._parts(x)
        if self.name != "network":
            return self._with_band(self._baseline(window, horizon), horizon)
        if horizon <= self.step:
            return self._network(window, ahead)[:, :horizon].sort(-1).values
        return self._with_paths(self.medians(x, horizon), window, ahead, horizon)

    def medians(self, x: Tensor, horizon: int) -> Tensor:
        """Medians (N, H, K) of scaled windows as of `run`; gradients pass."""
        window, ahead = self._parts(x)
        if self.name != "network":
            return self._baseline(window, horizon)
        if horizon <= self.step:
            return self._network(window, ahead)[:, :horizon, :, self.middle]
        return self._feed_back(window, ahead, horizon, lambda q: q[..., self.middle])

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x[:, : self.length], x[:, self.length :, -self.known :] if self.known else None

    def _baseline(self, window: Tensor, horizon: int) -> Tensor:
        y = window[..., : self.fitted.n_targets_]
        if self.name == "last value":
            return last_value(y, horizon)
        if self.name == "seasonal naive":
            return last_season(y, horizon, min(self.fitted.season_, y.shape[1]))
        coef = torch.from_numpy(self.fitted.linear_coef_).to(y.dtype)
        intercept = torch.from_numpy(self.fitted.linear_intercept_).to(y.dtype)
        parts = []
        for _ in range(-(-horizon // self.step)):
            parts.append(linear(y, coef, intercept))
            y = torch.cat([y, parts[-1]], 1)[:, -self.length :]
        return torch.cat(parts, 1)[:, :horizon]

    def _with_band(self, point: Tensor, horizon: int) -> Tensor:
        band = torch.from_numpy(self.fitted.bands_[self.name]).to(point.dtype)  # H K Q
        beyond = horizon - len(band)
        if beyond > 0:  # no error was measured there: the last step's stands for them
            band = torch.cat([band, band[-1:].expand(beyond, -1, -1)])
        return (point[..., None] + band[:horizon]).sort(-1).values

    def _network(self, window: Tensor, ahead: Tensor | None) -> Tensor:
        """Quantiles (N, step, K, Q) of the next ``step`` steps; rows of ``ahead`` that are not there are not read."""
        x = window
        if ahead is not None:
            rows = ahead[:, : self.step]
            if rows.shape[1] < self.step:
                rows = torch.cat([rows, rows[:, -1:].expand(-1, self.step - rows.shape[1], -1)], 1)
            after = torch.zeros(len(x), self.step, x.shape[2], dtype=x.dtype)
            after[..., -self.known :] = rows
            x = torch.cat([x, after], 1)
        module = self.fitted.module_.eval()
        return torch.cat([module(part.to(self.fitted.device_)).float().cpu() for part in x.split(_BATCH)])

    def _feed_back(
        self, window: Tensor, ahead: Tensor | None, horizon: int, take: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Forecast block after block, each read as if it had happened; past-only covariates keep their last value."""
        parts, done = [], 0
        while done < horizon:
            block = take(self._network(window, None if ahead is None else ahead[:, done:]))  # N step K
            parts.append(block)
            rows = window[:, -1:].expand(-1, self.step, -1).clone()
            targets = self.fitted.n_targets_
            rows[..., :targets] = block
            if self.fitted.masked_:
                rows[..., targets : 2 * targets] = 0.0
            if ahead is not None:
                known = ahead[:, done : done + self.step]
                rows[:, : known.shape[1], -self.known :] = known
            window = torch.cat([window, rows], 1)[:, -self.length :]
            done += self.step
        return torch.cat(parts, 1)[:, :horizon]

    def _with_paths(self, point: Tensor, window: Tensor, ahead: Tensor | None, horizon: int) -> Tensor:
        """Quantiles of sampled futures: feeding the quantiles themselves back would widen them without measure."""
        levels = torch.tensor(self.fitted.levels_)
        if len(levels) == 1:
            return point[..., None]
        source = generator(self.fitted.seed_)

        def draw(quantiles: Tensor) -> Tensor:
            return sample(quantiles.sort(-1).values, levels, source)

        again = None if ahead is None else ahead.repeat_interleave(PATHS, 0)
        paths = self._feed_back(window.repeat_interleave(PATHS, 0), again, horizon, draw)
        paths = paths.view(len(window), PATHS, horizon, -1)
        found = torch.quantile(paths, levels, dim=1).permute(1, 2, 3, 0).contiguous()  # N H K Q
        low, high = found[..., : self.middle], found[..., self.middle + 1 :]
        middle = point[..., None]
        return torch.cat([torch.minimum(low, middle), middle, torch.maximum(high, middle)], -1)


def sample(quantiles: Tensor, levels: Tensor, source: torch.Generator) -> Tensor:
    """One draw from each distribution that is known by its quantiles: linear between them, and beyond the outer ones.

    Args:
        quantiles: (..., Q), rising.
        levels: (Q,), Q >= 2.
        source: Of the draws.
    """
    u = torch.rand(quantiles.shape[:-1], generator=source)
    right = torch.searchsorted(levels, u).clamp(1, len(levels) - 1)
    left = right - 1
    share = (u - levels[left]) / (levels[right] - levels[left])
    low = quantiles.gather(-1, left[..., None])[..., 0]
    high = quantiles.gather(-1, right[..., None])[..., 0]
    return low + share * (high - low)
