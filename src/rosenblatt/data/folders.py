"""Pictures from folders: one sub-folder a class, or a flat folder of pictures to predict.

Every picture is decoded on its own, turned as its EXIF data says, laid over white where it is transparent, brought to
grey or RGB of 8 bits, and fitted to one size. What cannot be read is collected first and named together.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from rosenblatt import _validate
from rosenblatt.errors import DataError, LabelError, PictureError

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
"""Suffixes of files that are read as pictures, in lower or upper case."""

# a closed list: Pillow would run an interpreter for PostScript that calls itself .png
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_LITTER = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
_GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"))
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDE = _validate.Number(low=1, high=65535, integer=True)
Skipped = list[tuple[Path, str]]


@dataclass(frozen=True)
class PictureData:
    """Pictures without labels.

    Attributes:
        pictures: uint8 (N, H, W, C).
        paths: Path of each picture: relative to the folder, or as given in a list.
        skipped: Path and reason of each picture that could not be read.
        ignored: Files that are not pictures by their suffix (hidden files and litter of the system are left out).
    """

    pictures: np.ndarray
    paths: list[Path]
    skipped: Skipped
    ignored: list[Path]


@dataclass(frozen=True)
class FolderData:
    """Labelled pictures of a folder.

    Attributes:
        pictures: uint8 (N, H, W, C), in the order of class and path.
        labels: Name of the sub-folder of each picture, (N,) of str.
        paths: Path of each picture relative to the folder.
        skipped: Path and reason of each picture that could not be read.
        ignored: Files that are not pictures by their suffix, and files beside the sub-folders.
    """

    pictures: np.ndarray
    labels: np.ndarray
    paths: list[Path]
    skipped: Skipped
    ignored: list[Path]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return sorted(set(self.labels.tolist()))


# --------------------------------------------------------------------------------------------------------- reading


def read_folder(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    who: str = "read_folder",
) -> FolderData:
    """Read a folder of labelled pictures: each sub-folder is a class, its name the label.

    Folders within a class are read too. Hidden files and folders, ``Thumbs.db``, ``desktop.ini`` and ``__MACOSX`` do not
    count; other files that are no pictures by their suffix are listed in ``ignored``. Of animations and documents of
    several pages the first picture is taken. Pictures of 16 bits are scaled to 8.

    Args:
        path: The folder.
        size: Side, or (height, width), of all pictures. None takes the most common size (of several, the largest).
            A picture of another size is scaled, with antialiasing, until its sides cover the size, and cut at the
            centre.
        channels: 1 for grey, 3 for RGB; None is 1 if every picture is grey, else 3.
        skip_bad: Leave pictures out that cannot be read, and list them in ``skipped``.
        who: Start of the messages.

    Returns:
        Pictures, labels, paths, and what was left out.

    Raises:
        DataError: No such folder, a file, no sub-folders, or more pictures than memory holds.
        LabelError: A single class.
        PictureError: Pictures that cannot be read, with the reason of each; or a class without any.
        ParameterError: A wrong size or number of channels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, level in [("cat", 0), ("dog", 255)]:
        ...         (Path(folder) / name).mkdir()
        ...         Image.new("L", (9, 8), level).save(Path(folder) / name / "1.png")
        ...     data = read_folder(folder)
        >>> data.pictures.shape, data.labels.tolist()
        ((2, 8, 9, 1), ['cat', 'dog'])
    """
    path = Path(path)
    _parameters(size, channels, skip_bad, who)
    classes, ignored = _classes(path, who)
    files, bad = [], []
    for name in classes:
        found = _walk(path / name, path)
        files += found.files
        bad += found.bad
        ignored += found.ignored
    _each_class(path, classes, files + [f for f, _ in bad], who, "no pictures")
    pictures, kept, bad = _load(path, files, bad, size, channels, skip_bad, who)
    _each_class(path, classes, kept, who, "no picture that can be read")
    labels = np.array([file.parts[0] for file in kept], dtype=np.str_)
    return FolderData(pictures, labels, kept, bad, sorted(ignored))


def read_pictures(
    source: str | Path | Iterable[str | Path],
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    who: str = "read_pictures",
) -> PictureData:
    """Read pictures without labels: a folder (with the folders in it), one file, or a list of files.

    Files of a list are tried whatever their suffix is. Everything else is as in `read_folder`.

    Args:
        source: Folder, file, or files.
        size: Side, or (height, width), of all pictures; None takes the most common size.
        channels: 1 for grey, 3 for RGB; None is 1 if every picture is grey, else 3.
        skip_bad: Leave pictures out that cannot be read, and list them in ``skipped``.
        who: Start of the messages.

    Returns:
        Pictures, paths, and what was left out.

    Raises:
        DataError: No such folder, or more pictures than memory holds.
        PictureError: Pictures that cannot be read, with the reason of each; or none at all.
        ParameterError: A wrong source, size or number of channels.
    """
    _parameters(size, channels, skip_bad, who)
    root, files, bad, ignored = Path(), [], [], []
    if isinstance(source, (str, Path)):
        root = Path(source)
        if root.is_file():
            root, files = Path(), [root]
        else:
            _is_folder(root, who)
            found = _walk(root, root)
            files, bad, ignored = found.files, found.bad, found.ignored
    else:
        files = _listed(source, who)
    if not files and not bad:
        others = f" It holds {len(ignored)} other files, such as {_shown(ignored[0])}." if ignored else ""
        raise PictureError(f"{who}: no pictures in {source}; expected files such as .png or .jpg.{others}")
    pictures, kept, bad = _load(root, files, bad, size, channels, skip_bad, who)
    return PictureData(pictures, kept, bad, sorted(ignored))


def _parameters(size: Any, channels: Any, skip_bad: Any, who: str) -> None:
    if isinstance(size, (tuple, list)) and len(size) == 2:
        for side in size:
            _validate.parameter(who, "size", side, _SIDE)
    else:
        _validate.parameter(who, "size", size, (_SIDE, _validate.NONE))
    _validate.parameter(who, "channels", channels, _validate.Choice((None, 1, 3)))
    _validate.parameter(who, "skip_bad", skip_bad, _validate.BOOL)


def _listed(source: Any, who: str) -> list[Path]:
    kind = _validate.Of((str, Path), "a path, or a list of paths")
    if not isinstance(source, Iterable):
        _validate.parameter(who, "source", source, kind)
    files = list(source)
    for file in files:
        _validate.parameter(who, "source", file, kind)
    return [Path(file) for file in files]


# --------------------------------------------------------------------------------------------------------- finding


@dataclass
class _Found:
    files: list[Path]
    bad: Skipped
    ignored: list[Path]


def _counts(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower() not in _LITTER


def _walk(folder: Path, root: Path) -> _Found:
    """Pictures below a folder in the order of their paths; each real folder once, so that links cannot loop."""
    found, seen, todo = _Found([], [], []), set(), [folder]
    while todo:
        here = todo.pop()
        try:
            real, entries = here.resolve(), list(here.iterdir())
        except OSError as error:
            found.bad.append((here.relative_to(root), _reason(error)))
            continue
        if real in seen:
            continue
        seen.add(real)
        for entry in filter(_counts, entries):
            if entry.is_dir():
                todo.append(entry)
            elif entry.suffix.lower() in SUFFIXES:
                found.files.append(entry.relative_to(root))
            else:
                found.ignored.append(entry.relative_to(root))
    found.files.sort()
    return found


def _is_folder(path: Path, who: str) -> None:
    if path.is_dir():
        return
    if path.exists():
        raise DataError(f"{who}: {path} is a file; expected a folder of pictures. Give the folder that it lies in.")
    near = _validate.nearest(path.name, (p.name for p in path.parent.glob("*"))) if path.parent.is_dir() else ""
    raise DataError(f"{who}: there is no folder {path}.{near}")


def _classes(path: Path, who: str) -> tuple[list[str], list[Path]]:
    """Names of the sub-folders, and the files beside them."""
    _is_folder(path, who)
    try:
        entries = [entry for entry in path.iterdir() if _counts(entry)]
    except OSError as error:
        raise DataError(f"{who}: {path} cannot be read ({_reason(error)}); expected a folder of pictures.") from error
    names = sorted(entry.name for entry in entries if entry.is_dir())
    beside = [Path(entry.name) for entry in entries if not entry.is_dir()]
    layout = f"expected one sub-folder a class, such as {path / 'cat' / '1.jpg'} and {path / 'dog' / '1.jpg'}"
    if not names:
        loose = sum(file.suffix.lower() in SUFFIXES for file in beside)
        held = f"{loose} pictures but no sub-folders" if loose else "no sub-folders"
        raise DataError(f"{who}: {path} holds {held}; {layout}. The names of the sub-folders are the labels.")
    if len(names) == 1:
        raise LabelError(
            f"{who}: {path} holds a single class, {names[0]!r}; {layout}. If the classes lie in that folder, give "
            f"{path / names[0]}."
        )
    return names, beside


def _each_class(path: Path, classes: list[str], files: list[Path], who: str, what: str) -> None:
    filled = {file.parts[0] for file in files}
    empty = [name for name in classes if name not in filled]
    if empty:
        few = ", ".join(repr(name) for name in empty[:5]) + (" ..." if len(empty) > 5 else "")
        raise PictureError(
            f"{who}: {len(empty)} of {len(classes)} sub-folders of {path} hold {what}: {few}; expected at least one in "
            "each. Fill them or take them away."
        )


# --------------------------------------------------------------------------------------------------------- decoding


@dataclass(frozen=True)
class _Header:
    """What is known of a picture before it is decoded: its upright size, and whether it is grey."""

    height: int
    width: int
    grey: bool


def _load(
    root: Path, files: list[Path], bad: Skipped, size: Any, channels: Any, skip_bad: bool, who: str
) -> tuple[np.ndarray, list[Path], Skipped]:
    """Headers of all pictures first, since size and channels hang on all of them; then the pictures one by one."""
    bad, headers = list(bad), {}
    with _guarded():
        for file in files:
            try:
                headers[file] = _header(root / file)
            except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble over
                bad.append((file, _reason(error)))
        while True:
            form = _form(headers.values(), size, channels)
            pictures, failed = _decode(root, list(headers), form, who)
            bad += failed
            for file, _ in failed:
                del headers[file]
            # pictures that failed must not have a say in the size and the channels of the others
            if not failed or not headers or form == _form(headers.values(), size, channels):
                break
    bad.sort()
    if bad and not skip_bad:
        raise PictureError(_complaint(bad, len(files), who))
    if not headers:
        raise PictureError(f"{_complaint(bad, len(files), who)} None is left.")
    return pictures, list(headers), bad


@contextmanager
def _guarded() -> Iterator[None]:
    """Pillow's warnings of odd metadata are of no use to the caller, but a decompression bomb is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _form(headers: Iterable[_Header], size: Any, channels: int | None) -> tuple[int, int, int]:
    """Height, width and channels of the array."""
    headers = list(headers)
    if size is None:
        sizes = Counter((head.height, head.width) for head in headers)
        height, width = max(sizes, key=lambda s: (sizes[s], s[0] * s[1], s), default=(1, 1))
    else:
        height, width = (size, size) if isinstance(size, int | np.integer) else size
    if channels is None:
        channels = 1 if all(head.grey for head in headers) else 3
    return int(height), int(width), channels


