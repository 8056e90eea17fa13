"""Gradient check: backpropagation against central differences, parameter by parameter.

Reference: the symmetric difference quotient (f(w + h) - f(w - h)) / 2h errs by O(h²) + O(ε / h); in float64 h = 1e-6 leaves
about ten digits.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.backprop import objective
from rosenblatt.backprop.engine import CompiledChain, covers
from rosenblatt.errors import NonFiniteError, ParameterError, ShapeError

_WHO = "backprop.check"


@dataclass(frozen=True)
class Checked:
    """Result of a gradient check.

    Attributes:
        layers: Name of each array of parameters -> largest error of autograd against central differences, relative to
            the largest gradient of the network.
        compiled: The same error of the compiled engine's hand-derived gradient; None where it does not cover the network.
        worst: Largest of all.
        tolerance: What was allowed.
    """

    layers: dict[str, float]
    compiled: float | None
    worst: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every gradient is right within the tolerance."""
        return self.worst <= self.tolerance

    def __str__(self) -> str:
        lines = [f"{name:<18} {error:.1e}" for name, error in self.layers.items()]
        if self.compiled is not None:
            lines.append(f"{'compiled engine':<18} {self.compiled:.1e}")
        said = "right" if self.passed else "WRONG"
        return "\n".join([*lines, f"gradients are {said} (tolerance {self.tolerance:.0e})"])


def check(
    estimator: Any, X: Any, y: Any, *, step: float = 1e-6, tolerance: float = 1e-6, most: int = 200, seed: int = 0
) -> Checked:
    """Compare a fitted network's gradients with central differences.

    Use it on your own callable activation: a wrong derivative trains, only worse, and nothing else tells.

    Args:
        estimator: A fitted `MLPClassifier` or `MLPRegressor`.
        X: (N, D); a few rows are enough.
        y: Labels or targets.
        step: h of the difference quotient.
        tolerance: Largest relative error that passes. Kinks (relu at 0) within ``step`` of a sample can exceed it.
        most: Parameters of each array that are compared, drawn with ``seed``.
        seed: Of that draw.

    Returns:
        Errors by array of parameters; print it.

    Raises:
        NotFittedError: Before ``fit``.
        ParameterError, ShapeError, LabelError: Another estimator, or X and y are not as in fit.
        NonFiniteError: The loss is NaN or infinite.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from rosenblatt import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MLPClassifier((5,), activation="tanh", solver="lbfgs", tol=1.0, random_state=0).fit(X, y)
        >>> check(model, X[:10], y[:10]).passed
        True
    """
    module = objective.network(estimator, _WHO)
    x, target = objective.inputs(estimator, X, _WHO), objective.targets(estimator, y, _WHO)
    if len(x) != len(target):
        raise ShapeError(f"{_WHO}: X has {len(x)} rows and y {len(target)}; expected as many.")

    def loss() -> Tensor:
        return objective.loss_of(estimator, module(x), target)

    parameters = dict(module.named_parameters())
    value = loss()
    if not bool(torch.isfinite(value)):
        raise NonFiniteError(
            f"{_WHO}: the loss is {value.item()}; expected a finite number. Look at the activation and the weights."
        )
    gradients = dict(
        zip(parameters, torch.autograd.grad(value, list(parameters.values()), allow_unused=True), strict=True)
    )
    gradients = {k: torch.zeros_like(parameters[k]) if g is None else g for k, g in gradients.items()}
    scale = max(float(g.abs().max()) for g in gradients.values()) or 1.0
    source = np.random.default_rng(seed)
    layers = {}
    for name, parameter in parameters.items():
        chosen = source.permutation(parameter.numel())[:most]
        numeric = _differences(loss, parameter, chosen, step)
        layers[name] = float(np.abs(numeric - gradients[name].reshape(-1).numpy()[chosen]).max()) / scale
    compiled = _compiled_error(estimator, module, x, target, gradients, scale)
    worst = max([*layers.values(), *([] if compiled is None else [compiled])])
    return Checked(layers, compiled, worst, tolerance)


