"""``train autoencoder`` and ``train vae``, and what their model files answer: codes, errors or nats, samples.

Data is a data set by name, a table of numbers, or a folder of pictures. Its labels (those of the data set, a column, the
names of the sub-folders) serve a conditional model and the colours of ``inspect``.
"""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

import rosenblatt
from rosenblatt import _validate
from rosenblatt.cli.inputs import hold_out, is_name
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.systems import SYSTEMS
from rosenblatt.cli.train import check_output, say, show, words
from rosenblatt.data.columns import as_numbers, kind_of
from rosenblatt.data.fetch import fetch
from rosenblatt.data.folders import read_pictures
from rosenblatt.data.photo import encode_photo
from rosenblatt.data.tables import is_table_path, read_table, take_column
from rosenblatt.errors import ColumnError, DataError, ParameterError

SAMPLE_OPTIONS = ("count", "label", "random_state", "noisy")


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train an autoencoder, look at held-out samples, write the model file."""
    check_output(given["out"], force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    if isinstance(chosen.get("hidden_layer_sizes"), str):  # the default is None, so the text was left as it is
        chosen["hidden_layer_sizes"] = _widths(chosen["hidden_layer_sizes"])
    model = getattr(rosenblatt, SYSTEMS[system].kind)(**chosen, plan=parse_plan(given["plan"] or []))
    X, y, columns = _read(
        given["data"], target=given["target"], columns=words(given["columns"]), size=given["size"],
        skip_bad=given["skip_bad"],
    )  # fmt: skip
    rows, held = hold_out(np.zeros(len(X)), given["holdout"], model.random_state or 0)
    started = time.perf_counter()
    model.fit(X[rows], None if y is None else y[rows])
    seconds = time.perf_counter() - started
    if columns is not None:
        model.columns_, model.target_ = columns, given["target"]
    model.save(given["out"], overwrite=given["force"])
    scores = _scores(model, X[held], None if y is None else y[held]) if len(held) else {}
    result = {
        "model": str(given["out"]), "estimator": type(model).__name__, "rows": len(rows), "seconds": round(seconds, 3),
        "held_out": scores, "pca_error": model.pca_error_,
    }  # fmt: skip
    said = ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if name != "n")
    lines = [
        f"{given['out']}: trained on {len(rows)} samples in {seconds:.1f} s" + (f"; held out: {said}" if said else "")
    ]
    show(result, as_json=given["as_json"], lines=[*model.summary().notes, *lines])


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ParameterError(
            f"--hidden-layer-sizes {text!r}; expected integers with commas, such as 256,64."
        ) from error


def _read(
    data: str, *, target: str | None = None, columns: list[str] | None = None, size: Any = None,
    channels: int | None = None, skip_bad: bool = False, test: bool = False,
) -> tuple[np.ndarray, np.ndarray | None, list[str] | None]:  # fmt: skip
    """Samples, labels or None, and of a table the names of the columns."""
    if is_name(data):
        found = fetch(data)
        X, y = (found.X_test, found.y_test) if test and found.X_test is not None else (found.X, found.y)
        if not isinstance(X, np.ndarray):
            raise DataError(f"{data} holds text or misses values; expected numbers. Train on a table of numbers.")
        return X, np.asarray(y), None
    if is_table_path(Path(data)):
        return _table(data, target, columns)
    found = read_pictures(data, size=size, channels=channels, skip_bad=skip_bad, who=str(data))
    for name, reason in found.skipped:
        say(f"skipped {name}: {reason}")
    nested = all(len(path.parts) > 1 for path in found.paths)
    return found.pictures, np.array([path.parts[0] for path in found.paths]) if nested else None, None


def _table(data: str, target: str | None, columns: list[str] | None) -> Any:
    table, y = read_table(data, who=data), None
    if target is not None and (columns is None or target in table.column_names):
        table, y = take_column(table, target, who=data)
    if columns is None:
        columns = [name for name in table.column_names if kind_of(table[name]) == "number"]
        for name in table.column_names:
            if name not in columns:
                say(f"{name}: left out, it holds no numbers")
    if not columns:
        raise DataError(f"{data}: no column holds numbers; expected one or more.")
    if missing := [name for name in columns if name not in table.column_names]:
        raise ColumnError(
            f"{data}: there is no column {missing[0]!r}; expected {', '.join(columns[:20])}."
            f"{_validate.nearest(missing[0], table.column_names)}"
        )
    X = np.column_stack([as_numbers(table[name], name, data) for name in columns])
    return X, None if y is None else np.array(y.to_pylist()), columns


def _like(model: Any, data: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Data in the form that a trained model takes."""
    height, width, channels = getattr(model, "picture_shape_", (None, None, None))
    size = None if height is None else (height, width)
    X, y, _ = _read(
        data, columns=getattr(model, "columns_", None), size=size, channels=channels, test=True,
        target=getattr(model, "target_", None),
    )  # fmt: skip
    return X, y


