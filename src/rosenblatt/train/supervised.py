"""The supervised loop, visible: a generator that trains one epoch at a time and yields a frozen record of it.

Whoever iterates decides what happens between epochs: early stopping is a ``break``, progress bars, checkpoints and
live plots read the records. Nothing is called back from inside a step.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.data.resident import Resident
from rosenblatt.data.streamed import Streamed
from rosenblatt.errors import DivergedError, MemoryWarning, ParameterError
from rosenblatt.train.checkpoint import Keeper, fingerprint
from rosenblatt.train.distributed import Rank, Replicated, Sharded, gathered, here, like, whole
from rosenblatt.train.memory import keep_freed, out_of_memory
from rosenblatt.train.numbers import (
    Watch,
    bad_gradient,
    bad_weight,
    copy_into,
    finite,
    floating,
    gradient_norms,
    tensors,
)
from rosenblatt.train.optimizer import make_optimizer, same_layout
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_precision, synchronize
from rosenblatt.train.range_test import current as current_range_test
from rosenblatt.train.saliency import at_rest
from rosenblatt.train.schedule import factor
from rosenblatt.train.seeds import PrivateRandom

Loss = Callable[[Any, Tensor, Tensor | None], Tensor]
"""(output of the network, targets, sample weights or None) -> mean loss of the batch."""

Objective = Callable[..., Tensor]
"""(network, still, x, y, weight, *, done) -> mean loss of the batch, of one that looks at the network more than once.

``network`` gives outputs of prepared inputs, ``still`` is a context manager that gives the same in eval mode and without
gradients of the weights, ``done`` is the share of the run that is behind. See `rosenblatt.estimators.defended.Defended`.
"""


@dataclass(frozen=True)
class EpochRecord:
    """What happened in one epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Mean training loss over the epoch's samples, measured while the weights were moving.
        learning_rate: At the epoch's end.
        seconds: Training time of the epoch, evaluation not counted.
        metrics: What the ``evaluate`` function returned, for instance the validation score; and ``accumulate``, the parts
            in which each batch went through the network, where they are more than one.
        gradient_norms: Name of a layer -> norm of its gradient in the epoch's last batch, after clipping.
        state: Function that gives everything the loop needs to go on from here, for a checkpoint.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: Callable[[], dict[str, Any]] | None = field(default=None, repr=False, compare=False)
    gradient_norms: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)

    def row(self) -> dict[str, Any]:
        """The record as one row of ``history_``: numbers, and the gradient norms by layer."""
        named = {name: getattr(self, name) for name in ("epoch", "loss", "learning_rate", "seconds")}
        norms = {"gradient_norms": dict(self.gradient_norms)} if self.gradient_norms else {}
        return {**named, **self.metrics, **norms}


def supervised(
    module: nn.Module,
    data: Resident,
    loss: Loss,
    *,
    plan: Plan = STANDARD,
    epochs: int,
    learning_rate: float,
    prepare: Callable[[Tensor], Tensor] | None = None,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    keeper: Keeper | None = None,
    rank: Rank | None = None,
    objective: Objective | None = None,
) -> Iterator[EpochRecord]:
    """Train a network on resident data; yield after each epoch.

    Args:
        module: The network; its weights are changed in place. With ``plan.ema`` the module holds the averaged weights
            whenever the generator yields.
        data: Batches that lie on the module's device.
        loss: (output, targets, weights or None) -> mean loss of the batch.
        plan: Optimizer, schedule, clipping, averaging, precision.
        epochs: Passes over the data.
        learning_rate: Top of the schedule.
        prepare: Applied to each input batch on the device: cast, normalisation, augmentation.
        evaluate: Called with the module in eval mode after each epoch; its numbers go into the record.
        keeper: Of the run's checkpoints (see `keeper_of`); the loop goes on after the epoch whose state it found. Writing
            is the consumer's, with ``record.state``; `rosenblatt.train.follow.follow` does it.
        rank: This process's part in a run of several (`rosenblatt.train.distributed.joined`); the data is cut by it too.
        objective: Takes the place of ``prepare`` and ``loss``: what ``plan.defence`` asks for.

    Yields:
        One `EpochRecord` an epoch.

    Raises:
        DivergedError: Loss or weights turned non-finite; the module holds the weights of the last good epoch.
        ParameterError: The plan asks for checkpoints and there is no keeper, or for several devices and there is no rank.
        MemoryError, RuntimeError: Not even a single sample fits into memory.
        KeyboardInterrupt: Passed on; the module holds the weights of the last whole epoch.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, y = torch.eye(3).repeat(20, 1), torch.arange(3).repeat(20)
        >>> data = Resident(x, y, device="cpu", batch_size=15, generator=generator)
        >>> net = nn.Linear(3, 3)
        >>> def loss(output, y, weight):
        ...     return nn.functional.cross_entropy(output, y)
        >>> for epoch in supervised(net, data, loss, epochs=20, learning_rate=0.1):
        ...     if epoch.loss < 0.1:
        ...         break
        >>> epoch.loss < 0.1
        True
    """
    plan = plan.over(STANDARD)
    _check_plan(plan, keeper, rank, objective)
    run = _Run(module, data, loss, plan, epochs, learning_rate, prepare, rank, objective)
    try:
        for number in range(run.resume(keeper) + 1, epochs + 1):
            good = run.snapshot()
            started = time.perf_counter()
            run.net.train()
            try:
                mean = run.epoch_within_memory(good, number)
            except KeyboardInterrupt:
                # half an epoch is no well-defined result: go back to the end of the one before
                run.undo(good)
                raise
            synchronize(run.device)
            seconds = time.perf_counter() - started
            if not run.agreed(math.isfinite(mean) and finite(run.net)):
                raise run.diagnose(good, number)
            del good  # the consumer may keep a copy of its own
            norms = gradient_norms(run.net)
            live = run.average_in()
            module.eval()
            metrics = run.same(evaluate(module) if evaluate is not None else {})
            if run.parts > 1:
                metrics["accumulate"] = run.parts
            yield EpochRecord(number, mean, run.rate, seconds, metrics, partial(run.state, live), norms)
            # a consumer that stops here, and the last epoch, leave the averaged weights in the module
            if live is not None and number < epochs:
                copy_into(run.net, live)
        module.eval()
    finally:
        run.close()


