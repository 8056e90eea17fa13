r"""The worst input of a ball, as training against attacks needs it: every sample goes on to the last step.

.. math:: \max_{\lVert \delta \rVert \le \varepsilon} L(f_\theta(x + \delta), y)

Attacks that are to break a sample stop where it is broken (`rosenblatt.attacks.pgd`); a network is to learn from the worst.

References: Madry et al. 2018, arXiv:1706.06083, eq. 2.1 (the inner problem of the saddle point); Wong, Rice & Kolter 2020,
arXiv:2001.03994, section 4.1 (one step from a random start).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rosenblatt.attacks.pgd import step_of
from rosenblatt.attacks.projection import project, radii, size, spread


def worst(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    eps: float | Tensor,
    norm: str = "linf",
    steps: int = 7,
    step_size: float | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    near: bool = False,
) -> Tensor:
    """Inputs (N, ...) within the ball around x at which the loss is large: gradient ascent from a random point of it.

    In a loop of your own put the network in eval mode for it, or its BatchNorm learns the statistics of unfinished attacks.
    The random start comes from torch's own generator.

    Args:
        loss: Inputs to the loss of the batch, a mean or a sum.
        x: Inputs (N, ...).
        eps: Radius, in units of the input; one or one a sample (N,).
        norm: "l1", "l2" or "linf".
        steps: Gradient steps.
        step_size: Length of a step in the norm; None: 2.5 eps / steps.
        bounds: Of the inputs, or None.
        near: Start a thousandth of eps from x: where the loss has its minimum at x, as a distance to its answer has.

    Example:
        >>> x = torch.full((1, 3), 0.5)
        >>> worst(lambda z: (z * torch.tensor([1.0, -1.0, 1.0])).sum(), x, eps=0.25)
        tensor([[0.7500, 0.2500, 0.7500]])
    """
    x, eps = x.detach(), radii(eps, x)
    lengths = eps * (2.5 / steps) if step_size is None else torch.full_like(eps, step_size)
    z = project(x + _start(x, eps * (1e-3 if near else 1.0), norm), x, eps, norm, bounds)
    for _ in range(steps):
        with torch.enable_grad():
            z.requires_grad_()
            (g,) = torch.autograd.grad(loss(z), z)
        with torch.no_grad():
            z = project(z + spread(lengths, z) * step_of(g, norm), x, eps, norm, bounds)
    return z.detach()


def _start(x: Tensor, eps: Tensor, norm: str) -> Tensor:
    """Uniform in the cube for "linf", else in a random direction at a random radius."""
    if norm == "linf":
        return (2 * torch.rand_like(x) - 1) * spread(eps, x)
    d = torch.randn_like(x)
    reach = torch.rand(len(x), device=x.device, dtype=torch.float64) * eps / size(d, norm).clamp_min(1e-300)
    return d * spread(reach, d)
