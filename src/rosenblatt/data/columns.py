"""One column of a table, brought into one of four plain kinds: number, boolean, text, date.

Everything here works on pyarrow arrays. Blanks around text never count, and the markers of `MISSING` mean "no value".
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rosenblatt.errors import DataError

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "None")
"""Text that means "no value", after blanks around it are taken away."""

# decimal notation only: pyarrow's own parser would also take 0x10
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI]nf(inity)?)$"
_INTEGER = r"^[+-]?\d{1,18}$"
_BOOLEAN = r"^([tT]rue|TRUE|[fF]alse|FALSE)$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?$"

_DAY = 86_400_000_000  # microseconds


def kind_of(column: pa.ChunkedArray) -> str:
    """The kind of a plain column: "number", "boolean", "text", "date", or "nothing" where no value is present."""
    if column.null_count == len(column):
        return "nothing"
    if pa.types.is_boolean(column.type):
        return "boolean"
    if pa.types.is_timestamp(column.type):
        return "date"
    return "text" if pa.types.is_string(column.type) else "number"


def parse_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Type a column of a text file: integers, numbers, true/false, ISO dates, else text; markers become nulls."""
    column = clean_text(column)
    if column.null_count == len(column):
        return column
    if _all_match(column, _INTEGER):
        return pc.replace_substring_regex(column, r"^\+", "").cast(pa.int64())
    if _all_match(column, _NUMBER):
        return column.cast(pa.float64())
    if _all_match(column, _BOOLEAN):
        return column.cast(pa.bool_())
    if _all_match(column, _DATE):
        try:
            return column.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:  # such as 2023-02-31: left as text
            return column
    return column


def looks_like_number(word: str) -> bool:
    """Whether a word is decimal notation."""
    return re.fullmatch(_NUMBER, word.strip()) is not None


def clean_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take blanks around text away and turn the markers of missing values into nulls."""
    column = pc.utf8_trim_whitespace(column)
    marked = pc.is_in(column, value_set=pa.array(MISSING, column.type))
    return pc.if_else(marked, pa.scalar(None, column.type), column)


def plain(column: pa.ChunkedArray, name: str, who: str) -> pa.ChunkedArray:
    """Bring a column of any table into int64, float64, bool, string or timestamp[us]; NaN becomes null.

    Raises:
        DataError: The column holds times, durations, lists, structures or bytes.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):  # a category is a name, also where its values are numbers
        return clean_text(column.cast(kind.value_type).cast(pa.string()))
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return clean_text(column.cast(pa.string()))
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_integer(kind):
        column = column.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        moment = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
        return moment.cast(pa.timestamp("us"))  # a zone is turned into UTC
    raise DataError(
        f"{who}: column {name!r} holds {kind}; expected numbers, true/false, text or dates. "
        "Turn it into a number or text, or drop it."
    )


def as_numbers(column: pa.ChunkedArray, name: str, who: str) -> np.ndarray:
    """Values as float64, NaN where missing; text is read as numbers.

    Raises:
        DataError: Text or dates where numbers belong; names the first row and its value.
    """
    kind = kind_of(column)
    if kind == "nothing":
        return np.full(len(column), np.nan)
    if kind == "date":
        raise DataError(f"{who}: column {name!r} holds dates; expected numbers, as in the training data.")
    if kind == "text":
        right = pc.fill_null(pc.match_substring_regex(column, _NUMBER), True).to_numpy()
        if not right.all():
            row = int(np.argmin(right))
            more = int((~right).sum()) - 1
            raise DataError(
                f"{who}: column {name!r} holds the text {column[row].as_py()!r} at row {row}"
                f"{f' and {more} more' if more else ''}; expected numbers, as in the training data. "
                f"Mend the value, or mark a missing one by an empty field, ? or NA."
            )
    return pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")).to_numpy()


def as_days(column: pa.ChunkedArray, name: str, who: str) -> np.ndarray:
    """Dates as days since 1970-01-01 in float64, NaN where missing.

    Raises:
        DataError: The column holds no dates; names the first value.
    """
    kind = kind_of(column)
    if kind == "nothing":
        return np.full(len(column), np.nan)
    if kind != "date":
        row = int(np.argmin(column.is_null().to_numpy()))
        raise DataError(
            f"{who}: column {name!r} holds {column[row].as_py()!r} at row {row}; expected dates such as 2024-12-31, "
            "as in the training data."
        )
    days = pc.cast(column.cast(pa.int64()), pa.float64(), safe=False).to_numpy() / _DAY
    return np.where(column.is_null().to_numpy(), np.nan, days)


def as_booleans(column: pa.ChunkedArray, name: str, who: str) -> np.ndarray:
    """True/false, 1/0 or such text as 1.0, 0.0, and NaN where missing.

    Raises:
        DataError: Another value; names the first row and its value.
    """
    if kind_of(column) == "boolean":
        return pc.fill_null(column.cast(pa.uint8()).cast(pa.float64()), float("nan")).to_numpy()
    if kind_of(column) == "text" and _all_match(column, _BOOLEAN):
        return as_booleans(column.cast(pa.bool_()), name, who)
    values = as_numbers(column, name, who)
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{who}: column {name!r} holds {values[row]:g} at row {row}; expected true/false or 1/0.")
    return values


def as_words(column: pa.ChunkedArray, categories: tuple[str, ...]) -> np.ndarray:
    """Values as text in an object array, None where missing.

    A reader types each file by itself: the category "01" of one file is the number 1 of another that has no text in
    that column. Numbers and true/false are therefore matched with the known categories by their value.
    """
    kind = kind_of(column)
    if kind in ("text", "nothing"):
        return np.asarray(column.to_pylist(), object).reshape(len(column))
    known: dict[Any, str] = {}
    for word in reversed(categories):
        known[_value(word, kind)] = word
    return np.array([None if v is None else known.get(v, _spell(v)) for v in column.to_pylist()], object)


def _value(word: str, kind: str) -> Any:
    """What the reader would have made of a word in a column of that kind."""
    column = parse_text(pa.chunked_array([[word]], pa.string()))
    same = kind_of(column) == kind
    return column[0].as_py() if same else word


def _spell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())
