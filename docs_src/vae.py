"""Samples of a conditional variational autoencoder and what its code units do: the picture of docs/vae.md."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.report.canvas import bare, mosaic, new_figure, write_figure


def draw(path, epochs=None):
    """Draw it; returns the mean bound in nats on the samples that were not trained on."""
    digits = load_digits()
    X, y = (digits.images > 7).astype(np.uint8), digits.target
    model = rb.VariationalAutoencoder(code_size=8, conditional=True, epochs=epochs, random_state=0, verbose=0)
    model.fit(X[:-400], y[:-400])
    figure = new_figure(6.4, 3.4)
    left, right = figure.subplots(1, 2)
    samples = np.concatenate([model.sample(10, y=digit, random_state=digit) for digit in range(10)])
    bare(left, "Samples, a class a line").imshow(mosaic(samples, 10), cmap="gray", vmin=0, vmax=1)
    moved = model.traverse(X[3], units=model.used_units()[:3], steps=9, y=y[3])
    bare(right, "Three code units of one digit").imshow(mosaic(moved.reshape(-1, 8, 8), 9), cmap="gray", vmin=0, vmax=1)
    write_figure(figure, Path(path), dpi=110, overwrite=True)
    return float(model.score_samples(X[-400:], y[-400:]).mean())


if __name__ == "__main__":
    print(draw("docs/img/vae.png", epochs=60))