def _check_plan(plan: Plan, keeper: Keeper | None, rank: Rank | None, objective: Objective | None) -> None:
    """Refuse a plan that this loop was not given the means for, or whose parts exclude each other."""
    if plan.checkpoint is not None and keeper is None:
        raise ParameterError(
            "Plan(checkpoint=...): this loop was given no keeper; expected keeper=keeper_of(plan, ...)."
        )
    if (plan.devices or 1) > 1 and rank is None:
        raise ParameterError(
            f"Plan(devices={plan.devices}): this system learns on one device; leave it out of the plan."
        )
    if plan.defence is not None and objective is None:
        raise ParameterError(f"Plan(defence={plan.defence!r}): this system has no defence; leave it out of the plan.")
    if plan.defence is not None and plan.sharded:
        raise ParameterError(
            "Plan(sharded=True, defence=...): an attack needs the whole network; expected one of them."
        )
    if plan.sharded and plan.optimizer == "muon":
        raise ParameterError("Plan(sharded=True, optimizer='muon'): it turns whole matrices, which no process holds.")
    if plan.sharded and rank is None:
        raise ParameterError("Plan(sharded=True) on one device; expected Plan(devices=N) or torchrun. Leave it out.")


def keeper_of(
    plan: Plan,
    module: nn.Module,
    data: Resident | Streamed,
    *,
    epochs: int,
    learning_rate: float,
    part: str = "",
    rank: Rank | None = None,
    **identity: Any,
) -> Keeper | None:
    """The keeper of a supervised run, or None where its plan asks for no checkpoints.

    Args:
        plan: A complete plan.
        module: The network with the weights that it starts from: they are part of the run's identity.
        data: What it learns from.
        epochs: As `supervised`.
        learning_rate: As `supervised`.
        part: Name of a sub-folder, for a fit of several runs.
        rank: As `supervised`: process 0 alone writes.
        **identity: What else must be the same, such as ``random_state``.

    Raises:
        ParameterError, OutputError, CheckpointError, DamagedFileError: See `rosenblatt.train.checkpoint.Keeper`.
    """
    if plan.checkpoint is None:
        return None
    identity |= {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": data.batch_size,
        "precision": choose_precision(plan.precision, next(module.parameters()).device),
        "starting weights": fingerprint(*module.state_dict().values()),
        "data": fingerprint(*(getattr(data, name, None) for name in ("x", "y", "weight"))),
    }
    keeper = Keeper.of(replace(plan, precision=None), identity, part=part)
    if keeper is not None and rank is not None:
        keeper.writes = rank.number == 0
    return keeper


