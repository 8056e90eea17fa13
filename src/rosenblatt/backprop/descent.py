"""The paths of the optimizers over a loss surface, taken by the same compiled steps that train the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import Choice, Number
from rosenblatt.backprop.engine import CompiledOptimizer, compile_for
from rosenblatt.errors import NonFiniteError, ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WHO = "backprop.descend"
OPTIMIZERS: Mapping[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "momentum": 0.0, "nesterov": False},
    "momentum": {"kind": "sgd", "momentum": 0.9, "nesterov": False},
    "nesterov": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
    "rmsprop": {"kind": "rmsprop"},
    "adam": {"kind": "adam"},
    "adamw": {"kind": "adamw", "weight_decay": 0.01},
}
"""Name -> options of the engine's optimizer."""
_COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#1b1d22")


def _valley(p: Tensor) -> Tensor:
    return 0.5 * (0.05 * p[0] ** 2 + p[1] ** 2)


def _rosenbrock(p: Tensor) -> Tensor:
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def _saddle(p: Tensor) -> Tensor:
    return p[0] ** 2 - p[1] ** 2 + 0.25 * p[1] ** 4


def _himmelblau(p: Tensor) -> Tensor:
    return (p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2


SURFACES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "valley": _valley,
    "rosenbrock": _rosenbrock,
    "saddle": _saddle,
    "himmelblau": _himmelblau,
}
"""Surfaces with a name: a bowl 20 times as long as wide, Rosenbrock's bent valley (1960), a saddle between two minima, and
Himmelblau's four minima (1972)."""


@dataclass(frozen=True, eq=False)
class Descent:
    """The paths of some optimizers over a surface.

    Attributes:
        surface: Function from a point (D,) to a number, both tensors.
        paths: Name of the optimizer -> points (steps + 1, D), the start first; shorter where it left the finite numbers.
        values: Name -> the surface along that path.
        learning_rates: Name -> rate.
    """

    surface: Callable[[Tensor], Tensor]
    paths: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    learning_rates: dict[str, float]

    @property
    def diverged(self) -> tuple[str, ...]:
        """Names of those that left the finite numbers."""
        longest = max(len(path) for path in self.paths.values())
        return tuple(name for name, path in self.paths.items() if len(path) < longest or not _tame(self.values[name]))

    def __str__(self) -> str:
        lines = [f"start: {next(iter(self.values.values()))[0]:.6g}"]
        for name, path in self.paths.items():
            best = int(np.argmin(self.values[name]))
            said = (
                ", ".join(f"{number:.4g}" for number in path[-1]) if path.shape[1] <= 4 else f"{path.shape[1]} numbers"
            )
            lines.append(
                f"{name:<9} rate {self.learning_rates[name]:g}: {self.values[name][-1]:.6g} at ({said}) "
                f"after {len(path) - 1} steps; best {self.values[name][best]:.6g} after {best}"
                + ("  DIVERGED" if name in self.diverged else "")
            )
        return "\n".join(lines)

    def figure(self) -> Figure:
        """The surface from above with the paths, where it has two dimensions, and the value over the steps."""
        from matplotlib.figure import Figure

        flat = next(iter(self.paths.values())).shape[1] == 2
        figure = Figure(figsize=(9.5 if flat else 5, 4), layout="constrained")
        axes = figure.subplots(1, 2 if flat else 1, squeeze=False)[0]
        if flat:
            self._draw_surface(axes[0])
        for color, (name, values) in zip(_COLORS, self.values.items(), strict=False):
            axes[-1].plot(values - min(0.0, self._least()), color=color, lw=1.6, label=name)
        axes[-1].set(xlabel="step", ylabel="value above the least seen" if self._least() < 0 else "value", yscale="log")
        axes[-1].spines[["top", "right"]].set_visible(False)
        axes[-1].legend(frameon=False)
        return figure

    def _least(self) -> float:
        return min(float(values.min()) for values in self.values.values())

    def _draw_surface(self, axes: Axes) -> None:
        near = np.concatenate(
            [self.paths[name] for name in self.paths if name not in self.diverged] or list(self.paths.values())
        )
        low, high = near.min(0), near.max(0)
        room = 0.25 * np.maximum(high - low, 0.25 * (high - low).max() + 1e-9)
        x, y = (np.linspace(a, b, 120) for a, b in zip(low - room, high + room, strict=True))
        grid = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
        with torch.no_grad():
            heights = np.array([float(self.surface(point)) for point in grid]).reshape(len(y), len(x))
        # contours by rank: every level covers as much of the picture, whatever the scale of the surface
        levels = np.unique(np.quantile(heights[np.isfinite(heights)], np.linspace(0, 1, 24)))
        axes.contour(x, y, heights, levels=levels, colors="#999999", linewidths=0.6)
        for color, (name, path) in zip(_COLORS, self.paths.items(), strict=False):
            axes.plot(*path.T, color=color, lw=1.6, marker=".", ms=3, label=name)
            axes.plot(*path[-1], "o", color=color, ms=6)
        axes.plot(*near[0], "x", color="#1b1d22", ms=9)
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="first", ylabel="second")


