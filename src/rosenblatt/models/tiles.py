"""Large pictures piece by piece: each piece is computed with a margin around it, and the margin is cut off."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import Float


def padded(x: Float[Tensor, "N C H W"], *, multiple: int, least: int) -> Float[Tensor, "N C h w"]:
    """Repeat the last row and column until both sides are multiples and at least so long."""
    height, width = (max(least, -(-side // multiple) * multiple) for side in x.shape[2:])
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]), mode="replicate")


def by_tiles(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "N C H W"], *, tile: int, halo: int
) -> Float[Tensor, "N C H W"]:
    """Apply a function of pictures tile by tile.

    The result equals ``function(x)`` where the halo covers the function's reach and the function depends on nothing
    else of the picture.

    Args:
        function: From a picture to one of the same height and width.
        x: Picture; its sides, the tile and the halo are multiples of the function's stride.
        tile: Side of the tiles in pixels.
        halo: Margin in pixels.

    Example:
        >>> x = torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
        >>> blur = lambda p: F.avg_pool2d(p, 5, 1, 2, count_include_pad=False)
        >>> bool(torch.allclose(by_tiles(blur, x, tile=16, halo=4), blur(x)))
        True
    """
    height, width = x.shape[2:]
    if height <= tile and width <= tile:
        return function(x)
    whole = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(height, top + tile), min(width, left + tile)
            above, before = max(0, top - halo), max(0, left - halo)
            part = function(x[:, :, above : min(height, bottom + halo), before : min(width, right + halo)])
            if whole is None:
                whole = torch.empty(*part.shape[:2], height, width, dtype=part.dtype, device=part.device)
            whole[:, :, top:bottom, left:right] = part[
                :, :, top - above : bottom - above, left - before : right - before
            ]
    return whole


def sampled(x: Float[Tensor, "1 C H W"], *, side: int, most: int = 16) -> Float[Tensor, "P C side side"]:
    """Square patches of a picture, evenly spread, as a batch: what statistics of a large picture are taken from.

    Args:
        x: Picture; its sides and the patch's are multiples of the networks' stride.
        side: Of the patches; shorter where the picture is.
        most: Patches at most; up to so many they cover the whole picture.

    Example:
        >>> sampled(torch.zeros(1, 3, 64, 160), side=64).shape
        torch.Size([3, 3, 64, 64])
    """
    height, width = min(side, x.shape[2]), min(side, x.shape[3])
    rows, columns = -(-x.shape[2] // height), -(-x.shape[3] // width)
    while rows * columns > most:
        if rows >= columns:
            rows -= 1
        else:
            columns -= 1
    return torch.cat(
        [
            x[:, :, top : top + height, left : left + width]
            for top in _spread(x.shape[2] - height, rows)
            for left in _spread(x.shape[3] - width, columns)
        ]
    )


def _spread(length: int, count: int) -> list[int]:
    """Starts from 0 to length, multiples of 8."""
    return [round(length * i / max(1, count - 1) / 8) * 8 for i in range(count)]
