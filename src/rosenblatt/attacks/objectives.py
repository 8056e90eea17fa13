"""What attacks raise: a number a sample that is larger the more wrong the answer is.

Each takes logits (N, K), labels (N,) and the wanted labels (N,) or None, and gives (N,). With a wanted label all grow as its
class wins. The shift of all logits of a sample by a number changes none; DLR is invariant to their scale as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Highest other logit less the label's, positive if the answer is wrong; with a target its logit less the highest other."""
    index = (y if target is None else target)[:, None]
    own = logits.gather(1, index)[:, 0]
    other = logits.scatter(1, index, -torch.inf).amax(1)
    return other - own if target is None else own - other


def cross_entropy(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Cross-entropy of the label; with a target minus that of the target.

    DEPARTS: logits whose two highest are more than 20 apart are divided until they are 20 apart, since beyond that the softmax
    is 1 and its gradient 0: a network whose logits are large would look robust.
    """
    top = logits.detach().topk(2, dim=1).values
    logits = logits / ((top[:, :1] - top[:, 1:]) / _SATURATED).clamp_min(1)
    return (
        F.cross_entropy(logits, y, reduction="none")
        if target is None
        else -F.cross_entropy(logits, target, reduction="none")
    )


def dlr(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    r"""Difference of logits ratio (Croce & Hein 2020, arXiv:2003.01690, eq. 6 and 8).

    .. math:: -\frac{z_y - \max_{i \ne y} z_i}{z_{\pi_1} - z_{\pi_3}}, \qquad
              -\frac{z_y - z_t}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}

    DEPARTS: with fewer classes than the formula names, the lowest logit stands in for what is not there: with two classes the
    ratio would be constant, so the denominator is left out, and the scale of the logits matters.
    """
    classes = logits.shape[1]
    if classes < 3:
        return margin(logits, y, target)
    ordered = logits.sort(1, descending=True).values
    if target is None:
        return margin(logits, y) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)
    low = (ordered[:, 2] + ordered[:, min(3, classes - 1)]) / 2
    rise = logits.gather(1, target[:, None])[:, 0] - logits.gather(1, y[:, None])[:, 0]
    return rise / (ordered[:, 0] - low).clamp_min(1e-12)


_SATURATED = 20.0
OBJECTIVES = {"ce": cross_entropy, "dlr": dlr, "margin": margin}


def reached(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    """Whether the answers (N,) are wrong, or the wanted ones; an answer is the first of the highest logits."""
    return logits.argmax(1) != y if target is None else logits.argmax(1) == target
