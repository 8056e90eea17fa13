"""Which word of a sentence each word of its translation looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rosenblatt.data.bpe import BPE
from rosenblatt.train.translation import SPECIAL, Found


@dataclass(frozen=True)
class Alignment:
    """Where a translation comes from; ``print`` shows a table.

    Attributes:
        source: Words of the sentence.
        target: Words of the translation.
        weights: (T, S), attention of each word of the translation, the mean of its pieces; rows sum to 1.
        score: Of the translation, as the search rates it.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: np.ndarray
    score: float

    def rows(self) -> list[tuple[str, str, float]]:
        """Each word of the translation, the word of the sentence that it looked at most, and how much."""
        best = self.weights.argmax(1) if self.target else []
        return [
            (word, self.source[i], float(self.weights[t, i]))
            for t, (word, i) in enumerate(zip(self.target, best, strict=True))
        ]

    def __str__(self) -> str:
        wide = max((len(word) for word in self.target), default=0)
        return "\n".join(f"{word:<{wide}}  {source} {weight:.2f}" for word, source, weight in self.rows())


def aligned(units: BPE, source: Sequence[int], found: Found) -> Alignment:
    """The alignment of words from the attention of pieces.

    Args:
        units: The pieces.
        source: Tokens of the sentence without the direction's.
        found: Its translation; of an empty sentence one without attention.
    """
    (words, start), (said, begin) = _words(units, source), _words(units, found.tokens)
    if found.attention is None or not said:
        return Alignment(words, (), np.zeros((0, len(words))), found.score)
    # neither the source's end nor the translation's is a word
    weights = found.attention[:-1, :-1].double().numpy()
    weights = np.add.reduceat(np.add.reduceat(weights, start, axis=1), begin, axis=0)
    return Alignment(words, said, weights / np.maximum(weights.sum(1, keepdims=True), 1e-12), found.score)


def _words(units: BPE, tokens: Sequence[int]) -> tuple[tuple[str, ...], list[int]]:
    """Words of a sequence of pieces, and the place where each begins: a piece with a blank in front begins one."""
    numbers = [token - SPECIAL for token in tokens]
    start = [i for i, piece in enumerate(units.pieces(numbers)) if i == 0 or piece.startswith(" ")]
    ends = [*start[1:], len(numbers)][: len(start)]
    return tuple(units.decode(numbers[a:b]).strip() for a, b in zip(start, ends, strict=True)), start
