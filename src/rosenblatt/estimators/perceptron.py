"""`Perceptron`: Rosenblatt's rule with scikit-learn's parameters, and the same weights from the same seed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import column_or_1d

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import BOOL, FLAG, NONE, SEED, Choice, Number, Of
from rosenblatt.errors import DivergedError, LabelError, ParameterError, ShapeError, TrainingInterrupted
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.train.one_vs_rest import (
    MAX_SEED,
    Run,
    Task,
    inner_seed,
    mistakes_of,
    rows_of,
    signs,
    train_units,
    validation_mask,
)
from rosenblatt.train.perceptron import PENALTIES, Rule, Unit
from rosenblatt.train.seeds import random_source

if TYPE_CHECKING:
    from rosenblatt.models.perceptron import ThresholdUnits


class Perceptron(ClassifierMixin, Estimator):
    """Threshold units trained by Rosenblatt's rule: on a mistake, add the sample to the weights or subtract it.

    For linearly separable classes, for very large or sparse tables, and as the first rung of the ladder. Parameters,
    attributes and weights are those of ``sklearn.linear_model.Perceptron``; several classes are told apart one against
    the rest.

    Equation: w ← w + η y x if y (w·x + b) ≤ 0, with y = ±1. If every sample lies at most R from the origin and some
    unit separates them with margin γ, the plain rule (from zero, without penalty) makes at most (R/γ)² mistakes
    (Novikoff 1962); with an intercept, R and γ are those of the samples extended by a 1.

    Args:
        penalty: None, "l2", "l1" or "elasticnet".
        alpha: Factor of the penalty.
        l1_ratio: Share of L1 in the elastic net, from 0 to 1.
        fit_intercept: Learn the threshold; False puts it at zero.
        max_iter: At most so many epochs.
        tol: An epoch that improves the mean loss (with ``early_stopping`` the score) by less counts as none; None
            never stops before ``max_iter``.
        shuffle: New order of the samples each epoch.
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch and unit.
        eta0: η, the size of a step.
        n_jobs: Units trained side by side where there are several classes; None is 1, -1 all processors.
        random_state: Seed of the order and of the validation split.
        early_stopping: Hold out a share of the samples, and stop by their score.
        validation_fraction: That share.
        n_iter_no_change: Epochs without improvement before the end.
        class_weight: Factor on the steps of each class, as a dict or "balanced".
        warm_start: The next ``fit`` starts from the weights of the last.

    Attributes:
        coef_: Weights, (1, D) for two classes, else (K, D).
        intercept_: Negative thresholds, (1,) or (K,).
        classes_: Labels in order; a positive ``decision_function`` means the second of two.
        n_iter_: Epochs run, the most of all units.
        t_: Samples looked at in training, plus 1.
        mistakes_: Mistakes in each epoch, (epochs,) for two classes, else (epochs, K); 0 once a unit has stopped.
        history_: One row an epoch: epoch, loss (mean over units), mistakes (sum), seconds, with ``early_stopping``
            validation_score (mean).
        module_: The same units as an ``nn.Module``.
        engine_: "compiled": a loop of its own and not that of the multilayer perceptrons, since Rosenblatt's rule moves after
            every single sample, and only after mistakes; there is no batch whose gradient could be taken.

    Reference:
        Rosenblatt 1958, doi:10.1037/h0042519; Novikoff 1962, On convergence proofs for perceptrons.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = Perceptron(random_state=0).fit(X, y == 0)
        >>> float(model.score(X, y == 0))
        1.0
        >>> int(model.mistakes_[-1])
        0
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "penalty": (Choice(("l2", "l1", "elasticnet")), NONE),
        "alpha": Number(0),
        "l1_ratio": Number(0, 1),
        "fit_intercept": BOOL,
        "max_iter": Number(1, integer=True),
        "tol": (Number(0), NONE),
        "shuffle": BOOL,
        "verbose": FLAG,
        "eta0": Number(0, open_low=True),
        "n_jobs": (Number(integer=True), NONE),
        "random_state": SEED,
        "early_stopping": BOOL,
        "validation_fraction": Number(0, 1, open_low=True, open_high=True),
        "n_iter_no_change": Number(1, integer=True),
        "class_weight": (Choice(("balanced",)), Of(dict, "a dict from label to weight"), NONE),
        "warm_start": BOOL,
    }

    def __init__(
        self,
        *,
        penalty: str | None = None,
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        eta0: float = 1.0,
        n_jobs: int | None = None,
        random_state: Any = 0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: dict[Any, float] | str | None = None,
        warm_start: bool = False,
    ):
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.eta0 = eta0
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start

    # ------------------------------------------------------------------------------------------------- fit

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Perceptron:
        """Learn from a table.

        Args:
            X: (N, D), dense or CSR, float32 or float64; the arithmetic is that of X.
            y: Labels (N,).
            coef_init: Weights to start from, of the shape of ``coef_``; None is zero.
            intercept_init: Intercepts to start from; None is zero.
            sample_weight: Factor on the step of each sample (N,).

        Raises:
            ParameterError: A constructor argument is wrong.
            ShapeError, NonFiniteError, DataError, LabelError: The data is not as above.
            DivergedError: The weights overflowed; those of the last good epoch are kept.
        """
        self._check_parameters()
        start = (coef_init, intercept_init)
        if self.warm_start and hasattr(self, "coef_"):
            kept = (self.coef_, self.intercept_)
            start = tuple(old if new is None else new for new, old in zip(start, kept, strict=True))
        X, y = self._table("fit", X, y, reset=True)
        self.classes_ = np.unique(y)
        _validate.two_classes("Perceptron.fit", self.classes_)
        self._begin(X, *start)
        self._learn("fit", X, y, sample_weight, epochs=int(self.max_iter))
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"Perceptron: maximum number of iterations reached ({self.max_iter}) before convergence. "
                "Consider increasing max_iter to improve the fit.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Perceptron:
        """Learn one epoch more, for data that comes in parts.

        Args:
            X: (N, D), dense or CSR.
            y: Labels (N,).
            classes: All labels that will ever come; needed in the first call.
            sample_weight: Factor on the step of each sample (N,).

        Raises:
            ParameterError: A constructor argument is wrong, or ``classes`` is missing or has changed.
            ShapeError, NonFiniteError, DataError, LabelError: The data is not as above.
            DivergedError: The weights overflowed; those of the last good epoch are kept.
        """
        self._check_parameters()
        first = not hasattr(self, "classes_")
        self._check_incremental(first)
        X, y = self._table("partial_fit", X, y, reset=first)
        try:
            _check_partial_fit_first_call(self, classes)
        except ValueError as error:
            raise ParameterError(f"Perceptron.partial_fit: {error}. Expected all classes in the first call.") from error
        _validate.known_labels("Perceptron.partial_fit", y, self.classes_)
        if first:
            self._begin(X, None, None)
        self._learn("partial_fit", X, y, sample_weight, epochs=1)
        return self

    def _check_incremental(self, first: bool) -> None:
        if self.early_stopping and first:
            raise ParameterError("Perceptron.partial_fit: early_stopping=True; expected False. Use fit instead.")
        if self.class_weight == "balanced" and first:
            raise ParameterError(
                "Perceptron.partial_fit: class_weight='balanced' needs all data at once; expected a dict or None. "
                "Compute it with sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)."
            )

    def _table(self, method: str, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
        options = {"accept_sparse": "csr", "dtype": [np.float64, np.float32], "order": "C"}
        X, y = _validate.table(self, method, X, y, reset=reset, accept_large_sparse=False, **options)
        try:
            check_classification_targets(y)
            return X, column_or_1d(y)
        except ValueError as error:
            raise LabelError(f"Perceptron.{method}: {error} Expected class labels, one a sample.") from error

    def _begin(self, X: Any, coef: Any, intercept: Any) -> None:
        """Start weights: what was given, else zero. Forgets earlier training."""
        units = 1 if len(self.classes_) == 2 else len(self.classes_)
        self.coef_ = _start("coef_init", coef, (units, X.shape[1]), X.dtype)
        self.intercept_ = _start("intercept_init", intercept, (units,), X.dtype)
        self.t_ = 1.0
        self.mistakes_ = np.zeros((0, units) if units > 1 else 0, dtype=np.int64)
        self.history_: list[dict[str, float]] = []
        self.device_, self.engine_ = "cpu", "compiled"

    def _learn(self, method: str, X: Any, y: np.ndarray, sample_weight: Any, *, epochs: int) -> None:
        if sp.issparse(self.coef_):
            self.densify()
        self.coef_ = self.coef_.astype(X.dtype, copy=False)
        weight = _validate.weights(f"Perceptron.{method}", sample_weight, X, dtype=X.dtype)
        weight = np.ones(len(y), X.dtype) if weight is None else weight
        runs = self._train_units(X, y, weight, epochs)
        self.precision_ = "fp32" if X.dtype == np.float32 else "fp64"
        self.coef_ = np.stack([run.unit.weights() for run in runs])
        self.intercept_ = np.array([run.unit.intercept for run in runs], dtype=self._intercept_type(X))
        self.n_iter_ = max(len(run.records) for run in runs)
        self.t_ += self.n_iter_ * X.shape[0]
        self._remember(runs)
        self._report(runs)

    def _intercept_type(self, X: Any) -> Any:
        return X.dtype if len(self.classes_) > 2 else np.float64  # scikit-learn's

    def _train_units(self, X: Any, y: np.ndarray, weight: np.ndarray, epochs: int) -> list[Run]:
        """Train one unit for two classes, else one a class; draws from the random state in scikit-learn's order."""
        factors = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        random = random_source(self.random_state)
        if len(self.classes_) == 2:
            random.randint(1, MAX_SEED)  # scikit-learn draws a seed for the data set that it never uses
            sign = signs(y, self.classes_[1], X.dtype)
            held_out = self._held_out(sign, weight, random)
            tasks = [Task(str(self.classes_[1]), sign, factors[1], factors[0], random.randint(MAX_SEED))]
        else:
            held_out = self._held_out(y, weight, random)
            seeds = [inner_seed(seed) for seed in random.randint(MAX_SEED, size=len(self.classes_))]
            each = zip(self.classes_, factors, seeds, strict=True)
            tasks = [Task(str(label), signs(y, label, X.dtype), factor, 1.0, seed) for label, factor, seed in each]
        units = [Unit(*start) for start in zip(self.coef_, self.intercept_, strict=True)]
        return train_units(
            units, tasks, X, weight, self._rule(epochs), held_out=held_out, n_jobs=self.n_jobs, verbose=self.verbose
        )

    def _rule(self, epochs: int) -> Rule:
        return Rule(
            eta0=float(self.eta0),
            penalty=PENALTIES[self.penalty],
            alpha=float(self.alpha),
            l1_ratio=float(self.l1_ratio),
            fit_intercept=bool(self.fit_intercept),
            shuffle=bool(self.shuffle),
            epochs=epochs,
            tol=self.tol,
            patience=int(self.n_iter_no_change),
        )

    def _held_out(self, y: np.ndarray, weight: np.ndarray, random: np.random.RandomState) -> np.ndarray | None:
        if not self.early_stopping:
            return None
        # an integer seed starts anew for the split, a generator goes on: scikit-learn's order of draws
        seed = self.random_state if isinstance(self.random_state, Integral) else random
        return validation_mask(y, weight, self.validation_fraction, seed)

    def _remember(self, runs: list[Run]) -> None:
        """Append the epochs of all units to ``history_`` and ``mistakes_``."""
        mistakes = mistakes_of(runs)
        self.history_ += rows_of(runs, mistakes, first=len(self.history_) + 1)
        self.mistakes_ = np.concatenate([self.mistakes_, mistakes if len(runs) > 1 else mistakes[:, 0]])

    def _report(self, runs: list[Run]) -> None:
        """Raise or warn of what went wrong, now that the weights are in place."""
        errors = [run.error for run in runs if run.error is not None]
        for error in errors:
            if isinstance(error, DivergedError):
                raise DivergedError(f"Perceptron.fit: {error}", epoch=error.epoch) from error
        if errors and self.n_iter_ == 0:
            raise errors[0]
        if errors:
            warnings.warn(
                f"Perceptron: interrupted after {self.n_iter_} of {self.max_iter} epochs; the weights so far are kept.",
                TrainingInterrupted,
                stacklevel=4,
            )

    # -------------------------------------------------------------------------------------------- prediction

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Signed distances from the threshold, up to scale: X wᵀ + b.

        Args:
            X: (N, D), dense or CSR.

        Returns:
            (N,) for two classes, positive for the second; else (N, K).

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: X is not a table like that of ``fit``.
        """
        self._check_fitted("decision_function")
        X = _validate.table(self, "decision_function", X, reset=False, accept_sparse="csr")
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Labels (N,).

        Args:
            X: (N, D), dense or CSR.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: X is not a table like that of ``fit``.
        """
        self._check_fitted("predict")
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def sparsify(self) -> Perceptron:
        """Hold ``coef_`` as a CSR matrix: smaller where a penalty has set more than half of it to zero."""
        self._check_fitted("sparsify")
        self.coef_ = sp.csr_matrix(self.coef_)
        return self

    def densify(self) -> Perceptron:
        """Hold ``coef_`` as an array again; nothing happens where it is one."""
        self._check_fitted("densify")
        if sp.issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    @property
    def module_(self) -> ThresholdUnits:
        """The units as a plain ``nn.Module``, built from ``coef_`` and ``intercept_``."""
        import torch

        from rosenblatt.models.perceptron import ThresholdUnits

        self._check_fitted("module_")
        weights = self.coef_.toarray() if sp.issparse(self.coef_) else self.coef_
        return ThresholdUnits.of(torch.tensor(weights), torch.tensor(self.intercept_.astype(weights.dtype)))

    def _victim(self, bounds: tuple[float, float] | None) -> Any:
        """Scores for `rosenblatt.attacks`: what is compared with the threshold."""
        from rosenblatt.estimators.attackable import table_victim

        return table_victim(self, self.module_, bounds)

    def _check_restored(self) -> None:
        units = 1 if len(self.classes_) == 2 else len(self.classes_)
        expect_shape("coef_", self.coef_, (units, self.n_features_in_))
        expect_shape("intercept_", self.intercept_, (units,))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _start(name: str, given: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if given is None:
        return np.zeros(shape, dtype=dtype)
    array = np.array(given.toarray() if sp.issparse(given) else given, dtype=dtype, order="C")
    flat = shape[0] == 1 and array.size == np.prod(shape) and array.ndim <= len(shape)
    if array.shape != shape and not flat:
        raise ShapeError(f"Perceptron.fit: {name} has shape {array.shape}; expected {shape}, as the data has.")
    _validate.finite("Perceptron.fit", array, name=name)
    return array.reshape(shape)
