"""How much a film flickers: changes of the painting that the content does not have."""

from __future__ import annotations

import numpy as np

from rosenblatt._types import ArrayLike
from rosenblatt.errors import ShapeError


def flicker(content: ArrayLike, painted: ArrayLike, *, still: float = 8.0) -> float:
    """Mean absolute change of the painting from frame to frame, in grey levels, where the content changes by no more than a few.

    Args:
        content: Frames (T, H, W, 3), uint8.
        painted: Frames of the same shape.
        still: Grey levels that a pixel of the content may change by.

    Raises:
        ShapeError: Other shapes, or fewer than two frames.

    Example:
        >>> film = np.zeros((3, 4, 4, 3), np.uint8)
        >>> flicker(film, film), flicker(film, film + np.array([0, 9, 0], np.uint8)[:, None, None, None])
        (0.0, 9.0)
    """
    a, b = np.asarray(content).astype(np.float64), np.asarray(painted).astype(np.float64)
    if a.shape != b.shape or a.ndim != 4 or len(a) < 2:
        raise ShapeError(
            f"flicker: frames {b.shape} of content {a.shape}; expected one shape (T, H, W, 3), two or more frames."
        )
    quiet = np.abs(np.diff(a, axis=0)).max(3) <= still
    change = np.abs(np.diff(b, axis=0)).mean(3)
    return float(change[quiet].mean()) if quiet.any() else float("nan")
