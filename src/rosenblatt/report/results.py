"""What a ladder of eras reached: its rungs, as text, as JSON and as a figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt.report.plots import ladder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STANDARDISED = ("perceptron", "mlp")
"""Rungs that take flat, standardised inputs."""


def flat(X: np.ndarray) -> np.ndarray:
    """Samples as rows (N, D) of float32."""
    return X.reshape(len(X), -1).astype(np.float32)


@dataclass(frozen=True)
class Rung:
    """One system of the ladder and what it reached.

    Attributes:
        key: Its short name, one of `rosenblatt.eras.KEYS`.
        year: Year of the system.
        name: Name for people.
        trained: How it was trained, in a few words.
        n: Training samples.
        runs: Seeds that were run; 1 where the seed changes nothing.
        errors: Test error of each run, shares from 0 to 1.
        parameters: Trainable parameters. An SVM has none of a fixed number: counted are the coefficients of its support
            vectors (K - 1 for each, with K classes) and its intercepts.
        run_seconds: Training time of each run.
        deterministic: The seed changes nothing, so there was one run.
    """

    key: str
    year: int
    name: str
    trained: str
    n: int
    runs: int
    errors: tuple[float, ...]
    parameters: int
    run_seconds: tuple[float, ...]
    deterministic: bool = False

    @property
    def error(self) -> float:
        """Mean test error over the runs."""
        return fmean(self.errors)

    @property
    def error_std(self) -> float | None:
        """Sample standard deviation of the test error over the seeds; None for one run."""
        return stdev(self.errors) if self.runs > 1 else None

    @property
    def seconds(self) -> float:
        """Mean training time."""
        return fmean(self.run_seconds)

    @property
    def seconds_std(self) -> float | None:
        """Sample standard deviation of the training time; None for one run."""
        return stdev(self.run_seconds) if self.runs > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """All fields and the four statistics, as JSON takes them."""
        row = asdict(self) | {"errors": list(self.errors), "run_seconds": list(self.run_seconds)}
        return row | {name: getattr(self, name) for name in ("error", "error_std", "seconds", "seconds_std")}


@dataclass(frozen=True)
class History:
    """The ladder, trained: what `rosenblatt.eras.history` returns.

    Attributes:
        rows: The rungs, oldest first.
        estimators: The last fitted estimator of each rung, by its key.
        X_test, y_test: The test split, as it came (pictures N H W C, or a table N D).
        scaler: Scaler of the tabular rungs, fitted on the training split; see `test_input`.
        n_train: Training samples.
        n_test: Test samples.
        shape: Shape of one sample.
        left_out: Names of the rungs that were not trained, each with the reason.
        random_state: The seed that repeats all this.
    """

    rows: tuple[Rung, ...]
    estimators: dict[str, Any]
    X_test: np.ndarray
    y_test: np.ndarray
    scaler: Any
    n_train: int
    n_test: int
    shape: tuple[int, ...]
    left_out: tuple[str, ...]
    random_state: int

    @property
    def classes(self) -> np.ndarray:
        """Class labels, sorted."""
        return self.estimators["perceptron"].classes_

    def test_input(self, key: str) -> np.ndarray:
        """The test samples in the form that a rung's estimator takes: standardised and flat, or as they came."""
        return self.scaler.transform(flat(self.X_test)) if key in STANDARDISED else self.X_test

    def table(self) -> str:
        """The ladder as aligned plain text."""
        cells = [["year", "system", "test error", "parameters", "training", "n"], *(cells_of(row) for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(6)]
        lines = [_aligned(row, widths) for row in cells]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, "", *self.remarks()])

    def remarks(self) -> list[str]:
        """What has to be known to read the table: the split, the seeds, what was left out."""
        seeds = max(row.runs for row in self.rows)
        lines = [
            f"{self.n_train} training and {self.n_test} test samples; mean ± standard deviation over {seeds} seeds."
        ]
        if seeds == 1:
            lines = [f"{self.n_train} training and {self.n_test} test samples; one seed, so no spread is known."]
        lines += [f"{row.name}: deterministic, run once." for row in self.rows if row.deterministic and seeds > 1]
        lines += ["Parameters of the SVM: coefficients of its support vectors, and intercepts."]
        few = [row for row in self.rows if row.n < self.n_train]
        lines += [f"{row.name}: trained on a sample of {row.n}, since its time grows with the square." for row in few]
        return [*lines, *(f"Left out: {text}" for text in self.left_out)]

    def to_dict(self) -> dict[str, Any]:
        """Everything but estimators and data, as JSON takes it."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "n_train": self.n_train,
            "n_test": self.n_test,
            "shape": list(self.shape),
            "left_out": list(self.left_out),
            "random_state": self.random_state,
        }

    def figure(self) -> Figure:
        """Error, parameters and training time of each rung; see `rosenblatt.report.ladder`."""
        return ladder(self.rows)


def cells_of(row: Rung) -> list[str]:
    """Year, name, error with its spread, parameters, seconds and samples, as text."""
    error = f"{row.error:.2%}".replace("%", " %")
    spread = "" if row.error_std is None else f" ± {100 * row.error_std:.2f}"
    return [str(row.year), row.name, error + spread, f"{row.parameters:,}", f"{row.seconds:.2f} s", str(row.n)]


def _aligned(cells: list[str], widths: list[int]) -> str:
    texts = [
        cell.ljust(w) if i in (1, 2) else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(texts).rstrip()
