"""Norms, and the nearest point of a ball within a box.

Samples are (N, ...); norms are over all axes but the first. ``norm`` is "l0", "l1", "l2" or "linf".

The nearest point of a ball that also lies in the box is found exactly, not by one projection after the other, which for l1 and
l2 ends elsewhere: by bisection of the Lagrange multiplier (for l1: Croce & Hein 2021, arXiv:2103.01208, proposition 2.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NORMS = ("l1", "l2", "linf")
_HALVINGS = 60


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


def project(z: Tensor, x: Tensor, eps: Tensor | float, norm: str, bounds: tuple[float, float] | None) -> Tensor:
    """The point of the ball around x and of the box that is nearest to z; never outside, to the last float.

    Args:
        z: Points (N, ...).
        x: Centres (N, ...), in the box.
        eps: Radius, one or one a sample (N,).
        norm: "l1", "l2" or "linf".
        bounds: Lowest and highest value, a `Box`, or None.
    """
    eps = radii(eps, x)
    low, high = bounds.around(x) if isinstance(bounds, Box) else bounds or (-math.inf, math.inf)
    if norm == "linf":
        radius = bounds.whole(spread(eps, x)) if isinstance(bounds, Box) else spread(eps, x)
        return _inside(torch.minimum(torch.maximum(z, x - radius), x + radius).clamp(low, high), x, eps, norm)
    u = (z - x).flatten(1).double()
    floor, ceiling = (low - x).flatten(1).double(), (high - x).flatten(1).double()
    within = torch.minimum(torch.maximum(u, floor), ceiling)
    outside = torch.linalg.vector_norm(within, 1 if norm == "l1" else 2, dim=1) > eps
    if outside.any():
        within[outside] = _nearest(u[outside], floor[outside], ceiling[outside], eps[outside], norm)
    return _inside((x + within.view_as(x).to(x.dtype)).clamp(low, high), x, eps, norm)


def _nearest(u: Tensor, floor: Tensor, ceiling: Tensor, eps: Tensor, norm: str) -> Tensor:
    """By bisection: what is taken away (l1) or divided by (l2) until the clipped rest has norm eps."""
    order = 1 if norm == "l1" else 2

    def shrunk(by: Tensor) -> Tensor:
        v = u.sign() * (u.abs() - by[:, None]).clamp_min(0) if norm == "l1" else u / (1 + by[:, None])
        return torch.minimum(torch.maximum(v, floor), ceiling)

    less = torch.zeros_like(eps)
    more = u.abs().amax(1) if norm == "l1" else torch.linalg.vector_norm(u, 2, dim=1) / eps
    for _ in range(_HALVINGS):
        middle = (less + more) / 2
        too_long = torch.linalg.vector_norm(shrunk(middle), order, dim=1) > eps
        less, more = torch.where(too_long, middle, less), torch.where(too_long, more, middle)
    return shrunk(more)


def _inside(z: Tensor, x: Tensor, eps: Tensor, norm: str) -> Tensor:
    """Rounding may put a point outside by a bit: pull it towards the centre, float by float or by a millionth."""
    for _ in range(8):
        if norm == "linf":
            out = (z.double() - x.double()).abs() > spread(eps, x.double())
            if not out.any():
                return z
            z = torch.where(out, torch.nextafter(z, x), z)
        else:
            out = size(z.double() - x.double(), norm) > eps
            if not out.any():
                return z
            z = torch.where(spread(out, z).bool(), x + (z - x) * (1 - 2e-6), z)
    return torch.where(spread(out if norm != "linf" else out.flatten(1).any(1), z).bool(), x, z)


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
