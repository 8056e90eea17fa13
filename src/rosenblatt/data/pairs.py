"""Parallel text: sentences and their translations, from files, tables and lists; and its batches by length."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rosenblatt import _validate
from rosenblatt.data.tables import PARQUET_SUFFIXES
from rosenblatt.data.text import read_text
from rosenblatt.errors import ColumnError, DataError

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")

# ------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, cleaned, none of them empty.

    Attributes:
        source: Sentences.
        target: Their translations, as many.
        empty: Pairs left out because a side was empty.
        controls: Pairs in which control characters became blanks.
    """

    source: list[str]
    target: list[str]
    empty: int = 0
    controls: int = 0


def clean(sentence: str) -> str:
    r"""A sentence as it is learned and translated: one line, control characters as blanks, no blanks at its ends.

    Example:
        >>> clean(" one\x00line ")
        'one line'
    """
    return _CONTROL.sub(" ", sentence).strip()


def read_pairs(
    X: Any, y: Any = None, *, who: str, columns: Sequence[str] | None = None, encoding: str = "utf-8"
) -> Pairs:
    """Parallel text of two files or lists, of one table, or of a list of pairs.

    A file has one sentence a line, ended by a line feed (with or without a carriage return); other marks that some
    programs take for line ends are blanks here. Files may be packed (.gz). A table is CSV (with a line of names), TSV
    (without one, unless ``columns`` are given; tabs separate and quotes are text) or Parquet.

    Args:
        X: Sentences: a list of text, or the path of a file; or, without y, a list of pairs, or the path of a table.
        y: Their translations: a list of text, or the path of a file.
        who: Start of the messages.
        columns: Names of the two columns of a table, source first; without them it must have exactly two.
        encoding: Of text files.

    Raises:
        FileNotFoundError: There is no such file.
        ColumnError: A table has not the named columns, or not two.
        DataError: Unequal counts; not text in this encoding, by byte and line; no pair with words on both sides.
    """
    if y is not None:
        source, target = _lines(X, who, "X", encoding), _lines(y, who, "y", encoding)
        if len(source) != len(target):
            raise DataError(
                f"{who}: X has {len(source)} sentences and y {len(target)}; expected as many, line by line. The first "
                "difference is often an empty line that one of two files lost, or one sentence that became two lines."
            )
    elif isinstance(X, (str, Path)):
        source, target = _table(Path(X), who, columns, encoding)
    else:
        source, target = _couples(X, who)
    raw = len(source)
    odd = [any(_CONTROL.search(side.strip()) for side in pair) for pair in zip(source, target, strict=True)]
    both = [(s, t) for s, t in ((clean(s), clean(t)) for s, t in zip(source, target, strict=True)) if s and t]
    if not both:
        raise DataError(f"{who}: none of {raw} pairs has words on both sides; expected at least one.")
    return Pairs([s for s, _ in both], [t for _, t in both], raw - len(both), sum(odd))


def read_sentences(X: Any, *, who: str, encoding: str = "utf-8") -> list[str]:
    """Sentences to translate, as they are: one text, a list of text, or a file (a `Path`) with one a line.

    Args:
        X: The sentences.
        who: Start of the messages.
        encoding: Of the file.

    Raises:
        FileNotFoundError, DataError: As `read_pairs`.
    """
    return [X] if isinstance(X, str) else _lines(X, who, "X", encoding)


def _lines(X: Any, who: str, name: str, encoding: str) -> list[str]:
    if isinstance(X, (str, Path)):
        return split_lines(read_text(Path(X), who=who, encoding=encoding))
    return _texts(X, who, name)


