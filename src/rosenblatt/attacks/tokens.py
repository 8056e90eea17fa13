r"""Texts and other sequences of tokens: a few of them exchanged.

Exchanging token a for b at place i moves the input by :math:`E_b - E_a` there, E being the embedding, so to first order

.. math:: f(x_{i \to b}) - f(x) \approx \langle \nabla_{e_i} f, \; E_b - E_a \rangle

The best exchanges of that list are tried by a forward pass each, the best of those is made, and so on, one place at a time. At
the end what turned out not to be needed is put back.

Reference: Ebrahimi, Rao, Lowd & Dou 2018, "HotFlip", arXiv:1712.06751, eq. 3 and 4 (flips by the gradient, greedy search).
Departures: the objective is the margin; each step tries several flips by a forward pass instead of trusting the first order;
insertions and deletions are left out. Without gradients exchanges are drawn at random and tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._validate import BOOL, Number
from rosenblatt.attacks.model import Bounds, Victim
from rosenblatt.attacks.objectives import margin, reached
from rosenblatt.attacks.result import Attack, AttackResult, Found
from rosenblatt.attacks.streams import uniform
from rosenblatt.errors import DataError, ParameterError, ShapeError

_TOKENS_AT_ONCE = 1 << 16
STAYS = -1
"""Kind of tokens that nothing stands for and that stand for nothing: padding, what is unknown."""


class TokenVictim(Victim):
    """A classifier of sequences of tokens.

    Args:
        forward: Tokens (N, T), int64, to logits (N, K).
        embedding: The layer that reads the tokens.
        kinds: (V,) a number a token: only tokens of one kind stand for each other; `STAYS` for those that do not change.
        token: What a user calls a token, to its number; KeyError where there is none.
        module: The whole network.
        write: Tokens and X to X with those tokens; None: tokens as X's kind of array.
        **options: Of `rosenblatt.attacks.model.Victim`.
    """

    tokens: ClassVar[bool] = True

    def __init__(
        self, forward: Callable[[Tensor], Tensor], *, embedding: nn.Embedding, kinds: Tensor, token: Callable[[Any], int],
        module: nn.Module, write: Callable[[Tensor, Any], Any] | None = None, **options: Any,
    ):  # fmt: skip
        super().__init__(forward, bounds=None, module=module, device=embedding.weight.device, **options)
        self.embedding, self.kinds, self.token, self._write = embedding, kinds.to(self.device), token, write

    def decode(self, x: Tensor, X: Any) -> Any:
        """The tokens as X was: texts, or an array or tensor of them."""
        return super().decode(x, X) if self._write is None else self._write(x, X)

    def slopes(self, x: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        """Gradients (N, T, D) of the margin with respect to the embedded tokens.

        Raises:
            ParameterError: The layer does not read the tokens, or nothing hangs on it.
            ShapeError: It reads something else than one token a place.
        """
        seen: list[Tensor] = []

        def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            seen.append(output.detach().requires_grad_())
            return seen[-1]

        hook = self.embedding.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                value = margin(self.logits(x), y, target)
        finally:
            hook.remove()
        if len(seen) != 1 or not value.requires_grad:
            raise ParameterError(
                f"attack: {self.name} asked its embedding {len(seen)} times; expected once, and logits that hang on it. "
                "Name the layer that reads the tokens: Tokens(module, embedding=...)."
            )
        if seen[0].shape[:2] != x.shape:
            raise ShapeError(
                f"attack: the embedding gives {tuple(seen[0].shape)} for tokens {tuple(x.shape)}; expected a vector a token."
            )
        return torch.autograd.grad(value.sum(), seen[0])[0]


@dataclass(frozen=True)
class Tokens:
    """A module that takes tokens (N, T), given to `HotFlip` in the module's place.

    Args:
        module: Tokens to logits.
        embedding: The layer that reads them; None: its only ``nn.Embedding``.
        stays: Tokens that do not change and that no other is changed to; the embedding's ``padding_idx`` is one always.
    """

    module: nn.Module
    embedding: nn.Embedding | None = None
    stays: Sequence[int] = ()

    def _victim(self, bounds: Bounds) -> TokenVictim:
        layer = self.embedding
        if layer is None:
            found = [part for part in self.module.modules() if isinstance(part, nn.Embedding)]
            if len(found) != 1:
                raise ParameterError(
                    f"Tokens: {type(self.module).__name__} has {len(found)} embeddings; expected one, or embedding= that "
                    "reads the tokens."
                )
            layer = found[0]
        kinds = torch.zeros(layer.num_embeddings, dtype=torch.long)
        for token in (*self.stays, *(() if layer.padding_idx is None else (layer.padding_idx,))):
            kinds[token] = STAYS

        def number(token: Any) -> int:
            if isinstance(token, (int, np.integer)) and 0 <= token < len(kinds):
                return int(token)
            raise KeyError(token)

        def encode(X: Any) -> Tensor:
            x = torch.as_tensor(X).detach()
            if x.ndim != 2 or x.is_floating_point() or x.dtype == torch.bool:
                raise ShapeError(
                    f"attack: X {tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')}; expected integers "
                    "(n_samples, n_tokens)."
                )
            if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < len(kinds):
                raise DataError(
                    f"attack: X holds tokens from {int(x.min())} to {int(x.max())}; expected 0 to {len(kinds) - 1}."
                )
            return x.long()

        return TokenVictim(
            self.module, embedding=layer, kinds=kinds, token=number, module=self.module, encode=encode,
            name=type(self.module).__name__,
        )  # fmt: skip


class _Flips:
    """Which tokens may stand at each place of one sample, from the sample as it was."""

    def __init__(self, clean: Tensor, kinds: Tensor, allowed: Mapping[int, Tensor] | None):
        self.clean, self.kinds = clean, kinds
        self.places = (kinds[clean] != STAYS).nonzero()[:, 0]
        self.allowed = allowed
        if allowed is not None:
            self.places = self.places[[int(t) in allowed for t in clean[self.places].tolist()]]

    def mask(self) -> Tensor:
        """Tokens (P, V) that may stand at the places, the sample's own among them."""
        own = self.clean[self.places]
        if self.allowed is None:
            return self.kinds[None] == self.kinds[own][:, None]
        found = torch.zeros(len(own), len(self.kinds), dtype=torch.bool, device=own.device)
        for row, token in enumerate(own.tolist()):
            found[row, self.allowed[token]] = True
            found[row, token] = True
        return found


