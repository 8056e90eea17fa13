r"""One perturbation for all samples of a set, and for others that it never saw.

.. math:: \max_{\|\delta\| \le \varepsilon} \; \frac1N \sum_{i=1}^N \min\big( L(x_i + \delta, y_i), \beta \big)

by gradient steps on small batches, with momentum, each back into the ball. The cap :math:`\beta` keeps a few samples that are
already lost from taking all of the perturbation; here it is what guessing costs, ln K, or 1.

References: the perturbation: Moosavi-Dezfooli, Fawzi, Fawzi & Frossard 2017, arXiv:1610.08401, section 3; its training: Shafahi
et al. 2020, arXiv:1811.11304, section 3 and algorithm 1.
Departures: in place of the first paper's loop over samples with DeepFool the second one's gradient steps, which are stronger and
quicker; those have momentum and shrink to nothing. The true labels stand for the network's answers, since samples that are wrong
before take no part. Sums are clipped to the bounds, as both papers leave open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rosenblatt._validate import NONE, Number
from rosenblatt.attacks.gradients import common_slope
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import cross_entropy
from rosenblatt.attacks.projection import project, steepest
from rosenblatt.attacks.result import EPS, STEPS, Attack, AttackResult, Found
from rosenblatt.attacks.streams import keys_of
from rosenblatt.errors import DataError
from rosenblatt.train.seeds import generator

_KEPT = 0.9
"""Share of the running slope that is kept."""
Lay = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(shared, samples, keys, number of the draw) to samples with the shared thing on them."""


def batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Rows in small batches without end: one permutation after the other, the last batch of each may be smaller."""
    source = generator(seed)
    while True:
        yield from torch.randperm(count, generator=source).split(size)


def climb(
    model: Any,
    x: Tensor,
    y: Tensor,
    target: Tensor | None,
    start: Tensor,
    *,
    lay: Lay,
    move: Callable[[Tensor, Tensor, float], Tensor],
    steps: int,
    minibatch: int,
    batch_size: int,
    seed: int,
    keys: Tensor,
) -> tuple[Tensor, Tensor]:
    """What all samples share, trained on them, and how often each was looked at (N,).

    Args:
        model: Inputs (N, ...) to logits.
        x: Samples.
        y: Labels (N,).
        target: Wanted labels (N,), or None.
        start: Of what is shared.
        lay: Puts it on samples.
        move: It, its slope and the share of the steps that is left to the next one.
        steps: Gradient steps.
        minibatch: Samples of one step.
        batch_size: Of them at a time; they are summed up.
        seed: Of the order.
        keys: Of the samples' random numbers.
    """
    shared, running = start, torch.zeros_like(start)
    seen = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    order = batches(len(x), minibatch, seed)
    for step in range(steps):
        rows = next(order).to(x.device)
        slope = torch.zeros_like(shared)
        for part in rows.split(batch_size):
            goal = None if target is None else target[part]
            slope += common_slope(
                model,
                shared,
                lambda s, part=part, step=step: lay(s, x[part], keys[part], step + 1),
                y[part],
                goal,
                _capped,
            )
        seen[rows] += 1
        running = _KEPT * running + slope / slope.abs().mean().clamp_min(1e-30)
        shared = move(shared, running, 1 - step / steps)
    return shared, seen


def _capped(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    return cross_entropy(logits, y, target).clamp_max(max(1.0, math.log(logits.shape[1])))


def universal(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 200,
    step_size: float | None = None,
    minibatch: int = 128,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """A perturbation of all samples, (1, ...), and how often each was looked at (N,).

    Args:
        model: Inputs (N, ...) to logits (N, K).
        x: Samples.
        y: Labels (N,).
        eps: Radius of the ball, in units of the input.
        norm: "l2" or "linf".
        steps: Gradient steps.
        step_size: Length of the first step in the norm, which falls to zero; None: eps.
        minibatch: Samples of one step.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        batch_size: Of a step's samples at a time; changes nothing.
        seed: Of the samples' order.
    """
    length = eps if step_size is None else step_size
    middle = torch.zeros_like(x[:1])

    def lay(delta: Tensor, part: Tensor, _keys: Tensor, _draw: int) -> Tensor:
        moved = part + delta
        # clipped, but with the slope of what is not: a pixel pushed below black would have none and never come back
        return moved if bounds is None else moved + (moved.clamp(*bounds) - moved).detach()

    def move(delta: Tensor, slope: Tensor, left: float) -> Tensor:
        return project(delta + length * left * steepest(slope, norm), middle, eps, norm, None)

    keys = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return climb(
        model, x, y, target, middle, lay=lay, move=move, steps=steps, minibatch=minibatch, batch_size=batch_size,
        seed=seed, keys=keys,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Laid(Attack):
    """Something trained before, laid on each sample as it is; see `Universal` and `rosenblatt.attacks.Patch`.

    Args:
        lay: Samples and the keys of their random numbers to samples with it on them.
    """

    lay: Callable[[Tensor, Tensor, Any], Tensor] = field(default=lambda x, keys, bounds: x, repr=False)

    gradient: ClassVar[bool] = False
    _NORMS: ClassVar[tuple[str, ...]] = ("l0", "l2", "linf")

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Lay it on samples that are right."""
        return Found(self.lay(x, keys, found.bounds), torch.zeros(len(x), dtype=torch.int64, device=x.device))


