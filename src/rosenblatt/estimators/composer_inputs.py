"""What comes into a `Composer`: pieces from folders, files, dicts and arrays, and which of them are held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rosenblatt.data.chorales import check_chorale, chorale_of
from rosenblatt.data.midi import Piece, read_pieces
from rosenblatt.errors import DataError

TICKS = 24
"""Of a quarter note, in event networks."""


class Music(NamedTuple):
    """Pieces, or arrays (T, V) for "chorale"; the style of each; events that no network sees; voices of a chorale."""

    pieces: list[Any]
    styles: list[str | None]
    dropped: dict[str, int]
    voices: int


def read_music(who: str, X: Any, y: Any, *, chorale: bool, network: str, skip_bad: bool = False) -> Music:
    """Whatever a `Composer` takes, read and put on its grid.

    Raises:
        FileNotFoundError, DataError: Nothing there, files that cannot be read, or arrays where events are wanted.
    """
    styles: list[str | None] | None = None if y is None else [str(label) for label in y]
    if isinstance(X, Piece):
        X = [X]
    if isinstance(X, (str, Path)) or (isinstance(X, (list, tuple)) and X and isinstance(X[0], (str, Path))):
        X = read_pieces(X, skip_bad=skip_bad, who=who)
    if isinstance(X, Mapping):
        if styles is None and all("/" in name.replace("\\", "/") for name in X):
            styles = [name.replace("\\", "/").split("/")[-2] for name in X]
        X = list(X.values())
    found = list(X)
    if not found:
        raise DataError(f"{who}: no piece at all; expected some.")
    if styles is not None and len(styles) != len(found):
        raise DataError(f"{who}: {len(styles)} labels for {len(found)} pieces; expected one each.")
    dropped: dict[str, int] = {}
    for piece in found:
        for name, count in getattr(piece, "dropped", {}).items():
            dropped[name] = dropped.get(name, 0) + count
    if chorale:
        voices = next((np.asarray(p).shape[1] for p in found if not isinstance(p, Piece) and np.ndim(p) == 2), 4)
        arrays = [
            chorale_of(piece, voices, who=who) if isinstance(piece, Piece) else check_chorale(who, piece, voices)
            for piece in found
        ]
        return Music(arrays, [None] * len(found), dropped, int(voices))
    if not all(isinstance(piece, Piece) for piece in found):
        raise DataError(
            f"{who}: arrays with network={network!r}; expected MIDI files or pieces. Use network='chorale'."
        )
    return Music([piece.on_grid(TICKS) for piece in found], styles or [None] * len(found), dropped, 0)


def split_pieces(
    pieces: list[Any], styles: list[Any], share: float, seed: int
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Whole pieces are held out, before any window is cut."""
    if len(pieces) < 2:
        raise DataError(f"Composer.fit: {len(pieces)} piece; expected at least 2, one to learn from and one held out.")
    order = np.random.default_rng(seed).permutation(len(pieces))
    count = min(len(pieces) - 1, max(1, round(share * len(pieces))))
    rest, held = sorted(order[count:]), sorted(order[:count])
    return [pieces[i] for i in rest], [styles[i] for i in rest], [pieces[i] for i in held], [styles[i] for i in held]


def longest_wait(piece: Piece) -> int:
    """Ticks of the longest note, or between the beginnings of two."""
    return int(max(piece.notes[:, 3].max(), np.diff(piece.notes[:, 0], prepend=0).max()))


def cut(piece: Piece, start: int | None, end: int | None) -> Piece:
    """Notes that begin from one tick on and before another."""
    begins = piece.notes[:, 0]
    keep = (begins >= (start or 0)) & (begins < (end if end is not None else np.iinfo(np.int64).max))
    inside = (
        [c for c in piece.tempos if end is None or c[0] < end],
        [c for c in piece.signatures if end is None or c[0] < end],
    )
    return Piece(piece.notes[keep], piece.resolution, tuple(inside[0]), tuple(inside[1]))
