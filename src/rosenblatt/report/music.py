"""Pictures and scores of pieces: the piano roll, and sheet music as MusicXML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt.data.midi import DRUMS, Piece
from rosenblatt.errors import DataError, MissingExtraError
from rosenblatt.report.canvas import BLUE, GREEN, ORANGE, PURPLE, VERMILION, new_figure, plain
from rosenblatt.report.plots import learning_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)


def piano_roll(piece: Piece, *, title: str = "") -> Figure:
    """Notes as bars over time in seconds, a colour an instrument; the louder the darker.

    Raises:
        DataError: A piece without notes.
    """
    if not len(piece):
        raise DataError("piano_roll: a piece without notes; expected at least one.")
    figure = new_figure(8, 3.2)
    axes = plain(figure.add_subplot(), grid="x")
    starts = piece.seconds()
    widths = np.maximum(piece.seconds(piece.notes[:, 0] + piece.notes[:, 3]) - starts, 0.02)
    for number, instrument in enumerate(piece.instruments):
        rows = piece.notes[:, 1] == instrument
        name = "drums" if instrument == DRUMS else f"program {instrument}"
        axes.barh(
            piece.notes[rows, 2], widths[rows], left=starts[rows], height=0.85, label=name,
            color=_COLOURS[number % len(_COLOURS)], alpha=0.85,
        )  # fmt: skip
    axes.set_xlabel("seconds")
    axes.set_ylabel("pitch")
    axes.set_title(title, loc="left")
    if len(piece.instruments) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=4)
    return figure


def composer_figures(model: Any, X: Any = None) -> dict[str, Figure]:
    """A sample's piano roll, that of X where it is a piece, and the loss by epoch."""
    found = {"sample": piano_roll(model.sample(random_state=0), title="a sample")}
    if isinstance(X, Piece):
        found["piece"] = piano_roll(X, title="the piece")
    return found | {"learning_curves": learning_curves(model.history_)}


def music_xml(piece: Piece) -> str:
    """Sheet music: a part an instrument, as MusicXML that notation programs open.

    Raises:
        DataError: A piece without notes.
        MissingExtraError: Without the extra ``score``.
    """
    if not len(piece):
        raise DataError("music_xml: a piece without notes; expected at least one.")
    try:
        from music21 import chord, meter, musicxml, note, stream, tempo
    except ImportError as error:
        raise MissingExtraError(
            "Sheet music needs music21; install it with: pip install 'rosenblatt[score]'"
        ) from error
    sheet = stream.Score()
    for instrument in piece.instruments:
        part = stream.Part(id=f"instrument {instrument}")
        rows = piece.notes[piece.notes[:, 1] == instrument]
        for tick, numerator, denominator in piece.signatures[:1]:
            part.insert(tick / piece.resolution, meter.TimeSignature(f"{numerator}/{denominator}"))
        for tick, microseconds in piece.tempos[:1]:
            part.insert(tick / piece.resolution, tempo.MetronomeMark(number=60e6 / microseconds))
        for start in np.unique(rows[:, 0]):
            together = rows[rows[:, 0] == start]
            for duration in np.unique(together[:, 3]):
                pitches = together[together[:, 3] == duration, 2].tolist()
                made = note.Note(pitches[0]) if len(pitches) == 1 else chord.Chord(pitches)
                made.quarterLength = max(duration, 1) / piece.resolution
                part.insert(float(start) / piece.resolution, made)
        sheet.insert(0, part)
    return musicxml.m21ToXml.GeneralObjectExporter(sheet.makeNotation()).parse().decode()
