"""What the estimators on a chain of dense layers share: fitting, early stopping, prediction, the model file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import pairwise
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import BOOL, CALLABLE, FLAG, NONE, SEED, Choice, Number, Of
from rosenblatt.backprop.engine import CompiledChain, CompiledOptimizer, covers, one_blas_thread, threads_for
from rosenblatt.errors import DataError, DivergedError, ParameterError, TrainingInterrupted
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.estimators.defended_dense import DefendedChain, refuse_misuse
from rosenblatt.layers.activations import activation as make_activation
from rosenblatt.models.mlp import MLP
from rosenblatt.train.defence import Defence
from rosenblatt.train.dense import DenseChain, FlatOptimizer, output_activation
from rosenblatt.train.dense_loops import Chain, blocks, minimize_lbfgs, outputs, range_test_epoch, train_epoch
from rosenblatt.train.plan import Plan
from rosenblatt.train.precision import choose_device
from rosenblatt.train.range_test import current as current_range_test
from rosenblatt.train.seeds import generator, random_source

STOCHASTIC = ("sgd", "adam")


class DenseEstimator(Estimator):
    """Base of `MLPClassifier` and `MLPRegressor`: all that does not depend on the kind of target."""

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
    _defends: ClassVar[bool] = True
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
        X, y, weight = self._checked(X, y, sample_weight, incremental=incremental, method=method, reset=first)
        return self._fit_checked(X, y, weight, incremental=incremental, method=method, first=first)

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, method: str, reset: bool
    ) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """The table, the targets (N, K) and the sample weights as training takes them, all of one number type."""
        X, y = self._targets(method, X, y, incremental=incremental, reset=reset)
        weight = _validate.weights(f"{type(self).__name__}.{method}", sample_weight, X)
        weight = None if weight is None else weight.astype(X.dtype, copy=False)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        self.n_outputs_ = y.shape[1]
        return X, y, weight

    def _fit_checked(
        self, X: Any, y: np.ndarray, weight: np.ndarray | None, *, incremental: bool, method: str, first: bool
    ) -> Any:
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
        for name in said.keys() - {"precision", "defence"}:
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
        return make_activation(self.activation)

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
        if self.solver in STOCHASTIC:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.validation_scores_ = [] if self.early_stopping else None
            self.best_validation_score_ = -np.inf if self.early_stopping else None
            self.best_loss_ = None if self.early_stopping else np.inf

    def _train(self, X: Any, y: np.ndarray, weight: np.ndarray | None, *, incremental: bool) -> None:
        device = choose_device(self.device)
        # drawn only where it is used, so that scikit-learn's sequence of draws stays intact
        defence = self._defence(X)
        seed = int(self._random.randint(np.iinfo(np.int32).max)) if self.dropout or defence else 0
        chain = self._chain(X, device, seed, defence)
        self.device_, self.engine_ = str(device), "compiled" if isinstance(chain, CompiledChain) else "torch"
        self.precision_ = "fp64" if X.dtype == np.float64 else "fp32"
        if isinstance(chain, CompiledChain):
            X, y = np.ascontiguousarray(X), np.ascontiguousarray(y, dtype=X.dtype)
        # the compiled epoch has threads of its own; L-BFGS has those of BLAS, where a table is worth them
        compiled = isinstance(chain, CompiledChain)
        one = compiled and (self.solver != "lbfgs" or chain.threads(X.shape[0]) == 1)
        with one_blas_thread() if one else nullcontext():
            if self.solver == "lbfgs":
                self._run_lbfgs(chain, X, y, weight)
            else:
                self._run_stochastic(chain, X, y, weight, incremental=incremental)

    def _keeps_to_one_thread(self, X: Any) -> bool:
        """Whether training on a checked table is compiled and leaves the other cores free."""
        # a defence draws from torch's own generator, which the networks beside it would draw from too
        if choose_device(self.device).type != "cpu" or self._defence(X) is not None or not self._compiles(X):
            return False
        sizes = [X.shape[1], *self._hidden(), self.n_outputs_]
        rows = X.shape[0] if self.solver == "lbfgs" else min(X.shape[0], self._rows_a_step(X.shape[0]))
        return threads_for(list(pairwise(sizes)), rows) == 1

    def _compiles(self, X: Any) -> bool:
        return not sp.issparse(X) and covers(self.activation, self._output_activation(), self.loss, X.dtype)

    def _defence(self, X: Any) -> Defence | None:
        """The plan's, if it has one that can be had here."""
        text = (self.plan or Plan()).defence
        if text is None:
            return None
        defence = Defence.parse(text)
        who, output = f"{type(self).__name__}.fit", self._output_activation()
        refuse_misuse(who, defence, solver=self.solver, sparse=sp.issparse(X), output=output)
        return defence

    def _chain(self, X: Any, device: torch.device, seed: int, defence: Defence | None) -> Chain:
        """The compiled engine where it covers the network, on a CPU; else the PyTorch path."""
        options: dict[str, Any] = {
            "output": self.out_activation_,
            "loss": self.loss,
            "alpha": float(self.alpha),
            "dropout": float(self.dropout),
        }
        if device.type == "cpu" and defence is None and self._compiles(X):
            return CompiledChain(self.coefs_, self.intercepts_, activation=self.activation, seed=seed, **options)
        options |= {"activation": self._activation(), "device": device, "generator": generator(seed, device)}
        if defence is not None:
            return DefendedChain(self.coefs_, self.intercepts_, defence=defence, seed=seed, **options)
        return DenseChain(self.coefs_, self.intercepts_, **options)

    def _optimizer(self, chain: Chain, *, incremental: bool) -> FlatOptimizer | CompiledOptimizer:
        options: dict[str, Any] = {
            "learning_rate": float(self.learning_rate_init),
            "momentum": self.momentum,
            "nesterov": self.nesterovs_momentum,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
        if isinstance(chain, CompiledChain):
            optimizer = CompiledOptimizer(self.solver, chain, **options)
        else:
            optimizer = FlatOptimizer(self.solver, chain.flat, **options)
        if incremental and self._optimizer_state is not None:
            optimizer.load(self._optimizer_state)
        return optimizer

    def _run_stochastic(self, chain: Chain, X: Any, y: Any, weight: Any, *, incremental: bool) -> None:
        optimizer = self._optimizer(chain, incremental=incremental)
        X, y, weight, held = self._hold_out(X, y, weight)
        count = X.shape[0]
        order = np.arange(count, dtype=int)
        batch_size = self._batch_size(count)
        best, start, range_test = None, float(self.learning_rate_init), current_range_test()
        self.n_iter_ = 0
        try:
            for _ in range(self.max_iter):
                good, moments = chain.snapshot(), optimizer.state()
                if self.shuffle:  # sklearn.utils.shuffle's draws, without its checks, which cost more than an epoch
                    places = np.arange(count)
                    self._random.shuffle(places)
                    order = order[places]
                try:
                    if range_test is not None:
                        range_test_epoch(range_test, chain, optimizer, X, y, weight, order, batch_size)
                        continue
                    loss = train_epoch(
                        chain, optimizer, X, y, weight, order, batch_size, number=self.n_iter_ + 1, start=start
                    )
                except (DivergedError, KeyboardInterrupt):
                    chain.restore(good)
                    optimizer.load(moments)  # weights of one epoch with moments of another would learn wrongly
                    raise
                self.n_iter_ += 1
                self.t_ += count
                self.loss_ = loss
                self.loss_curve_.append(loss)
                row: dict[str, Any] = {
                    "epoch": len(self.loss_curve_), "loss": loss, "learning_rate": optimizer.learning_rate,
                    "gradient_norms": chain.gradient_norms(),
                }  # fmt: skip
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")  # noqa: T201 - scikit-learn's verbose
                if held is not None:
                    row["validation_score"], better = self._validate_epoch(chain, held)
                    best = chain.snapshot() if better else best
                else:
                    self._compare_loss()
                self.history_.append(row)
                if self.solver == "sgd" and self.learning_rate == "invscaling":
                    optimizer.learning_rate = start / (self.t_ + 1) ** self.power_t
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
                chain.restore(best)
            self.coefs_, self.intercepts_ = chain.arrays()
            self._optimizer_state = optimizer.state()

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
        held = (parts[1], parts[3], self._labels_of(parts[3]), parts[5] if weight is not None else None)
        return parts[0], parts[2], parts[4] if weight is not None else None, held

    def _batch_size(self, count: int) -> int:
        if self.batch_size != "auto" and self.batch_size > count:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=6
            )
        return self._rows_a_step(count)

    def _rows_a_step(self, count: int) -> int:
        return min(200 if self.batch_size == "auto" else int(self.batch_size), count)

    def _validate_epoch(self, chain: Chain, held: tuple[Any, Any, Any, Any]) -> tuple[float, bool]:
        X, target, y, weight = held
        out = outputs(chain, chain.attacked(X, target) if isinstance(chain, DefendedChain) else X)
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

    def _stops(self, optimizer: FlatOptimizer | CompiledOptimizer) -> bool:
        what = "Validation score" if self.early_stopping else "Training loss"
        said = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        adaptive = self.solver == "sgd" and self.learning_rate == "adaptive" and optimizer.learning_rate > 1e-6
        if adaptive:
            optimizer.learning_rate /= 5.0
        if self.verbose:
            print(said + (f" Setting learning rate to {optimizer.learning_rate:f}" if adaptive else " Stopping."))  # noqa: T201
        return not adaptive

    def _run_lbfgs(self, chain: Chain, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        self.n_iter_ = 0  # what stands if it diverges
        found = minimize_lbfgs(chain, X, y, weight, options, start=float(self.learning_rate_init))
        self.n_iter_ = min(int(found.nit), self.max_iter)
        self.loss_ = float(found.fun)
        if found.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={found.status}): {found.message}. "
                "Increase max_iter or scale the data.",
                ConvergenceWarning,
                stacklevel=5,
            )
        self.coefs_, self.intercepts_ = chain.arrays()

    # --------------------------------------------------------------------------------------------- predict

    @property
    def module_(self) -> MLP:
        """The network as a plain ``nn.Module`` with the fitted numbers; raw outputs, in eval mode, on the CPU."""
        self._check_fitted("module_")
        sizes = [self.coefs_[0].shape[0], *(c.shape[1] for c in self.coefs_)]
        between = self._activation()  # a callable is tried out, which takes real numbers
        with torch.device("meta"):
            module = MLP(sizes, between, float(self.dropout))
        for layer, coef, intercept in zip(module.layers, self.coefs_, self.intercepts_, strict=True):
            layer.weight = torch.nn.Parameter(torch.from_numpy(coef).T)
            layer.bias = torch.nn.Parameter(torch.from_numpy(intercept))
        return module.eval()

    def _raw(self, method: str, X: ArrayLike) -> np.ndarray:
        self._check_fitted(method)
        X = _validate.table(self, method, X, reset=False, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32))
        module = self.module_
        kind = module.layers[0].weight.dtype
        with torch.no_grad():
            parts = [
                output_activation(self.out_activation_, module(x.to(kind))).numpy()
                for x in blocks(X, torch.device("cpu"))
            ]
        return np.concatenate(parts)

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
