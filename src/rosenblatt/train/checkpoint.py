"""Checkpoints: the whole state of a run in one file, written whole or not at all, from which it goes on exactly.

A checkpoint is a safetensors file: tensors as they are, everything else as JSON in its header, and a SHA-256 over both.
Nothing in it is code. The files of one run lie in one folder, ``checkpoint-00000012.safetensors`` is that of epoch 12.

Any loop can use the two functions: `write` takes a nested dict of tensors, arrays, numbers and text, `read_latest` gives it
back. `Keeper` is the same for a run with a `Plan`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import torch
from torch import Tensor

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.errors import (
    CheckpointError,
    CheckpointWarning,
    DamagedFileError,
    NewerFormatError,
    OutputError,
    ParameterError,
)
from rosenblatt.train.plan import Plan

FORMAT = 1
"""Version of the file's layout; a reader refuses a higher one."""

_KEY, _DIGEST = "rosenblatt-checkpoint", "sha256"
_NAME = re.compile(r"checkpoint-(\d{8,})\.safetensors")
_STRAY = 600.0  # seconds after which a temporary file has no writer any more
_SAMPLE = 1 << 26  # bytes of an array that go into its fingerprint
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8",
}  # fmt: skip


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        epoch: After which it was written.
        state: As it was given to `write`; tensors are on the CPU.
        path: Its file.
    """

    epoch: int
    state: dict[str, Any]
    path: Path


# ------------------------------------------------------------------------------------------------- write and read


def write(
    folder: PathLike,
    state: Mapping[str, Any],
    epoch: int,
    *,
    identity: Mapping[str, Any] | None = None,
    keep: int = 2,
) -> Path:
    """Write the state of a run into its folder, whole or not at all, and take the oldest checkpoints away.

    Args:
        folder: Of this run; made where it is not there.
        state: Nested dicts (keys are text or numbers), lists and tuples of tensors, arrays, numbers, text and None.
        epoch: Counted from 1, or steps; later checkpoints have higher numbers.
        identity: Name -> text or number: everything that must be the same when the run goes on, such as the learning
            rate and the `fingerprint` of the data.
        keep: Checkpoints that stay; with two a damaged newest one costs an epoch and not the run.

    Returns:
        The file.

    Raises:
        ParameterError: The state holds something else than the above.
        OutputError: It cannot be written (no space, no permission); the ones before are as they were.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write(folder, {"weights": torch.arange(3.0), "step": 7}, 1)
        ...     read_latest(folder).state
        {'weights': tensor([0., 1., 2.]), 'step': 7}
    """
    folder, tensors = Path(folder), {}
    tree = {
        "format": FORMAT,
        "epoch": int(epoch),
        "identity": _flatten("identity", dict(identity or {}), {}),
        "state": _flatten("", dict(state), tensors),
    }
    text = json.dumps(tree, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror or error}); expected a folder.") from error
    path = folder / f"checkpoint-{int(epoch):08d}.safetensors"
    _validate.write_whole(path, _blocks(text, tensors))
    for old in _files(folder)[max(1, keep) :]:
        old.unlink(missing_ok=True)
    _sweep(folder)
    return path


def read_latest(folder: PathLike, *, identity: Mapping[str, Any] | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of a folder, or None where there is none.

    A damaged one is passed over with a `CheckpointWarning`, and the one before it is read.

    Args:
        folder: Of the run.
        identity: As given to `write`; None does not compare.

    Raises:
        CheckpointError: It belongs to another run; the message names what differs.
        DamagedFileError: There are checkpoints, and all are damaged.
        NewerFormatError: Written by a newer version.
    """
    files, refused = _files(Path(folder)), []
    for path in files:
        try:
            tree, tensors = _read(path)
            found = Checkpoint(int(tree["epoch"]), _build(tree["state"], tensors), path)
        except DamagedFileError as error:
            refused.append(str(error))
            continue
        for message in refused:
            warnings.warn(f"{message} The one before it is used: epoch {found.epoch}.", CheckpointWarning, stacklevel=2)
        _refuse_other(path, _build(tree["identity"], {}), identity)
        return found
    if refused:
        raise DamagedFileError(
            f"{folder}: none of its {len(files)} checkpoints can be used ({refused[0]}). Delete the folder to start anew."
        )
    return None


