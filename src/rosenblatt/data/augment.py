"""Augmentation of whole batches, on the device that they lie on.

Each step is a function of raw pixels (N, C, H, W), uint8 or float, and a generator; `Augment` runs those that a plan names.
Random numbers are drawn on the generator's device (the CPU) and are few: one or two a picture.

References: crops, flips and colours along principal components: Krizhevsky, Sutskever & Hinton 2012, section 4.1; cutout:
DeVries & Taylor 2017, arXiv:1708.04552; mixup: Zhang, Cisse, Dauphin & Lopez-Paz 2017, arXiv:1710.09412.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.errors import ParameterError

STEPS = ("shift", "rotate", "crop", "flip", "colour", "pca", "cutout", "mixup")
"""All steps, in the order in which they run whatever the order of the words is."""

KEPT = 7 / 8
"""Share of the side that "crop" keeps: 224 of 256 pixels, as in the paper."""

DEGREES = 15.0
"""Largest turn of "rotate"."""

JITTER = 0.3
"""Largest relative change of brightness, contrast and saturation of "colour"."""

IN_TURNS = "altflip"
"""Mirroring in turns; it needs to know the picture and the epoch, so the batches do it (`Resident`)."""

HOLE = 0.25
"""Side of the square of "cutout" as a share of the picture's."""

MIXING = 0.2
"""Both parameters of the beta distribution of "mixup"."""