class _Run:
    """The state of one training run: optimizer, averaged weights, step count."""

    def __init__(
        self,
        module: nn.Module,
        data: Resident,
        loss: Loss,
        plan: Plan,
        epochs: int,
        learning_rate: float,
        prepare: Callable[[Tensor], Tensor] | None,
        rank: Rank | None = None,
        objective: Objective | None = None,
    ):
        self.objective = objective
        self.module, self.data, self.loss, self.plan, self.prepare = module, data, loss, plan, prepare
        self.device = next(module.parameters()).device
        self.precision = choose_precision(plan.precision, self.device)
        self.rank, self.spread = rank, None if rank is None else (Sharded if plan.sharded else Replicated)(module, rank)
        # what learns, and what is called: the module itself but in a run of several processes
        self.net, self.call = (module, module) if self.spread is None else (self.spread.net, self.spread.forward)
        self.optimizer = make_optimizer(self.net, plan, learning_rate)
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.learning_rate = self.rate = learning_rate
        self.epochs = epochs
        seed = int(torch.randint(2**31, (1,), generator=data.generator, device=data.generator.device))
        self.random = PrivateRandom(seed, self.device)
        self.step, self.steps = 0, epochs * len(data)
        self.average = [t.detach().clone() for t in floating(self.net)] if plan.ema else None
        self.parts = min(plan.accumulate or 1, data.batch_size)
        self.range_test = current_range_test()

    def epoch(self) -> float:
        """One pass over the data; the mean loss of its samples, read from the device once."""
        losses, sizes = [], []
        if self.rank is not None:
            self.random = PrivateRandom(self.rank.begin_epoch(self.data.generator), self.device)
        self.data.turn = self.step // len(self.data)
        with self.random, keep_freed():
            for x, y, weight in self.data:
                losses.append(self.one_step(x, y, weight))
                sizes.append(len(x) if self.rank is None else self.data.whole)
        lengths, values = torch.tensor(sizes, dtype=torch.float64), torch.stack(losses)
        if self.rank is not None:
            values = self.rank.total(values)
        return float(values.double().cpu() @ lengths / lengths.sum())

    def one_step(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        share = factor(self.plan.schedule or "constant", self.step, self.steps, warmup=self.plan.warmup or 0.0)
        self.rate = self.learning_rate * share if self.range_test is None else self.range_test.rate
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        value = self.backward(x, y, weight)
        if self.plan.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.plan.gradient_clip)
        self.optimizer.step()
        self.step += 1
        if self.range_test is not None:
            self.range_test.note(float(value))
        if self.average is not None:
            # the average must not lag behind from a random start: Kingma & Ba's correction as a ramp
            decay = min(self.plan.ema or 0.0, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, list(floating(self.net)), 1 - decay)
        return value

    def backward(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """Gradients of the batch's mean loss; of its parts one after the other where there are several."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.parts == 1 and self.rank is None:
            value = self.forward(x, y, weight)
            value.backward()
            return value.detach()
        values, edges = [], self.edges(len(x))
        share, ranks = (1.0, 1) if self.rank is None else (self.data.share, self.rank.size)
        for start, end in pairwise(edges):
            w = None if weight is None else weight[start:end]
            with nullcontext() if self.spread is None else self.spread.quiet(end < len(x)):
                value = self.forward(x[start:end], y[start:end], w) * (share * _share(end - start, len(x), w, weight))
                (value * ranks).backward()  # the processes' gradients are averaged, and wanted is their sum
            values.append(value.detach())
        return torch.stack(values).sum()

    def edges(self, count: int) -> list[int]:
        """Where the parts of a batch begin and end; as many parts in all processes."""
        least = count if self.rank is None else max(1, self.data.whole // self.rank.size)
        parts = max(1, min(self.parts, least, count))
        return [-(-i * count // parts) for i in range(parts + 1)]

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """Mean loss of a batch, or of a part of one."""
        if self.objective is not None:
            return self.objective(self.output, self.still(), x, y, weight, done=self.step / self.steps)
        if self.prepare is not None:
            x = self.prepare(x)
        return self.loss(self.output(x), y, weight)

    def output(self, x: Tensor, call: Callable[[Tensor], Any] | None = None) -> Any:
        """What the network gives for prepared inputs, in the run's precision."""
        with autocast(self.device, self.precision):
            output = (call or self.call)(x)
        return output.float() if isinstance(output, Tensor) and output.dtype != torch.float64 else output

    @contextmanager
    def still(self) -> Iterator[Callable[[Tensor], Any]]:
        """`output` of the network at rest: no statistics move, and gradients are those of inputs alone."""
        with at_rest(self.module):
            yield partial(self.output, call=self.module)

    def epoch_within_memory(self, good: dict[str, Any], number: int) -> float:
        """`epoch`, begun again with smaller parts for as long as it runs out of memory."""
        while True:
            try:
                return self.epoch()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or self.rank is not None:  # the other processes cannot be told in mid-step
                    raise
                if self.parts >= self.data.batch_size:
                    self.undo(good)
                    raise
            # out of the handler: the error's traceback holds the tensors of the step that failed
            self.restore(good)
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.parts = min(2 * self.parts, self.data.batch_size)
            warnings.warn(
                f"Out of memory in epoch {number}, which begins again: batches of {self.data.batch_size} pass through the "
                f"network in {self.parts} parts from now on; the steps stay the same. Plan(accumulate={self.parts}) does so "
                "from the start.",
                MemoryWarning,
                stacklevel=4,
            )

    def agreed(self, yes: bool) -> bool:
        """Whether all processes of the run say yes."""
        return yes if self.rank is None else self.rank.all(yes)

    def same(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The numbers by which all processes decide."""
        return dict(metrics) if self.rank is None else self.rank.agree(metrics)

    def close(self) -> None:
        if self.spread is not None:
            self.spread.close()

    def average_in(self) -> list[Tensor] | None:
        """Put the averaged weights into the module; returns the ones that were there."""
        live = self._average_in()
        if self.spread is not None:
            self.spread.show()
        return live

    def _average_in(self) -> list[Tensor] | None:
        if self.average is None:
            return None
        live = [t.clone() for t in floating(self.net)]
        copy_into(self.net, self.average)
        return live

    def snapshot(self) -> dict[str, Any]:
        """Copies of everything a step changes, so that a bad epoch can be undone and replayed."""
        return {
            "module": {k: v.detach().clone() for k, v in self.net.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "generator": self.data.generator.get_state(),
            "random": self.random.state,
            "step": self.step,
            "average": None if self.average is None else [t.clone() for t in self.average],
        }

    def state(self, live: list[Tensor] | None) -> dict[str, Any]:
        """Everything that the next epoch depends on, between two epochs; nothing is copied.

        Args:
            live: What `average_in` gave: the weights that learn, where the module holds their average.
        """
        return {
            "module": self.module.state_dict(),
            "live": None if live is None else [gathered(t, m) for t, m in zip(live, tensors(self.net), strict=True)],
            "optimizer": _all_whole(self.optimizer.state_dict()),
            "generator": self.data.generator.get_state(),
            "random": self.random.state,
            "step": self.step,
            "parts": self.parts,
        }

    def resume(self, keeper: Keeper | None) -> int:
        """Go on from the state that was found; returns the number of epochs that it has behind it."""
        if self.rank is not None and keeper is not None:
            self.rank.same(keeper.epoch, "checkpoints")
        if keeper is None or not keeper.state:
            return 0
        state = keeper.state["loop"]
        self.restore({**state, "average": None})
        self.parts = state["parts"]
        if state["live"] is not None:
            self.average = [t.clone() for t in floating(self.net)]
            if not keeper.finished:
                pieces = [here(like(t, m)) for t, m in zip(state["live"], tensors(self.net), strict=True)]
                copy_into(self.net, pieces)
        if self.spread is not None:
            self.spread.show()
        return self.epochs if keeper.finished else keeper.epoch

    def restore(self, good: dict[str, Any]) -> None:
        now = self.net.state_dict()
        self.net.load_state_dict({name: like(t, now[name]) for name, t in good["module"].items()})
        self.optimizer.load_state_dict(good["optimizer"])
        same_layout(self.optimizer)
        self.data.generator.set_state(good["generator"])
        self.random.state = good["random"]
        self.step = good["step"]
        self.average = None if good["average"] is None else [t.clone() for t in good["average"]]

    def undo(self, good: dict[str, Any]) -> None:
        """Leave the module as it was when the last good epoch ended: averaged, in eval mode, without gradients."""
        self.restore(good)
        self.optimizer.zero_grad(set_to_none=True)
        self.average_in()
        self.module.eval()

    def diagnose(self, good: dict[str, Any], epoch: int) -> DivergedError:
        """Undo the epoch, replay it step by step to the first non-finite number, undo it again, and say where it was."""
        self.restore(good)
        advice = (
            f"Try a learning rate 10 times smaller (now {self.learning_rate:g}), Plan(gradient_clip=1.0), or "
            "Plan(precision='fp32'); check the scale of the inputs."
        )
        if self.rank is not None:  # the processes would find it in different steps, and wait for each other
            self.undo(good)
            return DivergedError.at(epoch, advice=advice)
        self.module.train()
        layer, batch = None, None
        for batch, (x, y, weight) in enumerate(self.data, start=1):  # noqa: B007
            with self.random, Watch(self.module) as watch:
                self.one_step(x, y, weight)
            layer = watch.bad_output or bad_gradient(self.module) or bad_weight(self.module)
            if layer is not None:
                break
        self.undo(good)
        return DivergedError.at(
            epoch,
            batch=batch if layer is not None else None,
            layer=layer,
            advice=advice,
        )


def _share(part: int, whole: int, weight: Tensor | None, weights: Tensor | None) -> Tensor | float:
    """What a part's mean loss counts in the mean of its batch: by samples, or by their weights."""
    if weight is None or weights is None:
        return part / whole
    total = weights.sum()
    return weight.sum() / total.where(total != 0, total.new_ones(()))


def _all_whole(value: Any) -> Any:
    """A nested state with every tensor whole."""
    if isinstance(value, dict):
        return {key: _all_whole(item) for key, item in value.items()}
    return [_all_whole(item) for item in value] if isinstance(value, list) else whole(value)
