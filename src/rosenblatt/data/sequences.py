"""Sequences of unequal length: one resident tensor without padding, and batches of like length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rosenblatt import _validate
from rosenblatt._types import Float, Int, Shaped
from rosenblatt.errors import DataError, ShapeError

PADDING, UNKNOWN = 0, 1
"""The first two tokens of every vocabulary of texts to classify."""

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Sequences:
    """Sequences one after the other, and where each begins.

    Attributes:
        flat: (R,) tokens or (R, F) numbers of all steps of all sequences.
        starts: (N,) first rows.
        lengths: (N,) steps, at least one each.
    """

    flat: Tensor
    starts: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    def padded(self, rows: Int[Tensor, " n"]) -> Shaped[Tensor, "n T ..."]:
        """Some sequences as one tensor, padded at their ends with token 0, or NaN, to the longest of them."""
        lengths = self.lengths[rows]
        step = torch.arange(int(lengths.max()), device=rows.device)
        there = step < lengths[:, None]  # n T
        place = torch.where(there, self.starts[rows][:, None] + step, 0)
        x = self.flat[place]
        if x.is_floating_point():
            return torch.where(there[:, :, None], x, torch.nan)
        return torch.where(there, x, PADDING).long()

    def to(self, device: torch.device | str) -> Sequences:
        """On another device."""
        return Sequences(self.flat.to(device), self.starts.to(device), self.lengths.to(device))

    @classmethod
    def of(cls, parts: Sequence[np.ndarray]) -> Sequences:
        """From arrays (T,) of tokens or (T, F) of numbers."""
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        flat = np.concatenate(parts)
        starts = np.concatenate([[0], lengths.cumsum()[:-1]])
        return cls(torch.from_numpy(flat), torch.from_numpy(starts), torch.from_numpy(lengths))


class Buckets:
    """Batches of sequences of like length: row numbers, targets and weights, for the supervised loop.

    An epoch is a random order, cut into blocks of 50 batches; within a block sequences are sorted by length, and the
    batches come in random order. So the padding is little, and no batch is the same twice.

    Args:
        data: The sequences.
        rows: (N,) which of them.
        y: (N,) targets.
        weight: (N,) weights, or None.
        batch_size: Sequences a batch.
        generator: Of the orders, on the CPU.
    """

    def __init__(
        self, data: Sequences, rows: Tensor, y: Tensor, weight: Tensor | None = None, *, batch_size: int,
        generator: torch.Generator,
    ):  # fmt: skip
        device = data.flat.device
        self.x, self.rows, self.lengths = data.flat, rows.to(device), data.lengths.cpu()[rows]
        self.y, self.weight = y.to(device), None if weight is None else weight.to(device)
        self.batch_size, self.generator = min(batch_size, len(y)), generator

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        order = torch.randperm(len(self.y), generator=self.generator)
        batches: list[Tensor] = []
        for block in order.split(50 * self.batch_size):
            batches += block[self.lengths[block].argsort(stable=True)].split(self.batch_size)
        for number in torch.randperm(len(batches), generator=self.generator).tolist():
            batch = batches[number].to(self.x.device)
            yield self.rows[batch], self.y[batch], None if self.weight is None else self.weight[batch]


# ------------------------------------------------------------------------------------------------------- texts


def units_of(text: str, units: str) -> list[str] | bytes:
    """A text's characters, bytes, or words in lower case with signs between them.

    Example:
        >>> units_of("Don't stop!", "words")
        ['don', "'", 't', 'stop', '!']
    """
    if units == "bytes":
        return text.encode("utf-8", "surrogatepass")
    return _WORD.findall(text.lower()) if units == "words" else list(text)


def learn_symbols(texts: Sequence[str], units: str, most: int) -> list[str]:
    """The most frequent units of the texts, in this order; of bytes none are learned."""
    if units == "bytes":
        return []
    counted = Counter(unit for text in texts for unit in units_of(text, units))
    return [unit for unit, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:most]]


def encode_texts(texts: Sequence[str], units: str, symbols: Sequence[str]) -> list[np.ndarray]:
    """Tokens of each text, from 2 on; 1 is what the symbols have not, and what an empty text consists of."""
    if units == "bytes":
        found = [np.frombuffer(units_of(text, units), np.uint8).astype(np.int32) + 2 for text in texts]
    else:
        number = {symbol: place for place, symbol in enumerate(symbols, 2)}
        found = [np.array([number.get(u, UNKNOWN) for u in units_of(text, units)], np.int32) for text in texts]
    return [tokens if len(tokens) else np.array([UNKNOWN], np.int32) for tokens in found]


def is_word(unit: str) -> bool:
    """Whether a unit of "words" is a word; else it is a sign."""
    return re.match(r"\w", unit) is not None


def exchanged(text: str, units: str, symbols: Sequence[str], changes: dict[int, int]) -> str:
    """A text with other tokens at some places; what stays keeps its case and its spaces.

    Args:
        text: As it was.
        units: "characters", "words" or "bytes".
        symbols: As of `encode_texts`.
        changes: Place of a unit -> token that is to stand there.

    Example:
        >>> exchanged("A good film.", "words", ["good", "bad"], {1: 3})
        'A bad film.'
    """
    if not changes:
        return text
    if units == "bytes":
        data = bytearray(units_of(text, units))
        for place, token in changes.items():
            data[place] = token - 2
        return data.decode("utf-8", "surrogatepass")
    if units == "characters":
        return "".join(symbols[changes[i] - 2] if i in changes else unit for i, unit in enumerate(text))
    # some letters become two in lower case, and then their places differ
    source = text if len(text.lower()) == len(text) else text.lower()
    spans = [match.span() for match in _WORD.finditer(text.lower())]
    for place in sorted(changes, reverse=True):
        start, stop = spans[place]
        source = source[:start] + symbols[changes[place] - 2] + source[stop:]
    return source


# ------------------------------------------------------------------------------------------------------ reading


def read_sequences(X: Any, lengths: Any, *, who: str) -> list[str] | list[np.ndarray]:
    """Texts, or arrays (T, F) of numbers.

    Args:
        X: A list or array of texts; or an array (N, T, F) or (N, T) of numbers; or a list of arrays (T, F) or (T,).
        lengths: (N,) real steps of each row of an array; None takes all.
        who: Start of the messages.

    Raises:
        ShapeError: Other axes, or unequal numbers of features, by row.
        DataError: One text instead of several, nothing at all, a sequence of no step, lengths out of range.
        NonFiniteError: NaN or infinity in a real step, by sequence.
    """
    if isinstance(X, str):
        raise DataError(f"{who}: X is one text; expected a list of texts. Use [X].")
    if not hasattr(X, "__len__") or not len(X):
        raise DataError(f"{who}: X holds no sequence; expected at least one.")
    if any(isinstance(one, str) for one in X):
        return _texts(X, lengths, who)
    if hasattr(X, "shape"):
        return _rows(np.asarray(X), lengths, who)
    if lengths is not None:
        raise DataError(
            f"{who}: lengths of a list of arrays; expected none, since each array has its own. Leave it out."
        )
    return _checked([np.asarray(one, dtype=np.float32) for one in X], who)


def _texts(X: Any, lengths: Any, who: str) -> list[str]:
    for row, one in enumerate(X):
        if not isinstance(one, str):
            raise DataError(f"{who}: X[{row}] is a {type(one).__name__}; expected text, like the others.")
    if lengths is not None:
        raise DataError(f"{who}: lengths of texts; expected none. Leave it out.")
    return [str(one) for one in X]


def _rows(X: np.ndarray, lengths: Any, who: str) -> list[np.ndarray]:
    if X.ndim not in (2, 3) or X.dtype.kind not in "biuf":
        raise ShapeError(
            f"{who}: X {X.shape} of {X.dtype}; expected numbers (n_sequences, steps, features), or (n_sequences, steps)."
        )
    X = X.astype(np.float32)
    if lengths is None:
        return _checked(list(X), who)
    counts = np.asarray(lengths)
    if counts.shape != (len(X),) or counts.dtype.kind not in "iu":
        raise ShapeError(f"{who}: lengths {counts.shape} of {counts.dtype}; expected ({len(X)},) integers.")
    wrong = (counts < 1) | (counts > X.shape[1])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{who}: lengths[{row}] = {counts[row]}; expected 1 to {X.shape[1]}, the steps of X.")
    return _checked([one[:count] for one, count in zip(X, counts, strict=True)], who)


def _checked(parts: list[np.ndarray], who: str) -> list[np.ndarray]:
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    for row, part in enumerate(parts):
        if part.ndim != 2 or part.shape[1] != parts[0].shape[1]:
            raise ShapeError(
                f"{who}: sequence {row} has shape {part.shape}; expected (steps, {parts[0].shape[-1]}) like the first."
            )
        if not len(part) or not part.shape[1]:
            raise DataError(f"{who}: sequence {row} has no step; expected at least one. Leave it out.")
        _validate.finite(who, part, name=f"X[{row}]")
    return parts


def scale_of_steps(parts: Sequence[np.ndarray]) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """Mean and deviation of each feature over all steps; a constant one has deviation 1."""
    flat = np.concatenate(parts).astype(np.float64)
    mean, deviation = flat.mean(0), flat.std(0)
    deviation = np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-30), deviation, 1.0)
    return mean.astype(np.float32), deviation.astype(np.float32)
