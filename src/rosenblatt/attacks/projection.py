"""Norms, and the nearest point of a ball within a box.

Samples are (N, ...); norms are over all axes but the first. ``norm`` is "l0", "l1", "l2" or "linf".

The nearest point of a ball that also lies in the box is found exactly, not by one projection after the other, which for l1 and
l2 ends elsewhere: by the Lagrange multiplier (for l1: Croce & Hein 2021, arXiv:2103.01208, proposition 2.1).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

NORMS = ("l1", "l2", "linf")
_HALVINGS, _TURNS = 60, 60


class Box(tuple[Tensor, Tensor]):
    """Bounds (lowest, highest) of each column (D,), which columns are held, and in which steps others go.

    It is the pair that ``bounds`` is everywhere, so an attack need not know of columns.

    Args:
        low: Lowest values.
        high: Highest values.
        held: Columns that stay as they are in each sample.
        step: Distance of two values of a column in which only some count; 0 where all do.
    """

    held: Tensor
    step: Tensor

    def __new__(cls, low: Tensor, high: Tensor, *, held: Tensor, step: Tensor) -> Box:
        """A pair that remembers the rest."""
        made = super().__new__(cls, (low, high))
        made.held, made.step = held, step
        return made

    def around(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest values of samples (..., D), whose held columns have one value alone."""
        low, high = self
        return torch.where(self.held, x, low.to(x.dtype)), torch.where(self.held, x, high.to(x.dtype))

    def whole(self, radius: Tensor) -> Tensor:
        """How far each column may go in a cube of that radius: so many steps as fit."""
        step = self.step.to(radius.dtype)
        return torch.where(step > 0, (radius / step.clamp_min(1e-300) + 1e-9).floor() * step, radius)

    def turned(self, z: Tensor, x: Tensor, eps: Tensor | float, norm: str) -> Tensor:
        """Points of a ball moved so that rounding columns to their steps does not leave it.

        Of the columns that rounding takes outwards, those nearest to a half go to just below it, until it is enough.

        Args:
            z: Points (N, ..., D), in the ball.
            x: Its centres, on the steps.
            eps: Radius, one or one a sample (N,).
            norm: "l0", "l1", "l2" or "linf".
        """
        if norm == "l0" or not (self.step > 0).any():
            return z
        d = (z - x).flatten(1).double()
        step = self.step.double().expand(z.shape[1:]).flatten()
        count = torch.where(step > 0, d.abs() / step.clamp_min(1e-300), 0.0)
        inner = (count + 1e-9).floor()
        outwards = (step > 0) & (count.round() > inner)
        far, near = torch.where(step > 0, count.round() * step, d.abs()), torch.where(step > 0, inner * step, d.abs())
        radius = radii(eps, x)[:, None] * (1 + 1e-13)  # sums of floats
        if norm == "linf":
            chosen = outwards & (far > radius)
        else:
            power = 1 if norm == "l1" else 2
            order = torch.where(outwards, inner - count, -torch.inf).sort(dim=1, descending=True, stable=True).indices
            saved = torch.where(outwards, far**power - near**power, 0.0).gather(1, order)
            over = (far**power).sum(1, keepdim=True) - radius**power
            chosen = outwards & torch.zeros_like(outwards).scatter(1, order, saved.cumsum(1) - saved < over)
        below = x + (d.sign() * (inner + 0.49) * step).to(z.dtype).view_as(z)
        return torch.where(chosen.view_as(z), below, z)


