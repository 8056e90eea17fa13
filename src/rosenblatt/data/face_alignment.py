"""Faces turned upright: the similarity that brings five points nearest to a template, its exact inverse, and the resampling.

Points are (x, y) in pixels, the centre of the first pixel at (0, 0), in the order: eye at the left of the picture, eye at the
right, tip of the nose, corner of the mouth at the left, corner at the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform

from rosenblatt._types import ArrayLike
from rosenblatt.errors import DataError, NonFiniteError, ShapeError

TEMPLATE = np.array([[0.34, 0.40], [0.66, 0.40], [0.50, 0.58], [0.37, 0.74], [0.63, 0.74]])
"""Where the five points lie in an aligned face, as shares of its side: brows, cheeks and chin are inside."""


@dataclass(frozen=True)
class Similarity:
    """Turn, uniform scale and shift: y = scale R x + shift.

    Attributes:
        matrix: scale R, (2, 2); R has determinant 1, so nothing is mirrored.
        shift: (2,), pixels.
    """

    matrix: np.ndarray
    shift: np.ndarray

    def __call__(self, points: ArrayLike) -> np.ndarray:
        """Points (N, 2) carried over."""
        return np.asarray(points, dtype=np.float64) @ self.matrix.T + self.shift

    @property
    def scale(self) -> float:
        """Pixels of the goal for a pixel of the source."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def inverse(self) -> Similarity:
        """The way back, in closed form: R transposed over the scale."""
        back = self.matrix.T / np.linalg.det(self.matrix)
        return Similarity(back, -back @ self.shift)


def fit_similarity(source: ArrayLike, goal: ArrayLike) -> Similarity:
    r"""The similarity with the least sum of squared distances from carried points to their goals.

    With centred points :math:`x_i, y_i`, covariance :math:`\Sigma = \frac1n \sum y_i x_i^T = U D V^T` and
    :math:`S = \mathrm{diag}(1, \pm 1)`, -1 where :math:`\det U \det V < 0`: :math:`R = U S V^T`,
    scale :math:`= \mathrm{tr}(D S) / \sigma_x^2`, shift :math:`= \bar y - \mathrm{scale}\, R\, \bar x`.

    Args:
        source: Points (N, 2), N at least 2.
        goal: Where they are wanted, (N, 2).

    Raises:
        ShapeError: Other shapes.
        NonFiniteError: NaN or infinity.
        DataError: All points of the source are one.

    Reference:
        Umeyama 1991, IEEE Transactions on Pattern Analysis and Machine Intelligence 13(4), eqs. 40 to 42.

    Example:
        >>> found = fit_similarity([[0, 0], [2, 0]], [[1, 1], [1, 5]])
        >>> round(found.scale, 6), found([[1, 0]]).round(6).tolist()
        (2.0, [[1.0, 3.0]])
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(goal, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2 or len(a) < 2:
        raise ShapeError(
            f"fit_similarity: points {a.shape} and {b.shape}; expected the same (N, 2) with N of 2 or more."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise NonFiniteError(
            "fit_similarity: points hold NaN or infinity; expected finite numbers. Leave such faces out."
        )
    middle_a, middle_b = a.mean(0), b.mean(0)
    x, y = a - middle_a, b - middle_b
    variance = np.square(x).sum() / len(x)
    if variance <= 1e-12:
        raise DataError(
            "fit_similarity: all points of a face are one; expected eyes, nose and mouth apart. Leave it out."
        )
    u, d, vt = np.linalg.svd(y.T @ x / len(x))
    sign = np.array([1.0, -1.0 if np.linalg.det(u) * np.linalg.det(vt) < 0 else 1.0])
    rotation = (u * sign) @ vt
    matrix = float(d @ sign) / variance * rotation
    return Similarity(matrix, middle_b - matrix @ middle_a)


def alignment(points: ArrayLike, size: tuple[int, int]) -> Similarity:
    """From a frame to an aligned face of (H, W) pixels.

    Args:
        points: Five points (5, 2) in the frame; see the head of this module.
        size: Of the aligned face.

    Raises:
        ShapeError, NonFiniteError, DataError: As `fit_similarity`.
    """
    if np.shape(points) != (5, 2):
        raise ShapeError(f"alignment: points {np.shape(points)}; expected (5, 2): eyes, nose, corners of the mouth.")
    side = min(size)
    offset = (np.array([size[1], size[0]]) - side) / 2 - 0.5  # shares of a square in the middle; pixel centres
    return fit_similarity(points, TEMPLATE * side + offset)


def cut_out(frame: np.ndarray, to_face: Similarity, size: tuple[int, int]) -> np.ndarray:
    """The aligned face of a frame, float64 (H, W, C), bilinear; beyond the frame its border goes on.

    Where the frame is finer than the face it is averaged first, so that nothing finer than a pixel of the face folds over.

    Args:
        frame: (H, W, C).
        to_face: From the frame to the face.
        size: (H, W) of the face.
    """
    back, pixels = to_face.inverse(), np.asarray(frame, dtype=np.float64)
    fold = max(1, round(back.scale))
    if fold > 1:
        pixels = _averaged(pixels, fold)
        back = Similarity(back.matrix / fold, (back.shift - (fold - 1) / 2) / fold)
    return _sampled(pixels, back, (0, 0), size)


def put_back(face: np.ndarray, to_face: Similarity, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """An aligned face carried into its place in a frame.

    Args:
        face: (H, W, C).
        to_face: From the frame to the face; its exact inverse carries the corners.
        shape: (H, W) of the frame.

    Returns:
        float64 pixels of the smallest upright box of the frame that holds the face, and that box as (rows, columns); empty
        where the face lies outside. Beyond the face its border goes on: a mask says where it counts.
    """
    height, width = face.shape[:2]
    corners = to_face.inverse()([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    low = np.clip(np.floor(corners.min(0)), 0, [shape[1], shape[0]]).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, [shape[1], shape[0]]).astype(int)
    box = (slice(low[1], max(low[1], high[1])), slice(low[0], max(low[0], high[0])))
    size = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    if 0 in size:
        return np.zeros((*size, face.shape[2])), box
    return _sampled(np.asarray(face, dtype=np.float64), to_face, (low[1], low[0]), size), box


def _sampled(pixels: np.ndarray, place: Similarity, start: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Pixels at place(column, row) for each row and column of a box that begins at ``start``."""
    matrix = place.matrix[::-1, ::-1]  # scipy counts (row, column)
    shift = place.shift[::-1] + matrix @ np.asarray(start, dtype=np.float64)
    channels = [
        affine_transform(pixels[..., c], matrix, shift, output_shape=size, order=1, mode="nearest")
        for c in range(pixels.shape[2])
    ]
    return np.stack(channels, 2)


def _averaged(pixels: np.ndarray, fold: int) -> np.ndarray:
    """Blocks of fold x fold pixels as one; the border goes on where the last block is not full."""
    height, width, channels = pixels.shape
    grown = np.pad(pixels, ((0, -height % fold), (0, -width % fold), (0, 0)), mode="edge")
    return grown.reshape(-(-height // fold), fold, -(-width // fold), fold, channels).mean((1, 3))
