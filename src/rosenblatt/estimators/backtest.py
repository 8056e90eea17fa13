"""The result of a backtest: what was forecast at each origin, what came, and who was nearest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rosenblatt.estimators.summary import Summary
from rosenblatt.metrics.forecast import coverage, mae, mape, rmse

NETWORK = "network"
BASELINES = ("last value", "seasonal naive", "linear")


@dataclass(frozen=True)
class Backtest:
    """Forecasts from a rolling origin, beside the baselines' at the same origins.

    Attributes:
        series: (N,) names of the series.
        origins: (N,) rows known at each origin: forecast step 1 is row ``origin``.
        times: (N,) stamps of each origin's first forecast step.
        truth: (N, H, K); NaN where missing.
        forecasts: By model (N, H, K, Q).
        levels: The Q quantile levels.
        scale: (N,) mean absolute seasonal step of the past of the first origin, for the MASE.
    """

    series: np.ndarray
    origins: np.ndarray
    times: np.ndarray
    truth: np.ndarray
    forecasts: Mapping[str, np.ndarray]
    levels: tuple[float, ...]
    scale: np.ndarray

    def point(self, model: str = NETWORK) -> np.ndarray:
        """Medians (N, H, K)."""
        return self.forecasts[model][..., self.levels.index(0.5)]

    @property
    def errors(self) -> dict[str, dict[str, float]]:
        """MAE, RMSE, MAPE, MASE and, with quantiles, the coverage of the outer ones, by model."""
        return {name: self._errors(name) for name in self.forecasts}

    def _errors(self, name: str) -> dict[str, float]:
        point = self.point(name)
        by_origin = np.nanmean(np.abs(self.truth - point), axis=(1, 2)) / self.scale
        found = {
            "mae": mae(self.truth, point), "rmse": rmse(self.truth, point), "mape": mape(self.truth, point),
            "mase": float(np.mean(by_origin)),
        }  # fmt: skip
        if len(self.levels) > 1:
            forecast = self.forecasts[name]
            found["coverage"] = coverage(self.truth, forecast[..., 0], forecast[..., -1])
        return found

    @property
    def winner(self) -> str:
        """The model of least MAE."""
        errors = self.errors
        return min(errors, key=lambda name: errors[name]["mae"])

    def __str__(self) -> str:
        errors = self.errors
        heads = list(next(iter(errors.values())))
        steps = self.truth.shape[1]
        lines = [f"backtest: {len(self.origins)} origins, {steps} step{'s' if steps > 1 else ''} each"]
        lines.append("model           " + "".join(head.rjust(11) for head in heads))
        for name, row in errors.items():
            cells = "".join(("-" if np.isnan(v) else f"{v:.4g}").rjust(11) for v in row.values())
            lines.append(f"{name:<16}{cells}" + ("  <- least MAE" if name == self.winner else ""))
        lines.append(verdict({name: row["mae"] for name, row in errors.items()}, "these origins"))
        return "\n".join(lines)

    __repr__ = __str__


def verdict(by_model: Mapping[str, float], where: str) -> str:
    """One plain sentence: does the network earn its place?

    Example:
        >>> verdict({"network": 2.0, "linear": 1.0, "last value": 4.0}, "the validation part")
        "The network LOSES on the validation part: linear has 50.0 % less error. Use that, or select='best'."
    """
    rival = min((name for name in by_model if name != NETWORK), key=lambda name: by_model[name])
    ours, theirs = by_model[NETWORK], by_model[rival]
    if theirs == ours:
        return f"The network is no better than {rival} on {where}: the errors are equal. Use that, or select='best'."
    if theirs < ours:
        less = 100 * (1 - theirs / ours)
        return f"The network LOSES on {where}: {rival} has {less:.1f} % less error. Use that, or select='best'."
    return f"The network wins on {where}: {100 * (1 - ours / theirs):.1f} % less error than {rival}, the best baseline."


@dataclass(frozen=True)
class ForecastSummary(Summary):
    """Layers of the network, and how it did beside the baselines.

    Attributes:
        scores: MAE on the validation part, by model.
        selected: The model that ``predict`` uses.
    """

    scores: Mapping[str, float]
    selected: str

    def __str__(self) -> str:
        lines = [super().__str__(), "", "mean absolute error on the validation part (the last steps of each series)"]
        lines += [f"  {name:<16}{value:.4g}" for name, value in self.scores.items()]
        lines += [verdict(self.scores, "the validation part"), f"predict uses: {self.selected}"]
        return "\n".join(lines)

    __repr__ = __str__
