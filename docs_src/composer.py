"""A piece in four voices, learned from pieces that this script makes: the picture and the sound of docs/composer.md."""

import sys
from pathlib import Path

import numpy as np

import rosenblatt as rb
from rosenblatt.data.chorales import piece_of
from rosenblatt.data.midi import write_midi
from rosenblatt.report.canvas import write_figure
from rosenblatt.report.music import piano_roll

DEGREES = {"I": (0, 4, 7), "ii": (2, 5, 9), "IV": (5, 9, 12), "V": (7, 11, 14), "vi": (9, 12, 16)}
AFTER = {"I": ("IV", "V", "vi", "ii"), "ii": ("V",), "IV": ("V", "ii", "I"), "V": ("I", "vi"), "vi": ("ii", "IV")}


def hymn(source, bars=8):
    """Four voices: a walk through chords, each voice moves to the nearest note of the next; quarter notes, a held end."""
    key, chord, steps = int(source.integers(-4, 5)), "I", []
    upper = np.array([72, 67, 64])
    for quarter in range(4 * bars):
        if quarter:
            chord = "I" if quarter >= 4 * bars - 2 else str(source.choice(AFTER[chord]))
        classes = [tone % 12 for tone in DEGREES[chord]]
        choices = np.array([pitch for pitch in range(55, 80) if pitch % 12 in classes])
        upper = np.array([choices[np.abs(choices - pitch - source.uniform(-2, 2)).argmin()] for pitch in upper])
        upper = np.sort(upper)[::-1]
        bass = 48 + DEGREES[chord][0] % 12 - (12 if DEGREES[chord][0] > 6 else 0)
        steps += [[*(upper + key), bass + key]] * 4
    return np.array(steps)


def draw(picture, midi, epochs=300):
    source = np.random.default_rng(0)
    pieces = [hymn(source) for _ in range(40)]
    model = rb.Composer(network="chorale", hidden_size=96, layers=1, epochs=epochs, random_state=0).fit(pieces)
    piece = model.sample(length=96, temperature=0.8, random_state=3)
    write_figure(piano_roll(piece, title="drawn by the network"), Path(picture), dpi=90, overwrite=True)
    write_midi(piece, midi)
    return model, piece, [piece_of(notes) for notes in pieces]


if __name__ == "__main__":
    model, piece, training = draw("docs/img/composer.png", "docs/img/composer.mid", *map(int, sys.argv[1:]))
    print(model.summary())
    print(
        f"{model.validation_loss_:.3f} nats a note on held-out pieces; longest copied run {model.memorised(piece)} notes"
    )
    print(model.compare([model.sample(length=96, random_state=seed) for seed in range(5)]))
