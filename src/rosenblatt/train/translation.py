"""A translation model in training, under test, and at work: the loss of given targets, and beam search.

Reference: beam search with length and coverage penalties: Wu et al. 2016, arXiv:1609.08144, section 7; label smoothing:
Szegedy et al. 2016, arXiv:1512.00567.

Shapes: N sentences, K beams of each, S source tokens, T target tokens, V vocabulary.

Departures: the search computes in double precision. In any precision the last digits of a matrix product depend on the
number of its rows, that is on the other sentences of the batch; in single precision that turns a decision once in some
thousand sentences, in double precision once in some hundred thousand million.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float, Int
from rosenblatt.data.pairs import PairBatches
from rosenblatt.train.precision import autocast

PAD, END, FORWARD, BACKWARD = range(4)
"""Tokens that are no text. The third and fourth end a source and begin its target: they say into which language."""

SPECIAL = 4
"""Number of them; the units of the text come after."""


class Forced(nn.Module):
    """A translation model that reads sources and given targets out of one tensor, as `PairBatches` makes it.

    Args:
        module: (source, target) -> logits.
        data: The batches, which say where the targets begin.
    """

    def __init__(self, module: nn.Module, data: PairBatches):
        super().__init__()
        self.module, self.data = module, data

    def forward(self, x: Int[Tensor, "N U"]) -> Float[Tensor, "N T V"]:
        """Logits of the token after each target token."""
        return self.module(x[:, : self.data.split], x[:, self.data.split :])


def token_loss(
    logits: Float[Tensor, "N T V"],
    target: Int[Tensor, "N T"],
    weight: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean negative log-likelihood of the target tokens that are no padding, in nats.

    Args:
        logits: Of the network.
        target: Zeros are padding.
        weight: Not used: a sentence counts by its tokens.
        label_smoothing: Share of the target spread evenly over all tokens.
    """
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


@torch.no_grad()
def mean_nats(module: nn.Module, data: PairBatches, *, precision: str) -> float:
    """Mean negative log-likelihood of a target token, in nats.

    Args:
        module: In eval mode.
        data: Without shuffling.
        precision: "fp32" or "bf16".
    """
    total, count, forced = 0.0, 0.0, Forced(module, data)
    for x, y, weight in data:
        with autocast(y.device, precision):
            logits = forced(x)
        total += float(token_loss(logits.float(), y)) * float(weight.sum())
        count += float(weight.sum())
    return total / count


# ---------------------------------------------------------------------------------------------------- beam search


@dataclass(frozen=True)
class Search:
    r"""How to search for the best translation.

    .. math::
        s(Y, X) = \log P(Y | X) / lp(Y) + cp(X, Y), \quad lp(Y) = \frac{(5 + |Y|)^\alpha}{(5 + 1)^\alpha}, \quad
        cp(X, Y) = \beta \sum_i \log \min\Bigl(\sum_j p_{ij}, 1\Bigr)

    Args:
        beam: Translations under way at a time; 1 is the greedy search.
        length_penalty: :math:`\alpha`; 0 prefers short ones.
        coverage_penalty: :math:`\beta`; above 0 shuns those that leave source tokens unseen.
        look: Whether the attention of the best is kept.

    Reference:
        Wu et al. 2016, equation 14.
    """

    beam: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    look: bool = False

    def penalty(self, length: int) -> float:
        """What the score of a length is divided by, lp."""
        return ((5 + length) / 6) ** self.length_penalty


@dataclass(frozen=True)
class Found:
    """The best translation of a sentence.

    Attributes:
        tokens: Without the end mark.
        score: s(Y, X) of `Search`.
        attention: (T + 1, S): where each token of it, and the end mark, looked; None where it was not asked for.
    """

    tokens: tuple[int, ...]
    score: float
    attention: Tensor | None = None


def limit_of(length: int) -> int:
    """Tokens, end mark included, that the translation of a source of so many may have."""
    return 2 * length + 10


@torch.no_grad()
def translate(module: Any, sources: Sequence[Sequence[int]], search: Search, *, rows: int = 64) -> list[Found]:
    """Translations of sentences, in their order; what comes out for one does not depend on the others.

    Args:
        module: With ``start``, ``step`` and states that ``reorder``; it is copied in double precision.
        sources: Tokens of each, the direction's token last.
        search: How.
        rows: Sentences searched side by side, for speed alone.
    """
    exact = copy.deepcopy(module).eval()
    device = next(exact.parameters()).device
    exact = exact.to(torch.float32 if device.type == "mps" else torch.float64)  # Apple's GPUs have no doubles
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    found: list[Found | None] = [None] * len(sources)
    for start in range(0, len(order), rows):
        some = order[start : start + rows]
        for place, best in zip(some, _Beams(exact, [sources[i] for i in some], search, device).run(), strict=True):
            found[place] = best
    return [one for one in found if one is not None]


