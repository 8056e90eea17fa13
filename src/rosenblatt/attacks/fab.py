r"""FAB, the fast adaptive boundary attack: to the boundary from two sides, and back.

.. math:: z' = (1 - \alpha)(z + \eta\, d_z) + \alpha (x + \eta\, d_x), \qquad
          \alpha = \min\Big(\frac{\|d_z\|}{\|d_z\| + \|d_x\|}, \alpha_{\max}\Big)

d_z and d_x lead from z and from the sample x to the linear boundary at z. A wrong z' is kept if it is nearest so far, and the
walk goes back to :math:`x + \beta (z' - x)`.

Reference: Croce & Hein 2020, arXiv:1907.02044, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import reached
from rosenblatt.attacks.pgd import start_at
from rosenblatt.attacks.planes import DUAL, Nearest, candidates, nearest_plane, onto_plane
from rosenblatt.attacks.projection import Ball, radii, size, spread
from rosenblatt.attacks.result import STEPS, Attack, Found
from rosenblatt.attacks.streams import keys_of

_ALPHA, _ETA, _BETA = 0.1, 1.05, 0.9
_WORTH = 1.2
"""How far beyond a ball, in radii, a point may be for its last part of the way to be walked."""
_HOPELESS = 1.5
"""Within how many radii a sample must have a wrong point after a fifth of the steps, to be followed further."""


def fab(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "linf",
    steps: int = 100,
    restarts: int = 1,
    eps: Tensor | float | None = None,
    classes: int = 10,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
    begin: Tensor | None = None,
) -> Found:
    """Find the nearest wrong point.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        norm: "l1", "l2" or "linf".
        steps: Steps of each start.
        restarts: Starts; the first at x, later ones at random within the nearest distance so far.
        eps: Radius of the ball that matters: no sample is followed once it has a point in it, nor if it has none within one and
            a half radii after a fifth of the steps; also of later starts of samples without one. None: all go to the end.
        classes: Likeliest wrong classes that are looked at.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.
        begin: Wrong points (N, ...) that the first start goes back from, or None.
    """
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    nearest, around = Nearest(x, norm), candidates(model, x, y, target, classes)
    nearest.queries += 1
    for start in range(restarts):
        live = torch.arange(len(x), device=x.device)
        if eps is not None:
            live = live[nearest.distance > radii(eps, x)]
        z = x[live] if start or begin is None else x[live] + _BETA * (begin[live] - x[live])
        if start:
            reach = torch.where(nearest.found, nearest.distance, torch.as_tensor(eps or 0.1, dtype=torch.float64))[live]
            z = start_at(Ball(z, reach / 2, norm, bounds), keys[live], 3000 + 2 * start)
        for step in range(steps):
            if not len(live):
                break
            w, need, _ = nearest_plane(model, z, y[live], around[live], norm)
            more = 1e-6 * size(w, DUAL[norm])
            step_z = onto_plane(z, w, need.double() + more, norm, bounds)
            # the same plane, seen from x: f(x) = f(z) + <w, x - z>
            seen = need.double() + (w * (z - x[live])).flatten(1).double().sum(1)
            step_x = onto_plane(x[live], w, seen + more, norm, bounds)
            long_z, long_x = size(step_z, norm), size(step_x, norm)
            alpha = spread((long_z / (long_z + long_x).clamp_min(1e-300)).clamp_max(_ALPHA), z)
            z = (1 - alpha) * (z + _ETA * step_z) + alpha * (x[live] + _ETA * step_x)
            z = z.clamp(*bounds) if bounds is not None else z
            with torch.no_grad():
                wrong = reached(model(z), y[live], None if target is None else target[live])
            nearest.queries[live] += 2
            nearest.offer(z, wrong, live)
            z = torch.where(spread(wrong, z).bool(), x[live] + _BETA * (z - x[live]), z)
            if eps is not None:
                distance, radius = nearest.distance[live], radii(eps, x)[live]
                worth = distance <= (_HOPELESS if step >= steps // 5 else torch.inf) * radius
                live, z = live[(distance > radius) & worth], z[(distance > radius) & worth]
    if eps is None:
        return Found(*nearest.finish(model, y, target, bounds))
    # the last part of the way is worth it where it may end within the ball
    near = (nearest.distance > eps) & (nearest.distance <= _WORTH * eps)
    return Found(*nearest.finish(model, y, target, bounds, near.nonzero()[:, 0]))


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """The fast adaptive boundary attack; see `fab`. Minimises the norm.

    Args:
        steps: Steps of each start.
        restarts: Starts.
        classes: Likeliest wrong classes that are looked at.
    """

    steps: int = 100
    restarts: int = 1
    classes: int = 10

    _RULES: ClassVar[dict[str, Any]] = {
        **STEPS, "restarts": (Number(1, integer=True),), "classes": (Number(1, integer=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return fab(
            found.logits, x, y, norm=self.norm, steps=self.steps, restarts=self.restarts, classes=self.classes,
            bounds=found.bounds, target=target, keys=keys,
        )  # fmt: skip
