r"""Expectation over transformations: a random victim is attacked through the mean of many draws of it.

.. math:: \nabla_x \, E_{t \sim T} f(t(x)) = E_{t \sim T} \nabla_x f(t(x)) \approx \frac1n \sum_{i=1}^n \nabla_x f(t_i(x))

One look at a random network is one draw: its gradient points anywhere, and an answer that is wrong once is no success. Here a
look is the mean of ``samples`` draws, new ones each time, and a point counts as broken if the majority of ``judges`` further
draws, which no attack has seen, says so.

References: Athalye, Engstrom, Ilyas & Kwok 2018, arXiv:1707.07397, section 2.1; Athalye, Carlini & Wagner 2018, arXiv:1802.00420,
section 4.2 (randomised defences).
Departures: the mean is taken of the logits, and the loss of the mean. Attacks stop at the first point whose look is wrong, which
chance alone may make it: a look counts as wrong only if its mean margin is so by three standard errors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._validate import CALLABLE, NONE, Number, parameter
from rosenblatt.attacks.model import Bounds, Victim, victim
from rosenblatt.attacks.objectives import margin
from rosenblatt.train.seeds import PrivateRandom

_DOUBT = 3.0
"""Standard errors by which the mean margin must be wrong before an attack takes a sample for broken."""
_APART = 1_000_003
"""Between the seeds of the attack's draws and those of the judgements."""


@dataclass(frozen=True)
class Expectation:
    """A random victim that attacks see through means; made by `eot`.

    Attributes:
        model: What answers at random, or what stands behind a random transformation.
        samples: Draws of one look.
        transform: Of inputs (N, ...), at random; or None.
        judges: Draws whose majority is the answer.
        mean: Of a module's normalisation.
        std: Its deviation.
        random_state: Seed.
    """

    model: Any
    samples: int = 16
    transform: Callable[[Tensor], Tensor] | None = None
    judges: int = 65
    mean: Any = field(default=None, repr=False)
    std: Any = field(default=None, repr=False)
    random_state: int = 0

    def _victim(self, bounds: Bounds) -> Victim:
        return _Random(victim(self.model, bounds=bounds, mean=self.mean, std=self.std), self)


class _Random(Victim):
    """A victim whose logits are means of draws, and whose answer is a vote."""

    random: ClassVar[bool] = True

    def __init__(self, inner: Victim, given: Expectation):
        inner.refuse_table("eot")
        vars(self).update(vars(inner))
        self._samples, self._judges, self._seed = given.samples, given.judges, given.random_state
        self._label: int | None = None
        self._target: int | None = None
        if given.transform is not None:
            self._forward = lambda x: inner.raw(given.transform(x))
        said = (
            f"random: attacked through means of {given.samples} draws, judged by the majority of {given.judges} others"
        )
        self.remarks = (*inner.remarks, said)

    def logits(self, x: Tensor) -> Tensor:
        draws = [super(_Random, self).logits(x) for _ in range(self._samples)]
        mean = sum(draws) / len(draws)
        if self._label is None or len(draws) == 1:
            return mean
        y = torch.full((len(x),), self._label, device=x.device)
        goal = None if self._target is None else torch.full_like(y, self._target)
        gaps = torch.stack([margin(draw.detach(), y, goal) for draw in draws])
        doubt = (_DOUBT * gaps.std(0) / len(draws) ** 0.5)[:, None]
        column = F.one_hot(y if goal is None else goal, mean.shape[1])
        return mean + doubt * column if goal is None else mean - doubt * column

    def judge(self, x: Tensor, look: int = 0) -> Tensor:
        with PrivateRandom(self._seed + _APART * (look + 1), self.device), torch.no_grad():
            draws = [super(_Random, self).logits(x) for _ in range(self._judges)]
        votes = sum(F.one_hot(draw.argmax(1), draw.shape[1]) for draw in draws)
        # a tie goes to the class with the higher mean probability
        return votes + sum(draw.softmax(1) for draw in draws) / (self._judges + 1)

    def guarded(self, label: int, target: int | None) -> Victim:
        one = copy.copy(self)
        one._label, one._target = label, target
        return one


def eot(
    model: Any,
    samples: int = 16,
    *,
    transform: Callable[[Tensor], Tensor] | None = None,
    judges: int = 65,
    mean: Any = None,
    std: Any = None,
    random_state: int = 0,
) -> Expectation:
    """A random model, or a model behind a random transformation, as a victim for every attack.

    Use it for a network that draws random numbers in eval mode (noise, random crops, dropout that stays on), and for attacks that
    must survive a turn, a shift or other light. What is random draws from torch's own generators; they run from a private state
    meanwhile. The ``queries`` of a result are looks, each of ``samples`` draws. As the draws come for a whole batch at a time,
    the batch size matters, unlike elsewhere.

    Args:
        model: One of our classifiers, a module, a function, or another such victim.
        samples: Draws of one look; the gradient's noise falls with the root of it.
        transform: Random and differentiable, of inputs (N, ...) in the bounds; None where the model itself is random.
        judges: Draws whose majority is the answer, before and after the attack.
        mean: Of a module's normalisation.
        std: Its deviation.
        random_state: Seed of the draws.

    Raises:
        ParameterError: Counts that are none, or a transformation that cannot be called.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> shaken = eot(net, 8, transform=lambda x: x + 0.1 * torch.randn_like(x))
        >>> from rosenblatt.attacks import PGD
        >>> PGD(eps=0.1, steps=5)(shaken, torch.full((1, 4), 0.5), [0]).success.shape
        (1,)
    """
    for name, value in (("samples", samples), ("judges", judges)):
        parameter("eot", name, value, Number(1, integer=True))
    parameter("eot", "random_state", random_state, Number(0, integer=True))
    parameter("eot", "transform", transform, (CALLABLE, NONE))
    return Expectation(model, samples, transform, judges, mean, std, random_state)
