r"""The nearest point of a plane within a box, and the last part of the way to a boundary.

Minimum-norm attacks walk on linear pictures of the classifier; each step solves

.. math:: \min_d \|d\|_p \quad \text{with} \quad \langle w, d \rangle \ge r, \quad l \le z + d \le u .

References: Croce & Hein 2020, arXiv:1907.02044, eq. 3 and 5 (the problem and its exact solution).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rosenblatt.attacks.gradients import jacobian
from rosenblatt.attacks.objectives import reached
from rosenblatt.attacks.projection import size, spread

_TURNS, _POLISH = 60, 2
DUAL = {"l1": "linf", "l2": "l2", "linf": "l1"}


def candidates(model: Any, x: Tensor, y: Tensor, target: Tensor | None, most: int) -> Tensor:
    """Classes (N, C) that may win: the target, or the likeliest wrong ones."""
    if target is not None:
        return target[:, None]
    with torch.no_grad():
        logits = model(x)
    return logits.scatter(1, y[:, None], -torch.inf).topk(min(most, logits.shape[1] - 1), dim=1).indices


def nearest_plane(model: Any, z: Tensor, y: Tensor, classes: Tensor, norm: str) -> tuple[Tensor, Tensor, Tensor]:
    """Slope (N, ...) and rise (N,) that the nearest class of the linear picture at z needs, and the logits."""
    w, logits = jacobian(model, z, y, classes)
    need = logits.gather(1, y[:, None]) - logits.gather(1, classes)
    steepness = size(w.flatten(0, 1), DUAL[norm]).view_as(need)
    best = (need.double() / steepness.clamp_min(1e-30)).argmin(1)
    rows = torch.arange(len(z), device=z.device)
    return w[rows, best], need[rows, best], logits


def onto_plane(z: Tensor, w: Tensor, need: Tensor, norm: str, bounds: tuple[float, float] | None) -> Tensor:
    """The smallest steps (N, ...) that raise each linear function by ``need`` without leaving the box.

    Where the box does not allow it, the step that raises it most.

    Args:
        z: Points (N, ...), in the box.
        w: Slopes (N, ...).
        need: Rises (N,); none where it is not positive.
        norm: "l1", "l2" or "linf".
        bounds: Lowest and highest value, or None.

    Example:
        >>> onto_plane(torch.tensor([[0.9, 0.5]]), torch.tensor([[1.0, 1.0]]), torch.tensor([0.4]), "l2", (0.0, 1.0))
        tensor([[0.1000, 0.3000]])
    """
    low, high = bounds or (-math.inf, math.inf)
    flat, slope = z.flatten(1).double(), w.flatten(1).double()
    need = need.double().clamp_min(0)
    room = torch.where(slope > 0, high - flat, torch.where(slope < 0, flat - low, 0.0)).clamp_min(0)
    strength = slope.abs()
    if norm == "l1":
        length = _greedy(strength, room, need)
    else:
        length = _together(strength, room, need, norm)
    return (slope.sign() * length).to(z.dtype).view_as(z)


def _greedy(strength: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """The strongest coordinates first, each as far as it can go."""
    order = strength.sort(dim=1, descending=True, stable=True).indices
    s, r = strength.gather(1, order), room.gather(1, order)
    # without a box the first coordinate does it alone
    r = torch.minimum(r, need[:, None] / s.clamp_min(1e-300)) * (s > 0)
    before = (s * r).cumsum(1) - s * r
    taken = torch.minimum(((need[:, None] - before) / s.clamp_min(1e-300)).clamp_min(0), r)
    return torch.zeros_like(taken).scatter(1, order, taken)


def _together(strength: Tensor, room: Tensor, need: Tensor, norm: str) -> Tensor:
    """All coordinates at once, by their strength (l2) or equally (linf), each until it meets the box.

    The rise is concave in the length, so Newton's steps from below never go too far; they end as nothing more meets the box.
    """
    shape = strength if norm == "l2" else (strength > 0).double()
    slopes = strength * shape
    by = need / slopes.sum(1).clamp_min(1e-300)
    for _ in range(_TURNS):
        wanted = by[:, None] * shape
        free = wanted < room
        left = need - (strength * torch.minimum(wanted, room)).sum(1)
        slope = torch.where(free, slopes, 0.0).sum(1)
        short = left > 1e-12 * need
        if not short.any():
            break
        # where every coordinate has met the box, all of them go as far as they can
        by = torch.where(short, torch.where(slope > 0, by + left / slope.clamp_min(1e-300), 1e300), by)
    return torch.minimum(by[:, None] * shape, room)


def tighten(
    model: Any, x: Tensor, adversarial: Tensor, y: Tensor, target: Tensor | None, *, halvings: int = 12
) -> tuple[Tensor, Tensor]:
    """Bisect the straight way from x to a point that is wrong; the nearest wrong point found, and queries (N,).

    Points that are not wrong come back as they are.
    """
    inside, out = (
        torch.zeros(len(x), dtype=torch.float64, device=x.device),
        torch.ones(len(x), dtype=torch.float64, device=x.device),
    )
    best = adversarial
    with torch.no_grad():
        for _ in range(halvings):
            middle = (inside + out) / 2
            z = (x.double() + spread(middle, x.double()) * (adversarial - x).double()).to(x.dtype)
            wrong = reached(model(z), y, target)
            inside, out = torch.where(wrong, inside, middle), torch.where(wrong, middle, out)
            best = torch.where(spread(wrong, z).bool(), z, best)
    return best, torch.full((len(x),), halvings, dtype=torch.int64, device=x.device)


class Nearest:
    """The nearest wrong point of each sample so far."""

    def __init__(self, x: Tensor, norm: str):
        self.x, self.norm = x, norm
        self.points = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        self.queries = torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def offer(self, z: Tensor, wrong: Tensor, rows: Tensor | None = None) -> Tensor:
        """Keep points that are wrong and nearer; which were kept."""
        here, kept = wrong.nonzero()[:, 0], torch.zeros_like(wrong)
        if not len(here):
            return kept
        own, points = here if rows is None else rows[here], z[here]
        distance = size(points.double() - self.x[own].double(), self.norm)
        nearer = distance < self.distance[own]
        self.points[own[nearer]], self.distance[own[nearer]] = points[nearer], distance[nearer]
        kept[here] = nearer
        return kept

    @property
    def found(self) -> Tensor:
        """Which samples have one."""
        return torch.isfinite(self.distance)

    def finish(
        self, model: Any, y: Tensor, target: Tensor | None, bounds: Any, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Points and queries (N,), after each point went to the boundary and along it to where it is nearest to x.

        DEPARTS: the papers end with the points themselves. The linear picture at each gives the nearest point of the boundary as
        seen from x; what is wrong there, and nearer, is kept. On a linear model that is the optimum.

        Args:
            model: Inputs to logits.
            y: Labels (N,).
            target: Wanted labels (N,), or None.
            bounds: Of the inputs, or None.
            rows: Numbers of samples that have a point and are worth it; None: all that have one.
        """
        rows = self.found.nonzero()[:, 0] if rows is None else rows
        for turn in range(_POLISH + 1):
            if not len(rows):
                break
            goal = None if target is None else target[rows]
            points, asked = tighten(model, self.x[rows], self.points[rows], y[rows], goal)
            with torch.no_grad():
                self.offer(points, reached(model(points), y[rows], goal), rows)
            self.queries[rows] += asked + 1
            if turn < _POLISH and self.norm in DUAL:
                points = self._seen_from_x(model, rows, y[rows], goal, bounds)
                with torch.no_grad():
                    kept = self.offer(points, reached(model(points), y[rows], goal), rows)
                self.queries[rows] += 3
                rows = rows[kept]
        return self.points, self.queries

    def _seen_from_x(self, model: Any, rows: Tensor, y: Tensor, target: Tensor | None, bounds: Any) -> Tensor:
        z, x = self.points[rows], self.x[rows]
        w, need, _ = nearest_plane(model, z, y, candidates(model, z, y, target, 1), self.norm)
        rise = need.double() + (w * (z - x)).flatten(1).double().sum(1)
        over = 1e-4 * rise.abs() + 1e-6 * size(w, DUAL[self.norm])
        points = x + onto_plane(x, w, rise + over, self.norm, bounds)
        return points.clamp(*bounds) if bounds is not None else points
