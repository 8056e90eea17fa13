r"""Auto-PGD: projected gradient descent whose step is halved when it stops paying.

.. math:: z = \Pi(x_t + \eta \, s(g_t)), \qquad x_{t+1} = \Pi\big(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_{t-1})\big)

Checkpoints come at 22 % of the steps, then at distances that shrink by 3 %, no less than 6 %. There the step is halved, and the
walk goes on from the best point, if less than three quarters of the steps since the last one raised the objective, or if
neither the step nor the best value changed.

References: Croce & Hein 2020, arXiv:2003.01690, algorithm 1, eq. 6 (DLR) and 8 (targeted DLR).
Departures: for l1 a step moves the fifth of the coordinates with the largest slopes, and half of them wherever the step is halved
(Croce & Hein 2021, arXiv:2103.01208, follow the sparsity of the point instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Choice, Number
from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import OBJECTIVES, reached
from rosenblatt.attacks.pgd import start_at, step_of
from rosenblatt.attacks.projection import Ball, radii, spread
from rosenblatt.attacks.result import EPS, STEPS, Attack, Found
from rosenblatt.attacks.streams import keys_of

_KEEP, _RHO, _SPARSE = 0.75, 0.75, 0.2


def checkpoints(steps: int) -> list[int]:
    """Steps after which progress is judged.

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    at, last, found = 0.22, 0.0, []
    while at < 1.0:
        found.append(-(-round(at * steps * 1e6) // 1_000_000))
        at, last = at + max(at - last - 0.03, 0.06), at
    return sorted(set(found))


def apgd(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    eps: Tensor | float,
    norm: str = "linf",
    steps: int = 100,
    restarts: int = 1,
    objective: str = "ce",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
) -> Found:
    """Attack until a sample is broken; arguments as of `rosenblatt.attacks.pgd.pgd`.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        eps: Radius, in units of the input; one or one a sample.
        norm: "l1", "l2" or "linf".
        steps: Gradient steps of each start.
        restarts: Random starts.
        objective: "ce" or "dlr" or "margin".
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.
    """
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    every = Ball(x, radii(eps, x), norm, bounds)
    best, queries = x.clone(), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    open_ = torch.arange(len(x), device=x.device)
    for start in range(restarts):
        if not len(open_):
            break
        goal = None if target is None else target[open_]
        ball = every.of(open_)
        z, asked, broken = _walk(
            model, ball, y[open_], start_at(ball, keys[open_], 1000 + 2 * start), steps, objective, goal
        )
        best[open_], queries[open_] = z, queries[open_] + asked
        open_ = open_[~broken]
    return Found(best, queries)


def _walk(
    model: Any, ball: Ball, y: Tensor, z: Tensor, steps: int, objective: str, target: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """One start: points, queries, and which samples it broke."""
    device, count, norm = z.device, len(z), ball.norm
    out, queries = z.clone(), torch.zeros(count, dtype=torch.int64, device=device)
    broken = torch.zeros(count, dtype=torch.bool, device=device)
    live, judged, last = torch.arange(count, device=device), checkpoints(steps), 0
    step, share = 2.0 * ball.eps, torch.full_like(ball.eps, _SPARSE)
    now = {"z": z, "before": z, "best": z, "best_g": torch.zeros_like(z), "g": torch.zeros_like(z)}
    value = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
    best_value, raised = value.clone(), torch.zeros_like(value)
    halved, value_then = torch.zeros_like(broken), value.clone()
    for number in range(steps + 1):
        goal = None if target is None else target[live]
        g, logits = ascent(model, now["z"], y[live], goal, OBJECTIVES[objective])
        fresh = OBJECTIVES[objective](logits, y[live], goal).double()
        queries[live] += 1
        out[live] = now["z"]
        hit = reached(logits, y[live], goal)
        broken[live] |= hit
        raised, value = raised + (fresh > value), fresh
        better = fresh > best_value
        wide = spread(better, g).bool()
        now["g"], now["best"] = g, torch.where(wide, now["z"], now["best"])
        now["best_g"], best_value = torch.where(wide, g, now["best_g"]), torch.where(better, fresh, best_value)
        if hit.any():
            keep = ~hit
            live, ball, now = live[keep], ball.of(keep), {name: tensor[keep] for name, tensor in now.items()}
            step, value, best_value, raised = step[keep], value[keep], best_value[keep], raised[keep]
            halved, value_then, share = halved[keep], value_then[keep], share[keep]
        if number == steps or not len(live):
            break
        if number in judged:
            slow = raised < _RHO * (number - last)
            slow |= ~halved & (value_then >= best_value)
            step, share = torch.where(slow, step / 2, step), torch.where(slow, share / 2, share)
            wide = spread(slow, now["z"]).bool()
            now["before"] = torch.where(wide, now["best"], now["before"])
            now["z"] = torch.where(wide, now["best"], now["z"])
            now["g"] = torch.where(wide, now["best_g"], now["g"])
            halved, value_then, raised, last = slow, best_value.clone(), torch.zeros_like(raised), number
        here = now["z"]
        there = ball.nearest(here + spread(step, here) * step_of(now["g"], norm, share))
        if number:  # the first step has nothing to carry on
            there = ball.nearest(here + _KEEP * (there - here) + (1 - _KEEP) * (here - now["before"]))
        now["before"], now["z"] = here, there
    out[live] = now["best"]
    return out, queries, broken


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD; see `apgd`.

    Args:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps of each start.
        restarts: Random starts.
        objective: "ce", "dlr" or "margin".
        targets: With "dlr" and no target given: that many of the likeliest wrong classes are tried one after the other
            (APGD-T); 0 tries none in particular.
    """

    eps: float = 0.1
    steps: int = 100
    restarts: int = 1
    objective: str = "ce"
    targets: int = 0

    _RULES: ClassVar[dict[str, Any]] = {
        **EPS, **STEPS, "restarts": (Number(1, integer=True),), "objective": (Choice(tuple(OBJECTIVES)),),
        "targets": (Number(0, integer=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        options = {
            "eps": self.eps, "norm": self.norm, "steps": self.steps, "restarts": self.restarts,
            "objective": self.objective, "bounds": found.bounds,
        }  # fmt: skip
        if target is not None or not self.targets:
            return apgd(found.logits, x, y, target=target, keys=keys, **options)

        def towards(rows: Tensor, goal: Tensor) -> Found:
            return apgd(found.logits, x[rows], y[rows], target=goal, keys=keys[rows], **options)

        return each_target(found.logits, x, y, self.targets, towards)


def each_target(model: Any, x: Tensor, y: Tensor, most: int, towards: Any) -> Found:
    """A targeted attack at the likeliest wrong classes in turn, on the samples that still hold.

    Args:
        model: Inputs to logits.
        x: Inputs (N, ...).
        y: Labels (N,).
        most: Classes to try; there are one less than classes.
        towards: (rows, wanted classes) to `Found`.
    """
    with torch.no_grad():
        logits = model(x)
    order = logits.scatter(1, y[:, None], -torch.inf).sort(dim=1, descending=True, stable=True).indices
    best, queries = x.clone(), torch.ones(len(x), dtype=torch.int64, device=x.device)
    open_ = torch.arange(len(x), device=x.device)
    for place in range(min(most, logits.shape[1] - 1)):
        if not len(open_):
            break
        found = towards(open_, order[open_, place])
        best[open_], queries[open_] = found.adversarial, queries[open_] + found.queries + 1
        with torch.no_grad():
            open_ = open_[~reached(model(found.adversarial), y[open_], None)]
    return Found(best, queries)
