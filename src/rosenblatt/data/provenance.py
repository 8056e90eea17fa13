"""Generated pictures and films that say so: a visible mark, and a manifest in the file's own metadata.

The manifest is JSON in the words of C2PA (claim generator, actions, digital source type of the IPTC). It is not signed: it
tells an honest reader what was done, and anybody can remove it. The mark is in the pixels.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from rosenblatt._types import PathLike
from rosenblatt.data.video import is_video
from rosenblatt.errors import OutputError, ParameterError, PictureError, ShapeError

KEY = "c2pa.manifest"
"""Under which a PNG has the manifest as text; JPEG and WebP have it as EXIF's UserComment, films as the comment."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Pictures that can carry a manifest."""

_USER_COMMENT, _EXIF = 0x9286, 0x8769
_JSON = b"ASCII\0\0\0"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def manifest(action: str, *, model: str = "", parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What was done to a picture, in the words of C2PA.

    Args:
        action: In a few words, such as "face replaced by a drawn one".
        model: What tells the model that drew it from others, such as the fingerprint of its weights.
        parameters: More to know, plain values.

    Reference:
        C2PA technical specification 2.1, sections 9 (claims) and 18.15 (actions).
    """
    import rosenblatt

    done = {
        "action": "c2pa.edited", "digitalSourceType": _SOURCE, "description": action,
        "softwareAgent": f"rosenblatt {rosenblatt.__version__}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    said = {"label": "rosenblatt.model", "data": {"weights": model, **dict(parameters or {})}}
    return {
        "claim_generator": f"rosenblatt/{rosenblatt.__version__}",
        "signature": None,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [done]}}, said],
    }


def mark(frame: np.ndarray, text: str = "AI-generated face") -> np.ndarray:
    """A frame with a line of white text on a dark ground in the lower left corner.

    The text is a twentieth of the shorter side high, at least nine pixels where there is room for them; where the line is too
    wide it is made smaller, and below that "AI" stands in its place.

    Args:
        frame: uint8 (H, W, 3).
        text: The line.

    Raises:
        ShapeError: The frame is too small for any readable mark: below 16 pixels.
    """
    height, width = frame.shape[:2]
    if min(height, width) < 16:
        raise ShapeError(f"mark: a frame of {height} x {width} pixels; expected 16 or more on each side.")
    line = _line(text, height, width)
    out = frame.copy()
    rows, columns = slice(height - line.shape[0], height), slice(0, line.shape[1])
    ground = out[rows, columns].astype(np.float64) * 0.35
    out[rows, columns] = np.clip(ground + line[..., None] * (255 - ground), 0, 255).astype(np.uint8)
    return out


@lru_cache(maxsize=16)
def _line(text: str, height: int, width: int) -> np.ndarray:
    """The text as coverage (h, w), 0 to 1, that fits into the frame."""
    for words, size in ((text, max(9, min(height, width) // 20)), (text, 9), ("AI", 9)):
        font = ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(words)
        pad = max(2, size // 4)
        box = (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad)
        if box[0] <= width and box[1] <= height:
            image = Image.new("L", box)
            ImageDraw.Draw(image).text((pad - left, pad - top), words, fill=255, font=font)
            return np.asarray(image, dtype=np.float64) / 255
    raise ShapeError(f"mark: a frame of {height} x {width} pixels; expected room for two letters.")


def encode_marked(pixels: np.ndarray, path: PathLike, said: Mapping[str, Any]) -> bytes:
    """The bytes of a picture file with a manifest in it.

    The manifest gets the SHA-256 of the pixels as they are given ("data_hash"), so a PNG can be compared with it.

    Raises:
        OutputError: A suffix whose format cannot carry it.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(
            f"{path}: a manifest cannot be put into {suffix or 'a file without a suffix'}; expected one of "
            f"{', '.join(SUFFIXES)}."
        )
    held = {**said, "data_hash": hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()}
    text, image, stream = json.dumps(held), Image.fromarray(pixels), io.BytesIO()
    if suffix == ".png":
        info = PngInfo()
        info.add_text(KEY, text)
        image.save(stream, "PNG", pnginfo=info)
        return stream.getvalue()
    exif = Image.Exif()
    exif.get_ifd(_EXIF)[_USER_COMMENT] = _JSON + text.encode("ascii")
    kind = "WEBP" if suffix == ".webp" else "JPEG"
    image.save(stream, kind, exif=exif.tobytes(), quality=92)
    return stream.getvalue()


def read_manifest(path: PathLike) -> dict[str, Any] | None:
    """The manifest of a picture or film, or None where it carries none.

    Raises:
        FileNotFoundError: There is no such file.
        PictureError, DataError: It cannot be read.
        ParameterError: What stands there is no JSON.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file. Check the path.")
    text = _comment_of_film(path) if is_video(path) else _comment_of_picture(path)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ParameterError(f"{path}: its comment is no manifest ({error}); expected JSON.") from error
    return found if isinstance(found, dict) else None


def _comment_of_picture(path: PathLike) -> str | None:
    try:
        with Image.open(path) as image:
            if KEY in image.info:
                return str(image.info[KEY])
            held = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT)
    except OSError as error:
        raise PictureError(f"read_manifest: {path} cannot be read ({error}). Check the file.") from error
    if held is None:
        return None
    held = held if isinstance(held, bytes) else str(held).encode("utf-8", "replace")
    return held.removeprefix(_JSON).decode("utf-8", "replace")


def _comment_of_film(path: PathLike) -> str | None:
    from rosenblatt.data.video import metadata

    held = {name.lower(): value for name, value in metadata(path).items()}
    return held.get("comment")
