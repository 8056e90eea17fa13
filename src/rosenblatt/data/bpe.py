"""Frequent pieces of words as units: byte-level BPE, over the package tokenizers (extra ``text``).

Reference: Sennrich, Haddow & Birch 2016, "Neural machine translation of rare words with subword units" (arXiv:1508.07909);
over bytes instead of characters, so that no text is unknown: Radford et al. 2019 (GPT-2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rosenblatt.errors import DataError, MissingExtraError, ParameterError

LEAST = 256
"""Units that every vocabulary has: the bytes."""

_LONE = re.compile("[\ud800-\udfff]")


class BPE:
    """Pieces of words; a text in any script comes back exactly as it was.

    Nothing in a text is special: markers such as a sentence's end are numbers that the caller adds to the vocabulary.

    Args:
        description: JSON of the tokenizer, as `BPE.of` makes it.

    Raises:
        MissingExtraError: The package tokenizers is not installed.
        DataError: The description is not one of a byte-level BPE.

    Example:
        >>> units = BPE.of(["low lower lowest"] * 3, 260)
        >>> units.decode(units.encode("slow 低", who="here"))
        'slow 低'
    """

    def __init__(self, description: str):
        tokenizers = _package()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(description)
        except Exception as error:  # the package raises Exception itself
            raise DataError(f"BPE: the description is not readable ({error}); expected that of BPE.of.") from error
        kinds = (self._tokenizer.model, self._tokenizer.pre_tokenizer, self._tokenizer.decoder)
        if [type(kind).__name__ for kind in kinds] != ["BPE", "ByteLevel", "ByteLevel"]:
            raise DataError("BPE: the description is of another tokenizer; expected a byte-level BPE, that of BPE.of.")
        self.description = description
        self.size = self._tokenizer.get_vocab_size()

    @classmethod
    def of(cls, lines: Iterable[str], vocabulary: int) -> BPE:
        """Learn the pieces of a text; the same lines give the same pieces.

        Args:
            lines: Texts; no piece reaches over the border between two.
            vocabulary: Number of pieces, the 256 bytes among them; a short text may give fewer.

        Raises:
            MissingExtraError: The package tokenizers is not installed.
            ParameterError: Fewer than 256.
        """
        if vocabulary < LEAST:
            raise ParameterError(f"BPE: vocabulary={vocabulary}; expected at least {LEAST}, the bytes.")
        tokenizers = _package()
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary,
            show_progress=False,
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        )
        tokenizer.train_from_iterator((_encodable(line) for line in lines), trainer)
        return cls(tokenizer.to_str())

    def encode(self, text: str, *, who: str = "BPE") -> np.ndarray:
        """Numbers (T,) of a text; half a surrogate pair, which is no character, becomes a replacement mark."""
        return np.array(self._tokenizer.encode(_encodable(text)).ids, np.int32)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of many texts, on all cores."""
        return [found.ids for found in self._tokenizer.encode_batch_fast([_encodable(text) for text in texts])]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of numbers; a character that is cut or wrong becomes a replacement mark."""
        return self._tokenizer.decode([int(token) for token in tokens], skip_special_tokens=False)

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """The text of each number by itself, for tables and pictures."""
        return [self.decode([token]) for token in tokens]


def _encodable(text: str) -> str:
    return _LONE.sub("\ufffd", text)


def _package() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise MissingExtraError(
            "BPE needs the package tokenizers, which is not installed. Install it with: pip install 'rosenblatt[text]'"
        ) from error
    return tokenizers
