"""One table-driven checker of parameters, one of tabular data, and the writer of their messages.

A message has three parts: what was got, what was expected, how to mend it.
"""

from __future__ import annotations

import difflib
import numbers
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from rosenblatt.errors import DataError, LabelError, NonFiniteError, OutputError, ParameterError, ShapeError

# ---------------------------------------------------------------------------------------------------- parameters


@dataclass(frozen=True)
class Number:
    """A real number in an interval; ``open_low``/``open_high`` exclude the end."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    integer: bool = False

    def accepts(self, value: Any) -> bool:
        """Whether value is a number of this kind."""
        kind = numbers.Integral if self.integer else numbers.Real
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
            return False
        if np.isnan(float(value)):
            return False
        low_ok = self.low is None or (value > self.low if self.open_low else value >= self.low)
        return low_ok and (self.high is None or (value < self.high if self.open_high else value <= self.high))

    def __str__(self) -> str:
        noun = "an integer" if self.integer else "a number"
        parts = []
        if self.low is not None:
            parts.append(f"{'>' if self.open_low else '>='} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'<' if self.open_high else '<='} {self.high:g}")
        return f"{noun} {' and '.join(parts)}".rstrip()


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        """Whether value is one of the options."""
        return any(value is option or (isinstance(value, type(option)) and value == option) for option in self.options)

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(option) for option in self.options)


@dataclass(frozen=True)
class Words:
    """One or more of a few words, joined by "+", each once; or "none"."""

    options: tuple[str, ...]

    def accepts(self, value: Any) -> bool:
        """Whether value is "none" or such a combination."""
        if not isinstance(value, str):
            return False
        words = value.split("+")
        return value == "none" or (set(words) <= set(self.options) and len(set(words)) == len(words))

    def __str__(self) -> str:
        return "'none' or one or more, joined by '+', of " + ", ".join(repr(option) for option in self.options)


@dataclass(frozen=True)
class Of:
    """An instance of a type."""

    kind: type | tuple[type, ...]
    words: str

    def accepts(self, value: Any) -> bool:
        """Whether value is an instance of the type."""
        return isinstance(value, self.kind)

    def __str__(self) -> str:
        return self.words


NONE = Choice((None,))
BOOL = Of((bool, np.bool_), "True or False")
# scikit-learn's flags are "boolean or verbosity count"
FLAG = Of((bool, np.bool_, numbers.Integral), "True, False or a verbosity count")
SEED = Of((numbers.Integral, np.random.RandomState, type(None)), "None, an integer or a numpy RandomState")
CALLABLE = Of(Callable, "a callable")

Rule = Number | Choice | Of | Words


def nearest(word: Any, options: Iterable[Any]) -> str:
    """A question "Did you mean ...?", or nothing where no option is near."""
    if not isinstance(word, str):
        return ""
    words = [str(option) for option in options]
    folded = {w.lower(): w for w in words}
    close = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.5)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def parameter(who: str, name: str, value: Any, rules: tuple[Rule, ...] | Rule) -> None:
    """Refuse a parameter value that none of the rules accepts.

    Raises:
        ParameterError: naming the parameter, its value, what is expected and, for words, the nearest option.
    """
    rules = rules if isinstance(rules, tuple) else (rules,)
    if any(rule.accepts(value) for rule in rules):
        return
    options = [o for rule in rules if isinstance(rule, (Choice, Words)) for o in rule.options]
    expected = " or ".join(str(rule) for rule in rules)
    raise ParameterError(f"{who}: {name}={value!r}; expected {expected}.{nearest(value, options)}")


def parameters(estimator: Any, table: Mapping[str, tuple[Rule, ...] | Rule]) -> None:
    """Check an estimator's constructor parameters against a table name -> rules."""
    who = type(estimator).__name__
    for name, rules in table.items():
        parameter(who, name, getattr(estimator, name), rules)


# ---------------------------------------------------------------------------------------------------------- data


