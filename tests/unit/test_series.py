import numpy as np
import pandas as pd
import polars as pl
import pytest

from rosenblatt.data.series import read_panel, read_series
from rosenblatt.errors import ColumnError, DataError, NonFiniteError, ShapeError


@pytest.mark.parametrize(
    ("freq", "name"),
    [
        ("MS", "1 month"),
        ("ME", "1 month end"),
        ("D", "1 day"),
        ("B", "business day"),
        ("h", "1 hour"),
        ("QS", "3 month"),
    ],
)
def test_the_frequency_is_found_and_continued(freq, name):
    index = pd.date_range("2020-01-01", periods=40, freq=freq)
    series = read_series(pd.Series(np.arange(30.0), index[:30]))
    assert series.frequency == name
    assert (series.times(30, 10) == index[30:].values).all()


def test_gaps_become_missing_and_order_does_not_matter():
    frame = pl.DataFrame({"t": ["2020-01-04", "2020-01-01", "2020-01-02", "2020-01-05"], "y": [4.0, 1.0, 2.0, 5.0]})
    assert np.array_equal(read_series(frame).values[:, 0], [1, 2, np.nan, 4, 5], equal_nan=True)


def test_bad_series_are_refused():
    with pytest.raises(DataError, match="irregular: steps of"):
        read_series(pl.DataFrame({"t": ["2020-01-01", "2020-01-02", "2020-01-03 07:00"], "y": [1.0, 2, 3]}))
    with pytest.raises(DataError, match="2020-01-01 occurs more than once"):
        read_series(pl.DataFrame({"t": ["2020-01-01"] * 2 + ["2020-01-02"], "y": [1.0, 2, 3]}))
    with pytest.raises(DataError, match="'1 day'; expected '1 month'"):
        read_series(pd.Series(np.ones(9), pd.date_range("2020", periods=9)), frequency="MS")
    with pytest.raises(NonFiniteError, match="infinity at row 1"):
        read_series([1.0, np.inf])


def test_a_panel_is_read_from_a_long_table():
    table = pd.DataFrame({"t": ["2020-01", "2020-02", "2020-03"] * 2, "id": ["a"] * 3 + ["b"] * 3, "y": range(6)})
    assert [s.values[0, 0] for s in read_panel(table, series="id").values()] == [0, 3]


DAYS = ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"]


@pytest.mark.parametrize(
    ("source", "options", "error", "match"),
    [
        (["a", "b"], {}, DataError, "something else than numbers"),
        (np.zeros((2, 2, 2)), {}, ShapeError, r"3 axes \(2, 2, 2\)"),
        (np.zeros(0), {}, DataError, r"the series is empty \(0, 1\)"),
        (np.full(5, np.nan), {}, DataError, "all 5 values are missing"),
        (
            pl.DataFrame({"t": DAYS, "y": [1.0] * 4}),
            {"time": "when"},
            ColumnError,
            "no column 'when'; expected one of t, y",
        ),
        (pl.DataFrame({"t": DAYS, "y": [1.0] * 4}), {"target": ["z"]}, ColumnError, "no column 'z'"),
        (pl.DataFrame({"t": DAYS}), {}, ColumnError, "no column of values beside the time"),
        (pl.DataFrame({"t": DAYS, "u": DAYS, "y": [1.0] * 4}), {}, ColumnError, "t, u may hold the time"),
        (pl.DataFrame({"t": [*DAYS[:3], None], "y": [1.0] * 4}), {}, DataError, "1 rows have no time in column 't'"),
        (pl.DataFrame({"t": ["soon"] * 4, "y": [1.0] * 4}), {}, DataError, "'t' is no time"),
        (pl.DataFrame({"t": DAYS[:2], "y": [1.0] * 2}), {}, DataError, "2 time stamps; expected at least 3"),
        (pl.DataFrame({"t": [1.0, 1.5, 2.0], "y": [1.0] * 3}), {"time": "t"}, DataError, "are fractions"),
    ],
)
def test_what_is_no_series_is_refused_by_name(source, options, error, match):
    with pytest.raises(error, match=match):
        read_series(source, **options)


def test_a_grid_of_mostly_gaps_and_an_unknown_series_column():
    days = [f"2020-01-{d:02d}" for d in (1, 2, 3)] + ["2031-01-01"]
    with pytest.raises(DataError, match=r"gaps|irregular|missing"):
        read_series(pl.DataFrame({"t": days, "y": [1.0] * 4}))
    with pytest.raises(ColumnError, match="no column 'id'"):
        read_panel(pl.DataFrame({"t": DAYS, "y": [1.0] * 4}), series="id")
