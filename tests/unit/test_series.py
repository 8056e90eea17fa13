import numpy as np
import pandas as pd
import polars as pl
import pytest

from rosenblatt.data.series import read_panel, read_series
from rosenblatt.errors import DataError, NonFiniteError


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
