"""Pieces in a fixed number of voices on a grid: arrays (T, V) of MIDI pitches, -1 for silence, voices from high to low."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rosenblatt.data.midi import DRUMS, Piece
from rosenblatt.errors import DataError

if TYPE_CHECKING:
    from rosenblatt.data.repeats import Recalled

SILENCE = -1
STEPS = 4
"""Steps a quarter note: sixteenths."""


def check_chorale(who: str, notes: np.ndarray, voices: int | None = None) -> np.ndarray:
    """An array (T, V) of pitches, refused where it is none.

    Raises:
        DataError: Other axes, no step, no note at all, or numbers outside -1 to 127.
    """
    array = np.asarray(notes)
    if array.ndim != 2 or not len(array) or (voices is not None and array.shape[1] != voices):
        raise DataError(f"{who}: a piece of shape {array.shape}; expected (T, {voices or 'V'}) with at least one step.")
    if array.dtype.kind not in "iu" and not np.array_equal(array, array.astype(np.int64)):
        raise DataError(f"{who}: a piece with numbers that are no integers; expected MIDI pitches.")
    array = array.astype(np.int64)
    if array.min() < SILENCE or array.max() > 127 or array.max() < 0:
        raise DataError(
            f"{who}: a piece with values from {array.min()} to {array.max()}; expected pitches 0 to 127, -1 silent."
        )
    return array


def chorale_of(piece: Piece, voices: int, *, steps: int = STEPS, who: str = "chorale_of") -> np.ndarray:
    """The voices of a piece on a grid, from high to low at each step; drums are left out.

    Raises:
        DataError: More notes sound at once than there are voices.
    """
    played = piece.on_grid(steps).notes
    played = played[played[:, 1] != DRUMS]
    if not len(played):
        raise DataError(f"{who}: a piece without pitched notes; expected {voices} voices.")
    sounding: list[list[int]] = [[] for _ in range(int((played[:, 0] + played[:, 3]).max()))]
    for start, _, pitch, duration, _ in played.tolist():
        for step in range(start, start + max(duration, 1)):
            if step < len(sounding):
                sounding[step].append(pitch)
    out = np.full((len(sounding), voices), SILENCE)
    for step, pitches in enumerate(sounding):
        chord = sorted(set(pitches), reverse=True)
        if len(chord) > voices:
            raise DataError(
                f"{who}: {len(chord)} notes sound at step {step}; expected at most {voices}. Use network='transformer'."
            )
        out[step, : len(chord)] = chord
    return out


def piece_of(
    notes: np.ndarray,
    *,
    steps: int = STEPS,
    tempo: int = 600_000,
    instruments: Sequence[int] = (19,),
    velocity: int = 80,
) -> Piece:
    """A piece out of voices on a grid; a pitch that stays is one long note.

    Args:
        notes: (T, V).
        steps: A quarter note.
        tempo: Microseconds a quarter note.
        instruments: One for each voice, or one for all (19 is a church organ).
        velocity: Of all notes.

    Example:
        >>> piece_of(np.array([[60, 48], [60, 50], [-1, 50]])).notes[:, :4].tolist()
        [[0, 19, 48, 1], [0, 19, 60, 2], [1, 19, 50, 2]]
    """
    notes = check_chorale("piece_of", notes)
    rows = []
    for voice in range(notes.shape[1]):
        line = notes[:, voice]
        borders = np.flatnonzero(np.diff(line, prepend=line[0] - 1))
        for start, end in zip(borders, [*borders[1:], len(line)], strict=True):
            if line[start] != SILENCE:
                rows.append((start, instruments[voice % len(instruments)], line[start], end - start, velocity))
    return Piece(np.array(rows, dtype=np.int64).reshape(-1, 5), steps, ((0, tempo),))


MARGIN = 5
"""Semitones around the training pieces' pitches that have tokens too, so that a slightly wider piece can be read."""


RESOLUTION = 1000
"""Numbers about a match are written in thousandths, so that a piece is one array of integers."""

NONE = -2
"""In place of a token: nothing was found."""


