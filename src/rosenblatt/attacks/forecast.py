r"""Forecasts: a history that was changed a little, so that the forecast goes as far wrong as possible.

.. math:: \max_{\|\delta\|_p \le \varepsilon} \; \frac{1}{H} \sum_h \big| f_h(y + \sigma \delta) - r_h \big|

by projected gradient ascent (Madry et al. 2018, arXiv:1706.06083) through the network and through the mean and deviation that
standardise the history, which the change moves too. r is the truth where it is known, else the forecast of the clean history;
that one is a fixed point of the ascent, so it starts from the steepest ways up and down and from random points of the ball.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._types import ArrayLike
from rosenblatt._validate import NONE, Choice, Number, parameter
from rosenblatt.attacks.pgd import start_at, step_of
from rosenblatt.attacks.projection import NORMS, Ball, Box, size, spread, steepest
from rosenblatt.attacks.streams import keys_of, normal, signs
from rosenblatt.errors import DataError, NonFiniteError, ParameterError, ShapeError
from rosenblatt.train.saliency import at_rest

_NOISES = 32
_LOWEST = 0.01
"""Share of the lowest value of a positive series that no change goes below: its logarithm is taken."""
_SAID = {
    "last value": "it moves as far as that one value, whatever the norm",
    "seasonal naive": "each step moves as far as its own value of the last season",
    "linear": "it moves by a weighted sum of the changes",
}


@dataclass(frozen=True)
class SeriesVictim:
    """A forecaster at the end of one series.

    Args:
        name: Of the series.
        history: Values (T, K); NaN is missing.
        forecast: Histories (N, T, K) to forecasts (N, H, K), both float64, differentiable.
        horizon: H.
        source: What forecasts: "network" or a baseline.
        module: The network, left as it was.
        positive: Whether values must be positive.
    """

    name: str
    history: np.ndarray
    forecast: Callable[[Tensor], Tensor]
    horizon: int
    source: str
    module: nn.Module
    positive: bool = False


@dataclass(frozen=True)
class ForecastAttackResult:
    """What an attack on a forecast found.

    Attributes:
        adversarial: The changed history (T,), or (T, K) of several targets; missing values stay missing.
        clean: Forecast (H,) or (H, K) of the history as it was.
        attacked: Forecast of the changed one.
        error: Mean absolute error before and after, in the units of the data: against the truth where it was given, else
            against the clean forecast.
        noise: The same error after random changes that go as far, the mean of 32.
        gap: Mean absolute distance from the wanted path before and after; None without one.
        distance: Of the change, in the norm.
        norm: Of the ball.
        source: What forecasts: "network", "last value", "seasonal naive" or "linear".
        notes: What the figures do not say of a network.
    """

    adversarial: np.ndarray
    clean: np.ndarray
    attacked: np.ndarray
    error: tuple[float, float]
    noise: float
    gap: tuple[float, float] | None
    distance: float
    norm: str
    source: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        path = "" if self.gap is None else f", from the wanted path {self.gap[0]:.4g} -> {self.gap[1]:.4g}"
        return (
            f"ForecastAttackResult(error {self.error[0]:.4g} -> {self.error[1]:.4g}, by noise {self.noise:.4g}{path}; "
            f"{self.norm} {self.distance:.4g}; forecast by {self.source}{''.join(f'; {note}' for note in self.notes)})"
        )


def ascend(
    forecast: Callable[[Tensor], Tensor],
    starts: Tensor,
    gain: Callable[[Tensor], Tensor],
    ball: Ball,
    *,
    steps: int = 50,
) -> tuple[Tensor, Tensor]:
    """Walk changes up a gain within a ball around no change.

    Args:
        forecast: Changes (N, ...) to forecasts (N, H, K).
        starts: First changes (N, ...), in the ball.
        gain: Forecasts to what is to grow (N,).
        ball: Of changes, around none, one a start.
        steps: Gradient steps.

    Returns:
        The best change of each start and its gain (N,).
    """
    z, reach = starts, 5 / steps * spread(ball.eps, starts)
    best, most = starts.clone(), torch.full((len(starts),), -torch.inf, dtype=torch.float64, device=starts.device)
    for step in range(steps + 1):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            gains = gain(forecast(z)).double()
            g = torch.autograd.grad(gains.sum(), z)[0] if gains.requires_grad else torch.zeros_like(starts)
        z, gains = z.detach(), gains.detach()
        better = gains > most
        best[better], most[better] = z[better], gains[better]
        if step < steps:
            # 2.5 eps in all, fine at the end: a path is reached inside the ball
            z = ball.nearest(z + reach * (1 - step / steps) * step_of(g, ball.norm))
    return best, most


@dataclass(frozen=True, kw_only=True)
class ForecastAttack:
    """Change a history within a ball so that the forecast goes wrong.

    Args:
        eps: Radius of the ball.
        norm: "l1", "l2" or "linf" (each value by eps at most).
        unit: What eps is in: "deviation" of each series, or "value", the data's own units.
        steps: Gradient steps.
        restarts: Random starts, beside the steepest ways up and down.
        rows: Last rows that may change; None: all.
        bounds: Lowest and highest value of the series, or None. Series that are forecast by their logarithm stay above a
            hundredth of their lowest value in any case.
        random_state: Seed.

    Example:
        >>> import numpy as np
        >>> import rosenblatt as rb
        >>> wave = np.sin(np.arange(90) * 2 * np.pi / 12)
        >>> model = rb.Forecaster(horizon=4, window=12, hidden_size=8, epochs=2, random_state=0, verbose=0).fit(wave)
        >>> found = ForecastAttack(eps=0.3, norm="l2")(model, wave)
        >>> found.error[1] > 3 * found.noise
        True
    """

    eps: float = 0.1
    norm: str = "linf"
    unit: str = "deviation"
    steps: int = 50
    restarts: int = 2
    rows: int | None = None
    bounds: tuple[float, float] | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        rules = {
            "eps": Number(0, math.inf, open_low=True, open_high=True), "norm": Choice(NORMS),
            "unit": Choice(("deviation", "value")), "steps": Number(1, integer=True), "restarts": Number(0, integer=True),
            "rows": (Number(1, integer=True), NONE), "random_state": Number(0, integer=True),
        }  # fmt: skip
        for name, rule in rules.items():
            parameter("ForecastAttack", name, getattr(self, name), rule)
        if self.bounds is not None and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            raise ParameterError(f"ForecastAttack: bounds={self.bounds!r}; expected (lowest, highest), as (0, 100).")

    def __call__(
        self, model: Any, y: Any, *, truth: ArrayLike | None = None, towards: str | ArrayLike | None = None,
        past: Any = None, future: Any = None, horizon: int | None = None,
    ) -> ForecastAttackResult | dict[str, ForecastAttackResult]:  # fmt: skip
        """Attack the forecast that follows a history.

        Args:
            model: A fitted `rosenblatt.Forecaster`.
            y: The history, as for ``model.predict(y=...)``.
            truth: What came, (H,) or (H, K): the error against it grows. None: the forecast goes away from the clean one. Of a
                panel a dict name -> values.
            towards: "up" or "down", or the path (H,) or (H, K) that the forecast is to follow instead; of a panel also a dict.
            past: Covariates as of ``predict``; they do not change.
            future: The same.
            horizon: Steps; None takes the forecaster's.

        Returns:
            The result; of a panel a dict name -> result.

        Raises:
            ParameterError: Something that is no forecaster, or another word for ``towards``.
            NotFittedError: Before ``fit``.
            ShapeError, DataError, NonFiniteError: A history, truth or path that does not fit, or values out of the bounds.
        """
        if not hasattr(model, "_series_victims"):
            raise ParameterError(
                f"ForecastAttack: the model is a {type(model).__name__}; expected a fitted Forecaster. "
                "Classifiers are attacked with attacks.PGD and the others."
            )
        victims = model._series_victims(y, past, future, horizon)
        found = {
            v.name: self._attack(v, _of_series("truth", truth, v.name), _of_series("towards", towards, v.name))
            for v in victims
        }
        return found if any(found) else found[""]

    def _attack(self, victim: SeriesVictim, truth: Any, towards: Any) -> ForecastAttackResult:
        history = torch.from_numpy(np.nan_to_num(victim.history))
        there = torch.from_numpy(~np.isnan(victim.history))
        unit = _deviation(victim.history) if self.unit == "deviation" else torch.ones(history.shape[1]).double()
        box = self._box(victim, history, there, unit)

        def moved(d: Tensor) -> Tensor:
            return victim.forecast(history + unit * d)

        with at_rest(victim.module):
            with torch.no_grad():
                clean = moved(torch.zeros_like(history)[None])[0]  # H K
            aim = _aim(clean, truth, towards)
            ball = self._ball(2 + self.restarts, history, box)
            best, gains = ascend(moved, self._starts(moved, ball), aim.gain, ball, steps=self.steps)
            d = self._settled(best[gains.argmax()], history, unit)
            with torch.no_grad():
                attacked = moved(d[None])[0]
                noise = aim.error(moved(self._noise(history, box))).mean()
        changed = torch.where(d != 0, history + unit * d, history).numpy()
        plain = lambda v: v[:, 0] if v.shape[1] == 1 else v  # noqa: E731
        said = _SAID.get(victim.source)
        return ForecastAttackResult(
            adversarial=plain(np.where(there, changed, np.nan)), clean=plain(clean.numpy()),
            attacked=plain(attacked.numpy()), error=tuple(float(aim.error(v[None])[0]) for v in (clean, attacked)),
            noise=float(noise), distance=float(size(self._difference(d, history, unit)[None], self.norm)[0]),
            gap=None if aim.path is None else tuple(float((v - aim.path).abs().mean()) for v in (clean, attacked)),
            norm=self.norm, source=victim.source,
            notes=() if said is None else (f"the forecast is the baseline {victim.source!r}, not a network: {said}",),
        )  # fmt: skip

    def _box(self, victim: SeriesVictim, history: Tensor, there: Tensor, unit: Tensor) -> Box:
        """Of the changes, in units; missing values and rows before the last ``rows`` are held."""
        low, high = self.bounds or (-math.inf, math.inf)
        outside = there & ((history < low) | (history > high))
        if outside.any():
            row, column = (int(v) for v in outside.nonzero()[0])
            raise DataError(
                f"ForecastAttack: the series holds {float(history[row, column]):g} in row {row}; expected values in "
                f"bounds={self.bounds}. Say the true bounds."
            )
        if victim.positive:
            low = max(low, _LOWEST * float(history[there].min()))
        held = ~there
        if self.rows is not None:
            held[: -self.rows] = True
        no_step = torch.zeros_like(unit)
        return Box((low - history) / unit, (high - history) / unit, held=held, step=no_step)

    def _ball(self, count: int, history: Tensor, box: Box) -> Ball:
        return Ball(torch.zeros_like(history).expand(count, -1, -1), self.eps, self.norm, box)

    def _starts(self, moved: Callable[[Tensor], Tensor], ball: Ball) -> Tensor:
        """The steepest way of the mean forecast up and down, and random points (2 + restarts, T, K)."""
        zero = ball.x[:1]
        with torch.enable_grad():
            d = zero.clone().requires_grad_()
            mean = moved(d).mean()
            slope = torch.autograd.grad(mean, d)[0] if mean.requires_grad else zero
        slope = torch.where(ball.bounds.held, 0.0, slope)
        rows = torch.arange(len(ball.x))
        steep = ball.of(rows[:2]).nearest(self.eps * steepest(torch.cat([slope, -slope]), self.norm))
        if not self.restarts:
            return steep
        keys = keys_of(self.random_state, torch.arange(self.restarts))
        return torch.cat([steep, start_at(ball.of(rows[2:]), keys, 0)])

    def _noise(self, history: Tensor, box: Box) -> Tensor:
        """Random changes (32, T, K) at the end of the ball."""
        keys = keys_of(self.random_state, torch.arange(_NOISES) + self.restarts)
        d = signs(keys, 5, history.shape) if self.norm == "linf" else normal(keys, 5, history.shape)
        d = torch.where(box.held, 0.0, d.double())
        d = self.eps * d / size(d, self.norm).clamp_min(1e-300)[:, None, None]
        return self._ball(_NOISES, history, box).nearest(d)

    def _difference(self, d: Tensor, history: Tensor, unit: Tensor) -> Tensor:
        """The change that the sum of history and change has, in floats."""
        return ((history + unit * d) - history) / unit

    def _settled(self, d: Tensor, history: Tensor, unit: Tensor) -> Tensor:
        """Pulled in where the last bits of the sum would leave the ball."""
        for pull in (0.0, 1e-15, 1e-12, 1e-9, 1e-6):
            inside = d * (1 - pull)
            if float(size(self._difference(inside, history, unit)[None], self.norm)[0]) <= self.eps:
                return inside
        return torch.zeros_like(d)


@dataclass(frozen=True)
class _Aim:
    """What is to grow, and against what errors are taken."""

    reference: Tensor
    path: Tensor | None
    sign: float | None

    def error(self, forecasts: Tensor) -> Tensor:
        there = ~torch.isnan(self.reference)
        return torch.where(there, forecasts - torch.where(there, self.reference, 0.0), 0.0).abs().sum(
            (1, 2)
        ) / there.sum().clamp_min(1)

    def gain(self, forecasts: Tensor) -> Tensor:
        if self.path is not None:
            return -(forecasts - self.path).abs().mean((1, 2))
        return self.error(forecasts) if self.sign is None else self.sign * forecasts.mean((1, 2))


def _aim(clean: Tensor, truth: Any, towards: Any) -> _Aim:
    reference = clean if truth is None else _path(truth, clean, "truth")
    if isinstance(towards, str):
        if towards not in ("up", "down"):
            raise ParameterError(f"ForecastAttack: towards={towards!r}; expected 'up', 'down' or a path of forecasts.")
        return _Aim(reference, None, 1.0 if towards == "up" else -1.0)
    path = None if towards is None else _path(towards, clean, "towards")
    if path is not None and not torch.isfinite(path).all():
        raise NonFiniteError("ForecastAttack: towards holds NaN or infinity; expected a finite path.")
    return _Aim(reference, path, None)


def _of_series(word: str, given: Any, name: str) -> Any:
    if not isinstance(given, Mapping):
        return given
    if name not in given:
        raise DataError(f"ForecastAttack: {word} has nothing for the series {name!r}; expected one entry a series.")
    return given[name]


def _path(values: Any, clean: Tensor, name: str) -> Tensor:
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.shape != tuple(clean.shape):
        raise ShapeError(
            f"ForecastAttack: {name} has shape {np.shape(values)}; expected one value a step and target, {tuple(clean.shape)}."
        )
    return torch.tensor(array)


def _deviation(history: np.ndarray) -> Tensor:
    """Of each target (K,); 1 where it is constant."""
    from rosenblatt.train.forecast import scale_of

    return torch.from_numpy(scale_of(history)[1])
