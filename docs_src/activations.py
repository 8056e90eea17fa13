"""Draws docs/img/activations.png: every activation and its derivative, from the table that the library itself uses."""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch

from rosenblatt.layers import ACTIVATIONS

INK, CURVE, SLOPE, GRID = "#222222", "#1f5fa8", "#d1495b", "#dddddd"
JUMPS = {"step": [(0.0, 1.0)], "sign": [(-1.0, 0.0), (0.0, 1.0)]}


def pieces(spec, x):
    """Values with a gap at each corner that jumps, so that no vertical line is drawn where the function has none."""
    y, d = spec.function(x), spec.derivative(x)
    if spec.name in JUMPS:
        y = torch.where(x.abs() < 0.01, torch.nan, y)
    corners = {"hard_sigmoid": (-3.0, 3.0), "relu": (0.0,), "leaky_relu": (0.0,), "selu": (0.0,)}.get(spec.name, ())
    for corner in corners:
        d = torch.where((x - corner).abs() < 0.01, torch.nan, d)
    return y, d


def panel(axes, spec):
    x = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    y, d = pieces(spec, x)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.plot(x, y, color=CURVE, linewidth=2.2, label="value")
    axes.plot(x, d, color=SLOPE, linewidth=1.4, linestyle=(0, (4, 2)), label="derivative")
    if spec.name in JUMPS:
        axes.plot([0], [float(spec.function(torch.zeros(1)))], "o", color=CURVE, markersize=4)
    axes.set_title(spec.name, fontsize=11, color=INK, family="monospace")
    high = 3.2 if spec.high > 1 else 1.4
    low = -2.1 if spec.low < -1 else -1.4 if spec.low < 0 else -0.4
    axes.set(xlim=(-5, 5), ylim=(low, high))
    decorate(axes)


def softmax_panel(axes, spec):
    """Three units, of which the first moves."""
    x = torch.linspace(-5, 5, 401, dtype=torch.float64)
    logits = torch.stack([x, torch.zeros_like(x), torch.ones_like(x)], dim=1)
    y = spec.function(logits)
    for k, (color, words) in enumerate(zip((CURVE, "#5b9bd5", "#9cc3e6"), ("x", "0", "1"), strict=True)):
        axes.plot(x, y[:, k], color=color, linewidth=2.0 if k == 0 else 1.4)
        at = 330 if k == 0 else 40
        axes.annotate(f"input {words}", (x[at], y[at, k]), xytext=(0, 4), textcoords="offset points", fontsize=7,
                      color=color, ha="right" if k == 0 else "left", va="bottom")  # fmt: skip
    axes.plot(x, spec.derivative(logits)[:, 0, 0], color=SLOPE, linewidth=1.4, linestyle=(0, (4, 2)))
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_title("softmax", fontsize=11, color=INK, family="monospace")
    axes.set(xlim=(-5, 5), ylim=(-0.4, 1.4))
    decorate(axes)


def decorate(axes):
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, colors=INK, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw(path):
    figure, grid = plt.subplots(3, 5, figsize=(13, 7.6), layout="constrained")
    for axes, spec in zip(grid.flat, ACTIVATIONS.values(), strict=True):
        (softmax_panel if spec.output_only else panel)(axes, spec)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def table():
    """The rows of docs/activations.md."""
    yield "| name (aliases) | f(x) | f′(x) | range | reference |"
    yield "|---|---|---|---|---|"
    for spec in ACTIVATIONS.values():
        names = f"`{spec.name}`" + (f" ({', '.join(f'`{a}`' for a in spec.aliases)})" if spec.aliases else "")
        cells = [names, spec.formula, spec.derivative_formula, spec.range, spec.reference]
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "img"
    draw(folder / "activations.png")
