r"""Square attack: random squares of the picture set to the ends of the ball, kept where they help; no gradient.

linf: starts from vertical stripes of :math:`\pm\varepsilon`, then squares of side :math:`\sqrt{p h w}` whose channels each get
:math:`\pm\varepsilon`. l2: squares of a pattern that falls off from its centre, whose norm is taken from another square.
p falls from ``share`` as the queries go on.

Reference: Andriushchenko, Croce, Flammarion & Hein 2020, arXiv:1912.00049, algorithms 1 to 3 and appendix B (schedule of p).
Departures: inputs without height and width are one row of pixels; in l2 the pattern of a window has one sign a channel instead of
peaks that fall off from its centre, and starts with one window instead of a grid of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rosenblatt._validate import Number
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import margin, reached
from rosenblatt.attacks.projection import Ball, spread
from rosenblatt.attacks.result import EPS, Attack, Found
from rosenblatt.attacks.streams import keys_of, signs, uniform

_SCHEDULE = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the share of pixels is halved."""


def share_at(query: int, queries: int, share: float) -> float:
    """Share of the pixels in a square.

    Example:
        >>> share_at(0, 10_000, 0.8), share_at(60, 10_000, 0.8), share_at(9_999, 10_000, 0.8)
        (0.8, 0.2, 0.0015625)
    """
    place = query * 10_000 / queries
    return share / 2 ** sum(place > limit for limit in _SCHEDULE)


def square(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 5000,
    share: float = 0.8,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
    known: Tensor | None = None,
) -> Found:
    """Attack until a sample is broken.

    Args:
        model: Inputs (N, ...) to logits or scores (N, K); a gradient is not needed.
        x: Inputs.
        y: Labels (N,).
        eps: Radius, in units of the input.
        norm: "l2" or "linf".
        queries: Most queries of a sample.
        share: First share of the pixels in a square.
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.
        known: Margins (N,) that attacks by gradient reached. A sample that they brought at least half as far as Square does is
            given up, from a fifth of the queries on, where its last tenth's pace would not break it to the end. None: none is.
    """
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    form = (1, 1, x[0].numel()) if x.ndim < 4 else tuple(x.shape[1:])
    with torch.no_grad():
        return _search(model, x, y, float(eps), norm, queries, share, bounds, target, keys, form, known)


def _search(
    model: Any, x: Tensor, y: Tensor, eps: float, norm: str, queries: int, share: float, bounds: Any,
    target: Tensor | None, keys: Tensor, form: tuple[int, int, int], known: Tensor | None,
) -> Found:  # fmt: skip
    channels, _, width = form
    pictures = x.reshape(-1, *form)
    best, asked = x.clone(), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    live = torch.arange(len(x), device=x.device)
    ball = Ball(pictures, eps, norm, bounds)
    if norm == "linf":
        z = ball.nearest(pictures + eps * signs(keys, 1, (channels, 1, width)).to(x.dtype))
    else:
        z = ball.nearest(pictures + _pushed(pictures, keys, 1, eps, share))
    value = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
    watch = None if known is None else _Pace(margin(model(x), y, target), known, queries)
    for query in range(queries):
        tried = z if query == 0 else _moved(z, ball, keys[live], 10 + 8 * query, share_at(query, queries, share))
        goal = None if target is None else target[live]
        logits = model(tried.view(-1, *x.shape[1:]))
        asked[live] += 1
        fresh, wrong = margin(logits, y[live], goal).to(x.dtype), reached(logits, y[live], goal)
        better = ((fresh > value) | wrong).nonzero()[:, 0]
        z[better], value[better] = tried[better], fresh[better]
        over = wrong if watch is None else wrong | watch.hopeless(query, value, live)
        if over.any():
            best[live[over]] = z[over].view(-1, *x.shape[1:])
            live, z, value, ball = live[~over], z[~over], value[~over], ball.of(~over)
            if not len(live):
                break
    best[live] = z.view(-1, *x.shape[1:])
    return Found(best, asked)


