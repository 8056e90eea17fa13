"""A drawn face put into a frame: its colours brought to those of the face that was there, its mask feathered.

Colours are compared in CIELAB, where a step looks alike in all directions; shapes (H, W, 3), values from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from rosenblatt.data.face_alignment import Similarity, put_back
from rosenblatt.errors import ParameterError

COLORS = ("lab", "linear", "none")

# IEC 61966-2-1 primaries, D65 white
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _TO_XYZ.sum(1)
_BEND = 6 / 29


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours: L from 0 to 100, a and b about -100 to 100.

    Reference:
        CIE 015:2018, section 8.2.1; IEC 61966-2-1.

    Example:
        >>> to_lab(np.ones((1, 1, 3))).round(3).ravel().tolist()
        [100.0, 0.0, 0.0]
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    share = linear @ _TO_XYZ.T / _WHITE
    f = np.where(share > _BEND**3, np.cbrt(share), share / (3 * _BEND**2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def from_lab(lab: np.ndarray) -> np.ndarray:
    """Colours of sRGB for those of CIELAB, cut to 0 to 1 where there is no such colour."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    share = np.where(f > _BEND, f**3, 3 * _BEND**2 * (f - 4 / 29))
    linear = np.maximum(share * _WHITE @ np.linalg.inv(_TO_XYZ).T, 0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)


def match_statistics(face: np.ndarray, like: np.ndarray, mask: np.ndarray, *, space: str = "lab") -> np.ndarray:
    r"""Give a face the mean and the spread of each colour axis of another, inside a mask.

    .. math:: x' = (x - \mu_x) \frac{\sigma_{like}}{\sigma_x} + \mu_{like}

    Args:
        face: Colours to change.
        like: Colours to take them from.
        mask: Weight of each pixel (H, W), 0 to 1.
        space: "lab" (CIELAB), "linear" (as they are), or "none".

    Raises:
        ParameterError: Another space.

    Reference:
        Reinhard, Ashikhmin, Gooch & Shirley 2001, IEEE Computer Graphics and Applications 21(5), eqs. 10 to 11.
    """
    if space not in COLORS:
        raise ParameterError(f"match_statistics: space={space!r}; expected one of {', '.join(COLORS)}.")
    total = mask.sum()
    if space == "none" or total < 1:
        return face
    a, b = (face, like) if space == "linear" else (to_lab(face), to_lab(like))
    weight = mask[..., None] / total
    means = [(x * weight).sum((0, 1)) for x in (a, b)]
    spreads = [np.sqrt((np.square(x - m) * weight).sum((0, 1))) for x, m in zip((a, b), means, strict=True)]
    # a nearly flat face has no spread worth stretching: at most three times
    gain = np.clip(spreads[1] / np.maximum(spreads[0], 1e-6), 1 / 3, 3)
    moved = (a - means[0]) * gain + means[1]
    return moved.clip(0, 1) if space == "linear" else from_lab(moved)


def feather(mask: np.ndarray, width: float) -> np.ndarray:
    """A mask (H, W) that falls to zero before the face's border, over about ``width`` (a share of the side)."""
    side = min(mask.shape)
    reach = max(1e-3, width * side)
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in mask.shape)
    border = np.minimum(rows[:, None], columns[None, :]) / reach
    return np.minimum(gaussian_filter(mask, reach / 2, mode="constant"), border.clip(0, 1)).clip(0, 1)


def blend(frame: np.ndarray, face: np.ndarray, mask: np.ndarray, to_face: Similarity) -> np.ndarray:
    """A frame, uint8, with a face in place of the one that was there; where the mask is 0 no pixel changes.

    Args:
        frame: uint8 (H, W, 3).
        face: (h, w, 3), 0 to 1, aligned.
        mask: (h, w), 0 to 1, zero at its border.
        to_face: From the frame to the face.
    """
    placed, box = put_back(np.dstack([face, mask]), to_face, frame.shape[:2])
    share = placed[..., 3:].clip(0, 1)
    part = frame[box].astype(np.float64)
    mixed = part + share * (placed[..., :3] * 255 - part)
    out = frame.copy()
    out[box] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return out
