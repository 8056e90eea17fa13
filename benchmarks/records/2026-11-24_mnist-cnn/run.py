"""MNIST test error of CNNClassifier's networks over seeds; needs ROSENBLATT_DATA with the folder mnist.

ROSENBLATT_DATA=... python benchmarks/records/2026-11-24_mnist-cnn/run.py quick 5
"""

import gzip
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import rosenblatt as rb
from rosenblatt.files import versions

SETTINGS = {
    "quick": {"network": "quick"},
    "lenet5": {"network": "lenet5", "epochs": 20, "plan": rb.Plan(augment="shift")},
}


def idx(name, offset):
    path = Path(os.environ["ROSENBLATT_DATA"]) / "mnist" / name
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[offset:]


def main(network, seeds):
    x, y = idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("train-labels-idx1-ubyte.gz", 8)
    xt, yt = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("t10k-labels-idx1-ubyte.gz", 8)
    log = Path(__file__).with_name(f"log-{network}.json")
    runs = []
    for seed in range(seeds):
        started = time.perf_counter()
        model = rb.CNNClassifier(**SETTINGS[network], random_state=seed, verbose=0).fit(x, y)
        seconds = time.perf_counter() - started
        run = {"seed": seed, "accuracy": model.score(xt, yt), "seconds": seconds, "precision": model.precision_}
        runs.append(run)
        print(run, flush=True)
        scores = [r["accuracy"] for r in runs]
        summary = {
            "n": len(runs),
            "mean": float(np.mean(scores)),
            "sd": float(np.std(scores, ddof=1)) if len(runs) > 1 else None,
        }
        settings = {key: str(value) for key, value in SETTINGS[network].items()}
        log.write_text(
            json.dumps({"settings": settings, **summary, "runs": runs, "versions": versions()}, indent=1) + "\n"
        )
    print(summary)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
