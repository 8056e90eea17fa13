"""The picture of the page on defences: a plain and a defended convnet under attack, and what smoothing proves.

Run: python docs_src/defences.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.attacks import Ensemble, Smoothed
from rosenblatt.report.canvas import BLUE, VERMILION, new_figure, plain, write_figure

EPS = (0.05, 0.1, 0.15, 0.2)
SIGMA = 0.25


def fit(pictures, labels, defence, epochs):
    """A convnet of 8 x 8 pixels."""
    plan = rb.Plan(defence=defence)
    model = rb.CNNClassifier(network="robust", epochs=epochs, batch_size=32, random_state=0, verbose=0, plan=plan)
    return model.fit(pictures, labels)


def draw(folder, count=100, draws=1000, epochs=15, radii=EPS):
    """Write defences.png; the curves."""
    X, y = load_digits(return_X_y=True)
    pictures = (X.reshape(-1, 8, 8) / 16 * 255).round().astype(np.uint8)
    known, test = slice(1400), slice(1400, 1400 + count)
    curves = {}
    for name, defence in (("plain", None), ("pgd", "pgd,eps=0.15,steps=5,ramp=0.3")):
        model = fit(pictures[known], y[known], defence, epochs)
        curves[name] = [model.score(pictures[test], y[test])]
        for eps in radii:
            found = Ensemble(eps=eps, steps=20, queries=50)(model, pictures[test], y[test])
            curves[name].append(found.robust_accuracy)
    noisy = fit(pictures[known], y[known], f"noise,eps={SIGMA}", epochs)
    proof = Smoothed(noisy, sigma=SIGMA).certify(pictures[test], y[test], draws=draws)

    figure = new_figure(7.0, 2.8)
    left, right = figure.subplots(1, 2)
    for (name, shares), colour in zip(curves.items(), (VERMILION, BLUE), strict=True):
        plain(left, grid="y").plot([0, *radii], shares, color=colour, marker="o", markersize=3, label=name)
    left.legend(frameon=False, fontsize=9)
    left.set(ylim=(0, 1.02), xlabel="eps (linf)", ylabel="accuracy under attack")
    at = np.linspace(0, 0.8, 100)
    plain(right, grid="y").plot(at, [proof.accuracy_at(e) for e in at], color=BLUE)
    right.set(ylim=(0, 1.02), xlabel=f"eps (l2), noise {SIGMA}", ylabel="certified accuracy")
    write_figure(figure, folder / "defences.png", dpi=110, overwrite=True)
    return curves, proof


if __name__ == "__main__":
    print(draw(Path(__file__).parents[1] / "docs" / "img"))
