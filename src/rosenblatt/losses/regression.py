"""Losses of regression: squared, absolute, Huber and Poisson.

All take (prediction, target, sample_weight) and reduce by the weighted mean over samples (see ``reduction``). Several
outputs are averaged for the squared, absolute and Huber losses and summed for Poisson, as scikit-learn does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Float
from rosenblatt.errors import ParameterError
from rosenblatt.losses.reduction import over_outputs, reduce, same_shape


def squared(
    prediction: Float[Tensor, "*NK"],
    target: Float[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Half the squared error, the likelihood of normal noise: ℓ = ½ (ŷ - y)².

    Args:
        prediction: ŷ.
        target: y.
        sample_weight: Weight of each sample.
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        prediction and target N or N K; a scalar comes back, or N for "none".

    Raises:
        ParameterError: ``reduction`` is none of the three.
        ShapeError: Prediction and target have different shapes.

    Reference:
        Legendre 1805; Gauss 1809.

    Example:
        >>> squared(torch.tensor([3.0]), torch.tensor([1.0]))
        tensor(2.)
    """
    error = prediction - same_shape("targets", target, prediction)
    return reduce(over_outputs(0.5 * error * error, "mean"), sample_weight, reduction)


def absolute(
    prediction: Float[Tensor, "*NK"],
    target: Float[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Absolute error, whose minimum is the median: ℓ = |ŷ - y|; derivative sign(ŷ - y), 0 at 0.

    Args:
        prediction: ŷ.
        target: y.
        sample_weight: Weight of each sample.
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        prediction and target N or N K; a scalar comes back, or N for "none".

    Raises:
        ParameterError: ``reduction`` is none of the three.
        ShapeError: Prediction and target have different shapes.

    Reference:
        Boscovich 1757; Laplace 1774.

    Example:
        >>> absolute(torch.tensor([3.0]), torch.tensor([1.0]))
        tensor(2.)
    """
    error = prediction - same_shape("targets", target, prediction)
    return reduce(over_outputs(error.abs(), "mean"), sample_weight, reduction)


def huber(
    prediction: Float[Tensor, "*NK"],
    target: Float[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    delta: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Huber's loss: squared for small errors, absolute for large ones, so that outliers do not rule.

    Equation: ℓ = ½ e² where |e| ≤ δ, else δ (|e| - ½ δ), with e = ŷ - y.

    Args:
        prediction: ŷ.
        target: y.
        sample_weight: Weight of each sample.
        delta: δ > 0, in the unit of the target.
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        prediction and target N or N K; a scalar comes back, or N for "none".

    Raises:
        ParameterError: ``delta`` is not above 0, or ``reduction`` is none of the three.
        ShapeError: Prediction and target have different shapes.

    Reference:
        Huber 1964, Robust estimation of a location parameter.

    Example:
        >>> huber(torch.tensor([3.0]), torch.tensor([1.0]))
        tensor(1.5000)
    """
    if not delta > 0:
        raise ParameterError(f"huber: delta={delta!r}; expected a number > 0, in the unit of the target.")
    size = (prediction - same_shape("targets", target, prediction)).abs()
    near = size.clamp(max=delta)  # ½ near² + δ (size - near): one expression without a branch that overflows
    return reduce(over_outputs(0.5 * near * near + delta * (size - near), "mean"), sample_weight, reduction)


def poisson(
    prediction: Float[Tensor, "*NK"],
    target: Float[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    log_input: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Half the Poisson deviance, for counts and rates: ℓ = y ln(y / ŷ) - y + ŷ, with 0 ln 0 = 0.

    Args:
        prediction: ŷ > 0, or ln ŷ where ``log_input``, which cannot leave the domain.
        target: y ≥ 0.
        sample_weight: Weight of each sample.
        log_input: The prediction is ln ŷ (the network's last layer is linear).
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        prediction and target N or N K; a scalar comes back, or N for "none".

    Raises:
        ParameterError: ``reduction`` is none of the three.
        ShapeError: Prediction and target have different shapes.

    Reference:
        Nelder and Wedderburn 1972, Generalized linear models.

    Example:
        >>> poisson(torch.tensor([2.0]), torch.tensor([2.0]))
        tensor(0.)
    """
    y = same_shape("targets", target, prediction)
    rate = torch.exp(prediction) if log_input else prediction
    cross = y * prediction if log_input else torch.xlogy(y, prediction)
    return reduce(over_outputs(torch.xlogy(y, y) - cross - y + rate, "sum"), sample_weight, reduction)