def _tame(values: np.ndarray) -> bool:
    return bool(values[-1] <= 1e3 * (abs(values[0]) + 1))


def descend(
    f: str | Callable[[Tensor], Tensor],
    start: ArrayLike,
    *,
    optimizer: str | Sequence[str] = tuple(OPTIMIZERS),
    learning_rate: float | Mapping[str, float] = 0.01,
    steps: int = 200,
) -> Descent:
    """Let optimizers walk down a surface from one point, and keep their paths.

    The steps are those that train the dense networks (`rosenblatt.backprop.engine`), in float64; "momentum" and "nesterov"
    have 0.9 of it, "adamw" a decay of 0.01.

    Args:
        f: Name of one of ``SURFACES`` ("valley", "rosenbrock", "saddle", "himmelblau"), or a function of PyTorch operations from
            a tensor (D,) to a tensor with one number.
        start: The first point (D,).
        optimizer: One or several of "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw".
        learning_rate: One for all, or name -> rate.
        steps: How many.

    Returns:
        Paths and values; print it, or draw it with ``.figure()``.

    Raises:
        ParameterError: An unknown surface or optimizer, or a number out of range.
        ShapeError: The start is no vector, or the surface gives more than one number.
        NonFiniteError: The start, or the surface there, is not finite.

    Example:
        >>> found = descend("valley", [9.0, 1.0], optimizer=["sgd", "momentum"], learning_rate=0.5)
        >>> {name: bool(values[-1] < 0.01) for name, values in found.values.items()}
        {'sgd': True, 'momentum': True}
    """
    names = (optimizer,) if isinstance(optimizer, str) else tuple(optimizer)
    for name in names or ("",):
        _validate.parameter(_WHO, "optimizer", name, Choice(tuple(OPTIMIZERS)))
    _validate.parameter(_WHO, "steps", steps, Number(1, integer=True))
    rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else dict.fromkeys(names, learning_rate)
    for name in names:
        _validate.parameter(_WHO, f"learning_rate of {name}", rates.get(name), Number(0, open_low=True))
    if isinstance(f, str):
        _validate.parameter(_WHO, "f", f, Choice(tuple(SURFACES)))
        f = SURFACES[f]
    point = np.asarray(start, dtype=np.float64)
    if point.ndim != 1 or not len(point):
        raise ShapeError(f"{_WHO}: start has shape {point.shape}; expected (D,) with D >= 1.")
    if not np.isfinite(point).all():
        raise NonFiniteError(f"{_WHO}: start is {point.tolist()}; expected finite numbers.")
    compile_for(np.dtype(np.float64))
    walked = {name: _walk(f, point, name, rates[name], steps) for name in names}
    return Descent(
        f, {name: w[0] for name, w in walked.items()}, {name: w[1] for name, w in walked.items()},
        {name: float(rates[name]) for name in names},
    )  # fmt: skip


def _walk(f: Any, start: np.ndarray, name: str, rate: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    point = start.copy()
    optimizer = CompiledOptimizer(size=len(point), learning_rate=rate, **OPTIMIZERS[name])
    value, gradient = _value_and_gradient(f, point)
    if not np.isfinite(value):
        raise NonFiniteError(f"{_WHO}: the surface is {value} at the start {start.tolist()}; expected a finite number.")
    path, values = [point.copy()], [value]
    for _ in range(steps):
        if not np.isfinite(gradient).all():
            break
        optimizer.update(point, gradient)
        value, gradient = _value_and_gradient(f, point)
        if not np.isfinite(value):
            break
        path.append(point.copy())
        values.append(value)
    return np.array(path), np.array(values)


def _value_and_gradient(f: Any, point: np.ndarray) -> tuple[float, np.ndarray]:
    at = torch.from_numpy(point.copy()).requires_grad_()
    value = f(at)
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ShapeError(f"{_WHO}: f gave {got}; expected a tensor with one number.")
    if not value.requires_grad:
        return float(value), np.zeros_like(point)  # a flat place, such as a constant
    gradient = torch.autograd.grad(value.sum(), at, allow_unused=True)[0]
    return float(value.detach()), np.zeros_like(point) if gradient is None else gradient.numpy().astype(np.float64)
