"""Training step of three convnets: this library, plain PyTorch, and PyTorch tuned by an expert; the same network in each.

plain: fp32, NCHW, `DataLoader` over the same arrays, unfused optimizer, `.item()` a batch for the running loss.
tuned: channels_last, bf16 autocast, the arrays resident, `index_select`, fused optimizer.
rosenblatt: the loop behind `CNNClassifier` (`train.supervised` on `data.Resident`), with normalisation in the step.

python benchmarks/vision.py [--repeats 5] [--only mnist] [--out LOG.json]
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rosenblatt.data.resident import Resident
from rosenblatt.files import versions
from rosenblatt.losses.classification import cross_entropy
from rosenblatt.models.alexnet import AlexNet
from rosenblatt.models.quick import Quick
from rosenblatt.models.resnet import ResNet
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_precision
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.supervised import supervised

TASKS = {
    # name: (network, channels, side, classes, batch, batches an epoch)
    "mnist": (lambda: Quick(1, 10, side=28), 1, 28, 10, 128, 60),
    "cifar": (lambda: ResNet(3, 10, side=32), 3, 32, 10, 128, 12),
    "alexnet": (lambda: AlexNet(3, 1000), 3, 224, 1000, 32, 2),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(make):
    with PrivateRandom(0):
        return make()


def finish():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def plain(make, x, y, batch):
    net = build(make).to(DEVICE).train()
    data = DataLoader(TensorDataset((x.float() - 128) / 64, y), batch_size=batch, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, foreach=False)

    def epoch():
        total = 0.0
        for xb, yb in data:
            xb, yb = xb.to(DEVICE), yb.to(DEVICE)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(xb), yb)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def tuned(make, x, y, batch):
    net = build(make).to(DEVICE, memory_format=torch.channels_last).train()
    x, y = ((x.float() - 128) / 64).to(DEVICE, memory_format=torch.channels_last), y.to(DEVICE)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def epoch():
        for rows in torch.randperm(len(x), device=DEVICE).split(batch):
            xb, yb = x.index_select(0, rows).contiguous(memory_format=torch.channels_last), y.index_select(0, rows)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE.type, torch.bfloat16):
                output = net(xb)
            nn.functional.cross_entropy(output.float(), yb).backward()
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


def compare(name, repeats):
    make, channels, side, classes, batch, count = TASKS[name]
    source = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (batch * count, channels, side, side), generator=source, dtype=torch.uint8)
    y = torch.randint(0, classes, (batch * count,), generator=source)
    steps = {"plain": plain, "tuned": tuned, "rosenblatt": ours}
    epochs = {kind: start(make, x, y, batch) for kind, start in steps.items()}
    times = {kind: [] for kind in epochs}
    for epoch in epochs.values():  # the first epoch fills caches and plans
        epoch()
    for _ in range(repeats):
        for kind, epoch in epochs.items():
            started = time.perf_counter()
            inner = epoch()
            times[kind].append((inner if kind == "rosenblatt" else time.perf_counter() - started) / count)
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    return {
        "batch": batch,
        "steps": count,
        "parameters": sum(p.numel() for p in build(make).parameters()),
        "seconds_a_step": times,
        "median_ms": {kind: round(1000 * value, 2) for kind, value in medians.items()},
        "against_plain": round(medians["plain"] / medians["rosenblatt"], 2),
        "against_tuned": round(medians["tuned"] / medians["rosenblatt"], 2),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=list(TASKS), action="append")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = {"device": str(DEVICE), "threads": torch.get_num_threads(), "precision": choose_precision("auto", DEVICE)}
    found |= {"versions": versions(), "n": given.repeats}
    for name in given.only or TASKS:
        found[name] = compare(name, given.repeats)
        shown = {key: found[name][key] for key in ("median_ms", "against_plain", "against_tuned")}
        print(name, shown, flush=True)
    found["peak_resident_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
