"""A language model in training, under test, and at work: carried state, loss of the next token, decoding token by token.

Truncated backpropagation through time: the loop is `rosenblatt.train.supervised`; `Carried` gives each window the state
that the window before ended in, without its history.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float, Int
from rosenblatt.data.text import TokenWindows
from rosenblatt.layers.sampling import sample
from rosenblatt.models.language import detached, joined, rows_of
from rosenblatt.models.recurrent import State
from rosenblatt.train.precision import autocast


class Carried(nn.Module):
    """A language model that keeps its state from window to window; gives logits alone.

    A batch may come in parts (``Plan(accumulate=...)``): each gets the state of its own rows.

    Args:
        module: (tokens, state) -> (logits, state).
        data: The windows, which say where the text starts anew; windows in random order carry nothing.

    Reference:
        Williams & Peng 1990, doi:10.1162/neco.1990.2.4.490.
    """

    def __init__(self, module: nn.Module, data: TokenWindows):
        super().__init__()
        self.module, self.data = module, data
        self.number = -1  # of the batch that `after` belongs to
        self.before: list[State] | None = None
        self.after: list[list[State]] = []
        self.rows = 0

    def forward(self, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T V"]:
        """Logits of the token after each."""
        if not self.data.carry:
            return self.module(tokens)[0]
        if self.number != self.data.number:
            self.before = None if self.data.fresh else joined(self.after)
            self.number, self.after, self.rows = self.data.number, [], 0
        rows = slice(self.rows, self.rows + len(tokens))
        logits, state = self.module(tokens, None if self.before is None else rows_of(self.before, rows))
        self.after.append(detached(state))
        self.rows += len(tokens)
        return logits


def next_token(
    logits: Float[Tensor, "N T V"],
    tokens: Int[Tensor, "N T"],
    weight: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean negative log-likelihood of the tokens, in nats."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), label_smoothing=label_smoothing)


@torch.no_grad()
def mean_nats(module: nn.Module, tokens: Tensor, *, steps: int, carry: bool, precision: str, rows: int = 32) -> float:
    """Mean negative log-likelihood of a text's tokens but the first.

    A recurrent network reads ``rows`` parts side by side, each from an empty state; a Transformer reads windows of
    ``steps`` tokens, each by itself, so that it always knows less of what came before than it could.

    Args:
        module: (tokens, state) -> (logits, state).
        tokens: (L,), at least two.
        steps: Tokens of a window.
        carry: Whether the state is carried from window to window.
        precision: "fp32" or "bf16".
        rows: Of a batch.
    """
    training = module.training
    module.eval()
    total, count = 0.0, len(tokens) - 1
    rows = min(rows, max(1, count // steps)) if carry else rows
    length = count // rows if carry else steps
    whole = count // length
    x, y = tokens[: whole * length].view(whole, length), tokens[1 : whole * length + 1].view(whole, length)
    parts = [(x[i : i + rows], y[i : i + rows]) for i in range(0, whole, rows)]
    if whole * length < count:
        parts.append((tokens[None, whole * length : -1], tokens[None, whole * length + 1 :]))
    for inputs, targets in parts:
        state = None
        for start in range(0, inputs.shape[1], steps):
            part = slice(start, start + steps)
            with autocast(tokens.device, precision):
                logits, state = module(inputs[:, part].long(), state)
            losses = F.cross_entropy(logits.float().flatten(0, 1), targets[:, part].flatten().long(), reduction="sum")
            total += float(losses)
    module.train(training)
    return total / count


@torch.no_grad()
def tokens_after(
    module: nn.Module, prompt: list[int], *, length: int, context: int | None, device: torch.device | str,
    generator: torch.Generator, repetition_penalty: float = 1.0, **options: Any,
) -> Iterator[int]:  # fmt: skip
    """Tokens that follow a prompt, one after the other.

    Args:
        module: (tokens, state) -> (logits, state), with ``start(batch, steps)``; in eval mode.
        prompt: At least one token.
        length: Tokens to draw.
        context: Tokens that the network sees at most; when they are full, it reads the last half of them again. None: no end.
        device: Of the module.
        generator: On that device.
        repetition_penalty: See `rosenblatt.layers.sampling`; over what was seen last.
        **options: Temperature, top_k, top_p of `rosenblatt.layers.sampling.sample`.
    """
    seen = list(prompt)
    unread = seen if context is None else seen[-context:]
    state, held = module.start(1, context or 0), 0
    for _ in range(length):
        if context is not None and held + len(unread) > context:
            unread, held = seen[-max(1, context // 2) :], 0
            state = module.start(1, context)
        logits, state = module(torch.tensor([unread], device=device), state)
        held += len(unread)
        history = torch.tensor([seen[-1024:]], device=device) if repetition_penalty != 1 else None
        chosen = sample(
            logits[:, -1].float(),
            generator=generator,
            history=history,
            repetition_penalty=repetition_penalty,
            **options,
        )
        token = int(chosen)
        seen.append(token)
        unread = [token]
        yield token
