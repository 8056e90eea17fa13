"""What a denoising or masked autoencoder does to its inputs before it sees them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rosenblatt._types import Bool, Float

CORRUPTIONS = ("masking", "gaussian", "salt", "pixels", "patches")
HIDING = ("pixels", "patches")
"""Those whose loss counts only what was hidden."""


def corrupt(
    x: Float[Tensor, "N D"],
    kind: str | None,
    level: float,
    generator: torch.Generator | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    shape: tuple[int, int, int] | None = None,
) -> tuple[Float[Tensor, "N D"], Bool[Tensor, "N D"] | None]:
    """Corrupt a batch; the original stays as it is.

    "masking" sets a share of the numbers to zero, "salt" to the lowest or highest value, a fair coin each, "gaussian" adds
    normal noise (Vincent et al. 2010, section 3.3). "pixels" and "patches" hide a share too, each number by itself or whole
    squares of a picture, and say which (He et al. 2022).

    Args:
        x: Prepared samples.
        kind: One of `CORRUPTIONS`, or None, which changes nothing.
        level: Share of the numbers, or the noise's standard deviation.
        generator: Source of randomness on the device of x; None draws from torch's global one.
        low: What "salt" sets to, ...
        high: ... or else this.
        shape: (C, H, W), for "patches", whose side is a seventh of the shorter one.

    Returns:
        The corrupted samples; for "pixels" and "patches" where something is hidden, else None.

    Reference:
        Vincent et al. 2010, JMLR 11:3371; He et al. 2022, arXiv:2111.06377 (without its transformer).

    Example:
        >>> seen, hidden = corrupt(torch.ones(1, 4), "pixels", 0.5, torch.Generator().manual_seed(0))
        >>> bool((seen == ~hidden).all())
        True
    """
    if kind is None:
        return x, None
    if kind == "gaussian":
        return x + level * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype), None
    if kind == "patches" and shape is not None:
        hit = _squares(len(x), shape, level, generator, x.device)
    else:
        hit = torch.rand(x.shape, generator=generator, device=x.device) < level
    if kind == "salt":
        coin = torch.rand(x.shape, generator=generator, device=x.device) < 0.5
        salt = torch.where(coin, x.new_tensor(low), x.new_tensor(high))
        return torch.where(hit, salt, x), None
    return x.masked_fill(hit, 0.0), hit if kind in HIDING else None


def _squares(
    count: int, shape: tuple[int, int, int], level: float, generator: torch.Generator | None, device: torch.device
) -> Bool[Tensor, "N D"]:
    channels, height, width = shape
    side = max(1, min(height, width) // 7)
    cells = (count, 1, math.ceil(height / side), math.ceil(width / side))
    hit = torch.rand(cells, generator=generator, device=device) < level
    whole = hit.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :height, :width]
    return whole.expand(-1, channels, -1, -1).reshape(count, -1)
