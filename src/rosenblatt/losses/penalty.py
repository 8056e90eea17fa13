"""The discriminative criterion of LeNet-5."""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Float, Int
from rosenblatt.losses.reduction import reduce

RUBBISH = 0.1
"""The constant j of eq. 9: the penalty of the "none of these" class; the paper leaves its value open."""


def map_criterion(
    logits: Float[Tensor, "N K"], y: Int[Tensor, " N"], weight: Float[Tensor, " N"] | None = None, *, j: float = RUBBISH
) -> Float[Tensor, ""]:
    r"""Maximum-a-posteriori criterion over the penalties of radial output units.

    .. math:: E = \frac1P \sum_p \Big( y_{D_p} + \log \big( e^{-j} + \sum_i e^{-y_i} \big) \Big)

    The first term pulls the penalty of the right class down, the second pushes those of the others up, and the constant
    j stops the push once they are far above it, so that the network cannot win by making all codes equal.

    Args:
        logits: Negative penalties -y.
        y: Class codes.
        weight: Weights of the samples; the result is the weighted mean.
        j: Penalty of the rubbish class.

    Reference:
        LeCun et al. 1998, doi:10.1109/5.726791, eq. 9.

    Example:
        >>> round(map_criterion(torch.tensor([[-0.0, -50.0]]), torch.tensor([0])).item(), 3)
        0.644
    """
    rubbish = logits.new_full((len(logits), 1), -j)
    each = torch.logsumexp(torch.cat([logits, rubbish], 1), 1) - logits.gather(1, y[:, None])[:, 0]
    return reduce(each, weight, "mean")
