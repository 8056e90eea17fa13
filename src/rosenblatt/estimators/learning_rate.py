"""`find_learning_rate`: which learning rate, for any estimator that takes gradient steps."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.base import clone

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import Number
from rosenblatt.errors import ParameterError
from rosenblatt.train.plan import Plan
from rosenblatt.train.range_test import RangeTest, running

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WHO = "find_learning_rate"
_NAMES = ("learning_rate_init", "learning_rate")
_SMOOTH = 0.03
"""Width of the smoothing, as a share of the steps."""


@dataclass(frozen=True, eq=False)
class LearningRates:
    """What a range test found.

    Attributes:
        rates: Learning rate of each step, growing.
        losses: Loss of the batch before that step.
        smoothed: The losses through a Gaussian window.
        suggested: Where the smoothed loss falls most steeply over the logarithm of the rate.
        lowest: Where it is lowest: more than this is too much.
        parameter: Name of the estimator's parameter.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggested: float
    lowest: float
    parameter: str

    def __str__(self) -> str:
        return (
            f"{self.parameter}={self.suggested:.2g}: there the loss falls most steeply; "
            f"it is lowest at {self.lowest:.2g} ({len(self.rates)} steps from {self.rates[0]:.1g} to {self.rates[-1]:.2g})"
        )

    def figure(self) -> Figure:
        """The loss over the learning rate, with the suggestion."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, ".", color="#999999", ms=4, label="batches")
        axes.plot(self.rates, self.smoothed, color="#0072b2", lw=2, label="smoothed")
        axes.axvline(self.suggested, color="#d55e00", label=f"steepest: {self.suggested:.2g}")
        low, high = min(self.smoothed), self.smoothed[0]
        span = max(high - low, 1e-12)
        axes.set(
            xscale="log",
            xlabel=self.parameter,
            ylabel="loss of a batch",
            ylim=(max(low - 0.5 * span, min(low, 0.0)), high + span),
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure


def find_learning_rate(
    estimator: Any, X: Any, y: ArrayLike | None = None, *, low: float = 1e-6, high: float = 10.0, steps: int = 100
) -> LearningRates:
    """Try growing learning rates on a copy of an estimator, a step each, and see where the loss falls.

    Everything else is as in ``fit``: batches, optimizer, augmentation, dropout. The estimator itself is not touched.

    Args:
        estimator: `MLPClassifier`, `MLPRegressor`, `CNNClassifier`, or any other with epochs of gradient steps.
        X: As of its ``fit``.
        y: As of its ``fit``; None where that takes none.
        low: Rate of the first step.
        high: Rate of the last step, if the loss does not run away before.
        steps: How many.

    Returns:
        The suggestion and the curve; print it, or draw it with ``.figure()``.

    Raises:
        ParameterError: The estimator takes no gradient steps, or an argument is out of range.
        Whatever its ``fit`` raises on such data.

    Reference:
        Smith 2017, arXiv:1506.01186, section 3.3.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from rosenblatt import MLPClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> found = find_learning_rate(MLPClassifier(random_state=0), X / 16, y)
        >>> 1e-4 < found.suggested < found.lowest < 1
        True
    """
    _validate.parameter(_WHO, "low", low, Number(0, open_low=True))
    _validate.parameter(_WHO, "high", high, Number(low, open_low=True))
    _validate.parameter(_WHO, "steps", steps, Number(10, integer=True))
    name = _parameter_of(estimator)
    test = _run(estimator, X, y, RangeTest(low, high, steps), epochs=1)
    if test.losses and len(test.losses) < steps and not test.ended:
        # an epoch was too short: as many as the steps need
        epochs = math.ceil(steps / len(test.losses))
        test = _run(estimator, X, y, RangeTest(low, high, steps), epochs=epochs)
    if len(test.losses) < 5:
        raise ParameterError(
            f"{_WHO}: {type(estimator).__name__} took {len(test.losses)} gradient steps before the loss was not finite or "
            f"the fit ended; expected at least 5. Lower low (now {low:g}), or this system does not learn by such steps."
        )
    return _read(test, name)


def _parameter_of(estimator: Any) -> str:
    known = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    name = next((name for name in _NAMES if name in known), None)
    if name is None or not known.keys() & {"max_iter", "epochs"} or known.get("solver") == "lbfgs":
        raise ParameterError(
            f"{_WHO}: a {type(estimator).__name__}{' with solver=lbfgs' if 'solver' in known else ''} has no learning rate "
            "of gradient steps; expected an estimator that has one, such as MLPClassifier(solver='adam') or CNNClassifier."
        )
    return name


def _run(estimator: Any, X: Any, y: Any, test: RangeTest, *, epochs: int) -> RangeTest:
    copy = clone(estimator)
    known = copy.get_params(deep=False)
    changed: dict[str, Any] = {"max_iter" if "max_iter" in known else "epochs": epochs, "verbose": 0}
    if "early_stopping" in known:
        changed |= {"early_stopping": False, "n_iter_no_change": np.inf}
    elif "plan" in known:
        changed["plan"] = replace(copy.plan or Plan(), early_stopping=False, checkpoint=None, target=None)
    copy.set_params(**{name: value for name, value in changed.items() if name in known})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged, for one
        with running(test):
            copy.fit(X) if y is None else copy.fit(X, y)
    return test


def _read(test: RangeTest, name: str) -> LearningRates:
    rates, losses = np.array(test.rates), np.array(test.losses)
    smoothed = gaussian_filter1d(losses, max(1.0, _SMOOTH * test.steps), mode="nearest")
    end = int(np.argmin(smoothed))
    slope = np.gradient(smoothed, np.log(rates))[: end + 1]
    return LearningRates(rates, losses, smoothed, float(rates[int(np.argmin(slope))]), float(rates[end]), name)
