"""Multi-head attention on PyTorch's fused kernel, with a preallocated cache for decoding step by step.

Reference: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, section 3.2; additive biases for relative
positions: Shaw, Uszkoreit & Vaswani 2018 (arXiv:1803.02155), Raffel et al. 2020 (arXiv:1910.10683).

Shapes: N sequences, T queries, S keys, C width, A heads, D = C / A.

Departures:
- The three projections of self-attention are one matrix product.
- A query that may see no key at all gets zeros (before the output projection), never NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Bool, Float, Int
from rosenblatt.errors import ParameterError, ShapeError


class Cache:
    """Keys and values of the steps seen so far, in memory that is taken once.

    Args:
        keys: (N, A, S_max, D), filled up to ``length``.
        values: The same.
        length: Steps that are filled.
    """

    def __init__(self, keys: Float[Tensor, "N A S D"], values: Float[Tensor, "N A S D"], length: int = 0):
        self.keys, self.values, self.length = keys, values, length

    def extend(self, keys: Float[Tensor, "N A T D"], values: Float[Tensor, "N A T D"]) -> tuple[Tensor, Tensor]:
        """Write the next T steps; returns all keys and values so far.

        Raises:
            ShapeError: More steps than there is room for.
        """
        start, end = self.length, self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise ShapeError(
                f"Cache: {start} steps are kept and {end - start} come; expected at most {self.keys.shape[2]} in all. "
                "Make a larger cache, or start again with the last part of the sequence."
            )
        self.keys[:, :, start:end], self.values[:, :, start:end] = keys, values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def reorder(self, rows: Int[Tensor, " M"]) -> None:
        """Keep these rows of the batch, in this order: beam search goes on from the sequences that it chose."""
        self.keys, self.values = _rows(self.keys, rows, self.length), _rows(self.values, rows, self.length)


class Attention(nn.Module):
    r"""Multi-head attention: self-attention, or over a memory.

    .. math:: \mathrm{softmax}(Q K^\top / \sqrt{D} + B) V

    Args:
        width: C, a multiple of ``heads``.
        heads: A.
        dropout: Share of the attention weights dropped in training.
        bias: Whether the projections have one.

    Raises:
        ParameterError: The width is no multiple of the heads.

    Reference:
        Vaswani et al. 2017, equation 1 and section 3.2.2.

    Example:
        >>> attention = Attention(8, 2).eval()
        >>> x, cache = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0)), attention.cache(1, 3)
        >>> steps = [attention(x[:, i : i + 1], causal=True, cache=cache) for i in range(3)]
        >>> torch.allclose(torch.cat(steps, 1), attention(x, causal=True), atol=1e-6)
        True
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0, bias: bool = True):
        super().__init__()
        if width % heads:
            raise ParameterError(f"Attention: width={width}; expected a multiple of heads={heads}.")
        self.width, self.heads, self.dropout = width, heads, dropout
        self.project = nn.Linear(width, 3 * width, bias=bias)  # queries, keys, values
        self.out = nn.Linear(width, width, bias=bias)

    def cache(self, batch: int, steps: int) -> Cache:
        """An empty cache for self-attention over at most ``steps`` steps, on the weights' device and in their dtype."""
        weight = self.out.weight
        shape = (batch, self.heads, steps, self.width // self.heads)
        return Cache(weight.new_empty(shape), weight.new_empty(shape))

    def remember(self, memory: Float[Tensor, "N S C"]) -> Cache:
        """Keys and values of a memory, computed once for all decoding steps; pass it as ``memory``."""
        keys, values = self._heads(self._part(memory, 1, 3)).chunk(2, 1)
        return Cache(keys, values, memory.shape[1])

    def forward(
        self,
        x: Float[Tensor, "N T C"],
        memory: Float[Tensor, "N S C"] | Cache | None = None,
        *,
        causal: bool = False,
        padding: Bool[Tensor, "N S"] | None = None,
        bias: Float[Tensor, "... T S"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "N T C"]:
        """Attend from x to x, or to the memory.

        Args:
            x: Where the queries come from.
            memory: What is looked at; None is x itself; a cache made by `remember` is used as it is.
            causal: Whether a step sees only itself and those before it (self-attention).
            padding: True where a key is padding, which no query sees; with a cache it covers the kept steps as well.
            bias: Added to the scores before the softmax, broadcast to (N, A, T, S); relative positions.
            cache: Of self-attention: x are the next T steps after those kept, whose keys and values are written into it.
        """
        if memory is None:
            queries, keys, values = self._heads(self.project(x)).chunk(3, 1)
            if cache is not None:
                keys, values = cache.extend(keys, values)
        else:
            queries = self._heads(self._part(x, 0, 1))
            known = memory if isinstance(memory, Cache) else self.remember(memory)
            keys, values = known.keys, known.values
        steps, seen = x.shape[1], keys.shape[2]
        plain = causal and steps == seen and padding is None and bias is None  # the kernel's own, fastest mask
        mask = None if plain else _mask(steps, seen, queries, causal=causal, padding=padding, bias=bias)
        share = self.dropout if self.training else 0.0
        if _by_formula(queries, seen):
            if plain:
                mask = _mask(steps, seen, queries, causal=True, padding=None, bias=None)
            mixed = F.dropout(_softmax(queries, keys, mask), share).to(values.dtype) @ values  # N A T D
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, mask, dropout_p=share, is_causal=plain)
        return self.out(mixed.transpose(1, 2).flatten(2))  # N T C

    def weights(
        self, x: Float[Tensor, "N T C"], memory: Cache, *, padding: Bool[Tensor, "N S"] | None = None
    ) -> Float[Tensor, "N A T S"]:
        """Where each query looks in a memory: the softmax by itself, for pictures, alignments and coverage.

        Args:
            x: Where the queries come from.
            memory: Made by `remember`.
            padding: True where a key is padding.
        """
        queries = self._heads(self._part(x, 0, 1))
        shown = None if padding is None else ~padding[:, None, None, :]
        return _softmax(queries, memory.keys, shown)

    def _part(self, x: Tensor, first: int, last: int) -> Tensor:
        """Some of the three projections."""
        rows = slice(first * self.width, last * self.width)
        return F.linear(x, self.project.weight[rows], None if self.project.bias is None else self.project.bias[rows])

    def _heads(self, x: Float[Tensor, "N T E"]) -> Float[Tensor, "N B T D"]:
        """Split the last axis into heads, in front of time; of several projections one after the other."""
        return x.unflatten(2, (-1, self.width // self.heads)).transpose(1, 2)


def _by_formula(queries: Tensor, seen: int) -> bool:
    """Whether the formula beats the fused kernel: in training on a CPU, where sequences are short.

    The kernel's backward pass in bf16 made a training step 1.3 to 2 times as long, measured from 16 to 128 keys.
    """
    return queries.requires_grad and queries.device.type == "cpu" and seen <= 128


def _softmax(queries: Tensor, keys: Tensor, mask: Tensor | None) -> Float[Tensor, "N A T S"]:
    """Attention weights; a query that may see no key has none."""
    scores = (
        (queries @ keys.transpose(2, 3)).float() if queries.dtype == torch.bfloat16 else queries @ keys.transpose(2, 3)
    )
    scores = scores / math.sqrt(queries.shape[3])
    if mask is None:
        return scores.softmax(3)
    if mask.dtype != torch.bool:  # a bias, -inf where a key is hidden
        scores, mask = scores + mask, mask != -torch.inf
    # a finite minimum: the gradient of a row of -inf would be NaN
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(3) * mask


def _rows(kept: Tensor, rows: Tensor, length: int) -> Tensor:
    """Rows of a cache in an order; only what is filled is copied, into the same memory where their number stays."""
    filled = kept[:, :, :length].index_select(0, rows)
    if len(rows) != len(kept):
        kept = kept.new_empty(len(rows), *kept.shape[1:])
    kept[:, :, :length] = filled
    return kept


def _mask(
    steps: int, seen: int, like: Tensor, *, causal: bool, padding: Tensor | None, bias: Tensor | None
) -> Tensor | None:
    """What the kernel adds to the scores (floating) or hides (False), or None where every query sees every key."""
    shown = None
    if causal and steps > 1:  # the last query sees every key: a single one needs no mask
        shown = torch.ones(steps, seen, dtype=torch.bool, device=like.device).tril(seen - steps)
    if padding is not None:
        there = ~padding[:, None, None, :]
        shown = there if shown is None else shown & there
    if bias is None:
        return shown
    bias = bias.to(like.dtype)
    return bias if shown is None else torch.where(shown, bias, -torch.inf)
