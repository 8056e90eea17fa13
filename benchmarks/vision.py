"""Convolutional networks beside plain PyTorch, skorch, Lightning and ResNet-18; about 20 minutes on two idle cores.

step     ms a training step: plain (fp32, NCHW, `DataLoader` over the same arrays, unfused Adam, `.item()` a batch), tuned
         (channels_last, bf16 where the processor has it, resident arrays, `index_select`, fused Adam), rosenblatt (the loop
         behind `CNNClassifier`, with normalisation in the step); the same network in each, alternating.
fit      a whole fit of one epoch of MNIST, the same network ("quick", and `small_network`): rosenblatt, skorch and Lightning as
         their tutorials write it.
mnist    one epoch from arrays, seconds and test accuracy: ten seeds of `small_network` in `CNNClassifier`, three of "quick";
         one epoch of the network of PyTorch's own example, whose recipe is 14.
cifar    the best within 120 s on 10,000 photographs: `network="airbench"`, epochs fitted to the time by a short run before;
         ResNet-18 by a plain loop in the same time, in its form for small pictures and in its published one.

python benchmarks/vision.py [--only step] [--repeats 3] [--seeds 3] [--seconds 120] [--tiny] [--out LOG.json]

The peers run in processes of their own, with ``--peers PYTHON`` as their interpreter (the extra "bench" holds them).
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rosenblatt import CNNClassifier
from rosenblatt.data.fetch import fetch
from rosenblatt.data.resident import Resident
from rosenblatt.files import versions
from rosenblatt.losses.classification import cross_entropy
from rosenblatt.models.airbench import Airbench
from rosenblatt.models.alexnet import AlexNet
from rosenblatt.models.quick import Quick
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_precision
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.supervised import supervised

TASKS = {
    # name: (network, channels, side, classes, batch, batches an epoch)
    "mnist": (lambda: Quick(1, 10, side=28), 1, 28, 10, 128, 60),
    "small": (lambda: small_network(0), 1, 28, 10, 128, 60),
    "cifar": (lambda: Airbench(3, 10, side=32), 3, 32, 10, 256, 8),
    "alexnet": (lambda: AlexNet(3, 1000), 3, 224, 1000, 32, 4),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(make):
    with PrivateRandom(0):
        return make()


def finish():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


# ---------------------------------------------------------------------------------------------------------- step


def plain(make, x, y, batch):
    net = build(make).to(DEVICE).train()
    data = DataLoader(TensorDataset((x.float() - 128) / 64, y), batch_size=batch, shuffle=True)
    optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=1e-3, foreach=False)

    def epoch():
        total = 0.0
        for xb, yb in data:
            xb, yb = xb.to(DEVICE), yb.to(DEVICE)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(xb), yb)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def tuned(make, x, y, batch):
    net = build(make).to(DEVICE, memory_format=torch.channels_last).train()
    x, y = ((x.float() - 128) / 64).to(DEVICE, memory_format=torch.channels_last), y.to(DEVICE)
    optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=1e-3, fused=True)

    def epoch():
        for rows in torch.randperm(len(x), device=DEVICE).split(batch):
            xb, yb = x.index_select(0, rows).contiguous(memory_format=torch.channels_last), y.index_select(0, rows)
            optimizer.zero_grad(set_to_none=True)
            with autocast(DEVICE, choose_precision("auto", DEVICE)):
                output = net(xb)
            F.cross_entropy(output.float(), yb).backward()
            optimizer.step()
        finish()

    return epoch


def ours(make, x, y, batch):
    net = build(make).to(DEVICE, memory_format=torch.channels_last)
    data = Resident(x, y, device=DEVICE, batch_size=batch, generator=torch.Generator().manual_seed(0))
    plan = Plan(optimizer="adam").over(STANDARD)

    def prepare(xb):
        return ((xb.float() - 128) / 64).contiguous(memory_format=torch.channels_last)

    records = supervised(net, data, cross_entropy, plan=plan, epochs=10_000, learning_rate=1e-3, prepare=prepare)
    return lambda: next(records).seconds


def compare(name, repeats, tiny):
    make, channels, side, classes, batch, count = TASKS[name]
    batch, count = (8, 2) if tiny else (batch, count)
    source = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (batch * count, channels, side, side), generator=source, dtype=torch.uint8)
    y = torch.randint(0, classes, (batch * count,), generator=source)
    epochs = {kind: start(make, x, y, batch) for kind, start in LOOPS.items()}
    wall, cpu = {kind: [] for kind in epochs}, {kind: [] for kind in epochs}
    for epoch in epochs.values():  # the first epoch fills caches and plans
        epoch()
    for _ in range(repeats):
        for kind, epoch in epochs.items():
            started, busy = time.perf_counter(), time.process_time()
            inner = epoch()  # ours says itself what an epoch took: the copy of the weights before it is once an epoch
            taken = inner if kind == "rosenblatt" else time.perf_counter() - started
            wall[kind].append(1000 * taken / count)
            cpu[kind].append(1000 * (time.process_time() - busy) / count)
    middle = {kind: round(statistics.median(values), 2) for kind, values in wall.items()}
    busy = {kind: statistics.median(values) for kind, values in cpu.items()}
    return {
        "batch": batch,
        "steps": count,
        "parameters": sum(p.numel() for p in build(make).parameters()),
        "ms_a_step": wall,
        "median_ms": middle,
        "against_plain": round(middle["plain"] / middle["rosenblatt"], 2),
        "against_tuned": round(middle["tuned"] / middle["rosenblatt"], 2),
        "against_plain_by_processor_time": round(busy["plain"] / busy["rosenblatt"], 2),
        "against_tuned_by_processor_time": round(busy["tuned"] / busy["rosenblatt"], 2),
    }


LOOPS = {"plain": plain, "tuned": tuned, "rosenblatt": ours}


def step(given):
    found = {}
    for name in TASKS:
        found[name] = compare(name, given.repeats, given.tiny)
        said = {key: value for key, value in found[name].items() if key not in ("ms_a_step", "parameters", "steps")}
        say("step", name, **said)
    return found


# ----------------------------------------------------------------------------------------------------------- fit


def digits(tiny):
    data = fetch("mnist")
    rows = slice(0, 2000 if tiny else None)
    return data.X[rows, ..., 0], data.y[rows], data.X_test[rows, ..., 0], data.y_test[rows]


NETWORKS = {"quick": lambda: build(lambda: Quick(1, 10, side=28)), "small": lambda: small_network(0)}


def fit_rosenblatt(network, X, y, Xt, yt):
    started = time.perf_counter()
    chosen = "quick" if network == "quick" else NETWORKS[network]()
    model = CNNClassifier(network=chosen, epochs=1, random_state=0, verbose=0).fit(X, y)
    return time.perf_counter() - started, model.score(Xt, yt)


def fit_skorch(network, X, y, Xt, yt):
    """As in skorch's MNIST tutorial: its defaults (a fifth held out), Adam, a table printed an epoch."""
    from skorch import NeuralNetClassifier

    def scaled(pictures):
        return ((pictures.astype(np.float32) - 33.3) / 78.6)[:, None]

    net = NeuralNetClassifier(
        NETWORKS[network](), criterion=nn.CrossEntropyLoss, max_epochs=1, lr=0.002,
        optimizer=torch.optim.Adam, batch_size=128, iterator_train__shuffle=True,
    )  # fmt: skip
    started = time.perf_counter()
    net.fit(scaled(X), y.astype(np.int64))
    return time.perf_counter() - started, net.score(scaled(Xt), yt)


