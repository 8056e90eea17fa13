"""What ``Plan(defence=...)`` does in a step: the loss at the worst inputs, or at noisy ones, in place of the loss at the data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.attacks.inner import worst
from rosenblatt.attacks.pgd import PGD
from rosenblatt.data.sources import PictureSource
from rosenblatt.errors import ParameterError
from rosenblatt.train.defence import Defence

Network = Callable[[Tensor], Tensor]
VALIDATION_STEPS = 10
"""Of the attack under which a validation score is measured."""
_VALIDATED = 1000
"""Samples on which the accuracy under attack is measured after each epoch."""


class Defended:
    """The objective of one step; `rosenblatt.train.supervised.supervised` takes it as ``objective``.

    Args:
        defence: The user's.
        loss: Of the task: (output, targets, weights or None) -> mean of the batch.
        enter: A batch of the data to inputs on the scale of eps.
        prepare: Those to what the network takes; differentiable.
        bounds: Of the inputs, or None.
    """

    def __init__(
        self,
        defence: Defence,
        *,
        loss: Callable[..., Tensor],
        enter: Callable[[Tensor], Tensor],
        prepare: Callable[[Tensor], Tensor],
        bounds: tuple[float, float] | None,
    ):
        self.defence, self.loss, self.enter, self.prepare, self.bounds = defence, loss, enter, prepare, bounds

    def __call__(
        self,
        network: Network,
        still: AbstractContextManager[Network],
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        *,
        done: float,
    ) -> Tensor:
        """Mean loss of a batch.

        Args:
            network: Prepared inputs to outputs, for the gradient of the weights.
            still: Gives, for a while, the same in eval mode and without gradients of the weights.
            x: Inputs as they lie in the data.
            y: Targets.
            weight: Of the samples, or None.
            done: Share of the run that is behind.
        """
        x, eps = self.enter(x), self._radius(done)
        if self.bounds is not None:  # augmentation of colours may leave them
            x = x.clamp(*self.bounds)
        if self.defence.method == "noise":
            return self.loss(network(self.prepare(x + eps * torch.randn_like(x))), y, weight)
        if self.defence.method == "trades":
            return self._trades(network, still, x, y, weight, eps)
        with still as quiet:
            z = self._worst(lambda z: self.loss(quiet(self.prepare(z)), y, None), x, eps)
        return self.loss(network(self.prepare(z)), y, weight)

    def _radius(self, done: float) -> float:
        ramp = self.defence.ramp
        return self.defence.eps if ramp == 0 else self.defence.eps * min(1.0, 0.05 + done / ramp)

    def _worst(self, loss: Callable[[Tensor], Tensor], x: Tensor, eps: float, *, near: bool = False) -> Tensor:
        steps, length = self.defence.walk
        return worst(
            loss, x, eps=eps, norm=self.defence.norm, steps=steps, step_size=length * eps, bounds=self.bounds, near=near
        )

    def _trades(self, network: Network, still: Any, x: Tensor, y: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        r"""Zhang et al. 2019, eq. 5: :math:`L(f(x), y) + \beta \max_{x'} KL(f(x) \| f(x'))`."""
        with still as quiet:
            with torch.no_grad():
                clean = F.log_softmax(quiet(self.prepare(x)), 1)
            z = self._worst(lambda z: divergence(clean, quiet(self.prepare(z))).sum(), x, eps, near=True)
        out, moved = network(self.prepare(torch.cat([x, z]))).chunk(2)
        apart = divergence(F.log_softmax(out, 1), moved)
        apart = apart.mean() if weight is None else (apart * weight).sum() / weight.sum().clamp_min(1e-12)
        return self.loss(out, y, weight) + self.defence.beta * apart


def divergence(log_p: Tensor, logits: Tensor) -> Tensor:
    """KL (N,) from distributions of which the logarithms (N, K) are given to those of the logits (N, K)."""
    return F.kl_div(F.log_softmax(logits, 1), log_p, reduction="none", log_target=True).sum(1)


def bounds_of(defence: Defence, integers: bool) -> tuple[float, float] | None:
    """Bounds of pictures: those of the defence, or of 8 bits.

    Raises:
        ParameterError: Float pictures without bounds, or 8-bit ones with others than 0 and 1.
    """
    own = defence.bounds
    if integers and own not in (None, (0, 1)):
        raise ParameterError(f"Plan(defence=...): bounds {own} for pictures of 8 bits; expected none, or low=0,high=1.")
    if not integers and own is None and defence.method != "noise":
        raise ParameterError(
            "Plan(defence=...): the pictures are floats, and nothing says what a pixel may be; expected bounds in the defence, "
            f"as '{defence},low=0,high=1'."
        )
    return (0.0, 1.0) if integers else own


def withstood(estimator: Any, defence: Defence, bounds: tuple[float, float] | None, X: Any, y: Any) -> float:
    """Share of samples that a classifier has right under the attack, or the noise, that it is trained against.

    Args:
        estimator: With its ``module_``, which may be in training.
        defence: Its eps and norm count; the attack is projected gradient descent of ten steps, or one draw of noise.
        bounds: Of the inputs.
        X: Inputs as ``fit`` takes them; the first thousand count.
        y: Their labels.
    """
    few = np.arange(min(len(X), _VALIDATED))
    X, y = X.take(few) if isinstance(X, PictureSource) else X[few], y[few]
    if defence.method != "noise":
        attack = PGD(eps=defence.eps, norm=defence.norm, steps=VALIDATION_STEPS, bounds=bounds)
        return attack(estimator, X, y).robust_accuracy
    found = estimator._victim(bounds if bounds is not None else (-torch.inf, torch.inf))
    x = found.encode(X)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    with found.at_rest(), torch.no_grad():
        answers = torch.cat([found.logits(part).argmax(1) for part in (x + defence.eps * noise).split(256)])
    return float((answers == found.codes(y, len(x), len(found.classes))).double().mean())
