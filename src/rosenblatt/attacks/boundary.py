r"""The boundary attack: a random walk along the boundary that comes nearer to the sample; only the answered class is used.

A step from :math:`\tilde o` around the sample o:

.. math:: \eta \perp o - \tilde o, \quad \|\eta\| = \delta \|o - \tilde o\|, \qquad
          \tilde o' = s + \varepsilon (o - s), \quad s = o + \|o - \tilde o\| \frac{\tilde o + \eta - o}{\|\tilde o + \eta - o\|}

:math:`\delta` follows the share of points s that are wrong, which is to be a half, :math:`\varepsilon` the share of those from
which the step towards the sample stays wrong.

Reference: Brendel, Rauber & Bethge 2018, arXiv:1712.04248, algorithm 1 and section 2.3.
Departures: the sizes follow each answer by a few per cent, instead of the shares of the last ones; the step towards the sample
is asked for only where s is wrong; the way begins with a bisection between the sample and the starting point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.decisions import FREE, START, Answers, directions, pool, unit
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.projection import spread
from rosenblatt.attacks.result import Attack, Found
from rosenblatt.attacks.streams import keys_of

_AROUND, _TOWARDS = 0.5, 0.25
"""Shares of answers that are to be wrong."""
_PACE, _STILL = 0.15, 1e-7


def boundary(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    queries: int = 5000,
    orthogonal: float = 0.1,
    towards: float = 0.1,
    tries: int = 100,
    start: Tensor | None = None,
    starts: Tensor | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
) -> Found:
    """Find a near wrong point in l2; a sample without a starting point stays as it is.

    Args:
        model: Inputs (N, ...) to logits or scores (N, K); the highest alone is used.
        x: Inputs.
        y: Labels (N,).
        queries: Most queries of a sample.
        orthogonal: First length of the step around the sample, as a share of the distance.
        towards: First length of the step towards it.
        tries: Most points of ``starts``, and most draws of noise, that are tried as starting points.
        start: A starting point each (N, ...), or None.
        starts: Points (M, ...) of which some may be wrong, or None.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.
    """
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    answers = Answers(model, x, y, target, norm="l2", most=queries, bounds=bounds)
    z, rows = answers.begin(start, starts, tries, keys)
    z = answers.bisect(z, rows, 0.01)
    around = torch.full((len(rows),), float(orthogonal), dtype=torch.float64, device=x.device)
    nearer = torch.full_like(around, towards)
    for step in range(queries):
        open_ = (answers.left(rows) > 1) & (nearer > _STILL)
        z, rows, around, nearer = z[open_], rows[open_], around[open_], nearer[open_]
        if not len(rows):
            break
        s = _beside(answers, z, rows, around, keys[rows], FREE + step)
        right = answers.wrong(s, rows)
        near = right.nonzero()[:, 0]
        tried = answers.boxed(s[near] + spread(nearer[near], s) * (x[rows[near]] - s[near]), rows[near])
        came = answers.wrong(tried, rows[near])
        z = z.index_copy(0, near[came], tried[came])
        around = (around * torch.exp(_PACE * (right.double() - _AROUND))).clamp_max(1.0)
        nearer[near] = (nearer[near] * torch.exp(_PACE * (came.double() - _TOWARDS))).clamp_max(0.5)
    return Found(answers.nearest.points, answers.nearest.queries)


def _beside(answers: Answers, z: Tensor, rows: Tensor, share: Tensor, keys: Tensor, draw: int) -> Tensor:
    """Random points as far from the samples as z, in the box."""
    x = answers.x[rows]
    d = (z - x).double()
    far, away = answers.distance(z, rows), unit(d)
    eta = directions(keys, torch.full_like(rows, draw), d)
    eta = unit(eta - spread((eta * away).flatten(1).sum(1), d) * away)
    return answers.boxed((x + spread(far, d) * unit(away + spread(share, d) * eta)).to(z.dtype), rows)


@dataclass(frozen=True, kw_only=True)
class Boundary(Attack):
    """The boundary attack; see `boundary`. Minimises l2, and uses nothing but the answered class.

    Args:
        queries: Most queries of a sample.
        orthogonal: First length of the step around the sample, as a share of the distance.
        towards: First length of the step towards it.
        tries: Most points of ``starts``, and most draws of noise, that are tried as starting points.
        starts: Samples as X, of which some are wrong points: where noise finds none, or with a target.
    """

    norm: str = "l2"
    queries: int = 5000
    orthogonal: float = 0.1
    towards: float = 0.1
    tries: int = 100
    starts: Any = field(default=None, repr=False, compare=False)

    gradient: ClassVar[bool] = False
    scores: ClassVar[bool] = False
    _NORMS: ClassVar[tuple[str, ...]] = ("l2",)
    _RULES: ClassVar[dict[str, Any]] = {
        **START, "orthogonal": (Number(0, 1, open_low=True),), "towards": (Number(0, 1, open_low=True, open_high=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return boundary(
            found.logits, x, y, queries=self.queries, orthogonal=self.orthogonal, towards=self.towards, tries=self.tries,
            starts=pool(found, self.starts, x), bounds=found.bounds, target=target, keys=keys,
        )  # fmt: skip
