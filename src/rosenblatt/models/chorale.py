"""A network for music in a fixed number of voices on a grid, such as four-part chorales in sixteenth notes.

The likelihood is that of the tokens one after the other, step by step and within a step voice by voice, a chord before them
where that is wanted:

    p(x) = prod_t p(chord_t | x_<t) prod_v p(x_tv | chord_t, x_t,before v, x_<t)

The outer voices come first (`outer_first`): with soprano and bass known the inner voices have little left to choose.
Notes are read and written by pitch, by degree above the tonic, and by intervals: how a voice moves, and how it lies to the
voices already chosen. Intervals are the same in every key and at every height, so that a few hundred pieces go further.
One recurrent step serves a whole time step, and a small network for each voice adds what was chosen before it in the same
step; so training costs a quarter of what a network over single tokens costs, for the same product.

References: the order, the chord first, the count of held steps and dropout with one mask: Peracha 2019, "Improving polyphonic
music models with feature-rich encoding" (TonicNet), arXiv:1911.11775; voices in order on a grid: Huang et al. 2018 (Music
Transformer), arXiv:1809.04281, section 4.1; intervals as what is predicted: Conklin & Witten 1995,
doi:10.1080/09298219508570672; pointing at the note before: See, Liu & Manning 2017, arXiv:1704.04368, here as an
added logit.

Shape letters: N pieces, T steps, V voices, P pitches (0 is silence), D features.

Departures:
* TonicNet's chords come from a harmonic analysis; here a chord is the set of pitch classes that sound, which needs none. It is
  determined by the notes, so -log p(chord) - log p(notes | chord) bounds the cost of the notes from above.
* One step a time step and networks for the voices in place of one recurrent step a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float, Int
from rosenblatt.models.recurrent import Recurrent, State, same_mask_dropout

BEATS = 16
"""Steps after which the position repeats."""

HELD = 17
"""Steps of holding that are told apart."""

IGNORED = -1
"""Token of padding: no loss, and read as silence."""

UNPITCHED = 12
"""Degree of what is no pitch."""

MOTION, SPREAD = 12, 36
"""Semitones that are told apart at most: from a voice's note to its next, and between two voices."""


class Given(NamedTuple):
    """What the network reads.

    Attributes:
        notes: Tokens; -1 is padding.
        chords: Of each step, where the network has them; None takes none of the known ones.
        tonic: Pitch class of each piece's tonic, where the network is keyed.
        recalled: Tokens that followed the longest matches, negative where there is none.
        strength: Numbers about each of those.
    """

    notes: Int[Tensor, "N T V"]
    chords: Int[Tensor, "N T"] | None = None
    tonic: Int[Tensor, " N"] | None = None
    recalled: Int[Tensor, "N T V S"] | None = None
    strength: Float[Tensor, "N T V S F"] | None = None