def fingerprint(*arrays: Tensor | np.ndarray | None) -> str:
    """Sixteen digits that change with the arrays: shapes, types, and the bytes (of more than 64 MiB evenly spaced ones).

    Example:
        >>> fingerprint(np.zeros(3)) == fingerprint(np.zeros(3)) != fingerprint(np.ones(3))
        True
    """
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        tensor = torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array.detach()
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        rows = max(1, math.ceil(tensor.numel() * tensor.element_size() / _SAMPLE))
        digest.update(_bytes(tensor[::rows] if tensor.ndim else tensor))
    return digest.hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------- for a plan


class Keeper:
    """The checkpoints of one run: what an earlier start of it left, and where the next one goes.

    Args:
        folder: Of the run.
        identity: As `write`.
        every: Epochs from one checkpoint to the next; the last epoch always has one.
        keep: As `write`.

    Attributes:
        epoch: Of the checkpoint that was found, 0 where there was none.
        state: Of that checkpoint, else empty.
        writes: Whether `write` writes; in a run of several processes only one does.

    Raises:
        OutputError: The folder cannot be written to: said before the work, not after it.
        CheckpointError, DamagedFileError, NewerFormatError: See `read_latest`.
    """

    def __init__(self, folder: PathLike, identity: Mapping[str, Any], *, every: int = 1, keep: int = 2):
        self.folder, self.identity, self.every, self.keep = Path(folder), dict(identity), every, keep
        self.writes = True
        _refuse_unwritable(self.folder)
        found = read_latest(self.folder, identity=self.identity)
        self.epoch, self.state = (0, {}) if found is None else (found.epoch, found.state)

    @property
    def finished(self) -> bool:
        """Whether the run that was found came to its end: its state says ``"finished": True``."""
        return bool(self.state.get("finished", False))

    @classmethod
    def of(cls, plan: Plan, identity: Mapping[str, Any], *, part: str = "") -> Keeper | None:
        """The keeper of a plan, or None where it asks for no checkpoints.

        Args:
            plan: Its ``checkpoint``, ``checkpoint_every`` and ``checkpoint_keep`` count; all else that it says becomes part
                of the identity.
            identity: What else must be the same. A ``random_state`` in it must be an integer.
            part: Name of a sub-folder, for a fit of several runs.

        Raises:
            ParameterError: ``random_state`` is no integer, so no second start would be the same run.
        """
        if plan.checkpoint is None:
            return None
        refuse_unrepeatable(plan, identity.get("random_state", 0))
        # on how many devices it runs changes nothing but round-off, so a run may go on with others
        free = ("devices", "sharded", "checkpoint", "checkpoint_every", "checkpoint_keep")
        said = {f"plan.{name}": value for name, value in plan.said().items() if name not in free}
        return cls(
            Path(plan.checkpoint, part), {**said, **identity},
            every=plan.checkpoint_every or 1, keep=plan.checkpoint_keep or 2,
        )  # fmt: skip

    def write(self, state: Callable[[], Mapping[str, Any]], epoch: int, *, last: bool = False) -> None:
        """Write the state after an epoch, where one is due.

        A full disk does not end the run: the user is warned, the checkpoint before stays, and the next epoch tries again.

        Args:
            state: Called where the state is wanted.
            epoch: Counted from 1.
            last: Of the run: written whatever ``every`` says.
        """
        if epoch % self.every and not last:
            return
        found = state()  # in all processes: each may hold a piece of it
        if not self.writes:
            return
        try:
            write(self.folder, found, epoch, identity=self.identity, keep=self.keep)
        except OutputError as error:
            warnings.warn(
                f"{error} Training goes on without the checkpoint of epoch {epoch}; free some space.",
                CheckpointWarning,
                stacklevel=2,
            )


def refuse_unrepeatable(plan: Plan, random_state: Any) -> None:
    """Refuse checkpoints of a run whose second start would be another one.

    Raises:
        ParameterError: ``random_state`` is no integer.
    """
    if plan.checkpoint is not None and not _validate.Number(integer=True).accepts(random_state):
        raise ParameterError(
            f"Plan(checkpoint={plan.checkpoint!r}) with random_state={random_state!r}; expected an integer, so that a second "
            "start is the same run. Set random_state=0."
        )