class _Beams:
    """The beams of a batch of sentences; sentences that are done leave it."""

    def __init__(self, module: Any, sources: Sequence[Sequence[int]], search: Search, device: torch.device):
        self.module, self.search, self.device = module, search, device
        self.limits = [limit_of(len(source)) for source in sources]
        self.finished: list[list[Found]] = [[] for _ in sources]
        width = max(len(source) for source in sources)
        padded = torch.tensor([list(s) + [PAD] * (width - len(s)) for s in sources], device=device)
        self.real = padded != PAD
        self.state = module.start(padded, search.beam, max(self.limits))
        self.alive = list(range(len(sources)))
        direction = torch.tensor([source[-1] for source in sources], device=device)
        self.last = direction.repeat_interleave(search.beam)
        self.written = self.last.new_zeros(len(self.last), 0)
        dtype = next(module.parameters()).dtype
        self.scores = torch.full((len(sources), search.beam), -torch.inf, dtype=dtype, device=device)
        self.scores[:, 0] = 0.0  # at first all beams of a sentence are the same one
        self.look = search.look or search.coverage_penalty > 0
        self.seen = self.scores.new_zeros(len(self.last), 0, width)

    def run(self) -> list[Found]:
        step = 0
        while self.alive:
            step += 1
            self.advance(step)
        # equal scores are as good as unheard of; the tokens decide then, which the batch does not change
        return [min(done, key=lambda one: (-one.score, one.tokens)) for done in self.finished]

    def advance(self, step: int) -> None:
        """One more token for each beam."""
        count, beams = len(self.alive), self.search.beam
        logits, seen = self.module.step(self.last, self.state, look=self.look)
        if seen is not None:
            self.seen = torch.cat([self.seen, seen[:, None]], 1)
        total = self.scores[..., None] + self.allowed(logits.log_softmax(1).view(count, beams, -1), step)
        size = total.shape[2]
        best, place = total.flatten(1).topk(2 * beams)  # at most one end a beam, so at least as many that go on
        beam, token = place // size, place % size
        ends = token == END
        self.collect(step, best, beam, ends)
        # the best that go on, in their order
        onward = (ends.long() * 2 * beams + torch.arange(2 * beams, device=self.device)).argsort(1)[:, :beams]
        self.scores = best.gather(1, onward)
        leading = self.scores[:, 0].tolist()
        kept = [row for row in range(count) if not self.done(row, step, leading[row])]
        self.go_on(kept, beam.gather(1, onward), token.gather(1, onward))

    def allowed(self, scores: Tensor, step: int) -> Tensor:
        """Text alone, and the end from the second step on; at a sentence's limit nothing but the end."""
        scores[..., [PAD, FORWARD, BACKWARD]] = -torch.inf
        if step == 1:
            scores[..., END] = -torch.inf
        full = [row for row, sentence in enumerate(self.alive) if step >= self.limits[sentence]]
        if full:
            scores[full, :, END + 1 :] = -torch.inf
        return scores

    def collect(self, step: int, best: Tensor, beam: Tensor, ends: Tensor) -> None:
        """Note the translations that end here, where they are among the best of their sentence."""
        beams = self.search.beam
        ends = ends[:, :beams] & torch.isfinite(best[:, :beams])
        for row, rank in ends.nonzero().tolist():
            source = row * beams + int(beam[row, rank])
            score = float(best[row, rank]) / self.search.penalty(step) + self.coverage(row, source)
            real = int(self.real[row].sum())
            looked = self.seen[source, :, :real].float().cpu() if self.search.look else None
            tokens = tuple(self.written[source].tolist())
            self.finished[self.alive[row]].append(Found(tokens, score, looked))

    def coverage(self, row: int, source: int) -> float:
        if not self.search.coverage_penalty:
            return 0.0
        covered = self.seen[source].sum(0)[self.real[row]].clamp(max=1.0)
        return self.search.coverage_penalty * float(covered.log().sum())

    def done(self, row: int, step: int, leading: float) -> bool:
        """Whether a sentence has its translations: as many as beams, or one that none under way can beat."""
        sentence = self.alive[row]
        finished, limit = self.finished[sentence], self.limits[sentence]
        if len(finished) >= self.search.beam or step >= limit:
            return True
        # a score only falls from here; the greatest penalty divides it most
        reach = leading / max(self.search.penalty(step + 1), self.search.penalty(limit))
        return bool(finished) and max(one.score for one in finished) >= reach

    def go_on(self, kept: list[int], beam: Tensor, token: Tensor) -> None:
        """Continue the chosen beams of the sentences that are not done."""
        rows = torch.tensor(kept, dtype=torch.long, device=self.device)
        source = (rows[:, None] * self.search.beam + beam[rows]).flatten()
        self.last = token[rows].flatten()
        self.written = torch.cat([self.written[source], self.last[:, None]], 1)
        self.scores, self.seen = self.scores[rows], self.seen[source]
        if len(kept) < len(self.alive):
            self.alive = [self.alive[row] for row in kept]
            self.real = self.real[rows]
            self.state.reorder(source, rows)
        else:
            self.state.reorder(source)
