"""The loop that optimises the input, visible: a generator that takes one step at a time and yields a frozen record of it.

The network stands still and the picture learns. What is minimised is a sum of named terms; who iterates may stop at any
step, and the picture then holds the best point seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rosenblatt.errors import DivergedError
from rosenblatt.train.eager import eager
from rosenblatt.train.memory import keep_freed
from rosenblatt.train.supervised import EpochRecord

OPTIMIZERS = ("lbfgs", "adam")
RATES = {"lbfgs": 1.0, "adam": 0.02}
"""Default learning rates for pictures from 0 to 1."""

Objective = Callable[[Tensor], Mapping[str, Tensor]]
"""picture (N, C, H, W) -> terms of the loss, each weighted already."""

_WORSE = 2.0
"""A step of L-BFGS without line search that makes the loss so many times worse is taken back."""


@dataclass(frozen=True)
class StepRecord(EpochRecord):
    """What happened in one step; ``epoch`` counts the steps from 1, ``metrics`` holds the terms of the loss.

    Attributes:
        picture: The picture after the step; it shares memory with the one that learns.
    """

    picture: Tensor | None = None

    def row(self) -> dict[str, float]:
        """The record as one flat row of ``history_``."""
        return {"epoch": self.epoch, "loss": self.loss, "seconds": self.seconds, **self.metrics}


def pixels(
    picture: Tensor,
    objective: Objective,
    *,
    steps: int,
    optimizer: str = "lbfgs",
    learning_rate: float | None = None,
    first: int = 1,
) -> Iterator[StepRecord]:
    """Minimise an objective over a picture; yield after each step.

    Nothing is clamped inside: a clamp in the closure of L-BFGS falsifies its curvature and it explodes. Clamp the result.

    Args:
        picture: Changed in place; holds the point of lowest loss when the generator ends or is closed.
        objective: Terms of the loss.
        steps: Evaluations of the objective and its gradient.
        optimizer: "lbfgs" (10 pairs, no line search; a step that fails is taken back) or "adam".
        learning_rate: None takes 1 for L-BFGS and 0.02 for Adam.
        first: Number of the first step.

    Yields:
        One `StepRecord` a step; its loss is that before the step.

    Raises:
        DivergedError: The loss is not finite at the start, or Adam made it so; the picture holds the best point before.

    Example:
        >>> x = torch.zeros(1, 1, 2, 2)
        >>> for step in pixels(x, lambda p: {"away": (p - 0.5).square().sum()}, steps=20):
        ...     pass
        >>> bool(torch.allclose(x, torch.tensor(0.5), atol=1e-3))
        True
    """
    rate = RATES[optimizer] if learning_rate is None else learning_rate
    run = _Run(picture, objective, optimizer, rate)
    with keep_freed():
        try:
            for number in range(first, first + steps):
                started = time.perf_counter()
                loss, terms = run.step()
                if not math.isfinite(loss):
                    raise DivergedError(
                        f"the picture diverged in step {number}: the loss is {loss}. Kept the best point before. Try a "
                        f"learning rate 10 times smaller (now {rate:g}), or Plan(precision='fp32').",
                        epoch=number,
                    )
                yield StepRecord(number, loss, run.rate, time.perf_counter() - started, terms, picture=picture)
        finally:
            run.keep_best()


class _Run:
    """The picture that learns, its optimizer, and the best point so far."""

    def __init__(self, picture: Tensor, objective: Objective, optimizer: str, rate: float):
        self.picture, self.objective, self.kind, self.rate = picture, objective, optimizer, rate
        # rows in order: L-BFGS flattens the gradient without copying it
        self.point = picture.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
        self.best, self.best_loss = self.point.detach().clone(), math.inf
        self.value, self.terms = math.inf, {}
        self.optimizer = self.make()

    def make(self) -> torch.optim.Optimizer:
        if self.kind == "lbfgs":
            return eager(torch.optim.LBFGS)(
                [self.point], lr=self.rate, max_iter=1, history_size=10, tolerance_grad=0, tolerance_change=0
            )
        return eager(torch.optim.Adam)([self.point], lr=self.rate, betas=(0.9, 0.99))

    def closure(self) -> Tensor:
        self.point.grad = None
        terms = self.objective(self.point)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        loss.backward()
        numbers = torch.stack([loss.detach(), *(term.detach().float() for term in terms.values())]).tolist()
        self.value, self.terms = numbers[0], dict(zip(terms, numbers[1:], strict=True))
        if self.value < self.best_loss:
            self.best_loss = self.value
            self.best.copy_(self.point.detach())
        return loss

    def step(self) -> tuple[float, dict[str, Any]]:
        self.optimizer.step(self.closure)  # evaluates where it stands, then moves
        if self.kind == "lbfgs" and not self.value <= _WORSE * self.best_loss and math.isfinite(self.best_loss):
            with torch.no_grad():
                self.point.copy_(self.best)
            self.rate /= 2
            self.optimizer = self.make()  # forgets the curvature that led astray
            self.value = self.best_loss
        with torch.no_grad():
            self.picture.copy_(self.point)
        return self.value, self.terms

    def keep_best(self) -> None:
        with torch.no_grad():
            self.picture.copy_(self.best)
