"""Digits from eight numbers, by PCA and by an autoencoder: the picture of docs/autoencoder.md."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import rosenblatt as rb
from rosenblatt.report.canvas import bare, mosaic, new_figure, write_figure


def draw(path, epochs=None):
    """Draw it; returns the squared errors on the samples that were not trained on."""
    X = load_digits().data / 16
    train, test = X[:-400], X[-400:]
    model = rb.Autoencoder(code_size=8, epochs=epochs, random_state=0, verbose=0).fit(train)
    pca = PCA(8).fit(train)
    made = {
        "Digits": test,
        "PCA, 8 numbers": pca.inverse_transform(pca.transform(test)),
        "Autoencoder, 8 numbers": model.predict(test),
    }
    figure = new_figure(6.4, 2.3)
    for place, (title, samples) in enumerate(made.items(), start=1):
        tiles = mosaic(np.clip(samples[:12].reshape(-1, 8, 8), 0, 1), 12)
        bare(figure.add_subplot(3, 1, place), title).imshow(tiles, cmap="gray", vmin=0, vmax=1)
    write_figure(figure, Path(path), dpi=110, overwrite=True)
    return {title: float(np.square(samples - test).sum(1).mean()) for title, samples in made.items()}


if __name__ == "__main__":
    print(draw("docs/img/autoencoder.png"))
