import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rosenblatt.data.recipe import Recipe, infer_task, labels, learn_recipe
from rosenblatt.data.tables import read_table, require_columns, take_column
from rosenblatt.errors import ColumnError, DataError

TEXT = """age, job, married, since, income
31, cook, true, 2020-01-01, <=50K
?, smith, false, 2021-01-01, >50K
45, , true, 2022-01-01, >50K
22, cook, false, 2020-07-01, <=50K
"""


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(TEXT)
    return path


def split(table, target="income"):
    return take_column(table, target, who="test")


def recipe_of(table, target="income", **options):
    rest, column = split(table, target)
    return learn_recipe(rest, column, target_name=target, **options), rest


# ------------------------------------------------------------------------------------------------------ reading


def test_a_text_file_gets_its_types_from_all_values_and_its_markers_become_missing(people):
    table = read_table(people)
    assert table.column_names == ["age", "job", "married", "since", "income"]
    assert table.column("age").to_pylist() == [31, None, 45, 22]
    assert table.column("job").to_pylist() == ["cook", "smith", None, "cook"]
    assert table.column("married").to_pylist() == [True, False, True, False]
    assert str(table.column("since").type) == "timestamp[us]"


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, sign):
    path = tmp_path / "t.csv"
    path.write_text(f'a{sign}b\n1{sign}"x, y; z"\n2{sign}"p | q"\n')
    assert read_table(path).column("b").to_pylist() == ["x, y; z", "p | q"]


def test_packed_parquet_and_frames_read_alike(tmp_path, people):
    packed = tmp_path / "people.csv.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    table = read_table(people)
    pa.parquet.write_table(table, tmp_path / "people.parquet")
    assert read_table(packed).equals(table)
    assert read_table(tmp_path / "people.parquet").equals(table)
    assert read_table(table.to_pandas()).column("age").to_pylist() == [31, None, 45, 22]


def test_a_category_of_pandas_stays_a_name_also_where_its_values_are_numbers():
    table = read_table(pd.DataFrame({"code": pd.Categorical([7, 8, 7])}))
    assert table.column("code").to_pylist() == ["7", "8", "7"]


def test_a_file_without_names_is_refused_and_takes_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("5.1,a\n4.9,b\n")
    with pytest.raises(ColumnError, match="first line holds numbers where names belong"):
        read_table(path)
    assert read_table(path, names=["length", "kind"]).column("length").to_pylist() == [5.1, 4.9]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; expected a line of column names"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n1,2\n3\n", "cannot be read"),
        (b"a,a\n1,2\n", "occur twice: 'a'"),
        (b"a,\n1,2\n", "column 2 of 2 has no name"),
        (b"a,b\n1,\xff\xfe\n", "not UTF-8"),
        (b"a,b\n1,\x00\n", "zero bytes"),
        (b"PAR1", "cannot be read"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, words):
    path = tmp_path / ("t.parquet" if content == b"PAR1" else "t.csv")
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table(path)


def test_a_parquet_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"a": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="cut short, damaged"):
        read_table(path)


def test_paths_that_are_no_tables(tmp_path, people):
    with pytest.raises(
        DataError, match=r"there is no file .*; expected a CSV or Parquet file. Did you mean 'people.csv'"
    ):
        read_table(people.with_name("poeple.csv"))
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match=r"has the suffix '.xlsx'"):
        read_table(_touch(tmp_path / "a.xlsx"))
    with pytest.raises(DataError, match="got a list; expected the path"):
        read_table([1, 2])
    with pytest.raises(ColumnError, match="columns without names"):
        read_table(pd.DataFrame({0: [1.0]}))


def _touch(path):
    path.write_text("x")
    return path


def test_columns_of_lists_are_refused():
    with pytest.raises(DataError, match="column 'a' holds list"):
        read_table(pa.table({"a": [[1], [2]]}))


VALUES = st.one_of(
    st.none(),
    st.integers(-(10**15), 10**15),
    st.floats(-1e9, 1e9).map(lambda v: round(v, 6)),
)


@given(st.lists(VALUES, min_size=1, max_size=30), st.sampled_from([",", ";", "\t"]))
def test_numbers_survive_the_way_through_a_file(tmp_path_factory, values, sign):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text("n" + sign + "m\n" + "".join(f"{'' if v is None else v}{sign}x\n" for v in values))
    got = read_table(path).column("n").to_pylist()
    assert got == [None if v is None else pytest.approx(v, rel=1e-12, abs=1e-12) for v in values]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("t")
    for suffix in (".csv", ".parquet"):
        path = folder / f"t{suffix}"
        path.write_bytes(content)
        try:
            assert read_table(path).num_rows > 0
        except DataError:
            continue


# ------------------------------------------------------------------------------------------------------- recipe


def test_the_rules(people):
    recipe, rest = recipe_of(read_table(people))
    assert recipe.feature_names == [
        "age", "age is missing", "job=cook", "job=smith", "job is missing", "married", "since",
    ]  # fmt: skip
    X = recipe.transform(rest)
    assert X.dtype == np.float32
    ages = np.array([31, 31, 45, 22.0])  # the missing one takes the median of 22, 31, 45
    np.testing.assert_allclose(X[:, 0], (ages - ages.mean()) / ages.std(), rtol=1e-6)
    assert X[:, 1].tolist() == [0, 1, 0, 0]
    assert X[:, 2:5].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert X[:, 5].tolist() == [1, 0, 1, 0]
    assert abs(X[:, 6].mean()) < 1e-6


def test_unseen_categories_set_nothing_and_are_counted(people):
    recipe, rest = recipe_of(read_table(people))
    other = rest.set_column(1, "job", pa.array(["pilot", "cook", None, "cook"]))
    X, unseen = recipe.transform_and_count(other)
    assert unseen == {"job": 1}
    assert X[0, 2:5].tolist() == [0, 0, 0]


