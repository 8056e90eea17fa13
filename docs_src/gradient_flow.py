"""How far back in time a gradient reaches in untrained recurrent layers: why the LSTM has a forget gate, and why it starts open.

Each layer reads 100 random vectors; the curve is the size of d(sum of the last output) / d(input t), over 64 sequences.
Writes docs/img/gradient_flow.png.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from rosenblatt.models.recurrent import Layer
from rosenblatt.report.canvas import BLUE, INK, VERMILION, new_figure, plain, write_figure
from rosenblatt.train.seeds import PrivateRandom

UNITS, STEPS, ROWS = 64, 100, 64


def layers():
    """name -> (layer, colour, line)"""
    usual, elman = Layer(UNITS, UNITS, cell="elman"), Layer(UNITS, UNITS, cell="elman")
    for parameter in usual.parameters():  # torch's own start
        nn.init.uniform_(parameter, -(UNITS**-0.5), UNITS**-0.5)
    made = {"Elman, usual start": (usual, VERMILION, "-"), "Elman, orthogonal start": (elman, VERMILION, "--")}
    for bias, line in ((0.0, ":"), (1.0, "-"), (4.0, "--")):
        lstm = Layer(UNITS, UNITS, cell="lstm")
        lstm.cell.bias_ih_l0.data[UNITS : 2 * UNITS] = bias
        made[f"LSTM, forget gate at {torch.sigmoid(torch.tensor(bias)):.2f}"] = (lstm, BLUE, line)
    return made


def measure():
    """name -> (T,) sizes, the oldest step first."""
    with PrivateRandom(0):
        made, x = layers(), torch.randn(ROWS, STEPS, UNITS)
    sizes = {}
    for name, (layer, _, _) in made.items():
        inputs = x.clone().requires_grad_(True)
        layer(inputs)[0][:, -1].sum().backward()
        sizes[name] = inputs.grad.norm(dim=2).mean(0).double().numpy()
    return sizes


def draw(path):
    with PrivateRandom(0):
        made = layers()
    sizes = measure()
    figure = new_figure(6.8, 3.6)
    axes = figure.add_subplot()
    for (name, found), (_, colour, line) in zip(sizes.items(), made.values(), strict=True):
        axes.plot(np.arange(STEPS)[::-1], found, line, color=colour, linewidth=1.8, label=name)
    axes.set_yscale("log")
    axes.set_ylim(1e-14, 1e2)
    axes.invert_xaxis()
    axes.set_xlabel("steps back in time")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    plain(axes, grid="y")
    axes.set_title("Gradient of the last output, by the step it reaches (untrained layers)", loc="left", color=INK)
    write_figure(figure, Path(path), dpi=120, overwrite=True)
    return sizes


if __name__ == "__main__":
    for name, found in draw(Path(__file__).parents[1] / "docs" / "img" / "gradient_flow.png").items():
        print(f"{name:<28} {found[0] / found[-1]:.1e} of the gradient is left after {STEPS - 1} steps")
