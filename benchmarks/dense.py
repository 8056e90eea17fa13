"""Whole fits of dense networks beside scikit-learn's MLP and a plain PyTorch loop. Run: make bench-dense

Equal epochs, batches, Adam at 1e-3, float32, random data of the shapes named. PyTorch: resident tensors, index_select,
fused Adam. The runs of the three alternate, each after one that is not timed; medians, and the range of the ratio of runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.neural_network import MLPClassifier as Theirs

from rosenblatt import MLPClassifier

# rows, features, hidden, batch, classes, epochs
SHAPES = (
    (569, 30, (100,), 32, 2, 40),
    (1797, 64, (100,), 64, 10, 40),
    (32561, 14, (100,), 256, 2, 10),
    (60000, 784, (128,), 128, 10, 3),
    (60000, 784, (512, 256), 256, 10, 2),
)
ASKED = {"scikit-learn": (8, 4, 5, 2.5, 2), "torch": (10, 5, 5, 1.5, 1.3)}


def plain_torch(X, y, hidden, batch, classes, epochs):
    generator = torch.Generator().manual_seed(0)
    x, target, widths, layers = torch.from_numpy(X), torch.from_numpy(y), [X.shape[1], *hidden], []
    for inner, outer in pairwise(widths):
        layers += [torch.nn.Linear(inner, outer), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], classes))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    total = 0.0
    for _ in range(epochs):
        order, total = torch.randperm(len(x), generator=generator), torch.zeros(())
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            loss = torch.nn.functional.cross_entropy(model(x.index_select(0, rows)), target.index_select(0, rows))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
    return float(total) / len(x)


def contenders(X, y, hidden, batch, classes, epochs):
    options = {"hidden_layer_sizes": hidden, "batch_size": batch, "max_iter": epochs, "random_state": 0}
    options["n_iter_no_change"] = 10**6
    return {
        "rosenblatt": lambda: MLPClassifier(**options).fit(X, y).loss_,
        "scikit-learn": lambda: Theirs(**options).fit(X, y).loss_,
        "torch": lambda: plain_torch(X, y, hidden, batch, classes, epochs),
    }


def measure(shape, runs):
    rows, features, hidden, batch, classes, epochs = shape
    source = np.random.default_rng(0)
    X = source.normal(size=(rows, features)).astype(np.float32)
    y = (X[:, :classes].argmax(1) if classes > 2 else X[:, 0] > 0).astype(np.int64)
    seconds, losses = {}, {}
    for run in range(runs + 1):
        for name, fit in contenders(X, y, hidden, batch, classes, epochs).items():
            started = time.perf_counter()
            losses[name] = fit()
            if run:
                seconds.setdefault(name, []).append(time.perf_counter() - started)
    return {"shape": list(shape[:4]), "epochs": epochs, "seconds": seconds, "loss": losses}


def first_call(cache):
    """Seconds that the first small fit of a fresh process takes more than the third."""
    code = (
        "import time, warnings, numpy as np; warnings.simplefilter('ignore')\n"
        "from rosenblatt import MLPClassifier\n"
        "X = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32); y = X[:, 0] > 0; t = []\n"
        "for _ in range(3):\n    a = time.perf_counter(); MLPClassifier((8,), max_iter=2, random_state=0).fit(X, y)\n"
        "    t.append(time.perf_counter() - a)\n"
        "print(t[0] - t[2])"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": cache}
    return float(
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    log = {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "runs": given.runs, "rows": []}
    for i, shape in enumerate(SHAPES):
        row = measure(shape, given.runs)
        log["rows"].append(row)
        ours = np.array(row["seconds"]["rosenblatt"])
        said = f"{shape[0]}x{shape[1]}, {'-'.join(map(str, shape[2]))}, {shape[3]}: {np.median(ours):.3f} s"
        for name, asked in ASKED.items():
            ratio = np.array(row["seconds"][name]) / ours
            median = np.median(row["seconds"][name]) / np.median(ours)
            said += f" | {name} {median:.1f}x ({ratio.min():.1f} to {ratio.max():.1f}; asked {asked[i]})"
        print(said, {k: round(v, 4) for k, v in row["loss"].items()}, flush=True)
    with tempfile.TemporaryDirectory() as cache:
        log["first_call"] = {"empty cache": first_call(cache), "warm cache": [first_call(cache) for _ in range(5)]}
    print("first call, seconds more than a later one:", log["first_call"])
    if given.log:
        given.log.write_text(json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
