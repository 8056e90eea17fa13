"""What a fitted dense network minimises, as a function of its parameters in float64: the ground of checks and paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.errors import LabelError, ParameterError, ShapeError
from rosenblatt.losses import cross_entropy, logistic, poisson, squared

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "softmax": cross_entropy,
    "logistic": logistic,
    "identity": squared,
}


def network(estimator: Any, who: str) -> nn.Module:
    """A copy of the estimator's network in float64, without dropout.

    Raises:
        NotFittedError: Before ``fit``.
        ParameterError: It is no chain of dense layers.
    """
    if not hasattr(type(estimator), "module_") or "out_activation_" not in vars(estimator):
        if hasattr(estimator, "_check_fitted"):
            estimator._check_fitted(who)
        raise ParameterError(f"{who}: a {type(estimator).__name__}; expected an MLPClassifier or MLPRegressor.")
    module = estimator.module_.double().eval()
    for parameter in module.parameters():  # the module's weights are views of the estimator's
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return module


def inputs(estimator: Any, X: Any, who: str) -> Tensor:
    """The table (N, D) in float64.

    Raises:
        ShapeError: Another number of axes or features.
    """
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != estimator.n_features_in_ or not len(X):
        raise ShapeError(f"{who}: X has shape {X.shape}; expected (n, {estimator.n_features_in_}) with n >= 1.")
    return torch.from_numpy(X.copy())


def targets(estimator: Any, y: Any, who: str) -> Tensor:
    """Class numbers (N,) for softmax, else (N, K) in float64.

    Raises:
        LabelError: A label that was unseen at fit.
    """
    y = np.asarray(y)
    if not hasattr(estimator, "classes_"):
        return torch.from_numpy(y.astype(np.float64).reshape(len(y), -1))
    if y.ndim == 2 and y.shape[1] > 1:
        return torch.from_numpy(y.astype(np.float64))
    y, classes = y.ravel(), np.asarray(estimator.classes_)
    if not np.isin(y, classes).all():
        raise LabelError(
            f"{who}: y has {y[~np.isin(y, classes)][0]!r}, unseen at fit; expected one of {list(classes)}."
        )
    codes = np.searchsorted(classes, y)
    if estimator.out_activation_ == "softmax":
        return torch.from_numpy(codes)
    return torch.from_numpy(codes.astype(np.float64).reshape(-1, 1))


def loss_of(estimator: Any, z: Tensor, target: Tensor) -> Tensor:
    """Mean over samples of the loss, summed over outputs; ``z`` are raw outputs."""
    kind = estimator.out_activation_
    if kind == "exp":
        return poisson(z, target, log_input=True)
    # scikit-learn's gradient is that of the sum over outputs, though the loss that it reports is their mean
    return _LOSSES[kind](z, target) * (z.shape[1] if kind == "identity" else 1)
