"""Four attacks in turn, each on what the ones before left standing: a figure of robustness that can be compared.

APGD on cross-entropy, targeted APGD on the difference of logits ratio, targeted FAB, Square.

Reference: Croce & Hein 2020, arXiv:2003.01690, section 5 (AutoAttack, standard version: 100 steps, 9 targets, 5,000 queries).
Departures: with two classes the targeted attacks have one target and the ratio is a difference; "l1" goes without Square. FAB
and Square give up samples that they would not break: see the arguments ``eps`` of `fab` and ``known`` of `square`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.apgd import apgd, each_target
from rosenblatt.attacks.fab import fab
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import margin, reached
from rosenblatt.attacks.projection import project, size
from rosenblatt.attacks.result import EPS, STEPS, Attack, Found
from rosenblatt.attacks.square import square


@dataclass(frozen=True, kw_only=True)
class Ensemble(Attack):
    """The standard ensemble.

    Args:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps of APGD and FAB.
        targets: Likeliest wrong classes of the targeted attacks.
        queries: Of Square.
    """

    eps: float = 0.1
    steps: int = 100
    targets: int = 9
    queries: int = 5000

    _RULES: ClassVar[dict[str, Any]] = {
        **EPS, **STEPS, "targets": (Number(1, integer=True),), "queries": (Number(1, integer=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        model = found.logits
        best, queries = x.clone(), torch.zeros(len(x), dtype=torch.int64, device=x.device)
        open_ = torch.arange(len(x), device=x.device)
        reach = torch.full((len(x),), -torch.inf, device=x.device)
        for part in self._parts(found):
            if not len(open_):
                break
            goal = None if target is None else target[open_]
            given = part(x[open_], y[open_], goal, keys[open_], reach[open_])
            with torch.no_grad():
                logits = model(given.adversarial)
            wrong = reached(logits, y[open_], goal)
            reach[open_] = torch.maximum(reach[open_], margin(logits, y[open_], goal).to(reach.dtype))
            queries[open_] += given.queries + 1
            best[open_] = given.adversarial
            open_ = open_[~wrong]
        return Found(best, queries)

    def _parts(self, found: Victim) -> list[Any]:
        model, common = found.logits, {"norm": self.norm, "bounds": found.bounds}
        walk = {**common, "eps": self.eps, "steps": self.steps}

        def first(x: Tensor, y: Tensor, goal: Tensor | None, keys: Tensor, reach: Tensor) -> Found:
            return apgd(model, x, y, objective="ce", target=goal, keys=keys, **walk)

        def second(x: Tensor, y: Tensor, goal: Tensor | None, keys: Tensor, reach: Tensor) -> Found:
            def towards(rows: Tensor, wanted: Tensor) -> Found:
                return apgd(model, x[rows], y[rows], objective="dlr", target=wanted, keys=keys[rows], **walk)

            every = torch.arange(len(x), device=x.device)
            return towards(every, goal) if goal is not None else each_target(model, x, y, self.targets, towards)

        def third(x: Tensor, y: Tensor, goal: Tensor | None, keys: Tensor, reach: Tensor) -> Found:
            def towards(rows: Tensor, wanted: Tensor) -> Found:
                here = x[rows]
                nearest = fab(
                    model, here, y[rows], steps=self.steps, eps=self.eps, target=wanted, keys=keys[rows], **common
                )
                # the nearest point may lie outside the ball: what it is inside of it is what counts, for each target
                far = (size(nearest.adversarial.double() - here.double(), self.norm) > self.eps).nonzero()[:, 0]
                points = nearest.adversarial.clone()
                points[far] = project(points[far], here[far], self.eps, self.norm, found.bounds)
                return Found(points, nearest.queries)

            every = torch.arange(len(x), device=x.device)
            return towards(every, goal) if goal is not None else each_target(model, x, y, self.targets, towards)

        def fourth(x: Tensor, y: Tensor, goal: Tensor | None, keys: Tensor, reach: Tensor) -> Found:
            return square(
                model, x, y, eps=self.eps, queries=self.queries, target=goal, keys=keys, known=reach, **common
            )

        return [first, second, third] + ([fourth] if self.norm != "l1" else [])