def _decode(root: Path, files: list[Path], form: tuple[int, int, int], who: str) -> tuple[np.ndarray, Skipped]:
    try:
        pictures = np.empty((len(files), *form), np.uint8)
    except (MemoryError, ValueError) as error:
        need = len(files) * form[0] * form[1] * form[2] / 2**30
        raise DataError(
            f"{who}: {len(files)} pictures of {form[0]} x {form[1]} x {form[2]} need {need:.1f} GiB, more than there is. "
            "Give a smaller size."
        ) from error
    kept, failed = 0, []
    for file in files:
        try:
            pictures[kept] = _picture(root / file, form)
            kept += 1
        except Exception as error:  # as above
            failed.append((file, _reason(error)))
    return (pictures if kept == len(files) else pictures[:kept].copy()), failed


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    if not path.is_file():  # before open: a pipe would wait for ever
        raise _Bad("no such file" if not path.exists() else "not a file")
    with path.open("rb") as file:
        if not file.read(1):
            raise _Bad("the file is empty")
        file.seek(0)
        with Image.open(file, formats=_FORMATS) as image:
            if 0 in image.size:
                raise _Bad("no pixels")
            # Pillow only warns below twice the limit, and whether a warning counts hangs on the thread
            if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            yield image


def _header(path: Path) -> _Header:
    with _opened(path) as image:
        width, height = image.size
        # the base class looks at the header only; the one of PNG would decode the picture
        if _orientation(Image.Image.getexif, image) >= 5:
            width, height = height, width
        return _Header(height, width, _is_grey(image))


