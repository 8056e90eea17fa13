"""`MLPClassifier` and `MLPRegressor`: scikit-learn's estimators, with the same weights from the same seed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from itertools import pairwise
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import scipy.optimize
import torch
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import gen_batches, shuffle
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from rosenblatt import _validate
from rosenblatt._types import Activation, ArrayLike
from rosenblatt._validate import BOOL, CALLABLE, FLAG, NONE, SEED, Choice, Number, Of
from rosenblatt.errors import DataError, DivergedError, LabelError, ParameterError, TrainingInterrupted
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.layers.activations import activation as make_activation
from rosenblatt.models.mlp import MLP
from rosenblatt.train.dense import DenseChain, FlatOptimizer, rows
from rosenblatt.train.plan import Plan
from rosenblatt.train.precision import choose_device
from rosenblatt.train.seeds import generator, random_source

_STOCHASTIC = ("sgd", "adam")
_PREDICTION_BATCH = 8192
_SCIKIT_NAMES = {"identity": "linear"}


def _stochastic(estimator: Any) -> bool:
    if estimator.solver not in _STOCHASTIC:
        raise AttributeError(
            f"{type(estimator).__name__}.partial_fit: solver={estimator.solver!r} has no partial_fit; "
            "expected 'sgd' or 'adam'."
        )
    return True


class _MLP(Estimator):
    """What classifier and regressor share."""

    _rules: ClassVar[Mapping[str, Any]] = {
        "hidden_layer_sizes": (Of((list, tuple, np.ndarray), "a sequence of widths"), Number(1, integer=True)),
        "activation": (Of(str, "an activation's name"), CALLABLE),
        "solver": Choice(("lbfgs", "sgd", "adam")),
        "alpha": Number(0),
        "batch_size": (Choice(("auto",)), Number(1, integer=True)),
        "learning_rate": Choice(("constant", "invscaling", "adaptive")),
        "learning_rate_init": Number(0, open_low=True),
        "power_t": Number(0),
        "max_iter": Number(1, integer=True),
        "shuffle": BOOL,
        "random_state": SEED,
        "tol": Number(0),
        "verbose": FLAG,
        "warm_start": BOOL,
        "momentum": Number(0, 1),
        "nesterovs_momentum": BOOL,
        "early_stopping": BOOL,
        "validation_fraction": Number(0, 1, open_high=True),
        "beta_1": Number(0, 1, open_high=True),
        "beta_2": Number(0, 1, open_high=True),
        "epsilon": Number(0, open_low=True),
        "n_iter_no_change": (Number(1, integer=True), Choice((np.inf,))),
        "max_fun": Number(1, integer=True),
        "dropout": Number(0, 1, open_high=True),
        "device": Of((str, torch.device), "a device name"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _private_fitted: ClassVar[tuple[str, ...]] = ("_optimizer_state", "_no_improvement_count")

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Train on a table.

        Args:
            X: (N, D), dense or sparse, float32 or float64; the arithmetic is that of X.
            y: Labels or targets (N,), or (N, K) for several outputs.
            sample_weight: (N,), or None.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            ShapeError, NonFiniteError, DataError, LabelError: The data is not as above.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        return self._fit(X, y, sample_weight, incremental=False, method="fit")

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, method: str) -> Any:
        self._check_parameters()
        self._check_plan()
        if self.early_stopping and incremental:
            raise ParameterError(
                f"{type(self).__name__}.partial_fit: early_stopping=True; expected False. Use fit instead."
            )
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._targets(method, X, y, incremental=incremental, reset=first)
        weight = _validate.weights(f"{type(self).__name__}.{method}", sample_weight, X)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        self.n_outputs_ = y.shape[1]
        sizes = [X.shape[1], *self._hidden(), self.n_outputs_]
        self._random = random_source(self.random_state)
        if first:
            self._start(sizes, X.dtype)
        elif [c.shape for c in self.coefs_] != list(pairwise(sizes)):
            raise DataError(
                f"{type(self).__name__}.{method}: the layers are {sizes} now, those of the first call "
                f"{[c.shape[0] for c in self.coefs_]}; expected the same. Set warm_start=False to start anew."
            )
        try:
            self._train(X, y, weight, incremental=incremental)
        finally:
            del self._random
        return self

    def _check_plan(self) -> None:
        """The arguments are scikit-learn's; a plan may not contradict them."""
        said = (self.plan or Plan()).said()
        for name in said.keys() - {"precision"}:
            raise ParameterError(
                f"{type(self).__name__}: Plan({name}=...) is not used here; expected scikit-learn's own arguments "
                "(solver, learning_rate, momentum, early_stopping ...). Leave it out of the plan."
            )
        if said.get("precision") == "bf16":
            raise ParameterError(f"{type(self).__name__}: Plan(precision='bf16'); expected 'auto' (computes as X is).")

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        widths = [sizes] if isinstance(sizes, Integral) else list(sizes)
        if any(not Number(1, integer=True).accepts(width) for width in widths):
            raise ParameterError(
                f"{type(self).__name__}: hidden_layer_sizes={sizes!r}; expected widths that are integers >= 1."
            )
        return [int(width) for width in widths]

    def _activation(self) -> Any:
        name = self.activation
        return make_activation(_SCIKIT_NAMES.get(name, name) if isinstance(name, str) else name)

    def _start(self, sizes: list[int], dtype: Any) -> None:
        """Glorot & Bengio 2010's uniform start, drawn in scikit-learn's order."""
        self.n_iter_, self.t_, self.n_layers_ = 0, 0, len(sizes)
        self.out_activation_ = self._output_activation()
        self.coefs_, self.intercepts_ = [], []
        factor = 2.0 if self.activation in ("logistic", "sigmoid") else 6.0
        for fan_in, fan_out in pairwise(sizes):
            bound = np.sqrt(factor / (fan_in + fan_out))
            self.coefs_.append(self._random.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False))
            self.intercepts_.append(self._random.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
        self._optimizer_state = None
        self.history_: list[dict[str, Any]] = []
        if self.solver in _STOCHASTIC:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.validation_scores_ = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None
            self.best_loss_ = None if self.early_stopping else np.inf

    def _train(self, X: Any, y: np.ndarray, weight: np.ndarray | None, *, incremental: bool) -> None:
        device = choose_device(self.device)
        self.device_, self.engine_ = str(device), "torch"
        self.precision_ = "fp64" if X.dtype == np.float64 else "fp32"
        # drawn only where it is used, so that scikit-learn's sequence of draws stays intact
        seed = int(self._random.randint(np.iinfo(np.int32).max)) if self.dropout else 0
        chain = DenseChain(
            self.coefs_,
            self.intercepts_,
            activation=self._activation(),
            output=self.out_activation_,
            loss=self.loss,
            alpha=float(self.alpha),
            dropout=float(self.dropout),
            device=device,
            generator=generator(seed, device),
        )
        if self.solver == "lbfgs":
            self._run_lbfgs(chain, X, y, weight)
        else:
            self._run_stochastic(chain, X, y, weight, incremental=incremental)

    def _optimizer(self, chain: DenseChain, *, incremental: bool) -> FlatOptimizer:
        optimizer = FlatOptimizer(
            self.solver,
            chain.flat,
            learning_rate=float(self.learning_rate_init),
            momentum=self.momentum,
            nesterov=self.nesterovs_momentum,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )
        if incremental and self._optimizer_state is not None:
            optimizer.load(self._optimizer_state)
        return optimizer

    def _run_stochastic(self, chain: DenseChain, X: Any, y: Any, weight: Any, *, incremental: bool) -> None:
        optimizer = self._optimizer(chain, incremental=incremental)
        X, y, weight, held = self._hold_out(X, y, weight)
        count = X.shape[0]
        order = np.arange(count, dtype=int)
        batch_size = self._batch_size(count)
        best = None
        self.n_iter_ = 0
        try:
            for _ in range(self.max_iter):
                good = chain.flat.clone()
                if self.shuffle:
                    order = shuffle(order, random_state=self._random)
                try:
                    loss = self._epoch(chain, optimizer, X, y, weight, order, batch_size)
                except (DivergedError, KeyboardInterrupt):
                    chain.flat.copy_(good)
                    raise
                self.n_iter_ += 1
                self.t_ += count
                self.loss_ = loss
                self.loss_curve_.append(loss)
                row = {"epoch": len(self.loss_curve_), "loss": loss, "learning_rate": optimizer.learning_rate}
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")  # noqa: T201 - scikit-learn's verbose
                if held is not None:
                    row["validation_score"], better = self._validate_epoch(chain, held)
                    best = chain.flat.clone() if better else best
                else:
                    self._compare_loss()
                self.history_.append(row)
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    optimizer.learning_rate = float(self.learning_rate_init) / (self.t_ + 1) ** self.power_t
                if self._no_improvement_count > self.n_iter_no_change:
                    if self._stops(optimizer):
                        break
                    self._no_improvement_count = 0
                if incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                        "converged yet.",
                        ConvergenceWarning,
                        stacklevel=5,
                    )
        except KeyboardInterrupt:
            if self.n_iter_ == 0 and not self.loss_curve_:
                raise
            kept = (
                "the best weights so far are kept"
                if best is not None
                else f"the weights of epoch {self.n_iter_} are kept"
            )
            warnings.warn(
                f"{type(self).__name__}: interrupted after {self.n_iter_} of {self.max_iter} epochs; {kept}.",
                TrainingInterrupted,
                stacklevel=5,
            )
        finally:
            if best is not None:
                chain.flat.copy_(best)
            self.coefs_, self.intercepts_ = chain.arrays()
            self._optimizer_state = optimizer.state()

    def _epoch(
        self, chain: DenseChain, optimizer: FlatOptimizer, X: Any, y: Any, weight: Any, order: Any, size: int
    ) -> float:
        total, count, device = 0.0, X.shape[0], chain.flat.device
        for number, part in enumerate(gen_batches(count, size), start=1):
            chosen = order[part]
            w = None if weight is None else torch.from_numpy(weight[chosen].astype(y.dtype, copy=False)).to(device)
            x, target = rows(X, chosen, device), torch.from_numpy(y[chosen]).to(device)
            if w is not None and not bool(w.any()):
                continue
            step = chain.loss_and_gradient(x, target, w)
            if step.bad_layer is not None:
                raise self._diverged(number, step.bad_layer)
            optimizer.update(chain.flat, chain.gradient)
            total += step.loss * (part.stop - part.start)
        loss = total / count
        if not (math.isfinite(loss) and bool(torch.isfinite(chain.flat).all())):
            raise self._diverged(None, None)
        return loss

    def _diverged(self, batch: int | None, layer: str | None) -> DivergedError:
        epoch = self.n_iter_ + 1
        place = f"epoch {epoch}" + (f", batch {batch}" if batch else "")
        named = f"; the first non-finite numbers are in layer {layer!r}" if layer else ""
        kept = f"the weights of epoch {self.n_iter_}" if self.n_iter_ else "the weights from before training"
        return DivergedError(
            f"Training diverged in {place}{named}. Kept {kept} instead. Try a learning_rate_init 10 times smaller "
            f"(now {self.learning_rate_init:g}), or standardise the features (sklearn.preprocessing.StandardScaler).",
            epoch=epoch,
            batch=batch,
            layer=layer,
        )

    def _hold_out(self, X: Any, y: Any, weight: Any) -> tuple[Any, Any, Any, Any]:
        if not self.early_stopping:
            return X, y, weight, None
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if weight is None else [X, y, weight]
        try:
            parts = train_test_split(
                *arrays, random_state=self._random, test_size=self.validation_fraction, stratify=stratify
            )
        except ValueError as error:
            raise DataError(f"{type(self).__name__}.fit: early stopping cannot split the data ({error}).") from error
        if parts[1].shape[0] < 2:
            raise DataError(
                f"{type(self).__name__}.fit: The validation set is too small. Increase 'validation_fraction' or the size "
                "of your dataset."
            )
        held = (parts[1], self._labels_of(parts[3]), parts[5] if weight is not None else None)
        return parts[0], parts[2], parts[4] if weight is not None else None, held

    def _batch_size(self, count: int) -> int:
        if self.batch_size == "auto":
            return min(200, count)
        if self.batch_size > count:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
            )
        return int(min(self.batch_size, count))

    def _validate_epoch(self, chain: DenseChain, held: tuple[Any, Any, Any]) -> tuple[float, bool]:
        X, y, weight = held
        out = self._outputs(chain, X)
        # scikit-learn scores NaN where it cannot predict; here a non-finite weight has already raised
        score = float(self._scorer(y, self._decode(out), sample_weight=weight))
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")  # noqa: T201 - scikit-learn's verbose
        worse = score < self.best_validation_score_ + self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        better = score > self.best_validation_score_
        self.best_validation_score_ = max(score, self.best_validation_score_)
        return score, better

    def _compare_loss(self) -> None:
        worse = self.loss_ > self.best_loss_ - self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if worse else 0
        self.best_loss_ = min(self.loss_, self.best_loss_)

    def _stops(self, optimizer: FlatOptimizer) -> bool:
        what = "Validation score" if self.early_stopping else "Training loss"
        said = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive" and optimizer.learning_rate > 1e-6
        if adaptive:
            optimizer.learning_rate /= 5.0
        if self.verbose:
            print(said + (f" Setting learning rate to {optimizer.learning_rate:f}" if adaptive else " Stopping."))  # noqa: T201
        return not adaptive

    def _run_lbfgs(self, chain: DenseChain, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        device = chain.flat.device
        x, target = rows(X, slice(None), device), torch.from_numpy(y).to(device)
        w = None if weight is None else torch.from_numpy(weight.astype(y.dtype, copy=False)).to(device)

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            chain.flat.copy_(torch.from_numpy(flat))
            step = chain.loss_and_gradient(x, target, w)
            return step.loss, chain.gradient.cpu().numpy().astype(np.float64)

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        start = chain.flat.cpu().numpy().copy()
        found = scipy.optimize.minimize(evaluate, start, method="L-BFGS-B", jac=True, options=options)
        self.n_iter_ = min(int(found.nit), self.max_iter)
        self.loss_ = float(found.fun)
        if not (math.isfinite(self.loss_) and np.isfinite(found.x).all()):
            chain.flat.copy_(torch.from_numpy(start))
            self.n_iter_ = 0
            raise self._diverged(None, None)
        if found.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={found.status}): {found.message}. "
                "Increase max_iter or scale the data.",
                ConvergenceWarning,
                stacklevel=5,
            )
        chain.flat.copy_(torch.from_numpy(found.x))
        self.coefs_, self.intercepts_ = chain.arrays()

    # --------------------------------------------------------------------------------------------- predict

    @property
    def module_(self) -> MLP:
        """The network as a plain ``nn.Module`` with the fitted numbers; raw outputs, in eval mode, on the CPU."""
        self._check_fitted("module_")
        sizes = [self.coefs_[0].shape[0], *(c.shape[1] for c in self.coefs_)]
        with torch.device("meta"):
            module = MLP(sizes, self._activation(), float(self.dropout))
        for layer, coef, intercept in zip(module.layers, self.coefs_, self.intercepts_, strict=True):
            layer.weight = torch.nn.Parameter(torch.from_numpy(coef).T)
            layer.bias = torch.nn.Parameter(torch.from_numpy(intercept))
        return module.eval()

    def _raw(self, method: str, X: ArrayLike) -> np.ndarray:
        self._check_fitted(method)
        X = _validate.table(self, method, X, reset=False, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32))
        chain = DenseChain(
            self.coefs_,
            self.intercepts_,
            activation=self._activation(),
            output=self.out_activation_,
            loss=self.loss,
            alpha=0.0,
            dropout=0.0,
            device=torch.device("cpu"),
            generator=generator(0),
        )
        return self._outputs(chain, X)

    def _outputs(self, chain: DenseChain, X: Any) -> np.ndarray:
        kind = self.coefs_[0].dtype
        parts = []
        for part in gen_batches(X.shape[0], _PREDICTION_BATCH):
            x = rows(X, part, chain.flat.device).to(chain.flat.dtype)
            parts.append(chain.forward(x).cpu().numpy())
        return np.concatenate(parts).astype(kind, copy=False)

    # ------------------------------------------------------------------------------------------ model file

    def _check_restored(self) -> None:
        if len(self.coefs_) != self.n_layers_ - 1 or len(self.intercepts_) != self.n_layers_ - 1:
            raise ValueError(f"{len(self.coefs_)} weight matrices for {self.n_layers_} layers")
        sizes = [self.n_features_in_, *self._hidden(), self.n_outputs_]
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            expect_shape(f"coefs_[{layer}]", self.coefs_[layer], (fan_in, fan_out))
            expect_shape(f"intercepts_[{layer}]", self.intercepts_[layer], (fan_out,))
            if {self.coefs_[layer].dtype, self.intercepts_[layer].dtype} != {self.coefs_[0].dtype}:
                raise ValueError("weights of several number types")
        if self.out_activation_ not in ("identity", "logistic", "softmax", "exp"):
            raise ValueError(f"out_activation_ is {self.out_activation_!r}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class MLPClassifier(ClassifierMixin, _MLP):
    """Multilayer perceptron classifier: a drop-in for scikit-learn's, with the same weights from the same seed.

    Use it for tables with up to a few thousand features; for pictures use `CNNClassifier`. Changing the import line is
    all that an existing script needs. With "step" or "sign" in the hidden layers only the last layer learns, as in
    Rosenblatt's own machine; set ``alpha=0`` there, or Adam follows the penalty alone and shrinks the others to nothing.

    Args:
        hidden_layer_sizes: Widths of the hidden layers.
        activation: scikit-learn's "identity", "logistic", "tanh", "relu", any other name of
            `rosenblatt.layers.activations`, or a callable tensor -> tensor.
        solver: "adam", "sgd" or "lbfgs".
        alpha: L2 penalty; divided by the batch's size, as in scikit-learn.
        batch_size: Samples a step; "auto" is min(200, N).
        learning_rate: "constant", "invscaling" or "adaptive"; for "sgd".
        learning_rate_init: Step size at the start.
        power_t: Exponent of "invscaling".
        max_iter: Epochs at most (iterations of "lbfgs").
        shuffle: New order each epoch.
        random_state: Seed of start, order and split.
        tol: Least improvement that counts.
        verbose: Print each epoch's loss.
        warm_start: Continue from the last fit.
        momentum: Of "sgd".
        nesterovs_momentum: Nesterov's form of it.
        early_stopping: Hold out ``validation_fraction`` and stop on its score.
        validation_fraction: Share held out.
        beta_1, beta_2, epsilon: Of "adam".
        n_iter_no_change: Epochs without improvement before stopping.
        max_fun: Evaluations of "lbfgs" at most.
        dropout: Share of each hidden layer dropped in training (not in scikit-learn).
        device: "auto", "cpu", "cuda" ... (not in scikit-learn).
        plan: Only its ``precision`` applies: scikit-learn's arguments above say the rest (not in scikit-learn).

    Attributes:
        classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_, n_iter_,
        t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_: As scikit-learn's.
        module_: The network as a plain ``nn.Module``.
        history_, engine_, device_, precision_: The training record.

    Reference:
        Rumelhart, Hinton & Williams 1986, doi:10.1038/323533a0; Glorot & Bengio 2010 (start).

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> MLPClassifier(max_iter=50, solver="lbfgs", alpha=0.1, tol=0.1, random_state=0).fit(X, y).score(X, y) > 0.9
        True
    """

    loss = "log_loss"
    _scorer = staticmethod(accuracy_score)

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Activation = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        device: str = "auto",
        plan: Plan | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.device = device
        self.plan = plan

    def _output_activation(self) -> str:
        return "softmax" if len(self.classes_) > 2 and not self.multilabel_ else "logistic"

    def _targets(self, method: str, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        who = f"{type(self).__name__}.{method}"
        X, y = _validate.table(
            self,
            method,
            X,
            y,
            reset=reset,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=(np.float64, np.float32),
        )
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._set_classes(who, y)
        else:
            seen = unique_labels(y)
            if self.warm_start and set(seen) != set(self.classes_):
                raise LabelError(
                    f"{who}: warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {seen}."
                )
            _validate.known_labels(who, seen, self.classes_)
        return X, self._binarizer().transform(y).astype(X.dtype)

    def _set_classes(self, who: str, y: np.ndarray) -> None:
        kind = type_of_target(y)
        if kind not in ("binary", "multiclass", "multilabel-indicator"):
            raise LabelError(
                f"{who}: Unknown label type: {kind}. Expected class labels (N,), or 0/1 indicators (N, K)."
            )
        self.multilabel_ = kind.startswith("multilabel")
        self.classes_ = np.arange(y.shape[1]) if self.multilabel_ else np.unique(y)
        if not self.multilabel_:
            _validate.two_classes(who, self.classes_)

    def _binarizer(self) -> LabelBinarizer:
        labels = np.eye(len(self.classes_), dtype=int) if self.multilabel_ else self.classes_
        return LabelBinarizer().fit(labels)

    def _labels_of(self, y: np.ndarray) -> np.ndarray:
        return self._binarizer().inverse_transform(y)

    def _decode(self, out: np.ndarray) -> np.ndarray:
        return self._binarizer().inverse_transform(out.ravel() if self.n_outputs_ == 1 else out)

    @available_if(_stochastic)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> MLPClassifier:
        """One epoch over the given data.

        Args:
            X: (N, D).
            y: Labels (N,), or indicators (N, K).
            sample_weight: (N,), or None.
            classes: All labels that will ever come; needed in the first call.
        """
        if _check_partial_fit_first_call(self, classes):
            self.multilabel_ = type_of_target(y).startswith("multilabel")
            if self.multilabel_:
                self.classes_ = np.arange(np.shape(y)[1])
        return self._fit(X, y, sample_weight, incremental=True, method="partial_fit")

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Labels (N,), or indicators (N, K) where ``fit`` saw such.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: X is not like the table of ``fit``.
        """
        return self._decode(self._raw("predict", X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities (N, K), columns as in ``classes_``."""
        out = self._raw("predict_proba", X)
        return np.hstack([1 - out, out]) if self.n_outputs_ == 1 else out

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the probabilities (N, K)."""
        proba = self.predict_proba(X)
        return np.log(proba, out=proba)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """Multilayer perceptron regressor: a drop-in for scikit-learn's, with the same weights from the same seed.

    All arguments are those of `MLPClassifier`, and

    Args:
        loss: "squared_error", or "poisson" (exponential output, y >= 0).

    Example:
        >>> import numpy as np
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> model = MLPRegressor(hidden_layer_sizes=20, activation="tanh", solver="lbfgs", tol=1e-3, max_iter=2000)
        >>> model.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
        True
    """

    _rules: ClassVar[Mapping[str, Any]] = {**_MLP._rules, "loss": Choice(("squared_error", "poisson"))}
    _scorer = staticmethod(r2_score)

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Activation = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        device: str = "auto",
        plan: Plan | None = None,
    ):
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.device = device
        self.plan = plan

    def _output_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _targets(self, method: str, X: Any, y: Any, *, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = _validate.table(
            self, method, X, y, reset=reset, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True,
            dtype=(np.float64, np.float32),
        )  # fmt: skip
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if self.loss == "poisson" and (y < 0).any():
            raise DataError(f"{type(self).__name__}.{method}: y has {y.min():g}; expected y >= 0 for loss='poisson'.")
        return X, y.astype(X.dtype, copy=False)

    def _labels_of(self, y: np.ndarray) -> np.ndarray:
        return y

    def _decode(self, out: np.ndarray) -> np.ndarray:
        return out.ravel() if out.shape[1] == 1 else out

    @available_if(_stochastic)
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MLPRegressor:
        """One epoch over the given data."""
        return self._fit(X, y, sample_weight, incremental=True, method="partial_fit")

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predictions (N,), or (N, K) where ``fit`` saw several targets."""
        return self._decode(self._raw("predict", X))
