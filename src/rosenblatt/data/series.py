"""Time series: arrays, Series and data frames of any library, and tables in files, read into one regular `Series`.

What a series must be, and what is done where it is not so:

- A regular frequency, found from the time stamps: a constant step, months (of any count, first or last days too), or
  business days. Irregular stamps are refused with the steps that occur; a wrong ``frequency`` is refused with the right one.
- Stamps in any order are sorted; duplicated ones are refused.
- Gaps, stamps that are missing on the regular grid, become missing values; missing values stay NaN (a forecaster carries
  the last value forward and leaves them out of its loss). Leading and trailing missing rows of a target are dropped.
- Infinity and text are refused. A constant series is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np

from rosenblatt.data.tables import read_table
from rosenblatt.errors import ColumnError, DataError, NonFiniteError, ShapeError

INDEX = "index"
"""Frequency of a series without time stamps: its times are 0, 1, 2 ..."""

_UNITS = {"us": 1, "s": 10**6, "min": 60 * 10**6, "hour": 3600 * 10**6, "day": 86400 * 10**6, "week": 7 * 86400 * 10**6}
_ALIASES = {
    "D": "1 day", "W": "1 week", "h": "1 hour", "H": "1 hour", "min": "1 min", "T": "1 min", "s": "1 s", "S": "1 s",
    "MS": "1 month", "M": "1 month", "ME": "1 month end", "QS": "3 month", "Q": "3 month", "QE": "3 month end",
    "YS": "12 month", "Y": "12 month", "A": "12 month", "YE": "12 month end", "B": "business day",
}  # fmt: skip
_SEASONS = {
    "1 month": 12,
    "3 month": 4,
    "1 day": 7,
    "business day": 5,
    "1 week": 52,
    "1 hour": 24,
    "30 min": 48,
    "15 min": 96,
}


@dataclass(frozen=True)
class Series:
    """A regular series.

    Attributes:
        values: (T, K) float64; NaN is a missing value.
        names: Of the K columns.
        frequency: "index", or words such as "1 month", "15 min", "business day", "1 month end".
        start: Time of the first row: microseconds since 1970, or a row number where the frequency is "index".
    """

    values: np.ndarray
    names: tuple[str, ...]
    frequency: str = INDEX
    start: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def times(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Time stamps (datetime64, or row numbers) of ``count`` rows from row ``first``, beyond the end too."""
        return times_of(self.frequency, self.start, first, len(self) - first if count is None else count)


def times_of(frequency: str, start: int, first: int, count: int) -> np.ndarray:
    """Stamps of rows ``first`` to ``first + count`` of a series that begins at ``start``.

    Example:
        >>> times_of("1 month", 0, 11, 2).astype("M8[D]").astype(str).tolist()
        ['1970-12-01', '1971-01-01']
    """
    rows = np.arange(first, first + count)
    if frequency == INDEX:
        return rows + start
    begin = np.datetime64(start, "us")
    if frequency == "business day":
        day = begin.astype("M8[D]")
        return (np.busday_offset(day, rows, roll="forward").astype("M8[us]") + (begin - day)).astype("M8[s]")
    step, unit, *end = frequency.split()
    if unit == "month":
        month = begin.astype("M8[M]")
        if end:
            after = (month + 1).astype("M8[us]") - begin
            return ((month + 1 + rows * int(step)).astype("M8[us]") - after).astype("M8[s]")
        return ((month + rows * int(step)).astype("M8[us]") + (begin - month)).astype("M8[s]")
    stamps = begin + rows * (int(step) * _UNITS[unit])
    return stamps if unit == "us" else stamps.astype("M8[s]")


def season_of(frequency: str) -> int:
    """Steps of the usual season: 12 months, 7 days, 24 hours ...; 1 where there is none.

    Example:
        >>> season_of("1 month end"), season_of("12 month"), season_of("index")
        (12, 1, 1)
    """
    return _SEASONS.get(frequency.removesuffix(" end"), 1)


