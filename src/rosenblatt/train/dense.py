"""Backpropagation through a chain of dense layers, step by step, over one flat parameter vector.

The mathematics is scikit-learn's to the letter, so that a drop-in replacement reaches the same weights from the same
seed: gradient of the mean loss plus ``alpha W / n``, momentum with the rate inside, Adam with the bias correction in the
rate (Kingma & Ba 2015, end of section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Step(NamedTuple):
    """Loss of a batch, and the first bad layer where it, or the gradient, is not finite."""

    loss: float
    bad_layer: str | None


class DenseChain:
    """Parameters, forward and backward pass of a chain of dense layers.

    Args:
        coefs: Weight matrices (fan_in, fan_out); copied.
        intercepts: Biases (fan_out,); copied.
        activation: Function between the layers.
        output: "identity", "logistic", "softmax" or "exp".
        loss: "squared_error", "log_loss" or "poisson".
        alpha: L2 penalty of the weights, divided by the batch's (weighted) size.
        dropout: Share of each hidden layer dropped in training.
        device: Where it computes.
        generator: Source of the dropout masks, on the device.
    """

    def __init__(
        self,
        coefs: list[np.ndarray],
        intercepts: list[np.ndarray],
        *,
        activation: Callable[[Tensor], Tensor],
        output: str,
        loss: str,
        alpha: float,
        dropout: float,
        device: torch.device,
        generator: torch.Generator,
    ):
        arrays = [*coefs, *intercepts]
        self.flat = torch.from_numpy(np.concatenate([a.ravel() for a in arrays])).to(device)
        self.gradient = torch.zeros_like(self.flat)
        self.decay = torch.zeros_like(self.flat)
        self.decay[: sum(c.size for c in coefs)] = alpha
        shapes, layers = [a.shape for a in arrays], len(coefs)
        self.coefs, self.intercepts = _views(self.flat, shapes, layers)
        self.coef_gradients, self.intercept_gradients = _views(self.gradient, shapes, layers)
        self.activation, self.output, self.loss, self.alpha, self.dropout = activation, output, loss, alpha, dropout
        self.generator = generator

    def gradient_norms(self) -> dict[str, float]:
        """Norm of each layer's gradient in the last batch."""
        pairs = zip(self.coef_gradients, self.intercept_gradients, strict=True)
        return {f"layers.{i}": float(torch.cat([c.ravel(), b]).norm()) for i, (c, b) in enumerate(pairs)}

    def snapshot(self) -> Tensor:
        """A copy of all parameters, for `restore`."""
        return self.flat.clone()

    def restore(self, parameters: Tensor | np.ndarray) -> None:
        """Set all parameters."""
        self.flat.copy_(torch.as_tensor(parameters))

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Copies of the weights and biases as numpy arrays."""
        return tuple([t.cpu().numpy().copy() for t in part] for part in (self.coefs, self.intercepts))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, K) after the output activation, without dropout."""
        for layer, (coef, intercept) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            x = torch.addmm(intercept, x, coef)
            if layer < len(self.coefs) - 1:
                x = self.activation(x)
        return output_activation(self.output, x)

    def loss_and_gradient(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Step:
        """One forward and backward pass; the gradient lands in ``self.gradient``.

        With the canonical pairs of output and loss the error of the last layer is simply (output - y):
        Bishop 2006, section 5.3.1.
        """
        total = float(len(x)) if weight is None else float(weight.sum())
        inputs, pre, post = self._remember(x)
        out = output_activation(self.output, pre[-1].detach())
        loss = mean_loss(self.loss, self.output, y, out, weight)
        penalty = 0.5 * self.alpha * float(sum((c * c).sum() for c in self.coefs)) / total
        delta = out - y
        if weight is not None:
            delta = delta * weight[:, None]
        for layer in range(len(self.coefs) - 1, -1, -1):
            torch.mm(inputs[layer].T, delta, out=self.coef_gradients[layer])
            torch.sum(delta, 0, out=self.intercept_gradients[layer])
            if layer > 0:
                delta = _through(pre[layer - 1], post[layer - 1], delta @ self.coefs[layer].T)
        self.gradient.add_(self.flat * self.decay).div_(total)
        finite = math.isfinite(loss) and bool(torch.isfinite(self.gradient.sum()))
        return Step(loss + penalty, None if finite else self._first_bad(pre))

    def _remember(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Inputs and pre-activations of each layer, and the graph from each hidden one to the next layer's input."""
        inputs, pre, post = [], [], []
        for layer, (coef, intercept) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            inputs.append(x)
            z = torch.addmm(intercept, x, coef)
            pre.append(z)
            if layer == len(self.coefs) - 1:
                break
            z.requires_grad_()
            h = self.activation(z)
            if self.dropout:
                kept = torch.rand(h.shape, generator=self.generator, device=h.device, dtype=h.dtype) >= self.dropout
                h = h * kept / (1 - self.dropout)
            post.append(h)
            x = h.detach()
        return inputs, pre, post

    def _first_bad(self, pre: list[Tensor]) -> str:
        for layer, z in enumerate(pre):
            if not bool(torch.isfinite(z).all()):
                return f"layers.{layer}"
        for layer in range(len(self.coefs) - 1, -1, -1):
            if not bool(torch.isfinite(self.coef_gradients[layer]).all()):
                return f"layers.{layer}"
        return f"layers.{len(self.coefs) - 1}"


def _through(z: Tensor, h: Tensor, delta: Tensor) -> Tensor:
    """Error at the activation's input; threshold units pass nothing back, their derivative is zero."""
    return torch.autograd.grad(h, z, delta)[0] if h.requires_grad else torch.zeros_like(delta)


def _views(flat: Tensor, shapes: Iterable[tuple[int, ...]], layers: int) -> tuple[list[Tensor], list[Tensor]]:
    views, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        views.append(flat[start : start + size].view(shape))
        start += size
    return views[:layers], views[layers:]


def output_activation(name: str, z: Tensor) -> Tensor:
    """The output unit of a name: "identity", "logistic", "softmax" or "exp"."""
    if name == "softmax":
        return torch.softmax(z, 1)
    if name == "logistic":
        return torch.sigmoid(z)
    return torch.exp(z) if name == "exp" else z


def mean_loss(loss: str, output: str, y: Tensor, out: Tensor, weight: Tensor | None) -> float:
    """Mean loss of a batch as scikit-learn reports it: probabilities are clipped by one machine epsilon."""
    if loss == "squared_error":
        each = 0.5 * (y - out).square().mean(1)
    elif loss == "poisson":
        each = (torch.xlogy(y, y / out) - y + out).sum(1)
    else:
        epsilon = torch.finfo(out.dtype).eps
        p = out.clamp(epsilon, 1 - epsilon)
        each = -torch.xlogy(y, p)
        if output == "logistic":
            each = each - torch.xlogy(1 - y, 1 - p)
        each = each.sum(1)
    return float(each.mean()) if weight is None else float((each * weight).sum() / weight.sum())


class FlatOptimizer:
    """SGD with momentum, or Adam, over one flat vector.

    Args:
        kind: "sgd" or "adam".
        learning_rate: Step size; "sgd" schedules change ``self.learning_rate``.
        momentum, nesterov: Of "sgd".
        beta_1, beta_2, epsilon: Of "adam".

    Reference:
        Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 and the remark below it.
    """

    def __init__(
        self,
        kind: str,
        size: Tensor,
        *,
        learning_rate: float,
        momentum: float,
        nesterov: bool,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ):
        self.kind, self.learning_rate, self.momentum, self.nesterov = kind, learning_rate, momentum, nesterov
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.first = torch.zeros_like(size)
        self.second = torch.zeros_like(size) if kind == "adam" else None
        self.steps = 0

    def update(self, flat: Tensor, gradient: Tensor) -> None:
        """Move ``flat`` one step."""
        if self.second is None:
            self.first.mul_(self.momentum).sub_(gradient, alpha=self.learning_rate)
            if self.nesterov:
                flat.add_(self.first, alpha=self.momentum).sub_(gradient, alpha=self.learning_rate)
            else:
                flat.add_(self.first)
            return
        self.steps += 1
        self.first.mul_(self.beta_1).add_(gradient, alpha=1 - self.beta_1)
        self.second.mul_(self.beta_2).addcmul_(gradient, gradient, value=1 - self.beta_2)
        rate = self.learning_rate * math.sqrt(1 - self.beta_2**self.steps) / (1 - self.beta_1**self.steps)
        flat.addcdiv_(self.first, self.second.sqrt().add_(self.epsilon), value=-rate)

    def state(self) -> dict[str, Any]:
        """Moments, step count and rate, as arrays and numbers."""
        second = None if self.second is None else self.second.cpu().numpy().copy()
        return {
            "kind": self.kind,
            "learning_rate": float(self.learning_rate),
            "steps": self.steps,
            "first": self.first.cpu().numpy().copy(),
            "second": second,
        }

    def load(self, state: dict[str, Any]) -> bool:
        """Continue from a state; False where it belongs to another optimizer or network."""
        if state["kind"] != self.kind or state["first"].shape != tuple(self.first.shape):
            return False
        self.learning_rate, self.steps = state["learning_rate"], state["steps"]
        self.first.copy_(torch.from_numpy(state["first"]))
        if self.second is not None:
            self.second.copy_(torch.from_numpy(state["second"]))
        return True
