"""What the commands read: tables, folders of pictures, data sets by name; and how rows are held out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from rosenblatt.data.columns import as_numbers
from rosenblatt.data.fetch import DataSet, fetch
from rosenblatt.data.recipe import Recipe, infer_task, labels, learn_recipe
from rosenblatt.data.tables import is_table_path, read_table, take_column
from rosenblatt.errors import DataError, ParameterError


@dataclass(frozen=True)
class Prepared:
    """Data of a training run.

    Args:
        X, y: Training inputs and targets (a regression's are standardised).
        held_X, held_y: Held out, never trained on; None where nothing is. ``held_y`` is in the units of the data.
        recipe: Rules of a table; None for pictures.
        said: What the user should know, a line each.
    """

    X: Any
    y: np.ndarray
    held_X: Any = None
    held_y: np.ndarray | None = None
    recipe: Recipe | None = None
    said: list[str] = field(default_factory=list)


def hold_out(y: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and to hold out, stratified where y has classes with enough samples.

    Raises:
        ParameterError: The share is not in [0, 1).
        DataError: Too few rows to hold any out.
    """
    if not 0 <= share < 1:
        raise ParameterError(f"--holdout {share}; expected a share >= 0 and < 1.")
    rows = np.arange(len(y))
    if share == 0:
        return rows, rows[:0]
    count = max(1, round(share * len(y)))
    if len(y) - count < 2:
        raise DataError(f"{len(y)} rows are too few to hold {share:g} of them out. Use --holdout 0.")
    classes, codes = np.unique(y, return_inverse=True)
    stratify = codes if y.dtype.kind != "f" and _can_stratify(codes, len(classes), count) else None
    train, held = train_test_split(rows, test_size=count, random_state=seed, stratify=stratify)
    return np.sort(train), np.sort(held)


def _can_stratify(codes: np.ndarray, classes: int, held: int) -> bool:
    return bool(np.bincount(codes).min() >= 2) and held >= classes and len(codes) - held >= classes


def prepare_table(
    path: Path,
    *,
    target: str | None,
    task: str,
    names: list[str] | None,
    categorical: list[str],
    holdout: float,
    test: Path | None,
    seed: int,
) -> Prepared:
    """Read a table, hold rows out, learn the recipe from the rest.

    Raises:
        ParameterError, DataError, ColumnError: See the readers.
    """
    if target is None:
        raise ParameterError("--target is missing; expected the name of the column to predict.")
    who = f"train {path}"
    table, column = take_column(read_table(path, names=names, who=who), target, who=who)
    held = None if test is None else take_column(read_table(test, names=names, who=str(test)), target, who=str(test))
    return _prepare(table, column, target, task, categorical, holdout, held, seed, who)


def _prepare(
    table: pa.Table,
    column: pa.ChunkedArray,
    target: str,
    task: str,
    categorical: list[str],
    holdout: float,
    test: tuple[pa.Table, pa.ChunkedArray] | None,
    seed: int,
    who: str,
) -> Prepared:
    """The rules are learned from the training rows alone."""
    task = infer_task(column) if task == "auto" else task
    y = labels(column) if task == "classification" else as_numbers(column, target, who)
    train, held = hold_out(y, 0.0 if test else holdout, seed)
    rows, answers = table.take(train), column.take(train)
    recipe = learn_recipe(rows, answers, target_name=target, task=task, categorical=categorical, who=who)
    said = [f"left out column {name!r}: {reason}" for name, reason in recipe.left_out.items()]
    X = recipe.transform(rows, who=who)
    if test is not None:
        held_X, held_y = _transform(recipe, test[0], said, "test rows"), recipe.targets(test[1], who=who)
    else:
        held_X, held_y = _transform(recipe, table.take(held), said) if len(held) else None, y[held]
    return Prepared(X, recipe.standardise(y[train]), held_X, held_y, recipe=recipe, said=said)


def apply_table(
    recipe: Recipe, path: Path, *, names: list[str] | None = None, said: list[str], target: bool | None = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """The matrix and, where asked, the targets of another table, by the rules of the training data; None: if it has them.

    Raises:
        ColumnError: A column of the training data, or the target, is missing.
    """
    table, y = read_table(path, names=names, who=str(path)), None
    if target or (target is None and recipe.target in table.column_names):
        table, column = take_column(table, recipe.target, who=str(path))
        y = recipe.targets(column, who=str(path))
    return _transform(recipe, table, said, str(path)), y


def _transform(recipe: Recipe, table: Any, said: list[str], who: str = "held-out rows") -> np.ndarray:
    X, unseen = recipe.transform_and_count(table, who=who)
    said += [f"{who}: {count} values of column {name!r} are unseen categories" for name, count in unseen.items()]
    return X


def prepare_pictures(
    path: Path, *, size: int | None, skip_bad: bool, holdout: float, seed: int, target: str | None = None
) -> Prepared:
    """Find labelled pictures and hold some out; those of ImageNet's own validation folder, where it has one.

    What does not fit into memory stays on disk and is streamed.

    Raises:
        DataError, ColumnError, PictureError, LabelError: See `rosenblatt.data.sources.open_pictures`.
    """
    from rosenblatt.data import layouts
    from rosenblatt.data.sources import open_pictures

    who = f"train {path}"
    own = layouts.is_imagenet(path)
    source = open_pictures(path, target=target, size=size, channels=3 if own else None, skip_bad=skip_bad, who=who)
    said = [f"skipped {name}: {reason}" for name, reason in source.skipped]
    if own and layouts.has_validation(path):
        held = layouts.imagenet(path, "val", who)
        names, labels = [str(name) for name in held.names], np.asarray(held.labels)
        answered = replace(source, items=held.items, names=names, labels=labels)
        return Prepared(source, source.labels, answered, labels, said=said)
    if not source.fits():
        said.append(f"{len(source)} pictures are streamed: {source.nbytes / 2**30:.1f} GiB would not fit into memory")
        return _split(source, source.labels, *hold_out(source.labels, holdout, seed), said)
    pictures, rows = source.load()
    said = [f"skipped {name}: {reason}" for name, reason in source.skipped]
    return _split(pictures, source.labels[rows], *hold_out(source.labels[rows], holdout, seed), said)


def _split(X: Any, y: np.ndarray, train: np.ndarray, held: np.ndarray, said: list[str]) -> Prepared:
    if not len(held):
        return Prepared(X, y, said=said)
    if isinstance(X, np.ndarray):
        return Prepared(X[train], y[train], X[held], y[held], said=said)
    return Prepared(X.take(train), y[train], X.take(held), y[held], said=said)


def prepare_named(name: str, *, pictures: bool, holdout: float, seed: int) -> Prepared:
    """A data set by name; its own test part is what is held out, where it has one.

    Raises:
        ParameterError: Unknown name.
        DataError: Pictures where a table is wanted, or the reverse.
        FetchError: It is not here and cannot be fetched.
    """
    data = fetch(name)
    if pictures != _holds_pictures(data):
        got, fit = ("pictures", "cnn") if not pictures else ("a table", "mlp or perceptron")
        raise DataError(f"{name} holds {got}. Use `rosenblatt train {fit} {name}`.")
    if pictures and data.X_test is not None:
        return Prepared(data.X, data.y, data.X_test, data.y_test)
    if pictures:
        return _split(data.X, data.y, *hold_out(data.y, holdout, seed), [])
    table, column = _as_table(data, data.X), pa.chunked_array([pa.array(data.y)])
    task = "regression" if data.target_names is None else "classification"
    test = None if data.X_test is None else (_as_table(data, data.X_test), pa.chunked_array([pa.array(data.y_test)]))
    return _prepare(table, column, f"{name}.target", task, [], holdout, test, seed, f"train {name}")


def apply_named(recipe: Recipe | None, name: str, *, said: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and answers of the test part of a data set where it has one, else of all of it.

    Raises:
        DataError: Pictures for a model of tables, or the reverse.
    """
    data = fetch(name)
    X, y = (data.X, data.y) if data.X_test is None else (data.X_test, data.y_test)
    if (recipe is None) != _holds_pictures(data):
        got, wanted = ("a table", "pictures") if recipe is None else ("pictures", "a table")
        raise DataError(f"{name} holds {got}; this model takes {wanted}.")
    return (X, y) if recipe is None else (_transform(recipe, _as_table(data, X), said, name), y)


def _holds_pictures(data: DataSet) -> bool:
    return isinstance(data.X, np.ndarray) and data.X.ndim > 2


def _as_table(data: DataSet, X: Any) -> pa.Table:
    if isinstance(X, np.ndarray):
        X = pa.table({name: X[:, i] for i, name in enumerate(data.feature_names)})
    return read_table(X, who=data.name)


def is_name(data: str) -> bool:
    """Whether DATA means a data set of the catalogue: no such path exists, and it does not look like a path."""
    return not Path(data).exists() and not is_table_path(Path(data)) and "/" not in data and "\\" not in data
