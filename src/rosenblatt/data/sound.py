"""A piece as sound: FluidSynth where it and a sound font are installed, else a small synthesiser of our own."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.data.midi import DRUMS, Piece, encode_midi
from rosenblatt.errors import DataError

RATE = 22_050
"""Samples a second of the built-in synthesiser."""

FONTS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/soundfonts"))
_HARMONICS = (1.0, 0.5, 0.28, 0.14, 0.08)
_LONGEST = 1200.0


def synthesise(piece: Piece, *, rate: int = RATE) -> np.ndarray:
    """Samples from -1 to 1 of a piece: five harmonics a note with a soft attack and decay, noise for drums.

    Args:
        piece: The music.
        rate: Samples a second.

    Raises:
        DataError: No notes, or more than twenty minutes.
    """
    if not len(piece):
        raise DataError("synthesise: a piece without notes; expected at least one.")
    starts = piece.seconds()
    ends = piece.seconds(piece.notes[:, 0] + piece.notes[:, 3])
    if ends.max() > _LONGEST:
        raise DataError(f"synthesise: a piece of {ends.max():.0f} seconds; expected at most {_LONGEST:.0f}. Cut it.")
    sound = np.zeros(int((ends.max() + 0.6) * rate) + 1)
    noise = np.random.default_rng(0)
    for (_, instrument, pitch, _, velocity), start, end in zip(piece.notes.tolist(), starts, ends, strict=True):
        drum = instrument == DRUMS
        length = 0.15 if drum else max(end - start, 0.05) + 0.25
        t = np.arange(int(length * rate)) / rate
        if drum:
            voice = noise.standard_normal(len(t)) * np.exp(-t * 40) * 0.5
        else:
            frequency = 440 * 2 ** ((pitch - 69) / 12)
            heard = [(n, h) for n, h in enumerate(_HARMONICS, start=1) if n * frequency < rate / 2]
            voice = sum(h * np.sin(2 * np.pi * n * frequency * t) for n, h in heard)
            fade = np.clip((length - t) / 0.25, 0, 1)  # from the note's end to nothing
            voice = voice * np.minimum(t / 0.015, 1) * fade * np.exp(-0.8 * t)
        begin = int(start * rate)
        sound[begin : begin + len(t)] += velocity / 127 * voice
    return sound / max(1e-9, np.abs(sound).max()) * 0.9


def wav_bytes(sound: np.ndarray, *, rate: int = RATE) -> bytes:
    """A WAV file of 16 bits, one channel, of samples from -1 to 1."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def sound_font() -> Path | None:
    """The first installed sound font, or None."""
    return next((font for folder in FONTS for font in sorted(folder.glob("*.sf[23]"))), None)


def render(piece: Piece, path: PathLike, *, overwrite: bool = True) -> str:
    """Write a piece as a WAV file.

    Returns:
        What rendered it, in words.

    Raises:
        DataError: No notes, or too long; or FluidSynth failed.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
    """
    font, program = sound_font(), shutil.which("fluidsynth")
    if font is None or program is None:
        _validate.write_whole(path, wav_bytes(synthesise(piece)), overwrite=overwrite)
        return "the built-in synthesiser"
    if not len(piece):
        raise DataError("render: a piece without notes; expected at least one.")
    with tempfile.TemporaryDirectory() as folder:
        midi, sound = Path(folder) / "piece.mid", Path(folder) / "piece.wav"
        midi.write_bytes(encode_midi(piece))
        command = [program, "-ni", "-F", str(sound), "-r", "44100", str(font), str(midi)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not sound.is_file():
            raise DataError(f"render: fluidsynth failed ({done.stderr.strip()[-200:]}). Check the sound font {font}.")
        _validate.write_whole(path, sound.read_bytes(), overwrite=overwrite)
    return f"FluidSynth with {font.name}"
