"""How well a swap went: whose face it is, whether it does what the source did, and what got lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_gradient_magnitude

from rosenblatt._types import ArrayLike
from rosenblatt.errors import ShapeError
from rosenblatt.losses.structure import structural_similarity


@dataclass(frozen=True)
class SwapJudgement:
    """Scores of swapped faces.

    Attributes:
        n: Faces.
        identity: Share that a classifier takes for the wanted person; None without one.
        motion: Correlation of what moves in source and swap (`motion_kept`), 1 at best.
        motion_by_chance: The same with the swaps in another order: what faces without any relation reach.
        flicker: Mean change of still places from face to face of the swap, in grey levels; of frames of a film.
        flicker_of_source: The same of the source.
    """

    n: int
    identity: float | None
    motion: float
    motion_by_chance: float
    flicker: float
    flicker_of_source: float

    def row(self) -> dict[str, Any]:
        """As a dict."""
        return asdict(self)

    def __str__(self) -> str:
        who = "" if self.identity is None else f"identity {100 * self.identity:.1f} %, "
        return (
            f"{who}motion {self.motion:.3f} (by chance {self.motion_by_chance:.3f}), flicker {self.flicker:.2f} grey levels "
            f"(source {self.flicker_of_source:.2f}); {self.n} faces"
        )


def picture_similarity(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """SSIM (N,) of each pair of pictures N H W C, uint8 or from 0 to 1; see `rosenblatt.losses.structure`.

    Raises:
        ShapeError: Other shapes, or sides below 11.
    """
    x, y = (_unit(pictures) for pictures in (a, b))
    if x.shape != y.shape or x.ndim != 4 or min(x.shape[1:3]) < 11:
        raise ShapeError(
            f"picture_similarity: {x.shape} and {y.shape}; expected the same N H W C with sides of 11 or more."
        )
    tensors = (torch.from_numpy(z.astype(np.float32)).permute(0, 3, 1, 2) for z in (x, y))
    return structural_similarity(*tensors).numpy()


def motion_kept(source: ArrayLike, swapped: ArrayLike, *, blur: float = 0.02) -> float:
    """Correlation of how aligned faces differ from their own mean face, in source and swap.

    Each clip's mean face holds the person; what remains is pose and expression. How steep brightness is at each place is taken,
    not how bright it is: a light face before a dark ground moves as a dark one before a light ground does.

    Args:
        source: Aligned faces of one person (N, H, W, C), uint8 or from 0 to 1.
        swapped: The same faces as another person, in the same order.
        blur: Standard deviation of the blur, a share of the side.

    Raises:
        ShapeError: Other shapes, or fewer than two faces.

    Example:
        >>> x = np.random.default_rng(0).random((5, 16, 16, 3))
        >>> round(motion_kept(x, 0.5 * x + 0.1), 6)
        1.0
    """
    parts = []
    for pictures in (source, swapped):
        x = _unit(pictures)
        if x.ndim != 4 or len(x) < 2:
            raise ShapeError(f"motion_kept: faces of shape {x.shape}; expected (N, H, W, C) with two or more.")
        edges = np.stack([gaussian_gradient_magnitude(one, blur * x.shape[1]) for one in x.mean(3)])
        moved = edges - edges.mean(0)
        parts.append(moved - moved.mean((1, 2), keepdims=True))
    if parts[0].shape != parts[1].shape:
        raise ShapeError(f"motion_kept: {parts[0].shape} and {parts[1].shape}; expected one shape.")
    return _correlation(*parts)


def points_kept(source: ArrayLike, swapped: ArrayLike) -> float:
    """Correlation of how landmarks move about their own means, in source and swap.

    Args:
        source: Points (N, P, 2) in N faces.
        swapped: The same of the swapped faces.

    Raises:
        ShapeError: Other shapes, or fewer than two faces.
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(swapped, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 3 or len(a) < 2:
        raise ShapeError(f"points_kept: {a.shape} and {b.shape}; expected the same (N, P, 2) with two or more faces.")
    return _correlation(a - a.mean(0), b - b.mean(0))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    scale = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def _unit(pictures: ArrayLike) -> np.ndarray:
    x = np.asarray(pictures)
    return x.astype(np.float64) / 255 if x.dtype == np.uint8 else x.astype(np.float64)
