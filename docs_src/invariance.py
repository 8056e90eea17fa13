"""What shared weights, pooling and dropout bring, measured on digits.

1. Accuracy of an MLP and of a convnet, trained on centred digits, as the test digits move by 0 to 6 pixels.
2. The same convnet with max-pooling, with mean-pooling, and with strides in place of pooling.
3. The same convnet with and without dropout, trained on few digits.

python docs_src/invariance.py [digits|mnist] [PICTURE] [LOG.json]

Writes docs/img/invariance.png and prints the numbers. "digits" are the 1,797 of scikit-learn, which are always there, as large
as MNIST's in a field of the same size; "mnist" is fetched (`rosenblatt.data.fetch`).
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from rosenblatt import CNNClassifier, MLPClassifier
from rosenblatt.data.fetch import fetch
from rosenblatt.train.seeds import PrivateRandom

PICTURE = Path(__file__).parents[1] / "docs/img/invariance.png"
POOLS = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}


def digits():
    """scikit-learn's digits, each pixel four, in the middle of 28 x 28: (X, y, X_test, y_test)."""
    found = load_digits()
    X = np.pad(np.kron((found.images * 15).astype(np.uint8), np.ones((1, 2, 2), np.uint8)), ((0, 0), (6, 6), (6, 6)))
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], found.target[order]
    return X[:1200], y[:1200], X[1200:], y[1200:]


def mnist():
    """10,000 digits of MNIST to learn from and 5,000 to test on."""
    data, pick = fetch("mnist"), np.random.default_rng(0).permutation(60_000)[:10_000]
    return data.X[pick, ..., 0], data.y[pick], data.X_test[:5000, ..., 0], data.y_test[:5000]


def moved(pictures, by):
    """Pictures (N, H, W) moved by some pixels to each of four sides; black comes in."""
    if by == 0:
        return [pictures]
    padded = np.pad(pictures, ((0, 0), (by, by), (by, by)))
    _, height, width = pictures.shape
    corners = ((0, by), (2 * by, by), (by, 0), (by, 2 * by))
    return [padded[:, row : row + height, column : column + width] for row, column in corners]


def accuracy(model, pictures, y, by, flat):
    scores = [model.score(part.reshape(len(part), -1) / 255 if flat else part, y) for part in moved(pictures, by)]
    return float(np.mean(scores))


def convnet(pool, *, dropout, classes, side, seed):
    """Two convolutions and two dense layers; ``pool`` is "max", "mean" or "stride"."""
    stride = 2 if pool == "stride" else 1
    shrink = [POOLS[pool](2)] if pool in POOLS else []
    with PrivateRandom(seed):
        return nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=stride, padding=2), nn.ReLU(), *shrink,
            nn.Conv2d(16, 32, 5, stride=stride, padding=2), nn.ReLU(), *shrink,
            nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, classes),
        )  # fmt: skip


def measure(X, y, Xt, yt, *, shifts, seeds=3, epochs=5, few=1000, batch_size=128):
    """Means over seeds: accuracy by shift, by kind of pooling, and by dropout on few samples."""
    side, classes = X.shape[1], len(np.unique(y))
    options = {"epochs": epochs, "batch_size": batch_size, "verbose": 0}
    by_shift = {"MLP": [], "convnet": []}
    by_pool = {name: [] for name in ("max", "mean", "stride")}
    by_dropout = {"0": [], "0.5": []}
    for seed in range(seeds):
        mlp = MLPClassifier(hidden_layer_sizes=(256,), max_iter=3 * epochs, random_state=seed)
        mlp.fit(X.reshape(len(X), -1) / 255, y)
        net = CNNClassifier(random_state=seed, **options).fit(X, y)
        by_shift["MLP"].append([accuracy(mlp, Xt, yt, by, True) for by in shifts])
        by_shift["convnet"].append([accuracy(net, Xt, yt, by, False) for by in shifts])
        for pool, rows in by_pool.items():
            own = convnet(pool, dropout=0.0, classes=classes, side=side, seed=seed)
            model = CNNClassifier(network=own, random_state=seed, **options).fit(X, y)
            rows.append([accuracy(model, Xt, yt, by, False) for by in shifts])
        pick = np.random.default_rng(seed).permutation(len(X))[:few]
        for share, rows in by_dropout.items():
            own = convnet("max", dropout=float(share), classes=classes, side=side, seed=seed)
            long = {**options, "epochs": 6 * epochs, "batch_size": 64}
            model = CNNClassifier(network=own, random_state=seed, **long).fit(X[pick], y[pick])
            rows.append(model.score(Xt, yt))
    return {"shifts": list(shifts), "by_shift": by_shift, "by_pool": by_pool, "by_dropout": by_dropout}


def draw(found, path):
    figure = Figure(figsize=(8.4, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, rows, title in (
        (left, found["by_shift"], "MLP and convnet"),
        (right, found["by_pool"], "Ways to shrink the maps"),
    ):
        for color, (name, runs) in zip(("#0072b2", "#d55e00", "#009e73"), rows.items(), strict=False):
            axes.plot(found["shifts"], 100 * np.mean(runs, 0), "o-", color=color, label=name)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("test digits moved by, pixels")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    left.set_ylabel("accuracy, %")
    figure.savefig(path, dpi=130)


def main(source="digits", path=PICTURE, log=None):
    # on few digits an epoch is few steps: more of them, and the share without dropout's help is smaller still
    options = {"epochs": 10, "few": 200, "batch_size": 32} if source == "digits" else {}
    found = measure(*{"digits": digits, "mnist": mnist}[source](), shifts=range(7), **options)
    draw(found, path)
    if log is not None:
        Path(log).write_text(
            json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), **found}, indent=1)
        )
    for group in ("by_shift", "by_pool", "by_dropout"):
        for name, runs in found[group].items():
            mean, spread = 100 * np.mean(runs, 0), 100 * np.std(runs, 0, ddof=1)
            print(group, name, "mean", np.round(mean, 2).tolist(), "sd", np.round(spread, 2).tolist())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
