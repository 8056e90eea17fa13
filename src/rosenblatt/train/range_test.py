"""The learning-rate range test: a few steps, each at a higher rate, until the loss runs away.

The loops that take gradient steps ask `current` whether one is on, take each step at its ``rate`` and hand it the loss.

Reference: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TOO_FAR = 4.0
"""How many times the least loss so far, above the first one's fall, ends the test."""


class Enough(BaseException):
    """The test has seen what it wanted; no error, and not to be caught by those who catch errors."""


class RangeTest:
    """Rates that grow by one factor a step, and the losses that they gave.

    Args:
        low: First rate.
        high: Last rate.
        steps: How many.
    """

    def __init__(self, low: float, high: float, steps: int):
        self.low, self.high, self.steps = low, high, steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.ended = False

    @property
    def rate(self) -> float:
        """Of the next step."""
        return self.low * (self.high / self.low) ** (len(self.losses) / max(1, self.steps - 1))

    def note(self, loss: float) -> None:
        """Take in the loss of a step at ``rate``.

        Raises:
            Enough: It was the last one, or the loss has run away.
        """
        if math.isfinite(loss):
            self.rates.append(self.rate)
            self.losses.append(loss)
        first, least = self.losses[:1] or [math.inf], min(self.losses, default=math.inf)
        away = loss > least + TOO_FAR * max(abs(least), first[0] - least)
        if not math.isfinite(loss) or away or len(self.losses) == self.steps:
            self.ended = True
            raise Enough


_CURRENT: ContextVar[RangeTest | None] = ContextVar("range test", default=None)


def current() -> RangeTest | None:
    """The test that is on, if one is."""
    return _CURRENT.get()


@contextmanager
def running(test: RangeTest) -> Iterator[None]:
    """Have the loops inside run the test; ends quietly where the test has enough."""
    token = _CURRENT.set(test)
    try:
        yield
    except Enough:
        pass
    finally:
        _CURRENT.reset(token)
