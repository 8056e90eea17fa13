"""Rosenblatt's rule, one sample at a time, with each epoch one compiled loop.

The arithmetic, order of samples and stopping rule are those of scikit-learn's stochastic gradient descent for the
perceptron criterion, operation by operation, so that the same seed gives the same weights: the weight vector is held
as a scalar times a vector (Bottou 2012), the L1 penalty is the cumulative truncation of Tsuruoka, Tsujii and Ananiadou
2009, and the order is the Fisher-Yates shuffle of a 32-bit xorshift (Marsaglia 2003).

Reference: Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the brain",
Psychological Review 65, 1958; doi:10.1037/h0042519.

Shape letters: N samples, D features.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numba import njit

from rosenblatt.errors import DivergedError
from rosenblatt.train.supervised import EpochRecord

NO_PENALTY, L1, L2, ELASTICNET = range(4)
PENALTIES = {None: NO_PENALTY, "l1": L1, "l2": L2, "elasticnet": ELASTICNET}
SPARSE_INTERCEPT_DECAY = 0.01
"""Share of a step that the intercept takes on sparse data, where it alone would be moved by every sample."""


@dataclass(frozen=True)
class Rule:
    """How to learn.

    Attributes:
        eta0: Size of a step.
        penalty: One of ``PENALTIES``' values.
        alpha: Factor of the penalty.
        l1_ratio: Share of L1 in the elastic net.
        fit_intercept: Learn the threshold too.
        shuffle: New order each epoch.
        epochs: At most so many.
        tol: Improvement below which an epoch counts as none; None never stops.
        patience: Epochs without improvement before the end.
    """

    eta0: float
    penalty: int
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    shuffle: bool
    epochs: int
    tol: float | None
    patience: int


class Unit:
    """One threshold unit in training: weights as ``scale * vector``, and the intercept.

    Args:
        weights: Start, D values; float32 or float64, which is the precision of everything.
        intercept: Start.
    """

    def __init__(self, weights: np.ndarray, intercept: float):
        self.vector = weights.copy()
        kind = weights.dtype.type
        # scale, squared L2 norm and L1 norm of the whole, in the precision of the weights
        self.shape = np.array([kind(1), np.dot(weights, weights), np.abs(weights).sum()], dtype=weights.dtype)
        self.bias = np.array([intercept, 0.0])  # intercept, L1 penalty that every weight could have had
        self.taken = np.zeros(len(weights), weights.dtype)  # L1 penalty that each weight really had

    @property
    def intercept(self) -> float:
        """The threshold's negative."""
        return float(self.bias[0])

    def weights(self) -> np.ndarray:
        """The weights themselves."""
        return self.vector * self.shape[0]

    def finite(self) -> bool:
        """Whether nothing overflowed."""
        return math.isfinite(self.bias[0]) and bool(np.isfinite(self.vector).all())


def rosenblatt_rule(
    unit: Unit,
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    rule: Rule,
    *,
    seed: int,
    held_out: np.ndarray | None = None,
    score: Callable[[np.ndarray, float], float] | None = None,
) -> Iterator[EpochRecord]:
    """Train one unit, an epoch a step: w ← w + η y x whenever y (w·x + b) ≤ 0.

    Args:
        unit: What learns; changed in place.
        X: Table, C-ordered array or CSR matrix of the unit's precision.
        y: -1 or +1 for each sample.
        weight: Factor on the step of each sample.
        rule: How to learn.
        seed: Of the order.
        held_out: True for the samples that are not learned from.
        score: Function (vector, intercept) -> score of the held-out samples; with it the score decides when to stop,
            else the objective does.

    Yields:
        A record an epoch, with the mean loss and the metrics "mistakes" and, with ``score``, "validation_score".

    Raises:
        DivergedError: The weights overflowed; the unit holds those of the last good epoch.

    Shapes:
        X N D; y, weight and held_out N.
    """
    epoch_of = _compiled(X, rule)
    # the arithmetic of scikit-learn: (eta * y) in float64, times the weight in its own precision
    steps = rule.eta0 * y.astype(np.float64) * weight
    order = np.arange(len(y))
    swaps = shuffled(len(y), seed) if rule.shuffle else order  # the seed is the same each epoch, so is the permutation
    learned = len(y) if held_out is None else len(y) - int(held_out.sum())
    best, waited = -math.inf if score else math.inf, 0
    tol = -math.inf if rule.tol is None else rule.tol
    good = (unit.vector.copy(), unit.shape.copy(), unit.bias.copy())
    for epoch in range(1, rule.epochs + 1):
        started = time.perf_counter()
        order = order[swaps]
        used = order if held_out is None else order[~held_out[order]]
        objective, loss, mistakes = epoch_of(unit, used, y, steps)
        if not unit.finite():
            unit.vector[:], unit.shape[:], unit.bias[:] = good
            raise DivergedError(
                f"Floating-point under-/overflow occurred at epoch #{epoch}: the weights are not finite; those of the "
                "epoch before are kept. Scale the data first, with StandardScaler or MinMaxScaler.",
                epoch=epoch,
            )
        for kept, now in zip(good, (unit.vector, unit.shape, unit.bias), strict=True):
            kept[:] = now
        metrics = {"mistakes": mistakes}
        if score is not None:
            # scikit-learn scores the vector before its scale is multiplied in; kept, it decides the last epoch
            value = metrics["validation_score"] = score(unit.vector, unit.intercept)
            waited = waited + 1 if tol > -math.inf and value < best + tol else 0
            best = max(best, value)
        else:
            value = objective / learned
            waited = waited + 1 if tol > -math.inf and value > best - tol else 0
            best = min(best, value)
        yield EpochRecord(epoch, loss / learned, rule.eta0, time.perf_counter() - started, metrics)
        if waited >= rule.patience:
            break