def check_function(
    f: Callable[..., Any],
    *inputs: Tensor,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    directions: int = 4,
    seed: int = 0,
) -> Checked:
    """Compare autograd through any function or module with central differences, along random directions.

    For your own layer, activation or loss. Its outputs are summed with fixed random weights; a direction takes two
    evaluations, however many numbers there are.

    Args:
        f: A function, or a module in evaluation mode; the same inputs must give the same outputs. A module is checked on a
            copy in float64, for its parameters too.
        inputs: Tensors; those of floating numbers are taken as float64 and checked, the others passed on.
        step: h of the difference quotient along a direction.
        tolerance: Largest relative error that passes.
        directions: How many for each tensor.
        seed: Of the weights and directions.

    Returns:
        Errors by parameter ("layers.0.weight") and input ("input 0"), relative to the mean size of that gradient; print it.

    Raises:
        ParameterError: There is nothing to differentiate.
        NonFiniteError: The function is NaN or infinite there.

    Example:
        >>> check_function(torch.tanh, torch.linspace(-2, 2, 9)).passed
        True
    """
    f = copy.deepcopy(f).double() if isinstance(f, nn.Module) else f
    given = [x.detach().double().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    free = {f"input {i}": x for i, x in enumerate(given) if x.is_floating_point()}
    if isinstance(f, nn.Module):
        free |= {name: p for name, p in f.named_parameters() if p.requires_grad}
    source = torch.Generator().manual_seed(seed)
    weights: list[Tensor] = []
    largest: list[float] = []

    def value() -> Tensor:
        out = f(*given)
        parts = [out] if isinstance(out, Tensor) else [part for part in out if isinstance(part, Tensor)]
        if not weights:
            weights.extend(torch.randn(part.shape, generator=source, dtype=torch.float64) for part in parts)
            largest.append(max(float(part.detach().abs().max()) for part in parts))
        return sum((part.double() * weight).sum() for part, weight in zip(parts, weights, strict=True))

    whole = value()
    if not bool(torch.isfinite(whole)):
        raise NonFiniteError(f"{_WHO}_function: the outputs are not finite at these inputs; expected finite numbers.")
    if not free or not whole.requires_grad:
        raise ParameterError(
            f"{_WHO}_function: no input of floating numbers and no parameter reaches the output; expected one at least."
        )
    gradients = dict(zip(free, torch.autograd.grad(whole, list(free.values()), allow_unused=True), strict=True))
    most = max(float(g.abs().max()) for g in gradients.values() if g is not None)
    # what rounding leaves of a difference quotient: it must not condemn a gradient that is zero
    noise = 2 * torch.finfo(torch.float64).eps * sum(float(w.abs().sum()) for w in weights) * largest[0] / step
    errors = {
        name: _along(value, tensor, gradients[name], source, directions, step, most, noise)
        for name, tensor in free.items()
    }
    return Checked(errors, None, max(errors.values()), tolerance)


@torch.no_grad()
def _along(
    value: Callable[[], Tensor],
    tensor: Tensor,
    gradient: Tensor | None,
    source: Any,
    count: int,
    step: float,
    most: float,
    noise: float,
) -> float:
    """Largest error of the slope along random directions, relative to the size that such a slope has on average."""
    gradient = torch.zeros_like(tensor) if gradient is None else gradient
    usual = float(gradient.norm()) / math.sqrt(tensor.numel()) + 10 * step * most
    kept, worst = tensor.detach().clone(), 0.0
    for _ in range(count):
        direction = torch.randn(tensor.shape, generator=source, dtype=torch.float64)
        direction /= direction.norm()
        sides = []
        for sign in (step, -step):
            tensor.copy_(kept + sign * direction)
            sides.append(float(value()))
        tensor.copy_(kept)
        slope = (sides[0] - sides[1]) / (2 * step)
        worst = max(worst, (abs(slope - float((gradient * direction).sum())) - noise) / (usual or 1.0))
    return worst


@torch.no_grad()
def _differences(loss: Any, parameter: Tensor, chosen: np.ndarray, step: float) -> np.ndarray:
    flat, found = parameter.data.view(-1), np.empty(len(chosen))
    for i, place in enumerate(chosen.tolist()):
        kept = flat[place].item()
        flat[place] = kept + step
        above = loss().item()
        flat[place] = kept - step
        found[i] = (above - loss().item()) / (2 * step)
        flat[place] = kept
    return found


def _compiled_error(
    estimator: Any, module: nn.Module, x: Tensor, target: Tensor, gradients: dict[str, Tensor], scale: float
) -> float | None:
    if not covers(estimator.activation, estimator.out_activation_, estimator.loss, np.float64):
        return None
    layers = list(module.layers)
    chain = CompiledChain(
        [layer.weight.detach().numpy().T.copy() for layer in layers],
        [layer.bias.detach().numpy().copy() for layer in layers],
        activation=estimator.activation, output=estimator.out_activation_, loss=estimator.loss, alpha=0.0,
    )  # fmt: skip
    wanted = target.numpy()
    if estimator.out_activation_ == "softmax":
        wanted = np.eye(layers[-1].out_features)[wanted]
    _, flat = chain.loss_and_gradient(x.numpy(), np.ascontiguousarray(wanted, dtype=np.float64), None)
    coefs, intercepts = chain._views(flat)
    errors = [np.abs(c.T - gradients[f"layers.{i}.weight"].numpy()).max() for i, c in enumerate(coefs)]
    errors += [np.abs(b - gradients[f"layers.{i}.bias"].numpy()).max() for i, b in enumerate(intercepts)]
    return float(max(errors)) / scale
