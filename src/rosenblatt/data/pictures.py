"""Pictures as arrays (N, H, W, C): what a user passes, brought into one form."""

from __future__ import annotations

from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt.errors import DataError, ShapeError


def as_pictures(X: Any, *, who: str = "as_pictures") -> np.ndarray:
    """Bring pictures into one array (N, H, W, C) of uint8 or float32.

    Args:
        X: uint8 or float array or tensor, N H W or N H W C; or a list of pictures of one size. Other integers are
            taken as grey levels and must lie in 0 to 255; booleans become 0 and 1.
        who: Start of the messages.

    Returns:
        uint8 where integers came, float32 otherwise.

    Raises:
        ShapeError: Another number of axes, axes in the order N C H W, no picture, or pictures of several sizes.
        NonFiniteError: NaN or infinity.
        DataError: Text, complex numbers, or integers outside 0 to 255.

    Example:
        >>> as_pictures(np.zeros((2, 8, 8), np.uint8)).shape
        (2, 8, 8, 1)
    """
    array = _as_array(X, who)
    if array.ndim == 2:
        side = round(array.shape[1] ** 0.5)
        fix = f"Use X.reshape(-1, {side}, {side})." if side * side == array.shape[1] else "Use X.reshape(-1, H, W)."
        raise ShapeError(f"{who}: X has 2 axes {array.shape}; expected pictures N H W or N H W C. {fix}")
    if array.ndim not in (3, 4):
        raise ShapeError(f"{who}: X has {array.ndim} axes {array.shape}; expected N H W or N H W C.")
    if 0 in array.shape:
        raise ShapeError(f"{who}: X is empty {array.shape}; expected at least one picture of at least one pixel.")
    if array.ndim == 4 and array.shape[3] not in (1, 2, 3, 4) and array.shape[1] in (1, 3, 4):
        raise ShapeError(f"{who}: X {array.shape} looks like N C H W; expected N H W C. Use X.transpose(0, 2, 3, 1).")
    array = array[..., None] if array.ndim == 3 else array
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise DataError(f"{who}: X holds integers from {low} to {high}; expected 0 to 255. Scale X to floats.")
        return array.astype(np.uint8)
    if array.dtype == np.uint8:
        return _own(array, np.uint8)
    _validate.finite(who, array)
    return _own(array, np.float32)


def _own(array: np.ndarray, dtype: type) -> np.ndarray:
    """Contiguous, and writable as torch wants it: read-only arrays (memory maps, buffers) are copied."""
    return np.require(array, dtype=dtype, requirements=["C", "W"])


def _as_array(X: Any, who: str) -> np.ndarray:
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    if isinstance(X, (list, tuple)):
        sizes = sorted({np.shape(picture) for picture in X}, key=str)
        if len(sizes) > 1:
            raise ShapeError(
                f"{who}: X holds pictures of {len(sizes)} sizes {sizes[:3]}; expected one. Resize them first."
            )
    array = np.asarray(X)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{who}: X has the type {array.dtype}; expected uint8 or floats.")
    return array.astype(np.float32) if array.dtype.kind == "b" else array
