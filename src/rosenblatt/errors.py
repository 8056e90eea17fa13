"""The exceptions of rosenblatt: each is also the built-in or scikit-learn error that a caller would expect.

::

    RosenblattError
    ├── ParameterError        (ValueError)      a constructor argument or option is wrong
    ├── DataError             (ValueError)      the data cannot be learned from as it is
    │   ├── ShapeError                          wrong number or length of axes
    │   ├── NonFiniteError                      NaN or infinity, named by row and column
    │   ├── LabelError                          one class only, labels unseen at fit, wrong label type
    │   ├── ColumnError       (KeyError-like)   missing, renamed or unknown columns of a table
    │   └── PictureError                        unreadable, truncated or absent pictures
    ├── NotFittedError        (scikit-learn's NotFittedError: ValueError, AttributeError)
    ├── DivergedError         (ArithmeticError) loss or gradient turned non-finite; last good weights are kept
    ├── DeviceError           (RuntimeError)    the asked device or precision is not there
    ├── WorkerError           (RuntimeError)    a process of a run on several devices failed or was killed
    ├── ModelFileError        (ValueError)      a model file that is not loaded
    │   ├── DamagedFileError                    cut short, or its parts contradict each other
    │   ├── ForeignFileError                    not one of ours
    │   ├── NewerFormatError                    written by a newer rosenblatt
    │   └── UnsafeFileError                     asks for something that no file of ours asks for
    ├── CheckpointError       (ValueError)      a checkpoint of another run
    ├── OutputError           (OSError)         an output that exists already or cannot be written
    ├── FetchError            (OSError)         a data set or weight file that is not here and cannot be fetched
    ├── ConsentError          (PermissionError) a face is to be swapped and nobody stated the consent of the persons
    └── MissingExtraError     (ImportError)     an optional dependency is not installed

Warnings: `TrainingInterrupted` (UserWarning) says what a run that was stopped by Ctrl-C kept; `CheckpointWarning`
(UserWarning) that a checkpoint was passed over or not written, `MemoryWarning` (UserWarning) that batches were made smaller
to fit into memory, `TrainingWarning` (UserWarning) that training ended badly.

A message says what was got, what was expected and how to mend it.
"""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError as _SklearnNotFittedError


class RosenblattError(Exception):
    """Root of all errors that rosenblatt raises on purpose."""


class ParameterError(RosenblattError, ValueError):
    """A constructor argument or an option has a wrong type or value."""


class DataError(RosenblattError, ValueError):
    """The data cannot be used as it is."""


class ShapeError(DataError):
    """The data has a wrong number of axes, or axes of wrong lengths."""


class NonFiniteError(DataError):
    """The data holds NaN or infinity; the message names the first row and column."""


class LabelError(DataError):
    """Labels that cannot be learned or were unseen at fit."""


class ColumnError(DataError):
    """Columns of a table are missing, renamed or unknown."""


class PictureError(DataError):
    """Pictures are unreadable, truncated or absent; the message names and counts them."""


class NotFittedError(RosenblattError, _SklearnNotFittedError):
    """The estimator was asked for something that it only knows after ``fit``."""


class DivergedError(RosenblattError, ArithmeticError):
    """Training produced a non-finite loss, gradient or weight.

    The estimator keeps the weights of the last good epoch; the attributes say where it happened.

    Attributes:
        epoch: Epoch, counted from 1.
        batch: Batch within the epoch, counted from 1; None where only the epoch is known.
        layer: Name of the first layer, in forward order, whose output or gradient is not finite.
    """

    def __init__(self, message: str, *, epoch: int | None = None, batch: int | None = None, layer: str | None = None):
        super().__init__(message)
        self.epoch, self.batch, self.layer = epoch, batch, layer

    @classmethod
    def at(cls, epoch: int, *, batch: int | None = None, layer: str | None = None, advice: str) -> DivergedError:
        """The error with its message: where it happened, which weights were kept, what to try."""
        place = f"epoch {epoch}" + (f", batch {batch}" if batch is not None else "")
        named = f"; the first non-finite numbers are in layer {layer!r}" if layer is not None else ""
        before = "from before training" if epoch == 1 else f"of epoch {epoch - 1}, the last good one,"
        message = f"Training diverged in {place}{named}. Kept the weights {before} instead. {advice}"
        return cls(message, epoch=epoch, batch=batch, layer=layer)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_diverged, (str(self), self.epoch, self.batch, self.layer))


def _rebuild_diverged(message: str, epoch: int | None, batch: int | None, layer: str | None) -> DivergedError:
    return DivergedError(message, epoch=epoch, batch=batch, layer=layer)


class DeviceError(RosenblattError, RuntimeError):
    """The asked device or precision is not there."""


class WorkerError(RosenblattError, RuntimeError):
    """A process of a run on several devices failed or was killed.

    Attributes:
        number: Of the process, from 0.
    """

    def __init__(self, message: str, *, number: int = 0):
        super().__init__(message)
        self.number = number


class ModelFileError(RosenblattError, ValueError):
    """A model file that is not loaded, or a model that cannot be written into one."""


class DamagedFileError(ModelFileError):
    """The file is cut short, or its parts contradict each other."""


class ForeignFileError(ModelFileError):
    """The file is not a rosenblatt model file."""


class NewerFormatError(ModelFileError):
    """The file was written by a newer rosenblatt."""


class UnsafeFileError(ModelFileError):
    """The file asks for something that no file of ours asks for."""


class CheckpointError(RosenblattError, ValueError):
    """A checkpoint belongs to another run; the message names what differs."""


class OutputError(RosenblattError, OSError):
    """An output exists already, or cannot be written."""


class FetchError(RosenblattError, OSError):
    """A data set or a weight file is not here and cannot be fetched."""


class ConsentError(RosenblattError, PermissionError):
    """Faces of persons are to be learned or swapped, and their consent was not stated."""


class MissingExtraError(RosenblattError, ImportError):
    """An optional dependency is not installed; the message gives the command that installs it."""


class TrainingInterrupted(UserWarning):
    """Training was stopped by the user; the message says which weights were kept."""


class CheckpointWarning(UserWarning):
    """A checkpoint was damaged and passed over, or could not be written; the message says what is used instead."""


class MemoryWarning(UserWarning):
    """Memory ran out, and training goes on in smaller parts; the message says in how many."""


class TrainingWarning(UserWarning):
    """Training ended, and its signals say that something went wrong; the message says what, and what to try."""