def fit_lightning(network, X, y, Xt, yt):
    """As in Lightning's introduction: a LightningModule that logs its loss, a DataLoader, a Trainer with its defaults."""
    import tempfile

    import lightning

    class Digits(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = NETWORKS[network]()

        def training_step(self, batch, _):
            x, y = batch
            loss = F.cross_entropy(self.net(x), y)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=2e-3)

    def scaled(pictures):
        return ((torch.from_numpy(pictures).float() - 33.3) / 78.6)[:, None]

    model = Digits()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        data = DataLoader(TensorDataset(scaled(X), torch.from_numpy(y)), batch_size=128, shuffle=True)
        lightning.Trainer(max_epochs=1, default_root_dir=folder).fit(model, data)
        seconds = time.perf_counter() - started
    with torch.no_grad():
        model.eval()
        right = [model.net(part).argmax(1) for part in scaled(Xt).split(1000)]
    return seconds, float((torch.cat(right).numpy() == yt).mean())


FITS = {"rosenblatt": fit_rosenblatt, "skorch": fit_skorch, "lightning": fit_lightning}


def fit(given):
    return {network: fits_of(network, given) for network in NETWORKS}


def fits_of(network, given):
    found = {kind: {"seconds": [], "accuracy": []} for kind in FITS}
    for _ in range(given.repeats):
        for kind in FITS:
            python = sys.executable if kind == "rosenblatt" else given.peers
            seconds, accuracy = in_process(python, "fit", f"{kind}:{network}", given.tiny)
            found[kind]["seconds"].append(seconds)
            found[kind]["accuracy"].append(accuracy)
            say("fit", f"{network}, {kind}", seconds=round(seconds, 2), accuracy=accuracy)
    middle = {kind: statistics.median(row["seconds"]) for kind, row in found.items()}
    found["times_as_fast"] = {kind: round(value / middle["rosenblatt"], 2) for kind, value in middle.items()}
    say("fit", f"{network}, times as fast as", **found["times_as_fast"])
    return found


