"""What a forecaster learns from: the series of a panel, each with its covariates in step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rosenblatt.data.series import INDEX, Series, read_series, times_of
from rosenblatt.errors import DataError, NonFiniteError, ShapeError


@dataclass(frozen=True)
class Member:
    """One series with its covariates.

    Attributes:
        name: Its name in the panel; "" where there is one series only.
        table: (T, K + P + F): targets, past-only covariates, known covariates; NaN is missing.
        ahead: (A, F) known covariates after the last row, as many as were given.
        frequency, start: As `Series`.
        names: Of the targets.
    """

    name: str
    table: np.ndarray
    ahead: np.ndarray
    frequency: str
    start: int
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.table)

    def times(self, first: int, count: int) -> np.ndarray:
        """Stamps of rows, beyond the end too."""
        return times_of(self.frequency, self.start, first, count)

    def until(self, row: int) -> Member:
        """The same without what comes at ``row`` and after it."""
        known = self.ahead.shape[1]
        after = np.vstack([self.table[row:, self.table.shape[1] - known :], self.ahead])
        return replace(self, table=self.table[:row], ahead=after)


def is_panel(y: Any) -> bool:
    """Whether y is several series: a dict, or a list of arrays, Series or data frames."""
    if isinstance(y, Mapping):
        return True
    return isinstance(y, (list, tuple)) and bool(len(y)) and (hasattr(y[0], "shape") or isinstance(y[0], Series))


def read_members(who: str, y: Any, past: Any, future: Any, *, frequency: str | None = None) -> list[Member]:
    """Read a series or a panel with its covariates.

    Args:
        who: Start of the messages.
        y: A series, or a dict or list of them (a panel).
        past: Covariates known up to now only: rows like y's; of a panel a dict or list like y.
        future: Covariates known beforehand: rows like y's, and as many after them as are known.
        frequency: What it must be, or None.

    Raises:
        DataError: A series that cannot be used; covariates of other times or another count.
    """
    if not is_panel(y):
        return [_member(who, "", y, past, future, frequency)]
    named = dict(y) if isinstance(y, Mapping) else {str(i): part for i, part in enumerate(y)}
    if not named:
        raise DataError(f"{who}: the panel is empty; expected at least one series.")
    parts = [_of_panel(who, word, given, named) for word, given in (("past", past), ("future", future))]
    found = [
        _member(f"{who}: series {name!r}", str(name), series, parts[0][name], parts[1][name], frequency)
        for name, series in named.items()
    ]
    widths = {(m.table.shape[1], len(m.names), m.frequency) for m in found}
    if len(widths) > 1:
        raise DataError(
            f"{who}: the series of the panel differ in columns or frequency "
            f"({', '.join(sorted({f'{k} targets, {f!r}' for _, k, f in widths}))}); expected the same for all."
        )
    return found


def _of_panel(who: str, word: str, given: Any, named: Mapping[Any, Any]) -> dict[Any, Any]:
    if given is None:
        return dict.fromkeys(named)
    if not is_panel(given) or len(given) != len(named):
        raise DataError(f"{who}: {word} covariates of a panel; expected a dict or list of {len(named)}, like y.")
    found = dict(given) if isinstance(given, Mapping) else dict(zip(named, given, strict=True))
    if missing := [name for name in named if name not in found]:
        raise DataError(f"{who}: {word} has no covariates of the series {missing[0]!r}; expected one entry a series.")
    return found


def _member(who: str, name: str, y: Any, past: Any, future: Any, frequency: str | None) -> Member:
    series = read_series(y, frequency=frequency, trim=False, who=who)
    values = series.values
    there = np.flatnonzero(~np.isnan(values).all(axis=1))
    lead, last = int(there[0]), int(there[-1]) + 1
    extra = covariates(f"{who}: past", past, series.frequency, series.start, last, least=last)
    known = covariates(f"{who}: future", future, series.frequency, series.start, None, least=last)
    table = np.hstack([values[lead:last], extra[lead:last], known[lead:last]])
    begin = series.times(lead, 1)[0]
    start = int(begin.astype("M8[us]").astype(np.int64)) if begin.dtype.kind == "M" else int(begin)
    return Member(name, table, known[last:], series.frequency, start, series.names)


def covariates(who: str, given: Any, frequency: str, start: int, most: int | None, *, least: int) -> np.ndarray:
    """Covariates (rows, F) from time ``start`` on; missing values take the last one before.

    Raises:
        DataError: Fewer than ``least`` rows from there on, another frequency, or a first value that is missing.
    """
    from rosenblatt.train.forecast import fill_forward

    if given is None:
        return np.zeros((least, 0))
    series = read_series(given, trim=False, who=who)
    values = series.values
    if series.frequency != INDEX and frequency != INDEX:
        if series.frequency != frequency:
            raise DataError(f"{who}: the frequency is {series.frequency!r}; expected {frequency!r} as of the series.")
        begin = times_of(frequency, start, 0, 1)[0]
        row = np.flatnonzero(series.times() == begin)
        if not len(row):
            raise DataError(
                f"{who}: no row has the time {begin}; expected covariates from there on (theirs are "
                f"{series.times()[0]} to {series.times()[-1]})."
            )
        values = values[row[0] :]
    if len(values) < least:
        raise ShapeError(f"{who}: {len(values)} rows of covariates; expected at least {least}, one a step.")
    if np.isnan(values[0]).any():
        raise NonFiniteError(f"{who}: the first row has a missing value; expected numbers. Fill it.")
    return fill_forward(values)[:most]
