"""How labelled pictures are laid out on disk: folders of classes, lists, tar shards, ImageNet's own folders.

Each function finds the pictures and their labels and decodes nothing. Pictures in a shard are read where they lie: only
the headers of its members are walked, once.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.data import folders
from rosenblatt.data.tables import read_table
from rosenblatt.errors import ColumnError, DataError, LabelError

ARCHIVES = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}
"""ImageNet's own archives, with the MD5 sums that its publisher states."""

_WNID = re.compile(r"n\d{8}")
_LABELS = (".cls", ".label", ".txt")
_PATHS = ("path", "file", "filename", "image")


@dataclass(frozen=True)
class Member:
    """A file inside an unpacked tar: a range of its bytes.

    Attributes:
        shard: The tar.
        name: Name of the member.
        offset: First byte of its contents.
        size: Number of bytes.
    """

    shard: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.name}"

    def is_file(self) -> bool:
        """Always: the header of the shard says so."""
        return True

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Its contents, as a file."""
        with self.shard.open(mode) as stream:
            stream.seek(self.offset)
            data = stream.read(self.size)
        if len(data) < self.size:
            raise OSError(f"the shard ends after {len(data)} of its {self.size} bytes")
        return io.BytesIO(data)


Item = Path | Member


@dataclass
class Found:
    """Pictures that were found.

    Attributes:
        items: Where each is.
        names: What each is called in messages.
        labels: Label of each.
        bad: Name and reason of what cannot be read.
    """

    items: list[Any] = field(default_factory=list)
    names: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    bad: list[Any] = field(default_factory=list)

    def add(self, item: Any, name: Any, label: Any) -> None:
        """One more picture."""
        self.items.append(item)
        self.names.append(name)
        self.labels.append(label)

    def take(self, rows: list[int]) -> Found:
        """Some of them."""
        return Found(
            [self.items[i] for i in rows], [self.names[i] for i in rows], [self.labels[i] for i in rows], self.bad
        )


def folder(path: Path, who: str) -> Found:
    """One sub-folder a class, as `rosenblatt.data.folders.read_folder` reads it.

    Raises:
        DataError: No such folder, or no sub-folders.
        LabelError: A single class.
        PictureError: A class without pictures.
    """
    found, files = Found(), []
    classes, _ = folders._classes(path, who)
    for name in classes:
        walked = folders._walk(path / name, path)
        found.bad += walked.bad
        files += walked.files
    folders._each_class(path, classes, files + [file for file, _ in found.bad], who, "no pictures")
    for file in files:
        found.add(path / file, file, file.parts[0])
    return found


# ------------------------------------------------------------------------------------------------------------- lists


def listed(path: Path, target: str, who: str) -> Found:
    """A table with a column of paths (``path``, ``file``, ``filename`` or ``image``) and one of labels.

    Relative paths begin at the list's own folder.

    Raises:
        DataError: The list cannot be read, or misses values.
        ColumnError: It has no such columns.
    """
    table = read_table(path, who=who)
    names = table.column_names
    place = next((name for name in _PATHS if name in names), None)
    if place is None:
        raise ColumnError(
            f"{who}: {path} has the columns {', '.join(names)}; expected one of paths, named {', '.join(_PATHS)}."
        )
    if target not in names:
        raise ColumnError(
            f"{who}: {path} has no column {target!r}; expected the column of the labels, one of {', '.join(names)}."
            f"{_validate.nearest(target, names)} Name it: fit(list, 'column'), or --target."
        )
    found = Found()
    pairs = zip(table.column(place).to_pylist(), table.column(target).to_pylist(), strict=True)
    for row, (name, label) in enumerate(pairs):
        if name is None or label is None:
            what = "path" if name is None else "label"
            raise DataError(f"{who}: {path} has no {what} in row {row}; expected one in every row. Drop such rows.")
        found.add(path.parent / str(name), str(name), label)
    return found


# ------------------------------------------------------------------------------------------------------------ shards


def is_shards(path: Path) -> bool:
    """Whether a folder holds tar files, and no folders: shards of one data set."""
    if not path.is_dir():
        return False
    entries = [entry for entry in path.iterdir() if folders._counts(entry)]
    return any(entry.suffix == ".tar" for entry in entries) and not any(entry.is_dir() for entry in entries)


def shards(path: Path, who: str) -> Found:
    """A tar, or all of a folder: pictures beside their labels, or one tar a class.

    In WebDataset's layout the members ``KEY.jpg`` and ``KEY.cls`` (a number or a word; also ``.label`` and ``.txt``) make
    one sample. A tar without labels holds one class, whose name is the tar's.

    Raises:
        DataError: No such file, packed, or no tar.
        LabelError: Pictures with and without labels in one tar, or labels without pictures.
    """
    files = [path] if path.is_file() else sorted(file for file in path.glob("*.tar") if folders._counts(file))
    if not files:
        raise DataError(f"{who}: there is no shard {path}; expected a .tar, or a folder of them.")
    found = Found()
    for file in files:
        pictures, labels = _members(file, who)
        if not labels:
            labels = dict.fromkeys(pictures, file.stem)
        if odd := sorted(pictures.keys() ^ labels.keys()):
            what = "no label" if odd[0] in pictures else "no picture"
            raise LabelError(
                f"{who}: {file} has {what} for the sample {odd[0]!r} and {len(odd) - 1} more; expected NAME.jpg beside "
                "NAME.cls for each."
            )
        for key, member in pictures.items():
            found.add(member, str(member), labels[key])
    return found


def _members(file: Path, who: str) -> tuple[dict[str, Member], dict[str, str]]:
    """Pictures and labels of a tar by key: the name up to the first dot of its last part."""
    pictures: dict[str, Member] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(file, "r:") as archive:
            for info in archive:
                name = Path(info.name)
                if not info.isfile() or not all(folders._counts(Path(part)) for part in name.parts if part != "."):
                    continue
                key = str(name.parent / name.name.split(".")[0])
                if name.suffix.lower() in folders.SUFFIXES:
                    pictures[key] = Member(file, info.name, info.offset_data, info.size)
                elif name.suffix.lower() in _LABELS:
                    held = archive.extractfile(info)
                    labels[key] = "" if held is None else held.read(4096).decode("utf-8", "replace").strip()
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{who}: {file} is no plain tar, or cut short ({error}); expected .tar (unpack .tar.gz with gunzip first)."
        ) from error
    return pictures, labels


# ---------------------------------------------------------------------------------------------------------- ImageNet


def is_imagenet(path: Path) -> bool:
    """Whether a folder is ImageNet's: a ``train`` with folders or tars named by synset, such as n01440764."""
    train = _part(path, "train")
    if train is None:
        return False
    return any(_WNID.fullmatch(entry.stem) for entry in train.iterdir())


