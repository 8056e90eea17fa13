"""Attacks that see the answered class alone: what they ask, where they start, and the way back to the boundary.

Of the logits nothing but the highest is used. Every look at a point is counted for its sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import reached
from rosenblatt.attacks.planes import Nearest
from rosenblatt.attacks.projection import Box, size, spread
from rosenblatt.attacks.streams import normal, uniform
from rosenblatt.errors import ShapeError

_POOL, _NOISE = 1, 100
"""First numbers of the draws; the attacks' own begin at FREE."""
FREE = 1_000_000


class Answers:
    """Whether points are wrong, as the model answers; counts, and the nearest wrong point of each sample.

    Args:
        model: Inputs (N, ...) to logits or scores (N, K).
        x: Samples (N, ...).
        y: Labels (N,).
        target: Wanted labels (N,), or None.
        norm: In which the nearest is nearest.
        most: Queries of a sample.
        bounds: Of the inputs, or None.
    """

    def __init__(
        self, model: Any, x: Tensor, y: Tensor, target: Tensor | None, *, norm: str, most: int,
        bounds: tuple[float, float] | None,
    ):  # fmt: skip
        self.x, self.norm, self.bounds, self.most = x, norm, bounds, most
        self.nearest = Nearest(x, norm)
        self._model, self._y, self._target = model, y, target

    def left(self, rows: Tensor) -> Tensor:
        """Queries that samples still have."""
        return self.most - self.nearest.queries[rows]

    def ask(self, z: Tensor, rows: Tensor) -> Tensor:
        """Whether points are wrong; a sample may have several."""
        self.nearest.queries += torch.bincount(rows, minlength=len(self.x))
        with torch.no_grad():
            return reached(self._model(z), self._y[rows], None if self._target is None else self._target[rows])

    def wrong(self, z: Tensor, rows: Tensor) -> Tensor:
        """Whether points are wrong, one a sample; what is, and nearer than before, is kept."""
        if not len(rows):
            return torch.zeros(0, dtype=torch.bool, device=z.device)
        answer = self.ask(z, rows)
        self.nearest.offer(z, answer, rows)
        return answer

    def box(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest values of samples (n, ...); a held column of a table has one value alone."""
        x = self.x[rows]
        if isinstance(self.bounds, Box):
            return self.bounds.around(x)
        low, high = self.bounds or (-math.inf, math.inf)
        return torch.full_like(x, low), torch.full_like(x, high)

    def boxed(self, z: Tensor, rows: Tensor) -> Tensor:
        """Points within the bounds."""
        return z.clamp(*self.box(rows))

    def distance(self, z: Tensor, rows: Tensor) -> Tensor:
        """Of points from their samples, (n,), float64."""
        return size(z.double() - self.x[rows].double(), self.norm)

    def between(self, z: Tensor, rows: Tensor, share: Tensor) -> Tensor:
        """The points at a share of the way to z: on the line, or for "linf" nearest to z in a cube of that share."""
        x = self.x[rows].double()
        d = z.double() - x
        if self.norm == "linf":
            reach = spread(share * size(d, "linf"), d)
            d = torch.minimum(torch.maximum(d, -reach), reach)
        else:
            d = spread(share, d) * d
        return self.boxed((x + d).to(z.dtype), rows)

    def bisect(self, z: Tensor, rows: Tensor, tolerance: float) -> Tensor:
        """From wrong points towards their samples, until the boundary is less than that share of the rest away."""
        high, best = torch.ones(len(rows), dtype=torch.float64, device=z.device), z
        low = torch.zeros_like(high)
        while True:
            open_ = ((high - low > tolerance * high) & (self.left(rows) > 0)).nonzero()[:, 0]
            if not len(open_):
                return best
            middle = (low[open_] + high[open_]) / 2
            tried = self.between(z[open_], rows[open_], middle)
            answer = self.wrong(tried, rows[open_])
            high[open_] = torch.where(answer, middle, high[open_])
            low[open_] = torch.where(answer, low[open_], middle)
            best = best.index_copy(0, open_[answer], tried[answer])

    def begin(self, start: Tensor | None, starts: Tensor | None, tries: int, keys: Tensor) -> tuple[Tensor, Tensor]:
        """A wrong point of each sample that has one: its own, then some of a set, then noise.

        Args:
            start: A point each (N, ...), or None.
            starts: Points for all (M, ...), tried in a random order, or None.
            tries: Most of the set, and most draws of noise.
            keys: Of the samples' random numbers.

        Returns:
            Points (n, ...) and the numbers of their samples (n,).
        """
        for propose in self._proposals(start, starts, tries, keys):
            rows = (~self.nearest.found & (self.nearest.queries < self.most)).nonzero()[:, 0]
            if not len(rows):
                break
            self.wrong(self.boxed(propose(rows), rows), rows)
        rows = self.nearest.found.nonzero()[:, 0]
        return self.nearest.points[rows], rows

    def _proposals(
        self, start: Tensor | None, starts: Tensor | None, tries: int, keys: Tensor
    ) -> Iterator[Callable[[Tensor], Tensor]]:
        if start is not None:
            yield lambda rows: start[rows]
        if starts is not None:
            order = uniform(keys, _POOL, (len(starts),)).argsort(1)
            for attempt in range(min(tries, len(starts))):
                yield lambda rows, at=attempt: starts[order[rows, at]]
        for attempt in range(tries):
            yield lambda rows, at=attempt: self._noise(rows, keys[rows], at)

    def _noise(self, rows: Tensor, keys: Tensor, attempt: int) -> Tensor:
        """In turn noise of the box, the same mixed with the sample, the sample with noise, and corners from dark to bright.

        Where the box has no end, it is taken to end at distances from the sample that grow.
        """
        x, draw = self.x[rows], _NOISE + 2 * attempt
        low, high = self.box(rows)
        reach = 2.0 ** (attempt % 16 - 4)
        low, high = torch.where(low.isfinite(), low, x - reach), torch.where(high.isfinite(), high, x + reach)
        u = uniform(keys, draw, x.shape[1:]).to(x.dtype)
        share, noise = spread(uniform(keys, draw + 1, (1,))[:, 0], x), low + u * (high - low)
        around = x + share * (high - low) * (2 * u - 1)
        return (noise, x + share * (noise - x), around, torch.where(u < share, high, low))[attempt % 4]


def directions(keys: Tensor, draws: Tensor, like: Tensor) -> Tensor:
    """Random directions of Euclidean length one, (n, ...).

    Args:
        keys: Of the samples' random numbers (n,).
        draws: A number each (n,).
        like: Of the shape and type (n, ...).
    """
    return unit(normal(keys, draws, like.shape[1:]).to(like.dtype))


def unit(d: Tensor) -> Tensor:
    """Vectors of Euclidean length one."""
    return (d / spread(size(d, "l2").clamp_min(1e-300), d.double())).to(d.dtype)


def pool(found: Victim, starts: Any, x: Tensor) -> Tensor | None:
    """The points that a user gives to start from, as the victim reads them.

    Args:
        found: The victim.
        starts: As X, or None.
        x: The samples.

    Raises:
        ShapeError: Points of another shape than the samples.
        DataError, NonFiniteError: As for X.
    """
    if starts is None:
        return None
    points = found.encode(starts)
    if points.shape[1:] != x.shape[1:]:
        raise ShapeError(
            f"attack: starts holds samples of shape {tuple(points.shape[1:])}; expected {tuple(x.shape[1:])}, as X has them."
        )
    return points.to(x.dtype)


START = {"queries": (Number(1, integer=True),), "tries": (Number(0, integer=True),)}
