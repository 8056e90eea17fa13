"""The recurrent language model: an embedding, a stack of recurrent layers, logits of the next token.

Reference: Mikolov et al. 2010, "Recurrent neural network based language model", Interspeech; Merity, Keskar & Socher 2017
(arXiv:1708.02182); tied weights: Press & Wolf 2017 (arXiv:1608.05859).

Shapes: N sequences, T tokens, V tokens of the vocabulary, E numbers of an embedding, H units.

Departures:
- Embeddings are narrow (E <= 128) where the vocabulary is small: characters need no more, and the first layer costs less.
- With tied weights the outputs go through one linear layer from H to E.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rosenblatt._types import Float, Int
from rosenblatt.models.recurrent import Recurrent, State, same_mask_dropout


class RecurrentLanguageModel(nn.Module):
    """Tokens in, logits of the next token at each step out, and the state to go on from.

    Args:
        vocabulary: V.
        cell: "elman", "gru" or "lstm".
        hidden_size: H.
        layers: Recurrent layers.
        embedding_size: E; None takes the smaller of H and 64 (of more than 512 tokens: 256).
        dropout: On inputs and outputs of the layers, one mask for all steps.
        weight_drop: On the recurrent weights.
        layer_norm: Whether each layer's outputs are normalised.
        tied: Whether the embeddings are the output weights too; None: of more than 512 tokens.
    """

    def __init__(
        self, vocabulary: int, *, cell: str = "lstm", hidden_size: int = 512, layers: int = 1,
        embedding_size: int | None = None, dropout: float = 0.0, weight_drop: float = 0.0, layer_norm: bool = False,
        tied: bool | None = None,
    ):  # fmt: skip
        super().__init__()
        many = vocabulary > 512
        size = embedding_size or min(hidden_size, 256 if many else 64)
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)
        self.cells = Recurrent(
            size, hidden_size, layers, cell=cell, dropout=dropout, weight_drop=weight_drop, layer_norm=layer_norm
        )
        tied = many if tied is None else tied
        self.narrow = nn.Linear(hidden_size, size) if tied and size != hidden_size else None
        self.head = nn.Linear(size if tied else hidden_size, vocabulary)
        if tied:
            self.head.weight = self.embedding.weight

    def start(self, batch: int, steps: int) -> list[State] | None:
        """State before the first token; ``steps`` do not matter to a recurrent network."""
        return None

    def forward(
        self, tokens: Int[Tensor, "N T"], state: list[State] | None = None
    ) -> tuple[Float[Tensor, "N T V"], list[State]]:
        """Logits of the token after each, and the state after the last."""
        x = same_mask_dropout(self.embedding(tokens), self.dropout, self.training)  # N T E
        out, state = self.cells(x, state)
        return self.head(out if self.narrow is None else self.narrow(out)), state


def detached(state: list[State]) -> list[State]:
    """The same state without its history: where truncated backpropagation through time is cut.

    Reference:
        Williams & Peng 1990, doi:10.1162/neco.1990.2.4.490.
    """
    return _each(lambda s: s.detach(), state)


def rows_of(state: list[State], rows: slice) -> list[State]:
    """The state of some sequences of the batch."""
    return _each(lambda s: s[:, rows].contiguous(), state)  # 1 N H


def joined(states: list[list[State]]) -> list[State]:
    """The states of parts of a batch as that of the batch."""
    if len(states) == 1:
        return states[0]
    layers = zip(*states, strict=True)
    return [
        tuple(torch.cat(part, 1) for part in zip(*one, strict=True)) if isinstance(one[0], tuple) else torch.cat(one, 1)
        for one in layers
    ]


def _each(change: Callable[[Tensor], Tensor], state: list[State]) -> list[State]:
    return [tuple(change(s) for s in one) if isinstance(one, tuple) else change(one) for one in state]
