"""Label maps with their photographs, from a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.data.folders import SUFFIXES, _complaint, _fit, _guarded, _is_folder, _opened, _reason
from rosenblatt.data.label_maps import Palette, as_label_maps, resize_label_maps
from rosenblatt.errors import DataError, PictureError, ShapeError

FOLDERS = ("labels", "photos")
_SIDE = _validate.Number(low=8, high=65535, integer=True)


@dataclass(frozen=True)
class LabelPairs:
    """Label maps and photographs of one size.

    Attributes:
        labels: Ids (N, H, W); K where nobody cares.
        photos: uint8 (N, H, W, 3).
        classes: K.
        names: Of the files, without suffix.
        skipped: Path and reason of each that could not be read.
    """

    labels: np.ndarray
    photos: np.ndarray
    classes: int
    names: list[str]
    skipped: list[tuple[Path, str]]


def read_label_pairs(
    folder: PathLike,
    *,
    size: int | tuple[int, int],
    palette: Palette | None = None,
    classes: int | None = None,
    ignore: int = 255,
    skip_bad: bool = False,
    who: str = "read_label_pairs",
) -> LabelPairs:
    """Read label maps with photographs.

    The folder holds either pictures twice as wide as high, the photograph on the left and the map on the right (pix2pix's
    form), or the folders ``labels`` and ``photos`` with files of the same names. A map is a picture of grey levels or palette
    numbers, which are the ids, or of colours, which need ``palette``.

    Args:
        folder: The folder.
        size: Side, or (height, width): photographs are scaled until they cover it and cut at the centre, maps go the same way
            and keep the class that covers most of a pixel.
        palette: Colours of the classes.
        classes: K; None takes the palette's, or one more than the largest id.
        ignore: The id of pixels that nobody cares for.
        skip_bad: Leave files out that cannot be read.
        who: Start of the messages.

    Raises:
        DataError: No such folder, or neither of the two forms.
        PictureError: Files that cannot be read, named; or a photograph without a map.
        ShapeError: A map and its photograph of unequal sizes.
        LabelError: An id out of range.
        ParameterError: A wrong size.
    """
    folder = Path(folder)
    _is_folder(folder, who)
    height, width = (size, size) if isinstance(size, int) else size
    for side in (height, width):
        _validate.parameter(who, "size", side, _SIDE)
    couples = _couples(folder, who)
    labels, photos, names, bad = [], [], [], []
    with _guarded():
        for name, photo, label in couples:
            try:
                picture, ids = _read(photo, label)
            except Exception as error:  # Pillow raises nearly anything on damaged files
                bad.append(((label or photo).relative_to(folder), _reason(error)))
                continue
            if ids.shape[:2] != (picture.height, picture.width):
                raise ShapeError(
                    f"{who}: {name}: a map of {ids.shape[0]} x {ids.shape[1]} pixels and a photograph of {picture.height} x "
                    f"{picture.width}; expected one size. Resize the map (nearest, not smoothed)."
                )
            if ids.ndim == 3 and palette is None:
                raise DataError(
                    f"{who}: {name}: the map has colours; expected ids, or the palette of the colours. Set palette= (--palette)."
                )
            if ids.ndim == 3:
                ids, _ = as_label_maps(ids[None], colours=palette, who=f"{who}: {name}")
                ids = ids[0]
            labels.append(_cut(ids, height, width))
            photos.append(np.asarray(_fit(picture, height, width)))
            names.append(name)
    if bad and (not skip_bad or not names):
        raise PictureError(_complaint(sorted(bad), len(couples), who))
    count = len(palette.colours) if palette is not None else classes
    ids, found = as_label_maps(np.stack(labels).astype(np.int64), classes=count, ignore=ignore, who=who)
    return LabelPairs(ids, np.stack(photos), found, names, sorted(bad))


def read_label_maps(
    source: PathLike,
    *,
    size: tuple[int, int],
    palette: Palette | None = None,
    classes: int | None = None,
    ignore: int = 255,
    who: str = "read_label_maps",
) -> np.ndarray:
    """Label maps without photographs, as ids (N, H, W): one file, or those of a folder, or of its folder ``labels``.

    Of a picture in colours that is twice as wide as high the right half counts, as in `read_label_pairs`.

    Raises:
        DataError: No such path, no picture in it, or colours without a palette.
        PictureError: A file that cannot be read.
        LabelError: An id out of range.
    """
    source, found = Path(source), []
    files = [source]
    if not source.is_file():
        _is_folder(source, who)
        inner = source / FOLDERS[0] if (source / FOLDERS[0]).is_dir() else source
        files = [path for path in sorted(inner.iterdir()) if _counts(path)]
    for path in files:
        try:
            with _guarded(), _opened(path) as image:
                image.load()
                ids = _ids(image)
        except Exception as error:  # as above
            raise PictureError(
                f"{who}: {path} cannot be read ({_reason(error)}). Check the path and the file."
            ) from error
        if ids.ndim == 3 and palette is None:
            raise DataError(
                f"{who}: {path} has colours; expected ids, or the palette of the colours. Set palette= (--palette)."
            )
        if ids.ndim == 3:
            ids = ids[:, ids.shape[0] :] if ids.shape[1] == 2 * ids.shape[0] else ids
            ids = as_label_maps(ids[None], colours=palette, who=f"{who}: {path}")[0][0]
        found.append(_cut(ids, *size))
    if not found:
        raise DataError(f"{who}: {source} holds no pictures; expected label maps.")
    return as_label_maps(np.stack(found).astype(np.int64), classes=classes, ignore=ignore, who=who)[0]


def read_palette(path: PathLike, *, who: str = "read_palette") -> Palette:
    """A palette from a text file with a line ``name,red,green,blue`` for each class.

    Raises:
        DataError: It cannot be read, or a line has another form.
    """
    try:
        lines = [line.split(",") for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        colours = tuple(tuple(int(level) for level in line[-3:]) for line in lines)
        names = tuple(",".join(line[:-3]).strip() for line in lines)
    except (OSError, ValueError) as error:
        raise DataError(f"{who}: {path} is no palette ({error}); expected lines of name,red,green,blue.") from error
    if len(colours) < 2 or any(len(c) != 3 for c in colours) or not all(names):
        raise DataError(f"{who}: {path} is no palette; expected at least 2 lines of name,red,green,blue.")
    return Palette(names, colours)  # type: ignore[arg-type]


def _couples(folder: Path, who: str) -> list[tuple[str, Path, Path | None]]:
    """Name, photograph and map of each pair; no map where both lie in one file."""
    parts = [folder / name for name in FOLDERS]
    if all(part.is_dir() for part in parts):
        maps, photos = ({p.stem: p for p in sorted(part.iterdir()) if _counts(p)} for part in parts)
        if odd := sorted(maps.keys() ^ photos.keys()):
            lacks = "photograph" if odd[0] in maps else "label map"
            raise PictureError(
                f"{who}: {odd[0]!r} and {len(odd) - 1} more have no {lacks}; expected files of the same names."
            )
        found = [(name, photos[name], maps[name]) for name in sorted(photos)]
    else:
        found = [(p.stem, p, None) for p in sorted(folder.iterdir()) if _counts(p)]
    if not found:
        raise DataError(
            f"{who}: {folder} holds no pictures; expected pairs side by side in one file, or the folders labels/ and photos/."
        )
    return found


def _counts(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _read(photo: Path, label: Path | None) -> tuple[Image.Image, np.ndarray]:
    with _opened(photo) as image:
        image.load()
        both = image.convert("RGB")
    if label is not None:
        with _opened(label) as image:
            image.load()
            return both, _ids(image)
    if both.width != 2 * both.height:
        raise PictureError(f"{both.width} x {both.height} pixels; expected a pair side by side, twice as wide as high")
    return both.crop((0, 0, both.height, both.height)), np.asarray(both)[:, both.height :]


def _ids(image: Image.Image) -> np.ndarray:
    """Grey levels and palette numbers are ids as they are."""
    if image.mode in ("L", "P", "1") or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int64)
    return np.asarray(image.convert("RGB"))


def _cut(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part of a map that `rosenblatt.data.folders` shows of its photograph."""
    scale = min(ids.shape[1] / width, ids.shape[0] / height)
    tall, wide = (min(round(scale * side), full) for side, full in zip((height, width), ids.shape, strict=True))
    top, left = (ids.shape[0] - tall) // 2, (ids.shape[1] - wide) // 2
    return resize_label_maps(ids[None, top : top + tall, left : left + wide], (height, width))[0]
