r"""Carlini & Wagner: the shortest step that is wrong, by a penalty whose weight is searched.

.. math:: \min_{x'} \|x' - x\|_2^2 + c \, \max\big(z_y - \max_{k \ne y} z_k + \kappa, 0\big), \qquad x' \in [l, u]

Reference: Carlini & Wagner 2017, arXiv:1608.04644, section V (f_6) and VI-A; the weight c by binary search.
Departures: the box is kept by clipping each step of Adam instead of the change of variables by tanh, under which a pixel at the
border hardly moves; c starts from the sample's own slope, so the scale of the logits does not matter; the way is bisected
at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import margin
from rosenblatt.attacks.planes import Nearest
from rosenblatt.attacks.projection import size, spread
from rosenblatt.attacks.result import STEPS, Attack, Found

Descent = Callable[[Tensor, Nearest], None]


def search_weight(
    model: Any,
    x: Tensor,
    y: Tensor,
    target: Tensor | None,
    norm: str,
    searches: int,
    descend: Descent,
    bounds: tuple[float, float] | None,
) -> Found:
    """Binary search of the penalty's weight of each sample.

    Args:
        model: Inputs to logits.
        x: Inputs.
        y: Labels.
        target: Wanted labels, or None.
        norm: Of the nearest points.
        searches: Weights tried.
        bounds: Of the inputs, or None.
        descend: (weights (N,), nearest points) -> None, one descent, which offers what it finds.
    """
    nearest = Nearest(x, norm)
    g, logits = ascent(model, x, y, target, margin)
    nearest.queries += 1
    slope = size(g, "l2").clamp_min(1e-12)
    # at the boundary of a linear model c |w| = 2 distance and distance = gap / |w|; twice that to cross it
    weight = 4 * margin(logits, y, target).double().abs() / slope**2 + 1e-12
    low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
    for _ in range(searches):
        before, points = nearest.distance, nearest.points.clone()
        nearest.distance = torch.full_like(before, torch.inf)
        descend(weight, nearest)
        hit = nearest.found
        worse = nearest.distance >= before
        nearest.points = torch.where(spread(worse, x).bool(), points, nearest.points)
        nearest.distance = torch.minimum(nearest.distance, before)
        high, low = torch.where(hit, weight, high), torch.where(hit, low, weight)
        weight = torch.where(torch.isfinite(high), (low + high) / 2, weight * 10)
    return Found(*nearest.finish(model, y, target, bounds))


def penalised(model: Any, z: Tensor, y: Tensor, target: Tensor | None, confidence: float) -> tuple[Tensor, Tensor]:
    """Gradient of max(confidence - margin, 0), and the margin."""
    g, logits = ascent(model, z, y, target, margin)
    gap = margin(logits, y, target)
    return torch.where(spread(gap < confidence, g).bool(), -g, 0.0), gap


def carlini_wagner(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 200,
    searches: int = 6,
    learning_rate: float = 0.01,
    confidence: float = 0.0,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
) -> Found:
    """Find the nearest wrong point in l2.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        steps: Steps of Adam for each weight.
        searches: Weights tried.
        learning_rate: Of Adam, in units of the input.
        confidence: By how much the wrong logit is to win (kappa); points with less are not counted.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
    """

    def descend(weight: Tensor, nearest: Nearest) -> None:
        z, first, second = x.clone(), torch.zeros_like(x), torch.zeros_like(x)
        live = torch.arange(len(x), device=x.device)
        lowest = torch.full_like(weight, torch.inf)
        for step in range(1, steps + 1):
            goal = None if target is None else target[live]
            g, gap = penalised(model, z, y[live], goal, confidence)
            nearest.queries[live] += 1
            nearest.offer(z, gap > confidence, live)
            away = z - x[live]
            loss = size(away, "l2") ** 2 + weight[live] * (confidence - gap).clamp_min(0).double()
            g = 2 * away + spread(weight[live], z) * g
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            rate = learning_rate * (1 - (step - 1) / steps)
            z = z - rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-12)
            z = z.clamp(*bounds) if bounds is not None else z
            if step % max(1, steps // 10) == 0:  # as in the authors' program: where nothing improves, no more steps
                better = loss < 0.9999 * lowest[live]
                lowest[live] = torch.minimum(lowest[live], loss)
                live, z, first, second = live[better], z[better], first[better], second[better]
                if not len(live):
                    return

    return search_weight(model, x, y, target, "l2", searches, descend, bounds)


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(Attack):
    """Carlini & Wagner's l2 attack; see `carlini_wagner`. Minimises the norm.

    Args:
        steps: Steps of Adam for each weight.
        searches: Weights tried.
        learning_rate: Of Adam, in units of the input.
        confidence: By how much the wrong logit is to win.
    """

    norm: str = "l2"
    steps: int = 200
    searches: int = 6
    learning_rate: float = 0.01
    confidence: float = 0.0

    _NORMS: ClassVar[tuple[str, ...]] = ("l2",)
    _RULES: ClassVar[dict[str, Any]] = {
        **STEPS, "searches": (Number(1, integer=True),), "learning_rate": (Number(0, open_low=True),),
        "confidence": (Number(0),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return carlini_wagner(
            found.logits, x, y, steps=self.steps, searches=self.searches, learning_rate=self.learning_rate,
            confidence=self.confidence, bounds=found.bounds, target=target,
        )  # fmt: skip
