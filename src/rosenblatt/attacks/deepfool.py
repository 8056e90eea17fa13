r"""DeepFool: step to the nearest boundary of the linear picture of the classifier, until it is crossed.

.. math:: \hat{l} = \arg\min_{k} \frac{|f_k|}{\|w_k\|_q}, \qquad f_k = z_k - z_y, \quad w_k = \nabla f_k

Reference: Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv:1511.04599, algorithm 2 and eq. 8 to 12.
Departures: the step is the shortest one within the box (clipping afterwards leaves samples with pixels at its border standing);
from the point found FAB's steps (arXiv:1907.02044) go on towards its class, a fifth as many, since the first crossing is far from
the nearest where the classifier is far from its linear picture; the overshoot is taken back by bisection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.fab import fab
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import reached
from rosenblatt.attacks.planes import DUAL, Nearest, candidates, nearest_plane, onto_plane
from rosenblatt.attacks.projection import size
from rosenblatt.attacks.result import STEPS, Attack, Found


def deepfool(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    classes: int = 10,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
) -> Found:
    """Walk to the boundary.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        norm: "l1", "l2" or "linf".
        steps: Most steps to the first crossing.
        overshoot: Share by which a step goes further than the linear boundary.
        classes: Likeliest wrong classes that are looked at.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
    """
    nearest, z = Nearest(x, norm), x.clone()
    live, around = torch.arange(len(x), device=x.device), candidates(model, x, y, target, classes)
    nearest.queries += 1
    for _ in range(steps):
        w, need, _ = nearest_plane(model, z, y[live], around[live], norm)
        margin = need.double().clamp_min(0) * (1 + overshoot) + 1e-6 * size(w, DUAL[norm])
        z = z + onto_plane(z, w, margin, norm, bounds)
        z = z.clamp(*bounds) if bounds is not None else z
        with torch.no_grad():
            wrong = reached(model(z), y[live], None if target is None else target[live])
        nearest.queries[live] += 2
        nearest.offer(z, wrong, live)
        stuck = (w.flatten(1) == 0).all(1)
        live, z = live[~(wrong | stuck)], z[~(wrong | stuck)]
        if not len(live):
            break
    return _nearer(model, x, y, nearest, norm, -(-steps // 5), bounds)


def _nearer(model: Any, x: Tensor, y: Tensor, first: Nearest, norm: str, steps: int, bounds: Any) -> Found:
    """FAB's steps from the points found, each towards the class that it is in, and what is nearer."""
    rows = first.found.nonzero()[:, 0]
    if len(rows):
        begin = first.points[rows]
        with torch.no_grad():
            classes = model(begin).argmax(1)
        found = fab(model, x[rows], y[rows], norm=norm, steps=steps, target=classes, bounds=bounds, begin=begin)
        with torch.no_grad():
            first.offer(found.adversarial, reached(model(found.adversarial), y[rows], classes), rows)
        first.queries[rows] += found.queries + 2
    return Found(*first.finish(model, y, None, bounds, rows))


@dataclass(frozen=True, kw_only=True)
class DeepFool(Attack):
    """DeepFool; see `deepfool`. Minimises the norm.

    Args:
        steps: Most steps.
        overshoot: Share by which a step goes further than the linear boundary.
        classes: Likeliest wrong classes that are looked at.
    """

    norm: str = "l2"
    steps: int = 50
    overshoot: float = 0.02
    classes: int = 10

    _RULES: ClassVar[dict[str, Any]] = {
        **STEPS, "overshoot": (Number(0),), "classes": (Number(1, integer=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return deepfool(
            found.logits, x, y, norm=self.norm, steps=self.steps, overshoot=self.overshoot, classes=self.classes,
            bounds=found.bounds, target=target,
        )  # fmt: skip
