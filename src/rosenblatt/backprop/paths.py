"""The chain rule, path by path.

The gradient of a weight W[i, j] of layer l is a sum over all paths from unit j to the outputs:

    dL/dW[i, j] = sum over paths of  h_i  φ'(z_j)  W[j, u]  φ'(z_u)  ...  W[., k]  dL/dz_k

with h_i what the weight's input unit gives, φ' the derivatives of the activations on the way and dL/dz_k the error at the
output. There are as many paths as products of the widths behind the weight; the strongest are found without listing all, by
keeping the best of every unit from the outputs back (dynamic programming), and how much of the whole they cover is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rosenblatt import _validate
from rosenblatt.backprop import objective
from rosenblatt.errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHO = "backprop.explain"


@dataclass(frozen=True)
class Path:
    """One path of the chain rule.

    Attributes:
        units: Input unit of the weight, then the unit of each layer up to the output.
        factors: Local derivatives in that order; their product is ``value``.
        value: What the path adds to the gradient.
    """

    units: tuple[int, ...]
    factors: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Layer:
    """The gradient's flow through one layer.

    Attributes:
        name: "layers.0" is the first.
        weight_norm: Euclidean norm of the gradient of its weights.
        error_norm: Norm of the error dL/dz at its units.
        dead: Units of it through which no gradient passes for this sample.
    """

    name: str
    weight_norm: float
    error_norm: float
    dead: tuple[int, ...]


@dataclass(frozen=True)
class Explanation:
    """Paths from one weight to the loss of one sample.

    Attributes:
        weight: (layer, input unit, unit).
        gradient: dL/dW of that weight, by autograd.
        loss: Loss of the sample.
        paths: The strongest, by the size of their value.
        count: How many paths there are.
        covered: Share of the sum of all |values| that ``paths`` hold; 1 where they are all.
        layers: The flow, layer by layer, from the input.
        sizes: Widths of the network.
    """

    weight: tuple[int, int, int]
    gradient: float
    loss: float
    paths: tuple[Path, ...]
    count: int
    covered: float
    layers: tuple[Layer, ...]
    sizes: tuple[int, ...]

    @property
    def verdict(self) -> str:
        """Whether the gradient vanishes or explodes on its way back: a factor of 1000 between last and first layer."""
        first, last = self.layers[0].error_norm, self.layers[-1].error_norm
        if last == 0 or first == 0:
            return "no gradient arrives at the first layer" if last else "the loss has no gradient here"
        if len(self.layers) > 1 and first < last / 1000:
            return f"vanishing: the error shrinks {last / first:.0f} times on its way to the first layer"
        if len(self.layers) > 1 and first > last * 1000:
            return f"exploding: the error grows {first / last:.0f} times on its way to the first layer"
        return "the error arrives at the first layer with its size"

    def __str__(self) -> str:
        layer, i, j = self.weight
        lines = [f"dL/dW of weight {i} -> {j} of layer {layer}: {self.gradient:+.6g}   (loss {self.loss:.6g})"]
        lines += [f"{p.value:+.6g}  via {' -> '.join(map(str, p.units))}" for p in self.paths[:10]]
        lines.append(f"{len(self.paths)} of {self.count:,} paths, {100 * self.covered:.1f} % of all that flows")
        for row in self.layers:
            dead = f"  dead: {len(row.dead)}" if row.dead else ""
            lines.append(f"{row.name}: |dL/dW| {row.weight_norm:.3g}, |dL/dz| {row.error_norm:.3g}{dead}")
        return "\n".join([*lines, self.verdict])

    def figure(self) -> Figure:
        """The network with its strongest paths: thick is strong, orange raises the gradient, blue lowers it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.8 + 1.6 * len(self.sizes), 4), layout="constrained")
        axes = figure.subplots()
        axes.axis("off")
        shown = _places(self.sizes, self.paths, self.weight[0])
        for column in shown:
            for x, y in column.values():
                axes.plot(x, y, "o", color="#999999", ms=7, zorder=3)
        largest = max((abs(p.value) for p in self.paths), default=0.0) or 1.0
        for path in reversed(self.paths[:30]):
            dots = [shown[self.weight[0] + step][unit] for step, unit in enumerate(path.units)]
            strength = abs(path.value) / largest
            axes.plot(
                *zip(*dots, strict=True),
                color="#d55e00" if path.value > 0 else "#0072b2",
                lw=0.3 + 4 * strength,
                alpha=0.7,
            )
        names = ["inputs", *(f"hidden {i}" for i in range(1, len(self.sizes) - 1)), "outputs"]
        for x, (name, size) in enumerate(zip(names, self.sizes, strict=True)):
            axes.text(x, -0.12, f"{name}\n{size}", ha="center", va="top", fontsize=8)
        axes.set_title(
            f"{100 * self.covered:.0f} % of the gradient's flow on {len(self.paths)} of {self.count:,} paths",
            fontsize=9,
        )
        return figure


