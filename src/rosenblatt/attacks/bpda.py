r"""Backward pass differentiable approximation: through a transformation that has no useful gradient.

.. math:: \nabla_x \, f(t(x)) \approx \nabla_x \, f(g(x)) \;\text{ with } f' \text{ taken at } t(x), \qquad g(x) \approx t(x)

The forward pass is the transformation itself, to the last bit; only the backward pass takes the stand-in g, the identity if none
is given.

Reference: Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 4.1.1 (identity) and 4.1.2 (a stand-in).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rosenblatt._validate import CALLABLE, NONE, parameter
from rosenblatt.attacks.model import Bounds, Victim, victim
from rosenblatt.errors import ParameterError

Change = Callable[[Tensor], Tensor]


class _Approximate(torch.autograd.Function):
    """t forward, g backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, transform: Change, stand_in: Change | None) -> Tensor:
        ctx.save_for_backward(x)
        ctx.stand_in = stand_in
        y = transform(x.detach())
        if stand_in is None and y.shape != x.shape:
            raise ParameterError(
                f"bpda: {name_of(transform)} makes {tuple(y.shape)} of {tuple(x.shape)}, which the identity cannot stand in "
                "for; expected backward=, a differentiable function of the same shapes."
            )
        return y.clone() if y is x else y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        if ctx.stand_in is None:
            return slope, None, None
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = ctx.stand_in(x)
            if y.shape != slope.shape or not y.requires_grad:
                raise ParameterError(
                    f"bpda: backward gives {tuple(y.shape)}{'' if y.requires_grad else ' without a gradient'}; expected "
                    f"{tuple(slope.shape)} as the transformation gives, and differentiable."
                )
            return torch.autograd.grad(y, x, slope)[0], None, None


def name_of(transform: Change) -> str:
    """What to call a transformation in messages.

    Example:
        >>> from functools import partial
        >>> name_of(partial(round, ndigits=2))
        'round'
    """
    inner = getattr(transform, "func", transform)
    return getattr(inner, "__name__", type(inner).__name__)


@dataclass(frozen=True)
class Transformed:
    """A classifier behind a transformation of its input, as a defence.

    Attacks see the transformation's own gradient, zero where it has none, and their results say so in ``notes``. A figure comes
    from `through`, which `rosenblatt.report.robustness_report` takes by itself.

    Args:
        model: One of our classifiers, a module, or another such victim.
        transform: Of inputs (N, ...) in the bounds, as `bit_depth`, `jpeg` or `median`.
        backward: A differentiable stand-in for it; None: the identity.
        mean: Of a module's normalisation, which comes after the transformation.
        std: Its deviation.

    Raises:
        ParameterError: A transformation or stand-in that cannot be called.

    Example:
        >>> from rosenblatt.attacks import PGD, bit_depth
        >>> net = torch.nn.Linear(4, 2)
        >>> defended = Transformed(net, bit_depth)
        >>> PGD(steps=2)(defended, torch.full((1, 4), 0.5), [0]).notes[0][:45]
        'bit_depth was attacked through its own gradie'
    """

    model: Any
    transform: Change
    backward: Change | None = None
    mean: Any = field(default=None, repr=False)
    std: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parameter("Transformed", "transform", self.transform, CALLABLE)
        parameter("Transformed", "backward", self.backward, (CALLABLE, NONE))

    def through(self) -> Through:
        """The same classifier, whose transformation lets gradients pass."""
        return bpda(self.model, self.transform, self.backward, mean=self.mean, std=self.std)

    def _victim(self, bounds: Bounds) -> Victim:
        def change(x: Tensor) -> Tensor:
            y = self.transform(x)
            # zero times the input: what has no gradient gets one of zero
            return y if y.requires_grad or not x.requires_grad else y + 0.0 * x.sum()

        said = f"{name_of(self.transform)} was attacked through its own gradient, which may be none: attack it with attacks.bpda"
        return _behind(self, change, bounds, masked=said)


@dataclass(frozen=True)
class Through:
    """A classifier behind a transformation that lets gradients pass; made by `bpda`.

    Attributes:
        model: What stands behind the transformation.
        transform: Of inputs (N, ...).
        backward: Its differentiable stand-in, or None for the identity.
        mean: Of a module's normalisation.
        std: Its deviation.
    """

    model: Any
    transform: Change
    backward: Change | None = None
    mean: Any = field(default=None, repr=False)
    std: Any = field(default=None, repr=False)

    def _victim(self, bounds: Bounds) -> Victim:
        def change(x: Tensor) -> Tensor:
            return _Approximate.apply(x, self.transform, self.backward)

        stand_in = "the identity" if self.backward is None else name_of(self.backward)
        said = f"{name_of(self.transform)} was attacked by BPDA with {stand_in} backward"
        return _behind(self, change, bounds, remark=said)


def _behind(given: Transformed | Through, change: Change, bounds: Bounds, **words: str) -> Victim:
    inner = victim(given.model, bounds=bounds, mean=given.mean, std=given.std)
    return inner.wrapped(lambda x: inner.raw(change(x)), **words)


def bpda(
    model: Any, transform: Change, backward: Change | None = None, *, mean: Any = None, std: Any = None
) -> Through:
    """A classifier behind a transformation, as a victim whose gradient passes through a stand-in.

    Use it for every transformation of the input that rounds, compresses or sorts: a network behind one seems robust to attacks
    that follow the gradient, until they follow this one. A random transformation takes `eot` around it.

    Args:
        model: One of our classifiers, a module, or another such victim.
        transform: Of inputs (N, ...) in the bounds; forward it is taken as it is.
        backward: A differentiable stand-in of the same shapes; None: the identity.
        mean: Of a module's normalisation, which comes after the transformation.
        std: Its deviation.

    Raises:
        ParameterError: A transformation or stand-in that cannot be called; while attacking, one that does not fit.

    Example:
        >>> from rosenblatt.attacks import PGD, bit_depth
        >>> net = torch.nn.Linear(4, 2)
        >>> PGD(steps=2)(bpda(net, bit_depth), torch.full((1, 4), 0.5), [0]).notes
        ()
    """
    parameter("bpda", "transform", transform, CALLABLE)
    parameter("bpda", "backward", backward, (CALLABLE, NONE))
    return Through(model, transform, backward, mean, std)
