"""Figures about results: the ladder of eras, learning curves, confusion, mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt.errors import LabelError, ParameterError, ShapeError
from rosenblatt.report.canvas import (
    BLUE,
    GREEN,
    INK,
    PURPLE,
    VERMILION,
    as_shown,
    bare,
    new_figure,
    picture_shape,
    plain,
    say,
    word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# ------------------------------------------------------------------------------------------------------- the ladder


def ladder(rows: Sequence[Any]) -> Figure:
    """Error, parameters and training time of the eras, oldest on the left; the steps are even, the years are not.

    Args:
        rows: Rungs of `rosenblatt.eras.History`.

    Returns:
        Three axes: error in percent (a mark a seed, a line through the means), parameters, seconds.
    """
    figure = new_figure(8.0, 6.2)
    figure.get_layout_engine().set(wspace=0.08, hspace=0.06)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.55, 1))
    _errors(figure.add_subplot(grid[0, :]), rows)
    years = [str(row.year) for row in rows]
    parameters = [row.parameters for row in rows]
    _columns(figure.add_subplot(grid[1, 0]), years, parameters, "Trainable parameters", GREEN, _count)
    seconds = [max(row.seconds, 1e-3) for row in rows]
    _columns(figure.add_subplot(grid[1, 1]), years, seconds, "Seconds of training", PURPLE, _seconds)
    return figure


def _errors(axes: Axes, rows: Sequence[Any]) -> None:
    place = np.arange(len(rows))
    means = [100 * row.error for row in rows]
    axes.plot(place, means, color=BLUE, linewidth=2, marker="o", markersize=8, zorder=3)
    for x, row in zip(place, rows, strict=True):
        values = 100 * np.array(row.errors)
        if row.runs > 1:
            axes.plot([x, x], [values.min(), values.max()], color=VERMILION, linewidth=2, alpha=0.7, zorder=4)
            axes.plot(np.full(row.runs, x), values, "_", color=VERMILION, markersize=13, markeredgewidth=2, zorder=5)
        at, shift, side = _beside_the_line(means, x, values)
        axes.annotate(f"{100 * row.error:.2f} %", at, shift, textcoords="offset points", ha=side, color=INK)
    axes.set_xticks(place, [f"{row.year}\n{row.name}" for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylim(0, 1.16 * max(100 * max(max(row.errors) for row in rows), 0.1))
    plain(axes, grid="y")
    axes.set_title("Test error in percent: mean (dot) and each seed (dash)", loc="left", color=INK)


def _beside_the_line(means: list[float], x: int, values: np.ndarray) -> tuple[tuple[float, float], Any, str]:
    """Where the number of a rung stands so that the line does not cross it: point, shift and alignment."""
    before = x > 0 and means[x - 1] > means[x]
    after = x + 1 < len(means) and means[x + 1] > means[x]
    if before and after and values.min() > 0.12 * max(means):
        return (x, values.min()), (0, -18), "center"
    if before == after:
        return (x, values.max()), (0, 9), "center"
    return (x, values.max()), (-4 if after else 4, 7), "right" if after else "left"


def _columns(axes: Axes, names: list[str], values: list[float], title: str, color: str, text: Any) -> None:
    place = np.arange(len(values))
    low = 10 ** math.floor(math.log10(min(values)) - 0.3)
    axes.bar(place, np.array(values) - low, bottom=low, width=0.56, color=color)
    for x, value in zip(place, values, strict=True):
        axes.annotate(text(value), (x, value), (0, 3), textcoords="offset points", ha="center", color=INK, fontsize=9)
    axes.set_yscale("log")
    axes.set_ylim(low, max(values) * 4)
    axes.set_xticks(place, names)
    plain(axes, frame=("bottom",))
    # the numbers stand on the columns: a scale beside them would say it twice
    axes.tick_params(axis="y", which="both", left=False, labelleft=False)
    axes.set_title(f"{title} (logarithmic)", loc="left", color=INK)


def _count(value: float) -> str:
    if value < 1000:
        return f"{value:.0f}"
    return f"{value / 1e3:.3g} k" if value < 999_500 else f"{value / 1e6:.3g} M"


def _seconds(value: float) -> str:
    return "< 0.01" if value < 0.01 else f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


# --------------------------------------------------------------------------------------------------- learning curves

_NO_MEASURE = ("epoch", "seconds", "learning_rate", "samples")


def learning_curves(history_: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel a measure (loss, mistakes, validation score ...) over the epochs.

    Args:
        history_: The ``history_`` of an estimator: one row an epoch.
    """
    rows = list(history_)
    names = [name for name in (rows[0] if rows else {}) if name not in _NO_MEASURE and _is_number(rows[0][name])]
    figure = new_figure(3.6 * max(len(names), 1) + 0.4, 2.9)
    if not names:
        say(figure.add_subplot(), "No epochs were recorded.")
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        epochs = [row.get("epoch", number) for number, row in enumerate(rows, 1)]
        values = [row.get(name, np.nan) for row in rows]
        color = (BLUE, VERMILION, GREEN, PURPLE)[index % 4]
        axes.plot(epochs, values, color=color, linewidth=2, marker="o" if len(rows) < 3 else None)
        _whole_epochs(axes, name)
    return figure


