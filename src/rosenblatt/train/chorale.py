"""How a `ChoraleNet` learns, is measured, and sings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._types import Float, Int
from rosenblatt.data.chorales import RESOLUTION, SILENCE, ChoraleCode, packed, padded
from rosenblatt.data.repeats import UNDER, Listener, Memory, Recalled
from rosenblatt.layers.sampling import sample
from rosenblatt.models.chorale import HELD, ChoraleNet, Given, token_losses

FREE = -2
"""In place of a pitch: the network chooses."""


class Sung(nn.Module):
    """The network for the supervised loop: pieces (N, T, D) as `rosenblatt.data.chorales.packed` in, logits out."""

    def __init__(self, net: ChoraleNet):
        super().__init__()
        self.net = net

    def forward(self, tokens: Int[Tensor, "N T D"]) -> list[Tensor]:
        """Logits of the chords, where there are any, and of each voice."""
        return self.net(given_of(self.net, tokens))[0]


def given_of(net: ChoraleNet, tokens: Int[Tensor, "N T D"]) -> Given:
    """A batch of packed pieces as what the network reads."""
    v, s, f = net.voices, net.sources, net.marks
    sizes = [v, int(net.chords > 0), int(net.keyed), v * s, v * s * f]
    notes, chords, tonic, recalled, strength = tokens.split(sizes, 2)
    return Given(
        notes,
        chords[:, :, 0] if net.chords else None,
        tonic[:, 0, 0] if net.keyed else None,
        recalled.unflatten(2, (v, s)) if s else None,
        strength.unflatten(2, (v, s, f)).float() / RESOLUTION if s else None,
    )


def chorale_loss(logits: list[Tensor], tokens: Tensor, weight: Tensor | None = None, *, net: ChoraleNet) -> Tensor:
    """Nats a note: the cost of all notes, and of the chords, over the number of notes.

    Args:
        logits: As `Sung` gives them.
        tokens: (N, T, D), packed.
        weight: Not used; padding says what does not count.
        net: The network.
    """
    given = given_of(net, tokens)
    each, chord = token_losses(logits, given.notes, given.chords)
    total = each.sum() if chord is None else each.sum() + chord.sum()
    return total / (given.notes >= 0).sum()


@torch.no_grad()
def chorale_nats(
    nets: Sequence[ChoraleNet], code: ChoraleCode, pieces: Sequence[np.ndarray], *, recalled: Sequence[Recalled] | None = None,
    shifts: Sequence[int] = (0,), batch: int = 16,
) -> dict[str, float]:  # fmt: skip
    """Mean negative log-likelihood of unseen pieces, in nats.

    Networks and transpositions are averaged token by token, and the tonic, which nobody tells, is summed over. Both are
    probabilities of the piece: what is averaged looks at nothing but earlier tokens, and which transpositions are used does
    not depend on the piece (where one does not fit, its probability counts as 0)::

        p(x) = sum_k 1/12 prod_i mean_m p_m(x_i | x_<i, k)

    Args:
        nets: One or more, of the same tokens.
        code: The tokens.
        pieces: Arrays (T, V).
        recalled: What was found for each, where the networks have sources.
        shifts: Semitones of the transpositions; with chords only 0, since rare chords share one token.
        batch: Pieces at a time.

    Returns:
        ``note``: of the notes given the chords, over the number of notes; ``with_chords``: of notes and chords together over
        the number of notes, which is what the notes cost at most; ``token``: over the number of notes and chords. Without
        chords all three are one number.

    Raises:
        DataError: A pitch that training had not.
    """
    note = chord = count = steps = 0.0
    order = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        some = None if recalled is None else [recalled[i] for i in chosen]
        notes, chords = _log_likelihoods(nets, code, [pieces[i] for i in chosen], some, shifts)
        weight = (notes + chords).softmax(0) if len(notes) > 1 else torch.ones_like(notes)
        both = -((notes + chords).logsumexp(0) - np.log(len(notes))).sum()
        of_chords = -(weight * chords).sum()  # the cost of the tonic is counted with the notes
        note, chord = note + float(both - of_chords), chord + float(of_chords)
        count += sum(pieces[i].size for i in chosen)
        steps += sum(len(pieces[i]) for i in chosen) * (nets[0].chords > 0)
    return {"note": note / count, "with_chords": (note + chord) / count, "token": (note + chord) / (count + steps)}


def _log_likelihoods(
    nets: Sequence[ChoraleNet], code: ChoraleCode, pieces: Sequence[np.ndarray], recalled: Sequence[Recalled] | None,
    shifts: Sequence[int],
) -> tuple[Float[Tensor, "K N"], Float[Tensor, "K N"]]:  # fmt: skip
    """Log-likelihood of the notes and of the chords of each piece for each tonic; one row without tonics."""
    notes, chords = [], []
    for tonic in range(12) if nets[0].keyed else [None]:
        members = [_of_member(net, code, pieces, recalled, tonic, shift) for net in nets for shift in shifts]
        mean = [torch.stack(each).logsumexp(0) - np.log(len(members)) for each in zip(*members, strict=True)]
        notes.append(mean[0].sum((1, 2)))
        chords.append(mean[1].sum(1))
    return torch.stack(notes), torch.stack(chords)


def _of_member(
    net: ChoraleNet, code: ChoraleCode, pieces: Sequence[np.ndarray], recalled: Sequence[Recalled] | None,
    tonic: int | None, shift: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Log-probabilities (N, T, V) and (N, T) of one network in one transposition."""
    fit = [code.fits(np.where(piece == SILENCE, SILENCE, piece + shift)) for piece in pieces]
    if not shift and not all(fit):
        code.encode(pieces[fit.index(False)])  # says which pitch
    rows = [
        packed(code, piece, recalled=None if recalled is None else recalled[i], tonic=tonic, shift=shift if fit[i] else 0)
        for i, piece in enumerate(pieces)
    ]  # fmt: skip
    given = given_of(net, padded(rows).to(next(net.parameters()).device))
    each, chord = token_losses(net(given)[0], given.notes, given.chords)
    real = given.notes[:, :, 0] >= 0
    lost = ~torch.tensor(fit, device=real.device)[:, None] & real
    each = (-each.double()).masked_fill(lost[..., None], -torch.inf)
    return each, torch.zeros_like(each[..., 0]) if chord is None else (-chord.double()).masked_fill(lost, -torch.inf)


