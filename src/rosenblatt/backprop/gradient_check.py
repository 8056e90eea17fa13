"""Gradient check: backpropagation against central differences, parameter by parameter.

Reference: the symmetric difference quotient (f(w + h) - f(w - h)) / 2h errs by O(h²) + O(ε / h); in float64 h = 1e-6 leaves
about ten digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.backprop import objective
from rosenblatt.backprop.engine import CompiledChain, covers
from rosenblatt.errors import NonFiniteError, ShapeError

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
