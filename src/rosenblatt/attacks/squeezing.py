"""Transformations of the input that were proposed as defences; alone none is one.

Each throws away what a small perturbation is made of, and with it the gradient: an attack that follows that gradient finds
nothing, which says nothing. Put one before a network with `rosenblatt.attacks.Transformed`, and judge it by
`rosenblatt.attacks.bpda`.

References: bit depth and median: Xu, Evans & Qi 2018, arXiv:1704.01155, section 3; JPEG: Dziugaite, Ghahramani & Roy 2016,
arXiv:1608.00853; their fall: Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 5.
Departure: the median's window has an odd side and mirrors the picture at its borders.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import Float, Shaped
from rosenblatt._validate import Number, parameter
from rosenblatt.errors import ParameterError, ShapeError


def bit_depth(x: Shaped[Tensor, "N ..."], bits: int = 3, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Inputs on the nearest of 2^bits levels; its gradient is zero wherever there is one.

    Args:
        x: Inputs (N, ...).
        bits: Of a value.
        bounds: Lowest and highest level.

    Raises:
        ParameterError: Less than one bit.

    Example:
        >>> bit_depth(torch.tensor([[0.0, 0.3, 0.6, 1.0]]), 1)
        tensor([[0., 0., 1., 1.]])
    """
    parameter("bit_depth", "bits", bits, Number(1, 16, integer=True))
    low, high = bounds
    steps = (2**bits - 1) / (high - low)
    return ((x - low) * steps).round() / steps + low


def jpeg(x: Float[Tensor, "N C H W"], quality: int = 75, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Pictures after JPEG by Pillow and back; there is no gradient.

    Args:
        x: Grey or colour pictures (N, C, H, W).
        quality: Of Pillow, 1 to 95.
        bounds: What is black, and what is white.

    Raises:
        ParameterError: A quality beyond 1 to 95.
        ShapeError: Not pictures of one or three channels.
    """
    parameter("jpeg", "quality", quality, Number(1, 95, integer=True))
    _pictures("jpeg", x)
    if x.shape[1] not in (1, 3):
        raise ShapeError(f"jpeg: pictures of {x.shape[1]} channels; expected 1 or 3.")
    low, high = bounds
    pixels = ((x.detach() - low) / (high - low) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    back = np.stack([_through_jpeg(picture.squeeze(-1) if x.shape[1] == 1 else picture, quality) for picture in pixels])
    y = torch.from_numpy(back).to(x.device, x.dtype).view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    return y / 255 * (high - low) + low


def _through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def median(x: Float[Tensor, "N C H W"], side: int = 3) -> Float[Tensor, "N C H W"]:
    """The median of each pixel's square neighbourhood, by channel; the gradient goes to one pixel of it.

    Args:
        x: Pictures (N, C, H, W).
        side: Of the square, odd.

    Raises:
        ParameterError: An even side.
        ShapeError: Not pictures, or smaller ones than the square.
    """
    parameter("median", "side", side, Number(1, integer=True))
    if side % 2 == 0:
        raise ParameterError(f"median: side={side}; expected an odd integer, so that the pixel is in the middle.")
    _pictures("median", x)
    reach = side // 2
    if min(x.shape[2:]) <= reach:
        raise ShapeError(
            f"median: pictures of {tuple(x.shape[2:])} pixels; expected more than {reach} for side={side}."
        )
    padded = F.pad(x, (reach,) * 4, mode="reflect")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)  # (N, C, H, W, side, side)
    return windows.flatten(4).median(4).values


def _pictures(who: str, x: Tensor) -> None:
    if x.ndim != 4:
        raise ShapeError(
            f"{who}: inputs of shape {tuple(x.shape)}; expected pictures (n_samples, channels, height, width)."
        )
