"""``train gan``, and samples, scores and inspection of its model files."""

from __future__ import annotations

import csv
import io
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt.cli.inputs import is_name
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.data.columns import as_numbers, kind_of
from rosenblatt.data.fetch import fetch
from rosenblatt.data.folders import read_folder, read_pictures
from rosenblatt.data.photo import encode_photo
from rosenblatt.data.recipe import labels as read_labels
from rosenblatt.data.tables import is_table_path, read_table, take_column
from rosenblatt.errors import ColumnError, DataError, ParameterError
from rosenblatt.estimators.gan import GAN
from rosenblatt.report.samples import animation, sheet

SAMPLE_OPTIONS = ("count", "label", "random_state", "truncation", "interpolate", "columns")


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train on a folder, a table or a data set by name, write the model file, say what was reached."""
    check_output(given["out"], force=given["force"])
    model = GAN(**{p.name: parse_value(p, given[p.name]) for p in parameters}, plan=parse_plan(given["plan"] or []))
    X, y, names = _read(given)
    started = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - started
    if names is not None:
        model.column_names_ = names
    model.save(given["out"], overwrite=given["force"])
    best = model.history_[model.best_epoch_ - 1]["validation_score"]
    result = {
        "model": str(given["out"]), "estimator": "GAN", "samples": len(X), "seconds": round(seconds, 3),
        "best_epoch": model.best_epoch_, "frechet_distance": -best, "judged_by": model.judged_by_,
        "diagnosis": model.diagnose(),
    }  # fmt: skip
    line = (
        f"{given['out']}: GAN trained on {len(X)} samples in {seconds:.1f} s; epoch {model.best_epoch_} is kept, Frechet "
        f"distance {-best:.4g} to training data by {model.judged_by_}"
    )
    show(result, as_json=given["as_json"], lines=[line])


def _read(given: dict[str, Any]) -> tuple[Any, Any, list[str] | None]:
    """Samples, labels where they are asked for, and the columns' names of a table."""
    data, who = given["data"], f"train gan {given['data']}"
    if is_name(data):
        found = fetch(data)
        if not isinstance(found.X, np.ndarray):
            raise DataError(f"{data} holds text or gaps; expected pictures or numbers.")
        names = None if found.X.ndim > 2 else list(found.feature_names or ())
        return found.X, found.y if given["labels"] else None, names
    path = Path(data)
    if is_table_path(path):
        table, y = read_table(path, who=who), None
        if given["target"] is not None:
            table, column = take_column(table, given["target"], who=who)
            y = read_labels(column)
        return _numbers(table, who), y, list(table.column_names)
    if given["target"] is not None:
        raise ParameterError("--target: a folder has no columns. Use --labels for its sub-folders.")
    options = {"size": given["size"], "skip_bad": given["skip_bad"], "who": who}
    read = read_folder(path, **options) if given["labels"] else read_pictures(path, **options)
    for name, reason in read.skipped:
        say(f"skipped {name}: {reason}")
    return read.pictures, read.labels if given["labels"] else None, None


def _numbers(table: Any, who: str) -> np.ndarray:
    for name in table.column_names:
        if kind_of(table[name]) not in ("number", "boolean"):
            raise ColumnError(f"{who}: column {name!r} holds {kind_of(table[name])}; expected numbers. Leave it out.")
    return np.stack([as_numbers(table[name], name, who) for name in table.column_names], 1)


def inputs(model: GAN, data: str) -> tuple[Any, None]:
    """Data like that of training, for ``inspect`` and ``evaluate``."""
    if is_name(data):
        found = fetch(data)
        return (found.X if found.X_test is None else found.X_test), None
    if is_table_path(Path(data)):
        table, wanted = read_table(Path(data), who=data), getattr(model, "column_names_", None)
        for name in wanted or []:
            if name not in table.column_names:
                raise ColumnError(f"{data}: there is no column {name!r}; expected those of training.")
        return _numbers(table if wanted is None else table.select(wanted), data), None
    if len(model.sample_shape_) == 1:
        raise DataError(f"{data} is a folder; this model draws rows. Pass a table.")
    height, width, channels = model.sample_shape_
    return read_pictures(Path(data), size=(height, width), channels=channels, who=data).pictures, None


def evaluate(model: GAN, data: str) -> dict[str, Any]:
    """Distances of samples to data that the model should not have seen."""
    found = model.judge(inputs(model, data)[0], split=data)
    say(str(found))
    return found.row()


def sample(model: GAN, chosen: dict[str, Any], *, out: Path | None, force: bool, as_json: bool) -> None:
    """Write a sheet of samples, an animation from one sample to the next (.gif), or rows (.csv)."""
    options = {"random_state": chosen.get("random_state"), "truncation": float(chosen.get("truncation", 1.0))}
    label = chosen.get("label")
    if label is not None and hasattr(model, "classes_"):
        label = {str(known): known for known in model.classes_.tolist()}.get(label, label)
    count = chosen.get("count", 64)
    if len(model.sample_shape_) == 1:
        drawn = model.sample(count, label, **options)
        names = getattr(model, "column_names_", None) or [f"x{i}" for i in range(drawn.shape[1])]
        _write(_csv(names, drawn).encode(), out, drawn.shape, force=force, as_json=as_json)
        return
    if out is None:
        raise ParameterError("sample: pictures need a file; expected --out with .png, .jpg or .gif.")
    steps = chosen.get("interpolate")
    if out.suffix.lower() == ".gif":
        corners = model.draw_codes(max(2, chosen.get("count", 4)), options["random_state"])
        paths = [model.interpolate(a, b, steps or 16, label) for a, b in itertools.pairwise(corners)]
        drawn = np.concatenate(paths)
        _write(animation(drawn), out, drawn.shape, force=force, as_json=as_json)
        return
    if steps is not None:
        raise ParameterError(f"--option interpolate={steps}: {out} is no animation; expected --out with .gif.")
    drawn = model.sample(count, label, **options)
    pixels = sheet(drawn, columns=chosen.get("columns"))
    _write(encode_photo(pixels, out), out, drawn.shape, force=force, as_json=as_json)


def _write(data: bytes, out: Path | None, shape: tuple[int, ...], *, force: bool, as_json: bool) -> None:
    if out is None:
        show({"csv": data.decode()}, as_json=as_json, lines=[data.decode().rstrip("\n")])
        return
    _validate.write_whole(out, data, overwrite=force)
    show({"out": str(out), "samples": shape[0]}, as_json=as_json, lines=[f"{out}: {shape[0]} samples"])


def _csv(names: list[str], rows: np.ndarray) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *rows.tolist()])
    return text.getvalue()