def read_series(
    source: Any,
    *,
    time: str | None = None,
    target: Sequence[str] | None = None,
    frequency: str | None = None,
    trim: bool = True,
    who: str = "read_series",
) -> Series:
    """Read one series.

    Args:
        source: Values (T,) or (T, K); a Series or data frame of pandas (its index holds the times where it is one of
            dates), Polars or another library; or the path of a CSV or Parquet file.
        time: The column of time stamps; None takes the only one that holds such.
        target: Columns of values; None takes all others, which must be numbers.
        frequency: What the frequency must be ("1 month", "MS", "D" ...); None finds it.
        trim: Drop leading and trailing rows without any value.
        who: Start of the messages.

    Raises:
        DataError: Irregular or duplicated stamps, another frequency, text, no values; what `read_table` refuses.
        ColumnError: An unknown column, or several columns of time stamps.
        NonFiniteError: Infinity.
        ShapeError: More than two axes.

    Example:
        >>> import pyarrow as pa
        >>> table = pa.table({"month": ["2020-03", "2020-01", "2020-02"], "sold": [5.0, 3.0, None]})
        >>> series = read_series(table)
        >>> series.frequency, series.values[:, 0].tolist()
        ('1 month', [3.0, nan, 5.0])
    """
    if isinstance(source, Series):
        return source
    stamps, values, names = _columns(source, time, target, who)
    return _regular(stamps, values, names, frequency, trim, who)


def read_panel(
    source: Any, *, series: str, time: str | None = None, target: Sequence[str] | None = None,
    frequency: str | None = None, who: str = "read_panel",
) -> dict[str, Series]:  # fmt: skip
    """Read several series out of one long table.

    Args:
        source: A data frame or the path of a table.
        series: The column that names each row's series.
        time: As `read_series`.
        target: As `read_series`.
        frequency: As `read_series`.
        who: Start of the messages.

    Returns:
        The series by name, in order of first appearance.

    Raises:
        ColumnError: There is no such column.
        DataError: As `read_series`, naming the series.
    """
    table = read_table(source, who=who)
    if series not in table.column_names:
        raise ColumnError(f"{who}: there is no column {series!r}; expected one of {', '.join(table.column_names)}.")
    ids = np.array([str(value) for value in table.column(series).to_pylist()])
    rest = table.drop_columns([series])
    found = {}
    for name in dict.fromkeys(ids.tolist()):
        part = rest.take(np.flatnonzero(ids == name))
        found[name] = read_series(part, time=time, target=target, frequency=frequency, who=f"{who}: series {name!r}")
    return found


# ----------------------------------------------------------------------------------------------------------- columns


def _columns(
    source: Any, time: str | None, target: Sequence[str] | None, who: str
) -> tuple[np.ndarray | None, np.ndarray, tuple[str, ...]]:
    """Stamps (None where there are none), values (T, K) and names."""
    if isinstance(source, (str, Path)):
        source = read_table(source, who=who)
    native = nw.from_native(source, eager_only=True, allow_series=True, pass_through=True)
    if not isinstance(native, (nw.DataFrame, nw.Series)):
        values = _numbers(source, who)
        return None, values, tuple(f"y{i}" for i in range(values.shape[1])) if values.shape[1] > 1 else ("y",)
    stamps = _index_stamps(source)
    if isinstance(native, nw.Series):
        return stamps, _numbers(native.to_numpy(), who), (str(native.name or "y"),)
    columns = [str(c) for c in native.columns]
    if stamps is None:
        time = _time_column(native, columns, time, who)
        stamps = None if time is None else _parse_stamps(native[time], time, who)
    chosen = [c for c in columns if c != time] if target is None else list(target)
    if unknown := [c for c in chosen if c not in columns]:
        raise ColumnError(f"{who}: there is no column {unknown[0]!r}; expected one of {', '.join(columns)}.")
    if not chosen:
        raise ColumnError(f"{who}: there is no column of values beside the time; expected at least one.")
    values = np.hstack([_numbers(native[c].to_numpy(), f"{who}: column {c!r}") for c in chosen])
    return stamps, values, tuple(chosen)


