"""Figures of backpropagation at work: the norms of the gradient while it learned, and its way back through the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt._types import ArrayLike
from rosenblatt.report.canvas import INK, VERMILION, new_figure, plain, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMALL = 24
"""Widest layer of a network whose paths are drawn."""


def gradient_norms(history_: Sequence[Mapping[str, Any]]) -> Figure:
    """Norm of each layer's gradient over the epochs, from the first layer (dark) to the last (light).

    Args:
        history_: The ``history_`` of an estimator; its rows have "gradient_norms", of each epoch's last batch.
    """
    rows = [row for row in history_ if row.get("gradient_norms")]
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    if not rows:
        say(axes, "No gradients were recorded.")
        return figure
    names = list(rows[0]["gradient_norms"])
    epochs = [row["epoch"] for row in rows]
    for place, name in enumerate(names):
        values = np.array([row["gradient_norms"].get(name, np.nan) for row in rows], dtype=float)
        axes.plot(
            epochs, np.where(values > 0, values, np.nan), color=_shade(place / max(1, len(names) - 1)), lw=1.6, label=name,
            marker="o" if len(rows) < 3 else None,
        )  # fmt: skip
    axes.set(yscale="log", xlabel="epoch", ylabel="norm of the gradient")
    plain(axes, grid="y")
    if len(names) <= 12:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _shade(share: float) -> tuple[float, float, float]:
    """From blue to orange, both of the palette that the colour-blind tell apart."""
    first, last = np.array([0.0, 0.447, 0.698]), np.array([0.902, 0.624, 0.0])
    return tuple((1 - share) * first + share * last)


def gradient_flow(estimator: Any, X: ArrayLike, y: ArrayLike) -> Figure:
    """Size of the error dL/dz at each layer of a dense network for its first samples, the median and all of them.

    Args:
        estimator: A fitted `MLPClassifier` or `MLPRegressor`.
        X: (N, D).
        y: Labels or targets.

    Raises:
        NotFittedError, ParameterError, ShapeError, LabelError: As of `rosenblatt.backprop.explain`.
    """
    from rosenblatt.backprop import explain

    found = [
        explain(estimator, x, label, most=1) for x, label in zip(np.asarray(X)[:20], np.asarray(y)[:20], strict=True)
    ]
    norms = np.array([[layer.error_norm for layer in one.layers] for one in found])
    dead = np.array([[len(layer.dead) for layer in one.layers] for one in found]).mean(0)
    shown = np.where(norms > 0, norms, np.nan)
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    places = np.arange(norms.shape[1])
    axes.plot(places, shown.T, color=INK, alpha=0.15, lw=1)
    with np.errstate(all="ignore"):
        axes.plot(places, np.median(norms, 0), color=VERMILION, lw=2, marker="o", label="median")
    labels = [f"{layer.name}\n{size} units" for layer, size in zip(found[0].layers, found[0].sizes[1:], strict=True)]
    labels = [f"{text}\n{count:.0f} dead" if count >= 0.5 else text for text, count in zip(labels, dead, strict=True)]
    axes.set_xticks(places, labels)
    axes.set(yscale="log" if (norms > 0).any() else "linear", ylabel="|dL/dz|")
    plain(axes, grid="y")
    verdicts = [one.verdict for one in found]
    axes.set_title(max(set(verdicts), key=verdicts.count), loc="left", color=INK, fontsize=9, parse_math=False)
    return figure


def backpropagation(estimator: Any, X: ArrayLike | None, y: ArrayLike | None) -> dict[str, Figure]:
    """Figures of how the gradient came about, by name.

    Args:
        estimator: A fitted estimator.
        X: As of its ``fit``, or None.
        y: As of its ``fit``, or None.

    Returns:
        "gradient_norms" where epochs recorded them; with X and y of a dense network "gradient_flow", and "paths" of the
        strongest weight of its first layer where no layer is wide.
    """
    history = getattr(estimator, "history_", None) or []
    drawn = {"gradient_norms": gradient_norms(history)} if any(row.get("gradient_norms") for row in history) else {}
    if X is None or y is None or not hasattr(estimator, "coefs_"):
        return drawn
    drawn["gradient_flow"] = gradient_flow(estimator, X, y)
    if max(coef.shape[0] for coef in [*estimator.coefs_, estimator.coefs_[-1].T]) <= _SMALL:
        from rosenblatt.backprop import explain

        drawn["paths"] = explain(estimator, np.asarray(X)[0], np.asarray(y)[0], weight=None).figure()
    return drawn
