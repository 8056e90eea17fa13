"""Whole pictures and films for `FaceSwap`: find a face, draw it as another person, put it back, mark it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt._validate import Choice, Number
from rosenblatt.data.face_alignment import Similarity, alignment, cut_out
from rosenblatt.data.face_blend import COLORS, blend, feather, match_statistics
from rosenblatt.data.face_detection import Detector, Face, compact_detector, find_faces
from rosenblatt.data.photo import is_one_picture, read_photo
from rosenblatt.data.provenance import manifest, mark
from rosenblatt.errors import DataError, PictureError
from rosenblatt.train.checkpoint import fingerprint

SEVERAL = ("refuse", "largest", "all")
_FEATHER = 0.08


@dataclass
class SwapCount:
    """What happened to the frames of a film; counts grow while the frames are drawn.

    Attributes:
        frames: All of them.
        swapped: Faces that were replaced.
        without: Numbers, from 0, of the frames without a face, which passed unchanged.
        crowded: Frames with more than one face.
    """

    frames: int = 0
    swapped: int = 0
    without: list[int] = field(default_factory=list)
    crowded: int = 0


class FrameSwapper:
    """The part of `FaceSwap` that works on whole pictures; the rest draws aligned faces."""

    def swap(
        self,
        X: Any,
        to: str | int | None = None,
        *,
        detector: Detector | None = None,
        color: str = "lab",
        several: str = "refuse",
        marked: bool = True,
        consent: bool = False,
    ) -> np.ndarray | list[np.ndarray]:
        """Replace the face in pictures by that of another person.

        Args:
            X: A picture (path, Pillow image, array H W 3 of uint8 or floats from 0 to 1), or a list of them.
            to: Name or number of the person to draw; None takes the second.
            detector: Function of a frame that returns `rosenblatt.data.face_detection.Face` objects; None takes
                `rosenblatt.data.face_detection.compact_detector` (extra ``face``).
            color: How the drawn face takes the colours of the one that was there: "lab", "linear" or "none".
            several: More than one face: "refuse", swap the "largest", or "all".
            marked: Write the visible mark into the picture.
            consent: As `transform`.

        Returns:
            uint8 (H, W, 3); a list for a list.

        Raises:
            NotFittedError: Before ``fit``.
            ConsentError: A loaded model, and ``consent`` is not True.
            PictureError: No face was found (pictures are named and counted), or a picture cannot be read.
            DataError: More than one face in a picture, with several="refuse".
            ParameterError: An argument is not as above.
            MissingExtraError: No detector was given, and the extra ``face`` is not installed.
        """
        number, detector = self._begin("swap", to, color, several, consent, detector)
        sources = [X] if is_one_picture(X) else list(X)
        if not sources:
            raise PictureError("FaceSwap.swap: no picture at all; expected at least one.")
        frames = [read_photo(source, who="FaceSwap.swap").pixels for source in sources]
        found = [find_faces(frame, detector, who="FaceSwap.swap") for frame in frames]
        if without := [_called(source, i) for i, source in enumerate(sources) if not found[i]]:
            few = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
            raise PictureError(
                f"FaceSwap.swap: no face found in {len(without)} of {len(sources)}: {few}; expected one in each. Leave them "
                "out, or pass another detector."
            )
        for i, faces in enumerate(found):
            if len(faces) > 1 and several == "refuse":
                raise DataError(
                    f"FaceSwap.swap: {len(faces)} faces in picture {i}; expected one. Take several='largest' or 'all'."
                )
        done = [
            self._replaced(frame, faces if several == "all" else faces[:1], number, color, marked)
            for frame, faces in zip(frames, found, strict=True)
        ]
        return done[0] if is_one_picture(X) else done

    def swap_frames(
        self,
        frames: Iterable[Any],
        to: str | int | None = None,
        *,
        detector: Detector | None = None,
        color: str = "lab",
        several: str = "largest",
        steady: float = 0.5,
        marked: bool = True,
        count: SwapCount | None = None,
        consent: bool = False,
    ) -> Iterator[np.ndarray]:
        """Replace the face in each frame of a film; frames without one pass unchanged and are counted.

        Args:
            frames: Such as `rosenblatt.data.video.read_video` gives.
            to: As `swap`.
            detector: As `swap`.
            color: As `swap`.
            several: As `swap`.
            steady: Share of the points of the frame before in those of a face that hardly moved, against trembling: 0 none.
            marked: As `swap`; a frame without a face has no mark, as nothing in it is drawn.
            count: Filled while the frames are drawn.
            consent: As `transform`.

        Yields:
            uint8 (H, W, 3), a frame for each.

        Raises:
            NotFittedError, ConsentError, DataError, ParameterError, MissingExtraError: As `swap`, but for frames without a face.
        """
        number, detector = self._begin("swap_frames", to, color, several, consent, detector)
        _validate.parameter("FaceSwap.swap_frames", "steady", steady, Number(0, 1, open_high=True))
        return self._frames(frames, number, detector, color, several, steady, marked, count or SwapCount())

    def _frames(
        self, frames: Iterable[Any], number: int, detector: Detector, color: str, several: str, steady: float, marked: bool,
        count: SwapCount,
    ) -> Iterator[np.ndarray]:  # fmt: skip
        before: list[Face] = []
        for i, frame in enumerate(frames):
            pixels = read_photo(frame, who="FaceSwap.swap_frames").pixels
            faces = find_faces(pixels, detector, who="FaceSwap.swap_frames")
            count.frames += 1
            count.crowded += len(faces) > 1
            if len(faces) > 1 and several == "refuse":
                raise DataError(
                    f"FaceSwap.swap_frames: {len(faces)} faces in frame {i}; expected one. Take several='largest' or 'all'."
                )
            if not faces:
                count.without.append(i)
                before = []
                yield pixels
                continue
            before = [_steadied(face, before, steady) for face in (faces if several == "all" else faces[:1])]
            count.swapped += len(before)
            yield self._replaced(pixels, before, number, color, marked)

    def _begin(
        self, method: str, to: Any, color: str, several: str, consent: bool, detector: Detector | None
    ) -> tuple[int, Detector]:
        self._check_fitted(method)
        self._state_consent(method, consent)
        _validate.parameter(f"FaceSwap.{method}", "color", color, Choice(COLORS))
        _validate.parameter(f"FaceSwap.{method}", "several", several, Choice(SEVERAL))
        return self._person(method, to), detector or compact_detector()

    def _replaced(self, frame: np.ndarray, faces: list[Face], number: int, color: str, marked: bool) -> np.ndarray:
        size = self.sample_shape_[:2]
        places: list[Similarity] = [alignment(face.points, size) for face in faces]
        cut = np.stack([cut_out(frame, place, size) for place in places]).clip(0, 255) / 255
        seen = np.rint(cut * 255).astype(np.uint8) if self.integer_input_ else cut.astype(np.float32)
        drawn = np.stack([self._draw(one[None], number, self._whose(one[None]))[0] for one in seen]).astype(np.float64)
        for place, face, was in zip(places, drawn, cut, strict=True):
            # what is hardly mask is none: a trace of it would show as a square
            mask = feather(((face[..., 3] - 0.25) / 0.5).clip(0, 1), _FEATHER)
            frame = blend(frame, match_statistics(face[..., :3], was, mask, space=color), mask, place)
        return mark(frame) if marked else frame

    def manifest(self, to: str | int | None = None) -> dict[str, Any]:
        """What is to stand in the metadata of a file with a swapped face; see `rosenblatt.data.provenance`."""
        self._check_fitted("manifest")
        name = self.identities_[self._person("manifest", to)]
        weights = fingerprint(*self.module_.state_dict().values())
        return manifest(
            "face replaced by a drawn one", model=weights, parameters={"estimator": "FaceSwap", "drawn": name}
        )


def _called(source: Any, number: int) -> str:
    return str(source) if isinstance(source, (str, Path)) else f"picture {number}"


def _steadied(face: Face, before: list[Face], steady: float) -> Face:
    """A face whose points are mixed with those of the same face in the frame before."""
    near = min(before, key=lambda b: float(np.abs(b.points - face.points).max()), default=None)
    if near is None or float(np.abs(near.points - face.points).max()) > face.span / 8:
        return face
    return replace(face, points=steady * near.points + (1 - steady) * face.points)
