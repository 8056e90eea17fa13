"""What each of two processes does for test_distributed.py: the same fits together and alone, then one that is killed."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

import rosenblatt as rb
from rosenblatt.errors import DeviceError, DivergedError
from rosenblatt.train.seeds import PrivateRandom

COUNT = 41  # batches of 8: the last is a single picture, fewer than there are processes
LONG = 30  # epochs of the run in which one is killed


def pictures(count=COUNT):
    rng, y = np.random.default_rng(0), np.arange(count) % 3
    X = np.clip(rng.normal(60 + 50 * y[:, None, None], 30, (count, 12, 12)), 0, 255).astype(np.uint8)
    return X, y, rng.uniform(0.1, 2, count)


def normalised():
    with PrivateRandom(3):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 8),
            nn.BatchNorm1d(8, momentum=None, affine=False), nn.Linear(8, 3),
        )  # fmt: skip


def fit(network, *, epochs=2, weighted=False, **options):
    # normalising a single picture over the batch is refused by PyTorch
    X, y, weight = pictures(COUNT if network == "lenet5" else COUNT + 1)
    plan = rb.Plan(precision="fp32", **options)
    model = rb.CNNClassifier(
        network=network,
        epochs=epochs,
        batch_size=8,
        random_state=0,
        device="cpu",
        learning_rate=1e-3,
        verbose=0,
        plan=plan,
    )
    return model.fit(X, y, weight if weighted else None)


def difference(network, *, sharded=None, **options):
    """Largest difference of the weights, and of the losses, between two processes and one."""
    many = fit(network, sharded=sharded, **options)
    one = fit(network, devices=1, **options)
    pairs = zip(one.module_.state_dict().values(), many.module_.state_dict().values(), strict=True)
    weights = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    losses = max(abs(a["loss"] / b["loss"] - 1) for a, b in zip(one.history_, many.history_, strict=True))
    return {"weights": weights, "losses": losses}


def augmented(**options):
    """Digest of the weights after a fit with everything random in it."""
    model = fit("quick", augment="shift+cutout+mixup", **options)
    return float(sum(t.double().sum() for t in model.module_.state_dict().values()))


def message(error, run):
    try:
        run()
    except error as found:
        return str(found)
    return ""


def diverge():
    X, y, _ = pictures()
    plan = rb.Plan(precision="fp32", optimizer="sgd", schedule="constant")
    rb.CNNClassifier(epochs=2, learning_rate=1e30, random_state=0, device="cpu", verbose=0, plan=plan).fit(X, y)


def unequal():
    X, y, _ = pictures()
    rows = slice(0, COUNT - dist.get_rank())
    rb.CNNClassifier(epochs=1, random_state=0, device="cpu", verbose=0).fit(X[rows], y[rows])


def read_back(folder, **options):
    """Whether a finished run comes back as it was, from a file that one process wrote."""
    plan = {"checkpoint": str(folder), "ema": 0.8, "epochs": 2, **options}
    states = [fit("lenet5", **plan).module_.state_dict().values() for _ in range(2)]
    return all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def main(folder):
    found = {
        "lenet5": difference("lenet5"),
        "weighted": difference("lenet5", weighted=True),
        "parts": difference("lenet5", accumulate=2, ema=0.9, gradient_clip=0.1, optimizer="sgd"),
        "normalised": difference(normalised(), optimizer="sgd"),
        "stopped": difference("lenet5", early_stopping=True, validation_fraction=0.3, patience=1, min_delta=1.0),
        "sharded": difference("lenet5", sharded=True, gradient_clip=0.1, optimizer="adamw", weight_decay=0.1),
        "sharded, averaged": difference(normalised(), sharded=True, ema=0.9, optimizer="sgd"),
    }
    torch.manual_seed(os.getpid())  # the global state may differ and must not matter
    first = augmented()
    found["random"] = [first, augmented()]
    every = [None, None]
    dist.all_gather_object(every, first)
    found["same in both"] = every
    found["diverged"] = message(DivergedError, diverge)
    found["unequal"] = message(DeviceError, unequal)
    found["read back"] = [read_back(folder / "whole"), read_back(folder / "pieces", sharded=True)]
    if dist.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))
    fit("lenet5", checkpoint=str(folder / "killed"), epochs=LONG)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
