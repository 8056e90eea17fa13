"""``Plan(defence=...)`` of the dense networks: a chain of layers that learns from the worst inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.attacks.inner import worst
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.defended import VALIDATION_STEPS, divergence
from rosenblatt.train.defence import Defence
from rosenblatt.train.dense import DenseChain, Step
from rosenblatt.train.dense_loops import blocks
from rosenblatt.train.seeds import PrivateRandom


class DefendedChain(DenseChain):
    """A `DenseChain` whose batches are moved to where its loss is large before it learns from them.

    Args:
        *parts: Of `DenseChain`.
        defence: The user's.
        seed: Of the random starts and of the noise.
        **options: Of `DenseChain`.
    """

    def __init__(self, *parts: Any, defence: Defence, seed: int, **options: Any):
        super().__init__(*parts, **options)
        self.defence, self.random = defence, PrivateRandom(seed, self.flat.device)
        self.bounds = defence.bounds

    def loss_and_gradient(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Step:
        """One forward and backward pass at the worst inputs; the gradient lands in ``self.gradient``."""
        with self.random:
            if self.defence.method == "noise":
                x = x + self.defence.eps * torch.randn_like(x)
            elif self.defence.method == "trades":
                return self._trades(x, y, weight)
            else:
                x = self._worst(x, y)
        return super().loss_and_gradient(x, y, weight)

    def attacked(self, X: Any, y: np.ndarray) -> np.ndarray:
        """A table (N, D) as the validation has it: under attack, or with noise.

        Args:
            X: (N, D).
            y: Targets (N, K).
        """
        done, start = [], 0
        with PrivateRandom(0, self.flat.device):
            for x in blocks(X, self.flat.device):
                target = torch.from_numpy(y[start : start + len(x)]).to(x)
                noisy = self.defence.method == "noise"
                z = x + self.defence.eps * torch.randn_like(x) if noisy else self._worst(x, target, VALIDATION_STEPS)
                done.append(z.cpu().numpy())
                start += len(x)
        return np.concatenate(done)

    def _worst(self, x: Tensor, y: Tensor, steps: int | None = None) -> Tensor:
        own, share = self.defence.walk
        length = share * self.defence.eps if steps is None else None
        return worst(
            lambda z: total_loss(self.loss, self.output, self._raw(z), y), x, eps=self.defence.eps,
            norm=self.defence.norm, steps=steps or own, step_size=length, bounds=self.bounds,
        )  # fmt: skip

    def _raw(self, x: Tensor, coefs: list[Tensor] | None = None, intercepts: list[Tensor] | None = None) -> Tensor:
        """Outputs (N, K) before the output activation, with a graph; without dropout."""
        coefs, intercepts = coefs or self.coefs, intercepts or self.intercepts
        for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
            x = torch.addmm(intercept, x, coef)
            if layer < len(coefs) - 1:
                x = self.activation(x)
        return x

    def _trades(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Step:
        """Zhang et al. 2019, eq. 5: the usual gradient at the data, and that of beta times the distance of the answers."""
        with torch.no_grad():
            clean = self._raw(x)
        steps, share = self.defence.walk
        z = worst(
            lambda z: apart(self.output, clean, self._raw(z)).sum(), x, eps=self.defence.eps, norm=self.defence.norm,
            steps=steps, step_size=share * self.defence.eps, bounds=self.bounds, near=True,
        )  # fmt: skip
        step = super().loss_and_gradient(x, y, weight)
        w = torch.ones_like(x[:, 0]) if weight is None else weight
        leaves = [t.detach().requires_grad_() for t in (*self.coefs, *self.intercepts)]
        coefs, intercepts = leaves[: len(self.coefs)], leaves[len(self.coefs) :]
        with torch.enable_grad():
            far = apart(self.output, self._raw(x, coefs, intercepts), self._raw(z, coefs, intercepts))
            distance = self.defence.beta * (far * w).sum() / w.sum()
            gradients = torch.autograd.grad(distance, leaves)
        for into, gradient in zip((*self.coef_gradients, *self.intercept_gradients), gradients, strict=True):
            into.add_(gradient)
        bad = step.bad_layer or (None if torch.isfinite(self.gradient.sum()) else f"layers.{len(self.coefs) - 1}")
        return Step(step.loss + float(distance.detach()), bad)


def total_loss(loss: str, output: str, raw: Tensor, y: Tensor) -> Tensor:
    """Summed loss of outputs (N, K) before the output activation, in the stable form."""
    if loss == "squared_error":
        return 0.5 * (raw - y).square().sum()
    if loss == "poisson":
        return (torch.exp(raw) - y * raw).sum()
    if output == "softmax":
        return -(y * F.log_softmax(raw, 1)).sum()
    return F.binary_cross_entropy_with_logits(raw, y, reduction="sum")


def apart(output: str, raw: Tensor, moved: Tensor) -> Tensor:
    """KL (N,) from the answers of some raw outputs (N, K) to those of others: one distribution, or one of each output."""
    if output == "softmax":
        return divergence(F.log_softmax(raw, 1), moved)
    share = torch.sigmoid(raw)
    yes = F.logsigmoid(raw) - F.logsigmoid(moved)
    no = F.logsigmoid(-raw) - F.logsigmoid(-moved)
    return (share * yes + (1 - share) * no).sum(1)


def refuse_misuse(who: str, defence: Defence, *, solver: str, sparse: bool, output: str) -> None:
    """Refuse what a dense network cannot defend.

    Raises:
        ParameterError: A ramp, the solver "lbfgs", a sparse table, or "trades" of a regressor.
    """
    if defence.ramp:
        raise ParameterError(f"{who}: ramp={defence.ramp:g} in the defence; expected 0, this run has no known length.")
    if solver == "lbfgs":
        raise ParameterError(
            f"{who}: Plan(defence=...) with solver='lbfgs'; expected 'sgd' or 'adam', which go in batches."
        )
    if sparse:
        raise ParameterError(f"{who}: Plan(defence=...) with a sparse X; expected a dense one. Use X.toarray().")
    if defence.method == "trades" and output not in ("softmax", "logistic"):
        raise ParameterError(
            f"{who}: the defence 'trades' compares answers of classes; expected 'pgd', 'fast' or 'noise'."
        )
