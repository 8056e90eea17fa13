"""`Composer`: learns from MIDI files or chorales, and writes music."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rosenblatt._validate import NONE, SEED, Choice, Number, Of, parameter
from rosenblatt.data.chorales import STEPS, piece_of
from rosenblatt.data.midi import COLUMNS, DRUMS, Piece
from rosenblatt.data.music_tokens import Grammar, MusicTokens, estimate_key
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.estimators.composer_arranging import Arranging
from rosenblatt.estimators.composer_inputs import TICKS, Music, longest_wait, read_music, split_pieces
from rosenblatt.estimators.composer_singing import Singing
from rosenblatt.layers.sampling import check_sampling
from rosenblatt.metrics.music import compare_pieces, longest_copy, note_windows
from rosenblatt.models.composer import MusicTransformer
from rosenblatt.models.language import RecurrentLanguageModel
from rosenblatt.train.follow import follow
from rosenblatt.train.language import Carried, mean_nats, next_token
from rosenblatt.train.music import MusicWindows, play_on
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

NETWORKS = ("transformer", "gru", "chorale")
_RATES = {"transformer": 1e-3, "gru": 4e-3, "chorale": 2e-3}
_CHORALE = Plan(precision="auto", early_stopping=True, patience=10, weight_decay=2.0, ema=0.99)
"""Its pieces are learned by heart if it may: the decay keeps it from that more than dropout does. Its fused LSTM is twice as fast
in bf16; the event networks were not measured in it."""

_KEPT = 64  # training pieces that scores are compared with


class Composer(Singing, Arranging, Estimator):
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
        recall: Whether "chorale" looks for what followed the longest match of the last notes, earlier in the piece and in the
            training pieces, which the model file then holds.
        transpose: Semitones up and down at most that pieces are moved by in training (never drums); 0 for none.
        epochs: Passes over the pieces.
        batch_size: Windows, or pieces, a step.
        learning_rate: Top of the schedule; None takes 1e-3, for "gru" 4e-3, for "chorale" 2e-3.
        random_state: Seed of weights, order, transpositions and, if not given to ``sample``, of its draws.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; own choices: AdamW, cosine schedule with warm-up, gradients clipped at 1, averaged weights; a
            tenth of the pieces is held out (``validation_fraction``), whole pieces before any window is cut; "chorale" decays
            weights by 2, stops ten epochs after the best one on them, and keeps that one.

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
        "recall": Of((bool,), "True or False"),
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
        recall: bool = True,
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
        self.recall = recall
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
        own = _CHORALE.over(self._own_plan) if self.network == "chorale" else self._own_plan
        plan = (self.plan or Plan()).over(own)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        pieces, styles, self.dropped_, self.n_voices_ = self._read("Composer.fit", X, y, skip_bad=skip_bad)
        if validation is None:
            pieces, styles, held, held_styles = split_pieces(pieces, styles, plan.validation_fraction or 0.1, seed)
        else:
            held, held_styles, _, _ = self._read("Composer.fit", validation, None, skip_bad=skip_bad)
        self.seed_, self.device_ = seed % 2**32, str(device)
        self.precision_ = choose_precision(plan.precision, device)
        self.styles_ = tuple(sorted({style for style in styles if style is not None}))
        if self.network == "chorale":
            self._fit_chorale(plan, pieces, held, seed, device)
        else:
            self._fit_events(plan, pieces, styles, held, held_styles, seed, device)
        return self

    def _read(self, who: str, X: Any, y: Any, *, skip_bad: bool = False) -> Music:
        chorale = self.network == "chorale"
        return read_music(who, X, y, chorale=chorale, network=self.network, skip_bad=skip_bad)

    def _fit_events(
        self, plan: Plan, pieces: list[Piece], styles: list[Any], held: list[Piece], held_styles: list[Any], seed: int,
        device: Any,
    ) -> None:  # fmt: skip
        vocabulary = self._tokens()
        self.instruments_ = tuple(sorted({i for piece in pieces for i in piece.instruments}))
        self.longest_ = max(longest_wait(piece) for piece in pieces)
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
            train, vocabulary, most=self.transpose, batch_size=self.batch_size or 16,
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
            key: Such as "C major"; of "chorale" the tonic alone, such as "C". None draws one that fits the opening.
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
            if style is not None:
                raise ParameterError(f"{who}: style with network='chorale'; expected None.")
            notes = self._sing(who, prompt, length, key, source, options)
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
            prompt = Piece(np.zeros((0, 5)), TICKS, changes)
        if not isinstance(prompt, Piece):
            raise DataError(f"{who}: prompt is a {type(prompt).__name__}; expected a Piece, as read_midi gives it.")
        tokens = vocabulary.encode(prompt.on_grid(TICKS), style=style, key=key, end=False).tolist()
        if self.network == "transformer" and len(tokens) >= self.context:
            raise DataError(
                f"{who}: the prompt has {len(tokens)} tokens; expected fewer than context={self.context}. Give its last bars, or "
                "train with a larger context."
            )
        return tokens

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

    def nats(
        self, X: Any, y: Sequence[str] | None = None, *, shifts: int = 0, others: Sequence[Composer] = ()
    ) -> dict[str, float]:
        """Negative log-likelihood of unseen pieces, in nats: ``token``; of "chorale" also ``note`` and ``with_chords``.

        Of "chorale" the tonic is summed over, so this is the cost of the notes alone.

        Args:
            X: As `fit`.
            y: Not used.
            shifts: Of "chorale" without chords: probabilities are averaged over transpositions of as many semitones up and
                down, which costs as many times more.
            others: Of "chorale": fitted on the same pieces; probabilities are averaged over them too.

        Raises:
            NotFittedError: Before ``fit``.
            DataError: As `fit`.
            ParameterError: Shifts with another network or with chords; others with other pitches or chords.
        """
        self._check_fitted("nats")
        parameter("Composer.nats", "shifts", shifts, Number(0, 12, integer=True))
        if shifts and (self.network != "chorale" or self.chords):
            raise ParameterError(
                f"Composer.nats: shifts={shifts}; expected 0 but for network='chorale' without chords."
            )
        pieces = self._read("Composer.nats", X, y).pieces
        if self.network == "chorale":
            return self._chorale_nats(pieces, shifts, others)
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
        return MusicTokens(TICKS, self.styles_)

    def _seen(self) -> int | None:
        return self.context if self.network == "transformer" else None

    def _resolution(self) -> int:
        return STEPS if self.network == "chorale" else TICKS

    def _heads(self) -> int:
        return max(1, self.hidden_size // 64)

    def _title(self) -> str:
        return f"Composer(network={self.network!r}); {self.validation_loss_:.4f} nats on held-out pieces"

    def _example_input(self) -> Any:
        if self.network == "chorale":
            return (self._silence(16),)
        return torch.zeros((1, 16), dtype=torch.long, device=self.device_)

    # ------------------------------------------------------------------------------------------ model file

    def _rebuild(self) -> nn.Module:
        if self.network == "chorale":
            return self._chorale_net()
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
