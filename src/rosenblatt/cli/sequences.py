"""``train rnn``, predictions and scores of a classifier of texts: a table with a column of texts and one of labels."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from rosenblatt._validate import known_labels
from rosenblatt.cli.inputs import hold_out
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.data.columns import kind_of
from rosenblatt.data.tables import read_table, require_columns
from rosenblatt.errors import ColumnError, DataError
from rosenblatt.estimators.recurrent import RNNClassifier


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train a recurrent classifier on a column of texts and write the model file."""
    check_output(given["out"], force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    model = RNNClassifier(**chosen, plan=parse_plan(given["plan"] or []))
    texts, labels, column = read_labelled(given["data"], given["text"], given["target"])
    seed = chosen["random_state"] if isinstance(chosen["random_state"], int) else 0
    kept, held = hold_out(labels, given["holdout"], seed)
    started = time.perf_counter()
    model.fit([texts[row] for row in kept], labels[kept])
    seconds = time.perf_counter() - started
    model.columns_ = {"text": column, "target": given["target"]}
    model.save(given["out"], overwrite=given["force"])
    scores = _score(model, [texts[row] for row in held], labels[held]) if len(held) else {}
    result = {
        "model": str(given["out"]), "estimator": "RNNClassifier", "rows": len(kept), "seconds": round(seconds, 3),
        "held_out": scores,
    }  # fmt: skip
    said = f"; accuracy {scores['accuracy']:.4g} on {scores['n']} held-out rows" if scores else ""
    line = f"{given['out']}: RNNClassifier trained on {len(kept)} rows in {seconds:.1f} s{said}"
    show(result, as_json=given["as_json"], lines=[line])


def read_labelled(data: str, text: str | None, target: str | None) -> tuple[list[str], np.ndarray, str]:
    """Texts, labels and the name of the texts' column.

    Raises:
        ColumnError: A column is not there or not named; None of them, or several, could be the texts.
        DataError: A row without a label.
    """
    table = read_table(data, who=data)
    if target is None:
        raise ColumnError(
            f"--target is missing; expected the column of labels, one of {', '.join(table.column_names)}."
        )
    texts, column = read_texts(table, text, data, other=target)
    require_columns(table, [target], who=data)
    labels = table.column(target).to_pylist()
    empty = [row for row, label in enumerate(labels) if label is None]
    if empty:
        raise DataError(f"{data}: row {empty[0]} has no {target!r}; expected a label in each. Take it out.")
    return texts, np.array(labels), column


def read_texts(table: Any, text: str | None, data: str, *, other: str | None = None) -> tuple[list[str], str]:
    """The column of texts, found where only one could be it; missing ones are empty, and counted.

    Raises:
        ColumnError: It is not there, or not to be found.
    """
    if text is None:
        found = [c for c in table.column_names if c != other and kind_of(table.column(c)) == "text"]
        if len(found) != 1:
            raise ColumnError(
                f"{data}: {len(found)} columns hold text ({', '.join(found)}); expected one. Pass --text."
            )
        text = found[0]
    require_columns(table, [text], who=data)
    values = table.column(text).to_pylist()
    missing = sum(value is None for value in values)
    if missing:
        say(f"{data}: {missing} rows have no text; they are taken as empty")
    return ["" if value is None else str(value) for value in values], text


def _score(model: RNNClassifier, texts: list[str], labels: np.ndarray) -> dict[str, Any]:
    known_labels("score", labels, model.classes_)
    return {"accuracy": model.score(texts, labels), "n": len(texts)}


def _columns(model: RNNClassifier) -> dict[str, Any]:
    found = getattr(model, "columns_", None)
    if found is None:
        raise DataError(
            "This RNNClassifier was not trained on a table; expected one that `rosenblatt train rnn` wrote."
        )
    return found


def predict(model: RNNClassifier, data: str, horizon: int | None) -> dict[str, list[Any]]:
    """The label of each row's text."""
    texts, column = read_texts(read_table(data, who=data), _columns(model)["text"], data)
    return {column: texts, "prediction": model.predict(texts).tolist()}


def evaluate(model: RNNClassifier, data: str) -> dict[str, Any]:
    """Accuracy on a table with labels."""
    columns = _columns(model)
    texts, labels, _ = read_labelled(data, columns["text"], columns["target"])
    return _score(model, texts, labels)


def attack(
    model: RNNClassifier, data: str, *, samples: int, seed: int, substitutions: int, **_: Any
) -> tuple[dict[str, Any], list[str]]:
    """Exchange a few units of each text: the shares that are right before and after, and what turned some over."""
    from rosenblatt.attacks import HotFlip
    from rosenblatt.metrics.share import wilson

    columns = _columns(model)
    texts, labels, _column = read_labelled(data, columns["text"], columns["target"])
    chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[:samples])
    texts, labels = [texts[row] for row in chosen], labels[chosen]
    found = HotFlip(substitutions=substitutions, random_state=seed)(model, texts, labels)
    low, high = wilson(int((found.correct & ~found.success).sum()), len(texts))
    shown = np.flatnonzero(found.success)[:5]
    answers = model.predict([found.adversarial[row] for row in shown]).tolist() if len(shown) else []
    examples = [
        {"text": texts[row], "changed": found.adversarial[row], "label": str(labels[row]), "prediction": str(answer)}
        for row, answer in zip(shown, answers, strict=True)
    ]
    headline = (
        f"Accuracy {found.robust_accuracy:.1%} ({low:.1%} to {high:.1%}) with {substitutions} of the {model.units} exchanged "
        f"at most, n={len(texts)}; without {found.accuracy:.1%}."
    )
    result = {
        "headline": headline, "samples": len(texts), "substitutions": substitutions, "accuracy": found.accuracy,
        "robust_accuracy": found.robust_accuracy, "low": low, "high": high,
        "queries": float(found.queries.mean()), "examples": examples,
    }  # fmt: skip
    lines = [f"  {e['label']} -> {e['prediction']}: {e['text']!r} -> {e['changed']!r}" for e in examples]
    return result, [headline, *lines]
