"""The pictures of the page on attacks: digits that a convnet gets wrong after a small change.

Run: python docs_src/attacks.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.attacks import Universal
from rosenblatt.report import robustness_report, shared_pictures
from rosenblatt.report.canvas import write_figure

BUDGET = {"steps": 40, "queries": 100}


def draw(folder):
    """Write attacks.png, robustness.png, boundary.png and universal.png; the report."""
    X, y = load_digits(return_X_y=True)
    pictures = (X.reshape(-1, 8, 8) / 16 * 255).round().astype(np.uint8)
    model = rb.CNNClassifier(epochs=8, batch_size=64, random_state=0, verbose=0).fit(pictures[:1400], y[:1400])
    found = robustness_report(model, pictures[1400:1460], y[1400:1460], eps=[0.02, 0.05, 0.1, 0.15], **BUDGET)
    write_figure(found.pictures(), folder / "attacks.png", dpi=110, overwrite=True)
    write_figure(found.figure(), folder / "robustness.png", dpi=110, overwrite=True)
    write_figure(found.boundary(), folder / "boundary.png", dpi=110, overwrite=True)
    shared = Universal(eps=0.25, steps=60)(model, pictures[:400], y[:400]).on(model, pictures[1400:], y[1400:])
    write_figure(shared_pictures(shared), folder / "universal.png", dpi=110, overwrite=True)
    return found


if __name__ == "__main__":
    print(draw(Path(__file__).parents[1] / "docs" / "img"))
