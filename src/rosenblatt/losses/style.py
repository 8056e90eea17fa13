"""Distances between the features of pictures: content, style, smoothness.

Reference: Gatys, Ecker & Bethge, "Image style transfer using convolutional neural networks", CVPR 2016; Johnson, Alahi &
Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016, arXiv:1603.08155; Huang &
Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization", ICCV 2017, arXiv:1703.06868.

Everything here computes in fp32, inside bf16 autocast too: sums over a quarter of a million pixels overflow fp16 and lose
their last digits in bf16.

# DEPARTS: the papers divide by the number of channels and pixels, which leaves layers of very different size; here each
# layer's distance is relative to its target, so that one weight means the same on every network, layer and picture size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rosenblatt._types import Float
from rosenblatt.errors import ShapeError

_TINY = 1e-8


def gram_matrix(features: Float[Tensor, "N C H W"], mask: Float[Tensor, "1 1 H W"] | None = None) -> Tensor:
    """Products of the channels, averaged over the pixels: G_ij = sum_k F_ik F_jk / (H W).

    Args:
        features: Responses of one layer, in any precision.
        mask: Weight of each pixel, or None for 1 everywhere: G_ij = sum_k m_k F_ik F_jk / sum_k m_k.

    Returns:
        (N, C, C), float32 (float64 of float64), symmetric.

    Raises:
        ShapeError: Not four axes, or a mask of another height and width.

    Reference:
        Gatys et al. 2016, equation 3; with a mask Gatys et al. 2017, "Controlling perceptual factors", equation 4.

    Example:
        >>> gram_matrix(torch.ones(1, 2, 4, 4, dtype=torch.bfloat16)).tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
    """
    if features.ndim != 4:
        raise ShapeError(f"gram_matrix: features {tuple(features.shape)}; expected (N, C, H, W).")
    if mask is not None and mask.shape[-2:] != features.shape[-2:]:
        raise ShapeError(
            f"gram_matrix: a mask {tuple(mask.shape[-2:])} for features {tuple(features.shape[-2:])}; expected one "
            "weight a pixel. Resize the mask."
        )
    with torch.autocast(features.device.type, enabled=False):
        rows = _wide(features).permute(0, 2, 3, 1).flatten(1, 2)  # N H*W C: a view where the channels lie last
        weight = None if mask is None else mask.to(rows).reshape(1, -1, 1)
        return _Gram.apply(rows, weight)


class _Gram(torch.autograd.Function):
    """Rows (N, K, C) and weights (1, K, 1) or None -> (N, C, C).

    Autograd would multiply twice going back, once for each factor. They are the same one:
    dL/dF = F (dL/dG + dL/dG^T) / K, one product, laid out like F so that nothing after it must turn it round.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        if weight is None:
            return rows.mT @ rows / rows.shape[1]
        return rows.mT @ (rows * weight) / weight.sum().clamp_min(_TINY)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        rows, weight = ctx.saved_tensors
        both = gradient + gradient.mT
        if weight is None:
            return rows @ (both / rows.shape[1]), None
        return rows @ (both / weight.sum().clamp_min(_TINY)) * weight, None


def relative_distance(value: Tensor, target: Tensor) -> Tensor:
    """Squared distance over the target's squared length: ||value - target||^2 / ||target||^2.

    0 where both are equal; 1 for a value of zero.

    Example:
        >>> relative_distance(torch.zeros(3), torch.ones(3)).item()
        1.0
    """
    with torch.autocast(value.device.type, enabled=False):
        value, target = _wide(value), _wide(target)
        return (value - target).square().sum() / target.square().sum().clamp_min(_TINY)


def content_distance(features: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Mean over the layers of the relative distance of the features (Gatys et al. 2016, equation 1)."""
    return torch.stack([relative_distance(features[name], target) for name, target in targets.items()]).mean()


def style_distance(
    features: Mapping[str, Tensor], targets: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Mean over the layers of the relative distance of the Gram matrices (Gatys et al. 2016, equations 4 and 5).

    Args:
        features: Responses (N, C, H, W) by layer.
        targets: Gram matrices (1, C, C) by layer; they name the layers that count.
        masks: Weights of the pixels by layer, or None.
    """
    parts = []
    for name, target in targets.items():
        gram = gram_matrix(features[name], None if masks is None else masks[name])
        parts.append(relative_distance(gram, target.expand_as(gram)))
    return torch.stack(parts).mean()


def total_variation(picture: Float[Tensor, "N C H W"]) -> Tensor:
    """Mean squared difference of neighbouring pixels; 0 for a picture of one pixel.

    Reference:
        Mahendran & Vedaldi 2015, "Understanding deep image representations by inverting them", section 3.2, beta = 2.
    """
    across, down = picture.diff(dim=3), picture.diff(dim=2)
    return across.square().sum() / max(1, across.numel()) + down.square().sum() / max(1, down.numel())


def channel_statistics(features: Float[Tensor, "N C H W"], eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (N, C, 1, 1) of each channel over its pixels (Huang & Belongie 2017, eq. 5 and 6)."""
    with torch.autocast(features.device.type, enabled=False):
        wide = _wide(features)
        variance, mean = torch.var_mean(wide, dim=(2, 3), keepdim=True, correction=0)
        return mean, (variance + eps).sqrt()


def statistics_distance(features: Mapping[str, Tensor], targets: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Mean over the layers of the relative distance of means and deviations (Huang & Belongie 2017, equation 13)."""
    parts = []
    for name, (mean, deviation) in targets.items():
        got_mean, got_deviation = channel_statistics(features[name])
        parts.append(relative_distance(torch.cat([got_mean, got_deviation]), torch.cat([mean, deviation])))
    return torch.stack(parts).mean()


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
