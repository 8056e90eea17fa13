"""The perceptron criterion."""

from __future__ import annotations

from torch import Tensor

from rosenblatt._types import Float, Shaped
from rosenblatt.losses.reduction import over_outputs, reduce, same_shape


def perceptron_criterion(
    score: Float[Tensor, "*NK"],
    sign: Shaped[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """How far misclassified samples lie on the wrong side: ℓ = max(0, -y f).

    Its subgradient step of size η on one sample is Rosenblatt's rule, w ← w + η y x for a mistake. At f = 0 any value
    from -y to 0 is a subgradient; autograd takes -y here, as the rule does: a sample on the threshold is a mistake.

    Args:
        score: f, the signed distance from the threshold up to scale.
        sign: y, -1 or +1.
        sample_weight: Weight of each sample.
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        score and sign N or N K (K units, summed over them); a scalar comes back, or N for "none".

    Raises:
        ParameterError: ``reduction`` is none of the three.
        ShapeError: Score and sign have different shapes.

    Reference:
        Rosenblatt 1958, The perceptron; the criterion: Duda and Hart 1973, equation 5.16.

    Example:
        >>> import torch
        >>> perceptron_criterion(torch.tensor([2.0, -3.0]), torch.tensor([1, 1]), reduction="none")
        tensor([0., 3.])
    """
    margin = score * same_shape("signs", sign, score)
    return reduce(over_outputs((-margin).clamp(min=0), "sum"), sample_weight, reduction)
