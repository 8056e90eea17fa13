"""Text: reading it, cutting it into characters or bytes, and the batches of a language model."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rosenblatt.errors import DataError

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


# ------------------------------------------------------------------------------------------------------- reading


def read_text(source: Any, *, who: str, encoding: str = "utf-8") -> str:
    """One text from a text, a file or several files.

    Args:
        source: The text itself; or the path of a file (a `Path`, or a str that names an existing file); or a list of paths,
            whose texts are joined by a line's end where they have none.
        who: Start of the messages.
        encoding: Of the files, which may be packed (.gz); a byte order mark of UTF-8 is left out. Line ends stay as they are.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: Not text in this encoding, by byte and line; or no text at all.
    """
    if isinstance(source, (list, tuple)):
        parts = [_read(Path(one), who, encoding) for one in source]
        text = "".join(part if part.endswith("\n") else part + "\n" for part in parts if part)
    elif isinstance(source, Path) or (isinstance(source, str) and _is_file(source)):
        text = _read(Path(source), who, encoding)
    elif isinstance(source, str):
        text = source
    else:
        raise DataError(f"{who}: got a {type(source).__name__}; expected text, the path of a file, or a list of paths.")
    if not text:
        raise DataError(f"{who}: the text is empty; expected characters. Check the file.")
    return text


def _is_file(text: str) -> bool:
    return len(text) < 1000 and "\n" not in text and "\0" not in text and Path(text).is_file()


def _read(path: Path, who: str, encoding: str) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{who}: {path}: there is no such file. Check the path.")
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{who}: {path} cannot be unpacked ({error}); expected a whole .gz file.") from error
    return decoded(raw, str(path), who=who, encoding=encoding)


def decoded(raw: bytes, name: str, *, who: str, encoding: str = "utf-8") -> str:
    """The text of bytes.

    Args:
        raw: The bytes; a byte order mark of UTF-8 is left out.
        name: Where they come from.
        who: Start of the messages.
        encoding: What they are in.

    Raises:
        DataError: They are not text in this encoding, by byte and line; or there is no such encoding.
    """
    try:
        return raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        guess = _MARKS.get(raw[:2], "latin-1")
        raise DataError(
            f"{who}: {name} is not {encoding}: byte {raw[error.start]:#04x} at {error.start}, line {line}; expected text in "
            f"{encoding}. Pass encoding={guess!r} (or what it is written in)."
        ) from error
    except LookupError as error:
        raise DataError(
            f"{who}: encoding={encoding!r} is not known; expected one such as 'utf-8' or 'cp1252'."
        ) from error


# --------------------------------------------------------------------------------------------------------- units


class Units(Protocol):
    """A vocabulary: text to token numbers and back."""

    size: int

    def encode(self, text: str, *, who: str) -> np.ndarray:
        """Numbers (T,) of a text."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of numbers."""


class Characters:
    """Unicode characters, those of a text alone; what was not in it is refused.

    Args:
        symbols: The characters, in the order of their numbers.

    Example:
        >>> Characters.of("abba").encode("bab", who="here").tolist()
        [1, 0, 1]
    """

    def __init__(self, symbols: str):
        self.symbols, self.size = symbols, len(symbols)
        points = _points(symbols)
        self._order = np.argsort(points, kind="stable")
        self._sorted = points[self._order]

    @classmethod
    def of(cls, text: str) -> Characters:
        """The characters of a text, sorted."""
        return cls("".join(sorted(set(text))))

    def encode(self, text: str, *, who: str) -> np.ndarray:
        """Numbers (T,) of a text.

        Raises:
            DataError: Characters that the vocabulary has not, by name and place.
        """
        points = _points(text)
        place = np.minimum(np.searchsorted(self._sorted, points), self.size - 1)
        unknown = self._sorted[place] != points
        if unknown.any():
            at = int(np.argmax(unknown))
            named = ", ".join(repr(c) for c in sorted({text[i] for i in np.flatnonzero(unknown)})[:8])
            raise DataError(
                f"{who}: {int(unknown.sum())} of {len(text)} characters were not in the training text ({named}; the first at "
                f"{at}); expected known ones. Leave them out, or train with units='bytes', which know every text."
            )
        return self._order[place].astype(np.int32)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of numbers."""
        return "".join(self.symbols[int(t)] for t in tokens)


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


class Bytes:
    """The 256 bytes of UTF-8: every text in every script."""

    size = 256

    def encode(self, text: str, *, who: str) -> np.ndarray:
        """Numbers (T,) of a text."""
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of numbers; a character that is cut or wrong becomes a replacement mark."""
        return bytes(int(t) for t in tokens).decode("utf-8", "replace")


def pieces(units: Units, tokens: Iterable[int]) -> Iterator[str]:
    """Text as it grows token by token; a character whose bytes are not all there yet is held back."""
    held: list[int] = []
    for token in tokens:
        held.append(token)
        text = units.decode(held)
        if not text.endswith("\ufffd"):
            yield text
            held = []
    if held:
        yield units.decode(held)


# ------------------------------------------------------------------------------------------------------- batches


class TokenWindows:
    """Windows of one long text as batches: inputs (N, T) and the same shifted by one.

    With ``carry`` the text is cut into N long rows that are read side by side, so that a batch goes on where the one before
    ended; ``fresh`` is True at the first batch of an epoch, ``number`` counts all batches. Without it windows come in random
    order. Each epoch starts at another of the first T tokens, so that the windows' borders move.

    Args:
        tokens: (L,) of the whole text.
        batch_size: N at most.
        steps: T.
        carry: Whether batches follow each other.
        device: Where the text is put, whole.
        generator: Of offsets and order, on the CPU.

    Raises:
        DataError: Fewer tokens than two windows.

    Example:
        >>> data = TokenWindows(np.arange(9), batch_size=2, steps=2, carry=True, device="cpu", generator=torch.Generator())
        >>> x, y, _ = next(iter(data))
        >>> x.shape, bool((y == x + 1).all())
        (torch.Size([2, 2]), True)
    """

    def __init__(
        self, tokens: np.ndarray, *, batch_size: int, steps: int, carry: bool, device: torch.device | str,
        generator: torch.Generator,
    ):  # fmt: skip
        if len(tokens) < 2 * steps + 1:
            raise DataError(
                f"TokenWindows: {len(tokens)} tokens to learn from; expected at least {2 * steps + 1}: two windows of "
                f"{steps} and one more. Give more text, or a smaller context."
            )
        self.tokens = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int32)).to(device)
        self.y, self.weight = self.tokens, None  # what the run's identity is made of
        self.steps, self.carry, self.generator = steps, carry, generator
        self.fresh, self.number = True, 0
        whole = (len(tokens) - steps) // steps  # windows that fit after every offset
        self.batch_size = min(batch_size, whole)
        self.batches = whole // self.batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, None]]:
        offset = int(torch.randint(self.steps, (1,), generator=self.generator))
        rows, steps = self.batch_size, self.steps
        span = rows * self.batches * steps
        x = self.tokens[offset : offset + span].view(rows, -1, steps)  # N batches T
        y = self.tokens[offset + 1 : offset + 1 + span].view(rows, -1, steps)
        order = None
        if not self.carry:
            x, y = x.flatten(0, 1), y.flatten(0, 1)
            order = torch.randperm(len(x), generator=self.generator).to(x.device).view(-1, rows)
        for batch in range(self.batches):
            self.fresh, self.number = batch == 0, self.number + 1
            if order is None:
                yield x[:, batch].long(), y[:, batch].long(), None
            else:
                yield x[order[batch]].long(), y[order[batch]].long(), None
