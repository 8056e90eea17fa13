"""A consumer of the visible loops: history, progress bar, early stopping, Ctrl-C."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from torch import Tensor, nn

from rosenblatt.errors import TrainingInterrupted
from rosenblatt.train.checkpoint import Keeper
from rosenblatt.train.plan import Plan
from rosenblatt.train.supervised import EpochRecord

SHOW_AFTER = 2.0
"""Seconds before a progress bar appears: shorter work needs none."""


@dataclass
class Followed:
    """What a followed run leaves behind.

    Attributes:
        rows: One row an epoch, for ``history_``.
        best_epoch: The epoch whose weights the network holds.
        stopped: Why it ended: "epochs", "early_stopping", "target" or "interrupted".
        best_score: Highest validation score so far, where the plan stops early.
        best_state: The weights that reached it.
        since: Epochs since then.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = "epochs"
    best_score: float = float("-inf")
    best_state: dict[str, Tensor] | None = None
    since: int = 0

    def note(self, record: EpochRecord, module: nn.Module, plan: Plan) -> bool:
        """Take an epoch in; whether the run is to stop here."""
        self.rows.append(record.row())
        if not plan.early_stopping:
            self.best_epoch = record.epoch
        else:
            self.since += 1
            score = record.metrics["validation_score"]
            if score > self.best_score + (plan.min_delta or 0.0):
                self.best_score, self.best_state, self.since = score, _copy(module), 0
                self.best_epoch = record.epoch
        if plan.target is not None and record.metrics["validation_score"] >= plan.target:
            self.stopped, self.best_state, self.best_epoch = "target", None, record.epoch
        elif plan.early_stopping and self.since >= (plan.patience or 1):
            self.stopped = "early_stopping"
        return self.stopped != "epochs"


def follow(
    records: Iterable[EpochRecord],
    module: nn.Module,
    *,
    plan: Plan,
    epochs: int,
    label: str,
    verbose: int | bool,
    keeper: Keeper | None = None,
) -> Followed:
    """Run a loop to its end, or to early stopping or the target of ``validation_score``, or to Ctrl-C.

    Args:
        records: A loop such as `supervised`; where the plan stops early or has a target its records carry
            "validation_score".
        module: The network that the loop trains; holds the best epoch's weights afterwards.
        plan: A complete plan.
        epochs: Length of the whole run, for the progress bar.
        label: What the progress bar says.
        verbose: 0 silent, 1 a progress bar (on a terminal), 2 one line an epoch.
        keeper: Of the run's checkpoints, the one that the loop has too: what it found is gone on from, and each epoch
            that is due is written.

    Raises:
        KeyboardInterrupt: Stopped before the first epoch ended, so nothing is worth keeping.
    """
    done = _found(keeper, epochs, verbose)
    try:
        for record in progress(records, epochs=epochs, label=label, verbose=verbose):
            stop = done.note(record, module, plan)
            if keeper is not None and record.state is not None:
                last = stop or record.epoch == epochs
                keeper.write(partial(_state, record, done, last), record.epoch, last=last)
            if stop:
                break
    except KeyboardInterrupt:
        if not done.rows:
            raise
        done.stopped = "interrupted"
    if done.best_state is not None:
        module.load_state_dict(done.best_state)
    if done.stopped == "interrupted":
        warnings.warn(
            f"{label}: interrupted after {len(done.rows)} of {epochs} epochs; "
            f"the weights of epoch {done.best_epoch} are kept.",
            TrainingInterrupted,
            stacklevel=3,
        )
    return done


def _state(record: EpochRecord, done: Followed, finished: bool) -> dict[str, Any]:
    """What a checkpoint holds: the loop's state, and this consumer's."""
    own = {each.name: getattr(done, each.name) for each in fields(done)}
    return {"loop": record.state() if record.state is not None else {}, "followed": own, "finished": finished}


def _found(keeper: Keeper | None, epochs: int, verbose: int | bool) -> Followed:
    if keeper is None or not keeper.state:
        return Followed()
    if verbose and int(verbose) > 1:
        print(f"goes on after epoch {keeper.epoch}/{epochs}, from {keeper.folder}", file=sys.stderr)  # noqa: T201
    return Followed(**keeper.state["followed"])


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def progress(records: Iterable[EpochRecord], *, epochs: int, label: str, verbose: int | bool) -> Iterator[EpochRecord]:
    """Pass epoch records through, with a progress bar on work of more than two seconds on a terminal.

    Args:
        records: Any iterable of records.
        epochs: Expected number.
        label: Text in front of the bar.
        verbose: 0 nothing, 1 the bar, 2 or more one line an epoch on stderr.
    """
    if verbose and int(verbose) > 1:
        for record in records:
            print(_line(record, epochs), file=sys.stderr)  # noqa: T201 - asked for by verbose=2
            yield record
        return
    if not verbose or not sys.stderr.isatty():
        yield from records
        return
    yield from _bar(records, epochs, label)


def _bar(records: Iterable[EpochRecord], epochs: int, label: str) -> Iterator[EpochRecord]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    ]
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=epochs, said="")
    started, shown = time.monotonic(), False
    try:
        for record in records:
            if not shown and time.monotonic() - started > SHOW_AFTER:
                bar.start()
                shown = True
            bar.update(task, completed=record.epoch, said=_line(record, epochs))
            yield record
    finally:
        if shown:
            bar.stop()


def _line(record: EpochRecord, epochs: int) -> str:
    extras = "".join(f"  {name} {value:.4g}" for name, value in record.metrics.items())
    return f"epoch {record.epoch}/{epochs}  loss {record.loss:.4g}{extras}  {record.seconds:.2g} s"
