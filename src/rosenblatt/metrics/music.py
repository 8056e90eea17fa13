"""Numbers that describe a piece of music, to hold samples against the pieces that a model learned from.

References: Yang & Lerch 2020, doi:10.1007/s00521-018-3849-7 (pitch-class histogram); Dong et al. 2018, arXiv:1709.06298
(polyphony, scale consistency); Wu & Yang 2020, arXiv:2008.01307 (grooving).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rosenblatt.data.midi import DRUMS, Piece

_MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])  # the natural minor scales are the same sets
_PLACES = 16  # of a bar


def pitch_class_histogram(piece: Piece) -> np.ndarray:
    """Shares (12,) of the time that each pitch class sounds; zeros without pitched notes."""
    notes = _pitched(piece)
    weight = np.bincount(notes[:, 2] % 12, weights=notes[:, 3], minlength=12)
    return weight / weight.sum() if weight.sum() else weight


def polyphony(piece: Piece) -> float:
    """Mean number of pitched notes that sound together, while any does."""
    notes = _pitched(piece)
    if not len(notes):
        return 0.0
    start, end = notes[:, 0], notes[:, 0] + np.maximum(notes[:, 3], 1)
    times = np.unique(np.concatenate([start, end]))
    sounding = (start[None] <= times[:-1, None]) & (end[None] > times[:-1, None])
    count, length = sounding.sum(1), np.diff(times)
    total = length[count > 0].sum()
    return float((count * length).sum() / total) if total else 0.0


def scale_consistency(piece: Piece) -> float:
    """Largest share of the notes that lie in one major or natural minor scale."""
    notes = _pitched(piece)
    if not len(notes):
        return 0.0
    counts = np.bincount(notes[:, 2] % 12, minlength=12)
    return float(max((counts * np.roll(_MAJOR, tone)).sum() for tone in range(12)) / counts.sum())


def grooving(piece: Piece) -> float:
    """Mean share of the sixteenths of a bar on which neighbouring bars agree whether a note begins; bars of four quarters."""
    bar = 4 * piece.resolution
    if not len(piece):
        return 0.0
    starts = piece.notes[:, 0]
    bars = np.zeros((int(starts.max()) // bar + 1, _PLACES), bool)
    bars[starts // bar, starts % bar * _PLACES // bar] = True
    if len(bars) < 2:
        return 1.0
    return float((bars[1:] == bars[:-1]).mean())


def describe_piece(piece: Piece) -> dict[str, float]:
    """All numbers of a piece but the histogram."""
    return {"polyphony": polyphony(piece), "scale_consistency": scale_consistency(piece), "grooving": grooving(piece)}


def compare_pieces(samples: Sequence[Piece], training: Sequence[Piece]) -> dict[str, tuple[float, float]]:
    """Means over samples and over training pieces, by name; ``pitch_classes`` is the distance of the mean histograms.

    Histograms are turned to their most frequent class first, since the key is no merit. The distance is half the sum of
    absolute differences: 0 the same, 1 nothing in common; beside it stands that of the two halves of the training pieces.
    """
    rows = [[describe_piece(piece) for piece in pieces] for pieces in (samples, training)]
    found = {name: tuple(float(np.mean([row[name] for row in part])) for part in rows) for name in rows[0][0]}
    mine, all_of, odd, even = (
        _mean_histogram(p) for p in (samples, training, training[::2], training[1::2] or training)
    )
    found["pitch_classes"] = (float(np.abs(mine - all_of).sum() / 2), float(np.abs(odd - even).sum() / 2))
    return found  # type: ignore[return-value]


def _mean_histogram(pieces: Sequence[Piece]) -> np.ndarray:
    turned = [np.roll(h, -int(h.argmax())) for h in map(pitch_class_histogram, pieces)]
    return np.mean(turned, axis=0)


def note_windows(piece: Piece, length: int = 8) -> np.ndarray:
    """Hashes (M,) of all runs of ``length`` notes by interval, step in time and duration, whatever key and tempo.

    A run that two pieces share was copied, or is a common phrase; the longer the rarer by chance.
    """
    notes = _pitched(piece.on_grid(24))
    if len(notes) < length:
        return np.zeros(0, np.uint64)
    steps = np.diff(notes[:, [0, 2]], axis=0)
    words = (
        (steps[:, 0].astype(np.uint64) << np.uint64(32))
        ^ ((steps[:, 1] + 128).astype(np.uint64) << np.uint64(16))
        ^ notes[1:, 3].astype(np.uint64)
    )
    value = np.zeros(len(words) - length + 2, np.uint64)
    with np.errstate(over="ignore"):
        for place in range(length - 1):
            value = (value ^ words[place : place + len(value)]) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
    return value


def longest_copy(piece: Piece, known: np.ndarray, length: int = 8) -> int:
    """Notes of the longest run of a piece all of whose windows are known; below ``length`` it is 0.

    Args:
        piece: A sample.
        known: Sorted hashes of `note_windows` of all training pieces.
        length: Notes a window.
    """
    windows = note_windows(piece, length)
    if not len(windows) or not len(known):
        return 0
    place = np.searchsorted(known, windows).clip(max=len(known) - 1)
    there = known[place] == windows
    longest = run = 0
    for found in there.tolist():
        run = run + 1 if found else 0
        longest = max(longest, run)
    return longest + length - 1 if longest else 0


def _pitched(piece: Piece) -> np.ndarray:
    return piece.notes[piece.notes[:, 1] != DRUMS]
