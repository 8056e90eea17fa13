"""``demo`` and ``history``: the ladder of eras on a user's data or on digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.cli import inputs
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.data.fetch import fetch
from rosenblatt.data.tables import is_table_path
from rosenblatt.eras import History
from rosenblatt.eras import history as climb
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.report import demo_report
from rosenblatt.report.arts import make_arts
from rosenblatt.report.canvas import write_figure

DEMO_SAMPLES = 4000
"""Training samples of a demo at most: the ladder on all of MNIST takes minutes, and the demo promises one."""


def demo(out: Path, data: str, *, seeds: int, force: bool, as_json: bool) -> None:
    """Run the ladder on digits, paint, compose, and write the report."""
    check_output(out, force=force)
    name = _demo_name() if data == "auto" else data
    X, y, X_test, y_test = _named(name)
    if len(y) > DEMO_SAMPLES:
        rows = np.random.default_rng(0).permutation(len(y))[:DEMO_SAMPLES]
        X, y = X[rows], y[rows]
        say(f"{name}: {DEMO_SAMPLES} of the training samples; `rosenblatt history {name}` takes all.")
    say(f"Training five systems of six decades on {name}, each {seeds} times ...")
    found = climb(X, y, X_test=X_test, y_test=y_test, seeds=seeds, verbose=2)
    say("Painting a photograph in the style of another, and learning to write in four voices ...")
    arts = make_arts()
    report = demo_report(found, out, more=arts.sections(), overwrite=force)
    result = {**found.to_dict(), "arts": arts.to_dict(), "data": name, "report": str(report)}
    show(result, as_json=as_json, lines=[found.table(), "", *arts.lines(), f"\n{report}"])


def _demo_name() -> str:
    """MNIST where the user's folder of data sets has it; else the digits that come with scikit-learn."""
    root = os.environ.get("ROSENBLATT_DATA")
    return "mnist" if root and (Path(root) / "mnist").is_dir() else "digits"


def _named(name: str) -> tuple[Any, Any, Any, Any]:
    data = fetch(name)
    if data.target_names is None:
        raise DataError(f"{name} is a regression; expected classes. Name a data set with classes, such as digits.")
    if not isinstance(data.X, np.ndarray):  # text or gaps
        prepared = inputs.prepare_named(name, pictures=False, holdout=0.2, seed=0)
        return prepared.X, prepared.y, prepared.held_X, prepared.held_y
    return data.X, data.y, data.X_test, data.y_test


def history(
    data: str,
    *,
    target: str | None,
    out: Path | None,
    seeds: int,
    names: list[str] | None,
    skip_bad: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Run the ladder on a folder of pictures, a table or a data set by name; print, draw or report it."""
    _check_suffix(out)
    X, y, X_test, y_test = _read(data, target, names, skip_bad)
    found = climb(X, y, X_test=X_test, y_test=y_test, seeds=seeds, verbose=1)
    if out is not None:
        _write(found, out, force)
    result = {**found.to_dict(), "data": data, "out": None if out is None else str(out)}
    show(result, as_json=as_json, lines=[found.table(), *([] if out is None else [f"\n{out}"])])


def _check_suffix(out: Path | None) -> None:
    if out is not None and out.suffix.lower() not in (".png", ".svg", ".pdf", ".html"):
        raise ParameterError(f"--out {out}: the suffix is {out.suffix!r}; expected .png, .svg, .pdf or .html.")


def _read(data: str, target: str | None, names: list[str] | None, skip_bad: bool) -> tuple[Any, Any, Any, Any]:
    if inputs.is_name(data):
        return _named(data)
    if Path(data).is_dir():
        from rosenblatt.data.folders import read_folder

        folder = read_folder(data, skip_bad=skip_bad, who=f"history {data}")
        for path, reason in folder.skipped:
            say(f"skipped {path}: {reason}")
        return folder.pictures, folder.labels, None, None
    return _table(Path(data), target, names)


def _table(path: Path, target: str | None, names: list[str] | None) -> tuple[Any, Any, Any, Any]:
    """A fifth of the rows is held out before the rules are learned, so the test rows shape nothing."""
    if not is_table_path(path) and not path.exists():
        raise DataError(f"{path}: there is no such file, folder or data set. Check the name.")
    prepared = inputs.prepare_table(
        path, target=target, task="classification", names=names, categorical=[], holdout=0.2, test=None, seed=0
    )
    for line in prepared.said:
        say(line)
    return prepared.X, prepared.y, prepared.held_X, prepared.held_y


def _write(found: History, out: Path, force: bool) -> None:
    if out.suffix.lower() == ".html":
        demo_report(found, out, overwrite=force)
        return
    write_figure(found.figure(), out, dpi=150, overwrite=force)
