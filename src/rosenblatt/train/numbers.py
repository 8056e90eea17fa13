"""The numbers of a network in training: its weights and statistics, the norms of its gradients, where they stop being finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.train.distributed import here, whole


def floating(module: nn.Module) -> Iterator[Tensor]:
    """Weights and statistics, or the pieces of them that lie in this process."""
    for tensor in tensors(module):
        yield here(tensor)


def tensors(module: nn.Module) -> Iterator[Tensor]:
    """The same as the module holds them: of a sharded one in pieces over the processes."""
    for tensor in module.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            yield tensor.data


@torch.no_grad()
def copy_into(module: nn.Module, values: list[Tensor]) -> None:
    """Put values in the order of `floating` in their places."""
    torch._foreach_copy_(list(floating(module)), values)


@torch.no_grad()
def gradient_norms(module: nn.Module) -> dict[str, float]:
    """Norm of the gradient that each layer holds, read from the device once."""
    named = [(name.rpartition(".")[0] or name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    if not named:
        return {}
    squares = torch.stack(
        [whole(n).float().square().cpu() for n in torch._foreach_norm([g for _, g in named])]
    ).tolist()
    layers: dict[str, float] = {}
    for (layer, _), square in zip(named, squares, strict=True):
        layers[layer] = layers.get(layer, 0.0) + square
    return {layer: math.sqrt(square) for layer, square in layers.items()}


@torch.no_grad()
def finite(module: nn.Module) -> bool:
    """Whether all weights and buffers are numbers."""
    # the largest magnitude, not the Euclidean norm: that one overflows while the weights are still finite
    norms = torch._foreach_norm([t for t in floating(module) if t.numel()], ord=math.inf)
    return bool(torch.isfinite(torch.stack([n.float().to(norms[0].device) for n in norms])).all())


def bad_gradient(module: nn.Module) -> str | None:
    """Layer of the bad gradient nearest to the loss: that is where backpropagation met it first."""
    bad = [n for n, p in module.named_parameters() if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
    return bad[-1].rpartition(".")[0] or bad[-1] if bad else None


def bad_weight(module: nn.Module) -> str | None:
    """Layer of the first weight that is not finite."""
    for name, p in module.named_parameters():
        if not bool(torch.isfinite(p).all()):
            return name.rpartition(".")[0] or name
    return None


class Watch:
    """Context manager: note the first leaf module, in forward order, whose output is not finite."""

    def __init__(self, module: nn.Module):
        self.module, self.bad_output, self.hooks = module, None, []

    def __enter__(self) -> Watch:
        for name, part in self.module.named_modules():
            if not list(part.children()):
                self.hooks.append(part.register_forward_hook(self._hook(name)))
        return self

    def _hook(self, name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self.bad_output is None and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                self.bad_output = name

        return note

    def __exit__(self, *_: Any) -> None:
        for hook in self.hooks:
            hook.remove()
