"""How the losses of samples become one number: the weighted mean, everywhere the same."""

from __future__ import annotations

from torch import Tensor

from rosenblatt.errors import ParameterError, ShapeError

REDUCTIONS = ("mean", "sum", "none")


def reduce(losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce the losses of N samples.

    "mean" is Σ wᵢ ℓᵢ / Σ wᵢ (0 where all weights are zero), "sum" is Σ wᵢ ℓᵢ and "none" is the vector wᵢ ℓᵢ.

    Args:
        losses: One loss a sample.
        weight: One weight a sample; None stands for ones.
        reduction: "mean", "sum" or "none".

    Shapes:
        losses N, weight N; a scalar comes back, or N for "none".

    Raises:
        ParameterError: Another word than the three.
        ShapeError: Another number of weights than of samples.
    """
    if reduction not in REDUCTIONS:
        raise ParameterError(f"reduction={reduction!r}; expected one of {', '.join(map(repr, REDUCTIONS))}.")
    if weight is None:
        return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
    weighted = losses * same_shape("weights", weight, losses)
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    total = weight.sum()
    return weighted.sum() / total.where(total != 0, total.new_ones(()))


def same_shape(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor, if it has the other's shape: broadcasting N against N 1 into N N is the classic silent bug.

    Raises:
        ShapeError: The shapes differ.
    """
    if tensor.shape != like.shape:
        raise ShapeError(
            f"loss: {name} have shape {tuple(tensor.shape)}; expected {tuple(like.shape)}. Reshape one to the other."
        )
    return tensor


def over_outputs(losses: Tensor, how: str) -> Tensor:
    """One loss a sample from one loss a sample and output: N ... -> N, by "mean" or "sum" over the outputs."""
    if losses.ndim <= 1:
        return losses
    flat = losses.flatten(1)  # N ... -> N K
    return flat.mean(1) if how == "mean" else flat.sum(1)
