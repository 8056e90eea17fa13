"""``Plan(devices=N)``: an estimator's fit, done by N processes of this machine.

Each makes the same estimator and calls its ``fit`` on the same pictures, as a script under ``torchrun`` would; arrays are
written once and mapped into all of them. Nothing is pickled: the task and the result are checkpoints.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rosenblatt import _validate, errors
from rosenblatt.data.layouts import Member
from rosenblatt.data.sources import PictureSource
from rosenblatt.errors import DeviceError, ParameterError, RosenblattError, WorkerError
from rosenblatt.train.checkpoint import read_latest, refuse_unrepeatable, write
from rosenblatt.train.distributed import launch, number_of_process
from rosenblatt.train.plan import Plan

_RESULT = ("history_", "best_epoch_", "n_iter_", "stopped_", "device_", "precision_")


def fit_on_devices(
    estimator: Any,
    plan: Plan,
    pictures: np.ndarray | PictureSource,
    codes: np.ndarray,
    weight: np.ndarray | None,
    seed: int,
) -> None:
    """Train ``estimator.module_``, and set the attributes of the training record.

    Args:
        estimator: With its network built and everything checked.
        plan: A complete plan; its ``devices`` is the number of processes.
        pictures: What is learned from.
        codes: Classes (N,) as numbers from 0.
        weight: Weights (N,), or None.
        seed: Of the run.

    Raises:
        ParameterError: The network is a module of the user's own, whose code no process can be sent.
        DeviceError: Two devices are named.
        WorkerError: A process was killed, or failed with another error than one of this package, which is raised as it is.
    """
    who = f"{type(estimator).__name__}.fit"
    if isinstance(estimator.network, nn.Module):
        raise ParameterError(
            f"{who}: Plan(devices={plan.devices}) with a network of your own, whose code cannot be sent to other processes; "
            f"expected one by name. Start your script with: torchrun --nproc-per-node {plan.devices} SCRIPT"
        )
    if "," in str(estimator.device):
        raise DeviceError(
            f"{who}: device={estimator.device!r} with Plan(devices={plan.devices}); expected one of them."
        )
    refuse_unrepeatable(plan, estimator.random_state)
    with tempfile.TemporaryDirectory(prefix="rosenblatt-") as name:
        folder = Path(name)
        _hand_over(folder, estimator, pictures, codes, weight, seed)
        failed = None
        try:
            launch(
                ["-m", "rosenblatt.estimators.devices", name],
                plan.devices or 1,
                folder=folder,
                aloud=bool(estimator.verbose),
            )
        except WorkerError as error:
            failed = _what_failed(who, folder, error, plan)
        _take_back(folder, estimator)
        if failed is not None:
            raise failed


def _hand_over(
    folder: Path, estimator: Any, pictures: Any, codes: np.ndarray, weight: np.ndarray | None, seed: int
) -> None:
    parameters = estimator.get_params(deep=False)
    plan = parameters.pop("plan") or Plan()
    # the classes' weights are in the samples' already
    parameters |= {"random_state": seed, "class_weight": None, "device": str(estimator.device)}
    task = {
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "plan": plan.said(),
        "y": codes,
        "weight": weight,
        "source": _described(pictures) if isinstance(pictures, PictureSource) else None,
    }
    write(folder / "task", task, 1)
    if isinstance(pictures, np.ndarray):
        np.save(folder / "pictures.npy", pictures, allow_pickle=False)


def _described(source: PictureSource) -> dict[str, Any]:
    items = [
        [str(item.shard), item.name, item.offset, item.size] if isinstance(item, Member) else str(item)
        for item in source.items
    ]
    return {"items": items, "names": list(source.names), "form": source.form, "skip_bad": source.skip_bad}


def _pictures(folder: Path, task: dict[str, Any]) -> np.ndarray | PictureSource:
    source = task["source"]
    if source is None:
        # mapped, and not copied; "c" because torch wants what it could write to
        return np.load(folder / "pictures.npy", mmap_mode="c", allow_pickle=False)
    items = [Path(i) if isinstance(i, str) else Member(Path(i[0]), *i[1:]) for i in source["items"]]
    return PictureSource(items, source["names"], task["y"], tuple(source["form"]), source["skip_bad"], [], "fit")


def _take_back(folder: Path, estimator: Any) -> None:
    """What the first process reached, if it came to that."""
    found = read_latest(folder / "result")
    if found is None:
        return
    estimator.module_.load_state_dict(found.state["module"])
    for name, value in found.state["fitted"].items():
        setattr(estimator, name, value)
    for kind, message in found.state["warnings"]:
        warnings.warn(message, getattr(errors, kind, UserWarning), stacklevel=5)


def _what_failed(who: str, folder: Path, error: WorkerError, plan: Plan) -> RosenblattError:
    """The worker's own error where it is one of this package's; else that a process failed, and how to go on."""
    left = folder / f"{error.number}.json"
    kind, message = json.loads(left.read_text()) if left.is_file() else ("", "")
    if issubclass(getattr(errors, kind, object), RosenblattError):
        return getattr(errors, kind)(message)
    fix = "Plan(checkpoint=FOLDER) would have kept what was learned."
    if plan.checkpoint is not None:
        fix = f"The same call goes on after the last checkpoint in {plan.checkpoint}."
    return WorkerError(f"{who}: {error}. {fix}", number=error.number)


# --------------------------------------------------------------------------------------------------- in a process


def work(folder: Path) -> None:
    """Do the task of a folder, as one process of several; the first one leaves the result."""
    import rosenblatt

    task = read_latest(folder / "task").state
    kind = getattr(rosenblatt, task["estimator"])
    estimator = kind(**task["parameters"], plan=Plan(**task["plan"]))
    X = _pictures(folder, task)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            estimator.fit(X, None if isinstance(X, PictureSource) else task["y"], task["weight"])
        finally:
            if number_of_process() == 0 and hasattr(estimator, "module_"):
                fitted = {name: getattr(estimator, name) for name in _RESULT if hasattr(estimator, name)}
                heard = [[each.category.__name__, str(each.message)] for each in said]
                state = {"module": estimator.module_.state_dict(), "fitted": fitted, "warnings": heard}
                write(folder / "result", state, 1)


def _end_with_parent() -> None:
    """The pipe to the process that started this one closes when that one ends, however it does."""
    while os.read(0, 1):  # not sys.stdin, whose lock Python wants when it ends
        continue
    os._exit(1)


def main(folder: Path) -> None:
    """Work, and leave word of a failure."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(folder)
    except Exception as error:
        _validate.write_whole(
            folder / f"{number_of_process()}.json", json.dumps([type(error).__name__, str(error)]).encode()
        )
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
