"""Faces in a picture, by any detector: the box, five points and a score of each.

A detector is any function of a frame, uint8 (H, W, 3), that returns `Face` objects; `compact_detector` wraps the library yuface
(the extra ``face``), whose network is inside its wheel, so nothing is downloaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rosenblatt.data.face_alignment import alignment, cut_out
from rosenblatt.data.photo import read_photo
from rosenblatt.errors import DataError, MissingExtraError, PictureError, ShapeError

LONGEST = 640
"""Pixels of the longer side at which `compact_detector` looks; larger frames are reduced for it."""


@dataclass(frozen=True)
class Face:
    """A face in a frame.

    Attributes:
        points: (5, 2) of x and y in pixels: left eye, right eye, nose, left and right corner of the mouth, as seen.
        box: x, y, width, height in pixels, or None.
        score: How sure the detector is, 0 to 1.
    """

    points: np.ndarray
    box: tuple[float, float, float, float] | None = None
    score: float = 1.0

    @property
    def span(self) -> float:
        """Distance between the middle of the eyes and that of the mouth: how large the face is, in pixels."""
        return float(np.linalg.norm(self.points[:2].mean(0) - self.points[3:].mean(0)))


Detector = Callable[[np.ndarray], Sequence[Face]]


def compact_detector(*, threshold: float = 0.6) -> Detector:
    """The detector of the library yuface: Yu's compact network with five points a face, compiled into its wheel.

    Args:
        threshold: Least score of a face, 0 to 1.

    Raises:
        MissingExtraError: Without the extra ``face``.

    Reference:
        Wu, Peng & Yu 2023, YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 20.
    """
    try:
        from yuface import detect
    except ImportError as error:
        raise MissingExtraError(
            "Faces are found by the library yuface; install it with: pip install 'rosenblatt[face]' (wheels up to Python "
            "3.11), or pass a detector of your own: a function of a frame that returns rosenblatt.data.face_detection.Face "
            "objects."
        ) from error

    def find(frame: np.ndarray) -> list[Face]:
        photo, scale = read_photo(frame).resized(LONGEST), 1.0
        if photo.pixels.shape != frame.shape:
            scale = frame.shape[0] / photo.pixels.shape[0]
        blue_first = np.ascontiguousarray(photo.pixels[:, :, ::-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores, boxes, points = detect(blue_first, threshold)
        places = (points.reshape(-1, 5, 2).astype(np.float64) + 0.5) * scale - 0.5
        return [
            Face(place, tuple(float(v) * scale for v in box), float(score) / 100)
            for score, box, place in zip(scores, boxes, places, strict=True)
        ]

    return find


def find_faces(frame: np.ndarray, detector: Detector, *, who: str = "find_faces") -> list[Face]:
    """All faces of a frame, the largest first.

    Raises:
        DataError, ShapeError: The detector returned something else than faces with five finite points.
    """
    found = list(detector(frame))
    for face in found:
        points = getattr(face, "points", None)
        if not isinstance(face, Face) or np.shape(points) != (5, 2):
            raise ShapeError(
                f"{who}: the detector returned {type(face).__name__} with points {np.shape(points)}; expected "
                "rosenblatt.data.face_detection.Face objects with points (5, 2)."
            )
        if not np.isfinite(points).all():
            raise DataError(
                f"{who}: the detector returned points with NaN or infinity; expected pixels. Mend the detector."
            )
    return sorted(found, key=lambda face: -face.span)


def align_faces(
    pictures: Iterable[Any],
    *,
    size: int | tuple[int, int] = 64,
    detector: Detector | None = None,
    several: str = "refuse",
    names: Sequence[str] | None = None,
    skip_missing: bool = False,
    who: str = "align_faces",
) -> tuple[np.ndarray, list[str]]:
    """One aligned face of each picture, for `rosenblatt.FaceSwap.fit`.

    Args:
        pictures: Paths, Pillow images, or arrays H W 3 (uint8, or floats from 0 to 1).
        size: Side of the faces in pixels, or (H, W).
        detector: None takes `compact_detector`.
        several: Of a picture with more than one face: "refuse", or "largest".
        names: What the pictures are called in messages; None numbers them, or takes their paths.
        skip_missing: Leave pictures without a face out; else they are refused.
        who: Start of the messages.

    Returns:
        uint8 (N, H, W, 3), and the names of the pictures that were left out.

    Raises:
        PictureError: No face in some pictures (named and counted), or none in any, or a picture that cannot be read.
        DataError: More than one face in a picture.
        MissingExtraError: No detector was given, and the extra ``face`` is not installed.
    """
    detector = detector or compact_detector()
    shape = (size, size) if isinstance(size, int) else size
    faces, without, crowded = [], [], []
    for number, picture in enumerate(pictures):
        name = names[number] if names is not None else _name(picture, number)
        pixels = read_photo(picture, who=who).pixels
        found = find_faces(pixels, detector, who=who)
        if not found:
            without.append(name)
            continue
        if len(found) > 1 and several != "largest":
            crowded.append(f"{name} ({len(found)})")
            continue
        faces.append(cut_out(pixels, alignment(found[0].points, shape), shape))
    if crowded:
        raise DataError(
            f"{who}: more than one face in {_few(crowded)}; expected one a picture. Crop them, or take several='largest'."
        )
    if without and (not skip_missing or not faces):
        raise PictureError(
            f"{who}: no face found in {_few(without)}; expected one a picture. Leave them out (skip_missing=True), or pass "
            "another detector."
        )
    if not faces:
        raise PictureError(f"{who}: no picture at all; expected at least one.")
    return np.clip(np.rint(np.stack(faces)), 0, 255).astype(np.uint8), without


def _name(picture: Any, number: int) -> str:
    return f"picture {number}" if hasattr(picture, "shape") or hasattr(picture, "mode") else str(picture)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} picture{'s' if len(names) > 1 else ''}: {', '.join(names[:5])}{more}"
