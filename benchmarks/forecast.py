"""Forecasts of airline passengers, sunspots and daily temperatures beside the baselines and darts' published figures.

Run: make bench-forecast (about 6 minutes on two idle cores; --seeds 1 takes four, --tasks airline half a minute).

The splits, horizons and measures are those of darts' notebook "Recurrent Neural Networks Models" (examples/04-RNN-examples):
- airline: trained before 1959, forecasts 6 months ahead from each later month, of which the sixth alone counts; MAPE.
  Published: LSTM with 20 units 2.71 %.
- sunspots: trained to 1940-10, forecasts 36 months ahead from every tenth later month, the last step alone counts. The notebook
  calls mape(forecast, truth), so errors are divided by the FORECAST; published GRU 66 %, exponential smoothing 115 %. Both
  ways are shown, the usual one without the months of zero spots.
Assumed: the data sets are the same (monthly passengers 1949 to 1960, Zurich sunspots 1749 to 1983), the published figures are
those that the notebook prints, and its first forecast stands on the month before its start.
- temperatures: daily minima in Melbourne, trained to the end of 1988, 7 days ahead from every seventh day of 1989 and 1990, all
  steps count; MAE (values near 0 make a MAPE meaningless). No published figure.

Settings are chosen on the last part of the training rows, which is printed; the test rows are scored with the chosen ones alone.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

import rosenblatt as rb

PUBLISHED = {"airline": {"darts LSTM": 2.71}, "sunspots": {"darts GRU": 66.0, "darts ETS": 115.0}}


def column(root, name):
    rows = (root / "timeseries" / f"{name}.csv").read_text().splitlines()[1:]
    dates, values = zip(*(row.replace('"', "").split(",") for row in rows if row.strip()), strict=True)
    return np.array(dates), np.array(values, dtype=float)


def circle(dates):
    """Sine and cosine of the day of the year, known beforehand."""
    days = np.array([(np.datetime64(d) - np.datetime64(d[:4] + "-01-01")).astype(int) for d in dates])
    return np.column_stack([np.sin(2 * np.pi * days / 365.25), np.cos(2 * np.pi * days / 365.25)])


def tasks(root):
    """name -> (series, known covariates, first test row, horizon, stride, last step only, settings to choose from)"""
    airline, sunspots, temperatures = (
        column(root, n) for n in ("airline-passengers", "monthly-sunspots", "daily-min-temperatures")
    )
    log = {"season": 12, "transform": "log", "cell": "lstm", "hidden_size": 20, "epochs": 150}
    sun = {"season": 132, "cell": "gru", "epochs": 15, "learning_rate": 5e-3, "batch_size": 128}
    cold = {"season": 7, "cell": "gru", "epochs": 20, "learning_rate": 5e-3, "batch_size": 128}
    return {
        "airline": (airline[1], None, 120, 6, 1, True, [
            {**log, "window": 24, "subtract": "season"}, {**log, "window": 24}, {**log, "window": 36, "subtract": "season"},
            {**log, "window": 24, "subtract": "season", "dropout": 0.2},
        ]),
        "sunspots": (sunspots[1], None, int(np.argmax(sunspots[0] == "1940-10")), 36, 10, True, [
            {**sun, "window": 144, "hidden_size": 16}, {**sun, "window": 144, "hidden_size": 16, "subtract": "season"},
            {**sun, "window": 144, "hidden_size": 32, "dropout": 0.2},
        ]),
        "temperatures": (temperatures[1], circle(temperatures[0]), int(np.argmax(temperatures[0] == "1989-01-01")), 7, 7, False, [
            {**cold, "window": 28, "hidden_size": 16}, {**cold, "window": 60, "hidden_size": 32, "dropout": 0.1},
        ]),
    }  # fmt: skip


def measures(truth, point, last):
    truth, point = (truth[:, -1:], point[:, -1:]) if last else (truth, point)
    error, there = np.abs(truth - point), np.abs(truth) > 0
    return {
        "mae": float(error.mean()),
        "mape": float(100 * (error[there] / np.abs(truth[there])).mean()),
        "by forecast": float(100 * (error / np.maximum(np.abs(point), 1e-6)).mean()),
    }


def backtest(name, task, settings, seed, y, start):
    _, known, _, horizon, stride, last, _ = task
    model = rb.Forecaster(horizon=horizon, random_state=seed, verbose=0, **settings)
    future = None if known is None else known[: len(y)]
    found = model.backtest(y, future=future, start=start, stride=stride)
    return {kind: measures(found.truth, found.point(kind), last) for kind in found.forecasts}


def choose(name, task):
    """The settings of least error on the end of the training rows; the test rows are not looked at."""
    y, _, start, horizon, _, _, options = task
    start_inside = start - max(3 * horizon, start // 5)
    key = "mape" if name == "airline" else "mae"
    scores = []
    for settings in options:
        found = backtest(name, task, settings, 0, y[:start], start_inside)
        scores.append(found["network"][key])
        print(f"  {name}: {settings} -> {key} {scores[-1]:.3f} inside the training rows", flush=True)
    return options[int(np.argmin(scores))], scores


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="airline,sunspots,temperatures")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    root = os.environ.get("ROSENBLATT_DATA")
    if not root or not (Path(root) / "timeseries").is_dir():
        raise SystemExit("ROSENBLATT_DATA names no folder with timeseries/; nothing to measure.")
    results = {}
    for name, task in tasks(Path(root)).items():
        if name not in arguments.tasks.split(","):
            continue
        started = time.perf_counter()
        settings, scores = choose(name, task)
        runs = [backtest(name, task, settings, seed, task[0], task[2]) for seed in range(arguments.seeds)]
        results[name] = {
            "settings": settings, "inside": scores, "runs": runs, "published": PUBLISHED.get(name, {}),
            "seconds": time.perf_counter() - started,
        }  # fmt: skip
        show(name, results[name])
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1))


def show(name, result):
    runs = result["runs"]
    print(f"{name}: {result['settings']}, n={len(runs)} seeds, {result['seconds']:.0f} s")
    for kind in runs[0]:
        cells = []
        for key in runs[0][kind]:
            values = [run[kind][key] for run in runs]
            spread = f" +- {np.std(values, ddof=1):.2f}" if len(values) > 1 and kind == "network" else ""
            cells.append(f"{key} {np.mean(values):.2f}{spread}")
        print(f"  {kind:<15} " + "   ".join(cells))
    for kind, value in result["published"].items():
        print(f"  {kind:<15} published {value:g} %", flush=True)


if __name__ == "__main__":
    main()