def test_renamed_missing_and_wrongly_typed_columns_are_refused_by_name(people):
    recipe, rest = recipe_of(read_table(people))
    with pytest.raises(ColumnError, match=r"no column 'age'.*Did you mean 'Age'\?.*New here: 'Age'"):
        recipe.transform(rest.rename_columns(["Age", "job", "married", "since"]))
    with pytest.raises(ColumnError, match="no column 'job', 'married'"):
        require_columns(rest.drop_columns(["job", "married"]), ["age", "job", "married"], who="test")
    text = rest.set_column(0, "age", pa.array(["31", "old", "45", "22"]))
    with pytest.raises(DataError, match="column 'age' holds the text 'old' at row 1; expected numbers"):
        recipe.transform(text)
    with pytest.raises(DataError, match="column 'age' holds infinity at row 2"):
        recipe.transform(rest.set_column(0, "age", pa.array([1.0, 2.0, float("inf"), 3.0])))


def test_extra_columns_and_another_order_change_nothing(people):
    recipe, rest = recipe_of(read_table(people))
    shuffled = rest.select(["since", "married", "job", "age"]).append_column("new", pa.array([1, 2, 3, 4]))
    assert (recipe.transform(shuffled) == recipe.transform(rest)).all()


def test_columns_that_say_nothing_are_left_out_with_the_reason():
    rows = 60
    table = pa.table(
        {
            "id": [f"n{i}" for i in range(rows)],
            "one": [1] * rows,
            "none": pa.nulls(rows),
            "x": list(range(rows)),
        }
    )
    recipe = learn_recipe(read_table(table), pa.chunked_array([[0, 1] * 30]), target_name="y")
    assert recipe.left_out == {
        "id": "60 different texts in 60 rows",
        "one": "one value only",
        "none": "no value at all",
    }
    with pytest.raises(DataError, match="no column can be learned from"):
        learn_recipe(table.select(["one"]), pa.chunked_array([[0, 1] * 30]), target_name="y")


def test_numbers_can_be_categories():
    table = pa.table({"zip": [1010, 1020, 1010, 1020]})
    recipe = learn_recipe(table, pa.chunked_array([[0, 1, 0, 1]]), target_name="y", categorical=["zip"])
    assert recipe.feature_names == ["zip=1010", "zip=1020"]
    with pytest.raises(ColumnError, match=r"no column 'zap'.*Did you mean 'zip'\?"):
        learn_recipe(table, pa.chunked_array([[0, 1, 0, 1]]), target_name="y", categorical=["zap"])


def test_the_task_is_inferred():
    assert infer_task(pa.chunked_array([["a", "b"]])) == "classification"
    assert infer_task(pa.chunked_array([[1, 2, 3]])) == "classification"
    assert infer_task(pa.chunked_array([list(range(21))])) == "regression"
    assert infer_task(pa.chunked_array([[1.0, 2.0]])) == "regression"
    assert labels(pa.chunked_array([[1.0, 2.0]])).dtype == np.int64


def test_a_regression_target_is_standardised_and_restored():
    table = pa.table({"x": [1.0, 2.0, 3.0]})
    recipe = learn_recipe(table, pa.chunked_array([[10.0, 20.0, 60.0]]), target_name="y")
    y = recipe.targets(pa.chunked_array([[10.0, 20.0, 60.0]]))
    standard = recipe.standardise(y)
    assert abs(standard.mean()) < 1e-6
    np.testing.assert_allclose(recipe.restore(standard), y, rtol=1e-6)


def test_targets_that_are_not_there_or_have_gaps(people):
    table = read_table(people)
    with pytest.raises(ColumnError, match=r"no column 'incme'.*Did you mean 'income'\?"):
        split(table, "incme")
    with pytest.raises(DataError, match="target 'age' is missing in 1 rows, the first is row 1"):
        split(table, "age")
    with pytest.raises(DataError, match="'a' is the only column"):
        split(pa.table({"a": [1]}), "a")


def test_the_json_form_survives_and_is_checked(people):
    recipe, rest = recipe_of(read_table(people))
    said = json.loads(json.dumps(recipe.to_json()))
    again = Recipe.from_json(said)
    assert again == recipe
    assert (again.transform(rest) == recipe.transform(rest)).all()
    for change in (
        {"task": "guess"},
        {"columns": []},
        {"columns": [{"name": "a", "kind": "code"}]},
        {"columns": [{"name": "a", "kind": "number", "deviation": 0}]},
        {"columns": [{"name": "a", "kind": "number", "deviation": float("nan")}]},
        {"target": 3},
        {"left_out": {"a": 1}},
        {"shell": "rm"},
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - any contradiction will do
            Recipe.from_json({**said, **change})


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(-1e6, 1e6)), st.sampled_from(["a", "b", "c", None])),
        min_size=4, max_size=40,
    )
)  # fmt: skip
def test_what_a_recipe_makes_is_finite_and_as_wide_as_it_says(rows):
    table = read_table(
        pa.table({"n": pa.array([r[0] for r in rows], pa.float64()), "c": pa.array([r[1] for r in rows])})
    )
    target = pa.chunked_array([[i % 2 for i in range(len(rows))]])
    try:
        recipe = learn_recipe(table, target, target_name="y")
    except DataError:
        kinds = [len(set(table.column(name).to_pylist()) - {None}) for name in ("n", "c")]
        assert min(kinds) <= 1, "refused though both columns say something"
        return
    X = recipe.transform(table)
    assert X.shape == (len(rows), len(recipe.feature_names))
    assert np.isfinite(X).all()
    assert Recipe.from_json(recipe.to_json()) == recipe
