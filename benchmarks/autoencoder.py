"""The figures of the autoencoders, each part with its peers in the same run; results are written as they come.

speed     a dense autoencoder beside the same network in a plain PyTorch loop (about 2 minutes)
anomaly   one digit held out, ten times: ROC-AUC beside PCA and an isolation forest (about 6 minutes)
digits    squared error of 30 codes on MNIST, as Hinton & Salakhutdinov 2006, beside PCA (about 14 CPU minutes)
vae       nats of statically binarised MNIST by an importance-weighted bound (about 57 CPU minutes, and 8 for the bound)

python benchmarks/autoencoder.py [speed anomaly digits vae] [--out LOG.json] [--checkpoint FOLDER] [--epochs N] [--limit N]

The binarisation is drawn once: pixel i of a picture is 1 where numpy.random.RandomState(seed).random_sample() < value / 255,
seed 0 for the 60,000 training pictures and seed 1 for the 10,000 test pictures, each in the order of the files. Training,
choice and test see nothing but that one draw. The last 10,000 training pictures are for choices (the epoch among them); the
test pictures are looked at once, at the end.
"""

import argparse
import json
import statistics
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rosenblatt as rb
from rosenblatt.data.fetch import fetch
from rosenblatt.files import versions

LOG = {}
ARGUMENTS = None


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


def plan(**more):
    folder = ARGUMENTS.checkpoint
    return rb.Plan(**more, **({} if folder is None else {"checkpoint": str(folder), "checkpoint_keep": 1}))


# ------------------------------------------------------------------------------------------------------------- digits


def digits():
    """30 codes, logistic output, the epoch of the smallest error on 10,000 training pictures that are held out.

    Convolutions with 16 channels at half the side, or, as 2006, 784-1000-500-250-30.
    """
    X, _, T, _ = mnist()
    X, T = X[: ARGUMENTS.limit], T[: ARGUMENTS.limit]
    started = time.process_time()
    widths = {"dense": (1000, 500, 250), "convolutional": (16, 256)}[ARGUMENTS.network]
    model = rb.Autoencoder(
        code_size=30, network=ARGUMENTS.network, hidden_layer_sizes=widths, activation="gelu", output="logistic",
        epochs=ARGUMENTS.epochs or 25, batch_size=ARGUMENTS.batch, learning_rate=3e-3, random_state=0, verbose=2,
        plan=plan(early_stopping=True, validation_fraction=1 / 6, patience=1000, augment=ARGUMENTS.augment),
    ).fit(X)  # fmt: skip
    seconds = time.process_time() - started
    chosen = max(row["validation_score"] for row in model.history_)
    note("digits", cpu_seconds=seconds, validation=-2 * chosen, epoch=model.best_epoch_, engine=model.engine_)
    note("digits", test=float(-model.score_samples(T).mean() / 255**2), pca_on_held_out=model.pca_error_ / 255**2)
    from sklearn.decomposition import PCA

    flat, test = X.reshape(len(X), -1) / 255, T.reshape(len(T), -1) / 255
    pca = PCA(30, random_state=0).fit(flat)
    error = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    note("digits", pca_test=float(error), hinton_2006=3.00)


# -------------------------------------------------------------------------------------------------------------- vae


def binarise(pictures, seed):
    return (np.random.RandomState(seed).random_sample(pictures.shape) < pictures / 255.0).astype(np.uint8)


def vae():
    """Residual convolutions, one stochastic layer of 40 units, the ELBO, the epoch with the best ELBO on held-out pictures."""
    X, _, T, _ = mnist()
    X, T = binarise(X, 0)[: ARGUMENTS.limit], binarise(T, 1)[: ARGUMENTS.limit]
    started = time.process_time()
    model = rb.VariationalAutoencoder(
        code_size=40, network="convolutional", hidden_layer_sizes=(24, 256), epochs=ARGUMENTS.epochs or 60, batch_size=128,
        learning_rate=2e-3, kl_warmup=0.1, random_state=0, verbose=2,
        plan=plan(early_stopping=True, validation_fraction=1 / 6, patience=1000),
    ).fit(X)  # fmt: skip
    note("vae", cpu_seconds=time.process_time() - started, epoch=model.best_epoch_, epochs=model.n_iter_)
    if ARGUMENTS.checkpoint is not None:
        model.save(Path(ARGUMENTS.checkpoint, "model.safetensors"))
    note("vae", validation_elbo=max(row["validation_score"] for row in model.history_), units=len(model.used_units()))
    bound(model, T)


