"""What followed the longest match: music repeats itself, its own phrases and the tunes of other pieces.

At each step the last motions of a voice (or of all voices) are looked for in what was heard before in the piece, and in
other pieces; the longest match says what came next there. Motions do not change under transposition, and so the same tune is
found in any key. All of it is causal: nothing of a step is used before the step, but in `UNDER`, where the highest voice
of the step itself is known already.

Reference: prediction from the longest matching context: Cleary & Witten 1984 (PPM), doi:10.1109/TCOM.1984.1096090; viewpoints of
melody: Conklin & Witten 1995, doi:10.1080/09298219508570672.

Shape letters: T steps, V voices, S sources, F numbers that say how strong a match is, M steps of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from rosenblatt.backprop.compiling import announced

NOTHING = -2
"""In place of a pitch: nothing was found."""

OWN, OWN_VOICE, OTHER, OTHER_VOICE, UNDER = range(5)
"""Sources: all voices in the piece itself; one voice there; all voices in other pieces; one voice there; and, for the lower
voices, how they lay below the highest one where other pieces have its tune."""

SOURCES = 5

STRENGTH = 4
"""log(1 + steps matched), log(1 + changes of notes among them), the winner's share of the votes, log(1 + votes)."""

_START, _SILENCE, _ZERO, _UNKNOWN = -1, 0, 128, 256  # codes of motions: 1 to 255 are semitones around 128


@dataclass(frozen=True)
class Recalled:
    """What was found for each step of a piece.

    Attributes:
        pitches: (T, V, S) MIDI pitches, -1 silence, `NOTHING` where there is none.
        strength: (T, V, S, F), zeros where there is none.
    """

    pitches: np.ndarray
    strength: np.ndarray


class Memory:
    """Pieces to look into.

    Args:
        pieces: Arrays (T, V) of pitches, -1 silent, all of as many voices.

    Example:
        >>> tune = np.array([60, 62, 64, 65, 67, 65, 64, 62])[:, None]
        >>> found = recall(tune + 5, Memory([tune]))
        >>> (found.pitches[:, 0, OTHER_VOICE] - 5).tolist()
        [-7, 62, 64, 65, 67, 65, 64, 62]
    """

    def __init__(self, pieces: Sequence[np.ndarray]):
        self.pieces = [np.asarray(piece, np.int64) for piece in pieces]
        voices = self.pieces[0].shape[1]
        moves = [_motions(piece) for piece in self.pieces]
        self.moves = np.concatenate(moves)
        self.ids = np.concatenate([_joint(move) for move in moves])
        self.below = np.concatenate([_below(piece) for piece in self.pieces])
        self.edges = np.cumsum([0, *map(len, self.pieces)])
        self.voices = voices

    def without(self, number: int) -> Memory:
        """The memory without one of its pieces, so that it can be asked about that piece."""
        gone = slice(self.edges[number], self.edges[number + 1])
        rest = object.__new__(Memory)
        rest.voices, rest.pieces, rest.edges = self.voices, [], self.edges
        for name in ("moves", "ids", "below"):
            setattr(rest, name, np.delete(getattr(self, name), gone, axis=0))
        return rest


class Listener:
    """Hears a piece step by step and says what followed the longest matches so far.

    Args:
        voices: V.
        memory: Other pieces; None looks into the piece itself alone.
        steps: The most that it will hear.
    """

    def __init__(self, voices: int, memory: Memory | None, steps: int):
        self.voices, self.memory, self.last = voices, memory, None
        _compile()
        self.past = [_Stream(*_empty(steps, voices), filled=0)]
        self.past += [_Stream(*_empty(steps, 1), filled=0) for _ in range(voices)]
        self.others: list[_Stream] = []
        if memory is not None:
            self.others = [_Stream(memory.ids, memory.moves)]
            self.others += [_Stream(memory.moves[:, v].copy(), memory.moves[:, v : v + 1]) for v in range(voices)]
            self.melody = _Stream(memory.moves[:, 0].copy(), memory.below)

    def expect(self) -> Recalled:
        """What all sources but `UNDER` say of the next step: arrays without the axis T."""
        pitches = np.full((self.voices, SOURCES), NOTHING)
        strength = np.zeros((self.voices, SOURCES, STRENGTH), np.float32)
        if self.last is None:
            return Recalled(pitches, strength)
        for source, streams in ((OWN, self.past), (OTHER, self.others)):
            for number, stream in enumerate(streams):
                values, marks = stream.vote(1)
                for v in range(self.voices) if number == 0 else [number - 1]:
                    place = (v, source + (number > 0))
                    value = values[v if number == 0 else 0]
                    pitches[place], strength[place] = _pitch(self.last[v], value[0]), [*marks[:2], *value[1:]]
        strength[pitches == NOTHING] = 0
        return Recalled(pitches, strength)

    def expect_under(self, pitch: int) -> Recalled:
        """What `UNDER` says of the lower voices once the highest is known: (V,) and (V, F)."""
        pitches, strength = np.full(self.voices, NOTHING), np.zeros((self.voices, STRENGTH), np.float32)
        if self.memory is not None:
            top = _motion(None if self.last is None else self.last[0], pitch)
            self.melody.advance(top)
            values, marks = self.melody.vote(0)
            for v in range(1, self.voices):
                pitches[v], strength[v] = _pitch(pitch, values[v][0]), [*marks[:2], *values[v][1:]]
            strength[pitches == NOTHING] = 0
        return Recalled(pitches, strength)

    def hear(self, step: np.ndarray) -> None:
        """Go on by a step (V,); `expect_under` must have been asked before."""
        last = [None] * self.voices if self.last is None else self.last
        moves = np.array([_motion(a, b) for a, b in zip(last, step.tolist(), strict=True)])
        joint = int(_joint(moves[None])[0])
        for streams in (self.past, self.others):
            for number, stream in enumerate(streams):
                stream.advance(joint if number == 0 else int(moves[number - 1]))
        self.past[0].append(joint, moves)
        for v in range(self.voices):
            self.past[1 + v].append(int(moves[v]), moves[v : v + 1])
        self.last = step.tolist()


