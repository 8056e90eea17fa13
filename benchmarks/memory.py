"""Peak memory of a whole fit: this library beside the plain PyTorch loop, the same network, data and optimizer.

Each fit runs in a process of its own, which measures its highest resident size (`ru_maxrss`), less what it had when
everything was imported. plain: fp32, NCHW, `DataLoader` over the same uint8 arrays, scaled batch by batch. Asked: ours is at most
the data plus 1.3 times plain's. Takes about three minutes on two cores.

python benchmarks/memory.py [--repeats 3] [--only mnist] [--out LOG.json]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

TASKS = {
    # name: (network, pictures, side, channels, classes, batch)
    "mnist": ("quick", 60_000, 28, 1, 10, 128),
    "cifar": ("resnet", 2_000, 32, 3, 10, 128),
    "alexnet": ("alexnet", 64, 224, 3, 1000, 32),
}


def arrays(name):
    _, count, side, channels, classes, _ = TASKS[name]
    X = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return X, np.arange(count) % min(classes, count)


def ours(name, X, y):
    import rosenblatt as rb

    network, *_, batch = TASKS[name]
    plan = rb.Plan(optimizer="sgd", schedule="constant")
    model = rb.CNNClassifier(
        network=network,
        epochs=1,
        batch_size=batch,
        learning_rate=1e-3,
        random_state=0,
        device="cpu",
        verbose=0,
        plan=plan,
    )
    yield
    model.fit(X, y)


def plain(name, X, y):
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    import rosenblatt as rb  # noqa: F401 - so that both processes have imported the same
    from rosenblatt.estimators.cnn_networks import build

    network, _, side, channels, _, batch = TASKS[name]
    yield
    net = build(network, channels, int(y.max()) + 1, (side, side)).train()
    data = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), batch_size=batch, shuffle=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    for xb, yb in data:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(xb.permute(0, 3, 1, 2).float() / 255), yb)
        loss.backward()
        optimizer.step()
        loss.item()


def peak():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 1024


def measure(kind, name):
    """MiB above what was there before: the imports and the arrays themselves."""
    X, y = arrays(name)
    run = {"rosenblatt": ours, "plain": plain}[kind](name, X, y)
    next(run)
    before = peak()
    for _ in run:
        continue
    print(json.dumps({"before": before, "peak": peak(), "data": X.nbytes / 2**20}))


def compare(name, repeats):
    found = {"rosenblatt": [], "plain": []}
    for _ in range(repeats):
        for kind, values in found.items():
            command = [sys.executable, __file__, "--measure", kind, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            values.append(json.loads(done.stdout))
    data = found["plain"][0]["data"]
    above = {kind: [v["peak"] - v["before"] + data for v in values] for kind, values in found.items()}
    medians = {kind: statistics.median(values) for kind, values in above.items()}
    allowed = data + 1.3 * medians["plain"]
    return {
        "data_mib": round(data, 1),
        "mib_with_data": {kind: [round(v, 1) for v in values] for kind, values in above.items()},
        "median_mib": {kind: round(value, 1) for kind, value in medians.items()},
        "whole_process_mib": {kind: round(max(v["peak"] for v in values), 1) for kind, values in found.items()},
        "allowed_mib": round(allowed, 1),
        "holds": medians["rosenblatt"] <= allowed,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=list(TASKS), action="append")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("KIND", "TASK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(*given.measure)
        return
    found = {"n": given.repeats}
    for name in given.only or TASKS:
        found[name] = compare(name, given.repeats)
        print(name, found[name], flush=True)
        if given.out:
            given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
