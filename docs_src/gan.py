"""Digits drawn by a GAN that was trained on scikit-learn's: the picture of docs/gan.md."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.report.samples import sheet


def draw(path, epochs=60):
    X, y = load_digits(return_X_y=True)
    X = (X.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    model = rb.GAN(width=32, code_size=32, epochs=epochs, augment="translate", random_state=0, verbose=1).fit(X, y)
    drawn = np.concatenate([model.sample(10, digit, random_state=digit) for digit in range(10)])
    Image.fromarray(sheet(drawn, columns=10)).save(Path(path))
    return model.judge(X, by="random", split="training digits"), model


if __name__ == "__main__":
    found, model = draw("docs/img/gan.png", *map(int, sys.argv[1:]))
    print(found, model.diagnose(), [round(row["validation_score"], 3) for row in model.history_], sep="\n")
