"""Structural similarity: how alike two pictures are in local means, spread and covariance.

The Gaussian windows are products with two band matrices, which is faster on small pictures than a convolution a channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Float

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def structural_similarity(
    x: Float[Tensor, "N C H W"], y: Float[Tensor, "N C H W"], *, weight: Float[Tensor, "N 1 H W"] | None = None
) -> Float[Tensor, " N"]:
    r"""Mean SSIM of each pair of pictures in 0 to 1, over channels and all places where the window fits.

    .. math:: \frac{(2 \mu_x \mu_y + K_1^2)(2 \sigma_{xy} + K_2^2)}{(\mu_x^2 + \mu_y^2 + K_1^2)(\sigma_x^2 + \sigma_y^2 + K_2^2)}

    with moments in a Gaussian window of 11 x 11 pixels and standard deviation 1.5, K1 = 0.01 and K2 = 0.03.

    Args:
        x: Pictures.
        y: Pictures to compare them with.
        weight: What each place counts; None counts all alike.

    Raises:
        ValueError: A side below 11 pixels, where no window fits.

    Reference:
        Wang, Bovik, Sheikh & Simoncelli 2004, IEEE Transactions on Image Processing 13(4), eq. 13.

    Example:
        >>> x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> structural_similarity(x, x).tolist(), bool((structural_similarity(x, 1 - x) < 0.1).all())
        ([1.0, 1.0], True)
    """
    if min(x.shape[2:]) < WINDOW:
        raise ValueError(f"pictures of {tuple(x.shape[2:])} pixels; expected sides of {WINDOW} or more for the window")
    x, y = x.float(), y.float()
    rows, columns = (_band(size, x) for size in x.shape[2:])
    parts = torch.cat([x, y, x * x, y * y, x * y], 1)
    smooth = rows @ parts @ columns.T  # N 5C H-10 W-10
    mean_x, mean_y, xx, yy, xy = smooth.chunk(5, 1)
    both, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    value = (2 * both + K1**2) * (2 * (xy - both) + K2**2)
    value = value / ((squares + K1**2) * (xx + yy - squares + K2**2))
    if weight is None:
        return value.mean((1, 2, 3))
    edge = WINDOW // 2
    inner = weight[:, :, edge:-edge, edge:-edge].expand_as(value)
    return (value * inner).sum((1, 2, 3)) / inner.sum((1, 2, 3))


def _band(size: int, like: Tensor) -> Tensor:
    """Matrix (size - 10, size) whose rows are the window at each place."""
    taps = torch.exp(-torch.arange(-(WINDOW // 2), WINDOW // 2 + 1, dtype=torch.float64).square() / (2 * SIGMA**2))
    taps = (taps / taps.sum()).to(like)
    matrix = like.new_zeros(size - WINDOW + 1, size)
    for row in range(len(matrix)):
        matrix[row, row : row + WINDOW] = taps
    return matrix