def finite(who: str, X: Any, *, name: str = "X", columns: Any = None) -> None:
    """Refuse NaN and infinity, naming the first by row and column.

    Raises:
        NonFiniteError: with the first offending position and the number of others.
    """
    sparse = sp.issparse(X)
    values = X.data if sparse else np.asarray(X)
    if values.dtype.kind not in "fc" or values.size == 0:
        return
    # a sum is finite only if all are, or if it overflowed: one fast pass before the slow one
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count == 0:
        return
    if sparse:
        coo = X.tocoo()
        bad = ~np.isfinite(coo.data)
        where = (int(coo.row[bad][0]), int(coo.col[bad][0]))
        value = coo.data[bad][0]
    else:
        where = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), values.shape))
        value = values[where]
    what = "NaN" if np.isnan(value) else "infinity" if value > 0 else "-infinity"
    place = f"row {where[0]}" + (f", column {where[1]}" if len(where) > 1 else "")
    if len(where) > 1 and columns is not None and where[1] < len(columns):
        place += f" ({columns[where[1]]!r})"
    if len(where) > 2:
        place = f"index {where}"
    others = f" and {count - 1} more" if count > 1 else ""
    raise NonFiniteError(
        f"{who}: {name} contains {what} at {place}{others}; expected finite numbers (no NaN, no infinity). "
        "Drop those rows, or fill them first, for instance with sklearn.impute.SimpleImputer."
    )


NO_TARGETS = object()


def _axes(who: str, X: Any) -> None:
    """Refuse dense data that has not two axes, with the line that mends it."""
    shape = getattr(X, "shape", None)
    if sp.issparse(X) or shape is None or len(shape) == 2:
        return
    got = f"{who}: X has {len(shape)} {'axis' if len(shape) == 1 else 'axes'} {tuple(shape)}"
    if len(shape) < 2:
        fix = "Reshape your data: X.reshape(-1, 1) for a single feature, X.reshape(1, -1) for a single sample."
    else:
        fix = "Use X.reshape(len(X), -1)."
    raise ShapeError(f"{got}; expected 2 (n_samples, n_features). {fix}")


def _reword(who: str, error: ValueError) -> DataError:
    text = str(error).strip()
    text = text if text.endswith(".") else text + "."
    if "could not convert string to float" in text:
        text += (
            " Expected numbers. Encode text columns first (sklearn.preprocessing.OneHotEncoder), or train with"
            " `rosenblatt train`, which does it by declared rules."
        )
    return DataError(f"{who}: {text}")


def table(estimator: Any, method: str, X: Any, y: Any = NO_TARGETS, *, reset: bool, **options: Any) -> Any:
    """Validate a table (and targets) with scikit-learn's rules and this package's messages.

    Args:
        estimator: Sets ``n_features_in_`` and ``feature_names_in_`` on it, or compares with them.
        method: Name of the calling method, for messages.
        X: Table (n_samples, n_features), dense or sparse as the options allow.
        y: Targets; left out for X alone.
        reset: True in ``fit``, False afterwards.
        **options: Passed to scikit-learn's ``validate_data``.

    Returns:
        X, or (X, y) where y is given.

    Raises:
        ShapeError: X has not two axes.
        NonFiniteError: NaN or infinity, by row and column.
        DataError: anything else that scikit-learn's validation refuses.
    """
    who = f"{type(estimator).__name__}.{method}"
    _axes(who, X)
    options.setdefault("ensure_all_finite", False)
    try:
        if y is NO_TARGETS:
            checked = validate_data(estimator, X, reset=reset, **options)
        else:
            checked = validate_data(estimator, X, y, reset=reset, **options)
    except ValueError as error:
        raise _reword(who, error) from error
    columns = getattr(estimator, "feature_names_in_", None)
    finite(who, checked if y is NO_TARGETS else checked[0], columns=columns)
    if y is not NO_TARGETS:
        finite(who, checked[1], name="y")
    return checked


