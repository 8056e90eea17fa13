"""`Composer`: learns from MIDI files or chorales, and writes music."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._validate import NONE, SEED, Choice, Number, Of, parameter
from rosenblatt.data.chorales import STEPS, ChoraleBatches, ChoraleCode, check_chorale, chorale_of, piece_of
from rosenblatt.data.midi import COLUMNS, DRUMS, Piece, read_pieces
from rosenblatt.data.music_tokens import Grammar, MusicTokens, estimate_key
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.layers.sampling import check_sampling
from rosenblatt.metrics.music import compare_pieces, longest_copy, note_windows
from rosenblatt.models.chorale import ChoraleNet
from rosenblatt.models.composer import MusicTransformer
from rosenblatt.models.language import RecurrentLanguageModel
from rosenblatt.train.chorale import Sung, chorale_loss, chorale_nats, sing
from rosenblatt.train.follow import follow
from rosenblatt.train.language import Carried, mean_nats, next_token
from rosenblatt.train.music import MusicWindows, play_on
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

NETWORKS = ("transformer", "gru", "chorale")
_RATES = {"transformer": 1e-3, "gru": 4e-3, "chorale": 2e-3}
_BATCH = {"transformer": 16, "gru": 16, "chorale": 16}
_TICKS = 24  # a quarter note
_KEPT = 64  # training pieces that scores are compared with


class Composer(Estimator):
    """Music from MIDI files: learn a style, go on from an opening, fill bars, harmonise a melody.

    "transformer" and "gru" model events of any instruments; "chorale" models a fixed number of voices on a grid of sixteenths,
    which is far better at that and nothing else.

    Args:
        network: "transformer" (relative attention), "gru" or "chorale".
        hidden_size: Width of the layers.
        layers: Blocks, or recurrent layers.
        context: Tokens of a training window, and all that a Transformer sees.
        dropout: In all layers.
        chords: Chords that "chorale" tells apart and draws before the notes of a step; 0 draws none.
        transpose: Semitones up and down at most that pieces are moved by in training (never drums); 0 for none.
        epochs: Passes over the pieces.
        batch_size: Windows, or pieces, a step.
        learning_rate: Top of the schedule; None takes 1e-3, for "gru" 4e-3, for "chorale" 2e-3.
        random_state: Seed of weights, order, transpositions and, if not given to ``sample``, of its draws.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; own choices: AdamW, cosine schedule with warm-up, gradients clipped at 1, averaged weights; a
            tenth of the pieces is held out (``validation_fraction``), whole pieces before any window is cut.

    Attributes:
        module_: The network, a plain ``nn.Module``.
        styles_: Labels that a sample may be asked for by.
        instruments_: Instruments of the training pieces (128 is drums).
        dropped_: Name -> events of the files that the model does not see, such as control changes.
        validation_loss_: Nats a token (of "chorale": a note, with the cost of its chord) on the held-out pieces.
        windows_: Hashes of all runs of eight notes of the training pieces, for `memorised`.
        history_, n_iter_, best_epoch_, device_, precision_: The training record.

    Reference:
        Huang et al. 2018 (Music Transformer), arXiv:1809.04281; Payne 2019 (MuseNet); Peracha 2019 (TonicNet),
        arXiv:1911.11775.

    Example:
        >>> scale = np.array([[60, 48], [62, 48], [64, 48], [65, 48]] * 8)
        >>> model = Composer(network="chorale", hidden_size=16, layers=1, epochs=2, random_state=0, verbose=0)
        >>> len(model.fit([scale, scale + 2, scale + 4]).sample(length=16).notes) > 0
        True
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "network": Choice(NETWORKS),
        "hidden_size": Number(8, integer=True),
        "layers": Number(1, integer=True),
        "context": Number(16, integer=True),
        "dropout": Number(0, 1, open_high=True),
        "chords": Number(0, 4096, integer=True),
        "transpose": Number(0, 12, integer=True),
        "epochs": Number(1, integer=True),
        "batch_size": (Number(1, integer=True), NONE),
        "learning_rate": (Number(0, open_low=True), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _own_plan = Plan(
        optimizer="adamw", schedule="cosine", warmup=0.1, gradient_clip=1.0, weight_decay=0.01, ema=0.998,
        validation_fraction=0.1, precision="fp32",
    ).over(STANDARD)  # fmt: skip

    def __init__(
        self,
        *,
        network: str = "transformer",
        hidden_size: int = 256,
        layers: int = 2,
        context: int = 512,
        dropout: float = 0.3,
        chords: int = 0,
        transpose: int = 5,
        epochs: int = 100,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.network = network
        self.hidden_size = hidden_size
        self.layers = layers
        self.context = context
        self.dropout = dropout
        self.chords = chords
        self.transpose = transpose
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(
        self, X: Any, y: Sequence[str] | None = None, *, validation: Any = None, skip_bad: bool = False
    ) -> Composer:
        """Train from scratch.

        Args:
            X: A folder, a file or files of MIDI; pieces (`rosenblatt.data.midi.Piece`), a list or a dict of them by name; for
                "chorale" also arrays (T, V) of pitches on a grid of sixteenths, -1 for silence.
            y: A label of style for each; None takes the names of a folder's sub-folders, where it has some.
            validation: More of the same, held out in place of a share of X.
            skip_bad: Leave files out that cannot be read.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            FileNotFoundError, DataError: Nothing there, files that cannot be read, too few or too short pieces.
            MissingExtraError: MIDI files without the extra ``music``.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        plan = (self.plan or Plan()).over(self._own_plan)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        pieces, styles = self._read("Composer.fit", X, y, skip_bad)
        held, held_styles = ([], []) if validation is None else self._read("Composer.fit", validation, None, skip_bad)
        if validation is None:
            pieces, styles, held, held_styles = _split(pieces, styles, plan.validation_fraction or 0.1, seed)
        self.seed_, self.device_ = seed % 2**32, str(device)
        self.precision_ = choose_precision(plan.precision, device)
        self.styles_ = tuple(sorted({style for style in styles if style is not None}))
        if self.network == "chorale":
            self._fit_chorale(plan, pieces, held, seed, device)
        else:
            self._fit_events(plan, pieces, styles, held, held_styles, seed, device)
        return self

    def _read(self, who: str, X: Any, y: Any, skip_bad: bool) -> tuple[list[Any], list[str | None]]:
        """Pieces, or arrays for "chorale"; and their styles."""
        styles: list[str | None] | None = None if y is None else [str(label) for label in y]
        self.dropped_: dict[str, int] = {}
        if isinstance(X, Piece):
            X = [X]
        if isinstance(X, (str, Path)) or (isinstance(X, (list, tuple)) and X and isinstance(X[0], (str, Path))):
            X = read_pieces(X, skip_bad=skip_bad, who=who)
        if isinstance(X, Mapping):
            if styles is None and all("/" in name.replace("\\", "/") for name in X):
                styles = [name.replace("\\", "/").split("/")[-2] for name in X]
            X = list(X.values())
        found = list(X)
        if not found:
            raise DataError(f"{who}: no piece at all; expected some.")
        if styles is not None and len(styles) != len(found):
            raise DataError(f"{who}: {len(styles)} labels for {len(found)} pieces; expected one each.")
        for piece in found:
            for name, count in getattr(piece, "dropped", {}).items():
                self.dropped_[name] = self.dropped_.get(name, 0) + count
        if self.network == "chorale":
            return self._as_chorales(who, found), [None] * len(found)
        if not all(isinstance(piece, Piece) for piece in found):
            raise DataError(
                f"{who}: arrays with network={self.network!r}; expected MIDI files or pieces. Use network='chorale'."
            )
        return [piece.on_grid(_TICKS) for piece in found], styles or [None] * len(found)

    def _as_chorales(self, who: str, found: list[Any]) -> list[np.ndarray]:
        voices = next((np.asarray(p).shape[1] for p in found if not isinstance(p, Piece) and np.ndim(p) == 2), 4)
        self.n_voices_ = int(voices)
        return [
            chorale_of(piece, voices, who=who) if isinstance(piece, Piece) else check_chorale(who, piece, voices)
            for piece in found
        ]

    def _fit_chorale(
        self, plan: Plan, pieces: list[np.ndarray], held: list[np.ndarray], seed: int, device: Any
    ) -> None:
        code = ChoraleCode.of(pieces, self.chords)
        self.low_, self.high_, self.chord_sets_, self.ranges_ = code.low, code.high, code.chords, code.ranges
        self.instruments_ = (19,)
        self._remember([piece_of(piece) for piece in pieces])
        held = [piece for piece in held if _within(piece, code)]
        if not held:
            raise DataError(
                "Composer.fit: no held-out piece has the pitches of the others; expected at least one. Give validation=."
            )
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        data = ChoraleBatches(
            pieces, code, batch_size=self.batch_size or _BATCH["chorale"], generator=generator(seed),
            transpose=self.transpose > 0, device=device,
        )  # fmt: skip

        def evaluate(_: nn.Module) -> dict[str, float]:
            nats = chorale_nats(self.module_, code, held)
            return {"validation_loss": nats["with_chords"], "validation_score": -nats["with_chords"]}

        self._follow(plan, Sung(self.module_), data, partial(chorale_loss, voices=self.n_voices_), evaluate)

    def _fit_events(
        self, plan: Plan, pieces: list[Piece], styles: list[Any], held: list[Piece], held_styles: list[Any], seed: int,
        device: Any,
    ) -> None:  # fmt: skip
        vocabulary = self._tokens()
        self.instruments_ = tuple(sorted({i for piece in pieces for i in piece.instruments}))
        self.longest_ = max(_longest(piece) for piece in pieces)
        self._remember(pieces)

        def written(of: list[Piece], labels: list[Any]) -> list[np.ndarray]:
            known = [label if label in self.styles_ else None for label in labels]
            return [vocabulary.encode(p, style=s, key=estimate_key(p)) for p, s in zip(of, known, strict=True)]

        train, rest = written(pieces, styles), torch.from_numpy(np.concatenate(written(held, held_styles))).to(device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        recurrent = self.network == "gru"
        context = min(self.context, max(16, (sum(map(len, train)) - 1) // 2))
        data = MusicWindows(
            train, vocabulary, most=self.transpose, batch_size=self.batch_size or _BATCH[self.network],
            steps=context, carry=recurrent, device=device, generator=generator(seed),
        )  # fmt: skip

        def evaluate(_: nn.Module) -> dict[str, float]:
            nats = mean_nats(self.module_, rest, steps=context, carry=recurrent, precision=self.precision_)
            return {"validation_loss": nats, "validation_score": -nats}

        self._follow(plan, Carried(self.module_, data), data, next_token, evaluate)

    def _follow(self, plan: Plan, module: nn.Module, data: Any, loss: Any, evaluate: Any) -> None:
        rate = self.learning_rate or _RATES[self.network]
        keeper = keeper_of(
            plan, self.module_, data, epochs=self.epochs, learning_rate=rate, random_state=self.random_state,
            network=self.network,
        )  # fmt: skip
        records = supervised(
            module, data, loss, plan=plan, epochs=self.epochs, learning_rate=rate, evaluate=evaluate, keeper=keeper
        )
        done = follow(
            records, self.module_, plan=plan, epochs=self.epochs, label="Composer", verbose=self.verbose, keeper=keeper
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        self.validation_loss_ = done.rows[done.best_epoch - 1]["validation_loss"]

    def _remember(self, pieces: list[Piece]) -> None:
        """What samples are held against later: hashes of all runs, and some pieces for their scores."""
        self.windows_ = np.unique(np.concatenate([note_windows(piece) for piece in pieces]))
        chosen = pieces[:: max(1, len(pieces) // _KEPT)]
        self.examples_ = [piece.notes.astype(np.int32) for piece in chosen]

    # ---------------------------------------------------------------------------------------------- sample

    def sample(
        self, prompt: Any = None, length: int | None = None, *, style: str | None = None, key: str | None = None,
        instruments: Sequence[int] | None = None, tempo: float | None = None, temperature: float = 1.0,
        top_k: int | None = None, top_p: float | None = None, repetition_penalty: float = 1.0, random_state: int | None = None,
    ) -> Piece:  # fmt: skip
        """Write a piece, or go on from an opening.

        Args:
            prompt: A piece (of "chorale" also an array) to go on from; it is part of the result. None begins anew.
            length: Of "chorale" steps of a sixteenth to draw (default 256), else tokens at most (default 1,024).
            style: One of ``styles_``.
            key: Such as "C major"; of "chorale" not possible.
            instruments: Programs that may play, 128 for drums; of "chorale" the programs that sing it.
            tempo: Quarter notes a minute.
            temperature: Above 1 bolder, below 1 safer, 0 the likeliest always.
            top_k: Draw among this many of the likeliest.
            top_p: Draw among the likeliest that reach this probability.
            repetition_penalty: Above 1 shuns what was played lately; not for "chorale".
            random_state: Seed of the draws; None takes that of ``fit``.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: An option out of its range, or not for this network.
            DataError: A prompt that the network cannot read: longer than its context, other pitches or too many voices.
        """
        self._check_fitted("sample")
        who = "Composer.sample"
        self._check_options(who, length, instruments, tempo, repetition_penalty)
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        check_sampling(who, **options)
        source = generator(self.seed_ if random_state is None else draw_seed(random_state), self.device_)
        if self.network == "chorale":
            if style is not None or key is not None:
                raise ParameterError(f"{who}: style or key with network='chorale'; expected None.")
            opening = None if prompt is None else self._opening(who, prompt)
            notes = sing(
                self.module_.eval(), self._code(), steps=length or 256, generator=source, prompt=opening, **options
            )
            return piece_of(notes, tempo=round(60e6 / (tempo or 100)), instruments=tuple(instruments or (19,)))
        vocabulary = self._tokens()
        begin = self._begin(who, vocabulary, prompt, style, key, tempo)
        chosen = None if instruments is None else tuple(sorted(set(instruments)))
        grammar = play_on(
            self.module_.eval(), begin,
            Grammar(vocabulary, instruments=chosen or self.instruments_, longest=self.longest_), length=length or 1024,
            until=None,
            context=self._seen(), device=self.device_, generator=source,
            repetition_penalty=repetition_penalty, **options,
        )  # fmt: skip
        return grammar.piece()

    def _check_options(self, who: str, length: Any, instruments: Any, tempo: Any, penalty: float) -> None:
        parameter(who, "length", length, (Number(1, integer=True), NONE))
        parameter(who, "tempo", tempo, (Number(4, 1000), NONE))
        check_sampling(who, repetition_penalty=penalty)
        if penalty != 1 and self.network == "chorale":
            raise ParameterError(
                f"{who}: repetition_penalty={penalty:g} with network='chorale'; expected 1: holding a note repeats it."
            )
        for instrument in instruments or ():
            parameter(who, "instruments", instrument, Number(0, DRUMS, integer=True))

    def _begin(self, who: str, vocabulary: MusicTokens, prompt: Any, style: Any, key: Any, tempo: Any) -> list[int]:
        if prompt is None:
            changes = () if tempo is None else ((0, round(60e6 / tempo)),)
            prompt = Piece(np.zeros((0, 5)), _TICKS, changes)
        if not isinstance(prompt, Piece):
            raise DataError(f"{who}: prompt is a {type(prompt).__name__}; expected a Piece, as read_midi gives it.")
        tokens = vocabulary.encode(prompt.on_grid(_TICKS), style=style, key=key, end=False).tolist()
        if self.network == "transformer" and len(tokens) >= self.context:
            raise DataError(
                f"{who}: the prompt has {len(tokens)} tokens; expected fewer than context={self.context}. Give its last bars, or "
                "train with a larger context."
            )
        return tokens

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
        given = np.full((len(line), self.n_voices_), -2)
        given[:, voice] = line
        check_sampling(who, **options)
        source = generator(self.seed_ if random_state is None else draw_seed(random_state), self.device_)
        return piece_of(
            sing(self.module_.eval(), self._code(), steps=len(line), generator=source, given=given, **options)
        )

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
        piece, vocabulary = piece.on_grid(_TICKS), self._tokens()
        first, last = round(start * _TICKS), round(end * _TICKS)
        before, after = _cut(piece, None, first), _cut(piece, last, None)
        source = generator(self.seed_ if random_state is None else draw_seed(random_state), self.device_)
        best, best_cost = None, float("inf")
        for _ in range(max(1, tries)):
            grammar = play_on(
                self.module_.eval(), self._begin(who, vocabulary, before, None, None, None),
                Grammar(vocabulary, instruments=tuple(piece.instruments), longest=self.longest_), length=2048, until=last,
                context=self._seen(), device=self.device_, generator=source, **options,
            )  # fmt: skip
            made = _cut(grammar.piece(), first, last)
            whole = Piece(
                np.concatenate([before.notes, made.notes, after.notes]), _TICKS, piece.tempos, piece.signatures
            )
            cost = self._cost(whole, vocabulary, from_tick=last)
            if cost < best_cost:
                best, best_cost = whole, cost
        return best if best is not None else piece

    @torch.no_grad()
    def _cost(self, piece: Piece, vocabulary: MusicTokens, *, from_tick: int) -> float:
        """Nats a token of what comes after a tick, within the context around it."""
        tokens = vocabulary.encode(piece)
        cut = len(vocabulary.encode(_cut(piece, None, from_tick), end=False))
        window = tokens[max(0, cut - self.context // 2) : cut + self.context // 2]
        place = min(cut, self.context // 2)
        if len(window) - place < 1 or place < 1:
            return 0.0
        x = torch.from_numpy(window[:-1].astype(np.int64))[None].to(self.device_)
        logits = self.module_.eval()(x)[0][0, place - 1 :].float()
        targets = torch.from_numpy(window[place:].astype(np.int64)).to(self.device_)
        return float(nn.functional.cross_entropy(logits, targets))

    def reorchestrate(self, piece: Piece, instruments: Mapping[int, int]) -> Piece:
        """The same notes on other instruments, each moved by octaves into the range that it has in the training pieces.

        Args:
            piece: The music.
            instruments: Instrument -> instrument; others stay.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: Something else than instruments, or drums for a pitched one.
        """
        self._check_fitted("reorchestrate")
        notes = piece.notes.copy()
        known = np.concatenate(self.examples_)
        for old, new in instruments.items():
            parameter("Composer.reorchestrate", "instruments", new, Number(0, DRUMS, integer=True))
            if (old == DRUMS) != (new == DRUMS):
                raise ParameterError(
                    f"Composer.reorchestrate: {old} to {new}; expected pitched to pitched, drums to drums."
                )
            rows, example = piece.notes[:, 1] == old, known[known[:, 1] == new, 2]
            notes[rows, 1] = new
            if rows.any() and len(example):
                away = float(np.median(example)) - float(np.median(notes[rows, 2]))
                shift = 12 * round(away / 12)
                notes[rows, 2] = np.clip(notes[rows, 2] + shift, notes[rows, 2] % 12, 127 - (127 - notes[rows, 2]) % 12)
        return Piece(notes, piece.resolution, piece.tempos, piece.signatures, piece.dropped)

    # ---------------------------------------------------------------------------------------------- scores

    def memorised(self, piece: Piece) -> int:
        """Notes of the longest run that the piece shares with the training pieces in any key; runs below 8 count as 0.

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("memorised")
        return longest_copy(piece, self.windows_)

    def compare(self, samples: Sequence[Piece]) -> dict[str, tuple[float, float]]:
        """Scores of samples beside those of training pieces; see `rosenblatt.metrics.music.compare_pieces`.

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("compare")
        return compare_pieces(samples, [Piece(notes, self._resolution()) for notes in self.examples_])

    def nats(self, X: Any, y: Sequence[str] | None = None) -> dict[str, float]:
        """Negative log-likelihood of unseen pieces, in nats: ``token``; of "chorale" also ``note`` and ``with_chords``.

        Raises:
            NotFittedError: Before ``fit``.
            DataError: As `fit`.
        """
        self._check_fitted("nats")
        dropped = self.dropped_
        pieces, _ = self._read("Composer.nats", X, y, False)
        self.dropped_ = dropped
        if self.network == "chorale":
            return chorale_nats(self.module_, self._code(), pieces)
        tokens = np.concatenate([self._tokens().encode(p, key=estimate_key(p)) for p in pieces])
        found = mean_nats(
            self.module_, torch.from_numpy(tokens).to(self.device_), steps=self.context, carry=self.network == "gru",
            precision=self.precision_,
        )  # fmt: skip
        return {"token": found}

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the nats a token (of "chorale": a note, with its chord's cost): higher is better."""
        found = self.nats(X)
        return -found.get("with_chords", found["token"])

    # ---------------------------------------------------------------------------------------------- shared

    def _tokens(self) -> MusicTokens:
        return MusicTokens(_TICKS, self.styles_)

    def _code(self) -> ChoraleCode:
        return ChoraleCode(self.low_, self.high_, tuple(self.chord_sets_), self.ranges_)

    def _seen(self) -> int | None:
        return self.context if self.network == "transformer" else None

    def _resolution(self) -> int:
        return STEPS if self.network == "chorale" else _TICKS

    def _heads(self) -> int:
        return max(1, self.hidden_size // 64)

    def _title(self) -> str:
        return f"Composer(network={self.network!r}); {self.validation_loss_:.4f} nats on held-out pieces"

    def _example_input(self) -> Tensor:
        shape = (1, 16, self.n_voices_) if self.network == "chorale" else (1, 16)
        return torch.zeros(shape, dtype=torch.long, device=self.device_)

    # ------------------------------------------------------------------------------------------ model file

    def _rebuild(self) -> nn.Module:
        if self.network == "chorale":
            code = self._code()
            chords = len(code.chords) + 1 if code.chords else 0
            return ChoraleNet(
                code.pitches, self.n_voices_, chords=chords, hidden_size=self.hidden_size, layers=self.layers, cell="gru",
                dropout=self.dropout,
            )  # fmt: skip
        size = self._tokens().size
        if self.network == "gru":
            return RecurrentLanguageModel(
                size,
                cell="gru",
                hidden_size=self.hidden_size,
                layers=self.layers,
                dropout=self.dropout,
                layer_norm=True,
            )
        if self.hidden_size % self._heads():
            raise ParameterError(
                f"Composer: hidden_size={self.hidden_size}; expected a multiple of its {self._heads()} heads, one for 64 units."
            )
        return MusicTransformer(
            size,
            context=self.context,
            width=self.hidden_size,
            layers=self.layers,
            heads=self._heads(),
            dropout=self.dropout,
        )

    def _check_restored(self) -> None:
        for notes in self.examples_:
            expect_shape("examples_", notes, (None, len(COLUMNS)))
        if self.network == "chorale":
            expect_shape("ranges_", self.ranges_, (self.n_voices_, 2))


def _split(
    pieces: list[Any], styles: list[Any], share: float, seed: int
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Whole pieces are held out, before any window is cut."""
    if len(pieces) < 2:
        raise DataError(f"Composer.fit: {len(pieces)} piece; expected at least 2, one to learn from and one held out.")
    order = np.random.default_rng(seed).permutation(len(pieces))
    count = min(len(pieces) - 1, max(1, round(share * len(pieces))))
    rest, held = sorted(order[count:]), sorted(order[:count])
    return [pieces[i] for i in rest], [styles[i] for i in rest], [pieces[i] for i in held], [styles[i] for i in held]


def _longest(piece: Piece) -> int:
    """Ticks of the longest note, or between the beginnings of two."""
    return int(max(piece.notes[:, 3].max(), np.diff(piece.notes[:, 0], prepend=0).max()))


def _within(piece: np.ndarray, code: ChoraleCode) -> bool:
    sung = piece[piece >= 0]
    return bool(code.low <= sung.min() and sung.max() <= code.high)


def _cut(piece: Piece, start: int | None, end: int | None) -> Piece:
    """Notes that begin from one tick on and before another."""
    begins = piece.notes[:, 0]
    keep = (begins >= (start or 0)) & (begins < (end if end is not None else np.iinfo(np.int64).max))
    inside = (
        [c for c in piece.tempos if end is None or c[0] < end],
        [c for c in piece.signatures if end is None or c[0] < end],
    )
    return Piece(piece.notes[keep], piece.resolution, tuple(inside[0]), tuple(inside[1]))
