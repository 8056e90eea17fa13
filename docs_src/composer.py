"""A piece in four voices, learned from pieces that this script makes: the picture and the sound of docs/composer.md."""

import sys
from pathlib import Path

import numpy as np

import rosenblatt as rb
from rosenblatt.data.chorales import piece_of
from rosenblatt.data.hymns import hymn
from rosenblatt.data.midi import write_midi
from rosenblatt.report.canvas import write_figure
from rosenblatt.report.music import piano_roll


def draw(picture, midi, epochs=30):
    source = np.random.default_rng(0)
    pieces = [hymn(source) for _ in range(40)]
    model = rb.Composer(
        network="chorale",
        hidden_size=64,
        layers=1,
        dropout=0.0,
        epochs=epochs,
        batch_size=5,
        learning_rate=8e-3,
        random_state=0,
    ).fit(pieces)
    piece = model.sample(length=96, temperature=0.9, random_state=3)
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
