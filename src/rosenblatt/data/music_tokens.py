"""Music as tokens: a grammar that every piece has exactly one sentence of, and every sentence is a piece.

MidiTok's encodings follow the order of a file's tracks, so equal music gets different tokens and comes back with its tracks in
another order; and they round times and tempos. Here the piece is canonical (`rosenblatt.data.midi.Piece`) and nothing is rounded
but what `Piece.on_grid` was asked to round.

    piece   := START condition* event* END
    event   := shift* (TEMPO byte byte byte | METER byte byte | note)
    note    := [INSTRUMENT] PITCH [VELOCITY] length+
    shift   := digit of 1, 32 or 1024 ticks, larger ones first
    length  := digits alike

INSTRUMENT and VELOCITY hold until they change, at the first note both must come. A condition is a label of style, or a key.

Reference: events of performance: Oore et al. 2018, arXiv:1808.03715; what MuseNet's prompts name: Payne 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rosenblatt.data.midi import DRUMS, Piece
from rosenblatt.errors import DataError, ParameterError

PAD, START, END, TEMPO, METER = range(5)
_BYTES = 5  # 256 of them
_SHIFTS = _BYTES + 256  # 32 digits of 1 (0 is not used), of 32, of 1024
_LENGTHS = _SHIFTS + 96
_INSTRUMENTS = _LENGTHS + 96  # 129
_PITCHES = _INSTRUMENTS + 129
_VELOCITIES = _PITCHES + 128  # 1 to 127
_KEYS = _VELOCITIES + 128  # 12 major, 12 minor
_STYLES = _KEYS + 24
UNITS = (1024, 32, 1)
KEYS = tuple(
    f"{tone} {mode}"
    for mode in ("major", "minor")
    for tone in ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
)


@dataclass(frozen=True)
class MusicTokens:
    """The vocabulary.

    Args:
        resolution: Ticks a quarter note.
        styles: Labels that a piece may be asked for by.

    Example:
        >>> tokens = MusicTokens(24)
        >>> piece = Piece(np.array([[0, 0, 60, 24, 80], [24, 0, 64, 24, 80]]), 24)
        >>> tokens.decode(tokens.encode(piece)) == piece
        True
    """

    resolution: int = 24
    styles: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        return _STYLES + len(self.styles)

    # ------------------------------------------------------------------------------------------------- encode

    def encode(self, piece: Piece, *, style: str | None = None, key: str | None = None, end: bool = True) -> np.ndarray:
        """Tokens of a piece.

        Args:
            piece: With this resolution.
            style: One of the styles.
            key: One of `KEYS`.
            end: Whether the piece ends here, or is the opening of one.

        Raises:
            DataError: A piece of another resolution, which would have to be rounded.
            ParameterError: An unknown style or key.
        """
        if piece.resolution != self.resolution:
            raise DataError(
                f"MusicTokens: a piece of {piece.resolution} ticks a quarter note; expected {self.resolution}. Use "
                f"piece.on_grid({self.resolution})."
            )
        out = [START, *self.condition(style, key)]
        now, instrument, velocity = 0, -1, -1
        for tick, kind, what in _in_order(piece):
            out += _digits(_SHIFTS, tick - now)
            now = tick
            if kind < 2:
                out += (
                    [TEMPO, *(_BYTES + b for b in what[0].to_bytes(3, "big"))]
                    if kind == 0
                    else [METER, *(_BYTES + b for b in what)]
                )
                continue
            played, pitch, duration, loud = what
            out += [_INSTRUMENTS + played] if played != instrument else []
            out += [_PITCHES + pitch]
            out += [_VELOCITIES + loud] if loud != velocity else []
            out += _digits(_LENGTHS, duration) or [_LENGTHS + 64]
            instrument, velocity = played, loud
        return np.array([*out, END] if end else out, dtype=np.int32)

    def condition(self, style: str | None = None, key: str | None = None) -> list[int]:
        """Tokens that ask for a style and a key.

        Raises:
            ParameterError: An unknown one.
        """
        found = []
        for name, value, known, first in (("style", style, self.styles, _STYLES), ("key", key, KEYS, _KEYS)):
            if value is None:
                continue
            if value not in known:
                raise ParameterError(
                    f"{name}={value!r}; expected one of {', '.join(known) or 'none, training had no styles'}."
                )
            found.append(first + known.index(value))
        return found

    # ------------------------------------------------------------------------------------------------- decode

    def decode(self, tokens: np.ndarray) -> Piece:
        """The piece of a sentence; an event that is not whole at the end is left out.

        Raises:
            DataError: Something that the grammar does not allow, with its place.
        """
        reader = Grammar(self)
        for place, token in enumerate(np.asarray(tokens).tolist()):
            if not reader.allows(token):
                raise DataError(
                    f"MusicTokens.decode: token {token} at place {place} is not allowed there; expected {reader.state}."
                )
            reader.take(token)
        return reader.piece()

    def transposable(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of pitch tokens that move under transposition (all but those of drums), and of key tokens."""
        played, drums = -1, np.zeros(len(tokens), bool)
        for place, token in enumerate(tokens.tolist()):
            if _INSTRUMENTS <= token < _PITCHES:
                played = token - _INSTRUMENTS
            drums[place] = played == DRUMS
        pitches = (tokens >= _PITCHES) & (tokens < _VELOCITIES) & ~drums
        return pitches, (tokens >= _KEYS) & (tokens < _STYLES)

    def transpose(self, tokens: np.ndarray, semitones: int) -> np.ndarray:
        """The same sentence moved by semitones, as far as all pitches stay within 0 to 127; drums stay.

        The order of the notes does not change, since it is that of the pitches.
        """
        pitches, keys = self.transposable(tokens)
        values = tokens[pitches] - _PITCHES
        if len(values):
            semitones = int(np.clip(semitones, -values.min(), 127 - values.max()))
        out = tokens.copy()
        out[pitches] += semitones
        tone = out[keys] - _KEYS
        out[keys] = _KEYS + tone // 12 * 12 + (tone + semitones) % 12
        return out