class ChoraleNet(nn.Module):
    """Logits of every token of the next step, each given those before it.

    Args:
        pitches: P, silence included.
        voices: V.
        chords: Chords that are told apart, 0 for none.
        hidden_size: H.
        layers: Recurrent layers.
        cell: "gru" or "lstm".
        dropout: On inputs and outputs of the layers, one mask for all steps; and in the voices' networks.
        weight_drop: On the recurrent weights.
        width: Of the embeddings of notes.
        first: Pitch class of token 1.
        keyed: Whether it is told a tonic, and so reads and writes notes relative to it too.
        sources: S, places that it may copy from beside the step before (`rosenblatt.data.repeats`).
        marks: F, numbers about each.
    """

    def __init__(
        self, pitches: int, voices: int = 4, *, chords: int = 0, hidden_size: int = 256, layers: int = 2,
        cell: str = "lstm", dropout: float = 0.3, weight_drop: float = 0.0, width: int = 32, first: int = 0,
        keyed: bool = False, sources: int = 0, marks: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.pitches, self.voices, self.chords, self.dropout = pitches, voices, chords, dropout
        self.keyed, self.sources, self.marks = keyed, sources, marks
        self.order = outer_first(voices)
        classes = (torch.arange(pitches + 1) - 1 + first) % 12
        classes[[0, pitches]] = UNPITCHED
        self.register_buffer("classes", classes)
        self.notes = nn.Embedding(voices * (pitches + 1), width)  # each voice its own; the last stands for no note yet
        self.degrees = nn.Embedding(voices * (UNPITCHED + 1), width) if keyed else None
        self.held = nn.Embedding(HELD, width // 4)
        self.beat = nn.Embedding(BEATS, width // 2)
        self.chord = nn.Embedding(chords, width) if chords else None
        step = voices * (width + width // 4 + width // 2) + width // 2 + (width if chords else 0)
        self.cells = Recurrent(
            step, hidden_size, layers, cell=cell, dropout=dropout, weight_drop=weight_drop, layer_norm=True
        )
        own = width + width // 4 + sources * (width + marks + 1)
        before = hidden_size + (width if chords else 0) + own
        self.motions = nn.Embedding(voices * bins(MOTION), width // 2)  # from a voice's last note to its next
        self.spreads = nn.Embedding(voices * voices * bins(SPREAD), width // 2)  # from that of another voice
        self.heads = nn.ModuleList()
        for v in range(voices):
            chosen = self.order.index(v)
            self.heads.append(
                Voice(
                    before + chosen * 2 * width, pitches, hidden_size, dropout, copies=1 + sources, keyed=keyed,
                    reaches=[MOTION] + [SPREAD] * chosen,
                )
            )  # fmt: skip
        self.chord_head = Voice(hidden_size, chords, hidden_size, dropout) if chords else None

    def forward(
        self, given: Given, state: list[State] | None = None
    ) -> tuple[list[Float[Tensor, "N T P"]], list[State]]:
        """Logits of all tokens of all steps: of the chords first, where there are any, then of each voice, from high to low.

        Args:
            given: The pieces, and what was found about them.
            state: Of the layers; None is the start of a piece.
        """
        notes, chords = given.notes, given.chords
        before = earlier(notes, self.pitches)  # which stands for no note yet
        held = earlier(held_steps(notes), 0)
        chord_before = None
        if self.chord is not None:
            chords = torch.zeros_like(notes[:, :, 0]) if chords is None else chords
            chord_before = earlier(chords, 0)
        positions = torch.arange(notes.shape[1], device=notes.device)
        moved = self.moved(before, earlier(before, self.pitches))
        h, state = self.read(before, moved, held, chord_before, given.tonic, positions, state)
        found, seen = [], [h]
        if self.chord_head is not None and self.chord is not None and chords is not None:
            found.append(self.chord_head(h, chord_before[..., None]))
            seen.append(self.chord(chords.clamp_min(0)))
        voices: dict[int, Tensor] = {}
        for number, v in enumerate(self.order):
            voices[v] = self.voice(v, seen, before, held, given, notes[:, :, self.order[:number]])
            seen.append(self.note(notes[:, :, v], v, given.tonic))
        return found + [voices[v] for v in range(self.voices)], state

    def voice(
        self, v: int, seen: list[Tensor], before: Int[Tensor, "N T V"], held: Int[Tensor, "N T V"], given: Given,
        chosen: Int[Tensor, "N T ..."],
    ) -> Float[Tensor, "N T P"]:  # fmt: skip
        """Logits of one voice's token, given those of the same step that come before it in ``order``."""
        last = before[:, :, v]
        parts = [*seen, self.note(last, v, given.tonic), self.held(held[:, :, v])]
        copied = last[..., None]
        tokens = torch.arange(self.pitches, device=last.device).expand(*last.shape, -1)
        intervals = [interval(tokens, last[..., None], self.pitches, MOTION)]
        for number, u in enumerate(self.order[: chosen.shape[2]]):
            now = chosen[:, :, number]
            parts.append(self.motion(now, before[:, :, u], u))
            pair = (u * self.voices + v) * bins(SPREAD)
            parts.append(self.spreads(interval(now, last, self.pitches, SPREAD) + pair))
            intervals.append(interval(tokens, now[..., None], self.pitches, SPREAD))
        if self.sources and given.recalled is not None:
            recalled = given.recalled  # N T V S
            there = torch.where(recalled[:, :, v] < 0, self.pitches, recalled[:, :, v])
            parts.append(torch.cat([self.note(there[..., s], v, given.tonic) for s in range(self.sources)], 2))
            parts.append(given.strength[:, :, v].flatten(2))
            # whether the voices before it went where this source had said, as far as it said anything
            said = recalled[:, :, self.order[: chosen.shape[2]]]
            followed = (said == chosen[..., None]) | (said < 0)
            parts.append(followed.all(2).float())
            copied = torch.cat([copied, recalled[:, :, v]], 2)
        return self.heads[v](torch.cat(parts, 2), copied, self.turned(given.tonic), intervals)

    def motion(self, now: Int[Tensor, ...], then: Int[Tensor, ...], voice: int | Tensor) -> Float[Tensor, ...]:
        """Embeddings of how a voice moved, or each of several on the last axis."""
        return self.motions(interval(now, then, self.pitches, MOTION) + bins(MOTION) * voice)

    def moved(self, now: Int[Tensor, "N T V"], then: Int[Tensor, "N T V"]) -> Float[Tensor, "N T D"]:
        """Embeddings of how all voices moved."""
        return self.motion(now, then, torch.arange(self.voices, device=now.device)).flatten(2)

    def read(
        self, before: Tensor, moved: Tensor, held: Tensor, chord: Tensor | None, tonic: Tensor | None, positions: Tensor,
        state: list[State] | None,
    ) -> tuple[Float[Tensor, "N T H"], list[State]]:  # fmt: skip
        """What is known before a step: outputs of the recurrent layers."""
        count = before.shape[:2]
        parts = [self.note(before[:, :, v], v, tonic) for v in range(self.voices)]
        parts += [moved, self.held(held).flatten(2), self.beat(positions % BEATS).expand(*count, -1)]
        if self.chord is not None and chord is not None:
            parts.append(self.chord(chord.clamp_min(0)))
        x = same_mask_dropout(torch.cat(parts, 2), self.dropout / 2, self.training)
        return self.cells(x, state)

    def note(self, tokens: Int[Tensor, "N T"], voice: int, tonic: Int[Tensor, " N"] | None) -> Float[Tensor, "N T D"]:
        """Embeddings of one voice's tokens."""
        tokens = tokens.clamp_min(0)
        found = self.notes(tokens + voice * (self.pitches + 1))
        if self.degrees is None or tonic is None:
            return found
        turned = self.turned(tonic).gather(1, tokens)  # N T
        return found + self.degrees(turned + voice * (UNPITCHED + 1))

    def turned(self, tonic: Int[Tensor, " N"] | None) -> Int[Tensor, "N P"] | None:
        """Degree of each token above the tonic, in semitones."""
        if tonic is None or not self.keyed:
            return None
        degrees = (self.classes[None] - tonic[:, None]) % 12
        return torch.where(self.classes == UNPITCHED, UNPITCHED, degrees)


def outer_first(voices: int) -> list[int]:
    """Order in which the voices of a step are chosen: the highest, the lowest, then the inner ones downwards.

    Example:
        >>> outer_first(4)
        [0, 3, 1, 2]
    """
    return [0, voices - 1, *range(1, voices - 1)][:voices]


def earlier(x: Int[Tensor, "N T ..."], first: int) -> Int[Tensor, "N T ..."]:
    """What stood one step before, and a number of its own before the first step."""
    return torch.cat([torch.full_like(x[:, :1], first), x[:, :-1]], 1)


def bins(reach: int) -> int:
    """Numbers that `interval` gives."""
    return 2 * reach + 2


def interval(now: Int[Tensor, "*#S"], then: Int[Tensor, "*#S"], pitches: int, reach: int) -> Int[Tensor, ...]:
    """Semitones from one token's pitch to another's, counted from ``reach`` down; the last number where one is no pitch.

    Example:
        >>> interval(torch.tensor([5, 5, 90, 0]), torch.tensor([5, 7, 5, 5]), pitches=91, reach=12).tolist()
        [12, 10, 24, 25]
    """
    none = (now < 1) | (now >= pitches) | (then < 1) | (then >= pitches)
    return torch.where(none, 2 * reach + 1, (now - then).clamp(-reach, reach) + reach)


class Voice(nn.Module):
    """From what is known to the logits of one token: by pitch, by degree, by intervals, and by pointing at what it may copy.

    Args:
        inputs: Features of what is known.
        outputs: P.
        hidden_size: Of its one hidden layer.
        dropout: In that.
        copies: Tokens that it may point at.
        keyed: Whether it writes degrees.
        reaches: Semitones of the intervals from each note that it measures by.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden_size: int, dropout: float, *, copies: int = 1, keyed: bool = False,
        reaches: Sequence[int] = (),
    ):  # fmt: skip
        super().__init__()
        self.dropout = dropout
        self.sizes = [outputs, copies, UNPITCHED + 1 if keyed else 0, *(bins(reach) for reach in reaches)]
        self.one, self.two = nn.Linear(inputs, hidden_size), nn.Linear(hidden_size, sum(self.sizes))

    def forward(
        self, x: Float[Tensor, "N T D"], copied: Int[Tensor, "N T S"], turned: Int[Tensor, "N P"] | None = None,
        intervals: Sequence[Int[Tensor, "N T P"]] = (),
    ) -> Float[Tensor, "N T P"]:  # fmt: skip
        """Logits.

        Args:
            x: What is known.
            copied: Tokens that a logit each is added to; those outside the outputs are none.
            turned: Degree of each token.
            intervals: Of each token, from each of the notes that it measures by.
        """
        out = self.two(same_mask_dropout(F.gelu(self.one(x)), self.dropout, self.training)).float()
        logits, copy, degree, *near = out.split(self.sizes, 2)
        if turned is not None:
            logits = logits + degree.gather(2, turned[:, None, : logits.shape[2]].expand(*logits.shape))
        for part, where in zip(near, intervals, strict=True):
            logits = logits + part.gather(2, where)
        inside = (copied >= 0) & (copied < logits.shape[2])
        return logits.scatter_add(2, torch.where(inside, copied, 0), copy * inside)


def held_steps(notes: Int[Tensor, "N T V"]) -> Int[Tensor, "N T V"]:
    """For how many steps each note has sounded already, at most 16.

    Example:
        >>> held_steps(torch.tensor([[[5], [5], [5], [7], [7]]])).flatten().tolist()
        [0, 1, 2, 0, 1]
    """
    same = torch.zeros_like(notes)
    same[:, 1:] = (notes[:, 1:] == notes[:, :-1]).to(notes.dtype)
    total = same.cumsum(1)
    # the count at the last change, carried forward
    start = torch.where(same == 0, total, 0).cummax(1).values
    return (total - start).clamp_max(HELD - 1)


def token_losses(
    logits: list[Tensor], notes: Int[Tensor, "N T V"], chords: Int[Tensor, "N T"] | None = None
) -> tuple[Float[Tensor, "N T V"], Float[Tensor, "N T"] | None]:
    """Negative log-likelihood of each note and of each chord, in nats; zero where the token is padding."""
    first = len(logits) - notes.shape[2]
    found = [
        F.cross_entropy(logits[first + v].float().flatten(0, 1), notes[:, :, v].flatten(), ignore_index=IGNORED, reduction="none")
        for v in range(notes.shape[2])
    ]  # fmt: skip
    each = torch.stack(found, 1).view(notes.shape)
    if not first or chords is None:
        return each, None
    flat = F.cross_entropy(logits[0].float().flatten(0, 1), chords.flatten(), ignore_index=IGNORED, reduction="none")
    return each, flat.view(chords.shape)
