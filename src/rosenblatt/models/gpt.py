"""A small decoder-only Transformer: the language model of Radford et al., with cached decoding.

Reference: Vaswani et al. 2017 (arXiv:1706.03762); Radford et al. 2018 and 2019, "Language models are unsupervised multitask
learners" (GPT-2: normalisation before each part, residual weights scaled by depth).

Shapes: N sequences, T tokens, V tokens of the vocabulary, C width, A heads, S keys.

Departures:
- Output weights are the embeddings only where the vocabulary is large (more than 512 tokens).
- Linear layers of the blocks have no biases.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float, Int
from rosenblatt.errors import ShapeError
from rosenblatt.layers.attention import Attention, Cache


class Block(nn.Module):
    """Attention and a dense layer, each normalised before and added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout=dropout, bias=False)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "N T C"], cache: Cache | None = None, bias: Float[Tensor, "A T S"] | None = None
    ) -> Float[Tensor, "N T C"]:
        """The next layer's view of each step, from the steps up to it; a bias is added to the scores of attention."""
        x = x + self.dropout(self.attention(self.norm_1(x), causal=True, bias=bias, cache=cache))
        return x + self.dropout(self.narrow(F.gelu(self.wide(self.norm_2(x)), approximate="tanh")))


class GPT(nn.Module):
    """Tokens in, logits of the next token at each step out.

    Args:
        vocabulary: V.
        context: Tokens that it sees at most.
        width: C, a multiple of ``heads``.
        layers: Blocks.
        heads: Of the attention.
        dropout: After embedding, attention and dense layers.
    """

    def __init__(
        self, vocabulary: int, *, context: int = 128, width: int = 192, layers: int = 4, heads: int = 4, dropout: float = 0.0
    ):  # fmt: skip
        super().__init__()
        self.context = context
        self.embedding, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                last = name.endswith(("attention.out.weight", "narrow.weight"))  # what is added to the residual
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers) if last else 0.02)
        if vocabulary > 512:
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
            raise ShapeError(
                f"GPT: {end} tokens; expected at most its context of {self.context}. Give it the last of them."
            )
        x = self.embedding(tokens) + self.places(torch.arange(begin, end, device=tokens.device))
        x = self.dropout(x)
        for number, block in enumerate(self.blocks):
            x = block(x, None if state is None else state[number])
        return self.head(self.norm(x)), state
