"""Tables: files (CSV, TSV, Parquet) and data frames of any library, read into one plain Arrow table.

Nothing is guessed from the names of columns, and no row is dropped: what cannot be read is refused by name.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rosenblatt import _validate
from rosenblatt.data.columns import looks_like_number, parse_text, plain
from rosenblatt.errors import ColumnError, DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
_PACKED = (".gz", ".bz2", ".zst", ".lz4")
_DELIMITERS = ",;\t|"
_HEAD = 65536  # bytes looked at to find the delimiter


def is_table_path(path: Path) -> bool:
    """Whether a path has the suffix of a table file."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in TEXT_SUFFIXES + PARQUET_SUFFIXES


def read_table(source: Any, *, names: Sequence[str] | None = None, who: str = "read_table") -> pa.Table:
    """Read a table into columns of five kinds: int64, float64, bool, string, timestamp; missing values are nulls.

    In a text file the first line names the columns; the delimiter (comma, semicolon, tab or bar) is found from the
    first lines; blanks around values do not count; an empty field, ``?``, NA, N/A, NaN, null and None mean "missing".

    Args:
        source: Path of a CSV, TSV or Parquet file (CSV may be packed: .gz, .bz2, .zst, .lz4), or a data frame of
            pandas, Polars, PyArrow or any other library that narwhals knows.
        names: Names of the columns of a text file that has no line of names.
        who: Start of the messages.

    Returns:
        An Arrow table with at least one row.

    Raises:
        DataError: No such file, not a table, cut short, not UTF-8, no rows, or a column of an unsupported type.
        ColumnError: Columns without a name or with the same name, or a text file without a header.

    Example:
        >>> import pyarrow as pa
        >>> read_table(pa.table({"age": [31, None], "job": [" cook", "?"]})).column("job").to_pylist()
        ['cook', None]
    """
    if isinstance(source, (str, Path)):
        table = _read_file(Path(source), names, who)
    else:
        table = _from_frame(source, who)
    _check_names(list(table.column_names), who)
    if table.num_rows == 0:
        raise DataError(f"{who}: the table has no rows, only the columns {_few(table.column_names)}; expected rows.")
    columns = [plain(table.column(i), name, who) for i, name in enumerate(table.column_names)]
    return pa.table(columns, names=table.column_names)


def _from_frame(frame: Any, who: str) -> pa.Table:
    if isinstance(frame, pa.Table):
        return frame
    try:
        native = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"{who}: got a {type(frame).__name__}; expected the path of a CSV or Parquet file, or a data frame."
        ) from error
    if hasattr(frame, "columns") and any(not isinstance(name, str) for name in frame.columns):
        raise ColumnError(f"{who}: columns without names ({_few(list(frame.columns))}); expected text. Name them.")
    return native.to_arrow()


def _read_file(path: Path, names: Sequence[str] | None, who: str) -> pa.Table:
    if path.is_dir():
        raise DataError(f"{who}: {path} is a folder; expected a CSV or Parquet file.")
    if not path.exists():
        near = _validate.nearest(path.name, [p.name for p in path.parent.glob("*")]) if path.parent.is_dir() else ""
        raise DataError(f"{who}: there is no file {path}; expected a CSV or Parquet file.{near}")
    if not is_table_path(path):
        raise DataError(f"{who}: {path.name} has the suffix {path.suffix!r}; expected .csv, .tsv or .parquet.")
    if path.stat().st_size == 0:
        raise DataError(f"{who}: {path} is empty; expected a line of column names and rows.")
    try:
        if path.suffix.lower() in PARQUET_SUFFIXES:
            return pa.parquet.read_table(path)
        return _read_text(path, names, who)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{who}: {path} cannot be read ({reason}). It is cut short, damaged, or not UTF-8 text; expected a "
            "CSV or Parquet file."
        ) from error


def _read_text(path: Path, given: Sequence[str] | None, who: str) -> pa.Table:
    """All fields as text first: a column gets its type from all its values, not from the first block of them."""
    with pa.input_stream(path, compression="detect") as stream:
        head = stream.read(_HEAD)
    if b"\x00" in head:
        raise DataError(f"{who}: {path} holds zero bytes, so it is not a text file; expected CSV in UTF-8.")
    delimiter = _delimiter(head.decode("utf-8", errors="replace"))
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    # a row must fit into a block
    options = pa.csv.ReadOptions(block_size=1 << 24, column_names=list(given) if given else None)
    with pa.csv.open_csv(path, read_options=options, parse_options=parse) as opened:
        names = opened.schema.names
    _check_names(names, who)
    if not given:
        _check_header(names, who)
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    table = pa.csv.read_csv(path, read_options=options, parse_options=parse, convert_options=convert)
    return pa.table([parse_text(table.column(i)) for i in range(len(names))], names=[n.strip() for n in names])


def _delimiter(head: str) -> str:
    """The sign that cuts every one of the first lines into the same number of fields, the most of them."""
    lines = [line for line in head.splitlines()[:20] if line.strip()]
    lines = lines[:-1] if len(lines) > 2 and len(head) >= _HEAD else lines
    best, fields = ",", 1
    for sign in _DELIMITERS:
        counts = {len(row) for row in csv.reader(lines, delimiter=sign, skipinitialspace=True)}
        if len(counts) == 1 and max(counts) > fields:
            best, fields = sign, max(counts)
    return best


def _check_names(names: list[str], who: str) -> None:
    names = [name.strip() for name in names]
    if not names:
        raise DataError(f"{who}: the table has no columns; expected at least one.")
    if "" in names:
        raise ColumnError(f"{who}: column {names.index('') + 1} of {len(names)} has no name. Name every column.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ColumnError(
            f"{who}: {len(twice)} column names occur twice: {_few(twice)}. Give each column its own name."
        )


def _check_header(names: list[str], who: str) -> None:
    if numeric := [name for name in names if looks_like_number(name)]:
        raise ColumnError(
            f"{who}: the first line holds numbers where names belong ({_few(numeric)}); expected column names. "
            "Put a line with the names of the columns on top of the file, or pass names= (--names)."
        )


def _few(names: list[Any], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def require_columns(table: pa.Table, names: list[str], *, who: str) -> None:
    """Refuse a table that lacks columns.

    Raises:
        ColumnError: Names each missing column (with the nearest that is there), and those that are new.
    """
    have = table.column_names
    missing = [name for name in names if name not in have]
    if not missing:
        return
    new = [name for name in have if name not in names]
    hint = _validate.nearest(missing[0], new or have)
    extra = f" New here: {_few(new)}." if new else ""
    raise ColumnError(
        f"{who}: the table has no column {_few(missing)}; expected the columns of the training data.{hint}{extra}"
    )


def take_column(table: pa.Table, name: str, *, who: str) -> tuple[pa.Table, pa.ChunkedArray]:
    """Take the target out of a table.

    Returns:
        The table without it, and the column.

    Raises:
        ColumnError: There is no such column; suggests the nearest.
        DataError: Nothing else would be left, or the column has missing values.
    """
    if name not in table.column_names:
        raise ColumnError(
            f"{who}: there is no column {name!r}; expected one of {_few(table.column_names, 20)}."
            f"{_validate.nearest(name, table.column_names)}"
        )
    rest, column = table.drop_columns([name]), table.column(name)
    if not rest.column_names:
        raise DataError(f"{who}: {name!r} is the only column; expected at least one other to learn from.")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"{who}: the target {name!r} is missing in {column.null_count} rows, the first is row {row}; expected a "
            "value in every row. Drop those rows."
        )
    return rest, column
