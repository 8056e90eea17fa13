"""Gradients of an objective, or of all logits, with respect to inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rosenblatt.attacks.projection import spread
from rosenblatt.errors import ParameterError


def _refuse(x: Tensor, out: Tensor) -> None:
    if not out.requires_grad:
        raise ParameterError(
            "attack: the model's logits do not depend on its input in a way that has a gradient; expected a differentiable "
            "model. Attack it as a black box with attacks.Square or attacks.HopSkipJump."
        )


def ascent(
    model: Any,
    x: Tensor,
    y: Tensor,
    target: Tensor | None,
    objective: Callable[..., Tensor],
    *,
    before: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradient (N, ...) of the objective of each sample, and the logits (N, K) without a graph.

    Args:
        model: Inputs to logits. Where it has ``each``, from inputs to the logits of several models, the objective is the average
            of theirs.
        x: Inputs.
        y: Labels (N,).
        target: Wanted labels (N,), or None.
        objective: Of logits, labels and wanted labels.
        before: A differentiable change of the inputs on their way to the model, or None.

    Raises:
        ParameterError: The model is not differentiable.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        seen = x if before is None else before(x)
        every = model.each(seen) if hasattr(model, "each") else [model(seen)]
        for logits in every:
            _refuse(x, logits)
        value = sum(objective(logits, y, target).sum() for logits in every) / len(every)
        (g,) = torch.autograd.grad(value, x)
    return g.contiguous(), (sum(every) / len(every)).detach()


def accumulated(sum_: Tensor, g: Tensor, share: float) -> Tensor:
    r"""Momentum of gradients of length one: :math:`\mu g_t + \nabla / \|\nabla\|_1`, the norm as a mean over coordinates.

    Args:
        sum_: What has been summed so far (N, ...).
        g: The new gradient.
        share: Of the sum that is kept.

    Reference: Dong et al. 2018, arXiv:1710.06081, eq. 6.
    """
    return share * sum_ + g / spread(g.flatten(1).abs().mean(1).clamp_min(1e-30), g)


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
