"""The page of the ladder of eras: what was trained on what, what it reached, what it looks like inside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt._types import PathLike
from rosenblatt.errors import OutputError
from rosenblatt.report.canvas import picture_shape
from rosenblatt.report.html import Section, write_html
from rosenblatt.report.networks import activations, dead_units, feature_maps, filters
from rosenblatt.report.plots import confusion, learning_curves, most_confident_mistakes, worst_mistakes

if TYPE_CHECKING:
    from rosenblatt.report.results import History, Rung


def demo_report(history: History, path: PathLike, *, more: Sequence[Section] = (), overwrite: bool = False) -> Path:
    """Write the story of a ladder of eras as one page.

    Args:
        history: What `rosenblatt.eras.history` returned.
        path: The HTML file.
        more: Sections to end with.
        overwrite: False refuses a path that exists.

    Returns:
        The path.

    Raises:
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
    """
    if not overwrite and Path(path).exists():  # before the figures are drawn, which takes seconds
        raise OutputError(f"{path} exists already; nothing was written. Choose another path, or allow overwriting.")
    return write_html(path, "Sixty years on the same data", [*_sections(history), *more], overwrite=overwrite)


def _sections(history: History) -> Iterator[Section]:
    yield _data(history)
    yield _results(history)
    yield _figure(history)
    yield from _dense(history)
    yield from _convolutional(history)
    yield from _answers(history)


def _data(history: History) -> Section:
    size = " x ".join(map(str, history.shape[:2]))
    kind = f"pictures of {size} pixels" if len(history.shape) == 3 else f"rows of {history.shape[0]} numbers"
    seeds = max(row.runs for row in history.rows)
    return Section(
        "What was trained on what",
        [
            f"{len(history.rows)} systems learned from the same {history.n_train} {kind} in {len(history.classes)} classes, and "
            f"were tested on the same {history.n_test} that none of them had seen.",
            f"Each was trained {_times(seeds)}, with another random seed each time, except where the seed changes nothing.",
            *(f"Left out: {text}" for text in history.left_out),
        ],
    )


def _times(seeds: int) -> str:
    return {1: "once", 2: "twice"}.get(seeds, f"{seeds} times")


def _results(history: History) -> Section:
    rows = [_cells(row) for row in history.rows]
    return Section(
        "The ladder",
        [_verdict(history), _doubt(history)],
        head=("Year", "System", "Test error", "Parameters", "Training", "How it was trained"),
        rows=rows,
        caption=" ".join(history.remarks()),
    )


def _cells(row: Rung) -> tuple[str, ...]:
    spread = "" if row.error_std is None else f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{100 * row.error_std:.2f}"
    error = f"{100 * row.error:.2f}{spread}\N{NO-BREAK SPACE}%"
    return str(row.year), row.name, error, f"{row.parameters:,}", f"{row.seconds:.2f}\N{NO-BREAK SPACE}s", row.trained


def _verdict(history: History) -> str:
    first, best = history.rows[0], min(history.rows, key=lambda row: row.error)
    if best is first:
        return f"The oldest system, the {first.name.lower()}, is also the best here: this task needs no more."
    return (
        f"The {first.name.lower()} of {first.year} is wrong on {100 * first.error:.2f}\N{NO-BREAK SPACE}% of the test "
        f"samples; the best, {best.name} of {best.year}, on {100 * best.error:.2f}\N{NO-BREAK SPACE}%."
    )


def _doubt(history: History) -> str:
    best = min(row.error for row in history.rows)
    chance = 100 * math.sqrt(max(best * (1 - best), 1 / history.n_test) / history.n_test)
    return (
        f"The test split is a sample too: with {history.n_test} samples the lowest error is only known to about "
        f"± {chance:.2f} points (one standard error), so do not read a ranking into smaller differences."
    )


def _figure(history: History) -> Section:
    said = "; ".join(f"{row.year} {row.name} {100 * row.error:.2f} %" for row in history.rows)
    return Section(
        "Error, size and time",
        [
            "Above, the error: lower is better. Below, what it cost in parameters and in seconds; each step up is a factor."
        ],
        figure=history.figure(),
        alt=f"Test error by year: {said}. Below, parameters and training time of each system.",
    )


# ------------------------------------------------------------------------------------------------------------ inside


def _dense(history: History) -> Iterator[Section]:
    square = len(history.shape) == 3 or picture_shape(history.shape[0])
    perceptron, mlp = history.estimators["perceptron"], history.estimators["mlp"]
    if square:
        shape = history.shape if len(history.shape) == 3 else None
        yield Section(
            "What the perceptron looks for",
            [
                "One unit a class, one weight a pixel: where a pixel is red, ink speaks for the class; where it is blue, against."
            ],
            figure=filters(perceptron, shape=shape),
            alt="Weights of the perceptron's units as pictures, one for each class.",
        )
        yield Section(
            "What the hidden units look for",
            [
                "Backpropagation made these weights: each of the hidden units looks at the whole picture, and the next layer "
                "combines their answers. Few of them resemble anything."
            ],
            figure=filters(mlp, shape=shape),
            alt="Weights of the hidden units of the multilayer perceptron as pictures.",
        )
    dead = sum(dead_units(mlp, history.test_input("mlp")))
    yield Section(
        "How the hidden units answer",
        [f"A unit that gives the same output for every sample is dead and could be left out; here {dead} are."],
        figure=activations(mlp, history.test_input("mlp")),
        alt="Histogram of the outputs of the hidden units over the test samples.",
    )


def _convolutional(history: History) -> Iterator[Section]:
    for key, name in (("lenet5", "LeNet-5"), ("quick", "the modern network")):
        if key in history.estimators:
            yield from _network(history, history.estimators[key], name)


def _network(history: History, model: Any, name: str) -> Iterator[Section]:
    label = history.y_test[0]
    yield Section(
        f"The first filters of {name}",
        ["Each filter is laid over every place of the picture: what is learned in one corner holds in all."],
        figure=filters(model),
        alt=f"Filters of the first convolution of {name}.",
    )
    yield Section(
        f"One picture on its way through {name}",
        [
            f"The first test picture is of class {label}. Bright is strong; deeper maps are smaller and less like a picture."
        ],
        figure=feature_maps(model, history.X_test[0]),
        alt=f"Feature maps of {name} for one test picture, block by block.",
    )
    yield Section(
        f"How {name} learned",
        [
            "The loss on the training pictures, epoch by epoch; its scale is the network's own, so do not compare two networks."
        ],
        figure=learning_curves(model.history_),
        alt=f"Loss of {name} over the epochs of training.",
    )


# ----------------------------------------------------------------------------------------------------------- answers


def _answers(history: History) -> Iterator[Section]:
    """Confusion and mistakes of the best rung that gives probabilities."""
    rows = [row for row in history.rows if hasattr(history.estimators[row.key], "predict_proba")]
    best = min(rows, key=lambda row: row.error)
    model, inputs = history.estimators[best.key], history.test_input(best.key)
    predicted = model.predict(inputs)
    yield Section(
        "Which classes are taken for which",
        [f"The answers of the last run of {best.name}. Every number off the diagonal counts mistakes."],
        figure=confusion(history.y_test, predicted, history.classes),
        alt=f"Confusion matrix of {best.name}: {int((predicted != history.y_test).sum())} of {history.n_test} wrong.",
    )
    if len(history.shape) == 3 or picture_shape(history.shape[0]):
        yield _mistakes(history, best, model, inputs)


def _mistakes(history: History, best: Rung, model: Any, inputs: np.ndarray) -> Section:
    wrong = len(most_confident_mistakes(model, inputs, history.y_test)[0])
    text = f"{best.name} is wrong on {wrong} test samples; those of which it was surest come first."
    return Section(
        "The worst mistakes",
        [text, "Some are hard for people too. Others show that a probability is no promise."] if wrong else [text],
        figure=worst_mistakes(model, inputs, history.y_test, pictures=history.X_test),
        alt=f"The wrongly classified test pictures of {best.name}, with true class, answer and probability.",
    )
