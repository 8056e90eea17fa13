"""Top-k accuracy: the measure of the ImageNet challenge."""

from __future__ import annotations

import numpy as np

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt.errors import ShapeError


def top_k_accuracy(y: ArrayLike, scores: ArrayLike, classes: ArrayLike, k: int = 5) -> float:
    """Share of samples whose true class is among the k with the highest scores.

    A class that ties with the k-th is out of the k when its column comes later, as an argmax would have it.

    Args:
        y: True labels (N,).
        scores: Scores or probabilities (N, K), columns in the order of ``classes``.
        classes: The K labels.
        k: How many guesses count; with k >= K every known label is hit.

    Raises:
        ParameterError: k is not a positive integer.
        ShapeError: Rows or columns do not match.
        LabelError: A label is not among the classes.

    Example:
        >>> top_k_accuracy(["cat", "dog"], [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], ["cat", "dog", "owl"], k=2)
        1.0
    """
    _validate.parameter("top_k_accuracy", "k", k, _validate.Number(1, integer=True))
    labels, values, classes = np.asarray(y).ravel(), np.asarray(scores), np.asarray(classes)
    if values.shape != (len(labels), len(classes)) or not len(labels):
        raise ShapeError(
            f"top_k_accuracy: scores {values.shape} for {len(labels)} labels of {len(classes)} classes; expected "
            f"({len(labels)}, {len(classes)}) and at least one label."
        )
    _validate.known_labels("top_k_accuracy", labels, classes)
    position = {label: column for column, label in enumerate(classes.tolist())}
    columns = np.array([position[label] for label in labels.tolist()])
    best = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return float((best == columns[:, None]).any(1).mean())