def _orientation(getexif: Any, image: Image.Image) -> int:
    try:
        return int(getexif(image).get(_ORIENTATION, 1))
    except Exception:  # damaged metadata do not make a picture unreadable
        return 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode != "P":
        return image.mode in _GREY
    palette = np.asarray(image.getpalette("RGB") or [], np.uint8)
    palette = palette[: len(palette) // 3 * 3].reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _picture(path: Path, form: tuple[int, int, int]) -> np.ndarray:
    """One picture as uint8 (H, W, C)."""
    height, width, channels = form
    with _opened(path) as image:
        image.load()
        turn = _TURNS.get(_orientation(type(image).getexif, image))
        upright = _eight_bits(image)
        if turn is not None:
            upright = upright.transpose(turn)
        upright = upright.convert("L" if channels == 1 else "RGB")
        return np.asarray(_fit(upright, height, width)).reshape(form)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey or colour of 8 bits, over white where it is transparent."""
    if image.mode == "F":
        raise _Bad("numbers with a fraction; expected 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise _Bad(f"levels from {levels.min()} to {levels.max()}; expected 8 or 16 bits")
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _fit(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scale until the sides cover the size, and cut at the centre, in one step."""
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    cut_x, cut_y = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    # rounding must not push the box over the edge
    box = (
        max(cut_x, 0.0),
        max(cut_y, 0.0),
        min(image.width - cut_x, image.width),
        min(image.height - cut_y, image.height),
    )
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


# --------------------------------------------------------------------------------------------------------- messages


class _Bad(Exception):
    """A picture that cannot be used, and why."""


def _reason(error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, as in a decompression bomb"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or of an unknown format"
    if isinstance(error, MemoryError):
        return "more pixels than memory holds"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _shown(path: Path) -> str:
    """A path as text that any terminal takes: names need not be valid Unicode."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _complaint(bad: Skipped, count: int, who: str, most: int = 5) -> str:
    few = "; ".join(f"{_shown(path)} ({reason})" for path, reason in bad[:most])
    more = f"; and {len(bad) - most} more" if len(bad) > most else ""
    return (
        f"{who}: {len(bad)} of {count} pictures cannot be read: {few}{more}. Repair or remove them, or skip them with "
        "skip_bad=True (--skip-bad)."
    )
