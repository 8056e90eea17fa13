"""Music as notes in one canonical order: read from MIDI files and written to them, over the library symusic.

A `Piece` has no tracks: notes of one program are one instrument whichever track they lay on, and all are sorted, so two files
that sound the same are the same piece. What a piece does not hold (control changes, pitch bends, pedals, lyrics, markers, key
signatures, names of tracks, aftertouch, notes that never end) is counted in ``dropped`` by name, never lost silently.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.data.midi_events import count_unread
from rosenblatt.errors import DataError, MissingExtraError, ParameterError

DRUMS = 128
"""Instrument number of the percussion; 0 to 127 are General MIDI's programs."""

TEMPO = 500_000
"""Microseconds a quarter note where a file says none: 120 a minute."""

COLUMNS = ("start", "instrument", "pitch", "duration", "velocity")
SUFFIXES = (".mid", ".midi")


@dataclass(frozen=True)
class Piece:
    """A piece of music.

    Attributes:
        notes: (N, 5) integers, sorted: start and duration in ticks, instrument (0 to 127, 128 drums), pitch (0 to 127),
            velocity (1 to 127); columns in the order of `COLUMNS`.
        resolution: Ticks a quarter note.
        tempos: (ticks, microseconds a quarter note) of each change.
        signatures: (ticks, numerator, denominator) of each change.
        dropped: Name -> how many events of a file are not in the piece.

    Raises:
        DataError: Numbers out of their ranges.
    """

    notes: np.ndarray
    resolution: int = 480
    tempos: tuple[tuple[int, int], ...] = ()
    signatures: tuple[tuple[int, int, int], ...] = ()
    dropped: dict[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        notes = np.asarray(self.notes, dtype=np.int64).reshape(-1, 5)
        low, high = (0, 0, 0, 0, 1), (2**31, DRUMS, 127, 2**31, 127)
        for column, name in enumerate(COLUMNS):
            values = notes[:, column]
            if len(values) and not (low[column] <= values.min() and values.max() <= high[column]):
                bad = int(np.flatnonzero((values < low[column]) | (values > high[column]))[0])
                raise DataError(
                    f"Piece: note {bad} has the {name} {values[bad]}; expected {low[column]} to {high[column]}."
                )
        if not 1 <= self.resolution <= 32767:
            raise DataError(f"Piece: resolution={self.resolution}; expected 1 to 32767 ticks a quarter note.")
        if bad_tempo := [t for t in self.tempos if not 1 <= t[1] < 2**24 or t[0] < 0]:
            raise DataError(
                f"Piece: a tempo of {bad_tempo[0][1]} microseconds at tick {bad_tempo[0][0]}; expected 1 to 16777215."
            )
        if bad_meter := [s for s in self.signatures if not (1 <= s[1] <= 255 and s[2] in _DENOMINATORS and s[0] >= 0)]:
            raise DataError(f"Piece: a time signature {bad_meter[0][1]}/{bad_meter[0][2]}; expected such as 3/4.")
        order = np.lexsort(notes.T[[4, 3, 2, 1, 0]])
        object.__setattr__(self, "notes", notes[order])
        object.__setattr__(self, "tempos", _last_each(self.tempos))
        object.__setattr__(self, "signatures", _last_each(self.signatures))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Piece):
            return NotImplemented
        same = (self.resolution, self.tempos, self.signatures) == (other.resolution, other.tempos, other.signatures)
        return same and np.array_equal(self.notes, other.notes)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """Number of notes."""
        return len(self.notes)

    @property
    def end(self) -> int:
        """Tick at which the last note ends."""
        return int((self.notes[:, 0] + self.notes[:, 3]).max()) if len(self.notes) else 0

    @property
    def instruments(self) -> list[int]:
        """Instruments that play, in ascending order."""
        return np.unique(self.notes[:, 1]).tolist()

    def seconds(self, ticks: np.ndarray | None = None) -> np.ndarray:
        """Time in seconds of ticks; of the starts of all notes where none are given."""
        ticks = self.notes[:, 0] if ticks is None else np.asarray(ticks)
        changes = [(0, TEMPO), *self.tempos]
        starts = np.array([t for t, _ in changes])
        rates = np.array([m for _, m in changes]) / 1e6 / self.resolution
        passed = np.concatenate([[0.0], np.cumsum(np.diff(starts) * rates[:-1])])
        at = np.searchsorted(starts, ticks, side="right") - 1
        return passed[at] + (ticks - starts[at]) * rates[at]

    def on_grid(self, resolution: int) -> Piece:
        """The same music with so many ticks a quarter note: times are rounded, no note becomes shorter than a tick."""
        if resolution == self.resolution:
            return self
        notes = self.notes.copy()
        ends = _scaled(notes[:, 0] + notes[:, 3], resolution, self.resolution)
        notes[:, 0] = _scaled(notes[:, 0], resolution, self.resolution)
        notes[:, 3] = np.maximum(ends - notes[:, 0], 1)

        def moved(tick: int) -> int:
            return int(_scaled(np.array([tick]), resolution, self.resolution)[0])

        return Piece(
            notes, resolution, tuple((moved(t), m) for t, m in self.tempos),
            tuple((moved(t), n, d) for t, n, d in self.signatures), self.dropped,
        )  # fmt: skip

    def transposed(self, semitones: int) -> Piece:
        """All but the drums moved by so many semitones.

        Raises:
            DataError: A note would leave 0 to 127.
        """
        notes = self.notes.copy()
        notes[notes[:, 1] != DRUMS, 2] += semitones
        return Piece(notes, self.resolution, self.tempos, self.signatures, self.dropped)