@dataclass(frozen=True)
class ChoraleCode:
    """Tokens of voices and chords.

    Attributes:
        low: Pitch of token 1; token 0 is silence.
        high: Pitch of the last token.
        chords: Sets of pitch classes as 12 bits, of token 1 and up; token 0 is any other.
        ranges: (V, 2) lowest and highest pitch of each voice: a piece may be transposed as far as two semitones around.
    """

    low: int
    high: int
    chords: tuple[int, ...]
    ranges: np.ndarray

    @classmethod
    def of(cls, pieces: Sequence[np.ndarray], chords: int = 0) -> ChoraleCode:
        """Learn it from pieces.

        Args:
            pieces: Arrays (T, V).
            chords: Chords to tell apart, the most frequent ones in any transposition; 0 for none.
        """
        whole = np.concatenate(pieces)
        sung = whole != SILENCE
        ranges = np.stack([np.where(sung, whole, 127).min(0) - 2, np.where(sung, whole, 0).max(0) + 2], 1)
        found: Counter[int] = Counter()
        if chords:
            sets = Counter(pitch_sets(whole).tolist())
            for bits, count in sets.items():
                for shift in range(12):
                    found[((bits << shift) | (bits >> (12 - shift))) & 0xFFF] += count
        likeliest = sorted(found, key=lambda bits: (-found[bits], bits))[: max(chords - 1, 0)]
        low, high = int(whole[sung].min()) - MARGIN, int(whole[sung].max()) + MARGIN
        return cls(max(0, low), min(127, high), tuple(likeliest), ranges)

    @property
    def pitches(self) -> int:
        """Tokens of a voice."""
        return self.high - self.low + 2

    def encode(self, notes: np.ndarray) -> np.ndarray:
        """Tokens (T, V), and with chords (T, V + 1), the chord last.

        Raises:
            DataError: A pitch that training had not.
        """
        sung = notes != SILENCE
        if sung.any() and (notes[sung].min() < self.low or notes[sung].max() > self.high):
            raise DataError(
                f"a piece with pitches from {notes[sung].min()} to {notes[sung].max()}; expected {self.low} to {self.high}, as "
                "in training. Transpose it."
            )
        tokens = np.where(sung, notes - self.low + 1, 0)
        if not self.chords:
            return tokens
        known = {bits: number for number, bits in enumerate(self.chords, start=1)}
        chords = np.array([known.get(bits, 0) for bits in pitch_sets(notes).tolist()])
        return np.concatenate([tokens, chords[:, None]], 1)

    def encode_one(self, pitch: int) -> int:
        """Token of one pitch that is known to have one."""
        return 0 if pitch == SILENCE else int(pitch) - self.low + 1

    def chords_with(self, pitches: np.ndarray) -> np.ndarray:
        """(chords + 1,) booleans: chords that have all these pitches; token 0, any other chord, always may."""
        wanted = int(pitch_sets(np.asarray(pitches)[None])[0])
        return np.array([True, *((bits & wanted) == wanted for bits in self.chords)])

    def recalled(self, pitches: np.ndarray) -> np.ndarray:
        """Tokens of pitches that were found elsewhere: `NONE` where there is none, or none in training."""
        known = (pitches >= self.low) & (pitches <= self.high)
        return np.where(pitches == SILENCE, 0, np.where(known, pitches - self.low + 1, NONE))

    def fits(self, notes: np.ndarray) -> bool:
        """Whether all pitches have tokens."""
        sung = notes[notes != SILENCE]
        return not len(sung) or bool(self.low <= sung.min() and sung.max() <= self.high)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Voices (T, V) of their tokens."""
        return np.where(tokens > 0, tokens + self.low - 1, SILENCE)

    def shifts(self, notes: np.ndarray, most: int = 6) -> tuple[int, int]:
        """How far a piece may go down and up with each voice in its range."""
        sung = notes != SILENCE
        here = np.stack([np.where(sung, notes, 127).min(0), np.where(sung, notes, 0).max(0)], 1)
        used = sung.any(0)
        down, up = (self.ranges - here)[used, 0].max(), (self.ranges - here)[used, 1].min()
        return int(min(0, max(down, -most))), int(max(0, min(up, most)))


def pitch_sets(notes: np.ndarray) -> np.ndarray:
    """Twelve bits (T,): which pitch classes sound at each step."""
    bits = np.where(notes == SILENCE, 0, 1 << (notes % 12))
    return np.bitwise_or.reduce(bits, axis=1)


def tonic_of(notes: np.ndarray) -> int:
    """Pitch class of the lowest note of the last step that sounds: where music in voices ends is its tonic, almost always."""
    last = notes[(notes != SILENCE).any(1)][-1]
    return int(last[last != SILENCE].min() % 12)


def packed(
    code: ChoraleCode, notes: np.ndarray, *, recalled: Recalled | None = None, tonic: int | None = None, shift: int = 0
) -> np.ndarray:
    """All that a network reads of a piece, one row a step: voices, chord, tonic, what was found and how strongly.

    Args:
        code: The tokens.
        notes: (T, V).
        recalled: What followed the longest matches (`rosenblatt.data.repeats.recall`); None leaves it out.
        tonic: Pitch class; None leaves it out.
        shift: Semitones that all of it is moved by.
    """
    parts = [code.encode(np.where(notes == SILENCE, SILENCE, notes + shift))]
    if tonic is not None:
        parts.append(np.full((len(notes), 1), (tonic + shift) % 12))
    if recalled is not None:
        tokens = code.recalled(np.where(recalled.pitches >= 0, recalled.pitches + shift, recalled.pitches))
        strength = np.rint(recalled.strength * RESOLUTION).astype(np.int64)
        parts += [tokens.reshape(len(notes), -1), strength.reshape(len(notes), -1)]
    return np.concatenate(parts, 1)


class ChoraleBatches:
    """Batches of whole pieces of about one length, each in a random transposition; padded with -1.

    Args:
        pieces: Arrays (T, V).
        code: Their tokens.
        batch_size: Pieces a batch.
        generator: Of order and transpositions.
        transpose: Semitones up and down at most.
        recalled: What was found for each piece; None leaves it out.
        keyed: Whether each piece's tonic is told.
        device: Where batches are put.
    """

    def __init__(
        self, pieces: Sequence[np.ndarray], code: ChoraleCode, *, batch_size: int, generator: torch.Generator,
        transpose: int = 6, recalled: Sequence[Recalled] | None = None, keyed: bool = False,
        device: torch.device | str = "cpu",
    ):  # fmt: skip
        self.pieces, self.code, self.generator, self.device = list(pieces), code, generator, device
        self.batch_size = min(batch_size, len(self.pieces))
        self.reach = [code.shifts(piece, transpose) for piece in self.pieces]
        self.recalled = recalled
        self.tonics = [tonic_of(piece) for piece in self.pieces] if keyed else None
        self.y = torch.from_numpy(np.concatenate(self.pieces))  # what the run's identity is made of
        self.weight = None

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.pieces) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, None]]:
        jitter = 60 * torch.rand(len(self.pieces), generator=self.generator)
        order = sorted(range(len(self.pieces)), key=lambda i: len(self.pieces[i]) + float(jitter[i]))
        groups = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        for number in torch.randperm(len(groups), generator=self.generator).tolist():
            batch = padded([self._moved(i) for i in groups[number]]).to(self.device)
            yield batch, batch, None

    def _moved(self, index: int) -> np.ndarray:
        low, high = self.reach[index]
        shift = int(torch.randint(low, high + 1, (1,), generator=self.generator))
        recalled = None if self.recalled is None else self.recalled[index]
        tonic = None if self.tonics is None else self.tonics[index]
        return packed(self.code, self.pieces[index], recalled=recalled, tonic=tonic, shift=shift)


def padded(pieces: Sequence[np.ndarray]) -> Tensor:
    """Token arrays (T, D) as one tensor (N, T, D), -1 after their ends."""
    longest = max(map(len, pieces))
    out = np.full((len(pieces), longest, pieces[0].shape[1]), -1, dtype=np.int64)
    for row, piece in enumerate(pieces):
        out[row, : len(piece)] = piece
    return torch.from_numpy(out)
