"""``predict``, ``evaluate`` and ``inspect``: a model file at work on new data."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import rosenblatt
from rosenblatt import _validate
from rosenblatt.cli import inputs
from rosenblatt.cli.signatures import plain_value
from rosenblatt.cli.systems import face_of
from rosenblatt.cli.train import check_output, say, score, show
from rosenblatt.data.tables import is_table_path
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.files import describe
from rosenblatt.report.canvas import write_figure


def read_inputs(
    estimator: Any, data: str, *, names: list[str] | None, skip_bad: bool, target: bool | None
) -> tuple[np.ndarray, Any, list[str] | None]:
    """Inputs, answers (None where not asked for; ``target=None`` asks if they are there) and, of pictures, their paths."""
    path, said = Path(data), []
    recipe = getattr(estimator, "preprocessing_", None)
    if inputs.is_name(data):
        (X, y), paths = inputs.apply_named(recipe, data, said=said), None
    elif hasattr(estimator, "picture_shape_"):
        X, y, paths = _pictures(estimator, path, skip_bad, target, said)
    elif recipe is not None:
        (X, y), paths = inputs.apply_table(recipe, path, names=names, said=said, target=target), None
    else:
        raise DataError(
            f"{data}: this model was trained on a matrix, without rules for tables; expected one that "
            "`rosenblatt train` wrote. Load it in Python with rosenblatt.load()."
        )
    for line in said:
        say(line)
    return X, y, paths


def _pictures(estimator: Any, path: Path, skip_bad: bool, target: bool, said: list[str]) -> Any:
    from rosenblatt.data import layouts
    from rosenblatt.data.folders import read_pictures

    if is_table_path(path):
        raise DataError(f"{path} is a table; this model takes pictures. Pass a folder of pictures.")
    height, width, channels = estimator.picture_shape_
    if target and (path.suffix == ".tar" or layouts.is_shards(path) or layouts.is_imagenet(path)):
        return _stored(estimator, path, skip_bad)
    found = read_pictures(path, size=(height, width), channels=channels, skip_bad=skip_bad)
    y = _labels(path, found.paths) if target else None
    said += [f"skipped {name}: {reason}" for name, reason in found.skipped]
    return found.pictures, y, [str(name) for name in found.paths]


def _stored(estimator: Any, path: Path, skip_bad: bool) -> Any:
    """Labelled pictures of shards, or of ImageNet's validation part, on disk."""
    from rosenblatt.data import layouts
    from rosenblatt.data.sources import open_pictures

    height, width, channels = estimator.picture_shape_
    source = open_pictures(path, size=(height, width), channels=channels, skip_bad=skip_bad)
    if layouts.is_imagenet(path) and layouts.has_validation(path):
        held = layouts.imagenet(path, "val", str(path))
        names = [str(name) for name in held.names]
        source = replace(source, items=held.items, names=names, labels=np.asarray(held.labels))
    return source, source.labels, list(source.names)


def _labels(folder: Path, paths: list[Path]) -> np.ndarray:
    """Names of the sub-folders; one class alone can be scored too."""
    if loose := [path for path in paths if len(path.parts) < 2]:
        raise DataError(f"{folder}: {loose[0]} lies in no sub-folder; expected one sub-folder a class.")
    return np.array([path.parts[0] for path in paths])