def hotflip(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    kinds: Tensor,
    substitutions: int = 5,
    tries: int = 20,
    slopes: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None,
    weight: Tensor | None = None,
    allowed: Mapping[int, Tensor] | None = None,
    target: Tensor | None = None,
    keys: Tensor,
) -> Found:
    """Exchange tokens one after the other until the answer is wrong.

    Args:
        model: Tokens (N, T) to logits (N, K).
        x: Tokens.
        y: Labels (N,).
        kinds: (V,) which tokens may stand for each other: those of one number; `STAYS` are left alone.
        substitutions: Most places that change.
        tries: Exchanges tried by a forward pass in each step.
        slopes: (tokens, labels, targets) to gradients (N, T, D) of the margin; None: exchanges are drawn at random.
        weight: The embedding (V, D), where there are slopes.
        allowed: Tokens that may stand for a token, by number; None: all of its kind.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers.
    """
    z, queries = x.clone(), torch.ones(len(x), dtype=torch.int64, device=x.device)
    flips = [_Flips(row, kinds, allowed) for row in x]
    with torch.no_grad():
        value = margin(model(x), y, target)
    live = torch.arange(len(x), device=x.device)
    for step in range(substitutions):
        if not len(live):
            break
        goal = None if target is None else target[live]
        if slopes is None:
            found = [_drawn(flips[i], z[i], keys[i], step, tries) for i in live.tolist()]
        else:
            g = slopes(z[live], y[live], goal)
            queries[live] += 1
            found = [_steepest(flips[i], z[i], g[row], weight, tries) for row, i in enumerate(live.tolist())]
        tried, gains, wrong = _tried(model, z, y, target, live, found)
        keep = []
        for i, parts, gain, hit in zip(live.tolist(), tried, gains, wrong, strict=True):
            queries[i] += len(gain)
            best = int(gain.argmax()) if len(gain) else None
            better = best is not None and bool(hit[best] or gain[best] > value[i])
            if better:
                z[i], value[i] = parts[best], gain[best]
            # where nothing is better the gradient would give the same list again, chance another
            if not (better and hit[best]) and (better or (slopes is None and len(gain))):
                keep.append(i)
        live = torch.tensor(keep, dtype=torch.long, device=x.device)
    return _put_back(model, x, z, y, target, queries)


