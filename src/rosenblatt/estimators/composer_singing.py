"""The part of a `Composer` that sings: music in a fixed number of voices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from rosenblatt._validate import Choice, Number, parameter
from rosenblatt.data.chorales import ChoraleBatches, ChoraleCode, check_chorale, chorale_of, piece_of, tonic_of
from rosenblatt.data.midi import Piece
from rosenblatt.data.music_tokens import KEYS, estimate_key
from rosenblatt.data.repeats import SOURCES, STRENGTH, Memory, Recalled, recall
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.layers.sampling import check_sampling
from rosenblatt.models.chorale import ChoraleNet, Given
from rosenblatt.train.chorale import FREE, Sung, chorale_loss, chorale_nats, given_of, likely_tonics, sing, told_nats
from rosenblatt.train.plan import Plan
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator

TONICS = tuple(key.split()[0] for key in KEYS[:12])
_MEMORY = 100_000  # steps of training pieces that it looks into


class Singing:
    """What `Composer(network="chorale")` does; the estimator keeps the parameters and attributes."""

    def _fit_chorale(
        self, plan: Plan, pieces: list[np.ndarray], held: list[np.ndarray], seed: int, device: Any
    ) -> None:
        code = ChoraleCode.of(pieces, self.chords)
        self.low_, self.high_, self.chord_sets_, self.ranges_ = code.low, code.high, code.chords, code.ranges
        self.instruments_ = (19,)
        self._remember([piece_of(piece) for piece in pieces])
        self.tonics_ = np.bincount([tonic_of(piece) for piece in pieces], minlength=12)
        held = [piece for piece in held if code.fits(piece)]
        if not held:
            raise DataError(
                "Composer.fit: no held-out piece has the pitches of the others; expected at least one. Give validation=."
            )
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        data = ChoraleBatches(
            pieces, code, batch_size=self.batch_size or 16, generator=generator(seed),
            transpose=self.transpose, recalled=self._recall_others(pieces), keyed=True, device=device,
        )  # fmt: skip
        found, tonics = self._recall(held), [tonic_of(piece) for piece in held]

        def evaluate(_: nn.Module) -> dict[str, float]:
            nats = told_nats(self.module_, code, held, recalled=found, tonics=tonics)
            return {"validation_loss": nats, "validation_score": -nats}

        self._follow(plan, Sung(self.module_), data, partial(chorale_loss, net=self.module_), evaluate)

    def _recall_others(self, pieces: list[np.ndarray]) -> list[Recalled] | None:
        """What followed the longest matches in each training piece; in the others it looks where they are kept."""
        self.memory_: list[np.ndarray] = []
        if not self.recall:
            return None
        kept = pieces[:: -(-sum(map(len, pieces)) // _MEMORY)]
        self.memory_ = [piece.astype(np.int16) for piece in kept]
        memory = Memory(kept)
        numbers = {id(piece): number for number, piece in enumerate(kept)}
        found = []
        for piece in pieces:
            number = numbers.get(id(piece))
            found.append(recall(piece, memory if number is None else memory.without(number)))
        return found

    def _memory(self) -> Memory | None:
        return Memory(self.memory_) if self.recall else None

    def _recall(self, pieces: Sequence[np.ndarray]) -> list[Recalled] | None:
        """What followed the longest matches in pieces that were not trained on."""
        memory = self._memory()
        return [recall(piece, memory) for piece in pieces] if self.recall else None

    def _sing(
        self, who: str, prompt: Any, length: int | None, key: str | None, source: torch.Generator, options: dict[str, Any]
    ) -> np.ndarray:  # fmt: skip
        opening = None if prompt is None else self._opening(who, prompt)
        return sing(
            self.module_.eval(), self._code(), steps=length or 256, generator=source, prompt=opening,
            tonic=self._tonic(who, key, opening, source), memory=self._memory(), **options,
        )  # fmt: skip

    def _chorale_net(self) -> ChoraleNet:
        code = self._code()
        return ChoraleNet(
            code.pitches, self.n_voices_, chords=len(code.chords) + 1 if code.chords else 0, hidden_size=self.hidden_size,
            layers=self.layers, dropout=self.dropout, first=code.low % 12, keyed=True,
            sources=SOURCES if self.recall else 0, marks=STRENGTH if self.recall else 0,
        )  # fmt: skip

    def _chorale_nats(self, pieces: list[np.ndarray], shifts: int, others: Sequence[Any]) -> dict[str, float]:
        code, nets = self._code(), [self.module_.eval()]
        for number, other in enumerate(others):
            alike = getattr(other, "network", None) == "chorale" and other.recall == self.recall
            if not alike or (other.low_, other.high_, other.chord_sets_) != (code.low, code.high, code.chords):
                raise ParameterError(
                    f"Composer.nats: others[{number}] has other tokens; expected models of the same pieces, chords and recall."
                )
            nets.append(other.module_.eval())
        return chorale_nats(nets, code, pieces, recalled=self._recall(pieces), shifts=range(-shifts, shifts + 1))

    def _silence(self, steps: int) -> Given:
        """An input of silence."""
        net = self.module_
        width = net.voices + (net.chords > 0) + net.keyed + net.voices * net.sources * (1 + net.marks)
        return given_of(net, torch.zeros(1, steps, width, dtype=torch.long, device=self.device_))

    def _code(self) -> ChoraleCode:
        return ChoraleCode(self.low_, self.high_, tuple(self.chord_sets_), self.ranges_)

    def _tonic(self, who: str, key: str | None, opening: np.ndarray | None, source: torch.Generator) -> int:
        """Pitch class that is asked for; else drawn by what the opening makes likely, or as the training pieces have it."""
        if key is not None:
            parameter(who, "key", key, Choice(TONICS))
            return TONICS.index(key)
        likely = torch.from_numpy(self.tonics_).float()
        if opening is not None:
            found = None if not self.recall else recall(opening, self._memory())
            likely = likely * likely_tonics(self.module_.eval(), self._code(), opening, found).cpu()
        return int(torch.multinomial(likely.to(source.device), 1, generator=source))

    def _opening(self, who: str, prompt: Any) -> np.ndarray:
        if isinstance(prompt, Piece):
            return chorale_of(prompt, self.n_voices_, who=who)
        return check_chorale(who, prompt, self.n_voices_)

    def harmonise(self, melody: Any, *, voice: int = 0, random_state: int | None = None, **options: Any) -> Piece:
        """Write the other voices to a melody; "chorale" only.

        Args:
            melody: Pitches (T,) on a grid of sixteenths, -1 for silence; or a piece of one voice.
            voice: Which voice it is, 0 the highest.
            random_state: Seed of the draws.
            **options: Temperature, top_k, top_p of `sample`.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: Another network, or no such voice.
            DataError: Pitches that training had not.
        """
        self._check_fitted("harmonise")
        who = "Composer.harmonise"
        if self.network != "chorale":
            raise ParameterError(f"{who}: network={self.network!r}; expected 'chorale'.")
        parameter(who, "voice", voice, Number(0, self.n_voices_ - 1, integer=True))
        line = chorale_of(melody, 1, who=who)[:, 0] if isinstance(melody, Piece) else np.ravel(np.asarray(melody))
        line = check_chorale(who, line[:, None])[:, 0]
        given = np.full((len(line), self.n_voices_), FREE)
        given[:, voice] = line
        check_sampling(who, **options)
        source = generator(self.seed_ if random_state is None else draw_seed(random_state), self.device_)
        tonic = KEYS.index(estimate_key(piece_of(line[:, None]))) % 12
        return piece_of(
            sing(
                self.module_.eval(), self._code(), steps=len(line), generator=source, given=given, tonic=tonic,
                memory=self._memory(), **options,
            )
        )  # fmt: skip