@dataclass(frozen=True)
class Colours:
    """What the colour steps have to know of the training pictures.

    Attributes:
        low: Darkest value.
        high: Brightest value.
        values: Variances along the principal components of the pixels' colours, on a scale of 0 to 1.
        vectors: The components, one a column.
    """

    low: float
    high: float
    values: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, pictures: np.ndarray) -> Colours:
        """Principal components of the colours of pictures (N, H, W, C), uint8 or float.

        Example:
            >>> grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, 3)
            >>> Colours.of(grey).values.round(3).tolist()[::-1]  # one component alone: brightness
            [0.253, 0.0, 0.0]
        """
        whole = pictures.dtype == np.uint8
        low, high = (0.0, 255.0) if whole else (float(pictures.min()), float(pictures.max()))
        pixels = pictures.reshape(-1, pictures.shape[-1])
        pixels = pixels[:: max(1, len(pixels) // 1_000_000)].astype(np.float64)
        spread = np.atleast_2d(np.cov((pixels - low) / ((high - low) or 1.0), rowvar=False))
        values, vectors = np.linalg.eigh(np.nan_to_num(spread))
        return cls(low, high, np.clip(values, 0, None), vectors)


def shift(x: Tensor, source: torch.Generator) -> Tensor:
    """Move each picture by up to a fourteenth of its shorter side; its border is repeated."""
    count, _, height, width = x.shape
    reach = max(1, min(height, width) // 14)
    padded = F.pad(x.float(), (reach,) * 4, mode="replicate").to(x.dtype)
    return _cut(padded, _integers(source, 2 * reach + 1, (count, 2), x.device), (height, width))


def crop(x: Tensor, source: torch.Generator, *, size: tuple[int, int]) -> Tensor:
    """Cut a patch of the size (height, width) out of each picture, anywhere."""
    count, _, height, width = x.shape
    rows = _integers(source, height - size[0] + 1, (count, 1), x.device)
    columns = _integers(source, width - size[1] + 1, (count, 1), x.device)
    return _cut(x, torch.cat([rows, columns], 1), size)


def centre(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The patch of the size (height, width) in the middle."""
    top, left = ((whole - part) // 2 for whole, part in zip(x.shape[2:], size, strict=True))
    return x[:, :, top : top + size[0], left : left + size[1]]


def ten_crops(x: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """The four corner patches, the central one, and the five mirrored ones (Krizhevsky et al. 2012, section 4.1)."""
    height, width = size
    corners = [(0, 0), (0, x.shape[3] - width), (x.shape[2] - height, 0), (x.shape[2] - height, x.shape[3] - width)]
    for patch in [*(x[:, :, r : r + height, c : c + width] for r, c in corners), centre(x, size)]:
        yield patch
        yield patch.flip(3)


def views_of(x: Tensor, words: str) -> Iterator[tuple[float, Tensor]]:
    """What pictures are shown as in prediction: (share in the mean, pictures).

    "none": as they are. "flip": also mirrored. "flip+shift": both of these for a half, and both of the pictures moved by a
    pixel to the upper left and to the lower right for a quarter each (Jordan 2024, arXiv:2404.00498, section 3.5).
    """
    if words == "none":
        yield 1.0, x
        return
    moved = [(1.0, x)]
    if words == "flip+shift":
        padded = F.pad(x.float(), (1,) * 4, mode="reflect").to(x.dtype)
        height, width = x.shape[2:]
        moved = [(0.5, x), (0.25, padded[:, :, :height, :width]), (0.25, padded[:, :, 2:, 2:])]
    for share, view in moved:
        yield share / 2, view
        yield share / 2, view.flip(3)


def flip(x: Tensor, source: torch.Generator) -> Tensor:
    """Mirror half of the pictures, left to right."""
    mirrored = torch.rand(len(x), generator=source, device=source.device).to(x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def rotate(x: Tensor, source: torch.Generator) -> Tensor:
    """Turn each picture by up to 15 degrees to either side; beyond the edge the border is repeated."""
    angle = (2 * torch.rand(len(x), generator=source, device=source.device) - 1) * math.radians(DEGREES)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    ratio = x.shape[2] / x.shape[3]  # the grid's unit is half a side, so an oblong picture must not be sheared
    turn = torch.stack([cos, -sin * ratio, zero, sin / ratio, cos, zero], 1).view(-1, 2, 3).to(x.device)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, padding_mode="border", align_corners=False)


def colour(x: Tensor, source: torch.Generator, *, colours: Colours) -> Tensor:
    """Change brightness, contrast and saturation of each picture by up to 30 % either way."""
    draws = 1 + JITTER * (2 * torch.rand((3, len(x)), generator=source, device=source.device) - 1)
    bright, contrast, saturation = draws.to(x.device)[:, :, None, None, None]
    values = (x.float() - colours.low) * bright
    values = torch.lerp(values.mean((1, 2, 3), keepdim=True), values, contrast)
    values = torch.lerp(values.mean(1, keepdim=True), values, saturation)
    return (values + colours.low).clamp(colours.low, colours.high)


def pca(x: Tensor, source: torch.Generator, *, colours: Colours) -> Tensor:
    r"""Add to all pixels of a picture one colour along the principal components of the training set's.

    .. math:: [p_1, p_2, p_3] [\alpha_1 \lambda_1, \alpha_2 \lambda_2, \alpha_3 \lambda_3]^T, \quad
              \alpha_i \sim N(0, 0.1^2)

    The paper does not say in which unit the eigenvalues are; here pixels go from 0 to 1.
    """
    draws = 0.1 * torch.randn((len(x), x.shape[1]), generator=source, device=source.device)
    basis = torch.from_numpy((colours.vectors * colours.values).T * (colours.high - colours.low)).float()
    return x.float() + (draws @ basis.to(draws.device)).to(x.device)[:, :, None, None]


def cutout(x: Tensor, source: torch.Generator) -> Tensor:
    """Fill a square of a quarter of the side with the picture's mean colour; its centre may lie anywhere."""
    count, _, height, width = x.shape
    half = max(1, round(HOLE * min(height, width))) / 2
    places = torch.rand((count, 2), generator=source, device=source.device).to(x.device)
    rows = (torch.arange(height, device=x.device) + 0.5 - places[:, :1] * height).abs() <= half  # N H
    columns = (torch.arange(width, device=x.device) + 0.5 - places[:, 1:] * width).abs() <= half  # N W
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    values = x.float()
    return torch.where(hole, values.mean((2, 3), keepdim=True), values)


class Mixup:
    """Each picture of a batch mixed with another one of it; the loss is mixed in the same shares.

    Reference:
        Zhang et al. 2017, arXiv:1710.09412, eq. 1, with one share a batch.
    """

    def __init__(self) -> None:
        self.share, self.partner = 1.0, torch.zeros(0, dtype=torch.long)

    def __call__(self, x: Tensor, source: torch.Generator) -> Tensor:
        """Mix the batch, and remember how."""
        seed = int(torch.randint(2**31, (1,), generator=source, device=source.device))
        self.share = float(np.random.default_rng(seed).beta(MIXING, MIXING))
        self.partner = torch.randperm(len(x), generator=source, device=source.device).to(x.device)
        values = x.float()
        return torch.lerp(values[self.partner], values, self.share)

    def loss(self, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The loss of the batch that was mixed last: both answers count, by their shares."""

        def mixed(output: Any, y: Tensor, weight: Tensor | None) -> Tensor:
            other = None if weight is None else weight[self.partner]
            return self.share * loss(output, y, weight) + (1 - self.share) * loss(output, y[self.partner], other)

        return mixed


class Augment:
    """The steps of a plan as one function of a batch.

    Args:
        words: Names of steps joined by "+", or "none".
        source: Where the random numbers come from.
        size: (height, width) of what "crop" cuts out.
        colours: What "colour" and "pca" need.

    Raises:
        ParameterError: An unknown word, or a step without what it needs.

    Example:
        >>> augment = Augment("flip+cutout", torch.Generator().manual_seed(0))
        >>> augment(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        words: str,
        source: torch.Generator,
        *,
        size: tuple[int, int] | None = None,
        colours: Colours | None = None,
    ):
        wanted = [] if words == "none" else [word for word in words.split("+") if word != IN_TURNS]
        if unknown := [word for word in wanted if word not in STEPS]:
            raise ParameterError(f"augment={words!r} names {unknown[0]!r}; expected 'none' or {', '.join(STEPS)}.")
        if "crop" in wanted and size is None:
            raise ParameterError("augment: 'crop' without a size; expected size=(height, width).")
        if colours is None and {"colour", "pca"} & set(wanted):
            raise ParameterError("augment: 'colour' or 'pca' without colours; expected colours=Colours.of(pictures).")
        self.source, self.mixup = source, Mixup() if "mixup" in wanted else None
        functions = {
            "shift": shift, "rotate": rotate, "crop": partial(crop, size=size), "flip": flip, "cutout": cutout,
            "colour": partial(colour, colours=colours), "pca": partial(pca, colours=colours), "mixup": self.mixup,
        }  # fmt: skip
        self.steps: list[Any] = [functions[name] for name in STEPS if name in wanted]

    def __call__(self, x: Tensor) -> Tensor:
        """Run all steps over a batch."""
        for step in self.steps:
            x = step(x, self.source)
        return x

    def loss(self, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The loss that goes with the batches: mixed where they are."""
        return loss if self.mixup is None else self.mixup.loss(loss)


def _integers(source: torch.Generator, high: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.randint(0, high, shape, generator=source, device=source.device).to(device)


def _cut(x: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
    """From each picture the patch of a size at its own corner (N, 2)."""
    row = (torch.arange(size[0], device=x.device) + corner[:, :1])[:, :, None]  # N h 1
    column = (torch.arange(size[1], device=x.device) + corner[:, 1:])[:, None, :]  # N 1 w
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[picture, row, column].permute(0, 3, 1, 2)