def _tried(
    model: Callable[[Tensor], Tensor], z: Tensor, y: Tensor, target: Tensor | None, live: Tensor, found: list[Tensor]
) -> tuple[tuple[Tensor, ...], ...]:
    """Each sample with each of its exchanges, the margins, and which answers are wrong; one part a sample."""
    counts = [len(one) for one in found]
    rows, exchanges = live.repeat_interleave(torch.tensor(counts, device=z.device)), torch.cat(found)
    tried = z[rows]
    tried[torch.arange(len(rows), device=z.device), exchanges[:, 0]] = exchanges[:, 1]
    gains, wrong = _judged(model, tried, y[rows], None if target is None else target[rows])
    return tried.split(counts), gains.split(counts), wrong.split(counts)


def _judged(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Margins (M,), and which answers are wrong."""
    if not len(x):
        return torch.zeros(0, device=x.device), torch.zeros(0, dtype=torch.bool, device=x.device)
    with torch.no_grad():
        logits = torch.cat([model(part) for part in x.split(max(1, _TOKENS_AT_ONCE // x.shape[1]))])
    return margin(logits, y, target), reached(logits, y, target)


def _steepest(flips: _Flips, z: Tensor, g: Tensor, weight: Tensor, tries: int) -> Tensor:
    """The exchanges (C, 2), place and token, that raise the margin most to first order (eq. 4)."""
    mask, g = flips.mask(), g[flips.places].to(weight.dtype)
    now = z[flips.places]
    mask[torch.arange(len(now), device=z.device), now] = False
    rise = g @ weight.T - (g * weight[now]).sum(1, keepdim=True)
    rise = torch.where(mask, rise, -torch.inf).flatten()
    best = rise.topk(min(tries, int(mask.sum()))).indices
    return torch.stack([flips.places[best // len(weight)], best % len(weight)], 1)


def _drawn(flips: _Flips, z: Tensor, key: Tensor, step: int, tries: int) -> Tensor:
    """Exchanges (C, 2) at random, or all where they are no more than ``tries``."""
    mask, now = flips.mask(), z[flips.places]
    mask[torch.arange(len(now), device=z.device), now] = False
    counts = mask.sum(1)
    if int(counts.sum()) <= tries:
        found = mask.nonzero()
        return torch.stack([flips.places[found[:, 0]], found[:, 1]], 1)
    u = uniform(key[None], step, (tries, 2))[0].double()
    some = counts.nonzero()[:, 0]
    rows = some[(u[:, 0] * len(some)).long()]
    rank = (u[:, 1] * counts[rows]).long()
    tokens = torch.stack([mask[row].nonzero()[nth, 0] for row, nth in zip(rows.tolist(), rank.tolist(), strict=True)])
    return torch.stack([flips.places[rows], tokens], 1)


def _put_back(
    model: Callable[[Tensor], Tensor], x: Tensor, z: Tensor, y: Tensor, target: Tensor | None, queries: Tensor
) -> Found:
    """Exchanges without which the answer stays wrong are undone, one after the other."""
    rows = _judged(model, z, y, target)[1].nonzero()[:, 0]
    queries += 1
    changed = [(z[i] != x[i]).nonzero()[:, 0] for i in rows.tolist()]
    for number in range(max((len(places) for places in changed), default=0)):
        some = [n for n, places in enumerate(changed) if number < len(places) and len(places) > 1]
        if not some:
            break
        here, places = rows[some], torch.stack([changed[n][number] for n in some])
        tried = z[here]
        tried[torch.arange(len(here), device=x.device), places] = x[here, places]
        still = _judged(model, tried, y[here], None if target is None else target[here])[1]
        queries[here] += 1
        z[here[still]] = tried[still]
    return Found(z, queries)


@dataclass(frozen=True, kw_only=True)
class HotFlip(Attack):
    """Exchange a few tokens of a text; see `hotflip`.

    The result's norm is "l0", the number of places that changed.

    Args:
        substitutions: Most places that change.
        tries: Exchanges tried by a forward pass in each step.
        gradient: Whether the exchanges to try are chosen by the gradient; False draws them at random.
        allowed: What may stand for what: token -> tokens (of an `RNNClassifier` characters or words), as a dictionary of
            synonyms; what is not in it stays. None: any known token of its kind (words by words, signs by signs).

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Embedding(4, 1), nn.Flatten(), nn.Linear(3, 2)).requires_grad_(False)
        >>> _ = net[0].weight.copy_(torch.tensor([[0.0], [1.0], [2.0], [9.0]]))
        >>> _ = net[2].weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]))
        >>> _ = net[2].bias.copy_(torch.tensor([3.5, 0.0]))
        >>> found = HotFlip(substitutions=2, allowed={0: [1, 2]})(net, torch.tensor([[0, 0, 0]]), [0])
        >>> found.adversarial, found.norms
        (tensor([[0, 2, 0]]), array([1.]))
    """

    norm: str = "l0"
    substitutions: int = 5
    tries: int = 20
    gradient: bool = True
    allowed: Mapping[Any, Sequence[Any]] | None = field(default=None, repr=False)

    tokens: ClassVar[bool] = True
    _NORMS: ClassVar[tuple[str, ...]] = ("l0",)
    _RULES: ClassVar[dict[str, Any]] = {
        "substitutions": (Number(1, integer=True),), "tries": (Number(1, integer=True),), "gradient": (BOOL,),
    }  # fmt: skip

    def __call__(self, model: Any, X: Any, y: Any, *, target: Any = None) -> AttackResult:
        """Attack the samples that the model has right.

        Args:
            model: A fitted `rosenblatt.RNNClassifier` of texts, a module of tokens, or `Tokens` around one.
            X: Texts, or tokens (N, T), integers.
            y: Their labels (N,).
            target: The wanted class, one or one a sample; None wants any wrong answer.

        Raises:
            ParameterError: A model that takes no tokens, or ``allowed`` with what it does not know.
            ShapeError, DataError, NonFiniteError, LabelError: Samples or labels that do not fit the model.
        """
        return super().__call__(Tokens(model) if isinstance(model, nn.Module) else model, X, y, target=target)

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return hotflip(
            found.logits, x, y, kinds=found.kinds, substitutions=self.substitutions, tries=self.tries,
            slopes=found.slopes if self.gradient else None, weight=found.embedding.weight.detach(),
            allowed=self._allowed(found), target=target, keys=keys,
        )  # fmt: skip

    def _allowed(self, found: Victim) -> dict[int, Tensor] | None:
        if self.allowed is None:
            return None

        def number(token: Any) -> int:
            try:
                return found.token(token)
            except KeyError:
                raise ParameterError(
                    f"HotFlip: allowed holds {token!r}, which {found.name} does not know; expected tokens of its vocabulary. "
                    "Leave it out."
                ) from None

        numbers = {}
        for token, others in self.allowed.items():
            own, new = number(token), [number(other) for other in others]
            for other, place in zip(others, new, strict=True):
                if found.kinds[place] == STAYS or found.kinds[place] != found.kinds[own]:
                    raise ParameterError(
                        f"HotFlip: allowed has {other!r} for {token!r}; expected tokens of one kind, none of those that stay."
                    )
            numbers[own] = torch.tensor(new, dtype=torch.long, device=found.device)
        return numbers
