"""What a `Composer` does to a piece that is there: fill bars, give it to other instruments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from rosenblatt._validate import Number, parameter
from rosenblatt.data.midi import DRUMS, Piece
from rosenblatt.data.music_tokens import Grammar, MusicTokens
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.composer_inputs import TICKS, cut
from rosenblatt.layers.sampling import check_sampling
from rosenblatt.train.language import mean_nats
from rosenblatt.train.music import play_on
from rosenblatt.train.seeds import draw_seed, generator


class Arranging:
    """The arranging verbs of `Composer`, which keeps what they read in its attributes."""

    def fill(
        self, piece: Piece, start: float, end: float, *, tries: int = 4, random_state: int | None = None, **options: Any
    ) -> Piece:
        """Write new music between two places of a piece; the rest stays.

        The network reads forwards only, so several fillings are drawn and the one is kept after which the bars that follow are
        likeliest.

        Args:
            piece: The music.
            start: Quarter notes from the beginning.
            end: Quarter notes from the beginning; notes that begin in between are replaced.
            tries: Fillings to choose from.
            random_state: Seed of the draws.
            **options: Temperature, top_k, top_p of `sample`.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: Not 0 <= start < end, or network="chorale".
            DataError: What comes before is longer than the context.
        """
        self._check_fitted("fill")
        who = "Composer.fill"
        if self.network == "chorale":
            raise ParameterError(
                f"{who}: network='chorale'; expected an event network. Use harmonise, or sample from a prompt."
            )
        if not 0 <= start < end:
            raise ParameterError(f"{who}: start={start!r}, end={end!r}; expected 0 <= start < end, in quarter notes.")
        check_sampling(who, **options)
        piece, vocabulary = piece.on_grid(TICKS), self._tokens()
        first, last = round(start * TICKS), round(end * TICKS)
        before, after = cut(piece, None, first), cut(piece, last, None)
        source = generator(self.seed_ if random_state is None else draw_seed(random_state), self.device_)
        best, best_cost = None, float("inf")
        for _ in range(max(1, tries)):
            grammar = play_on(
                self.module_.eval(), self._begin(who, vocabulary, before, None, None, None),
                Grammar(vocabulary, instruments=tuple(piece.instruments), longest=self.longest_), length=2048, until=last,
                context=self._seen(), device=self.device_, generator=source, **options,
            )  # fmt: skip
            made = cut(grammar.piece(), first, last)
            whole = Piece(
                np.concatenate([before.notes, made.notes, after.notes]), TICKS, piece.tempos, piece.signatures
            )
            cost = self._cost(whole, vocabulary, from_tick=last)
            if cost < best_cost:
                best, best_cost = whole, cost
        return best if best is not None else piece

    @torch.no_grad()
    def _cost(self, piece: Piece, vocabulary: MusicTokens, *, from_tick: int) -> float:
        """Nats a token of what comes after a tick, within the context around it."""
        tokens = vocabulary.encode(piece)
        begin = len(vocabulary.encode(cut(piece, None, from_tick), end=False))
        window = tokens[max(0, begin - self.context // 2) : begin + self.context // 2]
        place = min(begin, self.context // 2)
        if len(window) - place < 1 or place < 1:
            return 0.0
        x = torch.from_numpy(window[:-1].astype(np.int64))[None].to(self.device_)
        logits = self.module_.eval()(x)[0][0, place - 1 :].float()
        targets = torch.from_numpy(window[place:].astype(np.int64)).to(self.device_)
        return float(nn.functional.cross_entropy(logits, targets))

    def reorchestrate(self, piece: Piece, instruments: Mapping[int, int]) -> Piece:
        """The same notes on other instruments, each moved by octaves to where the network finds the music likeliest.

        The octaves nearest to where the new instrument plays in the training pieces are tried, one instrument after the
        other. "chorale" knows no instruments: there the nearest octave is taken.

        Args:
            piece: The music.
            instruments: Instrument -> instrument; others stay.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: Something else than instruments, or drums for a pitched one.
        """
        self._check_fitted("reorchestrate")
        who = "Composer.reorchestrate"
        for old, new in instruments.items():
            parameter(who, "instruments", new, Number(0, DRUMS, integer=True))
            if (old == DRUMS) != (new == DRUMS):
                raise ParameterError(f"{who}: {old} to {new}; expected pitched to pitched, drums to drums.")
        found = piece.notes.copy()
        for old, new in instruments.items():  # all new names at first, so that two may change places
            found[piece.notes[:, 1] == old, 1] = new
        for old, new in instruments.items():
            rows = piece.notes[:, 1] == old
            if rows.any() and new != DRUMS:
                tried = [self._moved(found, rows, octaves) for octaves in self._octaves(found[rows, 2], new)]
                costs = [0.0] if len(tried) == 1 else [self._whole_cost(_like(piece, notes)) for notes in tried]
                found = tried[int(np.argmin(costs))]
        return _like(piece, found)

    def _octaves(self, pitches: np.ndarray, instrument: int) -> list[int]:
        """Octaves to try, the nearest to the instrument's range first; only those that keep every pitch."""
        known = np.concatenate(self.examples_)
        example = known[known[:, 1] == instrument, 2]
        away = (float(np.median(example)) - float(np.median(pitches))) / 12 if len(example) else 0.0
        fit = [n for n in range(-10, 11) if pitches.min() + 12 * n >= 0 and pitches.max() + 12 * n <= 127]
        nearest = sorted(fit, key=lambda n: abs(n - away))
        return nearest[: 3 if len(example) and self.network != "chorale" else 1]

    def _moved(self, notes: np.ndarray, rows: np.ndarray, octaves: int) -> np.ndarray:
        out = notes.copy()
        out[rows, 2] += 12 * octaves
        return out

    @torch.no_grad()
    def _whole_cost(self, piece: Piece) -> float:
        """Nats a token of a piece, in windows of the context."""
        tokens = torch.from_numpy(self._tokens().encode(piece.on_grid(TICKS)).astype(np.int64)).to(self.device_)
        carry = self.network == "gru"
        steps = min(self.context, len(tokens) - 1)
        return mean_nats(self.module_.eval(), tokens, steps=steps, carry=carry, precision=self.precision_)


def _like(piece: Piece, notes: np.ndarray) -> Piece:
    return Piece(notes, piece.resolution, piece.tempos, piece.signatures, piece.dropped)
