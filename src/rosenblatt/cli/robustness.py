"""``attack``: how robust a model file is on data with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import rosenblatt
from rosenblatt.cli.systems import face_of
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.cli.use import read_inputs
from rosenblatt.data.recipe import Recipe
from rosenblatt.errors import ParameterError


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(f"--{option}={text!r}; expected numbers with commas, as 0.1,0.2.") from error


def _bounds(text: str | None) -> tuple[tuple[float, float] | None, dict[str, tuple[float, float]]]:
    """Of all inputs (0,1), or by column (age=0:120,pay=0:9000)."""
    if text is None or "=" not in text:
        box = None if text is None else _numbers("bounds", text)
        if box is not None and len(box) != 2:
            raise ParameterError(f"--bounds={text!r}; expected two numbers, as 0,1.")
        return None if box is None else (box[0], box[1]), {}
    found = {}
    for part in text.split(","):
        name, _, pair = part.rpartition("=")
        try:
            low, high = (float(end) for end in pair.split(":"))
        except ValueError as error:
            raise ParameterError(f"--bounds={text!r}; expected NAME=LOW:HIGH with commas, as age=0:120.") from error
        found[name.strip()] = (low, high)
    return None, found


def _held(recipe: Recipe, fixed: list[str]) -> list[str]:
    """Columns of a table that no attack changes."""
    return [c.name for c in recipe.columns if c.name in fixed or c.kind in ("category", "boolean")]


def attack(
    model: Path,
    data: str,
    *,
    eps: str,
    norm: str,
    samples: int,
    bounds: str | None,
    fixed: list[str],
    integer: list[str],
    steps: int,
    queries: int,
    substitutions: int,
    smooth: float | None,
    draws: int,
    seed: int,
    out: Path | None,
    names: list[str] | None,
    skip_bad: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Print, and write where asked, a robustness report, or with ``smooth`` what can be proven."""
    from rosenblatt.attacks import Table
    from rosenblatt.report.robustness import robustness_report
    from rosenblatt.report.smoothing import smoothing_report

    radii, (box, by_column) = _numbers("eps", eps), _bounds(bounds)
    if samples < 1:
        raise ParameterError(f"--samples={samples}; expected at least 1.")
    if out is not None:
        check_output(out, force=force)
        if out.suffix not in (".html", ".json"):
            raise ParameterError(f"{out}: a robustness report is .html or .json. Choose one of them.")
    estimator = rosenblatt.load(model)
    own, tabular = face_of(estimator), getattr(estimator, "preprocessing_", None) is not None
    if not hasattr(estimator, "_victim") and not hasattr(own, "attack"):
        raise ParameterError(
            f"attack: {model} is a {type(estimator).__name__}; expected a classifier of tables, pictures or texts, or a "
            "forecaster."
        )
    if (fixed or integer or by_column) and (not tabular or smooth is not None):
        raise ParameterError(
            f"--fixed, --integer and bounds by column: {model} "
            + ("has noise on every column with --smooth" if tabular else "takes no table")
            + "; expected them for an attack on a table. Leave them out."
        )
    if own is not None:
        if smooth is not None or out is not None:
            raise ParameterError(f"--smooth and --out: nothing for a {type(estimator).__name__}. Leave them out.")
        result, lines = own.attack(
            estimator, data, eps=radii, norm=norm, samples=samples, bounds=box, steps=steps, seed=seed,
            substitutions=substitutions,
        )  # fmt: skip
        show(result, as_json=as_json, lines=lines)
        return
    X, y, _ = read_inputs(estimator, data, names=names, skip_bad=skip_bad, target=True)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(y))[:samples])
    X, y = X[chosen], np.asarray(y)[chosen]
    if smooth is None:
        victim = Table(estimator, fixed=fixed, integer=integer, bounds=by_column) if tabular else estimator
        if tabular and (held := _held(estimator.preprocessing_, fixed)):
            say(f"held as they are: {', '.join(held)}")
        found = robustness_report(
            victim, X, y, eps=radii, norm=norm, bounds=box, steps=steps, queries=queries, random_state=seed
        )
    else:
        found = smoothing_report(estimator, X, y, sigma=smooth, eps=radii, bounds=box, draws=draws, random_state=seed)
    if out is not None:
        found.write(out, overwrite=force)
    show({**found.as_dict(), **({"out": str(out)} if out else {})}, as_json=as_json, lines=str(found).splitlines())
