"""Labelled pictures wherever they lie, found first and decoded when asked for: folders, lists, tar shards, ImageNet.

`open_pictures` looks at a path and says what is there; a `PictureSource` reads any rows of it, so that a data set larger
than memory can be streamed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt._types import PathLike
from rosenblatt.data import folders, layouts
from rosenblatt.data.layouts import Found, Item
from rosenblatt.data.tables import is_table_path
from rosenblatt.errors import DataError, LabelError, PictureError

SHARE = 0.5
"""Share of the free memory that pictures may take before they are streamed."""


@dataclass(frozen=True)
class PictureSource:
    """Labelled pictures that are decoded when asked for.

    Attributes:
        items: Where each picture is.
        names: What each is called in messages.
        labels: Label of each, (N,).
        form: (H, W, C) that all are brought to.
        skip_bad: Leave out what cannot be decoded, instead of stopping.
        skipped: Name and reason of what could not be read so far.
        who: Start of the messages.
    """

    items: Sequence[Item]
    names: Sequence[str]
    labels: np.ndarray
    form: tuple[int, int, int]
    skip_bad: bool
    skipped: list[tuple[str, str]]
    who: str

    def __len__(self) -> int:
        return len(self.items)

    @property
    def nbytes(self) -> int:
        """Bytes that all pictures take once decoded."""
        return len(self) * self.form[0] * self.form[1] * self.form[2]

    def fits(self, free: int | None = None) -> bool:
        """Whether all pictures may lie in memory: at most half of what is free.

        Args:
            free: Bytes that are free; None asks the system.
        """
        return self.nbytes <= SHARE * (free_memory() if free is None else free)

    def take(self, rows: np.ndarray) -> PictureSource:
        """Some of the pictures, in the order of the rows."""
        rows = np.asarray(rows)
        return replace(
            self, items=[self.items[i] for i in rows], names=[self.names[i] for i in rows], labels=self.labels[rows]
        )

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode some pictures, on this thread.

        Returns:
            uint8 (n, H, W, C), and the rows that these are: all, or those that could be read.

        Raises:
            PictureError: One cannot be read, and ``skip_bad`` is False.
        """
        pictures, kept = np.empty((len(rows), *self.form), np.uint8), []
        for row in rows:
            try:
                pictures[len(kept)] = folders._picture(self.items[row], self.form)  # type: ignore[arg-type]
            except Exception as error:  # whatever a damaged file makes a decoder stumble over
                bad = (self.names[row], folders._reason(error))
                if not self.skip_bad:
                    raise PictureError(
                        f"{self.who}: {bad[0]} cannot be read ({bad[1]}). Repair or remove it, or skip such pictures with "
                        "skip_bad=True (--skip-bad)."
                    ) from error
                if bad not in self.skipped:
                    self.skipped.append(bad)
                continue
            kept.append(row)
        return pictures[: len(kept)], np.asarray(kept, dtype=np.int64)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Decode everything, on all cores: pictures (n, H, W, C), and the rows that they are.

        Raises:
            PictureError: A picture cannot be read and ``skip_bad`` is False, or none can.
        """
        parts = np.array_split(np.arange(len(self)), max(1, len(self) // 64))
        with folders._guarded(), ThreadPoolExecutor(os.cpu_count()) as pool:
            done = list(pool.map(self.read, parts))
        kept = np.concatenate([rows for _, rows in done])
        if not len(kept):
            raise PictureError(f"{self.who}: none of {len(self)} pictures can be read, such as {self.names[0]}.")
        return np.concatenate([pictures for pictures, _ in done]), kept


def free_memory() -> int:
    """Bytes of memory that are free for new data, by the system's own estimate; 2 GiB where it gives none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 2 << 30
    try:  # a container may be allowed less than the machine has
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        return min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        return free


def open_pictures(
    path: PathLike,
    *,
    target: str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    skip_bad: bool = False,
    who: str = "open_pictures",
) -> PictureSource:
    """Find labelled pictures, and read their headers where size or channels hang on them.

    What a path means: a folder with one sub-folder a class; ImageNet's own folder (its training part; see
    `rosenblatt.data.layouts.imagenet`); a CSV, TSV or Parquet list with a column ``path`` and one of labels; a tar shard or
    a folder of them, in WebDataset's layout (``KEY.jpg`` beside ``KEY.cls``) or one shard a class.

    Args:
        path: Folder, list or shard.
        target: Column of the labels, for a list; None takes ``label``.
        size: Side, or (height, width), that all pictures are brought to; None takes the most common size.
        channels: 1 or 3; None is 1 if every picture is grey, else 3.
        skip_bad: Leave out what cannot be read.
        who: Start of the messages.

    Raises:
        DataError, ColumnError: No such path, or nothing of these layouts there.
        LabelError: A single class, or more classes than pictures.
        PictureError: Pictures that cannot be read, or a class without any.
        ParameterError: A wrong size or number of channels, or a target for what is no list.
    """
    path = Path(path)
    folders._parameters(size, channels, skip_bad, who)
    found = _find(path, target, who)
    found = _without_bad(path, found, skip_bad, who)
    skipped = [(str(name), reason) for name, reason in found.bad]
    if size is not None and channels is not None:
        form = folders._form([], size, channels)
    else:
        found, form, failed = _headers(found, size, channels, skip_bad, who)
        skipped += failed
    labels = np.asarray(found.labels)
    if len(np.unique(labels)) < 2:
        raise LabelError(f"{who}: the pictures of {path} are of a single class, {labels[0]!r}; expected at least 2.")
    return PictureSource(found.items, [str(name) for name in found.names], labels, form, skip_bad, skipped, who)


def _find(path: Path, target: str | None, who: str) -> Found:
    if is_table_path(path):
        return layouts.listed(path, target or "label", who)
    if target is not None:
        raise DataError(f"{who}: a column {target!r} is named, but {path} is no list; expected a CSV or Parquet file.")
    if path.suffix == ".tar" or layouts.is_shards(path):
        return layouts.shards(path, who)
    if layouts.is_imagenet(path):
        return layouts.imagenet(path, "train", who)
    return layouts.folder(path, who)


def _without_bad(path: Path, found: Found, skip_bad: bool, who: str) -> Found:
    if found.bad and not skip_bad:
        raise PictureError(folders._complaint(found.bad, len(found.items) + len(found.bad), who))
    if not found.items:
        raise PictureError(f"{who}: no pictures in {path}; expected files such as .png or .jpg with labels.")
    return found


def _headers(
    found: Found, size: Any, channels: int | None, skip_bad: bool, who: str
) -> tuple[Found, tuple[int, int, int], list[tuple[str, str]]]:
    """The common form, from the headers of all pictures; those without one are left out."""

    def look(item: Item) -> Any:
        try:
            return folders._header(item)  # type: ignore[arg-type]
        except Exception as error:  # as in PictureSource.read
            return folders._reason(error)

    with folders._guarded(), ThreadPoolExecutor(os.cpu_count()) as pool:
        heads = list(pool.map(look, found.items))
    failed = [(found.names[i], head) for i, head in enumerate(heads) if isinstance(head, str)]
    good = [i for i, head in enumerate(heads) if not isinstance(head, str)]
    if failed and (not skip_bad or not good):
        raise PictureError(folders._complaint(failed, len(heads), who))
    form = folders._form([heads[i] for i in good], size, channels)
    return found.take(good), form, [(str(name), reason) for name, reason in failed]