def _numbers(values: Any, who: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{who}: the series holds something else than numbers ({error}); expected numbers.") from error
    if array.ndim not in (1, 2):
        raise ShapeError(f"{who}: the series has {array.ndim} axes {array.shape}; expected (T,) or (T, K).")
    array = array[:, None] if array.ndim == 1 else array
    if array.size == 0:
        raise DataError(f"{who}: the series is empty {array.shape}; expected values.")
    if np.isinf(array).any():
        row = int(np.argmax(np.isinf(array).any(axis=1)))
        raise NonFiniteError(
            f"{who}: infinity at row {row}; expected finite numbers (NaN for missing). Drop or fill it."
        )
    return array


def _index_stamps(source: Any) -> np.ndarray | None:
    """Stamps of a pandas index of dates or periods."""
    index = getattr(source, "index", None)
    if hasattr(index, "to_timestamp"):  # periods
        index = index.to_timestamp()
    if index is None or "datetime" not in str(getattr(index, "dtype", "")):
        return None
    if getattr(index, "tz", None) is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    return np.asarray(index.values, dtype="M8[us]")


def _time_column(frame: Any, columns: list[str], time: str | None, who: str) -> str | None:
    if time is not None:
        if time not in columns:
            raise ColumnError(f"{who}: there is no column {time!r}; expected one of {', '.join(columns)}.")
        return time
    found = [c for c in columns if isinstance(frame.schema[c], (nw.Datetime, nw.Date))]
    found = found or [c for c in columns if frame.schema[c] == nw.String]
    if len(found) > 1:
        raise ColumnError(f"{who}: the columns {', '.join(found)} may hold the time; expected one. Pass time=.")
    return found[0] if found else None


def _parse_stamps(column: Any, name: str, who: str) -> np.ndarray:
    if column.null_count():
        raise DataError(
            f"{who}: {column.null_count()} rows have no time in column {name!r}; expected one each. Drop them."
        )
    if isinstance(column.dtype, nw.Datetime) and column.dtype.time_zone is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    values = column.to_numpy()
    if values.dtype.kind in "if":  # years, or row numbers
        return values
    try:
        if values.dtype.kind == "M":
            return values.astype("M8[us]")
        return np.asarray([str(v).strip() for v in values], dtype="M8[us]")
    except ValueError as error:
        raise DataError(
            f"{who}: column {name!r} is no time ({error}); expected stamps such as 2020-01, 2020-01-31 or 2020-01-31 12:00."
        ) from error


# --------------------------------------------------------------------------------------------------------- frequency


def _regular(
    stamps: np.ndarray | None, values: np.ndarray, names: tuple[str, ...], wanted: str | None, trim: bool, who: str
) -> Series:
    """The series on its regular grid."""
    found, start = INDEX, 0
    if stamps is not None:
        order = np.argsort(stamps, kind="stable")
        stamps, values = stamps[order], values[order]
        _refuse_duplicates(stamps, who)
        found, place = _grid(stamps, who)
        start = int(stamps[0].astype("M8[us]").astype(np.int64)) if found != INDEX else int(stamps[0])
        values = _spread(values, place, who)
    if wanted is not None and (expected := _ALIASES.get(wanted, wanted)) != found:
        raise DataError(
            f"{who}: the stamps have the frequency {found!r}; expected {expected!r} as asked for. "
            "Resample the series, or leave frequency out."
        )
    there = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not len(there):
        raise DataError(f"{who}: all {len(values)} values are missing; expected numbers.")
    first, last = (int(there[0]), int(there[-1]) + 1) if trim else (0, len(values))
    begin = times_of(found, start, first, 1)[0]
    start = int(begin) if found == INDEX else int(begin.astype("M8[us]").astype(np.int64))
    return Series(values[first:last], names, found, start)


def _refuse_duplicates(stamps: np.ndarray, who: str) -> None:
    same = np.flatnonzero(stamps[1:] == stamps[:-1])
    if len(same):
        raise DataError(
            f"{who}: the time {_say(stamps[same[0]])} occurs more than once ({len(same)} duplicates); expected one row a "
            "time. Average them, or name the column that tells several series apart."
        )


def _grid(stamps: np.ndarray, who: str) -> tuple[str, np.ndarray]:
    """Frequency, and each stamp's row on the grid."""
    if len(stamps) < 3:
        raise DataError(f"{who}: {len(stamps)} time stamps; expected at least 3 to find the frequency.")
    if stamps.dtype.kind in "if":
        place = stamps - stamps[0]
        if (place != np.round(place)).any():
            raise DataError(
                f"{who}: the times {_say(stamps[0])}, {_say(stamps[1])} ... are fractions; expected integers."
            )
        return INDEX, place.astype(np.int64)
    for find in (_by_months, _by_step, _by_business_days):
        found = find(stamps)
        if found is not None:
            return found
    steps, counts = np.unique(np.diff(stamps), return_counts=True)
    order = np.argsort(-counts)
    said = ", ".join(f"{_duration(steps[i])} ({counts[i]} times)" for i in order[:3])
    odd = int(np.argmax(np.diff(stamps) != steps[order[0]])) + 1
    raise DataError(
        f"{who}: the time stamps are irregular: steps of {said}{' ...' if len(steps) > 3 else ''}, the first odd one before "
        f"{_say(stamps[odd])}; expected one regular frequency. Resample the series first."
    )


def _by_months(stamps: np.ndarray) -> tuple[str, np.ndarray] | None:
    month = stamps.astype("M8[M]")
    place = (month - month[0]).astype(np.int64)
    into, before = stamps - month.astype("M8[us]"), (month + 1).astype("M8[us]") - stamps
    end = bool((before == before[0]).all()) and not bool((into == into[0]).all())
    if not end and not bool((into == into[0]).all()):
        return None
    step = int(np.gcd.reduce(np.diff(place)))
    # a grid of which most rows would be gaps is no frequency
    if step == 0 or place[-1] // step + 1 > 2 * len(stamps):
        return None
    return f"{step} month" + (" end" if end else ""), place // step


def _by_step(stamps: np.ndarray) -> tuple[str, np.ndarray] | None:
    place = (stamps - stamps[0]).astype(np.int64)
    gaps = np.diff(place)
    step = int(np.gcd.reduce(gaps))
    common = int(np.median(gaps))
    # the usual step must be the grid's: a common divisor always exists, a few minutes between days are no frequency
    if step != common or place[-1] // step + 1 > 2 * len(stamps):
        return None
    if _skips_weekends(stamps):
        return None
    unit = next(name for name in ("week", "day", "hour", "min", "s", "us") if step % _UNITS[name] == 0)
    return f"{step // _UNITS[unit]} {unit}", place // step


def _skips_weekends(stamps: np.ndarray) -> bool:
    days = stamps.astype("M8[D]")
    return len(days) >= 10 and bool(np.is_busday(days).all()) and bool((np.diff(days).astype(int) >= 3).any())


def _by_business_days(stamps: np.ndarray) -> tuple[str, np.ndarray] | None:
    days = stamps.astype("M8[D]")
    hours = stamps - days.astype("M8[us]")
    if not bool(np.is_busday(days).all()) or not bool((hours == hours[0]).all()):
        return None
    place = np.busday_count(days[0], days)
    return None if place[-1] + 1 > 2 * len(stamps) else ("business day", place.astype(np.int64))


def _spread(values: np.ndarray, place: np.ndarray, who: str) -> np.ndarray:
    """Rows on the grid; gaps are NaN."""
    length = int(place[-1]) + 1
    if length > 10 * len(values):
        raise DataError(
            f"{who}: {length - len(values)} of {length} rows of the regular grid are missing; resample the series."
        )
    whole = np.full((length, values.shape[1]), np.nan)
    whole[place] = values
    return whole


def _say(stamp: Any) -> str:
    return str(stamp.astype("M8[s]")).removesuffix("T00:00:00") if stamp.dtype.kind == "M" else str(stamp)


def _duration(step: Any) -> str:
    us = int(step.astype("m8[us]").astype(np.int64))
    unit = next(name for name in ("day", "hour", "min", "s", "us") if us % _UNITS[name] == 0)
    count = us // _UNITS[unit]
    return f"{count} {unit}{'s' if count != 1 and unit in ('day', 'hour') else ''}"