@torch.no_grad()
def told_nats(
    net: ChoraleNet, code: ChoraleCode, pieces: Sequence[np.ndarray], *, recalled: Sequence[Recalled] | None,
    tonics: Sequence[int], batch: int = 16,
) -> float:  # fmt: skip
    """An upper bound of ``with_chords`` of `chorale_nats` for a twelfth of its price: p(x) >= p(x | tonic) / 12."""
    total, order = 0.0, sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
    for start in range(0, len(order), batch):
        rows = [
            packed(
                code,
                pieces[i],
                recalled=None if recalled is None else recalled[i],
                tonic=tonics[i] if net.keyed else None,
            )
            for i in order[start : start + batch]
        ]
        given = given_of(net, padded(rows).to(next(net.parameters()).device))
        each, chord = token_losses(net(given)[0], given.notes, given.chords)
        total += float(each.double().sum()) + (0.0 if chord is None else float(chord.double().sum()))
    return (total + len(pieces) * net.keyed * float(np.log(12))) / sum(piece.size for piece in pieces)


@torch.no_grad()
def likely_tonics(
    net: ChoraleNet, code: ChoraleCode, notes: np.ndarray, recalled: Recalled | None = None
) -> Float[Tensor, " K"]:
    """Probability of each of the twelve tonics after an opening, all alike before it."""
    logs = _log_likelihoods([net], code, [notes], None if recalled is None else [recalled], (0,))
    return (logs[0] + logs[1])[:, 0].softmax(0)


@torch.no_grad()
def sing(
    net: ChoraleNet, code: ChoraleCode, *, steps: int, generator: torch.Generator, prompt: np.ndarray | None = None,
    given: np.ndarray | None = None, tonic: int | None = None, memory: Memory | None = None, **options: Any,
) -> np.ndarray:  # fmt: skip
    """Voices (T, V) drawn step by step, after a prompt, around what is given.

    Args:
        net: In eval mode.
        code: Its tokens.
        steps: Steps to draw.
        generator: On the network's device.
        prompt: Voices to begin with; they are part of the result.
        given: (steps, V) pitches that are fixed, `FREE` where the network chooses: a melody to harmonise.
        tonic: Pitch class, where the network is keyed.
        memory: Pieces that it may look into, where the network has sources.
        **options: Temperature, top_k, top_p of `rosenblatt.layers.sampling.sample`.

    Raises:
        DataError: A pitch that training had not.
    """
    free = np.full((steps, net.voices), FREE)
    plan = free if given is None else given
    if prompt is not None:
        plan = np.concatenate([prompt, plan])
    code.encode(np.where(plan == FREE, SILENCE, plan))  # refuses pitches without a token
    singer = _Singer(net, code, len(plan), tonic, memory)
    return np.stack([singer.step(row, generator, options) for row in plan])


