r"""EAD, the elastic-net attack: few pixels, by iterative soft thresholding.

.. math:: \min_{x'} c \, f(x') + \|x' - x\|_2^2 + \beta \|x' - x\|_1, \qquad x' \in [l, u]

Reference: Chen, Sharma, Zhang, Yi & Hsieh 2018, arXiv:1709.04114, eq. 4 to 8 (FISTA, the decision rule by l1).
Departures: the step length comes from the sample's own slope, so the scale of the logits does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.carlini_wagner import penalised, search_weight
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import margin
from rosenblatt.attacks.planes import Nearest
from rosenblatt.attacks.projection import spread
from rosenblatt.attacks.result import STEPS, Attack, Found


def ead(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 200,
    searches: int = 6,
    learning_rate: float = 0.1,
    beta: float = 0.01,
    confidence: float = 0.0,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
) -> Found:
    """Find the nearest wrong point in l1.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        steps: Steps for each weight.
        searches: Weights tried.
        learning_rate: First length of a step; falls with the square root of what is left.
        beta: Weight of the l1 norm beside the squared l2 norm.
        confidence: By how much the wrong logit is to win; points with less are not counted.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
    """

    def descend(weight: Tensor, nearest: Nearest) -> None:
        z, ahead = x.clone(), x.clone()
        for step in range(steps):
            g, _ = penalised(model, ahead, y, target, confidence)
            rate = learning_rate * (1 - step / steps) ** 0.5
            moved = ahead - rate * (spread(weight, x) * g + 2 * (ahead - x))
            d = moved - x
            after = x + d.sign() * (d.abs() - rate * beta).clamp_min(0)
            after = after.clamp(*bounds) if bounds is not None else after
            ahead, z = after + step / (step + 3) * (after - z), after
            ahead = ahead.clamp(*bounds) if bounds is not None else ahead
            with torch.no_grad():
                gap = margin(model(z), y, target)
            nearest.queries += 2
            nearest.offer(z, gap > confidence)

    return search_weight(model, x, y, target, "l1", searches, descend, bounds)


@dataclass(frozen=True, kw_only=True)
class EAD(Attack):
    """The elastic-net attack; see `ead`. Minimises l1.

    Args:
        steps: Steps for each weight.
        searches: Weights tried.
        learning_rate: First length of a step.
        beta: Weight of the l1 norm.
        confidence: By how much the wrong logit is to win.
    """

    norm: str = "l1"
    steps: int = 200
    searches: int = 6
    learning_rate: float = 0.1
    beta: float = 0.01
    confidence: float = 0.0

    _NORMS: ClassVar[tuple[str, ...]] = ("l1",)
    _RULES: ClassVar[dict[str, Any]] = {
        **STEPS, "searches": (Number(1, integer=True),), "learning_rate": (Number(0, open_low=True),),
        "beta": (Number(0),), "confidence": (Number(0),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return ead(
            found.logits, x, y, steps=self.steps, searches=self.searches, learning_rate=self.learning_rate,
            beta=self.beta, confidence=self.confidence, bounds=found.bounds, target=target,
        )  # fmt: skip