def in_process(python, part, kind, tiny):
    """Run one peer by itself; its last line of output is the answer."""
    command = [python, __file__, "--one", part, kind, *(["--tiny"] if tiny else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{kind}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


# --------------------------------------------------------------------------------------------------------- mnist


def small_network(seed):
    """Three convolutions without padding, pooling before the rectifier, a dense layer: a fifth of the work of "quick".

    Chosen among eight such networks by accuracy on 10,000 training digits and by seconds.
    """
    with PrivateRandom(seed):
        return nn.Sequential(
            nn.Conv2d(1, 16, 5, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(576, 128), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(128, 10),
        )  # fmt: skip


def example_network():
    """The network of PyTorch's own MNIST example, up to its softmax."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip


def example(X, y, Xt, yt):
    """One epoch of that example: Adadelta at 1, batches of 64, `ToTensor` and `Normalize` of each picture by itself."""

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, i):
            x = torch.from_numpy(X[i])[None].float().div(255)
            return x.sub(0.1307).div(0.3081), int(y[i])

    net = build(example_network).train()
    data, optimizer = (
        DataLoader(Pictures(), batch_size=64, shuffle=True),
        torch.optim.Adadelta(net.parameters(), lr=1.0),
    )
    started = time.perf_counter()
    for xb, yb in data:
        optimizer.zero_grad()
        F.nll_loss(F.log_softmax(net(xb), 1), yb).backward()
        optimizer.step()
    seconds = time.perf_counter() - started
    x = ((torch.from_numpy(Xt).float() / 255 - 0.1307) / 0.3081)[:, None]
    with torch.no_grad():
        net.eval()
        said = torch.cat([net(part).argmax(1) for part in x.split(1000)]).numpy()
    return seconds, float((said == yt).mean())


def mnist(given):
    data, found = digits(given.tiny), {}
    found["small"] = seeds_of(2 if given.tiny else 10, "small", *data)
    found["quick"] = seeds_of(1 if given.tiny else 3, "quick", *data)
    one, accuracy = in_process(sys.executable, "mnist", "example", given.tiny)
    found["example"] = {"seconds_an_epoch": one, "accuracy_after_one": accuracy, "of_epochs": 14}
    say("mnist", "PyTorch's example", **found["example"])
    return found


def seeds_of(count, name, X, y, Xt, yt):
    rows = []
    for seed in range(count):
        chosen = {"network": small_network(seed), "learning_rate": 1.5e-2} if name == "small" else {"network": name}
        started = time.perf_counter()
        model = CNNClassifier(epochs=1, random_state=seed, verbose=0, **chosen).fit(X, y)
        rows.append((time.perf_counter() - started, model.score(Xt, yt)))
        say("mnist", f"{name}, seed {seed}", seconds=round(rows[-1][0], 2), accuracy=rows[-1][1])
    seconds, scores = zip(*rows, strict=True)
    said = {**spread(scores), "median_seconds": round(statistics.median(seconds), 2)}
    say("mnist", name, **said)
    return {"seconds": seconds, "accuracy": scores, **said}


def spread(scores):
    return {"mean": round(statistics.mean(scores), 5), "sd": round(statistics.stdev(scores), 5) if scores[1:] else None}


# --------------------------------------------------------------------------------------------------------- cifar


class BasicBlock(nn.Module):
    def __init__(self, wide_in, wide_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide_out)
        self.conv2 = nn.Conv2d(wide_out, wide_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide_out)
        self.down = nn.Sequential()
        if stride > 1 or wide_in != wide_out:
            self.down = nn.Sequential(nn.Conv2d(wide_in, wide_out, 1, stride, bias=False), nn.BatchNorm2d(wide_out))

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.down(x))


def resnet18(stem):
    """He et al. 2015, table 1; ``stem`` "published" (7 x 7 in steps of two, pooling) or "small" (3 x 3)."""
    first = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    if stem == "published":
        first = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    parts, wide_in = [], 64
    for number, wide in enumerate((64, 128, 256, 512)):
        parts += [BasicBlock(wide_in, wide, 2 if number else 1), BasicBlock(wide, wide, 1)]
        wide_in = wide
    return nn.Sequential(*first, *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def resnet_within(seconds, stem, X, y, Xt, yt):
    """A plain loop (fp32, NCHW, SGD, one cycle over the time, crops and flips) that stops when the time is over."""
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)))

    def scaled(pictures):
        return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / deviation

    with PrivateRandom(0):
        net, started, done = resnet18(stem).train(), time.perf_counter(), 0
        data = DataLoader(TensorDataset(scaled(X), torch.from_numpy(y)), batch_size=128, shuffle=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
        while (share := (time.perf_counter() - started) / seconds) < 1:
            for xb, yb in data:
                share = (time.perf_counter() - started) / seconds
                if share >= 1:
                    break
                optimizer.param_groups[0]["lr"] = 0.1 * min(share / 0.2, (1 - share) / 0.8)
                top, left = torch.randint(0, 9, (2,)).tolist()  # one place a batch, flips of the whole batch: cheap
                xb = F.pad(xb, (4,) * 4)[:, :, top : top + 32, left : left + 32]
                xb = xb.flip(3) if torch.rand(()) < 0.5 else xb
                optimizer.zero_grad()
                F.cross_entropy(net(xb), yb).backward()
                optimizer.step()
                done += len(xb)
        taken = time.perf_counter() - started
        net.eval()
        with torch.no_grad():
            said = torch.cat([net(part).argmax(1) for part in scaled(Xt).split(500)]).numpy()
    return taken, float((said == yt).mean()), done / len(X)


def photographs(tiny):
    data = fetch("cifar10-subset")
    every = 20 if tiny else 1  # ordered by class
    return data.X[::every], data.y[::every], data.X_test[::every], data.y_test[::every]


def epochs_within(seconds, X, y):
    """Epochs of "airbench" that fit into the time, from the second epoch of a run on a part of the data."""
    part = np.arange(len(X))[:: max(1, len(X) // 2560)]
    model = CNNClassifier(network="airbench", batch_size=BATCH, epochs=3, random_state=0, verbose=0).fit(
        X[part], y[part]
    )
    an_epoch = min(row["seconds"] for row in model.history_) * len(X) / len(part)
    return max(1, int(0.95 * seconds / an_epoch))


BATCH = 256


def cifar(given):
    X, y, Xt, yt = photographs(given.tiny)
    epochs = epochs_within(given.seconds, X, y)
    rows = []
    for seed in range(given.seeds):
        started = time.perf_counter()
        model = CNNClassifier(network="airbench", batch_size=BATCH, epochs=epochs, random_state=seed, verbose=0)
        model.fit(X, y)
        rows.append((time.perf_counter() - started, model.score(Xt, yt)))
        say("cifar", f"airbench, seed {seed}", epochs=epochs, seconds=round(rows[-1][0], 1), accuracy=rows[-1][1])
    seconds, scores = zip(*rows, strict=True)
    found = {"epochs": epochs, "seconds": seconds, "accuracy": scores, **spread(scores)}
    say("cifar", "airbench", **spread(scores))
    for stem in ("small", "published"):
        taken, accuracy, passes = in_process(sys.executable, "cifar", f"{stem}:{given.seconds}", given.tiny)
        found[f"resnet18 {stem}"] = {"seconds": taken, "accuracy": accuracy, "epochs": passes}
        say("cifar", f"ResNet-18, {stem} stem", seconds=round(taken, 1), accuracy=accuracy, epochs=round(passes, 1))
    return found


# ---------------------------------------------------------------------------------------------------------- main


def say(part, name, **values):
    print(f"{part:6s} {name}: " + ", ".join(f"{key} {value}" for key, value in values.items()), flush=True)


def one(part, kind, tiny):
    if part == "fit":
        kind, _, network = kind.partition(":")
        return FITS[kind](network, *digits(tiny))
    if part == "mnist":
        return example(*digits(tiny))
    stem, _, seconds = kind.partition(":")
    return resnet_within(float(seconds), stem, *photographs(tiny))


PARTS = {"step": step, "fit": fit, "mnist": mnist, "cifar": cifar}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(PARTS), action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--tiny", action="store_true", help="a smoke test: small data, no figure of it counts")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.one:
        print(json.dumps(one(*given.one, given.tiny)))
        return
    found = {"device": str(DEVICE), "threads": torch.get_num_threads(), "precision": choose_precision("auto", DEVICE)}
    found |= {"versions": versions(), "n": given.repeats}
    for name in given.only or PARTS:
        found[name] = PARTS[name](given)
        if given.out:  # as it goes: a stopped run leaves what it has
            found["peak_resident_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
