"""The supervised loop, visible: a generator that trains one epoch at a time and yields a frozen record of it.

Whoever iterates decides what happens between epochs: early stopping is a ``break``, progress bars, checkpoints and
live plots read the records. Nothing is called back from inside a step.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.data.resident import Resident
from rosenblatt.errors import DivergedError
from rosenblatt.train.optimizer import make_optimizer
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_precision, synchronize
from rosenblatt.train.schedule import factor
from rosenblatt.train.seeds import PrivateRandom

Loss = Callable[[Any, Tensor, Tensor | None], Tensor]
"""(output of the network, targets, sample weights or None) -> mean loss of the batch."""


@dataclass(frozen=True)
class EpochRecord:
    """What happened in one epoch.

    Attributes:
        epoch: Counted from 1.
        loss: Mean training loss over the epoch's samples, measured while the weights were moving.
        learning_rate: At the epoch's end.
        seconds: Training time of the epoch, evaluation not counted.
        metrics: What the ``evaluate`` function returned, for instance the validation score.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, float]:
        """The record as one flat row of ``history_``."""
        row = asdict(self)
        return {**{k: v for k, v in row.items() if k != "metrics"}, **self.metrics}


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

    Yields:
        One `EpochRecord` an epoch.

    Raises:
        DivergedError: Loss or weights turned non-finite; the module holds the weights of the last good epoch.
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
    run = _Run(module, data, loss, plan, epochs, learning_rate, prepare)
    for number in range(1, epochs + 1):
        good = run.snapshot()
        started = time.perf_counter()
        module.train()
        try:
            mean = run.epoch()
        except KeyboardInterrupt:
            # half an epoch is no well-defined result: go back to the end of the one before
            run.undo(good)
            raise
        synchronize(run.device)
        seconds = time.perf_counter() - started
        if not math.isfinite(mean) or not _finite(module):
            raise run.diagnose(good, number)
        live = run.average_in()
        module.eval()
        metrics = dict(evaluate(module)) if evaluate is not None else {}
        yield EpochRecord(number, mean, run.rate, seconds, metrics)
        # a consumer that stops here, and the last epoch, leave the averaged weights in the module
        if live is not None and number < epochs:
            _copy_into(module, live)


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
    ):
        self.module, self.data, self.loss, self.plan, self.prepare = module, data, loss, plan, prepare
        self.device = next(module.parameters()).device
        self.precision = choose_precision(plan.precision, self.device)
        self.optimizer = make_optimizer(module, plan, learning_rate)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.learning_rate = self.rate = learning_rate
        seed = int(torch.randint(2**31, (1,), generator=data.generator, device=data.generator.device))
        self.random = PrivateRandom(seed, self.device)
        self.step, self.steps = 0, epochs * len(data)
        self.average = [t.detach().clone() for t in _floating(module)] if plan.ema else None

    def epoch(self) -> float:
        """One pass over the data; the mean loss of its samples, read from the device once."""
        losses, sizes = [], []
        with self.random:
            for x, y, weight in self.data:
                losses.append(self.one_step(x, y, weight))
                sizes.append(len(x))
        lengths = torch.tensor(sizes, dtype=torch.float64)
        return float(torch.stack(losses).double().cpu() @ lengths / lengths.sum())

    def one_step(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        share = factor(self.plan.schedule or "constant", self.step, self.steps, warmup=self.plan.warmup or 0.0)
        self.rate = self.learning_rate * share
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        value = self.backward(x, y, weight)
        if self.plan.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.plan.gradient_clip)
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            # the average must not lag behind from a random start: Kingma & Ba's correction as a ramp
            decay = min(self.plan.ema or 0.0, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, list(_floating(self.module)), 1 - decay)
        return value

    def backward(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        if self.prepare is not None:
            x = self.prepare(x)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            output = self.module(x)
        value = self.loss(
            output.float() if isinstance(output, Tensor) and output.dtype != torch.float64 else output, y, weight
        )
        value.backward()
        return value.detach()

    def average_in(self) -> list[Tensor] | None:
        """Put the averaged weights into the module; returns the ones that were there."""
        if self.average is None:
            return None
        live = [t.clone() for t in _floating(self.module)]
        _copy_into(self.module, self.average)
        return live

    def snapshot(self) -> dict[str, Any]:
        """Copies of everything a step changes, so that a bad epoch can be undone and replayed."""
        return {
            "module": {k: v.detach().clone() for k, v in self.module.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "generator": self.data.generator.get_state(),
            "random": self.random.state,
            "step": self.step,
            "average": None if self.average is None else [t.clone() for t in self.average],
        }

    def restore(self, good: dict[str, Any]) -> None:
        self.module.load_state_dict(good["module"])
        self.optimizer.load_state_dict(good["optimizer"])
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
        self.module.train()
        layer, batch = None, None
        for batch, (x, y, weight) in enumerate(self.data, start=1):  # noqa: B007
            with self.random, _Watch(self.module) as watch:
                self.one_step(x, y, weight)
            layer = watch.bad_output or _bad_gradient(self.module) or _bad_weight(self.module)
            if layer is not None:
                break
        self.undo(good)
        return DivergedError.at(
            epoch,
            batch=batch if layer is not None else None,
            layer=layer,
            advice=f"Try a learning rate 10 times smaller (now {self.learning_rate:g}), Plan(gradient_clip=1.0), or "
            "Plan(precision='fp32'); check the scale of the inputs.",
        )


class _Watch:
    """Context manager: note the first leaf module, in forward order, whose output is not finite."""

    def __init__(self, module: nn.Module):
        self.module, self.bad_output, self.hooks = module, None, []

    def __enter__(self) -> _Watch:
        for name, part in self.module.named_modules():
            if not list(part.children()):
                self.hooks.append(part.register_forward_hook(self._hook(name)))
        return self

    def _hook(self, name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self.bad_output is None and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                self.bad_output = name

        return note

    def __exit__(self, *_: Any) -> None:
        for hook in self.hooks:
            hook.remove()


def _floating(module: nn.Module) -> Iterator[Tensor]:
    for tensor in module.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            yield tensor.data


@torch.no_grad()
def _copy_into(module: nn.Module, tensors: list[Tensor]) -> None:
    torch._foreach_copy_(list(_floating(module)), tensors)


@torch.no_grad()
def _finite(module: nn.Module) -> bool:
    # the largest magnitude, not the Euclidean norm: that one overflows while the weights are still finite
    norms = torch._foreach_norm([t for t in _floating(module) if t.numel()], ord=math.inf)
    return bool(torch.isfinite(torch.stack([n.float().to(norms[0].device) for n in norms])).all())


def _bad_gradient(module: nn.Module) -> str | None:
    """Layer of the bad gradient nearest to the loss: that is where backpropagation met it first."""
    bad = [n for n, p in module.named_parameters() if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
    return bad[-1].rpartition(".")[0] or bad[-1] if bad else None


def _bad_weight(module: nn.Module) -> str | None:
    for name, p in module.named_parameters():
        if not bool(torch.isfinite(p).all()):
            return name.rpartition(".")[0] or name
    return None