def bound(model, T):
    """The ELBO of all test pictures, and the mean gain of many codes over one on every seventh of them.

    The gain varies far less between pictures than the bound does, so a seventh of the work says almost as much.
    """
    elbo = np.mean([model.score_samples(T, samples=1, random_state=seed) for seed in range(8)], 0)
    note("vae", test_elbo=float(elbo.mean()))
    started, chosen, done = time.process_time(), np.arange(len(T))[3::7], []
    for first in range(0, len(chosen), 143):
        part = chosen[first : first + 143]
        done.append(model.score_samples(T[part], samples=ARGUMENTS.samples, random_state=first) - elbo[part])
        gain = np.concatenate(done)
        nats = float(-elbo.mean() - gain.mean())
        note(
            "vae", nats=nats, bits_per_dim=nats / 784 / np.log(2), gain=float(gain.mean()),
            gain_standard_error=float(gain.std() / len(gain) ** 0.5), gain_pictures=len(gain), test_pictures=len(T),
            bound_samples=ARGUMENTS.samples, bound_cpu_seconds=time.process_time() - started,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- anomaly


def anomaly():
    """Trained without one digit, scored on 2,000 test pictures: does the error tell that digit from the others?"""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import roc_auc_score

    X, y, T, u = mnist()
    X, T = X.reshape(len(X), -1)[:12_000] / np.float32(255), T.reshape(len(T), -1)[:2000] / np.float32(255)
    y, u, found = y[:12_000], u[:2000], {"autoencoder": [], "PCA": [], "isolation forest": []}
    for digit in range(10):
        known, strange = X[y != digit], u == digit
        pca = PCA(16, random_state=0).fit(known)
        scores = {
            "autoencoder": rb.Autoencoder(
                code_size=16, hidden_layer_sizes=(256, 64), epochs=ARGUMENTS.epochs or 20, random_state=0, verbose=0
            ).fit(known).score_samples(T),
            "PCA": -np.square(T - pca.inverse_transform(pca.transform(T))).sum(1),
            "isolation forest": IsolationForest(random_state=0).fit(known).score_samples(T),
        }  # fmt: skip
        for name, score in scores.items():
            found[name].append(float(roc_auc_score(strange, -score)))
        note("anomaly", **found)
    note("anomaly", mean={name: statistics.fmean(values) for name, values in found.items()})


# ------------------------------------------------------------------------------------------------------------ speed


def plain(rows, hidden, code, epochs, batch):
    """What one writes by hand: DataLoader, Adam, fp32."""
    from torch.utils.data import DataLoader, TensorDataset

    down = list(pairwise([rows.shape[1], *hidden, code]))
    layers = [nn.Linear(*pair) for pair in down] + [nn.Linear(b, a) for a, b in reversed(down)]
    linear = (len(down) - 1, 2 * len(down) - 1)  # the code and the reconstruction
    layers = [part for i, layer in enumerate(layers) for part in ([layer] if i in linear else [layer, nn.SiLU()])]
    net, x = nn.Sequential(*layers), torch.from_numpy(rows)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * -(-len(x) // batch))
    data = DataLoader(TensorDataset(x), batch_size=batch, shuffle=True)
    for _ in range(epochs):
        total = 0.0
        for (part,) in data:
            optimizer.zero_grad()
            loss = 0.5 * (net(part) - part).square().sum(1).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
    with torch.no_grad():
        return float((net(x) - x).square().sum(1).mean())


def ours(rows, hidden, code, epochs, batch):
    model = rb.Autoencoder(
        code_size=code, hidden_layer_sizes=hidden, epochs=epochs, batch_size=batch, random_state=0, verbose=0
    )
    return model.fit(rows)


def speed():
    """The fit of this library, PCA beside it and all, against the loop alone; alternating, median of n."""
    from sklearn.datasets import load_digits

    big = mnist()[0][: min(ARGUMENTS.limit, 20_000)].reshape(-1, 784).astype(np.float32) / 255
    tasks = {
        "digits 64-64-16-2, batch 32": (load_digits().data.astype(np.float32) / 16, (64, 16), 2, 20, 32),
        "MNIST 784-128-16, batch 128": (big, (128,), 16, 2, 128),
        "MNIST 784-1000-500-250-30, batch 256": (big, (1000, 500, 250), 30, 1, 256),
    }
    clock = time.process_time if ARGUMENTS.cpu else time.perf_counter
    for name, (rows, *network) in tasks.items():
        rows = rows[: ARGUMENTS.limit]
        model, times = ours(rows, *network), {"rosenblatt": [], "PyTorch": []}
        for _ in range(ARGUMENTS.repeats):
            for who, run in (("rosenblatt", ours), ("PyTorch", plain)):
                started = clock()
                run(rows, *network)
                times[who].append(clock() - started)
        ratio = statistics.median(times["PyTorch"]) / statistics.median(times["rosenblatt"])
        note("speed", **{name: {**times, "times_faster": ratio, "engine": model.engine_}})


PARTS = {"speed": speed, "anomaly": anomaly, "digits": digits, "vae": vae}


def main():
    global ARGUMENTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["speed", "anomaly"], help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--checkpoint", type=Path, help="folder from which a stopped run of digits or vae goes on")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--samples", type=int, default=1000, help="codes of the bound")
    parser.add_argument("--network", choices=("dense", "convolutional"), default="convolutional", help="of digits")
    parser.add_argument("--augment", default="none", help="of digits")
    parser.add_argument("--batch", type=int, default=128, help="of digits")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=int, default=60_000, help="pictures, for a trial")
    parser.add_argument("--cpu", action="store_true", help="CPU time instead of wall time, on a busy machine")
    ARGUMENTS = parser.parse_args()
    for part in ARGUMENTS.parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