def _places(sizes: tuple[int, ...], paths: tuple[Path, ...], start: int) -> list[dict[int, tuple[float, float]]]:
    """Where each drawn unit lies: all of a small layer; of a large one those on the paths."""
    columns = []
    for x, size in enumerate(sizes):
        used = {p.units[x - start] for p in paths[:30] if 0 <= x - start < len(p.units)}
        units = range(size) if size <= 24 else sorted(used or set(range(24)))
        spread = max(len(list(units)) - 1, 1)
        columns.append({u: (float(x), 1 - n / spread if len(list(units)) > 1 else 0.5) for n, u in enumerate(units)})
    return columns


def explain(
    estimator: Any, x: Any, y: Any, *, weight: tuple[int, int, int] | None = (0, 0, 0), most: int = 100
) -> Explanation:
    """Follow the chain rule from one weight to the loss of one sample.

    Args:
        estimator: A fitted `MLPClassifier` or `MLPRegressor`; any activation.
        x: One sample (D,) or (1, D).
        y: Its label or target.
        weight: (layer, input unit, unit), counted from 0; layer 0 is the first. None takes the weight of the first layer
            that has the largest gradient.
        most: Paths to keep; where there are fewer, all are listed and their sum is the gradient.

    Returns:
        Paths, the gradient, and its flow layer by layer; print it, or draw it with ``.figure()``.

    Raises:
        NotFittedError: Before ``fit``.
        ParameterError: Another estimator, a weight that is not there, or ``most`` below 1.
        ShapeError, LabelError: x and y are not as in fit.

    Reference:
        Rumelhart, Hinton & Williams 1986, doi:10.1038/323533a0, equations 6 to 9.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from rosenblatt import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MLPClassifier((4, 3), "tanh", solver="lbfgs", tol=1.0, random_state=0).fit(X, y)
        >>> found = explain(model, X[0], y[0], weight=(0, 2, 1))
        >>> found.count, abs(sum(p.value for p in found.paths) - found.gradient) < 1e-12
        (9, True)
    """
    _validate.parameter(_WHO, "most", most, _validate.Number(1, integer=True))
    module = objective.network(estimator, _WHO)
    sample = objective.inputs(estimator, np.reshape(np.asarray(x, dtype=np.float64), (1, -1)), _WHO)
    target = objective.targets(estimator, np.asarray(y)[None] if np.size(y) > 1 else np.ravel(y), _WHO)
    layers = list(module.layers)
    sizes = (layers[0].in_features, *(layer.out_features for layer in layers))
    layer, i, j = (0, 0, 0) if weight is None else _weight(weight, sizes)
    outs, slopes, error, loss = _pass(estimator, module, sample, target)
    flow = _flow(layers, loss, outs)
    if weight is None:
        j, i = divmod(int(layers[0].weight.grad.abs().argmax()), sizes[0])
    weights = [w.weight.detach().numpy().T for w in layers]
    start = float(outs[layer][i])
    found, total = _strongest(weights, slopes, error, layer, j, most)
    paths = tuple(_path(start, i, weights, slopes, error, layer, units) for _, units in found)
    whole = abs(start) * total
    covered = 1.0 if whole == 0 else min(1.0, sum(abs(p.value) for p in paths) / whole)
    gradient = float(layers[layer].weight.grad[j, i])
    return Explanation((layer, i, j), gradient, float(loss), paths, math.prod(sizes[layer + 2 :]), covered, flow, sizes)