@dataclass(frozen=True, repr=False)
class SharedResult(AttackResult):
    """What was trained on a set, and what it does to that set.

    Attributes:
        laid: What lays it on samples.
        target: The one wanted class that it was trained for, or None.
        channels_first: Of pictures, whether their axes are N C H W.
    """

    laid: Laid | None = None
    target: Any = None
    channels_first: bool = True

    def on(self, model: Any, X: Any, y: Any, *, target: Any = None) -> AttackResult:
        """The same on other samples, or on another network; nothing is trained.

        Args:
            model: As of an attack.
            X: Samples that it was not trained on.
            y: Their labels.
            target: Wanted classes; None: the one it was trained for, if it was one.

        Raises:
            ParameterError, ShapeError, DataError, LabelError: As of the attack itself.
        """
        found = self.laid(model, X, y, target=self.target if target is None else target)
        return replace(self, **{f.name: getattr(found, f.name) for f in fields(AttackResult)})


@dataclass(frozen=True, repr=False)
class UniversalResult(SharedResult):
    """A perturbation, and what it does to samples.

    Attributes:
        perturbation: Of one sample's shape, as X; before sums are clipped to the bounds.
    """

    perturbation: Any = None


@dataclass(frozen=True, kw_only=True)
class Trained(Attack):
    """Base of attacks that train one thing on a whole set.

    Args:
        steps: Gradient steps.
        minibatch: Samples of one step.
    """

    steps: int = 200
    minibatch: int = 128

    _RULES: ClassVar[dict[str, Any]] = {**STEPS, "minibatch": (Number(1, integer=True),)}

    def __call__(self, model: Any, X: Any, y: Any, *, target: Any = None) -> SharedResult:
        """Train on the samples that the model has right, and lay it on them; ``on`` of the result lays it on others.

        Args:
            model: One of our classifiers or a module; see `rosenblatt.attacks.model.victim`.
            X: Samples (N, ...), within the bounds.
            y: Their labels (N,).
            target: The wanted class, one or one a sample; None wants any wrong answer.

        Raises:
            ParameterError: A model that gives no gradients, or a table.
            ShapeError, DataError, NonFiniteError, LabelError: Samples or labels that do not fit, or none that can be attacked.
        """
        found, x = self._enter(model, X)
        found.refuse_table(type(self).__name__)
        with found.at_rest():
            codes, wanted, correct = self._first(found, x, y, target)
            rows = (correct if wanted is None else correct & (wanted != codes)).nonzero()[:, 0]
            if not len(rows):
                raise DataError(
                    f"{type(self).__name__}: none of {len(x)} samples is right before"
                    f"{'' if wanted is None else ' and of another class'}; expected some to train on."
                )
            keys = keys_of(self.random_state, torch.arange(len(x), device=x.device))[rows]
            goal = None if wanted is None else wanted[rows]
            shared, seen = self.train(found, x[rows], codes[rows], target=goal, keys=keys)
        common = {"bounds": self.bounds, "mean": self.mean, "std": self.std, "batch_size": self.batch_size}
        laid = Laid(lay=self.layer(shared), norm=self.norm, random_state=self.random_state, **common)
        done = laid(model, X, y, target=target)
        done = replace(done, notes=done.notes + found.masked)
        done.queries[rows.cpu().numpy()] += seen.cpu().numpy()
        one = target if np.ndim(target) == 0 else None
        about = {**vars(done), "laid": laid, "target": one, "channels_first": found.classes is None}
        return self.result(found, shared, X, about)

    def train(
        self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is shared, and how often each sample was looked at; of a subclass."""
        raise NotImplementedError

    def layer(self, shared: Tensor) -> Callable[[Tensor, Tensor, Any], Tensor]:
        """What lays it on samples; of a subclass."""
        raise NotImplementedError

    def result(self, found: Victim, shared: Tensor, X: Any, fields_: dict[str, Any]) -> SharedResult:
        """What the call gives; of a subclass."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Universal(Trained):
    """One perturbation for a whole set; see `universal`.

    What it finds depends on which samples it was given, and on their order, as no other attack here does; the batch size changes
    nothing. Judge it on samples that it was not trained on: ``result.on(model, X, y)``.

    Args:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps.
        minibatch: Samples of one step.
        step_size: Length of the first step in the norm, which falls to zero; None: eps.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(2, 2, bias=False).requires_grad_(False)
        >>> _ = net.weight.copy_(torch.eye(2))
        >>> x = torch.tensor([[0.5, 0.2], [0.6, 0.3]])
        >>> found = Universal(eps=0.2, steps=20)(net, x, [0, 0])
        >>> found.perturbation, found.success.tolist()
        (tensor([-0.2000,  0.2000]), [True, True])
        >>> found.on(net, torch.tensor([[0.9, 0.1]]), [0]).success.tolist()
        [False]
    """

    eps: float = 0.1
    step_size: float | None = None

    _NORMS: ClassVar[tuple[str, ...]] = ("l2", "linf")
    _RULES: ClassVar[dict[str, Any]] = {**Trained._RULES, **EPS, "step_size": (Number(0, open_low=True), NONE)}

    def train(
        self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A perturbation (1, ...)."""
        return universal(
            found.logits, x, y, eps=self.eps, norm=self.norm, steps=self.steps, step_size=self.step_size,
            minibatch=self.minibatch, bounds=found.bounds, target=target, batch_size=self.batch_size, seed=self.random_state,
        )  # fmt: skip

    def layer(self, shared: Tensor) -> Callable[[Tensor, Tensor, Any], Tensor]:
        """Adds it, within ball and bounds."""
        eps, norm = self.eps, self.norm

        def lay(x: Tensor, keys: Tensor, bounds: Any) -> Tensor:
            return project(x + shared.to(x.device, x.dtype), x, eps, norm, bounds)

        return lay

    def result(self, found: Victim, shared: Tensor, X: Any, fields_: dict[str, Any]) -> UniversalResult:
        """With the perturbation as X is."""
        return UniversalResult(**fields_, perturbation=found.decode(shared, X)[0])
