"""The Transformer from one sequence to another: encoder, decoder, and decoding step by step with kept keys and values.

Reference: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762; one matrix for all three embeddings: Press &
Wolf 2017 (arXiv:1608.05859), as in section 3.4; normalisation before each part: Xiong et al. 2020 (arXiv:2002.04745).

Shapes: N sentences, S source tokens, T target tokens, K beams of a sentence, V vocabulary, C width, A heads.

Departures:
- Each part is normalised before, not after; there is one more normalisation at the end of encoder and decoder.
- No dropout on the attention weights: the fused kernel of the CPU has none.
- The projections of the attention start at a third of Glorot's variance on the way in and deeper layers add less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Bool, Float, Int
from rosenblatt.layers.attention import Attention, Cache
from rosenblatt.layers.dropout import Dropout

PAD = 0
"""Number of the token that fills up sentences."""


class EncoderBlock(nn.Module):
    """Attention among the source tokens and a dense layer, each normalised before and added to what it read."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "N S C"], padding: Bool[Tensor, "N S"]) -> Float[Tensor, "N S C"]:
        """The next layer's view of each token."""
        x = x + self.dropout(self.attention(self.norm_1(x), padding=padding))
        return x + self.dropout(self.narrow(F.relu(self.wide(self.norm_2(x)))))


class DecoderBlock(nn.Module):
    """Attention to the target tokens so far and to the source, and a dense layer."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.norm_1, self.norm_2, self.norm_3 = (nn.LayerNorm(width) for _ in range(3))
        self.attention, self.cross = Attention(width, heads), Attention(width, heads)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "N T C"], memory: Float[Tensor, "N S C"], padding: Bool[Tensor, "N S"]
    ) -> Float[Tensor, "N T C"]:
        """All target tokens at once, each seeing those up to itself."""
        x = x + self.dropout(self.attention(self.norm_1(x), causal=True))
        x = x + self.dropout(self.cross(self.norm_2(x), memory, padding=padding))
        return x + self.dropout(self.narrow(F.relu(self.wide(self.norm_3(x)))))

    def step(
        self, x: Float[Tensor, "N*K 1 C"], cache: Cache, memory: Cache, padding: Bool[Tensor, "N S"], *, look: bool
    ) -> tuple[Float[Tensor, "N*K 1 C"], Float[Tensor, "N K S"] | None]:
        """The next token of each beam; the beams of a sentence are so many queries to one memory."""
        x = x + self.attention(self.norm_1(x), causal=True, cache=cache)
        asked = self.norm_2(x).view(len(padding), -1, x.shape[2])  # N K C
        x = x + self.cross(asked, memory, padding=padding).view(x.shape)
        seen = self.cross.weights(asked, memory, padding=padding).mean(1) if look else None
        return x + self.narrow(F.relu(self.wide(self.norm_3(x)))), seen


@dataclass
class Decoding:
    """Sentences on the way: what was read of each, and what was written of each beam."""

    padding: Bool[Tensor, "N S"]
    memory: list[Cache]
    written: list[Cache]

    def reorder(self, beams: Int[Tensor, " M"], sentences: Int[Tensor, " L"] | None = None) -> None:
        """Go on with these beams (rows of N * K), and with these sentences alone where some are done."""
        for cache in self.written:
            cache.reorder(beams)
        if sentences is not None:
            self.padding = self.padding[sentences]
            for cache in self.memory:
                cache.reorder(sentences)


class Transformer(nn.Module):
    """Source and target tokens in, logits of the next target token at each step out.

    Args:
        vocabulary: V, of both languages together; token 0 is padding.
        width: C, a multiple of ``heads``.
        layers: Blocks of the encoder, and as many of the decoder.
        heads: Of the attention.
        hidden: Width of the dense layers between.
        dropout: After embedding, attention and dense layers.
    """

    def __init__(
        self, vocabulary: int, *, width: int = 256, layers: int = 3, heads: int = 4, hidden: int = 512,
        dropout: float = 0.3,
    ):  # fmt: skip
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = Dropout(dropout)
        self.encoder = nn.ModuleList(EncoderBlock(width, heads, hidden, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderBlock(width, heads, hidden, dropout) for _ in range(layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        for name, weight in self.named_parameters():
            if weight.ndim > 1 and not name.startswith("embedding"):
                # three projections in one matrix: Glorot's rule for each, and less for what is added to the residual
                fan = 2 * width if "project" in name or "out" in name else width + hidden
                added = name.endswith(("out.weight", "narrow.weight"))
                nn.init.normal_(weight, std=math.sqrt(2 / fan) / (math.sqrt(2 * layers) if added else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def encode(self, source: Int[Tensor, "N S"]) -> tuple[Float[Tensor, "N S C"], Bool[Tensor, "N S"]]:
        """What the decoder looks at, and where it is padding."""
        padding = source == PAD
        x = self._embed(source, 0)
        for block in self.encoder:
            x = block(x, padding)
        return self.encoder_norm(x), padding

    def forward(self, source: Int[Tensor, "N S"], target: Int[Tensor, "N T"]) -> Float[Tensor, "N T V"]:
        """Logits of the token after each target token."""
        memory, padding = self.encode(source)
        x = self._embed(target, 0)
        for block in self.decoder:
            x = block(x, memory, padding)
        return self._logits(x)

    def start(self, source: Int[Tensor, "N S"], beams: int, steps: int) -> Decoding:
        """Read the sentences; then `step` at most ``steps`` times."""
        memory, padding = self.encode(source)
        known = [block.cross.remember(memory) for block in self.decoder]
        return Decoding(padding, known, [block.attention.cache(len(source) * beams, steps) for block in self.decoder])

    def step(
        self, tokens: Int[Tensor, " M"], state: Decoding, *, look: bool = False
    ) -> tuple[Float[Tensor, "M V"], Float[Tensor, "M S"] | None]:
        """Logits of the token after each of the M = N * K beams, and where it looks: the mean of all heads and layers.

        Args:
            tokens: The last token of each beam.
            state: Of `start`; grows by this token.
            look: Whether the second result is wanted.
        """
        x = self._embed(tokens[:, None], state.written[0].length)
        seen = []
        for block, written, memory in zip(self.decoder, state.written, state.memory, strict=True):
            x, where = block.step(x, written, memory, state.padding, look=look)
            seen.append(where)
        looked = torch.stack(seen).mean(0).flatten(0, 1) if look else None
        return self._logits(x)[:, 0], looked

    def _embed(self, tokens: Int[Tensor, "N T"], begin: int) -> Float[Tensor, "N T C"]:
        x = self.embedding(tokens) * math.sqrt(self.width)
        return self.dropout(x + sinusoids(begin, begin + tokens.shape[1], self.width).to(x))

    def _logits(self, x: Float[Tensor, "N T C"]) -> Float[Tensor, "N T V"]:
        return F.linear(self.decoder_norm(x), self.embedding.weight)


def sinusoids(begin: int, end: int, width: int) -> Float[Tensor, "T C"]:
    r"""Positions as sines and cosines of wavelengths from :math:`2\pi` to :math:`10000 \cdot 2\pi`.

    Reference:
        Vaswani et al. 2017, section 3.5; sines first, then cosines, instead of one by one.
    """
    half = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10000.0) / width))
    angles = torch.arange(begin, end, dtype=torch.float64)[:, None] * half
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]
