"""`MLPClassifier` and `MLPRegressor`: scikit-learn's estimators, with the same weights from the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from rosenblatt import _validate
from rosenblatt._types import Activation, ArrayLike
from rosenblatt._validate import Choice
from rosenblatt.errors import DataError, LabelError
from rosenblatt.estimators.dense import STOCHASTIC, DenseEstimator
from rosenblatt.train.plan import Plan


def _stochastic(estimator: Any) -> bool:
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"{type(estimator).__name__}.partial_fit: solver={estimator.solver!r} has no partial_fit; "
            "expected 'sgd' or 'adam'."
        )
    return True


class MLPClassifier(ClassifierMixin, DenseEstimator):
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
        plan: Only its ``precision`` and ``defence`` apply: scikit-learn's arguments above say the rest (not in
            scikit-learn). With a defence ``early_stopping`` looks at the score under attack.

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

    def _victim(self, bounds: tuple[float, float] | None) -> Any:
        """Logits for `rosenblatt.attacks`."""
        from rosenblatt.estimators.attackable import table_victim

        return table_victim(self, self.module_, bounds)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the probabilities (N, K)."""
        proba = self.predict_proba(X)
        return np.log(proba, out=proba)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, DenseEstimator):
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

    _rules: ClassVar[Mapping[str, Any]] = {**DenseEstimator._rules, "loss": Choice(("squared_error", "poisson"))}
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
