"""Recurrent encoder and decoder with attention: the translation model before the Transformer.

Reference: Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate",
arXiv:1409.0473 (encoder of both directions, attention, first state from the encoder); Luong, Pham & Manning 2015,
arXiv:1508.04025 (the "general" score, tanh over state and context); Wu et al. 2016, arXiv:1609.08144 (what the first
decoder layer asked for is read by the second, so that what was attended to is known at the next step).

Shapes: N sentences, S source tokens, T target tokens, K beams of a sentence, V vocabulary, C width of embeddings, H units.

Departures:
- Bahdanau's decoder has one layer that needs its own last context, step by step. Here the attention stands between two
  fused layers, so that training runs over all steps at once.
- The score is the scaled dot product of two projections, Luong's "general" matrix in two factors.
- What is attended to is the encoder's output beside the token's own embedding; it and the queries are normalised. Small
  states make small scores, and attention that starts even stays even for long.
- One embedding serves source, target and output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Bool, Float, Int
from rosenblatt.layers.attention import Attention, Cache
from rosenblatt.models.recurrent import Layer, Recurrent, same_mask_dropout
from rosenblatt.models.transformer import PAD


@dataclass
class Decoding:
    """Sentences on the way: what was read of each, and the states of the two layers, (1, N * K, H) each."""

    padding: Bool[Tensor, "N S"]
    memory: Cache
    states: list[Tensor]

    def reorder(self, beams: Int[Tensor, " M"], sentences: Int[Tensor, " L"] | None = None) -> None:
        """Go on with these beams (rows of N * K), and with these sentences alone where some are done."""
        self.states = [state[:, beams] for state in self.states]
        if sentences is not None:
            self.padding = self.padding[sentences]
            self.memory.reorder(sentences)


class AttentionGRU(nn.Module):
    """Source and target tokens in, logits of the next target token at each step out.

    Args:
        vocabulary: V, of both languages together; token 0 is padding.
        width: C of the embeddings.
        hidden: H, units of the decoder; the encoder has half of them in each direction.
        layers: Of the encoder; the decoder has two.
        dropout: On embeddings, outputs of layers and the last hidden layer, one mask for all steps.
    """

    def __init__(self, vocabulary: int, *, width: int = 256, hidden: int = 512, layers: int = 2, dropout: float = 0.3):
        super().__init__()
        self.width, self.dropout = width, dropout
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.encoder = Recurrent(width, hidden // 2, layers, cell="gru", bidirectional=True, dropout=dropout)
        self.first = nn.Linear(2 * (hidden // 2), 2 * hidden)
        self.lower = Layer(width, hidden, cell="gru")
        self.read = nn.Linear(2 * (hidden // 2) + width, hidden)  # the attention has one width for queries and keys
        self.memory_norm, self.query_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = Attention(hidden, 1)
        with torch.no_grad():  # queries and keys of variance one: scores that differ from the start
            nn.init.normal_(self.attention.project.weight, std=hidden**-0.5)
        self.upper = Layer(2 * hidden, hidden, cell="gru")
        self.narrow = nn.Linear(2 * hidden, width)

    def encode(self, source: Int[Tensor, "N S"]) -> tuple[Float[Tensor, "N S H"], Float[Tensor, "N E"], Tensor]:
        """What the decoder looks at, the sentence's mean, and where it is padding."""
        padding = source == PAD
        x = same_mask_dropout(self._embed(source), self.dropout, self.training)
        out, _ = self.encoder(x, None, (~padding).sum(1))
        there = (~padding)[:, :, None].to(out)
        return self.memory_norm(self.read(torch.cat([out, x], 2))), (out * there).sum(1) / there.sum(1), padding

    def forward(self, source: Int[Tensor, "N S"], target: Int[Tensor, "N T"]) -> Float[Tensor, "N T V"]:
        """Logits of the token after each target token."""
        memory, mean, padding = self.encode(source)
        low, high = self._first(mean)
        x = same_mask_dropout(self._embed(target), self.dropout, self.training)
        x, _ = self.lower(x, low)
        x = same_mask_dropout(x, self.dropout, self.training)
        context = self.attention(self.query_norm(x), memory, padding=padding)
        return self._logits(x, context, high)[0]

    def start(self, source: Int[Tensor, "N S"], beams: int, steps: int) -> Decoding:
        """Read the sentences; then `step` as often as is needed."""
        memory, mean, padding = self.encode(source)
        states = [state.repeat_interleave(beams, 1) for state in self._first(mean)]
        return Decoding(padding, self.attention.remember(memory), states)

    def step(
        self, tokens: Int[Tensor, " M"], state: Decoding, *, look: bool = False
    ) -> tuple[Float[Tensor, "M V"], Float[Tensor, "M S"] | None]:
        """Logits of the token after each of the M = N * K beams, and where it looks.

        Args:
            tokens: The last token of each beam.
            state: Of `start`; moves on by this token.
            look: Whether the second result is wanted.
        """
        x, low = self.lower(self._embed(tokens[:, None]), state.states[0])
        asked = self.query_norm(x).view(len(state.padding), -1, x.shape[2])  # N K H
        context = self.attention(asked, state.memory, padding=state.padding).view(x.shape)
        seen = self.attention.weights(asked, state.memory, padding=state.padding).flatten(0, 2) if look else None
        logits, high = self._logits(x, context, state.states[1])
        state.states = [low, high]
        return logits[:, 0], seen

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) * self.width**0.5

    def _first(self, mean: Float[Tensor, "N E"]) -> list[Float[Tensor, "1 N H"]]:
        """States of the two decoder layers before the first token."""
        return [state.contiguous() for state in torch.tanh(self.first(mean))[None].chunk(2, 2)]

    def _logits(self, x: Tensor, context: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        high, state = self.upper(torch.cat([x, context], 2), state)
        hidden = torch.tanh(self.narrow(torch.cat([high, context], 2)))  # Luong et al. 2015, eq. 5
        return F.linear(same_mask_dropout(hidden, self.dropout, self.training), self.embedding.weight), state
