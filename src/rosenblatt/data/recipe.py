"""How a table becomes numbers: declared rules, learned from the training rows, kept in the model file.

============  =========================================================================================================
kind          becomes
============  =========================================================================================================
number        (value - mean) / deviation; a missing value takes the median, and where training rows missed values there
              is one more feature ``NAME is missing`` (0 or 1)
date          the same, of the days since 1970-01-01
boolean       0 or 1; a missing value takes 1/2, and a feature ``NAME is missing`` as above
category      one feature a category (0 or 1); "missing" is a category of its own where training rows missed values;
              a category that was not seen in training sets none of them
left out      columns with one value only, and text columns in which (nearly) every row says something else
============  =========================================================================================================

All numbers are computed from the training rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from rosenblatt import _validate
from rosenblatt.data.columns import as_booleans, as_days, as_numbers, as_words, kind_of
from rosenblatt.data.tables import read_table, require_columns
from rosenblatt.errors import ColumnError, DataError

MOST_CATEGORIES = 100
"""The most frequent categories of a column get a feature each; the others count as unseen."""

KINDS = ("number", "date", "boolean", "category")
TASKS = ("classification", "regression")
_CLASSES_OF_INTEGERS = 20


@dataclass(frozen=True, kw_only=True)
class Column:
    """The rule of one column.

    Args:
        name: As in the table.
        kind: "number", "date", "boolean" or "category".
        fill: What a missing value becomes.
        mean, deviation: Of the training rows, after filling.
        missing: Whether training rows missed values.
        categories: Words that get a feature each, most frequent first.
    """

    name: str
    kind: str
    fill: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    missing: bool = False
    categories: tuple[str, ...] = ()

    @property
    def features(self) -> list[str]:
        """Names of the features that the column becomes."""
        if self.kind == "category":
            return [f"{self.name}={word}" for word in self.categories] + self._flag()
        return [self.name, *self._flag()]

    def _flag(self) -> list[str]:
        return [f"{self.name} is missing"] if self.missing else []

    def transform(self, column: pa.ChunkedArray, out: np.ndarray, who: str) -> int:
        """Write the features (N, F) into ``out``; the number of values of unseen categories."""
        if self.kind == "category":
            return self._one_hot(column, out)
        values = _NUMBERS[self.kind](column, self.name, who)
        absent = np.isnan(values)
        if self.missing:
            out[:, 1] = absent
        values = np.where(absent, self.fill, values)
        if np.isinf(values).any():
            raise DataError(
                f"{who}: column {self.name!r} holds infinity at row {int(np.argmax(np.isinf(values)))}; expected finite "
                "numbers. Mend the value, or leave the field empty where it is missing."
            )
        out[:, 0] = (values - self.mean) / self.deviation
        return 0

    def _one_hot(self, column: pa.ChunkedArray, out: np.ndarray) -> int:
        words = as_words(column, self.categories)
        place = {word: i for i, word in enumerate(self.categories)}
        if self.missing:
            place[None] = len(self.categories)
        positions = np.array([place.get(word, -1) for word in words])
        known = np.flatnonzero(positions >= 0)
        out[known, positions[known]] = 1.0
        absent = sum(word is None for word in words) if not self.missing else 0
        return len(words) - len(known) - absent


_NUMBERS = {"number": as_numbers, "date": as_days, "boolean": as_booleans}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The rules of a table, in the order of its columns.

    Made by `learn_recipe`; `transform` applies it to another table with the same column names.

    Args:
        columns: Rules of the columns that are used.
        left_out: Name -> reason of the columns that are not.
        target: Name of the target column.
        task: "classification" or "regression".
        target_mean, target_deviation: Of a regression's target, which is standardised for training.
    """

    columns: tuple[Column, ...]
    left_out: Mapping[str, str]
    target: str
    task: str
    target_mean: float = 0.0
    target_deviation: float = 1.0

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of the matrix."""
        return [name for column in self.columns for name in column.features]

    def transform(self, table: Any, *, who: str = "Recipe.transform") -> np.ndarray:
        """The matrix (N, D) in float32 of a table (path, data frame or Arrow table).

        Raises:
            ColumnError: Columns of the training data are missing; renamed ones get the nearest suggestion.
            DataError: Text where numbers belong, infinity, or as `read_table`.
        """
        return self.transform_and_count(table, who=who)[0]

    def transform_and_count(self, table: Any, *, who: str = "Recipe.transform") -> tuple[np.ndarray, dict[str, int]]:
        """As `transform`, with the number of values of unseen categories by column."""
        table = read_table(table, who=who)
        require_columns(table, [column.name for column in self.columns], who=who)
        out = np.zeros((table.num_rows, len(self.feature_names)), np.float32)
        unseen, start = {}, 0
        for column in self.columns:
            stop = start + len(column.features)
            count = column.transform(table.column(column.name), out[:, start:stop], who)
            if count:
                unseen[column.name] = count
            start = stop
        return out, unseen

    def targets(self, column: pa.ChunkedArray, *, who: str = "Recipe.targets") -> np.ndarray:
        """Labels (N,) of a classification; numbers (N,), not standardised, of a regression."""
        if self.task == "regression":
            return as_numbers(column, self.target, who)
        return labels(column)

    def standardise(self, y: np.ndarray) -> np.ndarray:
        """Targets as the network learns them: labels stay, numbers get mean 0 and deviation 1 (float32)."""
        if self.task == "classification":
            return y
        return ((y - self.target_mean) / self.target_deviation).astype(np.float32)

    def restore(self, predicted: np.ndarray) -> np.ndarray:
        """Predictions of the network in the units of the data."""
        if self.task == "classification":
            return predicted
        return predicted.astype(np.float64) * self.target_deviation + self.target_mean

    def to_json(self) -> dict[str, Any]:
        """A description in JSON's types."""
        return {**asdict(self), "columns": [{**asdict(c), "categories": list(c.categories)} for c in self.columns]}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Recipe:
        """Read a description back, checking every field.

        Raises:
            ValueError: A field is missing, unknown or of a wrong type.
        """
        recipe = cls(**{**_checked(cls, said), "columns": tuple(_column(c) for c in said.get("columns", ()))})
        if recipe.task not in TASKS:
            raise ValueError(f"task {recipe.task!r}")
        names = [column.name for column in recipe.columns]
        if not names or len(set(names)) != len(names) or not (recipe.target_deviation > 0):
            raise ValueError("the columns or the target's deviation")
        left_out = recipe.left_out.items()
        if not all(isinstance(key, str) and isinstance(value, str) for key, value in left_out):
            raise ValueError("the columns left out")
        return recipe


