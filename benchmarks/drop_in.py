"""Our MLP and Perceptron beside scikit-learn's: the same data, splits, parameters and seeds. Run: make bench

Six data sets, ten seeds; of each seed a new split (a fifth held out, stratified for classes), features standardised on the
training rows. Adult and California come from ROSENBLATT_DATA; where it lacks them they are left out by name.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import sklearn
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Perceptron as TheirPerceptron
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import StandardScaler

import rosenblatt as rb
from rosenblatt.data.fetch import fetch
from rosenblatt.data.recipe import learn_recipe
from rosenblatt.errors import FetchError

SETS = ("digits", "breast-cancer", "wine", "diabetes", "adult", "california")
# the large tables stop earlier, for both alike, so that the whole takes minutes
EPOCHS = {"adult": 20, "california": 30}


def matrix(name):
    """Features as float64 (N, D), targets, whether they are classes."""
    import pyarrow as pa

    data = fetch(name, split="train") if name == "adult" else fetch(name)
    X, classes = data.X, data.target_names is not None
    if not isinstance(X, np.ndarray):
        column = pa.chunked_array([pa.array(data.y)])
        task = "classification" if classes else "regression"
        X = learn_recipe(X, column, target_name="y", task=task).transform(X)
    y = data.y if classes else (data.y - data.y.mean()) / data.y.std()
    return np.asarray(X, np.float64).reshape(len(X), -1), y, classes


def pairs(name, classes, seed):
    options = {"random_state": seed, "max_iter": EPOCHS.get(name, 200)}
    if not classes:
        yield "MLPRegressor", rb.MLPRegressor(**options), TheirRegressor(**options)
        return
    yield "MLPClassifier", rb.MLPClassifier(**options), TheirClassifier(**options)
    yield "Perceptron", rb.Perceptron(random_state=seed), TheirPerceptron(random_state=seed)


def timed(model, X, y, X_test, y_test):
    started = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - started
    return model.score(X_test, y_test), seconds


def compare(name, seeds):
    X, y, classes = matrix(name)
    rows = {}
    for seed in range(seeds):
        parts = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y if classes else None)
        scaler = StandardScaler().fit(parts[0])
        train, test = (scaler.transform(parts[0]), parts[2]), (scaler.transform(parts[1]), parts[3])
        for kind, ours, theirs in pairs(name, classes, seed):
            row = rows.setdefault(kind, {"ours": [], "theirs": [], "ours_s": [], "theirs_s": []})
            for who, model in (("ours", ours), ("theirs", theirs)):
                score, seconds = timed(model, *train, *test)
                row[who].append(score)
                row[f"{who}_s"].append(seconds)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    log = {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "seeds": given.seeds, "sets": {}}
    print(f"{'data':14}{'estimator':15}{'ours':>18}{'scikit-learn':>20}{'times faster':>14}")
    for name in SETS:
        try:
            rows = compare(name, given.seeds)
        except FetchError as error:
            print(f"{name:14}left out: {error}")
            continue
        log["sets"][name] = rows
        for kind, row in rows.items():
            ours, theirs = (f"{fmean(row[who]):.4f} ± {stdev(row[who]):.4f}" for who in ("ours", "theirs"))
            ratio = np.median(np.array(row["theirs_s"]) / np.array(row["ours_s"]))
            print(f"{name:14}{kind:15}{ours:>18}{theirs:>20}{ratio:>14.1f}", flush=True)
    if given.log:
        given.log.write_text(json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
