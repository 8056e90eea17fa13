"""A network for music in a fixed number of voices on a grid, such as four-part chorales in sixteenth notes.

The likelihood is that of the tokens one after the other, step by step and within a step voice by voice, a chord before them
where that is wanted:

    p(x) = prod_t p(chord_t | x_<t) prod_v p(x_tv | chord_t, x_t1 .. x_t,v-1, x_<t)

One recurrent step serves a whole time step, and a small network for each voice adds what was chosen before it in the same
step; so training costs a quarter of what a network over single tokens costs, for the same product.

References: the order, the chord first, the count of held steps and dropout with one mask: Peracha 2019, "Improving polyphonic
music models with feature-rich encoding" (TonicNet), arXiv:1911.11775; voices in order on a grid: Huang et al. 2018 (Music
Transformer), arXiv:1809.04281, section 4.1; pointing at the note before: See, Liu & Manning 2017, arXiv:1704.04368, here as an
added logit.

Shape letters: N pieces, T steps, V voices, P pitches (0 is silence), D features.

Departures:
* TonicNet's chords come from a harmonic analysis; here a chord is the set of pitch classes that sound, which needs none. It is
  determined by the notes, so -log p(chord) - log p(notes | chord) bounds the cost of the notes from above.
* One step a time step and networks for the voices in place of one recurrent step a token.
"""

from __future__ import annotations

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
    """

    def __init__(
        self, pitches: int, voices: int = 4, *, chords: int = 0, hidden_size: int = 256, layers: int = 2,
        cell: str = "lstm", dropout: float = 0.3, weight_drop: float = 0.0, width: int = 32,
    ):  # fmt: skip
        super().__init__()
        self.pitches, self.voices, self.chords, self.dropout = pitches, voices, chords, dropout
        self.notes = nn.Embedding(voices * (pitches + 1), width)  # each voice its own; the last stands for no note yet
        self.held = nn.Embedding(HELD, width // 4)
        self.beat = nn.Embedding(BEATS, width // 2)
        self.chord = nn.Embedding(chords, width) if chords else None
        step = voices * (width + width // 4) + width // 2 + (width if chords else 0)
        self.cells = Recurrent(
            step, hidden_size, layers, cell=cell, dropout=dropout, weight_drop=weight_drop, layer_norm=True
        )
        before = hidden_size + (width if chords else 0)
        self.heads = nn.ModuleList(
            Voice(before + v * width + width + width // 4, pitches, hidden_size, dropout) for v in range(voices)
        )
        self.chord_head = Voice(hidden_size, chords, hidden_size, dropout) if chords else None

    def forward(
        self,
        notes: Int[Tensor, "N T V"],
        chords: Int[Tensor, "N T"] | None = None,
        state: list[State] | None = None,
    ) -> tuple[list[Float[Tensor, "N T P"]], list[State]]:
        """Logits of all tokens of all steps: of the chords first, where there are any, then voice by voice.

        Args:
            notes: Tokens; -1 is padding.
            chords: Of each step, where the network has them; None takes none of the known ones.
            state: Of the layers; None is the start of a piece.
        """
        before = torch.cat([notes.new_full(notes[:, :1].shape, self.pitches), notes[:, :-1]], 1)
        held = held_steps(notes)
        held = torch.cat([torch.zeros_like(held[:, :1]), held[:, :-1]], 1)
        chord_before = None
        if self.chord is not None and chords is None:
            chords = torch.zeros_like(notes[:, :, 0])
        if chords is not None:
            chord_before = torch.cat([torch.zeros_like(chords[:, :1]), chords[:, :-1]], 1)
        positions = torch.arange(notes.shape[1], device=notes.device)
        h, state = self.read(before, held, chord_before, positions, state)
        found, seen = [], [h]
        if self.chord_head is not None and self.chord is not None and chords is not None:
            found.append(self.chord_head(h, chord_before))
            seen.append(self.chord(chords.clamp_min(0)))
        for v in range(self.voices):
            own = [self.note(before[:, :, v], v), self.held(held[:, :, v])]
            found.append(self.heads[v](torch.cat([*seen, *own], 2), before[:, :, v]))
            seen.append(self.note(notes[:, :, v], v))
        return found, state

    def read(
        self, before: Tensor, held: Tensor, chord: Tensor | None, positions: Tensor, state: list[State] | None
    ) -> tuple[Float[Tensor, "N T H"], list[State]]:
        """What is known before a step: outputs of the recurrent layers."""
        count = before.shape[:2]
        parts = [self.note(before[:, :, v], v) for v in range(self.voices)]
        parts += [self.held(held).flatten(2), self.beat(positions % BEATS).expand(*count, -1)]
        if self.chord is not None and chord is not None:
            parts.append(self.chord(chord.clamp_min(0)))
        x = same_mask_dropout(torch.cat(parts, 2), self.dropout / 2, self.training)
        return self.cells(x, state)

    def note(self, tokens: Int[Tensor, "N T"], voice: int) -> Float[Tensor, "N T D"]:
        """Embeddings of one voice's tokens."""
        return self.notes(tokens.clamp_min(0) + voice * (self.pitches + 1))


class Voice(nn.Module):
    """From what is known to the logits of one token; a logit is added to the token of the step before."""

    def __init__(self, inputs: int, outputs: int, hidden_size: int, dropout: float):
        super().__init__()
        self.one, self.two = nn.Linear(inputs, hidden_size), nn.Linear(hidden_size, outputs + 1)
        self.outputs, self.dropout = outputs, dropout

    def forward(self, x: Float[Tensor, "N T D"], before: Int[Tensor, "N T"] | None) -> Float[Tensor, "N T P"]:
        """Logits."""
        out = self.two(F.dropout(F.gelu(self.one(x)), self.dropout, self.training))
        logits, again = out[..., :-1], out[..., -1:]
        if before is None:
            return logits
        inside = (before >= 0) & (before < self.outputs)
        index = torch.where(inside, before, 0)[..., None]
        return logits.scatter_add(-1, index, (again * inside[..., None]).to(logits.dtype))


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