def _in_order(piece: Piece) -> list[tuple[int, int, tuple[int, ...]]]:
    """Tempos, meters and notes of each tick, in this order."""
    events = [(t, 0, (m,)) for t, m in piece.tempos] + [(t, 1, (n, d)) for t, n, d in piece.signatures]
    events += [(s, 2, (i, p, d, v)) for s, i, p, d, v in piece.notes.tolist()]
    return sorted(events)


def _digits(first: int, ticks: int) -> list[int]:
    """Tokens of a number of ticks; none for zero."""
    found = []
    while ticks >= 32 * 1024:
        found.append(first + 31)
        ticks -= 31 * 1024
    for row, unit in enumerate(UNITS):
        count, ticks = divmod(ticks, unit)
        found += [first + 32 * row + count] if count else []
    return found


class Grammar:
    """What may come next, while a sentence is read or drawn; and the piece that it was so far.

    Args:
        tokens: The vocabulary.
        instruments: Instruments that may play; None allows all.
        longest: Ticks of a note, and between two, that are not far exceeded: digits of larger units are not allowed.
        most: Ticks of a whole piece after which time does not go on.
    """

    def __init__(
        self, tokens: MusicTokens, *, instruments: tuple[int, ...] | None = None, longest: int = 1 << 20,
        most: int = 1 << 20,
    ):  # fmt: skip
        self.tokens, self.instruments, self.longest, self.most = tokens, instruments, longest, most
        self.state = "START"
        self.now, self.instrument, self.velocity, self.pitch, self.length = 0, -1, -1, -1, -1
        self.row = 0  # of the digits: larger units come first
        self.notes: list[tuple[int, int, int, int, int]] = []
        self.tempos: list[tuple[int, int]] = []
        self.signatures: list[tuple[int, int, int]] = []
        self.held: list[int] = []
        self.last: tuple[int, ...] = ()

    def allowed(self) -> np.ndarray:
        """(V,) booleans."""
        mask = np.zeros(self.tokens.size, bool)
        state = self.state
        if state == "START":
            mask[START] = True
        elif state in ("TEMPO", "METER"):
            mask[_BYTES:_SHIFTS] = self._bytes()
        elif state == "VELOCITY or a length" or state == "a length":
            self._lengths(mask, first=True)
            if state.startswith("VEL"):
                mask[_VELOCITIES + 1 : _VELOCITIES + 128] = True
        elif state == "VELOCITY":
            mask[_VELOCITIES + 1 : _VELOCITIES + 128] = True
        elif state == "PITCH":
            mask[_PITCHES:_VELOCITIES] = True
        elif state != "nothing":
            self._events(mask)
        return mask

    def _events(self, mask: np.ndarray) -> None:
        """Between events: anything may begin; after a note or a shift digits may go on."""
        if self.state == "a digit or an event":
            if self.length >= 0:
                self._lengths(mask, first=False)
            else:
                mask[_SHIFTS + 32 * self.row : _SHIFTS + 96] = True
        if self.state != "a digit or an event" or self.length >= 0:
            mask[_SHIFTS : _SHIFTS + 96] = True
        mask[[_SHIFTS, _SHIFTS + 32, _SHIFTS + 64]] = False  # a digit 0 says nothing
        self._bound(mask, _SHIFTS)
        if self.now >= self.most:
            mask[_SHIFTS:_LENGTHS] = False
        mask[[TEMPO, METER, END]] = True
        chosen = range(DRUMS + 1) if self.instruments is None else self.instruments
        mask[[_INSTRUMENTS + i for i in chosen]] = True
        if self.instrument >= 0:
            mask[_PITCHES:_VELOCITIES] = True
            if self.instrument + _INSTRUMENTS < _PITCHES:
                mask[_INSTRUMENTS + self.instrument] = False  # it plays already
        if self.state == "a condition or an event":
            mask[_KEYS:] = True

    def _lengths(self, mask: np.ndarray, *, first: bool) -> None:
        row = 0 if first else self.row
        mask[_LENGTHS + 32 * row : _LENGTHS + 96] = True
        mask[[_LENGTHS, _LENGTHS + 32]] = False
        mask[_LENGTHS + 64] = first  # a length of nothing is one digit 0
        self._bound(mask, _LENGTHS)
        if not first and self.length > self.longest:
            mask[_LENGTHS:_INSTRUMENTS] = False

    def _bound(self, mask: np.ndarray, first: int) -> None:
        for place, unit in enumerate(UNITS):
            if unit > max(self.longest, 1):
                mask[first + 32 * place : first + 32 * place + 32] = False

    def _bytes(self) -> np.ndarray:
        ok = np.ones(256, bool)
        if self.state == "METER" and len(self.held) == 0:
            ok[0] = False
        elif self.state == "METER":
            ok[:] = False
            ok[[1, 2, 4, 8, 16, 32, 64, 128]] = True
        elif self.state == "TEMPO" and self.held == [0, 0]:
            ok[0] = False
        return ok

    def allows(self, token: int) -> bool:
        """Whether a token may come next."""
        return 0 <= token < self.tokens.size and bool(self.allowed()[token])

    def take(self, token: int) -> None:
        """Go on by a token that is allowed."""
        if token == START:
            self.state = "a condition or an event"
        elif token == END:
            self.close()
            self.state = "nothing"
        elif token in (TEMPO, METER):
            self.close()
            self.state, self.held = ("TEMPO" if token == TEMPO else "METER"), []
        elif token < _SHIFTS:
            self._take_byte(token - _BYTES)
        elif token < _LENGTHS:
            self._take_shift(token - _SHIFTS)
        elif token < _INSTRUMENTS:
            row, count = divmod(token - _LENGTHS, 32)
            self.length = max(self.length, 0) + count * UNITS[row]
            self._digit(row, count)
        elif token < _PITCHES:
            self.close()
            self.instrument, self.state = token - _INSTRUMENTS, "PITCH"
        elif token < _VELOCITIES:
            self.close()
            self.pitch = token - _PITCHES
            self.state = "VELOCITY or a length" if self.velocity >= 0 else "VELOCITY"
        elif token < _KEYS:
            self.velocity, self.state = token - _VELOCITIES, "a length"

    def _take_byte(self, value: int) -> None:
        self.held.append(value)
        if self.state == "TEMPO" and len(self.held) == 3:
            self.tempos.append((self.now, int.from_bytes(bytes(self.held), "big")))
            self.state = "an event"
        elif self.state == "METER" and len(self.held) == 2:
            self.signatures.append((self.now, *self.held))  # type: ignore[arg-type]
            self.state = "an event"

    def _take_shift(self, digit: int) -> None:
        self.close()
        row, count = divmod(digit, 32)
        self.now += count * UNITS[row]
        self._digit(row, count)

    def _digit(self, row: int, count: int) -> None:
        # numbers above 32 * 1024 repeat the largest digit; otherwise each unit has one
        self.row = 0 if row == 0 and count == 31 else row + 1
        self.state = (
            "a digit or an event" if self.row < 3 else ("a digit or an event" if self.length >= 0 else "an event")
        )

    def close(self) -> None:
        """End the note that is being read, where one is whole."""
        if self.length >= 0:
            self.notes.append((self.now, self.instrument, self.pitch, self.length, self.velocity))
        self.length = -1

    def piece(self) -> Piece:
        """What was read so far; a note whose length has begun counts."""
        notes = list(self.notes)
        if self.length >= 0:
            notes.append((self.now, self.instrument, self.pitch, self.length, self.velocity))
        return Piece(
            np.array(notes, dtype=np.int64).reshape(-1, 5),
            self.tokens.resolution,
            tuple(self.tempos),
            tuple(self.signatures),
        )


def estimate_key(piece: Piece) -> str:
    """The key whose profile the sounding pitch classes fit best.

    Reference:
        Krumhansl & Kessler 1982, doi:10.1037/0033-295X.89.4.334, table of probe-tone ratings.
    """
    pitched = piece.notes[piece.notes[:, 1] != DRUMS]
    weight = np.bincount(pitched[:, 2] % 12, weights=pitched[:, 3] + 1, minlength=12)
    profiles = {
        "major": [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
        "minor": [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],
    }
    if not len(pitched) or np.ptp(weight) == 0:
        return KEYS[0]
    fits = [np.corrcoef(np.roll(profiles[key.split()[1]], i % 12), weight)[0, 1] for i, key in enumerate(KEYS)]
    return KEYS[int(np.argmax(fits))]