def predict(
    model: Path,
    data: str,
    *,
    out: Path | None,
    proba: bool,
    horizon: int | None = None,
    names: list[str] | None,
    skip_bad: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Print or write one prediction a row."""
    estimator = rosenblatt.load(model)
    own = face_of(estimator)
    if own is not None:
        columns = _verb(own, estimator, "predict")(estimator, data, horizon)
        _write(columns, out=out, force=force, as_json=as_json)
        return
    if horizon is not None:
        raise ParameterError(f"--horizon: {type(estimator).__name__} forecasts nothing. Leave the option out.")
    if proba and not hasattr(estimator, "predict_proba"):
        raise ParameterError(f"--proba: {type(estimator).__name__} gives no probabilities. Leave the option out.")
    X, _, paths = read_inputs(estimator, data, names=names, skip_bad=skip_bad, target=False)
    columns: dict[str, list[Any]] = {} if paths is None else {"path": paths}
    columns["prediction"] = _predicted(estimator, X).tolist()
    if proba:
        shares = estimator.predict_proba(X)
        columns |= {f"p({label})": shares[:, i].tolist() for i, label in enumerate(estimator.classes_)}
    _write(columns, out=out, force=force, as_json=as_json)


def _write(columns: dict[str, list[Any]], *, out: Path | None, force: bool, as_json: bool) -> None:
    rows = list(zip(*columns.values(), strict=True))
    if out is None:
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        show(records, as_json=as_json, lines=[_csv([list(columns), *rows]).rstrip("\r\n")])
        return
    _validate.write_whole(out, _csv([list(columns), *rows]).encode(), overwrite=force)
    show({"out": str(out), "rows": len(rows)}, as_json=as_json, lines=[f"{out}: {len(rows)} predictions"])


def _verb(own: ModuleType | None, estimator: Any, name: str) -> Callable[..., Any]:
    """A function of a system's face.

    Raises:
        ParameterError: The command means nothing for this system.
    """
    found = getattr(own, name, None)
    if found is None:
        # a system without a face of its own reads tables or pictures, and has these two
        known = [v for v in ("predict", "evaluate", "sample") if hasattr(own, v)] if own else ["predict", "evaluate"]
        kind, said = type(estimator).__name__, " or ".join([*known, "inspect"])
        raise ParameterError(f"{name}: means nothing for a {kind}; expected {said}. Use such a command.")
    return found


def _predicted(estimator: Any, X: np.ndarray) -> np.ndarray:
    recipe = getattr(estimator, "preprocessing_", None)
    predicted = estimator.predict(X)
    return predicted if recipe is None else recipe.restore(predicted)


def _csv(rows: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def evaluate(model: Path, data: str, *, names: list[str] | None, skip_bad: bool, as_json: bool) -> None:
    """Print the score on data with known answers."""
    estimator = rosenblatt.load(model)
    own = face_of(estimator)
    if own is not None:
        result = _verb(own, estimator, "evaluate")(estimator, data)
    else:
        X, y, _ = read_inputs(estimator, data, names=names, skip_bad=skip_bad, target=True)
        result = score(estimator, X, y)
    said = ", ".join(f"{name} {value:.4f}" for name, value in result.items() if isinstance(value, float))
    rows = f" on {result['n']} rows" if "n" in result else ""
    show({"model": str(model), **result}, as_json=as_json, lines=[said + rows])


def sample(
    model: Path, given: dict[str, Any], own_options: list[str], *, out: Path | None, force: bool, as_json: bool
) -> None:
    """Draw from a model; what an option means, and how a sample is written, its face knows (``SAMPLE_OPTIONS``)."""
    estimator = rosenblatt.load(model)
    own = face_of(estimator)
    draw = _verb(own, estimator, "sample")
    chosen = {name: value for name, value in given.items() if value is not None}
    for pair in own_options:
        name, sign, value = pair.partition("=")
        if not sign:
            raise ParameterError(f"--option {pair!r}; expected NAME=VALUE, such as {own.SAMPLE_OPTIONS[-1]}=1.")
        chosen[name] = plain_value(value)
    for name in chosen:
        if name not in own.SAMPLE_OPTIONS:
            raise ParameterError(
                f"--{name.replace('_', '-')}: means nothing for a {type(estimator).__name__}; expected some of "
                f"{', '.join(own.SAMPLE_OPTIONS)}.{_validate.nearest(name, own.SAMPLE_OPTIONS)} Leave it out."
            )
    draw(estimator, chosen, out=out, force=force, as_json=as_json)


def inspect(
    model: Path,
    data: str | None,
    *,
    out: Path | None,
    names: list[str] | None,
    skip_bad: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Print what a model file holds; write pictures of the network into a folder."""
    estimator, described = rosenblatt.load(model), describe(model)
    drawn = _draw(estimator, data, out, names=names, skip_bad=skip_bad, force=force) if out is not None else []
    recipe = getattr(estimator, "preprocessing_", None)
    result = {
        "model": str(model),
        "estimator": described["estimator"],
        "parameters": {key: _short(value) for key, value in estimator.get_params(deep=False).items()},
        "versions": described["versions"],
        "preprocessing": None if recipe is None else recipe.to_json(),
        "history": getattr(estimator, "history_", []),
        "pictures": [str(path) for path in drawn],
    }
    show(result, as_json=as_json, lines=_lines(estimator, result, recipe))


def _lines(estimator: Any, result: dict[str, Any], recipe: Any) -> list[str]:
    lines = [repr(estimator), "", str(estimator.summary()), ""]
    if recipe is not None:
        lines += [f"predicts {recipe.target} ({recipe.task}) from"]
        lines += [f"  {column.name}: {column.kind}" for column in recipe.columns]
        lines += [f"  {name}: left out, {reason}" for name, reason in recipe.left_out.items()] + [""]
    if result["history"]:
        last = result["history"][-1]
        said = ", ".join(f"{key} {value:.4g}" for key, value in last.items() if isinstance(value, (int, float)))
        lines.append(f"trained: {said}")
    lines.append("written by " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    return lines + [f"drew {path}" for path in result["pictures"]]


def _short(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _has_labels(data: str) -> bool:
    """Whether the pictures lie in sub-folders, whose names are their classes."""
    return Path(data).is_dir() and any(entry.is_dir() for entry in Path(data).iterdir())


def _draw(
    estimator: Any, data: str | None, out: Path, *, names: list[str] | None, skip_bad: bool, force: bool
) -> list[Path]:
    X, y, own = None, None, face_of(estimator)
    if data is not None and own is not None:
        if not hasattr(own, "inputs"):
            raise ParameterError(
                f"inspect: a {type(estimator).__name__} draws what it holds; expected no DATA. Leave it out."
            )
        X, y = own.inputs(estimator, data)
    elif data is not None:
        labelled = _has_labels(data) if hasattr(estimator, "picture_shape_") else None
        X, y, _ = read_inputs(estimator, data, names=names, skip_bad=skip_bad, target=labelled)
    figures = estimator.inspect(X, y) if hasattr(estimator, "module_") else estimator.inspect(X)
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.png" for name in figures]
    for path in paths:
        check_output(path, force=force)
    for path, figure in zip(paths, figures.values(), strict=True):
        write_figure(figure, path, dpi=120, overwrite=force)
    return paths
