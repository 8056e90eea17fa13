r"""FMN, the fast minimum-norm attack, and DDN, its l2 form with a sphere in place of a ball.

A step up the margin, then back to the ball around the sample, whose radius shrinks while the point is wrong and grows while it
is not. FMN's radius first follows the linear picture: :math:`\varepsilon = \|\delta\| + |f| / \|\nabla f\|_q`.

References: FMN: Pintor, Roli, Brendel & Biggio 2021, arXiv:2102.12827, algorithm 1; DDN: Rony et al. 2019, arXiv:1811.09600,
algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import OBJECTIVES, margin, reached
from rosenblatt.attacks.planes import DUAL, Nearest
from rosenblatt.attacks.projection import project, size
from rosenblatt.attacks.result import STEPS, Attack, Found


def _cosine(first: float, last: float, step: int, steps: int) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


def _sparse(z: Tensor, x: Tensor, eps: Tensor) -> Tensor:
    """Keep the ``eps`` largest differences."""
    d = (z - x).flatten(1)
    rank = d.abs().sort(dim=1, descending=True, stable=True).indices.sort(dim=1, stable=True).indices
    return x + (d * (rank < eps[:, None])).view_as(x)


def fmn(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "linf",
    steps: int = 200,
    step_size: float = 1.0,
    gamma: float = 0.05,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
) -> Found:
    """Find the nearest wrong point.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        norm: "l0", "l1", "l2" or "linf".
        steps: Gradient steps.
        step_size: First Euclidean length of a step; falls to a hundredth by a cosine.
        gamma: First share by which the radius changes; falls to a thousandth.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
    """
    nearest, z = Nearest(x, norm), x.clone()
    eps = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    for step in range(steps):
        g, logits = ascent(model, z, y, target, margin)
        nearest.queries += 1
        wrong = reached(logits, y, target)
        nearest.offer(z, wrong)
        rate, share = _cosine(step_size, step_size / 100, step, steps), _cosine(gamma, gamma / 50, step, steps)
        far = margin(logits, y, target).double().abs() / size(g, DUAL.get(norm, "linf")).clamp_min(1e-30)
        # a little further than the linear boundary: a point on it is not wrong yet
        more = far.ceil().clamp(1, g[0].numel()) if norm == "l0" else 1.05 * far
        near = size(z.double() - x.double(), norm) + more
        if norm == "l0":
            smaller, larger = torch.minimum(nearest.distance, eps) - 1, eps + 1
            smaller, larger = (
                torch.minimum(smaller, (eps * (1 - share)).floor()),
                torch.maximum(larger, eps * (1 + share)),
            )
        else:
            smaller, larger = torch.minimum(nearest.distance, eps) * (1 - share), eps * (1 + share)
        eps = torch.where(wrong, smaller, torch.where(nearest.found, larger, near)).clamp_min(0)
        unit = g.flatten(1).double()
        unit = (unit / torch.linalg.vector_norm(unit, dim=1, keepdim=True).clamp_min(1e-300)).view_as(g).to(g.dtype)
        z = z + rate * unit
        if norm == "l0":
            z = _sparse(z, x, eps)
            z = z.clamp(*bounds) if bounds is not None else z
        else:
            z = project(z, x, eps.clamp_max(1e30), norm, bounds)
    with torch.no_grad():
        nearest.offer(z, reached(model(z), y, target))
    nearest.queries += 1
    return Found(nearest.points, nearest.queries) if norm == "l0" else Found(*nearest.finish(model, y, target, bounds))


def ddn(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 300,
    eps: float = 1.0,
    gamma: float = 0.05,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
) -> Found:
    """Find the nearest wrong point in l2.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        steps: Gradient steps.
        eps: First radius, in units of the input.
        gamma: Share by which the radius changes.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
    """
    nearest, z = Nearest(x, "l2"), x.clone()
    radius = torch.full((len(x),), eps, dtype=torch.float64, device=x.device)
    for step in range(steps):
        g, logits = ascent(model, z, y, target, OBJECTIVES["ce"])
        nearest.queries += 1
        wrong = reached(logits, y, target)
        nearest.offer(z, wrong)
        radius = radius * torch.where(wrong, 1 - gamma, 1 + gamma)
        d = (z - x).flatten(1).double()
        unit = g.flatten(1).double()
        d = d + _cosine(1.0, 0.01, step, steps) * unit / torch.linalg.vector_norm(unit, dim=1, keepdim=True).clamp_min(
            1e-300
        )
        d = d * (radius / torch.linalg.vector_norm(d, dim=1).clamp_min(1e-300))[:, None]
        z = (x.double() + d.view_as(x)).to(x.dtype)
        z = z.clamp(*bounds) if bounds is not None else z
    with torch.no_grad():
        nearest.offer(z, reached(model(z), y, target))
    nearest.queries += 1
    return Found(*nearest.finish(model, y, target, bounds))


@dataclass(frozen=True, kw_only=True)
class FMN(Attack):
    """The fast minimum-norm attack; see `fmn`.

    Args:
        steps: Gradient steps.
        step_size: First Euclidean length of a step.
        gamma: First share by which the radius changes.
    """

    steps: int = 200
    step_size: float = 1.0
    gamma: float = 0.05

    _NORMS: ClassVar[tuple[str, ...]] = ("l0", "l1", "l2", "linf")
    _RULES: ClassVar[dict[str, Any]] = {
        **STEPS, "step_size": (Number(0, open_low=True),), "gamma": (Number(0, 1, open_low=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return fmn(
            found.logits, x, y, norm=self.norm, steps=self.steps, step_size=self.step_size, gamma=self.gamma,
            bounds=found.bounds, target=target,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DDN(Attack):
    """Decoupled direction and norm; see `ddn`. Minimises l2.

    Args:
        steps: Gradient steps.
        eps: First radius, in units of the input.
        gamma: Share by which the radius changes.
    """

    norm: str = "l2"
    steps: int = 300
    eps: float = 1.0
    gamma: float = 0.05

    ball: ClassVar[bool] = False
    _NORMS: ClassVar[tuple[str, ...]] = ("l2",)
    _RULES: ClassVar[dict[str, Any]] = {
        **STEPS, "eps": (Number(0, open_low=True),), "gamma": (Number(0, 1, open_low=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return ddn(
            found.logits, x, y, steps=self.steps, eps=self.eps, gamma=self.gamma, bounds=found.bounds, target=target
        )