class _Pace:
    """Which samples the queries that are left will not break."""

    def __init__(self, start: Tensor, known: Tensor, queries: int):
        self._start, self._gain, self._queries, self._gap = start, known - start, queries, max(1, queries // 10)
        self._then = start.clone()

    def hopeless(self, query: int, value: Tensor, live: Tensor) -> Tensor:
        """Of the samples that go on (M,), by their margins (M,), judged after each tenth of the queries."""
        if query % self._gap or not query:
            return torch.zeros_like(live, dtype=torch.bool)
        pace, self._then[live] = value - self._then[live], value.to(self._then.dtype)
        left = (self._queries - query) / self._gap
        gain = self._gain[live]
        led = (gain > 0) & (2 * gain >= value - self._start[live])
        return led & (value + left * pace < 0) & (query >= 2 * self._gap)


def _window(keys: Tensor, draw: int, form: tuple[int, ...], share: float) -> Tensor:
    """A random square (N, 1, H, W) of that share of the pixels, as a mask."""
    _, height, width = form
    side = max(1, min(round((share * height * width) ** 0.5), max(height, width)))
    tall, wide = (1, max(1, round(share * width))) if height == 1 else (min(side, height), min(side, width))
    u = uniform(keys, draw, (2,))
    top = (u[:, 0] * (height - tall + 1)).long()[:, None]
    left = (u[:, 1] * (width - wide + 1)).long()[:, None]
    rows, columns = torch.arange(height, device=keys.device), torch.arange(width, device=keys.device)
    inside_rows = (rows >= top) & (rows < top + tall)
    inside_columns = (columns >= left) & (columns < left + wide)
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]


def _pushed(x: Tensor, keys: Tensor, draw: int, length: float | Tensor, share: float) -> Tensor:
    """A pattern of that l2 length in a random window: random signs by channel, the same over the window."""
    mask = _window(keys, draw, tuple(x.shape[1:]), share)
    pattern = mask * signs(keys, draw + 1, (x.shape[1], 1, 1)).to(x.dtype)
    norms = torch.linalg.vector_norm(pattern.flatten(1), dim=1).clamp_min(1e-12)
    return pattern * spread(torch.as_tensor(length, dtype=torch.float64, device=x.device) / norms.double(), x)


def _moved(z: Tensor, ball: Ball, keys: Tensor, draw: int, share: float) -> Tensor:
    x, eps = ball.x, spread(ball.eps, z)
    mask = _window(keys, draw, tuple(z.shape[1:]), share)
    if ball.norm == "linf":
        return ball.nearest(torch.where(mask, x + eps * signs(keys, draw + 2, (z.shape[1], 1, 1)).to(z.dtype), z))
    d = z - x
    # what two windows hold, and what is left of the ball, goes into one of them
    other = _window(keys, draw + 3, tuple(z.shape[1:]), share)
    kept = torch.where(mask | other, 0.0, d)
    left = (ball.eps**2 - (kept.flatten(1).double() ** 2).sum(1)).clamp_min(0).sqrt()
    pattern = mask * signs(keys, draw + 5, (z.shape[1], 1, 1)).to(z.dtype)
    pattern = pattern / torch.linalg.vector_norm(pattern.flatten(1), dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    held = torch.where(mask, d, 0.0)
    held = held / torch.linalg.vector_norm(held.flatten(1), dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    mixed = pattern + held
    mixed = mixed / torch.linalg.vector_norm(mixed.flatten(1), dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return ball.nearest(x + kept + mixed * spread(left, z))


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """The Square attack; see `square`. Needs no gradient.

    Args:
        eps: Radius of the ball, in units of the input.
        queries: Most queries of a sample.
        share: First share of the pixels in a square.
    """

    eps: float = 0.1
    queries: int = 5000
    share: float = 0.8

    gradient: ClassVar[bool] = False
    _NORMS: ClassVar[tuple[str, ...]] = ("l2", "linf")
    _RULES: ClassVar[dict[str, Any]] = {
        **EPS, "queries": (Number(1, integer=True),), "share": (Number(0, 1, open_low=True),),
    }  # fmt: skip

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return square(
            found.logits, x, y, eps=self.eps, norm=self.norm, queries=self.queries, share=self.share,
            bounds=found.bounds, target=target, keys=keys,
        )  # fmt: skip
