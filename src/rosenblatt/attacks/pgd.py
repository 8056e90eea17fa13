r"""Projected gradient descent: many small steps, each back into the ball.

.. math:: x_{t+1} = \Pi_{B(x, \varepsilon) \cap [l, u]} \big( x_t + \alpha \, s(g_t) \big)

where s is the steepest step of length one of the norm and g the gradient of the objective, with momentum their running sum.

References: Madry et al. 2018, arXiv:1706.06083, section 2.1 (random start, restarts); momentum: Dong et al. 2018,
arXiv:1710.06081, algorithm 1; sparse steps for l1: Tramer & Boneh 2019, arXiv:1904.13000, section 4.
Departures: unless a step size is given, steps shorten in a straight line from the radius to nothing, which breaks more in as many
steps than the papers' constant ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import BOOL, NONE, Choice, Number
from rosenblatt.attacks.gradients import accumulated, ascent
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import OBJECTIVES, reached
from rosenblatt.attacks.projection import Ball, radii, size, spread, steepest
from rosenblatt.attacks.result import EPS, STEPS, Attack, Found
from rosenblatt.attacks.streams import keys_of, normal, uniform

_SPARSE = 0.05
"""Share of the coordinates that a step for l1 moves; one at a time would need as many steps as there are pixels."""


def start_at(ball: Ball, keys: Tensor, draw: int) -> Tensor:
    """A point of the ball: uniform in a cube for "linf", else in a random direction at a random radius."""
    x, shape = ball.x, ball.x.shape[1:]
    if ball.norm == "linf":
        d = (2 * uniform(keys, draw, shape) - 1) * spread(ball.eps, x)
    else:
        d = normal(keys, draw, shape)
        reach = uniform(keys, draw + 1, (1,))[:, 0].double() * ball.eps / size(d, ball.norm).clamp_min(1e-300)
        d = d * spread(reach, d)
    return ball.nearest(x + d.to(x.dtype))


def step_of(g: Tensor, norm: str, share: Tensor | float = _SPARSE) -> Tensor:
    """A step of length one up a gradient; for "l1" the signs of that share of the slopes, the largest."""
    if norm != "l1":
        return steepest(g, norm)
    flat = g.flatten(1)
    count = (torch.as_tensor(share, device=g.device).expand(len(g)) * flat.shape[1]).long().clamp_min(1)
    ranked, order = flat.abs().sort(dim=1, descending=True, stable=True)
    chosen = (torch.arange(flat.shape[1], device=g.device) < count[:, None]) & (ranked > 0)
    top = torch.zeros_like(chosen).scatter(1, order, chosen)
    return (flat.sign() * top / top.sum(1, keepdim=True).clamp_min(1)).view_as(g)


def pgd(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    eps: Tensor | float,
    norm: str = "linf",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    momentum: float = 0.0,
    random_start: bool = True,
    objective: str = "ce",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
) -> Found:
    """Attack until a sample is broken; each stops by itself, and restarts begin with those that hold.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        eps: Radius, in units of the input; one or one a sample.
        norm: "l1", "l2" or "linf".
        steps: Gradient steps of each start.
        step_size: Length of a step in the norm; None: from eps in a straight line to 0.
        restarts: Starts; the first is x itself without ``random_start``, later ones are random.
        momentum: Share of the running sum of gradients that is kept.
        random_start: Whether the first start is random.
        objective: "ce", "dlr" or "margin".
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.
    """
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    eps = radii(eps, x)
    every = Ball(x, eps, norm, bounds)
    length = eps if step_size is None else torch.full_like(eps, step_size)
    best, queries = x.clone(), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    open_ = torch.arange(len(x), device=x.device)
    for start in range(restarts):
        ball, move = every.of(open_), spread(length[open_], x)
        z = start_at(ball, keys[open_], 2 * start) if random_start or start else ball.x
        sum_ = torch.zeros_like(z)
        for step in range(steps + 1):
            if not len(open_):
                return Found(best, queries)
            goal = None if target is None else target[open_]
            if step < steps:
                g, logits = ascent(model, z, y[open_], goal, OBJECTIVES[objective])
            else:  # no step follows
                with torch.no_grad():
                    g, logits = z, model(z)
            queries[open_] += 1
            broken = reached(logits, y[open_], goal)
            best[open_] = z
            if broken.any():
                holds = ~broken
                open_, z, g, sum_ = open_[holds], z[holds], g[holds], sum_[holds]
                ball, move = ball.of(holds), move[holds]
            if step == steps or not len(open_):
                continue
            if momentum:
                g = sum_ = accumulated(sum_, g, momentum)
            share = 1 - step / steps if step_size is None else 1.0
            z = ball.nearest(z + share * move * step_of(g, norm))
    return Found(best, queries)


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient descent; see `pgd`.

    Args:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps of each start.
        step_size: Length of a step in the norm; None: from eps in a straight line to 0.
        restarts: Random starts.
        momentum: Share of the running sum of gradients that is kept (MI-FGSM with 1.0).
        random_start: Whether the first start is random.
        objective: "ce", "dlr" or "margin".
    """

    eps: float = 0.1
    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    momentum: float = 0.0
    random_start: bool = True
    objective: str = "ce"

    _RULES: ClassVar[dict[str, Any]] = {
        **EPS, **STEPS, "step_size": (Number(0, open_low=True), NONE), "restarts": (Number(1, integer=True),),
        "momentum": (Number(0, 1),), "random_start": (BOOL,), "objective": (Choice(tuple(OBJECTIVES)),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return pgd(
            found.logits, x, y, eps=self.eps, norm=self.norm, steps=self.steps, step_size=self.step_size,
            restarts=self.restarts, momentum=self.momentum, random_start=self.random_start, objective=self.objective,
            bounds=found.bounds, target=target, keys=keys,
        )  # fmt: skip