def _label(model: Any, y: np.ndarray | None) -> dict[str, Any]:
    return {"y": y} if getattr(model, "conditional", False) else {}


def _scores(model: Any, X: np.ndarray, y: np.ndarray | None) -> dict[str, float]:
    if hasattr(model, "likelihood_"):
        nats = float(model.score_samples(X, **_label(model, y)).mean())
        return {"nats": nats, "bits_per_dim": -nats / model.n_features_in_ / math.log(2), "n": len(X)}
    return {"squared_error": -float(model.score_samples(X).mean()), "explained": model.score(X), "n": len(X)}


def predict(model: Any, data: str, horizon: int | None) -> dict[str, list[Any]]:
    """The code of each sample, and its score: minus the squared error, or nats."""
    if horizon is not None:
        raise ParameterError(f"--horizon: {type(model).__name__} forecasts nothing. Leave the option out.")
    X, y = _like(model, data)
    codes = model.transform(X, **_label(model, y))
    columns = {f"code{i}": codes[:, i].tolist() for i in range(codes.shape[1])}
    return columns | {"score": model.score_samples(X, **_label(model, y)).tolist()}


def evaluate(model: Any, data: str) -> dict[str, float]:
    """Squared error and share of explained variance, or nats and bits per feature; of a data set its test part."""
    X, y = _like(model, data)
    return {name: value for name, value in _scores(model, X, y).items() if name != "n"}


def inputs(model: Any, data: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples and labels to draw."""
    return _like(model, data)


def sample(model: Any, chosen: dict[str, Any], *, out: Path | None, force: bool, as_json: bool) -> None:
    """Draw from a variational autoencoder: pictures side by side in a picture file, or all numbers (.npy), or a CSV."""
    if not hasattr(model, "likelihood_"):
        raise ParameterError("sample: an Autoencoder has no distribution of codes; expected a VariationalAutoencoder.")
    y = chosen.pop("label", None)
    if y is not None and model.conditional and model.classes_.dtype.kind in "iuf":
        y = float(y)
    made = model.sample(chosen.pop("count", 16), y, **chosen)
    if out is None:
        rows = made.reshape(len(made), -1).tolist()
        show({"samples": made.tolist()}, as_json=as_json, lines=[_csv(rows).rstrip("\n")])
        return
    _validate.write_whole(out, _encoded(model, made, out), overwrite=force)
    show({"out": str(out), "samples": len(made)}, as_json=as_json, lines=[f"{out}: {len(made)} samples"])


def _encoded(model: Any, made: np.ndarray, out: Path) -> bytes:
    if out.suffix.lower() == ".csv":
        return _csv(made.reshape(len(made), -1).tolist()).encode()
    if out.suffix.lower() == ".npy":
        stream = io.BytesIO()
        np.save(stream, made, allow_pickle=False)
        return stream.getvalue()
    if not hasattr(model, "picture_shape_"):
        raise ParameterError(f"{out}: this model makes rows of a table; expected a .csv or .npy file.")
    return encode_photo(_contact(made.reshape(len(made), *model.picture_shape_), model.integer_input_), out)


def _contact(made: np.ndarray, integer: bool) -> np.ndarray:
    """All pictures side by side in one of uint8."""
    top = 255.0 if integer and made.max() > 1 else max(1.0, float(made.max()))
    pictures = np.clip(made / top * 255, 0, 255).round().astype(np.uint8)
    count, height, width, channels = pictures.shape
    columns = math.ceil(math.sqrt(count))
    lines = -(-count // columns)
    whole = np.zeros((lines * columns, height, width, channels), np.uint8)
    whole[:count] = pictures
    whole = whole.reshape(lines, columns, height, width, channels).swapaxes(1, 2)
    whole = whole.reshape(lines * height, columns * width, channels)
    return whole[..., 0] if channels == 1 else whole


def _csv(rows: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