def _compiled(X: Any, rule: Rule) -> Callable[..., tuple[float, float, int]]:
    """The compiled epoch for this kind of data and penalty, as a function of (unit, order, signs, steps)."""
    decay = max(0.0, 1.0 - (1.0 - _l1_share(rule)) * rule.eta0 * rule.alpha) if rule.penalty >= L2 else 1.0
    if not sp.issparse(X) and rule.penalty in (NO_PENALTY, L2):
        lazy = (rule.penalty == L2, decay, rule.alpha, rule.fit_intercept)
        return lambda unit, order, y, steps: _dense_epoch(unit.vector, unit.shape, unit.bias, X, y, steps, order, *lazy)
    # unsigned positions: signed ones are tested for counting from the end, a fifth of the time
    if sp.issparse(X):
        rows = (X.data, X.indices.view(np.uint32), X.indptr.astype(np.uint64), True)
    else:
        width = X.shape[1]
        starts = np.arange(len(X) + 1, dtype=np.uint64) * np.uint64(width)
        rows = (X.reshape(-1), np.arange(width, dtype=np.uint32), starts, False)
    how = (
        rule.penalty, decay, rule.alpha, _l1_share(rule), rule.eta0, rule.fit_intercept,
        SPARSE_INTERCEPT_DECAY if sp.issparse(X) else 1.0,
    )  # fmt: skip
    return lambda unit, order, y, steps: _epoch(
        unit.vector, unit.shape, unit.bias, unit.taken, *rows, y, steps, order, *how
    )


def _l1_share(rule: Rule) -> float:
    return {L1: 1.0, L2: 0.0}.get(rule.penalty, rule.l1_ratio)


@njit(cache=True, nogil=True)
def shuffled(n: int, seed: int) -> np.ndarray:
    """The permutation of 0 to n - 1 that one epoch's shuffle makes."""
    order = np.arange(n)
    state = np.uint32(seed if seed else 1)
    for i in range(n - 1):
        state ^= np.uint32(state << np.uint32(13))
        state ^= np.uint32(state >> np.uint32(17))
        state ^= np.uint32(state << np.uint32(5))
        j = i + (np.int64(state) & 0x7FFFFFFF) % (n - i)
        order[i], order[j] = order[j], order[i]
    return order


@njit(cache=True, nogil=True, error_model="numpy")
def _rescale(w: np.ndarray, shape: np.ndarray) -> None:
    for j in range(len(w)):
        w[j] *= shape[0]
    shape[0] = 1


@njit(cache=True, nogil=True, error_model="numpy")
def _dense_epoch(w, shape, bias, X, y, steps, order, l2, decay, alpha, fit_intercept):
    """Dense data, no penalty or L2, which change the vector on a mistake only.

    So the sums of the next four samples run side by side (each in its own serial order, hence bit for bit the plain
    loop's), and those after a mistake are thrown away.
    """
    n, width = len(order), len(w)
    floor = w.dtype.type(1e-9) if w.itemsize == 8 else w.dtype.type(1e-6)
    objective, total, mistakes, i = 0.0, 0.0, 0, 0
    sums = np.zeros(4)
    while i < n:
        block = min(4, n - i)
        if block == 4:
            a, b, c, d = order[i], order[i + 1], order[i + 2], order[i + 3]
            sa, sb, sc, sd = 0.0, 0.0, 0.0, 0.0
            for j in range(width):
                sa += w[j] * X[a, j]
                sb += w[j] * X[b, j]
                sc += w[j] * X[c, j]
                sd += w[j] * X[d, j]
            sums[0], sums[1], sums[2], sums[3] = sa, sb, sc, sd
        else:
            for k in range(block):
                s = 0.0
                for j in range(width):
                    s += w[j] * X[order[i + k], j]
                sums[k] = s
        for k in range(block):
            row = order[i]
            i += 1
            score = np.float64(w.dtype.type(sums[k] * shape[0])) + bias[0]
            margin = score * y[row]
            wrong = margin <= 0.0
            loss = 0.0 - margin if wrong else 0.0
            total += loss
            objective += loss
            moved = False
            if l2:
                norm = np.float64(np.sqrt(shape[1]))
                objective += alpha * (0.5 * (norm * norm))
                shape[0] *= w.dtype.type(decay)
                shape[1] *= w.dtype.type(decay) * w.dtype.type(decay)
                if shape[0] < floor:
                    _rescale(w, shape)
                    moved = True
            if wrong:
                mistakes += 1
                step = steps[row]
                if step != 0.0:
                    c_scaled = np.float64(w.dtype.type(step) / shape[0])
                    for j in range(width):
                        w[j] += X[row, j] * c_scaled
                    if l2:
                        square = 0.0
                        for j in range(width):
                            square += w[j] * w[j]
                        shape[1] = square * (shape[0] * shape[0])
                    moved = True
                    if fit_intercept:
                        bias[0] += step
            if moved:
                break
    return objective, total, mistakes


