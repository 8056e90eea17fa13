"""Universal approximation (Cybenko 1989): one hidden layer of logistic units comes as close as wished, given enough of them.

Writes docs/img/universal_approximation.png and prints the largest error by width.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rosenblatt import MLPRegressor

WIDTHS = (2, 8, 32)


def target(x):
    """A continuous function on [0, 1] with a corner and two scales."""
    return np.sin(2 * np.pi * x) + 0.5 * np.abs(x - 0.6) + 0.3 * np.sin(9 * np.pi * x)


def approximate(width):
    """The best of four starts: the theorem says that good weights exist, not that one descent finds them."""
    x = np.linspace(0, 1, 400)
    models = []
    for seed in range(4):
        options = {"activation": "logistic", "solver": "lbfgs", "alpha": 0, "max_iter": 4000, "max_fun": 40000}
        model = MLPRegressor(hidden_layer_sizes=(width,), random_state=seed, tol=1e-7, **options)
        models.append(model.fit(20 * x[:, None] - 10, target(x)))
    return min(models, key=lambda model: model.loss_)


def draw(path):
    x = np.linspace(0, 1, 1001)
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    errors = {}
    for axes, width in zip(figure.subplots(1, 3, sharey=True), WIDTHS, strict=True):
        y = approximate(width).predict(20 * x[:, None] - 10)
        errors[width] = float(np.abs(y - target(x)).max())
        axes.plot(x, target(x), color="#777777", lw=4, alpha=0.4, label="function")
        axes.plot(x, y, color="#0072b2", label="network")
        axes.set_title(f"{width} hidden units: off by {errors[width]:.3f} at most", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    return errors


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    where = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs/img/universal_approximation.png"
    for width, error in draw(where).items():
        print(f"{width:3} hidden units: largest error {error:.4f}")
