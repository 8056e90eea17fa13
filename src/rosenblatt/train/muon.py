"""Muon: filters and matrices of hidden layers move by orthogonalised momentum, all other parameters by Adam.

References: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", https://kellerjordan.github.io/posts/muon
(the step, the polynomial); Jordan 2024, arXiv:2404.00498 (its use on small pictures); Liu et al. 2025, arXiv:2502.16982,
section 2.2 (updates as large as Adam's, so that one learning rate serves both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from rosenblatt._types import Float
from rosenblatt.train.eager import eager
from rosenblatt.train.precision import has_bf16

STEPS = 3
"""Of the iteration: the singular values need not be one, only alike; three serve pictures as well as the usual five."""

SIZE = 0.2
"""Root mean square of an update, about that of Adam's (Liu et al. 2025)."""

_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrix: Float[Tensor, "R C"], steps: int = STEPS) -> Float[Tensor, "R C"]:
    r"""About the nearest matrix with orthonormal rows or columns: U V' of the decomposition U S V'.

    Newton and Schulz's iteration :math:`X \leftarrow a X + (b A + c A^2) X, \; A = X X^T` with coefficients that lift small
    singular values fast and let them end anywhere from 0.7 to 1.2; in bf16 where the device has it, which costs no
    accuracy of the fit.

    Args:
        matrix: Any, not zero.
        steps: Of the iteration.

    Reference:
        Jordan et al. 2024.
    """
    x = matrix.bfloat16() if has_bf16(matrix.device) else matrix.float()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)  # singular values at most 1
    for _ in range(steps):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Muon(eager(torch.optim.Adam)):
    """Adam whose groups marked ``orthogonal`` move by `orthogonalise` of their Nesterov momentum.

    Args:
        groups: Parameter groups; ``orthogonal=True`` marks those of filters.
        lr: Learning rate.
        momentum: Of the filters, and Adam's first decay.
        fused: Adam's.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, *, momentum: float, fused: bool):
        super().__init__(groups, lr=lr, betas=(momentum, 0.99), fused=fused)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step; ``closure`` as PyTorch's optimizers take it."""
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        else:
            value = None
        done = []
        for group in self.param_groups:
            for p in group["params"] if group.get("orthogonal") else ():
                if p.grad is not None:
                    self._turn(p, group)
                    done.append((p, p.grad))
                    p.grad = None  # Adam passes over what has no gradient
        super().step()
        for p, gradient in done:
            p.grad = gradient
        return value

    def _turn(self, p: Tensor, group: dict[str, Any]) -> None:
        momentum, state = group["betas"][0], self.state[p]
        if not state:
            state["step"] = torch.zeros(())  # Adam looks for it in whatever state it is given back
            state["momentum_buffer"] = torch.zeros_like(p)
        moved = state["momentum_buffer"].mul_(momentum).add_(p.grad)
        ahead = p.grad.add(moved, alpha=momentum).flatten(1)  # M C k k -> M (C k k)
        size = SIZE * max(ahead.shape) ** 0.5  # an orthogonal matrix has the root mean square 1 / sqrt(its longer side)
        if group["weight_decay"]:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(orthogonalise(ahead).view(p.shape), alpha=-group["lr"] * size)
