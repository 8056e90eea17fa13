"""A decoder-only Transformer over tokens of music, with attention that knows how far back a token lies.

References: Vaswani et al. 2017, arXiv:1706.03762; relative attention in music: Huang et al. 2018 (Music Transformer),
arXiv:1809.04281; as an additive bias for each head and distance: Raffel et al. 2020, arXiv:1910.10683, section 2.1.

Shapes: N sequences, T tokens, V tokens of the vocabulary, C width, A heads, S keys.

Departures from the Music Transformer:
* The bias depends on the distance alone, not on the query: it costs no second product and no skewing.
* There are no absolute positions at all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rosenblatt._types import Float, Int
from rosenblatt.errors import ShapeError
from rosenblatt.layers.attention import Cache
from rosenblatt.models.gpt import Block


class RelativeBlock(Block):
    """A block of the GPT whose attention knows how far back each token lies."""

    def __init__(self, width: int, heads: int, context: int, dropout: float):
        super().__init__(width, heads, dropout)
        self.distance = nn.Parameter(torch.zeros(heads, context))

    def forward(
        self, x: Float[Tensor, "N T C"], back: Int[Tensor, "T S"], cache: Cache | None = None
    ) -> Float[Tensor, "N T C"]:
        """The next layer's view of each token.

        Args:
            x: The tokens.
            back: How far each key lies behind each query, 0 where it lies ahead.
            cache: Of the tokens before.
        """
        return super().forward(x, cache, self.distance[:, back])


class MusicTransformer(nn.Module):
    """Tokens in, logits of the next token at each step out.

    Args:
        vocabulary: V.
        context: Tokens that it sees at most.
        width: C, a multiple of ``heads``.
        layers: Blocks.
        heads: A.
        dropout: After embedding, attention and dense layers.
    """

    def __init__(
        self, vocabulary: int, *, context: int = 512, width: int = 256, layers: int = 4, heads: int = 4, dropout: float = 0.1
    ):  # fmt: skip
        super().__init__()
        self.context = context
        self.embedding, self.dropout = nn.Embedding(vocabulary, width), nn.Dropout(dropout)
        self.blocks = nn.ModuleList(RelativeBlock(width, heads, context, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1 and not name.endswith("distance"):
                last = name.endswith(("attention.out.weight", "narrow.weight"))  # what is added to the residual
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers) if last else 0.02)
        self.head.weight = self.embedding.weight

    def start(self, batch: int, steps: int) -> list[Cache]:
        """Empty caches of all blocks, for decoding at most ``steps`` tokens."""
        return [block.attention.cache(batch, min(steps, self.context)) for block in self.blocks]

    def forward(
        self, tokens: Int[Tensor, "N T"], state: list[Cache] | None = None
    ) -> tuple[Float[Tensor, "N T V"], list[Cache] | None]:
        """Logits of the token after each; with caches the tokens are those after the ones seen.

        Raises:
            ShapeError: More tokens than the context.
        """
        begin = state[0].length if state else 0
        end = begin + tokens.shape[1]
        if end > self.context:
            raise ShapeError(f"MusicTransformer: {end} tokens; expected at most its context of {self.context}.")
        places = torch.arange(end, device=tokens.device)
        back = (places[begin:, None] - places[None]).clamp_min(0)
        x = self.dropout(self.embedding(tokens))
        for number, block in enumerate(self.blocks):
            x = block(x, back, None if state is None else state[number])
        return self.head(self.norm(x)), state
