"""How a model of music tokens learns from pieces in all keys, and draws sentences that are pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.data.music_tokens import END, Grammar, MusicTokens
from rosenblatt.data.text import TokenWindows
from rosenblatt.layers.sampling import sample


class MusicWindows(TokenWindows):
    """Windows over pieces one after the other, each piece in another transposition at each epoch.

    Args:
        pieces: Tokens of each piece.
        tokens: Their vocabulary.
        most: Semitones up or down at most; 0 never transposes.
        **options: Of `TokenWindows`.
    """

    def __init__(self, pieces: Sequence[np.ndarray], tokens: MusicTokens, *, most: int = 5, **options: Any):
        super().__init__(np.concatenate(pieces), **options)
        self.pieces, self.vocabulary, self.most = pieces, tokens, most

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, None]]:
        if self.most:
            draws = torch.randint(-self.most, self.most + 1, (len(self.pieces),), generator=self.generator).tolist()
            moved = [self.vocabulary.transpose(p, s) for p, s in zip(self.pieces, draws, strict=True)]
            self.tokens = torch.from_numpy(np.concatenate(moved)).to(self.tokens.device)
        yield from super().__iter__()


@torch.no_grad()
def play_on(
    module: nn.Module, prompt: Sequence[int], grammar: Grammar, *, length: int, until: int | None, context: int | None,
    device: torch.device | str, generator: torch.Generator, repetition_penalty: float = 1.0, **options: Any,
) -> Grammar:  # fmt: skip
    """Draw tokens that the grammar allows after a prompt; the grammar holds the piece afterwards.

    Args:
        module: (tokens, state) -> (logits, state), with ``start(batch, steps)``; in eval mode.
        prompt: Tokens to begin with, START first; the grammar takes them too.
        grammar: At its start.
        length: Tokens to draw at most.
        until: Tick at which drawing stops; None does not.
        context: Tokens that the network sees at most; None: no end.
        device: Of the module.
        generator: On that device.
        repetition_penalty: See `rosenblatt.layers.sampling`; over the last 256 tokens.
        **options: Temperature, top_k, top_p.
    """
    seen = list(prompt)
    for token in seen:
        grammar.take(token)
    unread = seen if context is None else seen[-(context // 2) :]
    state, held = module.start(1, context or 0), 0
    for _ in range(length):
        if grammar.state == "nothing" or (until is not None and grammar.now >= until):
            break
        if context is not None and held + len(unread) > context:
            unread, held = seen[-max(1, context // 2) :], 0
            state = module.start(1, context)
        logits, state = module(torch.tensor([unread], device=device), state)
        held += len(unread)
        mask = grammar.allowed()
        if until is not None:
            mask[END] = False
        history = torch.tensor([seen[-256:]], device=device) if repetition_penalty != 1 else None
        token = int(
            sample(
                logits[:, -1].float(), generator=generator, history=history, repetition_penalty=repetition_penalty,
                allowed=torch.from_numpy(mask).to(device), **options,
            )
        )  # fmt: skip
        grammar.take(token)
        seen.append(token)
        unread = [token]
    return grammar
