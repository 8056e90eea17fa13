"""The command line; nothing here learns, it only calls the estimators.

Exit codes: 0 done, 2 wrong use or bad data, 1 failure. Results go to stdout, messages to stderr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

SYSTEMS = (
    ("perceptron", "Perceptron", 1958, "threshold units, Rosenblatt's rule"),
    ("mlp", "MLPClassifier, MLPRegressor", 1986, "multilayer perceptron with backpropagation"),
    ("shallow", "shallow_baseline", 1995, "feature selection and support vector machine"),
    ("lenet5", "CNNClassifier(network='lenet5')", 1998, "LeNet-5 as published"),
    ("quick", "CNNClassifier(network='quick')", 2018, "small modern convolutional network"),
)

app = typer.Typer(
    help="The deep-learning canon: classic networks on your own data.", no_args_is_help=True, add_completion=False
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        from rosenblatt import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def systems(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List the systems that can be trained."""
    if as_json:
        typer.echo(json.dumps([dict(zip(("name", "estimator", "year", "what"), row, strict=True)) for row in SYSTEMS]))
        return
    for name, estimator, year, what in SYSTEMS:
        typer.echo(f"{year}  {name:<10} {estimator:<32} {what}")


@app.command()
def describe(
    model: Annotated[Path, typer.Argument(help="A model file.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole description.")] = False,
) -> None:
    """Say what a model file holds, without restoring anything from it."""
    from rosenblatt.files import describe as read

    found = read(model)
    if as_json:
        typer.echo(json.dumps(found))
        return
    said = ", ".join(f"{key}={_short(value)}" for key, value in found["parameters"].items())
    typer.echo(f"{found['estimator']}({said})")
    typer.echo("format " + str(found["format"]) + ", " + ", ".join(f"{k} {v}" for k, v in found["versions"].items()))


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."


def main() -> None:
    """Run the command line; our own errors become one line on stderr and exit code 2."""
    try:
        app()
    except Exception as error:
        from rosenblatt.errors import RosenblattError

        if isinstance(error, (RosenblattError, FileNotFoundError)):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the command line's own message
            sys.exit(2)
        raise
