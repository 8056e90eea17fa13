"""One run on many devices: a process each, batches cut among them, gradients added up by PyTorch.

Every process does the same work on its own rows of the same batch (`Rank`). Who started the processes does not matter:
``torchrun`` did, on one machine or many, or `launch`, which an estimator uses for ``Plan(devices=N)``.

Weights are whole in every process (`DistributedDataParallel`), or in pieces together with their gradients and moments
(`fully_shard`), for networks that do not fit.

References: Li et al. 2020, arXiv:2006.15704 (data parallel); Rajbhandari et al. 2020, arXiv:1910.02054, and Zhao et al. 2023,
arXiv:2304.11277 (sharded).
"""

from __future__ import annotations

import atexit
import copy
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rosenblatt.errors import DeviceError, WorkerError
from rosenblatt.train.plan import Plan

PATIENCE = 1.5
"""Seconds that the other workers get, once one has failed, to say what they saw."""

_TIMEOUT = timedelta(minutes=30)


class Rank:
    """One process of a run.

    Args:
        device: "cpu", "cuda" or "auto".

    Attributes:
        number: From 0; only number 0 writes and speaks.
        size: Processes of the run.
        device: That this process computes on.
        noise: Source of what is drawn here and nowhere else, such as augmentation; set anew each epoch.
    """

    def __init__(self, device: str):
        self.number, self.size = dist.get_rank(), dist.get_world_size()
        self.device = _device_of(device, int(os.environ.get("LOCAL_RANK", self.number)))
        self.noise = torch.Generator()

    @property
    def part(self) -> tuple[int, int]:
        """(number, size), as batches take it."""
        return self.number, self.size

    def begin_epoch(self, source: torch.Generator) -> int:
        """A seed of this process for this epoch, which follows from the common source without drawing from it."""
        twin = torch.Generator(source.device)
        twin.set_state(source.get_state())
        seed = int(torch.randint(2**31, (1,), generator=twin, device=twin.device)) + self.number
        self.noise.manual_seed(seed)
        return seed

    def total(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        values = values.clone()
        dist.all_reduce(values)
        return values

    def agree(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The numbers of process 0, in all of them, so that all take the same decisions."""
        held: list[Any] = [dict(numbers)]
        dist.broadcast_object_list(held, 0)
        return held[0]

    def all(self, yes: bool) -> bool:
        """Whether all processes say yes."""
        flag = torch.tensor(int(yes), device=_collective(self.device))
        dist.all_reduce(flag, dist.ReduceOp.MIN)
        return bool(flag)

    def same(self, number: int, what: str) -> None:
        """Refuse processes that do not see the same number.

        Raises:
            DeviceError: They differ, on all of them alike.
        """
        ends = torch.tensor([number, -number], device=_collective(self.device))
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        if int(ends[0]) != -int(ends[1]):
            raise DeviceError(
                f"the processes of the run see different {what} ({-int(ends[1])} to {int(ends[0])}); expected the same. All "
                "machines need the same files under the same paths."
            )


@contextmanager
def joined(plan: Plan, device: str) -> Iterator[Rank | None]:
    """This process's part in a run of several, or None where it is alone.

    Several are meant where ``torchrun``, or `launch`, set WORLD_SIZE above 1 and the plan does not say ``devices=1``. The
    connection stays open until the process ends.
    """
    if not under_torchrun() or plan.devices == 1:
        yield None
        return
    if not dist.is_initialized():
        local = _device_of(device, int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if local.type == "cuda" else "gloo", timeout=_TIMEOUT)
        atexit.register(_leave)
    yield Rank(device)


def under_torchrun() -> bool:
    """Whether this process is one of several that ``torchrun`` or `launch` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def number_of_process() -> int:
    """0 for a process alone, else its number: results are written by 0."""
    return int(os.environ.get("RANK", "0")) if under_torchrun() else 0


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _device_of(device: str, local: int) -> torch.device:
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if device not in ("auto", "cuda"):
        raise DeviceError(
            f"device={device!r} with several devices; expected 'auto', 'cpu' or 'cuda': each process takes one."
        )
    if local >= torch.cuda.device_count():
        raise DeviceError(
            f"{local + 1} or more processes want a GPU each, this machine has {torch.cuda.device_count()}; "
            "expected as many. Use fewer devices, or device='cpu'."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _collective(device: torch.device) -> torch.device:
    return device if device.type == "cuda" else torch.device("cpu")


# ------------------------------------------------------------------------------------------------------ the network


class Replicated:
    """A network whose weights are whole in every process; gradients are averaged as they come.

    Attributes:
        net: What learns: the module itself.
    """

    def __init__(self, module: nn.Module, rank: Rank):
        self.net, self.rank = module, rank
        normalise_together(module)
        options = {"device_ids": [rank.device.index]} if rank.device.type == "cuda" else {}
        self.forward = nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True, **options)

    def quiet(self, more: bool) -> Any:
        """Context in which gradients pile up here, while more parts of the batch are to come."""
        return self.forward.no_sync() if more else nullcontext()

    def show(self) -> None:
        """Nothing to do: the module is what learns."""

    def close(self) -> None:
        """The module forgets the other processes."""
        normalise_alone(self.net)


class Sharded:
    """A network in pieces: each process holds its share of every weight, gradient and moment, and gathers a layer when it is due.

    Attributes:
        net: What learns: a copy of the module in pieces; the module itself has whole weights between epochs.
    """

    def __init__(self, module: nn.Module, rank: Rank):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self.module, self.rank = module, rank
        self.net = copy.deepcopy(module).to(memory_format=torch.contiguous_format)  # fully_shard cuts nothing else
        normalise_together(self.net)
        mesh = init_device_mesh(rank.device.type, (rank.size,))
        for part in self.net.modules():
            if part is not self.net and any(True for _ in part.parameters(recurse=False)):
                fully_shard(part, mesh=mesh)
        self.forward = fully_shard(self.net, mesh=mesh)

    def quiet(self, more: bool) -> Any:
        """Context in which gradients pile up here, while more parts of the batch are to come."""
        self.net.set_requires_gradient_sync(not more)
        return nullcontext()

    @torch.no_grad()
    def show(self) -> None:
        """Whole weights into the module."""
        self.module.load_state_dict({name: whole(tensor) for name, tensor in self.net.state_dict().items()})

    def close(self) -> None:
        """Nothing to do: the module never knew of the other processes."""


def whole(value: Any) -> Any:
    """A tensor in pieces as a whole one, in every process; anything else as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def here(tensor: Tensor) -> Tensor:
    """The piece of a tensor that lies in this process; a whole one as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def gathered(piece: Tensor, model: Tensor) -> Tensor:
    """The whole tensor, in every process, of which this is the piece; ``model`` is one in the same pieces."""
    if not hasattr(model, "device_mesh"):
        return piece
    from torch.distributed.tensor import DTensor

    mesh, places = model.device_mesh, model.placements
    return DTensor.from_local(piece, mesh, places, shape=model.shape, stride=model.stride()).full_tensor()


def like(value: Tensor, model: Tensor) -> Tensor:
    """A whole tensor in pieces, as another one of its shape is."""
    if not hasattr(model, "device_mesh") or hasattr(value, "device_mesh"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(model.device), model.device_mesh, model.placements)


# -------------------------------------------------------------------------------------------- batch normalisation


def normalise_together(module: nn.Module) -> None:
    """Batch normalisation over the whole batch, in all processes: the result is that of one device.

    PyTorch's own ``SyncBatchNorm`` does this on GPUs alone.
    """
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            part.forward = partial(_together, part)


def normalise_alone(module: nn.Module) -> None:
    """Undo `normalise_together`."""
    for part in module.modules():
        vars(part).pop("forward", None) if isinstance(vars(part).get("forward"), partial) else None


class _Sum(torch.autograd.Function):
    """Sum over the processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _together(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if not layer.training:
        return type(layer).forward(layer, x)
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    values = x.float()
    own = values.sum(axes)
    sums = _Sum.apply(torch.cat([own, own.new_tensor([values.numel() / x.shape[1]])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = values - mean.view(shape)
    # of centred values: E[x^2] - E[x]^2 would lose all digits where the mean is large
    variance = _Sum.apply(centred.square().sum(axes)) / count
    _remember(layer, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    out = centred * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.affine:
        out = out * layer.weight.view(shape) + layer.bias.view(shape)
    return out.to(x.dtype)


@torch.no_grad()
def _remember(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    if not layer.track_running_stats:
        return
    layer.num_batches_tracked += 1
    pace = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, pace)
    layer.running_var.lerp_(variance, pace)


# --------------------------------------------------------------------------------------------------------- launch


def launch(arguments: Sequence[str], devices: int, *, folder: Path, aloud: bool = False) -> None:
    """Run ``python ARGUMENTS`` in several processes of this machine, as ``torchrun`` would.

    They end when this process does. The first failure ends them all.

    Args:
        arguments: Of Python, the same for all.
        devices: Number of processes.
        folder: Where each leaves what it says on stderr, RANK.err.
        aloud: Pass on at once what the first one says.

    Raises:
        WorkerError: One failed or was killed; which, how, and what it said last.
    """
    threads = max(1, torch.get_num_threads() // devices)
    common = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(devices),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }  # fmt: skip
    workers: list[subprocess.Popen] = []
    try:
        for number in range(devices):
            with (folder / f"{number}.err").open("wb") as said:
                workers.append(
                    subprocess.Popen(
                        [sys.executable, *arguments],
                        env={**common, "RANK": str(number), "LOCAL_RANK": str(number)},
                        stdin=subprocess.PIPE,  # closes when this process ends, however it does
                        stderr=said,
                    )
                )
        _watch(workers, folder, aloud)
    finally:
        _end(workers)


def _watch(workers: list[subprocess.Popen], folder: Path, aloud: bool) -> None:
    with (folder / "0.err").open(errors="replace") as said:
        codes = [worker.poll() for worker in workers]
        while None in codes and not any(codes):
            time.sleep(0.05)
            if aloud and (text := said.read()):
                sys.stderr.write(text)
            codes = [worker.poll() for worker in workers]
    if not any(codes):
        return
    dead = next(number for number, code in enumerate(codes) if code)
    deadline = time.monotonic() + PATIENCE
    while None in codes and time.monotonic() < deadline:
        time.sleep(0.05)
        codes = [worker.poll() for worker in workers]
    # a killed one is the cause, the others only lost their connection to it
    codes = [code or 0 for code in codes]
    number = next((n for n, code in enumerate(codes) if code < 0), dead)
    how = (
        f"was killed ({signal.Signals(-codes[number]).name})"
        if codes[number] < 0
        else f"failed (exit code {codes[number]})"
    )
    lines = (folder / f"{number}.err").read_text(errors="replace").strip().splitlines()
    last = f": {lines[-1]}" if lines and codes[number] > 0 else ""
    raise WorkerError(f"worker {number} of {len(workers)} {how}{last}", number=number)


def _end(workers: list[subprocess.Popen]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
    for worker in workers:
        worker.wait()
        if worker.stdin is not None:
            worker.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