def verify_imagenet(path: PathLike, who: str = "verify_imagenet") -> list[str]:
    """Compare ImageNet's own archives with their publisher's checksums.

    Args:
        path: The folder that they lie in.
        who: Start of the messages.

    Returns:
        Names of the archives that are there, all of them whole.

    Raises:
        DataError: One is damaged, or none is there.
    """
    found = [name for name in ARCHIVES if (Path(path) / name).is_file()]
    if not found:
        raise DataError(f"{who}: {path} holds no archive of ImageNet's; expected {', '.join(ARCHIVES)}.")
    for name in found:
        with (Path(path) / name).open("rb") as stream:
            got = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if got != ARCHIVES[name]:
            raise DataError(
                f"{who}: {Path(path) / name} has the MD5 sum {got}; expected {ARCHIVES[name]}. Download it again."
            )
    return found


def has_validation(path: Path) -> bool:
    """Whether ImageNet's folder has its validation part."""
    return _part(path, "val") is not None


def _part(path: Path, part: str) -> Path | None:
    places = (path / part, path / "ILSVRC" / "Data" / "CLS-LOC" / part, path / "Data" / "CLS-LOC" / part)
    return next((place for place in places if place.is_dir()), None)


def imagenet(path: Path, part: str = "train", who: str = "imagenet") -> Found:
    """The ImageNet challenge's own layout; labels are synsets, such as "n01440764".

    ``train``: a folder or a tar a synset. ``val``: the same, or the flat folder of ILSVRC2012_val_00000001.JPEG and so on,
    with its answers in ``LOC_val_solution.csv``, or in the development kit (``ILSVRC2012_validation_ground_truth.txt``
    beside ``meta.mat``, which says which number is which synset).

    Args:
        path: The folder that holds ``train`` and ``val``.
        part: "train" or "val".
        who: Start of the messages.

    Raises:
        DataError: No such part, or no answers.
        LabelError: A picture without an answer.
    """
    place = _part(path, part)
    if place is None:
        raise DataError(f"{who}: {path} holds no folder {part!r}; expected ImageNet's own layout.")
    if is_shards(place):
        return shards(place, who)
    entries = [entry for entry in place.iterdir() if folders._counts(entry)]
    if any(entry.is_dir() for entry in entries):
        return folder(place, who)
    answers, found = _answers(path, who), Found()
    for file in sorted(entry for entry in entries if entry.suffix.lower() in folders.SUFFIXES):
        if file.stem not in answers:
            raise LabelError(f"{who}: there is no answer for {file.name}; expected one for each picture of {place}.")
        found.add(file, file.name, answers[file.stem])
    return found


def _answers(path: Path, who: str) -> dict[str, str]:
    """Synset of each validation picture, by the stem of its name."""
    for file in path.rglob("LOC_val_solution.csv"):
        with file.open(newline="") as stream:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(stream)}
    for truth in path.rglob("ILSVRC2012_validation_ground_truth.txt"):
        meta = truth.parent / "meta.mat"
        if meta.is_file():
            from scipy.io import loadmat

            synsets = loadmat(meta, squeeze_me=True)["synsets"]
            names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
            numbers = truth.read_text().split()
            return {f"ILSVRC2012_val_{i:08d}": names[int(number)] for i, number in enumerate(numbers, 1)}
    raise DataError(
        f"{who}: the validation pictures of {path} lie in one folder without answers; expected LOC_val_solution.csv, or "
        "ILSVRC2012_validation_ground_truth.txt and meta.mat of the development kit, below it."
    )