def _whole_epochs(axes: Axes, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel("epoch")
    plain(axes, grid="y")
    axes.set_title(name.replace("_", " ").capitalize(), loc="left", color=INK, parse_math=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


# --------------------------------------------------------------------------------------------------------- confusion


def confusion(y_true: ArrayLike, y_pred: ArrayLike, labels: ArrayLike | None = None) -> Figure:
    """Counts of each true class (rows) taken for each class (columns); the colour is the share of the row.

    Args:
        y_true: True labels (N,).
        y_pred: Predicted labels (N,).
        labels: All labels in order; None takes those that occur.

    Raises:
        ShapeError: The two are not of one length.
        LabelError: A label is not among ``labels``.
    """
    y_true, y_pred = np.asarray(y_true).ravel(), np.asarray(y_pred).ravel()
    if len(y_true) != len(y_pred) or not len(y_true):
        raise ShapeError(
            f"confusion: {len(y_true)} true and {len(y_pred)} predicted labels; expected as many, and some."
        )
    names = np.unique(np.concatenate([y_true, y_pred])) if labels is None else np.asarray(labels)
    counts = _confusion_counts(y_true, y_pred, names)
    side = min(9.0, 2.2 + 0.42 * len(names))
    figure = new_figure(side + 0.6, side)
    _draw_counts(figure.add_subplot(), counts, [word(name) for name in names])
    return figure


def _confusion_counts(y_true: np.ndarray, y_pred: np.ndarray, names: np.ndarray) -> np.ndarray:
    position = {name: index for index, name in enumerate(names.tolist())}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for pair in zip(y_true.tolist(), y_pred.tolist(), strict=True):
        unknown = [label for label in pair if label not in position]
        if unknown:
            raise LabelError(
                f"confusion: the label {unknown[0]!r} is not in labels; expected one of {names[:10].tolist()}."
            )
        counts[position[pair[0]], position[pair[1]]] += 1
    return counts


def _draw_counts(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if len(names) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if share[row, column] > 0.5 else "#222222" if count else "#b8bcc4"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    turned = 90 if max(map(len, names)) > 3 else 0
    shown = range(len(names)) if len(names) <= 40 else range(0, len(names), math.ceil(len(names) / 40))
    axes.set_xticks(list(shown), [names[i] for i in shown], rotation=turned, parse_math=False)
    axes.set_yticks(list(shown), [names[i] for i in shown], parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    plain(axes, frame=())
    axes.tick_params(length=0)


# ---------------------------------------------------------------------------------------------------------- mistakes


def most_confident_mistakes(estimator: Any, X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The wrong answers, the surest first.

    Args:
        estimator: A fitted classifier with ``predict_proba``.
        X: What it takes.
        y: True labels (N,).

    Returns:
        Rows of X, predicted labels, and the probability that the estimator gave each of them.

    Raises:
        ParameterError: The estimator gives no probabilities.
        ShapeError: X and y are not of one length.
    """
    if not hasattr(estimator, "predict_proba"):
        raise ParameterError(
            f"worst_mistakes: {type(estimator).__name__} has no predict_proba; expected a classifier with probabilities, "
            "such as MLPClassifier or CNNClassifier."
        )
    y = np.asarray(y).ravel()
    if len(X) != len(y):
        raise ShapeError(f"worst_mistakes: X has {len(X)} samples and y {len(y)} labels; expected as many.")
    chances = estimator.predict_proba(X)
    predicted, sure = estimator.classes_[chances.argmax(1)], chances.max(1)
    wrong = np.flatnonzero(predicted != y)
    # a stable order: equal probabilities keep the order of the rows
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    return wrong, predicted[wrong], sure[wrong]


def worst_mistakes(
    estimator: Any, X: ArrayLike, y: ArrayLike, n: int = 16, *, pictures: ArrayLike | None = None
) -> Figure:
    """The wrong answers of which the estimator was surest, as pictures, the surest first.

    Args:
        estimator: A fitted classifier with ``predict_proba``.
        X: What it takes: pictures, or a table of flat square pictures.
        y: True labels (N,).
        n: At most so many.
        pictures: What to show instead of X, row by row, such as the pictures before they were standardised.

    Raises:
        ParameterError: The estimator gives no probabilities, or ``n`` is not a positive integer.
        ShapeError: X and y differ in length, or the rows are no pictures.
    """
    _validate.parameter("worst_mistakes", "n", n, _validate.Number(1, integer=True))
    shown = _pictures(X if pictures is None else pictures)
    rows, predicted, sure = (part[:n] for part in most_confident_mistakes(estimator, X, y))
    if not len(rows):
        figure = new_figure(5.0, 1.2)
        say(figure.add_subplot(), f"No mistakes among {len(shown)} samples.")
        return figure
    columns = min(len(rows), 8 if len(rows) > 12 else 6)
    lines = math.ceil(len(rows) / columns)
    figure = new_figure(max(1.1 * columns, 3.0), 1.6 * lines)
    for place, (row, guess, chance) in enumerate(zip(rows, predicted, sure, strict=True), 1):
        axes = figure.add_subplot(lines, columns, place)
        axes.imshow(as_shown(shown[row]), cmap="gray", interpolation="nearest")
        bare(axes)
        text = f"is {word(np.asarray(y).ravel()[row], 10)}\nsaid {word(guess, 10)}\n{_percent(chance)}"
        axes.set_title(text, fontsize=8, color=INK, parse_math=False)
    return figure


def _percent(chance: float) -> str:
    """Never "100 %": a network is not certain, and was wrong here."""
    return "> 99.9 %" if chance > 0.999 else f"{100 * chance:.1f} %"


def _pictures(X: ArrayLike) -> np.ndarray:
    """(N, H, W, C) of pictures or of flat square ones."""
    X = np.asarray(X)
    if X.ndim == 2 and picture_shape(X.shape[1]):
        return X.reshape(len(X), *picture_shape(X.shape[1]))
    if X.ndim not in (3, 4):
        raise ShapeError(f"worst_mistakes: X {X.shape}; expected pictures N H W or N H W C, or flat square ones.")
    return X[..., None] if X.ndim == 3 else X
