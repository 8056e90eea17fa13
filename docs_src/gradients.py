"""Draw the gradient norms of a deep network with logistic and with relu units; writes docs/img/gradient_norms.png."""

import sys
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from rosenblatt import MLPClassifier


def train(activation, epochs=20):
    X, y = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped before it converges
        return MLPClassifier((32,) * 6, activation, max_iter=epochs, random_state=0).fit(X / 16, y)


def draw(path):
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    models = [train("logistic"), train("relu")]
    for axes, model in zip(figure.subplots(1, 2, sharey=True), models, strict=True):
        norms = np.array([list(row["gradient_norms"].values()) for row in model.history_])
        for layer, values in enumerate(norms.T):
            share = layer / (norms.shape[1] - 1)
            axes.plot(range(1, len(norms) + 1), values, color=(0.9 * share, 0.45 + 0.17 * share, 0.7 - 0.7 * share))
        axes.set(yscale="log", xlabel="epoch", title=f"{model.activation}: final loss {model.loss_:.2g}")
    figure.axes[0].set_ylabel("norm of the gradient\n(blue: first layer, orange: last)")
    figure.savefig(path, dpi=130)
    return models


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs/img/gradient_norms.png")
