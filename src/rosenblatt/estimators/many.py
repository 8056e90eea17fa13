"""`fit_many`: several networks on one table in one call, for ensembles and for the search of parameters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from sklearn.base import clone

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import Choice
from rosenblatt.backprop.engine import side_by_side
from rosenblatt.errors import DivergedError, ParameterError
from rosenblatt.estimators.base import Estimator
from rosenblatt.estimators.dense import DenseEstimator

_WHO = "fit_many"
Any_Estimator = TypeVar("Any_Estimator", bound=Estimator)


def fit_many(
    estimator: Any_Estimator,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    on_divergence: str = "raise",
    **values: Sequence[Any],
) -> list[Any_Estimator]:
    """Fit copies of an estimator that differ in some parameters; each comes out as its single fit would.

    Dense networks on a CPU are trained side by side, one on each core, on one validated table; those whose steps are large
    enough to keep all cores busy, and every other estimator, one after the other. To search, score the copies on a part of the
    data that they have not seen; for an ensemble, average their ``predict_proba``.

    Args:
        estimator: What is copied; stays as it is.
        X: As of its ``fit``.
        y: As of its ``fit``.
        sample_weight: As of its ``fit``; only for estimators that take it.
        on_divergence: What to do where some copies diverge, after all others are done: "raise", or "warn" and keep them
            with the weights of their last good epoch.
        **values: Names of parameters, each with one value a copy, such as ``random_state=range(16)``.

    Returns:
        The fitted copies, in the order of the values.

    Raises:
        ParameterError: No parameter is named, one is unknown, or their lengths differ.
        DivergedError: A copy diverged and ``on_divergence`` is "raise"; the message says which.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from rosenblatt import MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> models = fit_many(MLPClassifier(max_iter=300, tol=10), X, y, random_state=range(3), alpha=[0, 1, 2])
        >>> [(m.random_state, m.alpha) for m in models]
        [(0, 0), (1, 1), (2, 2)]
    """
    _validate.parameter(_WHO, "on_divergence", on_divergence, Choice(("raise", "warn")))
    chosen = _rows(estimator, values)
    copies = [clone(estimator).set_params(**row) for row in chosen]
    weight = () if sample_weight is None else (sample_weight,)
    if isinstance(estimator, DenseEstimator):
        outcomes = _dense(copies, X, y, sample_weight, same_targets="loss" not in values)
    else:
        outcomes = [_attempt(partial(copy.fit, X, y, *weight)) for copy in copies]
    _report(chosen, outcomes, on_divergence)
    return copies


def _rows(estimator: Any, values: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """One dict of parameters a copy."""
    known = estimator.get_params(deep=False)
    for name, each in values.items():
        if name not in known:
            raise ParameterError(
                f"{_WHO}: {name!r} is no parameter of {type(estimator).__name__}; expected one of {sorted(known)}."
                f"{_validate.nearest(name, known)}"
            )
        if isinstance(each, str) or not hasattr(each, "__len__"):
            raise ParameterError(
                f"{_WHO}: {name}={each!r}; expected a sequence with one value a copy, such as [{each!r}]."
            )
    lengths = {name: len(each) for name, each in values.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise ParameterError(
            f"{_WHO}: got {lengths or 'no parameter'}; expected at least one parameter with one value a copy, all of one "
            "length. Example: random_state=[0, 1], alpha=[0.1, 0.01]."
        )
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _attempt(fit: Any) -> Any:
    try:
        return fit()
    except DivergedError as error:
        return error


def _dense(copies: list[Any], X: Any, y: Any, sample_weight: Any, *, same_targets: bool) -> list[Any]:
    """Small networks beside each other on one checked table, large ones one after the other."""
    for copy in copies:
        copy._check_parameters()
        copy._check_plan()
    first, jobs = copies[0], []
    checked = first._checked(X, y, sample_weight, incremental=False, method="fit", reset=True)
    learned = {name: value for name, value in vars(first).items() if name not in first.get_params(deep=False)}
    for copy in copies:
        if copy is not first and not same_targets:
            checked = copy._checked(X, y, sample_weight, incremental=False, method="fit", reset=True)
        elif copy is not first:
            vars(copy).update(learned)
        jobs.append(partial(copy._fit_checked, *checked, incremental=False, method="fit", first=True))
    alone = [not copy._keeps_to_one_thread(checked[0]) for copy in copies]
    outcomes = iter(side_by_side([job for job, large in zip(jobs, alone, strict=True) if not large]))
    return [_attempt(job) if large else next(outcomes) for job, large in zip(jobs, alone, strict=True)]


def _report(chosen: list[dict[str, Any]], outcomes: list[Any], on_divergence: str) -> None:
    for number, (row, outcome) in enumerate(zip(chosen, outcomes, strict=True)):
        if not isinstance(outcome, Exception):
            continue
        if not isinstance(outcome, DivergedError):
            raise outcome
        said = f"{_WHO}: copy {number} of {len(chosen)}, {row}: {outcome}"
        if on_divergence == "raise":
            raise DivergedError(said, epoch=outcome.epoch, batch=outcome.batch, layer=outcome.layer) from outcome
        warnings.warn(said, stacklevel=3)
