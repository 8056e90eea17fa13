"""The ladder of eras: the same data, the same split, one system of each age of neural networks.

A rung is what its year could build, with this library's implementation of it: the perceptron of 1958, backpropagation
of 1986, the support vector machine of 1995, LeNet-5 of 1998 and a small modern convolutional network.

Shape letters: N samples, H height, W width, C colour channels, D features.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import NONE, SEED, Number, Of
from rosenblatt.errors import DataError, LabelError, ParameterError, ShapeError, TrainingInterrupted
from rosenblatt.report.results import STANDARDISED, History, Rung, cells_of, flat

__all__ = ["KEYS", "History", "Rung", "history"]

KEYS = ("perceptron", "mlp", "svm", "lenet5", "quick")
"""The rungs, oldest first."""

_WHO = "history"
_PICTURES_ONLY = ("lenet5", "quick")
# samples seen in one training run on small data, and the fewest and most epochs: small data needs more passes
_SIGHT = {"mlp": (45_000, 8, 60), "lenet5": (32_000, 8, 24), "quick": (12_000, 4, 20)}
_RULES = {
    "seeds": Number(1, integer=True),
    "test_size": Number(0, 1, open_low=True, open_high=True),
    "epochs": (Of(Mapping, "a dict rung -> epochs"), NONE),
    "svm_samples": (Number(2, integer=True), NONE),
    "random_state": SEED,
}


# -------------------------------------------------------------------------------------------------------- the ladder


@dataclass(frozen=True)
class _Recipe:
    """How a rung is made: ``make(seed, n, epochs)`` gives the unfitted estimator."""

    year: int
    name: str
    trained: str
    make: Callable[[int, int, int], Any]


def _perceptron(seed: int, n: int, epochs: int) -> Any:
    from rosenblatt.estimators.perceptron import Perceptron

    return Perceptron(random_state=seed)


def _mlp(seed: int, n: int, epochs: int) -> Any:
    from rosenblatt.estimators.mlp import MLPClassifier

    # logistic units and momentum, as in the paper; its rate and batches are of our time
    return MLPClassifier(
        (100,), "logistic", solver="sgd", momentum=0.9, learning_rate_init=0.1, batch_size=min(32, n),
        max_iter=epochs, random_state=seed,
    )  # fmt: skip


def _svm(seed: int, n: int, epochs: int) -> Any:
    from rosenblatt.estimators.shallow import shallow_baseline

    return shallow_baseline()


def _cnn(network: str) -> Callable[[int, int, int], Any]:
    def make(seed: int, n: int, epochs: int) -> Any:
        from rosenblatt.estimators.cnn import CNNClassifier

        batch = 32 if n < 5000 else 128
        return CNNClassifier(network=network, epochs=epochs, batch_size=batch, random_state=seed, verbose=0)

    return make


_RECIPES = {
    "perceptron": _Recipe(1958, "Perceptron", "Rosenblatt's rule, one unit a class, up to 1000 epochs", _perceptron),
    "mlp": _Recipe(1986, "Backpropagation", "100 logistic hidden units, gradient descent with momentum", _mlp),
    "svm": _Recipe(1995, "SVM", "feature selection and a support vector machine with a Gaussian kernel", _svm),
    "lenet5": _Recipe(1998, "LeNet-5", "the published network and loss, Adam", _cnn("lenet5")),
    "quick": _Recipe(2018, "Modern CNN", "three blocks with batch normalisation, Adam, one-cycle rate", _cnn("quick")),
}


def history(
    X: ArrayLike,
    y: ArrayLike,
    *,
    seeds: int = 3,
    test_size: float = 0.2,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    epochs: Mapping[str, int] | None = None,
    svm_samples: int | None = 20_000,
    random_state: int | np.random.RandomState | None = 0,
    verbose: int = 1,
) -> History:
    """Train one system of each age on the same data and the same split.

    Args:
        X: Pictures N H W or N H W C, uint8 or floats; or a table (N, D), for which the two convolutional rungs are left
            out by name.
        y: Class labels (N,).
        seeds: Runs of each rung, each with its own seed; deterministic rungs run once.
        test_size: Share held out as the test split, stratified by class.
        X_test: A test split of your own, like X; ``test_size`` is not used then.
        y_test: Its labels.
        epochs: Epochs by rung ("mlp", "lenet5", "quick"); those left out are chosen by the number of samples. The
            perceptron stops by itself.
        svm_samples: The SVM is trained on at most so many, drawn by class; None takes all.
        random_state: Seed of the split and of all runs.
        verbose: 0 silent, 1 a line a rung on a terminal, 2 always.

    Returns:
        The rungs, their last estimators and the test split.

    Raises:
        ParameterError: An argument is not as above.
        ShapeError, NonFiniteError, DataError, LabelError: The data is not as above, has one class, or too few samples.
        DivergedError: A rung's training turned non-finite.
        KeyboardInterrupt: Stopped by the user; a ladder of half-trained rungs would mislead.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> ladder = history(*load_iris(return_X_y=True), seeds=1, verbose=0)
        >>> [row.key for row in ladder.rows]
        ['perceptron', 'mlp', 'svm']
    """
    given = {"seeds": seeds, "test_size": test_size, "epochs": epochs, "svm_samples": svm_samples}
    for name, value in (given | {"random_state": random_state}).items():
        _validate.parameter(_WHO, name, value, _RULES[name])
    chosen = _check_epochs(epochs)
    X, y = _check_data(X, y)
    seed, split_seed, run_seeds = _seeds(random_state, seeds)
    if X_test is None and y_test is None:
        split = _split(X, y, test_size, split_seed)
    else:
        split = (X, *_check_test(X_test, y_test, X, y), y)
    return _climb(*split, run_seeds, chosen, svm_samples, seed, verbose)


def _check_epochs(epochs: Mapping[str, int] | None) -> dict[str, int]:
    for key, count in (epochs or {}).items():
        if key not in _SIGHT:
            raise ParameterError(
                f"{_WHO}: epochs has the rung {key!r}; expected 'mlp', 'lenet5' or 'quick'.{_validate.nearest(key, _SIGHT)}"
            )
        _validate.parameter(_WHO, f"epochs[{key!r}]", count, Number(1, integer=True))
    return dict(epochs or {})


def _seeds(random_state: Any, seeds: int) -> tuple[int, int, list[int]]:
    """The seed that repeats everything, that of the split, those of the runs."""
    from rosenblatt.train.seeds import draw_seed

    seed = draw_seed(random_state)
    split, *runs = (int(s) for s in np.random.SeedSequence(seed).generate_state(1 + seeds, np.uint32))
    return seed, split, runs


# -------------------------------------------------------------------------------------------------------------- data


def _check_data(X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    X = _check_inputs(X, "X")
    return X, _validate.class_labels(_WHO, y, len(X))


def _check_inputs(X: ArrayLike, name: str) -> np.ndarray:
    """Pictures as (N, H, W, C), a table as (N, D) of float64."""
    from rosenblatt.data.pictures import as_pictures

    shape = np.shape(X)
    if len(shape) != 2:
        return as_pictures(X, who=_WHO)
    try:
        X = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{_WHO}: {name} holds something else than numbers ({error}). Encode text columns first."
        ) from error
    if 0 in shape:
        raise ShapeError(f"{_WHO}: {name} is empty {shape}; expected at least one sample of at least one feature.")
    _validate.finite(_WHO, X, name=name)
    return X


def _check_test(X_test: Any, y_test: Any, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A test split of the user's: like the training data, with no label that training has not seen."""
    if X_test is None or y_test is None:
        raise ParameterError(f"{_WHO}: one of X_test and y_test is missing; expected both or none.")
    X_test, y_test = _check_inputs(X_test, "X_test"), np.asarray(y_test).ravel()
    if X_test.shape[1:] != X.shape[1:]:
        raise ShapeError(f"{_WHO}: X_test has samples of shape {X_test.shape[1:]}; expected {X.shape[1:]} as in X.")
    if len(X_test) != len(y_test):
        raise ShapeError(f"{_WHO}: X_test has {len(X_test)} samples and y_test {len(y_test)} labels; expected as many.")
    if (X_test.dtype == np.uint8) != (X.dtype == np.uint8):
        raise DataError(f"{_WHO}: X is {X.dtype} and X_test {X_test.dtype}; expected one number type and scale.")
    classes = np.unique(y).tolist()
    known = set(classes)
    unseen = [row for row, label in enumerate(y_test.tolist()) if label not in known]
    if unseen:
        raise LabelError(
            f"{_WHO}: y_test has the label {y_test.tolist()[unseen[0]]!r} (row {unseen[0]}), which y has not; expected one of "
            f"{classes[:10]}{' ...' if len(classes) > 10 else ''}. Drop those rows, or split anew by class."
        )
    return X_test, y_test