def _column(said: Mapping[str, Any]) -> Column:
    column = Column(**{**_checked(Column, said), "categories": tuple(said.get("categories", ()))})
    if column.kind not in KINDS or not (column.deviation > 0):
        raise ValueError(f"column {column.name!r}")
    if not all(isinstance(word, str) for word in column.categories):
        raise ValueError(f"categories of {column.name!r}")
    return column


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "float": (float, int),
    "bool": (bool,),
    "tuple[str, ...]": (list, tuple),
    "tuple[Column, ...]": (list, tuple),
    "Mapping[str, str]": (dict,),
}


def _checked(kind: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise ValueError(f"a {kind.__name__} that is a {type(said).__name__}")
    known = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    for name, value in said.items():
        if name not in known or not isinstance(value, known[name]):
            raise ValueError(f"{kind.__name__}.{name} = {value!r}")
        if isinstance(value, float) and not np.isfinite(value):
            raise ValueError(f"{kind.__name__}.{name} = {value!r}")
    return dict(said)


# --------------------------------------------------------------------------------------------------------- learn


def learn_recipe(
    table: pa.Table,
    target: pa.ChunkedArray,
    *,
    target_name: str,
    task: str = "auto",
    categorical: Iterable[str] = (),
    who: str = "learn_recipe",
) -> Recipe:
    """Learn the rules from the training rows.

    Args:
        table: The columns to learn from, as `read_table` gives them.
        target: The target column.
        target_name: Its name.
        task: "classification", "regression", or "auto" (see `infer_task`).
        categorical: Columns of numbers that are names of categories (codes, postal codes).
        who: Start of the messages.

    Raises:
        ColumnError: ``categorical`` names a column that is not there.
        DataError: No usable column is left, or the target does not fit the task.
    """
    categorical = set(categorical)
    if unknown := sorted(categorical - set(table.column_names)):
        raise ColumnError(
            f"{who}: there is no column {unknown[0]!r} to take as categories; expected one of the table's."
            f"{_validate.nearest(unknown[0], table.column_names)}"
        )
    task = infer_task(target) if task == "auto" else task
    columns, left_out = [], {}
    for name in table.column_names:
        found = _learn_column(table.column(name), name, name in categorical, who)
        if isinstance(found, str):
            left_out[name] = found
        else:
            columns.append(found)
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DataError(f"{who}: no column can be learned from ({reasons}).")
    recipe = Recipe(columns=tuple(columns), left_out=left_out, target=target_name, task=task)
    if task == "classification":
        return recipe
    numbers = recipe.targets(target, who=who)
    _validate.finite(who, numbers, name=f"the target {target_name!r}")
    deviation = float(numbers.std()) or 1.0
    return Recipe(
        columns=recipe.columns, left_out=left_out, target=target_name, task=task,
        target_mean=float(numbers.mean()), target_deviation=deviation,
    )  # fmt: skip


def infer_task(target: pa.ChunkedArray) -> str:
    """Text, true/false, and integers with at most 20 values are classes; anything else is a number to predict."""
    if kind_of(target) in ("text", "boolean"):
        return "classification"
    if pa.types.is_integer(target.type) and len(target.unique()) <= _CLASSES_OF_INTEGERS:
        return "classification"
    return "regression"


def labels(column: pa.ChunkedArray) -> np.ndarray:
    """Class labels (N,): text, integers or booleans; whole numbers in float64 become integers."""
    values = np.asarray(column.to_pylist())
    if values.dtype.kind == "f" and (values == np.round(values)).all():
        return values.astype(np.int64)
    return values


def _learn_column(column: pa.ChunkedArray, name: str, categorical: bool, who: str) -> Column | str:
    kind = kind_of(column)
    if kind == "nothing":
        return "no value at all"
    missing = bool(column.null_count)
    if kind == "text" or categorical:
        return _learn_categories(column, name, missing)
    values = _NUMBERS[kind](column, name, who)
    present = values[~np.isnan(values)]
    if np.isinf(present).any():
        row = int(np.argmax(np.isinf(values)))
        raise DataError(f"{who}: column {name!r} holds infinity at row {row}; expected finite numbers.")
    if present.min() == present.max() and not missing:
        return "one value only"
    if kind == "boolean":
        return Column(name=name, kind=kind, fill=0.5, missing=missing)
    fill = float(np.median(present))
    filled = np.where(np.isnan(values), fill, values)
    return Column(
        name=name,
        kind=kind,
        fill=fill,
        mean=float(filled.mean()),
        deviation=float(filled.std()) or 1.0,
        missing=missing,
    )


def _learn_categories(column: pa.ChunkedArray, name: str, missing: bool) -> Column | str:
    words = as_words(column, ())
    counts = Counter(word for word in words if word is not None)
    if len(counts) == 1 and not missing:
        return "one value only"
    if len(counts) > max(MOST_CATEGORIES, 0.5 * len(words)) or (len(counts) == len(words) > 2):
        return f"{len(counts)} different texts in {len(words)} rows"
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return Column(name=name, kind="category", missing=missing, categories=tuple(ordered[:MOST_CATEGORIES]))
