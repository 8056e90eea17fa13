"""The matrix products of the dense shapes: BLAS as the engine calls it, loops of our own, torch.mm; and fits by shares.

Run: python benchmarks/products.py (a minute on an idle machine). One thread each for the products; best of 7.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from numba import njit
from threadpoolctl import threadpool_limits

from dense_contenders import SHAPES, data, options_of
from rosenblatt import MLPClassifier
from rosenblatt.backprop import engine

FAST = {"contract", "reassoc", "arcp", "nsz"}


@njit(nogil=True, error_model="numpy")
def blas(a, b, out, repeat):
    for _ in range(repeat):
        np.dot(a, b, out)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def loops(a, b, out, repeat):
    """Two rows and four terms at a time, so that what is loaded is used twice."""
    rows, inner = a.shape
    for _ in range(repeat):
        out[:] = 0
        for i in range(0, rows - 1, 2):
            first, second = out[i], out[i + 1]
            for p in range(0, inner - 3, 4):
                x0, x1, x2, x3 = a[i, p], a[i, p + 1], a[i, p + 2], a[i, p + 3]
                y0, y1, y2, y3 = a[i + 1, p], a[i + 1, p + 1], a[i + 1, p + 2], a[i + 1, p + 3]
                b0, b1, b2, b3 = b[p], b[p + 1], b[p + 2], b[p + 3]
                for j in range(first.size):
                    first[j] += x0 * b0[j] + x1 * b1[j] + x2 * b2[j] + x3 * b3[j]
                    second[j] += y0 * b0[j] + y1 * b1[j] + y2 * b2[j] + y3 * b3[j]
            for p in range(inner - inner % 4, inner):
                for j in range(first.size):
                    first[j] += a[i, p] * b[p, j]
                    second[j] += a[i + 1, p] * b[p, j]


def torch_mm(a, b, out, repeat):
    a, b, out = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    for _ in range(repeat):
        torch.mm(a, b, out=out)


def best(function, *arguments):
    function(*arguments)
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        function(*arguments)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def products(quick):
    torch.set_num_threads(1)
    source, rows = np.random.default_rng(0), []
    print("product (forward of the first layer, its gradient)   GFLOP/s: BLAS  own loops  torch.mm")
    for _, features, hidden, batch, _, _ in SHAPES:
        for m, k, n in ((batch, features, hidden[0]), (features, batch, hidden[0])):
            a, b = (source.normal(size=s).astype(np.float32) for s in ((m, k), (k, n)))
            out, speeds = np.zeros((m, n), np.float32), []
            repeat = 2 if quick else max(2, int(2e8 / (m * k * n)))
            for function in (blas, loops, torch_mm):
                with threadpool_limits(1, "blas"):
                    speeds.append(2e-9 * m * k * n * repeat / best(function, a, b, out, repeat))
            rows.append({"product": [m, k, n], "blas": speeds[0], "loops": speeds[1], "torch": speeds[2]})
            print(f"{m:>5} x {k:>4} x {n:>4} {speeds[0]:9.0f} {speeds[1]:9.0f} {speeds[2]:9.0f}", flush=True)
    return rows


def shares(quick):
    rows = []
    print("\nwhole fits by the number of shares of a batch, seconds (median of 5)")
    for shape in SHAPES[:3] if quick else SHAPES:
        X, y = data(shape)
        options = {**options_of(shape), "max_iter": 1 if quick else shape[5]}
        found = {}
        for count in (1, 2):
            engine.threads_for = lambda shapes, batch, count=count: count
            MLPClassifier(**options).fit(X, y)
            seconds = []
            for _ in range(1 if quick else 5):
                started = time.perf_counter()
                MLPClassifier(**options).fit(X, y)
                seconds.append(time.perf_counter() - started)
            found[count] = float(np.median(seconds))
        rows.append({"shape": list(shape[:4]), "seconds": found})
        print(
            f"{shape[0]}x{shape[1]}, {shape[2]}, {shape[3]}: " + ", ".join(f"{n}: {s:.4f}" for n, s in found.items()),
            flush=True,
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    log = {"products": products(given.quick), "shares": shares(given.quick)}
    if given.out:
        given.out.write_text(json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
