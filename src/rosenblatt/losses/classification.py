"""Losses of classification, from logits, stable at any size of them.

The softmax cross-entropy (Bridle 1990) for one label of many, the logistic loss (Cox 1958) for yes or no and for
several labels at once. All take (logits, target, sample_weight) and reduce by the weighted mean (see ``reduction``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rosenblatt._types import Float, Shaped
from rosenblatt.errors import LabelError, ParameterError, ShapeError
from rosenblatt.losses.reduction import over_outputs, reduce, same_shape


def cross_entropy(
    logits: Float[Tensor, "N K"],
    target: Shaped[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    class_weight: Float[Tensor, " K"] | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Softmax cross-entropy of one label of K.

    For exclusive classes. Equation: ℓᵢ = - Σₖ qᵢₖ ln softmax(zᵢ)ₖ with q = (1 - s) onehot(y) + s / K. The weight of a
    sample is its own weight times the weight of its class, and "mean" divides by the sum of these weights; so a
    sample of weight 2 counts exactly like the same sample twice. (torch spreads class weights over smoothed labels
    instead; with s = 0 the two agree.)

    Args:
        logits: Scores before softmax.
        target: Class numbers 0 to K - 1, or rows of probabilities.
        sample_weight: Weight of each sample.
        class_weight: Weight of each class; for probability targets the expected weight of the row.
        label_smoothing: s in [0, 1): the share of the label spread evenly over all classes.
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        logits N K, target N or N K, sample_weight N, class_weight K; a scalar comes back, or N for "none".

    Raises:
        ParameterError: ``label_smoothing`` or ``reduction`` is out of range.
        ShapeError: Shapes that do not belong together.

    Reference:
        Bridle 1990; label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.

    Example:
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2])) / torch.log(torch.tensor(4.0))
        tensor(1.)
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ParameterError(f"cross_entropy: label_smoothing={label_smoothing!r}; expected a number in [0, 1).")
    _classes_axis(logits, target)
    log_p = torch.log_softmax(logits, dim=-1)
    if target.ndim == 1:
        labels = target.long()
        picked = -log_p.gather(1, labels[:, None]).squeeze(1)  # N K -> N
        of_class = None if class_weight is None else class_weight[labels]
    else:
        picked = -_times(target, log_p).sum(1)  # N K -> N
        of_class = None if class_weight is None else target @ class_weight
    losses = picked
    if label_smoothing:
        losses = (1 - label_smoothing) * picked - label_smoothing * log_p.mean(1)
    return reduce(losses, _product(sample_weight, of_class), reduction)


def logistic(
    logits: Float[Tensor, "*NK"],
    target: Shaped[Tensor, "*NK"],
    sample_weight: Float[Tensor, " N"] | None = None,
    *,
    positive_weight: Float[Tensor, "*K"] | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Logistic loss of yes-or-no outputs: one of them, or K labels at once (multilabel).

    Equation: ℓ = ln(1 + e⁻ᶻ) for y = 1 and ln(1 + eᶻ) for y = 0, in one form softplus(z) - y z; summed over the K
    outputs of a sample, as scikit-learn's networks do, then reduced over samples.

    Args:
        logits: Scores before the logistic function.
        target: 0 or 1 (or a probability) for each output.
        sample_weight: Weight of each sample.
        positive_weight: Factor on the loss of the positives of each output.
        label_smoothing: s in [0, 1): the label becomes (1 - s) y + s / 2.
        reduction: "mean" (weighted), "sum" or "none".

    Shapes:
        logits and target N or N K, sample_weight N, positive_weight K or a scalar; a scalar comes back, or N.

    Raises:
        ParameterError: ``label_smoothing`` or ``reduction`` is out of range.
        ShapeError: Shapes that do not belong together.

    Reference:
        Cox 1958, The regression analysis of binary sequences.

    Example:
        >>> logistic(torch.tensor([1e4, -1e4]), torch.tensor([1, 1]), reduction="none")
        tensor([    0., 10000.])
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ParameterError(f"logistic: label_smoothing={label_smoothing!r}; expected a number in [0, 1).")
    y = same_shape("targets", target, logits).to(logits.dtype)
    if label_smoothing:
        y = (1 - label_smoothing) * y + label_smoothing / 2
    # softplus is -log σ(-z); F.logsigmoid is exact where F.softplus turns linear too early
    negative, positive = -F.logsigmoid(-logits), -F.logsigmoid(logits)
    if positive_weight is not None:
        positive = positive * positive_weight
    return reduce(over_outputs(y * positive + (1 - y) * negative, "sum"), sample_weight, reduction)


def class_weights(labels: Shaped[Tensor, " N"], n_classes: int) -> Float[Tensor, " K"]:
    """Weights that give every class the same sum: n / (K nₖ), scikit-learn's "balanced".

    Args:
        labels: Class numbers.
        n_classes: K.

    Raises:
        LabelError: A class has no sample, so no weight balances it.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels.long(), minlength=n_classes)
    if bool((counts == 0).any()):
        empty = int((counts == 0).nonzero()[0])
        raise LabelError(f"class_weights: class {empty} has no sample; expected at least one of each class.")
    return len(labels) / (n_classes * counts.to(torch.get_default_dtype()))


def _classes_axis(logits: Tensor, target: Tensor) -> None:
    fits = logits.ndim == 2 and (target.shape == logits.shape or target.shape == logits.shape[:1])
    if not fits:
        raise ShapeError(
            f"cross_entropy: logits {tuple(logits.shape)} and target {tuple(target.shape)} do not belong together; "
            "expected logits (N, K) and target (N,) of class numbers or (N, K) of probabilities."
        )


def _times(q: Tensor, log_p: Tensor) -> Tensor:
    # 0 times ln 0 is 0 here, as in the definition of entropy, and not NaN
    return torch.where(q == 0, torch.zeros_like(log_p), q * log_p)


def _product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a * b
