r"""The fast gradient sign method: one step as far as the ball goes.

.. math:: x' = \Pi(x + \varepsilon \, \mathrm{sign} \nabla_x L(x, y))

Reference: Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, section 4. Other norms: the steepest step of that length.
FGSM alone is no figure of robustness: use `rosenblatt.attacks.Ensemble`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import OBJECTIVES
from rosenblatt.attacks.projection import project, radii, spread, steepest
from rosenblatt.attacks.result import EPS, Attack, Found


def fgsm(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    eps: Tensor | float,
    norm: str = "linf",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
) -> Found:
    """One step up the cross-entropy.

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Inputs.
        y: Labels (N,).
        eps: Radius of the ball, in units of the input.
        norm: "l1", "l2" or "linf".
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None for any wrong one.
    """
    g, _ = ascent(model, x, y, target, OBJECTIVES["ce"])
    radius = radii(eps, x)
    z = project(x + spread(radius, x) * steepest(g, norm), x, radius, norm, bounds)
    return Found(z, torch.ones(len(x), dtype=torch.int64, device=x.device))


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """The fast gradient sign method; see `fgsm`.

    Args:
        eps: Radius of the ball, in units of the input.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(2, 2, bias=False).requires_grad_(False)
        >>> _ = net.weight.copy_(torch.eye(2))
        >>> FGSM(eps=0.2)(net, torch.tensor([[0.5, 0.2]]), [0]).adversarial
        tensor([[0.3000, 0.4000]])
    """

    eps: float = 0.1

    _RULES: ClassVar[dict[str, Any]] = EPS

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return fgsm(found.logits, x, y, eps=self.eps, norm=self.norm, bounds=found.bounds, target=target)
