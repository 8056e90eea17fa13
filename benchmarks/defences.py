"""What the defences bring on MNIST, judged by attacks that training has not seen; results are written as they come.

train      adversarial training at linf 0.3: CPU and wall time, clean accuracy (10,000 test digits), robust accuracy (Ensemble,
           on the first test digits); then attacks aimed at the network's own window, which might hide gradients
smoothing  training with noise of 0.25 and of 0.5, certified accuracy by radius (the first test digits), and attacks on the proofs

python benchmarks/defences.py train|smoothing [--out LOG.json] [--count N] [--draws N] [--seed N] [--epochs N] [--model FOLDER]

5,000 training digits choose the epoch (by accuracy under ten steps of attack); test digits are looked at once, at the end.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import rosenblatt as rb
from rosenblatt.attacks import PGD, Ensemble, Smoothed, Square
from rosenblatt.data.fetch import fetch
from rosenblatt.files import versions
from rosenblatt.report.robustness import wilson

EPS = 0.3
LOG = {}


def note(part, **numbers):
    """Keep a result, print it, and write the file anew."""
    LOG.setdefault(part, {}).update(numbers)
    print(part, json.dumps(numbers), flush=True)
    if ARGUMENTS.out is not None:
        ARGUMENTS.out.write_text(
            json.dumps({"versions": versions(), "threads": torch.get_num_threads(), **LOG}, indent=1)
        )


def mnist():
    data = fetch("mnist")
    return data.X[..., 0], data.y, data.X_test[..., 0], data.y_test


class Straight(torch.autograd.Function):
    """The window, whose backward pass is that of its steep part everywhere (Athalye et al. 2018, section 4.1)."""

    @staticmethod
    def forward(ctx, x, window):
        ctx.wide = (window.high - window.low).clamp_min(0.05).view(1, -1, 1, 1)
        return window(x)

    @staticmethod
    def backward(ctx, g):
        return g / ctx.wide, None


def straight(model):
    """The network as a module on pixels of 0 to 1, whose window passes gradients everywhere."""
    module = model.module_

    class Through(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rest = torch.nn.Sequential(module.features, module.summary, torch.nn.Flatten(1), module.output)

        def forward(self, x):
            return self.rest(Straight.apply(x, module.window))

    return Through().eval()


def train():
    X, y, T, u = mnist()
    plan = rb.Plan(
        defence=ARGUMENTS.defence, early_stopping=True, validation_fraction=1 / 12, patience=1000, precision="fp32"
    )
    wall, cpu = time.perf_counter(), time.process_time()
    model = rb.CNNClassifier(
        network="robust", epochs=ARGUMENTS.epochs, random_state=ARGUMENTS.seed, verbose=2, plan=plan
    ).fit(X, y)
    note(
        "train", seed=ARGUMENTS.seed, defence=str(plan.defence), cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall, epoch=model.best_epoch_, epochs=model.n_iter_,
        validation=max(row["validation_score"] for row in model.history_),
    )  # fmt: skip
    if ARGUMENTS.model is not None:
        model.save(Path(ARGUMENTS.model, f"robust-{ARGUMENTS.seed}.safetensors"))
    judge(model, T, u)


def judge(model, T, u):
    note("judged", clean=float(model.score(T, u)), digits=ARGUMENTS.count)
    few, labels = T[: ARGUMENTS.count], u[: ARGUMENTS.count]
    x, broken = torch.from_numpy(few / np.float32(255))[:, None], np.zeros(len(few), bool)
    attacks = {
        "straight PGD, 100 steps, 3 restarts": (PGD(eps=EPS, steps=100, restarts=3), straight(model), x, labels),
        "straight PGD, margin, 100 steps of 0.01": (
            PGD(eps=EPS, steps=100, step_size=0.01, objective="margin"), straight(model), x, labels,
        ),
        "PGD, 100 steps, 3 restarts": (PGD(eps=EPS, steps=100, restarts=3), model, few, labels),
        "Square, 5,000 queries": (Square(eps=EPS, queries=5000), model, few, labels),
        "Ensemble": (Ensemble(eps=EPS), model, few, labels),
    }  # fmt: skip
    for name, (attack, victim, inputs, answers) in attacks.items():
        started = time.process_time()
        found = attack(victim, inputs, answers)
        broken |= found.success | ~found.correct
        held = int((found.correct & ~found.success).sum())
        note("judged", **{name: held / len(few), f"{name}: interval": wilson(held, len(few)),
                          f"{name}: CPU seconds": time.process_time() - started})  # fmt: skip
    note("judged", **{"all of them together": float((~broken).mean())})


def smoothing():
    X, y, T, u = mnist()
    for sigma in (0.25, 0.5):
        started = time.process_time()
        plan = rb.Plan(defence=f"noise,eps={sigma}")
        model = rb.CNNClassifier(
            network="quick", epochs=ARGUMENTS.epochs, random_state=ARGUMENTS.seed, verbose=2, plan=plan
        ).fit(X, y)
        few, labels, seconds = T[: ARGUMENTS.count], u[: ARGUMENTS.count], time.process_time() - started
        started = time.process_time()
        smoothed = Smoothed(model, sigma=sigma)
        made = smoothed.certify(few, labels, draws=ARGUMENTS.draws)
        curve = {f"{eps:g}": made.accuracy_at(eps) for eps in np.arange(0, 3.9 * sigma, 0.25)}
        note(f"sigma {sigma:g}", training_cpu_seconds=seconds, clean=float(model.score(T, u)), digits=len(few),
             draws=ARGUMENTS.draws, certified=curve, certify_cpu_seconds=time.process_time() - started)  # fmt: skip
        part = slice(None, 100)
        some = smoothed.certify(few[part], draws=ARGUMENTS.draws)
        note(f"sigma {sigma:g}", proofs=int(some.proven.sum()), refuted=int(smoothed.attack(few[part], some).sum()))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("train", "smoothing"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path, help="folder in which the trained network is kept")
    parser.add_argument("--count", type=int, default=1000, help="test digits")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--defence", default=f"pgd,eps={EPS},steps=5,ramp=0.15")
    return parser.parse_args()


if __name__ == "__main__":
    ARGUMENTS = parse()
    {"train": train, "smoothing": smoothing}[ARGUMENTS.part]()