_DENOMINATORS = tuple(1 << n for n in range(8))


def _scaled(ticks: np.ndarray, to: int, of: int) -> np.ndarray:
    return (2 * ticks * to + of) // (2 * of)


def _last_each(changes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
    """Sorted by time; of several changes at one tick the last holds."""
    found = {int(change[0]): tuple(int(v) for v in change) for change in changes}
    return tuple(found[tick] for tick in sorted(found))


# ---------------------------------------------------------------------------------------------------------- reading


def read_midi(path: PathLike) -> Piece:
    """Read a MIDI file of format 0 or 1.

    Where notes of one pitch and instrument overlap, each end belongs to the earliest that is still sounding.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: Empty, cut short, not MIDI, format 2, SMPTE time, a tempo of zero, or no notes; the message says which.
        MissingExtraError: Without the extra ``music``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file. Check the path.")
    return decode_midi(path.read_bytes(), who=str(path))


def decode_midi(data: bytes, *, who: str = "decode_midi") -> Piece:
    """A piece out of the bytes of a MIDI file; see `read_midi`."""
    _check_chunks(data, who)
    symusic = _symusic()
    try:
        score = symusic.Score.from_midi(data)
    except (RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"{who}: the MIDI events cannot be read ({error}). Get a fresh copy.") from error
    rows, dropped = [], {}
    for track in score.tracks:
        instrument = DRUMS if track.is_drum else int(track.program)
        rows += [(n.time, instrument, n.pitch, n.duration, n.velocity) for n in track.notes]
        for name in ("controls", "pitch_bends", "pedals", "lyrics"):
            dropped[name] = dropped.get(name, 0) + len(getattr(track, name, ()))
        dropped["names of tracks"] = dropped.get("names of tracks", 0) + bool(track.name)
    dropped |= {"key_signatures": len(score.key_signatures), "markers": len(score.markers)}
    if not rows:
        raise DataError(f"{who}: a MIDI file without notes; expected at least one.")
    tempos = [(t.time, t.mspq) for t in score.tempos]
    if zero := [t for t, m in tempos if m <= 0]:
        raise DataError(
            f"{who}: a tempo of 0 microseconds a quarter note at tick {zero[0]}; expected more. Mend the file."
        )
    meters = [(s.time, s.numerator, s.denominator) for s in score.time_signatures]
    said = {name.replace("_", " "): count for name, count in dropped.items() if count} | count_unread(data, len(rows))
    return Piece(np.array(rows), int(score.ticks_per_quarter), tuple(tempos), tuple(meters), said)


def _check_chunks(data: bytes, who: str) -> None:
    """Refuse what is not a whole MIDI file, before anything is parsed."""
    if not data:
        raise DataError(f"{who} is empty; expected a MIDI file.")
    if data[:4] != b"MThd" or len(data) < 14:
        raise DataError(f"{who} is no MIDI file: it begins with {data[:4]!r}; expected b'MThd'.")
    length, kind, tracks, division = struct.unpack(">IHHH", data[4:14])
    if kind > 1:
        raise DataError(
            f"{who} is a MIDI file of format {kind}; expected 0 or 1 (format 2 holds independent sequences)."
        )
    if division & 0x8000 or not division:
        raise DataError(f"{who} counts time in SMPTE frames; expected ticks a quarter note.")
    place, found = 8 + length, 0
    while place < len(data) and found < tracks:
        if place + 8 > len(data):
            raise DataError(f"{who} is cut short in the header of track {found + 1}; get a fresh copy.")
        name, size = data[place : place + 4], struct.unpack(">I", data[place + 4 : place + 8])[0]
        if place + 8 + size > len(data):
            missing = place + 8 + size - len(data)
            raise DataError(f"{who} is cut short: {missing} bytes of track {found + 1} are missing; get a fresh copy.")
        found += name == b"MTrk"
        place += 8 + size
    if found < tracks:
        raise DataError(f"{who} is cut short: {found} of {tracks} tracks are there; get a fresh copy.")


def read_pieces(
    source: PathLike | Sequence[PathLike], *, skip_bad: bool = False, who: str = "read_pieces"
) -> dict[str, Piece]:
    """Pieces by name out of a folder (with the folders in it), a file, or a list of files.

    Args:
        source: Where they are.
        skip_bad: Leave out what cannot be read; the names and reasons are warned of.
        who: Start of the messages.

    Raises:
        FileNotFoundError, DataError: Nothing there, or files that cannot be read, with the reason of the first.
    """
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(p) for p in source]
    if len(paths) == 1 and paths[0].is_dir():
        root = paths[0]
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
        names = [str(p.relative_to(root)) for p in paths]
    else:
        names = [str(p) for p in paths]
    found, bad = {}, {}
    for name, path in zip(names, paths, strict=True):
        try:
            found[name] = read_midi(path)
        except DataError as error:
            bad[name] = str(error)
    if bad and not skip_bad:
        raise DataError(
            f"{who}: {len(bad)} files cannot be read; first: {next(iter(bad.values()))} Or leave them out with skip_bad."
        )
    if bad:
        first = next(iter(bad.values()))
        warnings.warn(
            f"{who}: {len(bad)} files were left out: {', '.join(bad)}. First: {first}", UserWarning, stacklevel=2
        )
    if not found:
        raise DataError(f"{who}: no MIDI files in {source}; expected some with {' or '.join(SUFFIXES)}.")
    return found


# ---------------------------------------------------------------------------------------------------------- writing


def encode_midi(piece: Piece) -> bytes:
    """The bytes of a MIDI file: one track an instrument, and further ones where notes of one pitch overlap.

    Reading them gives the same piece back.

    Raises:
        MissingExtraError: Without the extra ``music``.
    """
    symusic = _symusic()
    score = symusic.Score(piece.resolution)
    for tick, microseconds in piece.tempos:
        score.tempos.append(symusic.Tempo(time=tick, mspq=microseconds))
    for tick, numerator, denominator in piece.signatures:
        score.time_signatures.append(symusic.TimeSignature(time=tick, numerator=numerator, denominator=denominator))
    for instrument in piece.instruments:
        for notes in _apart(piece.notes[piece.notes[:, 1] == instrument]):
            track = symusic.Track(program=instrument % DRUMS, is_drum=instrument == DRUMS)
            for start, _, pitch, duration, velocity in notes:
                track.notes.append(symusic.Note(time=start, duration=duration, pitch=pitch, velocity=velocity))
            score.tracks.append(track)
    return score.dumps_midi()


def _apart(notes: np.ndarray) -> list[list[list[int]]]:
    """Notes of one instrument on as few tracks as keep those of one pitch from overlapping, or from touching with no length."""
    tracks: list[list[list[int]]] = []
    ends: list[dict[int, int]] = []
    for note in notes.tolist():
        start, _, pitch, duration, _ = note
        place = next(
            (i for i, end in enumerate(ends) if end.get(pitch, -1) <= start and end.get(pitch) != start + duration),
            None,
        )
        if place is None:
            tracks.append([])
            ends.append({})
            place = len(tracks) - 1
        tracks[place].append(note)
        ends[place][pitch] = start + duration
    return tracks


def write_midi(piece: Piece, path: PathLike, *, overwrite: bool = True) -> Path:
    """Write a MIDI file, whole or not at all.

    Raises:
        ParameterError: Another suffix than .mid or .midi.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
        MissingExtraError: Without the extra ``music``.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ParameterError(f"{path}: expected the suffix .mid or .midi.")
    return _validate.write_whole(path, encode_midi(piece), overwrite=overwrite)


def _symusic() -> Any:
    try:
        import symusic
    except ImportError as error:
        raise MissingExtraError("MIDI files need symusic; install it with: pip install 'rosenblatt[music]'") from error
    return symusic
