"""How a `ChoraleNet` learns, is measured, and sings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._types import Int
from rosenblatt.data.chorales import ChoraleCode, padded
from rosenblatt.layers.sampling import sample
from rosenblatt.models.chorale import HELD, ChoraleNet, token_losses


class Sung(nn.Module):
    """The network for the supervised loop: tokens (N, T, V) or, with chords, (N, T, V + 1) in, logits out."""

    def __init__(self, net: ChoraleNet):
        super().__init__()
        self.net = net

    def forward(self, tokens: Int[Tensor, "N T D"]) -> list[Tensor]:
        """Logits of the chords, where there are any, and of each voice."""
        notes, chords = split_tokens(self.net, tokens)
        return self.net(notes, chords)[0]


def split_tokens(net: ChoraleNet, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """Notes and chords of a batch."""
    return tokens[:, :, : net.voices], tokens[:, :, net.voices] if net.chords else None


def chorale_loss(logits: list[Tensor], tokens: Tensor, weight: Tensor | None = None, *, voices: int) -> Tensor:
    """Nats a note: the cost of all notes, and of the chords, over the number of notes.

    Args:
        logits: As `Sung` gives them.
        tokens: (N, T, V) or, with chords, (N, T, V + 1).
        weight: Not used; padding says what does not count.
        voices: V.
    """
    notes, chords = tokens[:, :, :voices], tokens[:, :, voices] if voices < tokens.shape[2] else None
    each, chord = token_losses(logits, notes, chords)
    total = each.sum() if chord is None else each.sum() + chord.sum()
    return total / (notes >= 0).sum()


@torch.no_grad()
def chorale_nats(
    net: ChoraleNet, code: ChoraleCode, pieces: Sequence[np.ndarray], *, batch: int = 16
) -> dict[str, float]:
    """Mean negative log-likelihood of unseen pieces, in nats.

    Returns:
        ``note``: of the notes given the chords, over the number of notes; ``with_chords``: of notes and chords together over
        the number of notes, which is what the notes cost at most; ``token``: over the number of notes and chords. Without
        chords all three are one number.
    """
    training = net.training
    net.eval()
    device = next(net.parameters()).device
    note = chord = count = steps = 0.0
    ordered = sorted(pieces, key=len)
    for start in range(0, len(ordered), batch):
        tokens = padded([code.encode(piece) for piece in ordered[start : start + batch]]).to(device)
        notes, chords = split_tokens(net, tokens)
        each, of_chords = token_losses(net(notes, chords)[0], notes, chords)
        note += float(each.double().sum())
        count += float((notes >= 0).sum())
        if of_chords is not None:
            chord += float(of_chords.double().sum())
            steps += float((notes[:, :, 0] >= 0).sum())
    net.train(training)
    return {"note": note / count, "with_chords": (note + chord) / count, "token": (note + chord) / (count + steps)}


@torch.no_grad()
def sing(
    net: ChoraleNet, code: ChoraleCode, *, steps: int, generator: torch.Generator, prompt: np.ndarray | None = None,
    given: np.ndarray | None = None, **options: Any,
) -> np.ndarray:  # fmt: skip
    """Voices (T, V) drawn step by step, after a prompt, around what is given.

    Args:
        net: In eval mode.
        code: Its tokens.
        steps: Steps to draw.
        generator: On the network's device.
        prompt: Voices to begin with; they are part of the result.
        given: (steps, V) pitches that are fixed, -2 where the network chooses: a melody to harmonise.
        **options: Temperature, top_k, top_p of `rosenblatt.layers.sampling.sample`.
    """
    device, voices = next(net.parameters()).device, net.voices
    before = torch.full((1, 1, voices), net.pitches, device=device)
    held, chord, state = torch.zeros_like(before), torch.zeros(1, 1, dtype=torch.long, device=device), None
    forced = [] if prompt is None else list(code.encode(prompt)[:, :voices])
    fixed = [None] * steps if given is None else [_fixed(code, row) for row in given]
    plan = [*forced, *fixed]
    out = []
    for place in range(len(forced) + steps):
        h, state = net.read(before, held, chord if net.chords else None, torch.tensor([place], device=device), state)
        wanted = plan[place]
        step, chord = _one_step(net, h, before, held, chord, wanted, generator, options)
        same = (step == before).long()
        held = torch.where(same == 1, (held + 1).clamp_max(HELD - 1), 0)
        before = step
        out.append(step[0, 0].cpu().numpy())
    return code.decode(np.stack(out))


def _fixed(code: ChoraleCode, row: np.ndarray) -> np.ndarray | None:
    """Tokens of a step, -2 where the network chooses."""
    if (row == -2).all():
        return None
    return np.where(row == -2, -2, code.encode(np.where(row == -2, -1, row)[None])[0, : len(row)])


def _one_step(
    net: ChoraleNet, h: Tensor, before: Tensor, held: Tensor, chord: Tensor, wanted: np.ndarray | None,
    generator: torch.Generator, options: dict[str, Any],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    seen = [h]
    if net.chord_head is not None and net.chord is not None:
        drawn = sample(net.chord_head(h, chord)[:, 0].float(), generator=generator, **options)
        chord = drawn.view(1, 1)
        seen.append(net.chord(chord))
    chosen = []
    for v in range(net.voices):
        own = [net.note(before[:, :, v], v), net.held(held[:, :, v])]
        if wanted is not None and wanted[v] != -2:
            token = torch.full((1, 1), int(wanted[v]), device=h.device)
        else:
            logits = net.heads[v](torch.cat([*seen, *own], 2), before[:, :, v])
            token = sample(logits[:, 0].float(), generator=generator, **options).view(1, 1)
        chosen.append(token)
        seen.append(net.note(token, v))
    return torch.stack(chosen, 2), chord
