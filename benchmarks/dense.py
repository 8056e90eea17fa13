"""Whole fits of dense networks beside scikit-learn, PyTorch, JAX, skorch, Keras and Lightning. Run: make bench-dense

About six minutes on two idle cores. Each contender lives in a process of its own (two thread pools in one process get in each
other's way) and they take turns: one run that is not timed, then --runs rounds. Medians, and the range of the ratios of the
rounds. Then: 16 networks in one call against one, memory, and the first call in a fresh process. --quick is a smoke test.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import numpy as np

from dense_contenders import CONTENDERS, SHAPES

ASKED = {
    "scikit-learn": (8, 4, 5, 2.5, 2), "torch": (10, 5, 5, 1.5, 1.3), "jax": (1.2, 1, 1, 0.8, 0.8), "skorch": (15, 15, 15),
    "keras": (15, 15, 15), "lightning": (15, 15, 15),
}  # fmt: skip
SLOW = ("skorch", "keras", "lightning")
PARTS = ("speed", "many", "memory", "first")


def environment(**more):
    """Without what slows a current OpenBLAS for the sake of old ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_CORETYPE")}
    kept.pop("OPENBLAS_L2_SIZE", None)
    return {**kept, **more}


class Contender:
    """A process that waits for orders."""

    def __init__(self, name):
        self.name = name
        command = [sys.executable, str(Path(__file__).with_name("dense_contenders.py")), name]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(),
        )

    def __call__(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended; run dense_contenders.py {self.name} by hand to see why.")
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def title(shape):
    return f"{shape[0]}x{shape[1]}, {'-'.join(map(str, shape[2]))}, batch {shape[3]}, {shape[5]} epochs"


def available(names):
    found = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed and left out; pip install 'rosenblatt[bench]' brings it.")
            continue
        found.append(name)
    return found


def speed(names, given):
    contenders, rows = {name: Contender(name) for name in names}, []
    for i in given.shapes:
        asked = [name for name in names if name not in SLOW or i < 3]
        for name in list(asked):
            try:
                contenders[name](do="prepare", shape=i, share=given.share)
            except RuntimeError as error:
                if name == "rosenblatt":
                    raise
                print(f"left out: {error}")
                names = [other for other in names if other != name]
                asked.remove(name)
        seconds, losses = {name: [] for name in asked}, {}
        for _ in range(given.runs):
            for name in asked:
                (answer,) = contenders[name](do="run")
                seconds[name].append(answer["seconds"])
                losses[name] = answer["loss"]
        rows.append({"shape": list(SHAPES[i][:4]), "seconds": seconds, "loss": losses})
        ours = np.array(seconds[names[0]])
        print(f"\n{title(SHAPES[i])}: {names[0]} {np.median(ours):.4f} s, loss {losses[names[0]]:.3f}")
        for name in asked[1:]:
            rounds, times = np.array(seconds[name]) / ours, np.median(seconds[name]) / np.median(ours)
            mark = ASKED[name][i]
            print(
                f"  {name:<13}{times:6.1f}x  asked {mark:>4}  {'met' if times >= mark else 'NOT met'}  "
                f"({rounds.min():.1f} to {rounds.max():.1f}; {np.median(seconds[name]):.3f} s, loss {losses[name]:.3f})",
                flush=True,
            )
    for contender in contenders.values():
        contender.__exit__()
    return rows


def many(given):
    rows = []
    print("\n16 networks in one call against one (asked: at most 4x)")
    with Contender("rosenblatt") as contender:
        for i in [i for i in given.shapes if i < 2]:
            contender(do="prepare", shape=i, share=given.share, many=True)
            rounds = [[answer["seconds"] for answer in contender(do="run")] for _ in range(given.runs)]
            one, sixteen = np.median(rounds, 0)
            rows.append({"shape": list(SHAPES[i][:4]), "rounds": rounds})
            print(
                f"  {title(SHAPES[i])}: {sixteen / one:.1f}x ({one:.4f} and {sixteen:.4f} s; 16 single fits {16 * one:.3f} s)"
            )
    return rows


def memory(names, given):
    rows = []
    print("\nmemory at the peak of a fit above the data, MiB (allowed: 3x the parameters + one batch's buffers)")
    for i in [i for i in given.shapes if i > 2]:
        rows_, features, hidden, batch, classes, _ = SHAPES[i]
        widths = [features, *hidden, classes]
        parameters = sum((a + 1) * b for a, b in pairwise(widths))
        allowed = 4 * (3 * parameters + batch * (sum(widths) + sum(widths[1:]) + classes)) / 2**20
        found = {}
        for name in [name for name in names if name not in SLOW]:
            with Contender(name) as contender:
                contender(do="prepare", shape=i, share=0)
                found[name] = contender(do="memory")
        rows.append({"shape": list(SHAPES[i][:4]), "allowed": allowed, "MiB": found})
        targets, orders = 4 * rows_ * classes / 2**20, 16 * rows_ / 2**20
        print(
            f"  {title(SHAPES[i])}: allowed {allowed:.1f}; " + ", ".join(f"{n} {v:.1f}" for n, v in found.items())
            + f" (one-hot targets are {targets:.1f} of it, the order {orders:.1f})"
        )  # fmt: skip
    return rows


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
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(NUMBA_CACHE_DIR=cache), capture_output=True, text=True, check=True
    )
    return float(done.stdout), "compiling" in done.stderr


def first(given):
    with tempfile.TemporaryDirectory() as cache:
        empty, said = first_call(cache)
        warm = [first_call(cache)[0] for _ in range(given.runs)]
    print(f"\nfirst call, seconds more than a later one: empty cache {empty:.1f} (asked 12; a line says so: {said}),")
    print(f"  warm cache {np.median(warm):.2f} ({min(warm):.2f} to {max(warm):.2f}; asked 0.7)")
    return {"empty cache": empty, "said": said, "warm cache": warm}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one run, a tenth of the epochs")
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=CONTENDERS, help="contenders")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--shapes", nargs="*", type=int, default=list(range(len(SHAPES))), choices=range(len(SHAPES)))
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args()
    given.share, given.runs = (0.1, 1) if given.quick else (1.0, given.runs)
    names = ["rosenblatt", *available([name for name in given.only if name != "rosenblatt"])]
    log = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "runs": given.runs}
    log["versions"] = {name: version(name) for name in [*names[1:], "numba", "numpy"]}
    started = time.perf_counter()
    for part in given.parts:
        log[part] = {
            "speed": lambda: speed(names, given), "many": lambda: many(given), "memory": lambda: memory(names, given),
            "first": lambda: first(given),
        }[part]()  # fmt: skip
        if given.out:
            given.out.write_text(json.dumps(log, indent=1) + "\n")
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