def size(d: Tensor, norm: str) -> Tensor:
    """Norms (N,) of differences, float64.

    Example:
        >>> size(torch.tensor([[3.0, -4.0]]), "l2")
        tensor([5.], dtype=torch.float64)
    """
    flat = d.detach().flatten(1).double()
    if norm == "l0":
        return (flat != 0).sum(1).double()
    return torch.linalg.vector_norm(flat, {"l1": 1, "l2": 2, "linf": math.inf}[norm], dim=1)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """A value a sample (N,), shaped so that it broadcasts over samples (N, ...)."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def radii(eps: Tensor | float, x: Tensor) -> Tensor:
    """A radius a sample (N,), float64, of one for all or of as many as there are samples."""
    return torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))


class Ball:
    """The points that are no further than eps from x and lie in the bounds, and the nearest of them to others.

    Made once for many projections: for linf it is a box, whose corners are found once and rounded inwards.

    Args:
        x: Centres (N, ...), in the box.
        eps: Radius, one or one a sample (N,).
        norm: "l1", "l2" or "linf".
        bounds: Lowest and highest value, a `Box`, or None.
    """

    def __init__(self, x: Tensor, eps: Tensor | float, norm: str, bounds: tuple[Any, Any] | None):
        self.x, self.eps, self.norm, self.bounds = x, radii(eps, x), norm, bounds
        if norm == "linf":
            low, high = self._ends()
            radius = spread(self.eps, x.double())
            radius = torch.minimum(bounds.whole(radius), radius) if isinstance(bounds, Box) else radius
            self._low, self._high = _edge(x, radius, -1).clamp_min(low), _edge(x, radius, 1).clamp_max(high)

    def _ends(self) -> tuple[Any, Any]:
        return self.bounds.around(self.x) if isinstance(self.bounds, Box) else self.bounds or (-math.inf, math.inf)

    def of(self, rows: Tensor) -> Ball:
        """The balls of some of the samples."""
        ball = object.__new__(Ball)
        ball.x, ball.eps, ball.norm, ball.bounds = self.x[rows], self.eps[rows], self.norm, self.bounds
        if self.norm == "linf":
            ball._low, ball._high = self._low[rows], self._high[rows]
        return ball

    def nearest(self, z: Tensor) -> Tensor:
        """The points (N, ...) that are nearest to z; never outside, to the last float."""
        if self.norm == "linf":
            return torch.clamp(z, self._low, self._high)
        x, eps = self.x, self.eps
        low, high = self._ends()
        u = (z - x).flatten(1).double()
        floor, ceiling = (low - x).flatten(1).double(), (high - x).flatten(1).double()
        within = torch.clamp(u, floor, ceiling)
        outside = torch.linalg.vector_norm(within, 1 if self.norm == "l1" else 2, dim=1) > eps
        if outside.any():
            shorten = _soften if self.norm == "l1" else _shorten
            within[outside] = shorten(u[outside], floor[outside], ceiling[outside], eps[outside])
        found = _inside((x + within.view_as(x).to(x.dtype)).clamp(low, high), x, eps, self.norm)
        return self.bounds.turned(found, x, eps, self.norm) if isinstance(self.bounds, Box) else found


def project(z: Tensor, x: Tensor, eps: Tensor | float, norm: str, bounds: tuple[float, float] | None) -> Tensor:
    """The point of the ball around x and of the box that is nearest to z; see `Ball`, which is made once for many.

    Args:
        z: Points (N, ...).
        x: Centres (N, ...), in the box.
        eps: Radius, one or one a sample (N,).
        norm: "l1", "l2" or "linf".
        bounds: Lowest and highest value, a `Box`, or None.
    """
    return Ball(x, eps, norm, bounds).nearest(z)


def _edge(x: Tensor, exact: Tensor, way: int) -> Tensor:
    """The last float (N, ...) below (``way`` -1) or above x that is no further from it than a radius, float64."""
    centre = x.double()
    edge = (centre + way * exact).to(x.dtype)
    for _ in range(4):
        over = (edge.double() - centre).abs() > exact
        if not over.any():
            return edge
        # near zero the next float may be far less than what rounding cost: there a little less than eps is safe
        less = (centre + way * exact * (1 - 2.0**-50)).to(x.dtype)
        closer = (torch.maximum if way < 0 else torch.minimum)(torch.nextafter(edge, x), less)
        edge = torch.where(over, closer, edge)
    return torch.where((edge.double() - centre).abs() > exact, x, edge)


def _soften(u: Tensor, floor: Tensor, ceiling: Tensor, eps: Tensor) -> Tensor:
    """For l1: what is taken away from every length until the clipped rest has norm eps, by bisection."""

    def shrunk(by: Tensor) -> Tensor:
        return torch.clamp(u.sign() * (u.abs() - by[:, None]).clamp_min(0), floor, ceiling)

    less, more = torch.zeros_like(eps), u.abs().amax(1)
    for _ in range(_HALVINGS):
        middle = (less + more) / 2
        too_long = shrunk(middle).abs().sum(1) > eps
        less, more = torch.where(too_long, middle, less), torch.where(too_long, more, middle)
    return shrunk(more)


def _shorten(u: Tensor, floor: Tensor, ceiling: Tensor, eps: Tensor) -> Tensor:
    """For l2: the share of all differences that, clipped, has norm eps.

    The share that would do if no further value met the box is never too large, so it grows up to the answer, in as many turns as
    values meet the box one after the other; mostly three to five.
    """
    square = u * u
    share = eps / torch.linalg.vector_norm(u, dim=1).clamp_min(1e-300)
    for _ in range(_TURNS):
        scaled = share[:, None] * u
        free = (scaled > floor) & (scaled < ceiling)
        held = torch.where(free, 0.0, torch.clamp(scaled, floor, ceiling) ** 2).sum(1)
        rest = torch.where(free, square, 0.0).sum(1)
        after = torch.where(rest > 0, ((eps**2 - held).clamp_min(0) / rest.clamp_min(1e-300)).sqrt(), share)
        if not (after > share * (1 + 1e-12)).any():
            break
        share = torch.maximum(share, after)
    return torch.clamp(share[:, None] * u, floor, ceiling)


def _inside(z: Tensor, x: Tensor, eps: Tensor, norm: str) -> Tensor:
    """Rounding may put a point outside by a bit: pull it towards the centre by a millionth."""
    for _ in range(8):
        out = size(z.double() - x.double(), norm) > eps
        if not out.any():
            return z
        z = torch.where(spread(out, z).bool(), x + (z - x) * (1 - 2e-6), z)
    return torch.where(spread(out, z).bool(), x, z)


def steepest(g: Tensor, norm: str) -> Tensor:
    """The step of length one along which a linear function with this gradient grows most.

    For "l1" the coordinates of the largest slope share it; a zero gradient gives a zero step.
    """
    if norm == "linf":
        return g.sign()
    flat = g.flatten(1)
    if norm == "l2":
        length = torch.linalg.vector_norm(flat.double(), dim=1, keepdim=True)
        return torch.where(length > 0, flat.double() / length.clamp_min(1e-300), 0.0).to(g.dtype).view_as(g)
    best = flat.abs().amax(1, keepdim=True)
    top = (flat.abs() == best) & (best > 0)
    return (flat.sign() * top / top.sum(1, keepdim=True).clamp_min(1)).view_as(g)
