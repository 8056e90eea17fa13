"""What networks paint and sing, as sections of a page: made from pictures and pieces that every installation has."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from rosenblatt.data.hymns import hymn
from rosenblatt.data.midi import Piece
from rosenblatt.data.sound import synthesise, wav_bytes
from rosenblatt.data.weights import available
from rosenblatt.estimators.composer import Composer
from rosenblatt.estimators.style import StyleTransfer
from rosenblatt.report.html import Section
from rosenblatt.report.music import piano_roll

PIXELS, STEPS = 320, 50
PIECES, EPOCHS, RATE = 40, 30, 16_000


@dataclass(frozen=True)
class Arts:
    """A painted picture and a composed piece, with what was measured about them.

    Attributes:
        pictures: Content, style and what became of them, uint8 (H, W, 3).
        network: The perceptual network, in words.
        style_distances: Distance from the style before and after.
        painted_in: Seconds.
        piece: The music.
        nats: A note of held-out pieces costs so many after training, and before, where all notes are alike.
        copied: Notes of the longest run that it shares with a training piece.
        composed_in: Seconds, training included.
    """

    pictures: tuple[np.ndarray, np.ndarray, np.ndarray]
    network: str
    style_distances: tuple[float, float]
    painted_in: float
    piece: Piece
    nats: tuple[float, float]
    copied: int
    composed_in: float

    def to_dict(self) -> dict[str, float | int | str]:
        """The measured numbers, for JSON."""
        return {
            "style_distance_before": self.style_distances[0], "style_distance_after": self.style_distances[1],
            "painted_in": self.painted_in, "network": self.network, "nats_a_note": self.nats[0],
            "nats_a_note_untrained": self.nats[1], "notes": len(self.piece), "longest_copied_run": self.copied,
            "composed_in": self.composed_in,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same in two sentences."""
        before, after = self.style_distances
        return [
            f"scikit-learn's china.jpg in the style of its flower.jpg: {self.painted_in:.1f} s, style distance {before:.3f} "
            f"before and {after:.3f} after.",
            f"A piece in four voices, learned from {PIECES} that rules made: {self.composed_in:.1f} s, {self.nats[0]:.2f} nats "
            f"a note (all pitches alike: {self.nats[1]:.2f}); {self._copied()}.",
        ]

    def _copied(self) -> str:
        if not self.copied:
            return "no eight notes in a row are those of a training piece, in any key"
        return f"{self.copied} of its {len(self.piece)} notes in a row are those of a training piece, in some key"

    def sections(self) -> list[Section]:
        """Two parts of a page, with the pictures and the sound inside."""
        return [self._painting(), self._music()]

    def _painting(self) -> Section:
        before, after = self.style_distances
        shown = (
            "The content: a pagoda among trees.", "The style: an orange flower.",
            "The pagoda, painted in the colours and strokes of the flower.",
        )  # fmt: skip
        return Section(
            "A photograph in the style of another",
            [
                "Gatys, Ecker and Bethge 2016: the pixels themselves are optimised, until the deeper layers of a network "
                "see the photograph and the correlations of its filters are those of the style.",
                f"The network here is {self.network}. The distance from the style was {before:.3f}, and is {after:.3f} after "
                f"{self.painted_in:.1f} seconds.",
            ],
            pictures=tuple(zip(self.pictures, shown, strict=True)),
            caption="scikit-learn's china.jpg and flower.jpg, and what became of them.",
        )

    def _music(self) -> Section:
        return Section(
            "A piece that no one wrote",
            [
                f"A recurrent network heard {PIECES} pieces in four voices, made by simple rules of harmony, and then wrote "
                f"this one, a sixteenth at a time; {self.composed_in:.1f} seconds in all.",
                f"A note of a piece that it had not heard costs {self.nats[0]:.2f} nats; if all pitches were alike it would "
                f"cost {self.nats[1]:.2f}. Did it copy? {self._copied().capitalize()}.",
            ],
            figure=piano_roll(self.piece, title="drawn by the network"),
            alt="Piano roll of the piece: the lines of four voices over time.",
            sound=wav_bytes(synthesise(self.piece, rate=RATE), rate=RATE),
            caption="Played by the built-in synthesiser.",
        )


def make_arts(*, random_state: int = 0) -> Arts:
    """Paint scikit-learn's china.jpg in the style of its flower.jpg, and learn to write in four voices.

    Args:
        random_state: Seed of both.
    """
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    started = time.perf_counter()
    network = "squeezenet" if available("squeezenet") else "small"  # VGG-19 would take its minute alone
    stylist = StyleTransfer(network=network, size=PIXELS, steps=STEPS, random_state=random_state, verbose=0).fit(
        flower, [china]
    )
    painted = stylist.transform(china)
    painted_in = time.perf_counter() - started
    small = [_smaller(picture, painted.shape) for picture in (china, flower)]
    distances = tuple(stylist.distances(small[0], picture)["style"] for picture in (small[0], painted))
    piece, nats, copied, composed_in = _compose(random_state)
    named = f"{stylist.network_}, {stylist.network_note_}"
    return Arts((small[0], small[1], painted), named, distances, painted_in, piece, nats, copied, composed_in)


def _smaller(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.LANCZOS))


def _compose(seed: int) -> tuple[Piece, tuple[float, float], int, float]:
    source, started = np.random.default_rng(seed), time.perf_counter()
    pieces = [hymn(source) for _ in range(PIECES)]
    model = Composer(
        network="chorale", hidden_size=64, layers=1, dropout=0.0, recall=False, epochs=EPOCHS, batch_size=5,
        learning_rate=8e-3, random_state=seed, verbose=0,
    )  # fmt: skip
    model.fit(pieces)
    piece = model.sample(length=128, temperature=0.9, tempo=96, random_state=seed)
    nats = (model.validation_loss_, float(np.log(model.module_.pitches)))
    return piece, nats, model.memorised(piece), time.perf_counter() - started
