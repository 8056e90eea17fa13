r"""HopSkipJump: gradient directions at the boundary, estimated from answers alone; far fewer queries than a random walk.

At a point on the boundary, with random unit vectors u and answers :math:`\varphi`,

.. math:: v \propto \sum_b \big( \varphi(x_t + \delta_t u_b) - \overline{\varphi} \big) u_b, \qquad
          \tilde x_{t+1} = x_t + \xi_t \, s(v),

s(v) the unit vector for l2 and the sign for linf, :math:`\xi_t = \|x_t - x^*\| / \sqrt t` halved until the point is wrong; then a
bisection back to the boundary.

Reference: Chen, Jordan & Wainwright 2020, arXiv:1904.02144, algorithms 1 and 2, eq. 12 (baseline), 14 and 15 (:math:`\delta_t`).
Departures: the bisection's tolerance is at most 0.001, and a share of what is left of the way; where a direction
leads nowhere the point stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.decisions import FREE, START, Answers, directions, pool
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.projection import spread, steepest
from rosenblatt.attacks.result import Attack, Found
from rosenblatt.attacks.streams import keys_of

_TOLERANCE, _FEWEST, _SPARE, _AT_ONCE = 1e-3, 8, 25, 128
"""Tolerance of the bisection; least probes that make a direction; queries kept for a step; points asked in one call."""


def hop_skip_jump(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    queries: int = 5000,
    probes: int = 100,
    tries: int = 100,
    start: Tensor | None = None,
    starts: Tensor | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
) -> Found:
    """Find a near wrong point; a sample without a starting point stays as it is.

    Args:
        model: Inputs (N, ...) to logits or scores (N, K); the highest alone is used.
        x: Inputs.
        y: Labels (N,).
        norm: "l2" or "linf".
        queries: Most queries of a sample.
        probes: Of the first direction; the t-th has sqrt(t) times as many.
        tries: Most points of ``starts``, and most draws of noise, that are tried as starting points.
        start: A starting point each (N, ...), or None.
        starts: Points (M, ...) of which some may be wrong, or None.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.
    """
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    answers = Answers(model, x, y, target, norm=norm, most=queries, bounds=bounds)
    width = x[0].numel()
    tolerance = min(width**-1.5 if norm == "l2" else float(width) ** -2, _TOLERANCE)
    reach = tolerance * (width**0.5 if norm == "l2" else width)
    z, rows = answers.begin(start, starts, tries, keys)
    far = answers.distance(z, rows)
    z = answers.bisect(z, rows, tolerance)
    drawn = torch.zeros_like(answers.nearest.queries)
    for turn in range(1, queries):
        count = (answers.left(rows) - _SPARE).clamp_max(int(probes * turn**0.5))
        open_ = count >= _FEWEST
        z, rows, far, count = z[open_], rows[open_], far[open_], count[open_]
        if not len(rows):
            break
        v = _direction(answers, z, rows, reach * far, count, keys[rows], drawn[rows])
        drawn[rows] += count
        z = _jump(answers, z, rows, steepest(v, norm), turn, tolerance)
        far = answers.distance(z, rows)
        z = answers.bisect(z, rows, tolerance)
    return Found(answers.nearest.points, answers.nearest.queries)


def _direction(
    answers: Answers, z: Tensor, rows: Tensor, delta: Tensor, count: Tensor, keys: Tensor, drawn: Tensor
) -> Tensor:
    """Estimated direction (n, ...) in which answers become wrong, of ``count`` probes each."""
    once = max(1, _AT_ONCE // len(rows), len(answers.x) // len(rows))
    wrong, every = torch.zeros_like(z, dtype=torch.float64), torch.zeros_like(z, dtype=torch.float64)  # sums of u
    hits = torch.zeros(len(rows), dtype=torch.int64, device=z.device)
    for first in range(0, int(count.max()), once):
        number = torch.arange(first, first + once, device=z.device)
        asked = number < count[:, None]
        of, which = asked.nonzero(as_tuple=True)
        u = directions(keys[of], FREE + drawn[of] + number[which], z[of])
        probe = answers.boxed(z[of] + spread(delta[of], z) * u, rows[of])
        taken = torch.zeros(*asked.shape, *z.shape[1:], dtype=torch.float64, device=z.device)
        taken[of, which] = (probe - z[of]).double() / spread(delta[of], every)  # u, as far as the box lets it
        answer = torch.zeros_like(asked)
        answer[of, which] = answers.ask(probe, rows[of])
        wrong += (answer.view(*asked.shape, *[1] * (z.ndim - 1)) * taken).sum(1)
        every += taken.sum(1)
        hits += answer.sum(1)
    # all alike: the baseline would leave nothing of them
    mean = torch.where(hits == 0, 1.0, torch.where(hits == count, 0.0, hits / count))
    return (wrong - spread(mean, every) * every).to(z.dtype)


def _jump(answers: Answers, z: Tensor, rows: Tensor, v: Tensor, turn: int, tolerance: float) -> Tensor:
    """Wrong points along v, as far as the distance by the root of the turn, halved where that is not wrong."""
    far = answers.distance(z, rows)
    step, out = far / turn**0.5, z.clone()
    open_ = torch.arange(len(rows), device=z.device)
    while True:
        open_ = open_[(step[open_] > tolerance * far[open_]) & (answers.left(rows[open_]) > 0)]
        if not len(open_):
            return out
        tried = answers.boxed(z[open_] + spread(step[open_], z) * v[open_], rows[open_])
        answer = answers.wrong(tried, rows[open_])
        out[open_[answer]] = tried[answer]
        open_ = open_[~answer]
        step[open_] /= 2


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Attack):
    """HopSkipJump; see `hop_skip_jump`. Minimises l2 or linf, and uses nothing but the answered class.

    Args:
        queries: Most queries of a sample.
        probes: Of the first direction; the t-th has sqrt(t) times as many.
        tries: Most points of ``starts``, and most draws of noise, that are tried as starting points.
        starts: Samples as X, of which some are wrong points: where noise finds none, or with a target.
    """

    norm: str = "l2"
    queries: int = 5000
    probes: int = 100
    tries: int = 100
    starts: Any = field(default=None, repr=False, compare=False)

    gradient: ClassVar[bool] = False
    scores: ClassVar[bool] = False
    _NORMS: ClassVar[tuple[str, ...]] = ("l2", "linf")
    _RULES: ClassVar[dict[str, Any]] = {**START, "probes": (Number(_FEWEST, integer=True),)}

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return hop_skip_jump(
            found.logits, x, y, norm=self.norm, queries=self.queries, probes=self.probes, tries=self.tries,
            starts=pool(found, self.starts, x), bounds=found.bounds, target=target, keys=keys,
        )  # fmt: skip