def recall(notes: np.ndarray, memory: Memory | None = None) -> Recalled:
    """What followed the longest matches at each step of a piece.

    Args:
        notes: (T, V) pitches, -1 silent.
        memory: Other pieces; None looks into the piece itself alone.
    """
    listener, found = Listener(notes.shape[1], memory, len(notes)), []
    for step in notes:
        now = listener.expect()
        under = listener.expect_under(int(step[0]))
        now.pitches[:, UNDER], now.strength[:, UNDER] = under.pitches, under.strength
        found.append(now)
        listener.hear(step)
    return Recalled(np.stack([f.pitches for f in found]), np.stack([f.strength for f in found]))


class _Stream:
    """Where in a sequence the last symbols occurred, and for how many of them."""

    def __init__(self, ids: np.ndarray, values: np.ndarray, filled: int | None = None):
        self.ids, self.values = ids, values
        self.lengths = np.zeros(len(ids), np.int32)
        self.filled = len(ids) if filled is None else filled
        self.changes = [0]  # changes of notes among the symbols so far
        self.still = _still(values.shape[1])

    def advance(self, symbol: int) -> None:
        _advance(self.ids, self.lengths, self.filled, symbol)
        self.changes.append(self.changes[-1] + (symbol not in self.still))

    def append(self, symbol: int, values: np.ndarray) -> None:
        self.ids[self.filled], self.values[self.filled] = symbol, values
        self.lengths[self.filled] = 0
        self.filled += 1

    def vote(self, ahead: int) -> tuple[list[tuple[int, float, float]], tuple[float, float]]:
        """The winner of each column with its share and log(1 + votes); and how long the match is."""
        best, values, counts, votes = _vote(self.ids, self.lengths, self.values, self.filled, ahead)
        changes = self.changes[-1] - self.changes[max(0, len(self.changes) - 1 - best)]
        marks = (float(np.log1p(best)), float(np.log1p(changes)))
        each = [(int(v), c / max(votes, 1), float(np.log1p(votes))) for v, c in zip(values, counts, strict=True)]
        return each, marks


def _empty(steps: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(steps, -2, np.int64), np.full((steps, columns), _UNKNOWN, np.int64)


def _still(columns: int) -> frozenset[int]:
    """Symbols of a step in which nothing moves: of one voice, or of all together."""
    rest = [_ZERO, _SILENCE]
    return frozenset([*rest, int(_joint(np.full((1, columns), _ZERO))[0])])


def _motion(before: int | None, now: int) -> int:
    if before is None:
        return _START
    if now < 0:
        return _SILENCE
    return _UNKNOWN if before < 0 else now - before + _ZERO


def _motions(piece: np.ndarray) -> np.ndarray:
    """(T, V) codes of motions."""
    out = np.full(piece.shape, _START)
    before, now = piece[:-1], piece[1:]
    out[1:] = np.where(now < 0, _SILENCE, np.where(before < 0, _UNKNOWN, now - before + _ZERO))
    return out


def _joint(moves: np.ndarray) -> np.ndarray:
    """One number for all voices' motions."""
    total = np.zeros(len(moves), np.int64)
    for v in range(moves.shape[1]):
        total = (total * 1_000_003 + moves[:, v] + 2) % (2**61 - 1)
    return np.where((moves == _START).all(1), _START, total)


def _below(piece: np.ndarray) -> np.ndarray:
    """(T, V) codes of how far each voice lies from the highest, as motions from that to this."""
    top = piece[:, :1]
    return np.where(piece < 0, _SILENCE, np.where(top < 0, _UNKNOWN, piece - top + _ZERO))


def _pitch(base: int, value: int) -> int:
    if value == _SILENCE:
        return -1
    if value in (_UNKNOWN, _START) or base < 0 or not 0 <= base + value - _ZERO <= 127:
        return NOTHING
    return base + value - _ZERO


@cache
def _compile() -> None:
    with announced("the search for repeats"):
        stream = _Stream(*_empty(2, 1), filled=2)
        stream.advance(_ZERO)
        stream.vote(1)


@njit(cache=True)
def _advance(ids, lengths, filled, symbol):
    for j in range(filled - 1, -1, -1):
        if ids[j] == symbol:
            lengths[j] = 1 + (lengths[j - 1] if j > 0 else 0)
        else:
            lengths[j] = 0


@njit(cache=True)
def _vote(ids, lengths, values, filled, ahead):
    columns = values.shape[1]
    best = 0
    for j in range(filled - ahead):
        if lengths[j] > best and ids[j + ahead] != -1:
            best = lengths[j]
    winners, most = np.full(columns, 256), np.zeros(columns)
    votes = 0
    if best == 0:
        return best, winners, most, votes
    counts = np.zeros((columns, 258))
    for j in range(filled - ahead):
        if lengths[j] == best and ids[j + ahead] != -1:
            votes += 1
            for c in range(columns):
                counts[c, values[j + ahead, c] + 1] += 1
    for c in range(columns):
        for value in range(258):
            if counts[c, value] > most[c]:
                most[c], winners[c] = counts[c, value], value - 1
    return best, winners, most, votes
