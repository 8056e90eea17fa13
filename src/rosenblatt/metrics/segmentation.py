"""How well two label maps agree, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rosenblatt.errors import ShapeError


@dataclass(frozen=True)
class Agreement:
    """Agreement of label maps; pixels that nobody cares for do not count.

    Attributes:
        pixels: Share of pixels with the right class.
        mean_iou: Mean over the classes that occur in either map of the intersection over union.
        iou: By class; NaN of a class that occurs in neither.
    """

    pixels: float
    mean_iou: float
    iou: tuple[float, ...]


def agreement(y: np.ndarray, y_hat: np.ndarray, *, classes: int) -> Agreement:
    """Compare label maps.

    Args:
        y: Ids (N, H, W); ``classes`` where nobody cares.
        y_hat: Ids of the same shape.
        classes: K.

    Raises:
        ShapeError: Other shapes.

    Reference:
        Long, Shelhamer & Darrell 2015, arXiv:1411.4038, section 5: pixel accuracy and mean IU.

    Example:
        >>> found = agreement(np.array([[[0, 0, 1, 2]]]), np.array([[[0, 1, 1, 1]]]), classes=2)
        >>> round(found.pixels, 3), found.iou
        (0.667, (0.5, 0.5))
    """
    y, y_hat = np.asarray(y), np.asarray(y_hat)
    if y.shape != y_hat.shape:
        raise ShapeError(f"agreement: maps of shape {y_hat.shape} against {y.shape}; expected the same.")
    cared = (y >= 0) & (y < classes)
    table = np.bincount(y[cared].astype(np.int64) * (classes + 1) + y_hat[cared].clip(0, classes), minlength=0)
    table = np.resize(np.pad(table, (0, classes * (classes + 1) - len(table))), (classes, classes + 1))
    hits = np.diag(table)
    union = table.sum(1) + table[:, :classes].sum(0) - hits
    with np.errstate(invalid="ignore"):
        iou = np.where(union > 0, hits / np.maximum(union, 1), np.nan)
    return Agreement(float(hits.sum() / max(1, cared.sum())), float(np.nanmean(iou)), tuple(iou.tolist()))
