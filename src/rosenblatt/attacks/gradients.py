"""Gradients of an objective, or of all logits, with respect to inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rosenblatt.errors import ParameterError


def _refuse(x: Tensor, out: Tensor) -> None:
    if not out.requires_grad:
        raise ParameterError(
            "attack: the model's logits do not depend on its input in a way that has a gradient; expected a differentiable "
            "model. Attack it as a black box with attacks.Square or attacks.HopSkipJump."
        )


def ascent(
    model: Any, x: Tensor, y: Tensor, target: Tensor | None, objective: Callable[..., Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradient (N, ...) of the objective of each sample, and the logits (N, K) without a graph.

    Raises:
        ParameterError: The model is not differentiable.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        _refuse(x, logits)
        (g,) = torch.autograd.grad(objective(logits, y, target).sum(), x)
    return g, logits.detach()


def jacobian(model: Any, x: Tensor, y: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (N, C, ...) of the logits of chosen classes less the label's, and all logits (N, K).

    Args:
        model: Inputs to logits.
        x: Inputs (N, ...).
        y: Labels (N,).
        classes: Classes (N, C).

    Raises:
        ParameterError: The model is not differentiable.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        _refuse(x, logits)
        above = (logits.gather(1, classes) - logits.gather(1, y[:, None])).sum(0)
        count = classes.shape[1]
        rows = [torch.autograd.grad(above[c], x, retain_graph=c + 1 < count)[0] for c in range(count)]
    return torch.stack(rows, 1), logits.detach()


def common_slope(
    model: Any,
    shared: Tensor,
    lay: Callable[[Tensor], Tensor],
    y: Tensor,
    target: Tensor | None,
    objective: Callable[..., Tensor],
) -> Tensor:
    """Gradient of the summed objective of samples with respect to something that lies on all of them, in its shape.

    Args:
        model: Inputs to logits.
        shared: What the samples share.
        lay: That to the inputs (N, ...) with it on them.
        y: Labels (N,).
        target: Wanted labels (N,), or None.
        objective: What is to grow.

    Raises:
        ParameterError: The model is not differentiable.
    """
    with torch.enable_grad():
        shared = shared.detach().requires_grad_()
        logits = model(lay(shared))
        _refuse(shared, logits)
        return torch.autograd.grad(objective(logits, y, target).sum(), shared)[0]
