"""The loss whose minimum is a quantile."""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Float


def pinball(forecast: Float[Tensor, "... Q"], target: Float[Tensor, ...], levels: Float[Tensor, " Q"]) -> Tensor:
    """Mean pinball (quantile) loss; missing targets (NaN) do not count.

    Use it to learn quantiles instead of a mean: max(q (y - f), (q - 1) (y - f)). Twice the loss at q = 0.5 is the
    absolute error.

    Args:
        forecast: Quantiles, the last axis as ``levels``.
        target: Values; NaN where there is none.
        levels: Between 0 and 1.

    Returns:
        The mean over all present targets and levels; 0 where there is none.

    Reference:
        Koenker & Bassett 1978, doi:10.2307/1913643, equation 2.1.

    Example:
        >>> levels = torch.tensor([0.1, 0.5])
        >>> round(float(pinball(torch.zeros(1, 2), torch.tensor([1.0]), levels)), 4)
        0.3
    """
    there = ~torch.isnan(target)
    # a NaN times zero is NaN, in the gradient too: it has to go before the difference
    error = torch.where(there, target, torch.zeros_like(target)).unsqueeze(-1) - forecast
    each = torch.maximum(levels * error, (levels - 1) * error) * there.unsqueeze(-1)
    return each.sum() / (there.sum().clamp(min=1) * len(levels))
