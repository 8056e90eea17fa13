"""One picture at a time, of any size and kind: read, reduced, cut, written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rosenblatt import _validate
from rosenblatt.data.folders import _TURNS, _eight_bits, _guarded, _opened, _orientation, _reason
from rosenblatt.errors import DataError, OutputError, PictureError, ShapeError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffixes that a picture can be written with."""


@dataclass(frozen=True)
class Photo:
    """A picture in colour.

    Attributes:
        pixels: uint8 (H, W, 3); what is transparent shows white.
        alpha: Opacity, uint8 (H, W); None where all of it is opaque.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None

    def resized(self, longest: int | None) -> Photo:
        """Reduced so that the longer side has this many pixels; a smaller picture, or None, leaves it as it is."""
        height, width = self.pixels.shape[:2]
        if longest is None or max(height, width) <= longest:
            return self
        scale = longest / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return Photo(_resize(self.pixels, size), None if self.alpha is None else _resize(self.alpha, size))

    def tensor(self) -> Tensor:
        """float32 (1, 3, H, W) from 0 to 1."""
        return torch.from_numpy(np.require(self.pixels, requirements=["C", "W"])).permute(2, 0, 1)[None].float() / 255


def _resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))


def is_one_picture(source: Any) -> bool:
    """Whether a source is a single picture: a path, an image, or an array of two or three axes; else it is several."""
    return isinstance(source, (str, Path, Image.Image, Photo)) or (hasattr(source, "shape") and len(source.shape) < 4)


def read_photo(source: Any, *, who: str = "read_photo") -> Photo:
    """Bring a picture of any kind into colour of 8 bits.

    Args:
        source: A path, a Pillow image, or an array H W, H W 1, H W 3 or H W 4: uint8, or floats from 0 to 1.
        who: Start of the messages.

    Returns:
        The picture, turned as its camera says. Grey, CMYK, palette and 16-bit pictures become RGB.

    Raises:
        PictureError: A file that cannot be read.
        ShapeError, NonFiniteError, DataError: An array of another form, with NaN, or outside the range.

    Example:
        >>> read_photo(np.zeros((2, 5), np.uint8)).pixels.shape
        (2, 5, 3)
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, (str, Path)):
        try:
            with _guarded(), _opened(Path(source)) as image:
                image.load()
                return _from_image(image)
        except Exception as error:  # Pillow raises nearly anything on damaged files
            raise PictureError(
                f"{who}: {source} cannot be read ({_reason(error)}). Check the path and the file."
            ) from error
    if isinstance(source, Image.Image):
        return _from_image(source)
    return _from_array(source, who)


def _from_image(image: Image.Image) -> Photo:
    alpha = None
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        alpha = None if (alpha == 255).all() else alpha
    turn = _TURNS.get(_orientation(type(image).getexif, image))
    upright = _eight_bits(image).convert("RGB")
    if turn is not None:
        upright = upright.transpose(turn)
        alpha = None if alpha is None else np.asarray(Image.fromarray(alpha).transpose(turn))
    return Photo(np.asarray(upright), alpha)


def _from_array(source: Any, who: str) -> Photo:
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    array = np.asarray(source)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ShapeError(
            f"{who}: a picture of shape {np.shape(source)}; expected H W, H W 1, H W 3 or H W 4, not empty."
        )
    if array.dtype.kind not in "buif":
        raise DataError(f"{who}: a picture of type {array.dtype}; expected uint8, or floats from 0 to 1.")
    _validate.finite(who, array.reshape(len(array), -1), name="the picture")
    top = 1 if array.dtype.kind in "bf" else 255
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > top:
        kind = "floats from 0 to 1" if top == 1 else "integers from 0 to 255"
        raise DataError(f"{who}: a picture with values from {low:g} to {high:g}; expected {kind}. Scale it.")
    levels = np.rint(array.astype(np.float64) * 255).astype(np.uint8) if top == 1 else array.astype(np.uint8)
    if levels.shape[2] == 4:
        return _from_image(Image.fromarray(levels))
    return Photo(np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels)


def random_crops(
    photos: Sequence[Photo], count: int, side: int, random: np.random.RandomState
) -> tuple[Tensor, np.ndarray]:
    """Square parts of pictures, taken at random places and scales, half of them mirrored.

    Args:
        photos: Pictures; smaller ones are enlarged.
        count: N.
        side: Pixels.
        random: Source of the places.

    Returns:
        uint8 (N, 3, side, side), and the number (N,) of each crop's picture.
    """
    crops, numbers = np.empty((count, side, side, 3), np.uint8), random.randint(len(photos), size=count)
    images = [Image.fromarray(photo.pixels) for photo in photos]
    for row, number in enumerate(numbers):
        image = images[number]
        shortest = min(image.size)
        # between the crop's own scale and the whole picture
        least = min(1.0, side / shortest)
        edge = shortest * random.uniform(max(least, 0.3) if least < 1 else 1.0, 1.0)
        left, top = random.uniform(0, image.width - edge), random.uniform(0, image.height - edge)
        box = (left, top, min(left + edge, image.width), min(top + edge, image.height))
        crop = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))
        crops[row] = crop[:, ::-1] if random.rand() < 0.5 else crop
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous(), numbers


def encode_photo(pixels: np.ndarray, path: str | Path) -> bytes:
    """The bytes of a picture file, in the format of the path's suffix.

    Raises:
        OutputError: A suffix that no picture is written with.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(
            f"{path}: no picture is written with the suffix {suffix!r}; expected one of {', '.join(FORMATS)}."
        )
    image, stream = Image.fromarray(pixels), io.BytesIO()
    if FORMATS[suffix] in ("JPEG", "BMP") and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    image.save(stream, FORMATS[suffix], **({"quality": 92} if suffix in (".jpg", ".jpeg") else {}))
    return stream.getvalue()