@njit(cache=True, nogil=True, error_model="numpy")
def _epoch(
    w, shape, bias, taken, data, indices, starts, sparse, y, steps, order,
    penalty, decay, alpha, l1_ratio, eta0, fit_intercept, intercept_decay,
):  # fmt: skip
    """Any data and penalty: rows are pieces of ``data``, their columns pieces of ``indices`` (one for all if dense)."""
    floor = w.dtype.type(1e-9) if w.itemsize == 8 else w.dtype.type(1e-6)
    objective, total, mistakes = 0.0, 0.0, 0
    for row in order:
        first, size = starts[row], starts[row + 1] - starts[row]
        at = first if sparse else np.uint64(0)
        s = 0.0
        for j in range(size):
            s += w[indices[at + j]] * data[first + j]
        margin = (np.float64(w.dtype.type(s * shape[0])) + bias[0]) * y[row]
        wrong = margin <= 0.0
        loss = 0.0 - margin if wrong else 0.0
        total += loss
        objective += loss
        if penalty != NO_PENALTY:
            norm = np.float64(np.sqrt(shape[1]))
            objective += alpha * ((1 - l1_ratio) * 0.5 * (norm * norm) + l1_ratio * shape[2])
        if penalty >= L2:
            shape[0] *= w.dtype.type(decay)
            shape[1] *= w.dtype.type(decay) * w.dtype.type(decay)
            shape[2] *= w.dtype.type(decay)
            if shape[0] < floor:
                _rescale(w, shape)
        if wrong:
            mistakes += 1
            step = steps[row]
            if step != 0.0:
                c = np.float64(w.dtype.type(step) / shape[0])
                _add(w, shape, data, indices, first, at, size, c, penalty != NO_PENALTY)
                if fit_intercept:
                    bias[0] += step * intercept_decay
        if penalty in (L1, ELASTICNET):
            bias[1] += l1_ratio * eta0 * alpha
            _truncate(w, taken, indices, at, size, sparse, np.float64(shape[0]), bias[1])
    return objective, total, mistakes


@njit(cache=True, nogil=True, error_model="numpy")
def _add(w, shape, data, indices, first, at, size, c, norms):
    square, absolute = 0.0, 0.0
    for j in range(size):
        column = indices[at + j]
        w[column] += data[first + j] * c
        if norms:
            square += w[column] * w[column]
            absolute += abs(w[column])
    if norms:  # of the columns of this row alone: on sparse data scikit-learn's objective sees no others
        shape[1] = square * (shape[0] * shape[0])
        shape[2] = absolute * shape[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _truncate(w, taken, indices, at, size, sparse, scale, possible):
    """Move the row's weights toward zero, and not beyond, by the penalty that they have not had yet."""
    if sparse:
        for k in range(at, at + size):
            j = indices[k]
            before = np.float64(w[j])
            w[j] = _toward_zero(before, np.float64(taken[j]), scale, possible)
            taken[j] += scale * (np.float64(w[j]) - before)
    else:
        for j in range(len(w)):  # the same without the detour over indices, so that it runs in vector registers
            before = np.float64(w[j])
            w[j] = _toward_zero(before, np.float64(taken[j]), scale, possible)
            taken[j] += scale * (np.float64(w[j]) - before)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _toward_zero(before, taken, scale, possible):
    down = before - (possible + taken) / scale
    up = before + (possible - taken) / scale
    positive, negative = scale * before > 0.0, scale * before < 0.0
    down = down if down > 0.0 else 0.0
    up = up if up < 0.0 else 0.0
    return down if positive else up if negative else before
