"""Learning-rate schedules, as one pure function of the step."""

from __future__ import annotations

import math

PEAK = 0.3
"""Share of the steps at which "onecycle" is at its top (Smith 2018 leaves it open; 0.3 is the common choice)."""


def factor(schedule: str, step: int, steps: int, *, warmup: float = 0.0) -> float:
    r"""Multiplier of the learning rate at a step.

    With the share of the run :math:`p = step / steps`: constant 1; linear :math:`1 - p`; cosine
    :math:`\frac12(1 + \cos \pi p)`; onecycle rises from 1/25 to 1 along a cosine until p = 0.3 and falls along a cosine
    to (almost) zero; steps is :math:`10^{-\lfloor 4 p \rfloor}`, three divisions by ten (Krizhevsky et al. 2012, section 5,
    made them by hand, whenever the validation error stopped falling).

    Args:
        schedule: "constant", "linear", "cosine", "onecycle" or "steps".
        step: Steps done, from 0.
        steps: Steps in the whole run.
        warmup: Share of the run with a linear rise in front ("onecycle" has its own and ignores it).

    Reference:
        Smith & Topin 2018, arXiv:1708.07120 (one cycle); Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5 (cosine).

    Example:
        >>> factor("linear", 5, 10)
        0.5
    """
    share = step / max(1, steps)
    if schedule == "onecycle":
        if share < PEAK:
            return _cosine(1 / 25, 1.0, share / PEAK)
        return _cosine(1.0, 1e-5, (share - PEAK) / (1 - PEAK))
    if share < warmup:
        return (step + 1) / max(1, math.ceil(warmup * steps))
    share = (share - warmup) / (1 - warmup)
    if schedule == "steps":
        return 10.0 ** -int(4 * min(share, 0.999))
    if schedule == "linear":
        return 1 - share
    if schedule == "cosine":
        return _cosine(1.0, 0.0, share)
    return 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