def split_lines(text: str) -> list[str]:
    r"""Lines of a text, ended by line feeds alone: `str.splitlines` also cuts at marks that occur within sentences.

    Example:
        >>> split_lines("one\u2028line\r\nand another")
        ['one\u2028line', 'and another']
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _texts(X: Any, who: str, name: str) -> list[str]:
    if not hasattr(X, "__iter__") or isinstance(X, (bytes, dict)):
        raise DataError(f"{who}: {name} is a {type(X).__name__}; expected a list of text, or the path of a file.")
    found = list(X)
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"{who}: {name}[{row}] is a {type(text).__name__}; expected text in every row.")
    return found


def _couples(X: Any, who: str) -> tuple[list[str], list[str]]:
    if not hasattr(X, "__iter__") or isinstance(X, (bytes, dict)):
        raise DataError(
            f"{who}: X is a {type(X).__name__} and y is missing; expected pairs, or X and y of equal length."
        )
    couples = list(X)
    for row, pair in enumerate(couples):
        if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise DataError(f"{who}: X[{row}] is no pair; expected (sentence, translation), or the translations as y.")
    return _texts([p[0] for p in couples], who, "source"), _texts([p[1] for p in couples], who, "target")


def _table(path: Path, who: str, columns: Sequence[str] | None, encoding: str) -> tuple[list[str], list[str]]:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in PARQUET_SUFFIXES:
        return _parquet(path, who, columns)
    if suffix not in (".tsv", ".csv"):
        raise DataError(
            f"{who}: {path} and no y; expected a table of two columns (.tsv, .csv, .parquet), or a second file as y."
        )
    text = read_text(path, who=who, encoding=encoding)
    if suffix == ".tsv":
        rows = [line.split("\t") for line in split_lines(text)]
        names = [cell.strip() for cell in rows.pop(0)] if columns is not None and rows else None
    else:
        rows = list(csv.reader(io.StringIO(text)))
        names = rows.pop(0) if rows else None
    width = len(names or (rows[0] if rows else ()))
    for number, row in enumerate(rows, start=1 if names is None else 2):
        if len(row) != width:
            raise DataError(f"{who}: {path}, row {number} has {len(row)} columns; expected {width} as in the first.")
    first, second = _chosen(path, who, names or [str(i + 1) for i in range(width)], columns)
    return [row[first] for row in rows], [row[second] for row in rows]


def _parquet(path: Path, who: str, columns: Sequence[str] | None) -> tuple[list[str], list[str]]:
    import pyarrow as pa
    import pyarrow.parquet

    if not path.is_file():
        raise FileNotFoundError(f"{who}: {path}: there is no such file. Check the path.")
    try:
        table = pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{who}: {path} cannot be read ({error}); expected a Parquet file.") from error
    picked = [table.column(i).to_pylist() for i in _chosen(path, who, table.column_names, columns)]
    source, target = (["" if cell is None else cell for cell in column] for column in picked)  # a null is an empty line
    return _texts(source, who, "source"), _texts(target, who, "target")


def _chosen(path: Path, who: str, names: Sequence[str], columns: Sequence[str] | None) -> list[int]:
    if columns is None:
        if len(names) != 2:
            raise ColumnError(f"{who}: {path} has {len(names)} columns; expected two, or columns=(source, target).")
        return [0, 1]
    if len(columns) != 2:
        raise ColumnError(f"{who}: columns={columns!r}; expected two names, source and target.")
    for name in columns:
        if name not in names:
            raise ColumnError(
                f"{who}: {path} has no column {name!r}; expected one of {', '.join(map(repr, names))}."
                f"{_validate.nearest(name, names)}"
            )
    return [list(names).index(name) for name in columns]


# ------------------------------------------------------------------------------------------------------- batches


class PairBatches:
    """Pairs of token sequences as batches of similar length, each about as many tokens.

    Yields ``(x, y, weight)``: x (N, S + T) holds the padded sources and, from column ``split`` on, what the decoder reads;
    y (N, T) what it is to write; weight (N,) its tokens. Batches come in random order, and within a length their pairs.

    Args:
        source: Token numbers of each source.
        target: Of each target: what the decoder is to write, end mark included.
        first: Of each target: the token that the decoder reads first.
        tokens: Of the longer side of a batch, padding included; a longer pair is a batch by itself.
        device: Where all lie.
        generator: Of the order, on the CPU; None keeps it.

    Example:
        >>> data = PairBatches([[5], [6, 7]], [[8, 1], [9, 1]], [2, 2], tokens=9, device="cpu")
        >>> [(x.tolist(), y.tolist(), data.split) for x, y, _ in data]
        [([[5, 0, 2, 8], [6, 7, 2, 9]], [[8, 1], [9, 1]], 2)]
    """

    def __init__(
        self, source: Sequence[Sequence[int]], target: Sequence[Sequence[int]], first: Sequence[int], *, tokens: int,
        device: torch.device | str, generator: torch.Generator | None = None,
    ):  # fmt: skip
        self.device, self.shuffle = device, generator is not None
        self.generator = generator if generator is not None else torch.Generator()
        self._source, self._target = _Ragged(source, device), _Ragged(target, device)
        self._first = torch.tensor(first, device=device)
        # what a checkpoint knows the data by
        self.x, self.y, self.weight = self._source.flat, self._target.flat, self._source.lengths
        self._key = self._target.lengths * (1 + int(self._source.lengths.max())) + self._source.lengths
        # lengths in order are the same in every epoch, and so are the borders of the batches
        order = self._key.argsort(stable=True)
        longer = torch.maximum(self._source.lengths, self._target.lengths)[order].tolist()
        self._borders = _cut(longer, tokens)
        self.batch_size = max(end - start for start, end in self._borders)
        self.split = 0

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._borders)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        mixed = torch.arange(len(self._key))
        turn = list(range(len(self)))
        if self.shuffle:
            mixed = torch.randperm(len(self._key), generator=self.generator)
            turn = torch.randperm(len(self), generator=self.generator).tolist()
        order = mixed[self._key[mixed].argsort(stable=True)]
        for batch in turn:
            start, end = self._borders[batch]
            rows = order[start:end]
            source, y = self._source.take(rows), self._target.take(rows)
            self.split = source.shape[1]
            read = torch.cat([self._first[rows.to(self.device)][:, None], y[:, :-1]], 1)
            yield torch.cat([source, read], 1), y, (y != 0).sum(1).float()


class _Ragged:
    """Sequences of different lengths one after the other in one tensor."""

    def __init__(self, rows: Sequence[Sequence[int]], device: torch.device | str):
        self.lengths = torch.tensor([len(row) for row in rows])
        self.flat = torch.from_numpy(np.concatenate([np.asarray(row, np.int32) for row in rows])).to(device)
        self._start = self.lengths.cumsum(0) - self.lengths

    def take(self, rows: Tensor) -> Tensor:
        """Some of them, padded with zeros at their ends."""
        lengths, start = self.lengths[rows].to(self.flat.device), self._start[rows].to(self.flat.device)
        steps = torch.arange(int(lengths.max()), device=self.flat.device)
        there = steps < lengths[:, None]
        return torch.where(there, self.flat[(start[:, None] + steps).clamp(max=len(self.flat) - 1)].long(), 0)


def _cut(longer: list[int], tokens: int) -> list[tuple[int, int]]:
    borders, start, most = [], 0, 0
    for row, length in enumerate(longer):
        most = max(most, length)
        if row > start and most * (row + 1 - start) > tokens:
            borders.append((start, row))
            start, most = row, length
    return [*borders, (start, len(longer))]