def _weight(weight: tuple[int, int, int], sizes: tuple[int, ...]) -> tuple[int, int, int]:
    try:
        layer, i, j = (int(n) for n in weight)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{_WHO}: weight={weight!r}; expected (layer, input unit, unit).") from error
    if not 0 <= layer < len(sizes) - 1:
        raise ParameterError(f"{_WHO}: layer {layer}; expected 0 to {len(sizes) - 2}.")
    if not (0 <= i < sizes[layer] and 0 <= j < sizes[layer + 1]):
        raise ParameterError(
            f"{_WHO}: weight {i} -> {j} of layer {layer}; expected units below {sizes[layer]} and {sizes[layer + 1]}."
        )
    return layer, i, j


def _pass(
    estimator: Any, module: Any, x: Any, target: Any
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, Any]:
    """What each layer takes in, φ' of each hidden layer, dL/dz at the output, the loss; gradients land in the layers."""
    layers, outs, slopes = list(module.layers), [x[0].numpy()], []
    h = x
    for layer in layers[:-1]:
        z = layer(h)
        free = z.detach().requires_grad_()
        out = module.activation(free)
        slope = torch.autograd.grad(out.sum(), free)[0] if out.requires_grad else torch.zeros_like(free)
        slopes.append(slope[0].numpy())
        h = module.activation(z)
        outs.append(h.detach()[0].numpy())
    z = layers[-1](h)
    z.retain_grad()
    loss = objective.loss_of(estimator, z, target)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    loss.backward()
    return outs, slopes, z.grad[0].numpy().copy(), loss.detach()


def _flow(layers: list[Any], loss: Any, outs: list[np.ndarray]) -> tuple[Layer, ...]:
    """Norms by layer; the error at a unit is the gradient of its bias, since there is one sample."""
    rows = []
    for number, layer in enumerate(layers):
        error = layer.bias.grad.numpy()
        dead = tuple(np.flatnonzero(error == 0).tolist()) if number < len(layers) - 1 else ()
        rows.append(Layer(f"layers.{number}", float(layer.weight.grad.norm()), float(np.linalg.norm(error)), dead))
    return tuple(rows)


def _strongest(
    weights: list[np.ndarray], slopes: list[np.ndarray], error: np.ndarray, layer: int, unit: int, most: int
) -> tuple[list[tuple[float, tuple[int, ...]]], float]:
    """The strongest ways from a unit to the outputs, and the sum of |values| of all of them."""
    last = len(weights) - 1
    best = [[(abs(float(e)), (k,))] for k, e in enumerate(error)]
    total = np.abs(error)
    for step in range(last - 1, layer - 1, -1):
        gain = np.abs(slopes[step][:, None] * weights[step + 1])  # |φ'(z_u) W[u, v]|
        total = gain @ total
        units = [unit] if step == layer else range(len(gain))
        fresh = [_merge(gain[u], best, u, most) for u in units]
        best = fresh
    if layer == last:
        return best[unit : unit + 1][0], float(total[unit])
    return best[0], float(total[unit])


def _merge(gain: np.ndarray, best: list[list[tuple[float, tuple[int, ...]]]], unit: int, most: int) -> Any:
    ways = [(float(g) * value, (unit, *units)) for g, tails in zip(gain, best, strict=True) for value, units in tails]
    ways.sort(key=lambda way: -way[0])
    return ways[:most]


def _path(
    start: float, i: int, weights: list[np.ndarray], slopes: list[np.ndarray], error: np.ndarray, layer: int, units: Any
) -> Path:
    factors = [start]
    for step, (unit, following) in enumerate(pairwise(units), start=layer):
        factors += [float(slopes[step][unit]), float(weights[step + 1][unit, following])]
    factors.append(float(error[units[-1]]))
    return Path((i, *units), tuple(factors), math.prod(factors))