def _split(X: np.ndarray, y: np.ndarray, test_size: float, seed: int) -> tuple[np.ndarray, ...]:
    """Training X, test X, test y, training y; every class is in both."""
    from sklearn.model_selection import train_test_split

    try:
        X, X_test, y, y_test = train_test_split(X, y, test_size=test_size, random_state=seed, stratify=y)
    except ValueError as error:
        raise DataError(
            f"{_WHO}: {len(y)} samples of {len(np.unique(y))} classes cannot be split with test_size={test_size} ({error}) "
            "Expected at least 2 samples a class, and as many test samples as classes. Add samples, or pass X_test and y_test."
        ) from error
    return X, X_test, y_test, y


def _sample(X: np.ndarray, y: np.ndarray, limit: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` samples, drawn by class."""
    if limit is None or len(y) <= limit:
        return X, y
    from sklearn.model_selection import train_test_split

    stratify = y if np.unique(y, return_counts=True)[1].min() > 1 else None
    X, _, y, _ = train_test_split(X, y, train_size=limit, random_state=seed, stratify=stratify)
    return X, y


# --------------------------------------------------------------------------------------------------------- the climb


def _climb(
    X: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    y: np.ndarray,
    seeds: list[int],
    epochs: Mapping[str, int],
    svm_samples: int | None,
    seed: int,
    verbose: int,
) -> History:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(flat(X))
    table = (scaler.transform(flat(X)), scaler.transform(flat(X_test)))
    keys = [key for key in KEYS if X.ndim == 4 or key not in _PICTURES_ONLY]
    rows, estimators = [], {}
    for key in keys:
        train, test = table if key in STANDARDISED else (X, X_test)
        data = (train, y) if key != "svm" else _sample(train, y, svm_samples, seeds[0])
        count = epochs.get(key) or _epochs(key, len(data[1]))
        row, estimators[key] = _rung(key, *data, test, y_test, seeds, count)
        rows.append(row)
        _say(row, verbose)
    left_out = tuple(
        f"{_RECIPES[key].name} ({_RECIPES[key].year}), which needs pictures N H W or N H W C; X is a table."
        for key in KEYS
        if key not in keys
    )
    return History(tuple(rows), estimators, X_test, y_test, scaler, len(y), len(y_test), X.shape[1:], left_out, seed)


def _epochs(key: str, n: int) -> int:
    sight, least, most = _SIGHT.get(key, (1, 1, 1))
    return int(np.clip(round(sight / n), least, most))


def _rung(
    key: str, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray, seeds: list[int], epochs: int
) -> tuple[Rung, Any]:
    recipe, deterministic = _RECIPES[key], key == "svm"
    seeds = seeds[:1] if deterministic else seeds
    errors, seconds, model = [], [], None
    with _own_warnings():
        if not deterministic:
            _warm_up(recipe, X, y)
        for seed in seeds:
            model = recipe.make(seed, len(y), epochs)
            started = time.perf_counter()
            model.fit(X, y)
            seconds.append(time.perf_counter() - started)
            errors.append(float(np.mean(model.predict(X_test) != y_test)))
    trained = recipe.trained + (f", {epochs} epochs" if key in _SIGHT else "")
    counted = _parameters(key, model)
    row = Rung(
        key,
        recipe.year,
        recipe.name,
        trained,
        len(y),
        len(seeds),
        tuple(errors),
        counted,
        tuple(seconds),
        deterministic,
    )
    return row, model


def _warm_up(recipe: _Recipe, X: np.ndarray, y: np.ndarray) -> None:
    """One epoch on one sample a class: compiling and loading on first use are no part of the training time."""
    _, first = np.unique(y, return_index=True)
    recipe.make(0, len(first), 1).fit(X[first], y[first])


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Short runs are meant, so "has not converged" is silent; Ctrl-C ends the ladder and not one rung."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("error", TrainingInterrupted)
        try:
            yield
        except TrainingInterrupted as warning:
            raise KeyboardInterrupt(str(warning)) from warning


def _parameters(key: str, model: Any) -> int:
    if key == "svm":
        machine = model.named_steps["svm"]
        return int(machine.dual_coef_.size + machine.intercept_.size)
    return int(model.summary().trainable)


def _say(row: Rung, verbose: int) -> None:
    if verbose and (int(verbose) > 1 or sys.stderr.isatty()):
        print("  ".join(cells_of(row)[:5]), file=sys.stderr)  # noqa: T201 - asked for by verbose
