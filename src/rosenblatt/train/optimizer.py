"""The optimizers of a `Plan`, on PyTorch's fused kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.errors import ParameterError
from rosenblatt.train.distributed import like
from rosenblatt.train.eager import eager
from rosenblatt.train.muon import Muon
from rosenblatt.train.plan import Plan


def make_optimizer(module: nn.Module, plan: Plan, learning_rate: float) -> torch.optim.Optimizer:
    """Build the plan's optimizer over a module's trainable parameters.

    Weights with two axes or more are decayed; biases and normalisation gains are not (decaying them only costs accuracy).

    Args:
        module: The network.
        plan: A complete plan (see `Plan.over`).
        learning_rate: Top of the schedule.

    Raises:
        ParameterError: Muon over weights of which each process holds a share.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": plan.weight_decay or 0.0},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # weights in pieces (see `rosenblatt.train.distributed.Sharded`) have no fused kernels
    fused = all(p.device.type in ("cpu", "cuda") and not hasattr(p, "device_mesh") for p in trainable)
    momentum = plan.momentum if plan.momentum is not None else 0.9
    if plan.optimizer == "sgd":
        nesterov = bool(plan.nesterov) and momentum > 0
        return eager(torch.optim.SGD)(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov, fused=fused)
    if plan.optimizer == "muon":
        if plan.sharded:
            raise ParameterError(
                "Plan(optimizer='muon', sharded=True): a share of a filter cannot be orthogonalised; expected sharded=False, or "
                "another optimizer such as 'adam'."
            )
        return Muon(_by_kind(module, plan), learning_rate, momentum=momentum, fused=fused)
    if plan.optimizer == "rmsprop":
        return eager(torch.optim.RMSprop)(groups, lr=learning_rate, momentum=0.0, alpha=0.99)
    kind = torch.optim.AdamW if plan.optimizer == "adamw" else torch.optim.Adam
    return eager(kind)(groups, lr=learning_rate, betas=(momentum, 0.999), fused=fused)


def _by_kind(module: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """Filters and hidden matrices apart from the rest: the first and the last layer's matrices are no hidden ones."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for _, p in named if p.ndim == 2]
    ends = {id(p) for p in (matrices[:1] + matrices[-1:])}
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    turned = [p for _, p in named if p.ndim > 2 or (p.ndim == 2 and id(p) not in ends | tables)]
    chosen = {id(p) for p in turned}
    rest = [p for _, p in named if id(p) not in chosen]
    decay = plan.weight_decay or 0.0
    groups = [
        {"params": turned, "weight_decay": decay, "orthogonal": True},
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def same_layout(optimizer: torch.optim.Optimizer) -> None:
    """The fused kernels walk through moments and weights side by side in memory: moments take the weights' layout."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value = state[name] = like(value, parameter)
                if value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
