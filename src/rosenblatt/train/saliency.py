"""What an answer hangs on, and what a class looks like to a network: gradients with respect to the input.

All functions take inputs as the network takes them (prepared, on its device), leave its weights, its gradients and its mode
as they were, and compute in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rosenblatt._types import Float, Int
from rosenblatt.errors import ParameterError
from rosenblatt.train.eager import eager


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """In eval mode for a while; parameters that are asked for no gradient get none. Each submodule's own mode comes back."""
    modes, wanted = [(m, m.training) for m in module.modules()], [(p, p.requires_grad) for p in module.parameters()]
    module.eval()
    for p, _ in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training
        for p, needs in wanted:
            p.requires_grad_(needs)


def _chosen(logits: Tensor, target: Tensor) -> Tensor:
    return logits.float().gather(1, target[:, None])[:, 0]


def gradient(module: nn.Module, x: Float[Tensor, "N C H W"], target: Int[Tensor, " N"]) -> Float[Tensor, "N C H W"]:
    r"""How the logit of a class changes with each input: :math:`\partial y_k / \partial x`.

    Args:
        module: The network.
        x: Inputs.
        target: Class numbers, one an input.

    Reference:
        Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034, section 3.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> got = gradient(net, torch.ones(1, 1, 2, 2), torch.tensor([1]))
        >>> torch.equal(got.flatten(), net[1].weight[1])
        True
    """
    with at_rest(module), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(_chosen(module(x), target).sum(), x)[0]


def integrated_gradients(
    module: nn.Module,
    x: Float[Tensor, "N C H W"],
    target: Int[Tensor, " N"],
    *,
    baseline: Float[Tensor, "N C H W"] | None = None,
    steps: int = 32,
) -> Float[Tensor, "N C H W"]:
    r"""Share of each input in the difference between the logit of x and that of a baseline; the shares sum to it.

    .. math:: (x_i - x'_i) \int_0^1 \frac{\partial y_k}{\partial x_i} \big( x' + \alpha (x - x') \big) \, d\alpha

    Args:
        module: The network.
        x: Inputs.
        target: Class numbers.
        baseline: The x' that means "nothing"; None takes zeros, the mean colour of prepared pictures.
        steps: Points of the midpoint rule.

    Raises:
        ParameterError: Less than one step.

    Reference:
        Sundararajan, Taly & Yan 2017, arXiv:1703.01365, eq. 1.
    """
    if steps < 1:
        raise ParameterError(f"integrated_gradients: steps={steps}; expected an integer >= 1.")
    start = torch.zeros_like(x) if baseline is None else baseline
    total = torch.zeros_like(x)
    for step in range(steps):
        total += gradient(module, torch.lerp(start, x, (step + 0.5) / steps), target)
    return (x - start) * total / steps


def grad_cam(
    module: nn.Module, x: Float[Tensor, "N C H W"], target: Int[Tensor, " N"], *, layer: nn.Module | None = None
) -> Float[Tensor, "N h w"]:
    r"""Where the maps of a convolution speak for a class.

    .. math:: \mathrm{ReLU} \Big( \sum_m \alpha_m A^m \Big), \quad
              \alpha_m = \frac1Z \sum_{ij} \frac{\partial y_k}{\partial A^m_{ij}}

    Args:
        module: The network.
        x: Inputs.
        target: Class numbers.
        layer: The convolution; None takes the last one.

    Returns:
        One map an input, at the layer's resolution.

    Raises:
        ParameterError: There is no convolution.

    Reference:
        Selvaraju et al. 2016, arXiv:1610.02391, eq. 1 and 2.
    """
    found = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    if layer is None and not found:
        raise ParameterError(f"grad_cam: {type(module).__name__} has no convolution; expected one, or layer=.")
    kept: list[Tensor] = []

    def keep(_part: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1] * 1  # the rectifier after it may work in place, which a leaf does not allow

    with at_rest(module), torch.enable_grad():
        hook = (layer or found[-1]).register_forward_hook(keep)
        try:
            logits = module(x)
        finally:
            hook.remove()
        slope = torch.autograd.grad(_chosen(logits, target).sum(), kept[-1])[0]
    return torch.relu((slope.mean((2, 3), keepdim=True) * kept[-1].detach()).sum(1))


def maximise(
    module: nn.Module,
    target: Int[Tensor, " N"],
    shape: tuple[int, int, int],
    *,
    generator: torch.Generator,
    steps: int = 100,
    rate: float = 0.1,
    decay: float = 1.0,
) -> Float[Tensor, "N C H W"]:
    r"""Inputs that a class's logit is largest for: :math:`\arg\max_x \, y_k(x) - \lambda \, \overline{x^2}`.

    Each step moves the picture by up to a sixteenth of its side first, so that no pattern rests on a single place.

    Args:
        module: The network.
        target: Class numbers; one picture is made for each.
        shape: (C, H, W) of the input.
        generator: Source of the start and of the moves.
        steps: Gradient steps.
        rate: Their size (Adam's).
        decay: Weight of the penalty, the mean square of the pixels.

    Reference:
        Simonyan, Vedaldi & Zisserman 2013, arXiv:1312.6034, eq. 1.
    """
    device = next(module.parameters()).device
    start = 0.1 * torch.randn((len(target), *shape), generator=generator, device=generator.device)
    x = start.to(device).requires_grad_()
    optimizer = eager(torch.optim.Adam)([x], lr=rate)
    reach = max(1, min(shape[1:]) // 16)
    with at_rest(module), torch.enable_grad():
        for _ in range(steps):
            move = torch.randint(-reach, reach + 1, (2,), generator=generator, device=generator.device).tolist()
            score = _chosen(module(x.roll(move, (2, 3))), target)
            optimizer.zero_grad(set_to_none=True)
            (decay * (x * x).flatten(1).mean(1) - score).sum().backward()
            optimizer.step()
    return x.detach()