def weights(who: str, sample_weight: Any, X: Any, dtype: Any = np.float64) -> np.ndarray | None:
    """Validate sample weights: one finite, non-negative number a sample, not all zero."""
    if sample_weight is None:
        return None
    try:
        checked = _check_sample_weight(sample_weight, X, dtype=dtype, ensure_non_negative=False)
    except ValueError as error:
        raise _reword(who, error) from error
    if (checked < 0).any():
        row = int(np.argmax(checked < 0))
        raise DataError(f"{who}: sample_weight[{row}] = {checked[row]:g}; expected numbers >= 0.")
    if not checked.any():
        raise DataError(f"{who}: all sample weights are zero; expected at least one above 0.")
    return checked


def class_labels(who: str, y: Any, count: int, *, noun: str = "sample") -> np.ndarray:
    """Labels (N,) of at least two classes, as many as there are samples.

    Args:
        who: Start of the messages.
        y: The labels, numbers or text.
        count: N.
        noun: What a label belongs to.

    Raises:
        ShapeError: Not one label a sample.
        NonFiniteError, DataError: NaN, infinity or fractions.
        LabelError: One class only.
    """
    try:
        labels = column_or_1d(y, warn=True)
    except ValueError as error:
        raise ShapeError(f"{who}: y {np.shape(y)}; expected one label a {noun} ({count},).") from error
    if len(labels) != count:
        raise ShapeError(f"{who}: X has {count} {noun}s and y {len(labels)} labels; expected as many.")
    if labels.dtype.kind == "f":
        finite(who, labels, name="y")
        if (labels != np.round(labels)).any():
            fraction = labels[labels != np.round(labels)][0]
            raise DataError(f"{who}: y holds fractions such as {fraction}; expected classes.")
    two_classes(who, np.unique(labels))
    return labels


def two_classes(who: str, classes: np.ndarray) -> None:
    """Refuse a target with a single class."""
    if len(classes) < 2:
        only = f" ({classes[0]!r})" if len(classes) else ""
        raise LabelError(
            f"{who}: y has {len(classes)} class{only}; expected at least 2 classes. "
            "Check the labels, or the split that made them."
        )


def known_labels(who: str, y: np.ndarray, classes: np.ndarray) -> None:
    """Refuse labels that were unseen at fit, naming the first with its row."""
    unknown = ~np.isin(y, classes)
    if unknown.any():
        row = int(np.argmax(unknown.reshape(len(y), -1).any(axis=1)))
        value = y[unknown][0]
        raise LabelError(
            f"{who}: y has the label {value!r} (row {row}), unseen at fit; expected one of {list(classes[:10])}"
            f"{' ...' if len(classes) > 10 else ''}. Fit again with all classes, or pass classes= to the first partial_fit."
        )


# --------------------------------------------------------------------------------------------------------- files


def write_whole(path: str | Path, data: bytes | Iterable[bytes | memoryview], *, overwrite: bool = True) -> Path:
    """Write a file whole or not at all: temporary file in the same folder, fsync, rename.

    Raises:
        OutputError: it exists and ``overwrite`` is False, or it cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the path of a file. Add a file name to it.")
    if not overwrite and path.exists():
        raise OutputError(f"{path} exists already; nothing was written. Choose another path, or allow overwriting.")
    handle = None
    try:
        handle = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
        with handle:
            for block in [data] if isinstance(data, bytes) else data:
                handle.write(block)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(handle.name, 0o666 & ~_umask())
        os.replace(handle.name, path)
        _sync_folder(path.parent)
    except OSError as error:
        if handle is not None:
            Path(handle.name).unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); nothing was changed.") from error
    except BaseException:
        if handle is not None:
            Path(handle.name).unlink(missing_ok=True)
        raise
    return path


def _sync_folder(folder: Path) -> None:
    """The new name reaches the disk too; the file itself has, where a system cannot do this with folders."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