class _Singer:
    """What a network has sung so far, and how it goes on."""

    def __init__(self, net: ChoraleNet, code: ChoraleCode, steps: int, tonic: int | None, memory: Memory | None):
        self.net, self.code, self.state, self.place = net, code, None, 0
        self.device = next(net.parameters()).device
        self.before = torch.full((1, 1, net.voices), net.pitches, device=self.device)
        self.earlier = self.before
        self.held = torch.zeros_like(self.before)
        self.chord = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        self.tonic = None if not net.keyed else torch.tensor([tonic or 0], device=self.device)
        self.listener = Listener(net.voices, memory, steps) if net.sources else None

    def step(self, wanted: np.ndarray, generator: torch.Generator, options: dict[str, Any]) -> np.ndarray:
        """The pitches (V,) of the next step: those that are wanted, and drawn where `FREE`."""
        net = self.net
        position = torch.tensor([self.place], device=self.device)
        before_chord = self.chord if net.chords else None
        moved = net.moved(self.before, self.earlier)
        h, self.state = net.read(self.before, moved, self.held, before_chord, self.tonic, position, self.state)
        seen = [h]
        if net.chord_head is not None and net.chord is not None:
            seen.append(net.chord(self._chord(h, wanted, generator, options)))
        recalled = None if self.listener is None else self.listener.expect()
        step, chosen = np.zeros(net.voices, np.int64), {}  # voice -> its token, in the order of the choice
        for v in net.order:
            tokens = torch.cat(list(chosen.values()), 2) if chosen else self.before[:, :, :0]
            logits = net.voice(v, seen, self.before, self.held, self._given(recalled), tokens)[:, 0]
            fixed = wanted[v] != FREE
            token = (
                int(self.code.encode_one(wanted[v]))
                if fixed
                else int(sample(logits.float(), generator=generator, **options))
            )
            step[v] = self.code.decode(np.array(token))
            chosen[v] = torch.full((1, 1, 1), token, device=self.device)
            seen.append(net.note(chosen[v][:, :, 0], v, self.tonic))
            if v == 0 and recalled is not None and self.listener is not None:
                under = self.listener.expect_under(int(step[0]))
                recalled.pitches[:, UNDER], recalled.strength[:, UNDER] = under.pitches, under.strength
        self._go_on(step, torch.cat([chosen[v] for v in range(net.voices)], 2))
        return step

    def _given(self, recalled: Recalled | None) -> Given:
        if recalled is None:
            return Given(self.before, tonic=self.tonic)
        tokens = torch.from_numpy(self.code.recalled(recalled.pitches))[None, None].to(self.device)
        strength = np.rint(recalled.strength * RESOLUTION)[None, None] / RESOLUTION  # as in training
        return Given(self.before, None, self.tonic, tokens, torch.from_numpy(strength).to(self.device))

    def _chord(
        self, h: Tensor, wanted: np.ndarray, generator: torch.Generator, options: dict[str, Any]
    ) -> Int[Tensor, "1 1"]:
        """The chord of the step: the true one where all notes are given, else one that has those that are."""
        if (wanted != FREE).all():
            return torch.from_numpy(self.code.encode(wanted[None])[:, -1:]).to(self.device)
        allowed = torch.from_numpy(self.code.chords_with(wanted[wanted >= 0])).to(self.device)
        logits = self.net.chord_head(h, self.chord[..., None])[:, 0].float()
        return sample(logits, generator=generator, allowed=allowed, **options).view(1, 1)

    def _go_on(self, step: np.ndarray, tokens: Tensor) -> None:
        same = tokens == self.before
        self.held = torch.where(same, (self.held + 1).clamp_max(HELD - 1), 0)
        self.earlier, self.before, self.place = self.before, tokens, self.place + 1
        if self.net.chords:  # the chord that sounds, whatever was drawn
            self.chord = torch.from_numpy(self.code.encode(step[None])[:, -1:]).to(self.device)
        if self.listener is not None:
            self.listener.hear(step)
