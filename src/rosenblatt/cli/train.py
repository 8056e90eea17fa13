"""``rosenblatt train SYSTEM DATA``: the options of each system are its estimator's parameters."""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import typer

from rosenblatt.cli import options
from rosenblatt.cli.signatures import Parameter, parameters_of, parse_plan, parse_value
from rosenblatt.cli.systems import SYSTEMS, face

_TABLES = ("perceptron", "mlp")

app = typer.Typer(
    help="Train a system on a table, a folder of pictures or a data set by name.",
    no_args_is_help=True,
)


def _register(name: str) -> None:
    """Add the command of a system: our own options first, then the parameters of its estimator."""
    system = SYSTEMS[name]
    parameters = [p for p in parameters_of(system.file, system.kind) if p.name not in system.taken]

    def run(**given: Any) -> None:
        face(system.face).train(name, parameters, given)

    given = [*system.options(), *(options.of_parameter(p) for p in parameters)]
    # typer reads a command's options from its signature; this one is written by the estimator's
    run.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in given}
    app.command(name=name, help=system.summary)(run)


# ----------------------------------------------------------------------------------------------------------- run


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train a system and write its model file; prints what was reached on the data held out."""
    out: Path = given["out"]
    check_output(out, force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    data = _prepare(system, given, chosen)
    for line in data.said:
        say(line)
    estimator = _estimator(system, chosen, given, data)
    started = time.perf_counter()
    estimator.fit(data.X, None if hasattr(data.X, "items") else data.y)  # pictures on disk have their own labels
    seconds = time.perf_counter() - started
    if _another_writes():
        return
    if data.recipe is not None:
        estimator.preprocessing_ = data.recipe
    estimator.save(out, overwrite=given["force"])
    scores = {} if data.held_X is None or not len(data.held_X) else score(estimator, data.held_X, data.held_y)
    result = {
        "model": str(out), "estimator": type(estimator).__name__, "rows": len(data.X),
        "seconds": round(seconds, 3), "held_out": scores,
    }  # fmt: skip
    show(result, as_json=given["as_json"], lines=[f"{out}: {_sentence(result)}"])


def _another_writes() -> bool:
    """Whether this is one of several processes of torchrun, and not the first, which writes and prints for all."""
    from rosenblatt.train.distributed import number_of_process

    return number_of_process() > 0


def _prepare(system: str, given: dict[str, Any], chosen: dict[str, Any]) -> Any:
    from rosenblatt.cli import inputs

    seed = chosen.get("random_state")
    seed = seed if isinstance(seed, int) else 0
    if inputs.is_name(given["data"]):
        return inputs.prepare_named(given["data"], pictures=system not in _TABLES, holdout=given["holdout"], seed=seed)
    path = Path(given["data"])
    if system in _TABLES:
        return inputs.prepare_table(
            path,
            target=given["target"],
            task=given.get("task", "classification"),
            names=words(given["names"]),
            categorical=words(given["categorical"]) or [],
            holdout=given["holdout"],
            test=given["test"],
            seed=seed,
        )
    # the paper's own size, of which the network sees patches of 224
    size = given["size"] or (256 if chosen.get("network") == "alexnet-2012" else None)
    return inputs.prepare_pictures(
        path, size=size, skip_bad=given["skip_bad"], holdout=given["holdout"], seed=seed, target=given["target"]
    )


def _estimator(system: str, chosen: dict[str, Any], given: dict[str, Any], data: Any) -> Any:
    import rosenblatt

    regression = data.recipe is not None and data.recipe.task == "regression"
    kind = getattr(rosenblatt, "MLPRegressor" if regression else SYSTEMS[system].kind)
    if "plan" in given:
        devices = [] if given.get("devices") is None else [f"devices={given['devices']}"]
        chosen = {**chosen, "plan": parse_plan([*(given["plan"] or []), *devices])}
    known = kind._get_param_names()
    return kind(**{name: value for name, value in chosen.items() if name in known})


def score(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Accuracy of classes; R2 and root mean squared error of numbers, in the units of the data."""
    import numpy as np
    from sklearn.metrics import r2_score

    recipe = getattr(estimator, "preprocessing_", None)
    if recipe is None or recipe.task == "classification":
        from rosenblatt._validate import known_labels

        known_labels("score", np.asarray(y), estimator.classes_)
        given = None if hasattr(X, "items") else y  # pictures on disk have their own labels
        scores = {"accuracy": float(estimator.score(X, given))}
        if len(estimator.classes_) > 20 and hasattr(estimator, "top_k_score"):
            scores["top5"] = estimator.top_k_score(X, given, k=5)
        return {**scores, "n": len(X)}
    predicted = recipe.restore(estimator.predict(X))
    rmse = float(np.sqrt(np.mean((predicted - y) ** 2)))
    return {"r2": float(r2_score(y, predicted)) if len(y) > 1 else float("nan"), "rmse": rmse, "n": len(X)}


def _sentence(result: dict[str, Any]) -> str:
    held = result["held_out"]
    said = ", ".join(f"{name} {value:.4g}" for name, value in held.items() if name != "n")
    tail = f"; {said} on {held['n']} held-out rows" if held else ""
    return f"{result['estimator']} trained on {result['rows']} rows in {result['seconds']:.1f} s{tail}"


# ----------------------------------------------------------------------------------------- shared by the commands


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output before the work, not after it.

    Raises:
        OutputError: It exists and ``force`` is False, its folder is not there, or nothing can be written there.
    """
    from rosenblatt.errors import OutputError

    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the path of a file. Add a file name to it.")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already; nothing was done. Choose another path, or add --force.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}; expected one. Make it first.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path} cannot be written: no permission in {folder}. Choose another path.")


def words(text: str | None) -> list[str] | None:
    """Words with commas, or None."""
    return None if text is None else [word.strip() for word in text.split(",")]


def say(line: str) -> None:
    """A message to the user, on stderr."""
    print(line, file=sys.stderr)  # noqa: T201 - the command line's own message


def show(result: Any, *, as_json: bool, lines: list[str]) -> None:
    """A result, on stdout."""
    typer.echo(json.dumps(result) if as_json else "\n".join(lines))


for _system in SYSTEMS:
    _register(_system)
