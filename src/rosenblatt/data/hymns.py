"""Pieces in four voices that a few rules of harmony make: something to learn from where no music is at hand."""

from __future__ import annotations

import numpy as np

from rosenblatt._validate import Number, parameter
from rosenblatt.data.chorales import STEPS

DEGREES = {"I": (0, 4, 7), "ii": (2, 5, 9), "IV": (5, 9, 0), "V": (7, 11, 2), "vi": (9, 0, 4)}
"""Chords of a major key: pitch classes above the tonic, the root first."""

AFTER = {"I": ("IV", "V", "vi", "ii"), "ii": ("V",), "IV": ("V", "ii", "I"), "V": ("I", "vi"), "vi": ("ii", "IV")}
"""Which chords may follow which."""

_UPPER, _LOWEST, _HIGHEST = (72, 67, 64), 55, 79


def hymn(generator: np.random.Generator, *, bars: int = 8) -> np.ndarray:
    """A walk through chords in some major key, four quarter notes a bar, the upper voices moving as little as they can.

    Every four bars end on the tonic chord, held for two quarters; the soprano passes through the step between two notes a
    third apart now and then.

    Args:
        generator: Of the walk.
        bars: Bars of four quarter notes.

    Returns:
        (16 * bars, 4) MIDI pitches on a grid of sixteenths, from high to low.

    Raises:
        ParameterError: Less than one bar.

    Example:
        >>> piece = hymn(np.random.default_rng(0), bars=4)
        >>> piece.shape, bool((np.diff(piece, axis=1) <= 0).all())
        ((64, 4), True)
    """
    parameter("hymn", "bars", bars, Number(1, integer=True))
    key = int(generator.integers(-4, 5))
    chords = _walk(generator, 4 * bars)
    upper, rows = np.array(_UPPER), []
    for number, chord in enumerate(chords):
        if number and chords[number - 1] == chord:
            rows.append(rows[-1])
            continue
        choices = np.array([pitch for pitch in range(_LOWEST, _HIGHEST + 1) if pitch % 12 in DEGREES[chord]])
        wished = upper + generator.uniform(-2, 2, 3)
        upper = np.sort([choices[np.abs(choices - wish).argmin()] for wish in wished])[::-1]
        root = DEGREES[chord][0]
        rows.append([*upper, 48 + root - (12 if root > 6 else 0)])
    steps = np.repeat(np.array(rows), STEPS, axis=0)
    return _passing(steps, generator) + key


def _walk(generator: np.random.Generator, quarters: int) -> list[str]:
    """A chord a quarter; the last two of each sixteen are the tonic, and so are the piece's last two."""
    chords = ["I"]
    for quarter in range(1, quarters):
        cadence = quarter % 16 >= 14 or quarter >= quarters - 2
        chords.append("I" if cadence else str(generator.choice(AFTER[chords[-1]])))
    return chords


def _passing(steps: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Eighth notes between thirds of the soprano."""
    scale, out = {0, 2, 4, 5, 7, 9, 11}, steps.copy()
    for start in range(0, len(steps) - STEPS, STEPS):
        here, there = int(steps[start, 0]), int(steps[start + STEPS, 0])
        between = [p for p in range(min(here, there) + 1, max(here, there)) if p % 12 in scale]
        if len(between) == 1 and generator.random() < 0.7 and between[0] >= steps[start, 1]:
            out[start + STEPS // 2 : start + STEPS, 0] = between[0]
    return out