def _refuse_unwritable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"checkpoint={str(folder)!r} cannot be written to ({error.strerror or error}); expected a folder for checkpoints. "
            "Choose another one."
        ) from error


def _refuse_other(path: Path, there: Mapping[str, Any], here: Mapping[str, Any] | None) -> None:
    if here is None:
        return
    # through JSON and back, as what was read went
    here = _build(json.loads(json.dumps(_flatten("identity", dict(here), {}))), {})
    differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differ:
        few = ", ".join(f"{name} {there.get(name)!r} there and {here.get(name)!r} here" for name in differ[:3])
        raise CheckpointError(
            f"{path} belongs to another run: {few}{' ...' if len(differ) > 3 else ''}; expected the same. Choose another "
            "folder, or delete this one to start anew."
        )


# ----------------------------------------------------------------------------------------------------- the folder


def _files(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    found = [(int(m[1]), path) for path in folder.glob("checkpoint-*") if (m := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _sweep(folder: Path) -> None:
    """Take away what writers that were killed left behind."""
    for path in folder.glob(".checkpoint-*"):
        try:
            if time.time() - path.stat().st_mtime > _STRAY:
                path.unlink()
        except OSError:  # gone meanwhile: another process did it
            continue


# ------------------------------------------------------------------------------------------------------- the file


def _flatten(name: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON of a value; tensors and arrays go to ``tensors`` under their place in it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (Tensor, np.ndarray)):
        return _flatten_tensor(name, value, tensors)
    if isinstance(value, Mapping):
        pairs = [[_flatten(name, k, tensors), _flatten(f"{name}.{k}", v, tensors)] for k, v in value.items()]
        return {"$dict": pairs}
    if isinstance(value, (list, tuple)):
        items = [_flatten(f"{name}.{i}", item, tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    raise ParameterError(
        f"checkpoint: {name.lstrip('.') or 'the state'} is a {type(value).__name__}; expected tensors, arrays, numbers, "
        "text, lists, tuples and dicts of them."
    )


def _flatten_tensor(name: str, value: Tensor | np.ndarray, tensors: dict[str, Tensor]) -> dict[str, str]:
    key = name.lstrip(".")
    while key in tensors:  # {"a.b": x, "a": {"b": y}}
        key += "'"
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise ParameterError(f"checkpoint: {key} is an array of {value.dtype}; expected numbers.")
        tensors[key] = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
        return {"$array": key}
    if value.dtype not in _DTYPES:
        raise ParameterError(f"checkpoint: {key} is a tensor of {value.dtype}; expected plain numbers.")
    tensors[key] = value.detach().cpu().contiguous()
    return {"$tensor": key}


def _build(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_build(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (tag, held), = value.items()  # fmt: skip
    if tag == "$dict":
        return {_build(k, tensors): _build(v, tensors) for k, v in held}
    if tag == "$tuple":
        return tuple(_build(item, tensors) for item in held)
    if tag == "$float":
        return float(held)
    return tensors[held] if tag == "$tensor" else tensors[held].numpy()


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{_DTYPES[tensors[name].dtype]}".encode())
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _blocks(text: str, tensors: dict[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The file piece by piece: its format is a length, a JSON header and the tensors, and no second copy is needed."""
    header: dict[str, Any] = {"__metadata__": {_KEY: text, _DIGEST: _digest(text, tensors)}}
    # the longest numbers first, so that each tensor begins at a multiple of its own
    order, start = sorted(tensors, key=lambda name: -tensors[name].element_size()), 0
    for name in order:
        tensor = tensors[name]
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    yield len(head).to_bytes(8, "little")
    yield head
    for name in order:
        yield _bytes(tensors[name])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            held = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path} is cut short or damaged ({error}).") from error
    text = held.get(_KEY, "")
    if held.get(_DIGEST) != _digest(text, tensors):
        raise DamagedFileError(f"{path} is damaged: its checksum is another one.")
    tree = json.loads(text)
    if tree["format"] > FORMAT:
        raise NewerFormatError(f"{path} has format {tree['format']}; this rosenblatt reads up to {FORMAT}. Upgrade it.")
    return tree, tensors
