"""Several threshold units side by side, one class against the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils.extmath import safe_sparse_dot

from rosenblatt.errors import DataError, DivergedError
from rosenblatt.train.follow import progress
from rosenblatt.train.perceptron import Rule, Unit, rosenblatt_rule
from rosenblatt.train.supervised import EpochRecord

MAX_SEED = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Task:
    """What one unit is to tell apart.

    Attributes:
        label: The class, for the progress bar.
        sign: +1 for the samples of the class, -1 for the others.
        positive: Factor on the steps of the class.
        negative: Factor on the steps of the others.
        seed: Of the order of the samples.
    """

    label: str
    sign: np.ndarray
    positive: float
    negative: float
    seed: int


@dataclass
class Run:
    """One unit's training.

    Attributes:
        unit: The unit, trained.
        records: One an epoch.
        error: What ended it early, or None.
    """

    unit: Unit
    records: list[EpochRecord] = field(default_factory=list)
    error: BaseException | None = None


def train_units(
    units: Sequence[Unit],
    tasks: Sequence[Task],
    X: Any,
    weight: np.ndarray,
    rule: Rule,
    *,
    held_out: np.ndarray | None = None,
    n_jobs: int | None = None,
    verbose: int | bool = 0,
) -> list[Run]:
    """Train each unit on its task; the compiled epochs release the lock, so threads do.

    Args:
        units: What learns.
        tasks: One a unit.
        X: Table N D, C-ordered array or CSR matrix.
        weight: Factor on the step of each sample, N.
        rule: How to learn.
        held_out: True for the N samples that only decide when to stop.
        n_jobs: Threads; None is 1, -1 all processors.
        verbose: As of `progress`.
    """

    def train(unit: Unit, task: Task) -> Run:
        kind = X.dtype.type
        weights = np.where(task.sign > 0, kind(task.positive), kind(task.negative)) * weight
        score = None if held_out is None else scorer(X[held_out], task.sign[held_out], weight[held_out])
        run = Run(unit)
        records = rosenblatt_rule(unit, X, task.sign, weights, rule, seed=task.seed, held_out=held_out, score=score)
        label = f"Perceptron, class {task.label}"
        try:
            for record in progress(records, epochs=rule.epochs, label=label, verbose=verbose):
                run.records.append(record)
        except (DivergedError, KeyboardInterrupt) as error:
            run.error = error
        return run

    pairs = list(zip(units, tasks, strict=True))
    if n_jobs in (None, 1) or len(pairs) == 1:
        return [train(*pair) for pair in pairs]
    return Parallel(n_jobs=n_jobs, require="sharedmem")(delayed(train)(*pair) for pair in pairs)


def signs(y: np.ndarray, positive: Any, dtype: Any) -> np.ndarray:
    """+1 where y is the positive label, else -1."""
    return np.where(y == positive, 1.0, -1.0).astype(dtype)


def inner_seed(seed: int) -> int:
    """The seed of a unit's order out of the unit's seed, as scikit-learn draws it."""
    own = np.random.RandomState(seed)
    own.randint(1, MAX_SEED)  # the seed of the data set, never used
    return own.randint(MAX_SEED)


def validation_mask(y: np.ndarray, weight: np.ndarray, fraction: float, seed: Any) -> np.ndarray:
    """True for the samples of a stratified validation split.

    Raises:
        DataError: Too few samples of a class for the split, or none of its samples has weight.
    """
    split = StratifiedShuffleSplit(test_size=fraction, random_state=seed)
    try:
        _, chosen = next(split.split(np.zeros((len(y), 1)), y))
    except ValueError as error:
        raise DataError(
            f"Perceptron.fit: no validation split of {fraction:g} of {len(y)} samples ({error}) "
            "Expected enough samples of each class. Change validation_fraction, or set early_stopping=False."
        ) from error
    if not weight[chosen].any():
        raise DataError(
            "Perceptron.fit: the sample weights for validation set are all zero, consider using a different random "
            "state; expected at least one above 0."
        )
    held_out = np.zeros(len(y), dtype=bool)
    held_out[chosen] = True
    return held_out


def scorer(X: Any, sign: np.ndarray, weight: np.ndarray) -> Callable[[np.ndarray, float], float]:
    """A function (weights, intercept) -> weighted share of right answers on these samples."""

    def score(vector: np.ndarray, intercept: float) -> float:
        answers = np.where(safe_sparse_dot(X, vector) + intercept > 0, 1.0, -1.0)
        return float(np.average(answers == sign, weights=weight))

    return score


def mistakes_of(runs: Sequence[Run]) -> np.ndarray:
    """Mistakes of each unit in each epoch, (epochs, units); 0 once a unit has stopped."""
    table = np.zeros((max(len(run.records) for run in runs), len(runs)), dtype=np.int64)
    for k, run in enumerate(runs):
        table[: len(run.records), k] = [record.metrics["mistakes"] for record in run.records]
    return table


def rows_of(runs: Sequence[Run], mistakes: np.ndarray, *, first: int) -> list[dict[str, float]]:
    """One row an epoch, counted from ``first``; a unit that has stopped keeps its last loss and score."""
    rows = []
    for epoch in range(len(mistakes)):
        now = [run.records[min(epoch, len(run.records) - 1)] for run in runs if run.records]
        row = {
            "epoch": first + epoch,
            "loss": sum(record.loss for record in now) / len(now),
            "mistakes": int(mistakes[epoch].sum()),
            "seconds": sum(run.records[epoch].seconds for run in runs if epoch < len(run.records)),
        }
        if "validation_score" in now[0].metrics:
            row["validation_score"] = sum(record.metrics["validation_score"] for record in now) / len(now)
        rows.append(row)
    return rows
