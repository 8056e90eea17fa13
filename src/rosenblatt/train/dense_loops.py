"""How a chain of dense layers learns from a table: one epoch of mini-batches, or L-BFGS on all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse as sp
import torch
from sklearn.utils import gen_batches
from torch import Tensor

from rosenblatt.backprop.engine import CompiledChain, CompiledOptimizer
from rosenblatt.backprop.engine import epoch as compiled_epoch
from rosenblatt.errors import DivergedError
from rosenblatt.train.dense import DenseChain, FlatOptimizer
from rosenblatt.train.range_test import RangeTest

Chain = DenseChain | CompiledChain

_BLOCK = 8192
"""Rows that are looked at together where nothing is learned."""


def rows(X: Any, chosen: np.ndarray | slice, device: torch.device) -> Tensor:
    """Rows of a dense or sparse table as a dense tensor on a device."""
    part = X[chosen]
    dense = part.toarray() if sp.issparse(part) else np.ascontiguousarray(part)
    return torch.from_numpy(dense).to(device)


def blocks(X: Any, device: torch.device) -> Iterator[Tensor]:
    """The whole table in order, some thousand rows at a time."""
    for part in gen_batches(X.shape[0], _BLOCK):
        yield rows(X, part, device)


def outputs(chain: Chain, X: Any) -> np.ndarray:
    """Outputs (N, K) of a chain for a whole table, without dropout."""
    if isinstance(chain, CompiledChain):
        return chain.forward(X)
    return np.concatenate([chain.forward(x).cpu().numpy() for x in blocks(X, chain.flat.device)])


def train_epoch(
    chain: Chain,
    optimizer: FlatOptimizer | CompiledOptimizer,
    X: Any,
    y: np.ndarray,
    weight: np.ndarray | None,
    order: np.ndarray,
    batch_size: int,
    *,
    number: int,
    start: float,
) -> float:
    """One pass in the given order; the mean loss of its samples, penalty included.

    Args:
        chain: What learns.
        optimizer: How it moves; of the chain's kind.
        X: (N, D), dense or sparse (a compiled chain takes dense, C-ordered).
        y: Targets (N, K), of the chain's number type.
        weight: Sample weights (N,), of that type, or None; a batch without any weight is passed over.
        order: Row numbers.
        batch_size: Samples a step; the last batch may be smaller.
        number: The epoch, from 1, for the message.
        start: The learning rate that the user gave, for the message.

    Raises:
        DivergedError: Loss, gradient or weights turned non-finite; undoing the epoch is the caller's.
    """
    if isinstance(chain, CompiledChain):
        loss, bad, layer = compiled_epoch(chain, optimizer, X, y, weight, order, batch_size)
        finite = bool(np.isfinite(chain.flat).all())
    else:
        loss, bad, layer = _torch_epoch(chain, optimizer, X, y, weight, order, batch_size)
        finite = bool(torch.isfinite(chain.flat).all())
    if bad is not None or not (math.isfinite(loss) and finite):
        raise _diverged(number, start, bad, layer)
    return loss


def range_test_epoch(
    test: RangeTest,
    chain: Chain,
    optimizer: FlatOptimizer | CompiledOptimizer,
    X: Any,
    y: np.ndarray,
    weight: np.ndarray | None,
    order: np.ndarray,
    batch_size: int,
) -> None:
    """One epoch of a learning-rate range test: each batch at the test's rate; arguments as of `train_epoch`.

    Raises:
        Enough: The test has seen what it wanted.
    """
    for part in gen_batches(len(order), batch_size):
        optimizer.learning_rate = test.rate
        try:
            loss = train_epoch(
                chain, optimizer, X, y, weight, order[part], batch_size, number=1, start=optimizer.learning_rate
            )
        except DivergedError:
            loss = math.inf
        test.note(loss)


def _torch_epoch(
    chain: DenseChain,
    optimizer: FlatOptimizer,
    X: Any,
    y: np.ndarray,
    weight: np.ndarray | None,
    order: np.ndarray,
    batch_size: int,
) -> tuple[float, int | None, str | None]:
    total, count, device = 0.0, len(order), chain.flat.device
    for batch, part in enumerate(gen_batches(count, batch_size), start=1):
        chosen = order[part]
        w = None if weight is None else torch.from_numpy(weight[chosen]).to(device)
        if w is not None and not bool(w.any()):
            continue
        step = chain.loss_and_gradient(rows(X, chosen, device), torch.from_numpy(y[chosen]).to(device), w)
        if step.bad_layer is not None:
            return total / count, batch, step.bad_layer
        optimizer.update(chain.flat, chain.gradient)
        total += step.loss * (part.stop - part.start)
    return total / count, None, None


def minimize_lbfgs(
    chain: Chain, X: Any, y: np.ndarray, weight: np.ndarray | None, options: dict[str, Any], *, start: float
) -> scipy.optimize.OptimizeResult:
    """Minimise the mean loss over the whole table; the chain holds the result.

    Args:
        chain: What learns.
        X: (N, D), dense or sparse.
        y: Targets (N, K), of the chain's number type.
        weight: Sample weights (N,), of that type, or None.
        options: Of scipy's L-BFGS-B.
        start: As of `train_epoch`.

    Raises:
        DivergedError: The result is not finite; the chain is as it was.

    Reference:
        Liu & Nocedal 1989, doi:10.1007/BF01589116.
    """
    before = chain.snapshot()
    evaluate = _objective(chain, X, y, weight)
    first = before if isinstance(before, np.ndarray) else before.cpu().numpy()
    found = scipy.optimize.minimize(evaluate, first, method="L-BFGS-B", jac=True, options=options)
    finite = math.isfinite(found.fun) and bool(np.isfinite(found.x).all())
    chain.restore(found.x if finite else before)
    if not finite:
        raise _diverged(1, start)
    return found


def _objective(chain: Chain, X: Any, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """Function from the flat parameters to loss and gradient in float64, as scipy wants it."""
    if isinstance(chain, CompiledChain):

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            chain.restore(flat)
            loss, gradient = chain.loss_and_gradient(X, y, weight)
            return loss, gradient.astype(np.float64)

        return evaluate
    device = chain.flat.device
    x, target = rows(X, slice(None), device), torch.from_numpy(y).to(device)
    w = None if weight is None else torch.from_numpy(weight).to(device)

    def evaluate_torch(flat: np.ndarray) -> tuple[float, np.ndarray]:
        chain.restore(flat)
        step = chain.loss_and_gradient(x, target, w)
        return step.loss, chain.gradient.cpu().numpy().astype(np.float64)

    return evaluate_torch


def _diverged(number: int, start: float, batch: int | None = None, layer: str | None = None) -> DivergedError:
    return DivergedError.at(
        number,
        batch=batch,
        layer=layer,
        advice=f"Try a learning_rate_init 10 times smaller (now {start:g}), or standardise the features "
        "(sklearn.preprocessing.StandardScaler).",
    )
