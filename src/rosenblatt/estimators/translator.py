"""`Translator`: learns from sentences and their translations, and translates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._validate import BOOL, NONE, SEED, Choice, Number, Of, parameter
from rosenblatt.data.bpe import BPE, LEAST
from rosenblatt.data.pairs import PairBatches, Pairs, clean, read_pairs, read_sentences
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.estimators.alignment import Alignment, aligned
from rosenblatt.estimators.base import Estimator
from rosenblatt.metrics.translation import translation_scores
from rosenblatt.models.attention_gru import AttentionGRU
from rosenblatt.models.transformer import Transformer
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised
from rosenblatt.train.translation import (
    BACKWARD,
    END,
    FORWARD,
    SPECIAL,
    Forced,
    Found,
    Search,
    mean_nats,
    token_loss,
    translate,
)

NETWORKS = ("transformer", "attention-gru")
DIRECTIONS = ("forward", "backward")
_MOST_TRANSLATED = 500
"""Held-out sentences that are translated each epoch."""

_SEARCH = {
    "beam": Number(1, 100, integer=True),
    "length_penalty": Number(0),
    "coverage_penalty": Number(0),
    "batch_size": Number(1, integer=True),
    "direction": Choice(DIRECTIONS),
}


class Translator(Estimator):
    """Translation model of a pair of languages, from sentences and their translations.

    Use it for some thousand pairs or more of one kind of text. A part of the pairs is held out and translated after each
    epoch. Needs the extra ``text``.

    Args:
        network: "transformer", or "attention-gru" (recurrent, with attention).
        hidden_size: Width of the Transformer's layers, or units of the recurrent decoder.
        layers: Of the encoder; the Transformer's decoder has as many, the recurrent one two.
        dropout: On embeddings and what layers give.
        vocabulary: Pieces of words at most, of both languages together.
        both_directions: Whether one model learns to translate back as well.
        longest: Tokens of a sentence at most: longer pairs are left out of training, longer sentences are cut.
        epochs: Passes over the pairs.
        batch_size: Tokens a step, of the longer side; sentences of similar length come together.
        learning_rate: Top of the schedule.
        random_state: Seed of weights, order and dropout.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; own choices: Adam, a warm-up over a tenth of the steps and a cosine to zero, label smoothing
            0.1, gradients clipped at 1, averaged weights (0.999 a step), a twentieth of the pairs held out.

    Attributes:
        module_: The network, a plain ``nn.Module``: (source, target) -> logits.
        merges_: The pieces of words, as JSON of `rosenblatt.data.bpe.BPE`.
        n_tokens_: Size of the vocabulary with the tokens that are no text.
        n_pairs_: Pairs learned from; ``skipped_`` counts those left out, by reason.
        validation_loss_, validation_bleu_: On the held-out pairs, with the kept weights; BLEU of a greedy search over at
            most 500 of them.
        history_, n_iter_, best_epoch_, device_, precision_: The training record.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762; Bahdanau et al. 2015, arXiv:1409.0473; Luong et al. 2015, arXiv:1508.04025.
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "network": Choice(NETWORKS),
        "hidden_size": Number(2, integer=True),
        "layers": Number(1, integer=True),
        "dropout": Number(0, 1, open_high=True),
        "vocabulary": Number(LEAST, integer=True),
        "both_directions": BOOL,
        "longest": Number(4, integer=True),
        "epochs": Number(1, integer=True),
        "batch_size": Number(1, integer=True),
        "learning_rate": Number(0, open_low=True),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _own_plan = Plan(
        optimizer="adam", schedule="cosine", warmup=0.1, gradient_clip=1.0, label_smoothing=0.1, ema=0.999,
        validation_fraction=0.05,
    ).over(STANDARD)  # fmt: skip

    def __init__(
        self,
        *,
        network: str = "transformer",
        hidden_size: int = 256,
        layers: int = 3,
        dropout: float = 0.3,
        vocabulary: int = 6000,
        both_directions: bool = False,
        longest: int = 256,
        epochs: int = 30,
        batch_size: int = 2500,
        learning_rate: float = 1e-3,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.network = network
        self.hidden_size = hidden_size
        self.layers = layers
        self.dropout = dropout
        self.vocabulary = vocabulary
        self.both_directions = both_directions
        self.longest = longest
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(
        self, X: Any, y: Any = None, *, validation: Any = None, columns: Sequence[str] | None = None,
        encoding: str = "utf-8",
    ) -> Translator:  # fmt: skip
        """Train from scratch.

        Args:
            X: Sentences: a list, or the path of a file; or, without y, a list of pairs, or the path of a table (see
                `rosenblatt.data.pairs.read_pairs`).
            y: Their translations.
            validation: Pairs to hold out, in any form that X has, or (X, y); None takes a part of the pairs.
            columns: Names of the two columns of a table.
            encoding: Of text files.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            MissingExtraError: Without the packages of the extra ``text``.
            FileNotFoundError, ColumnError, DataError: See `rosenblatt.data.pairs.read_pairs`; or fewer than two pairs.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        if self.network == "transformer" and self.hidden_size % (2 * self._heads()):
            raise ParameterError(
                f"Translator: hidden_size={self.hidden_size}; expected a multiple of {2 * self._heads()} for a transformer."
            )
        who, plan = "Translator.fit", (self.plan or Plan()).over(self._own_plan)
        pairs = read_pairs(X, y, who=who, columns=columns, encoding=encoding)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        train, held = self._split(who, pairs, validation, plan, seed, columns, encoding)
        units = BPE.of([f" {text}" for text in (*train.source, *train.target)], self.vocabulary)
        self.merges_, self.n_tokens_ = units.description, units.size + SPECIAL
        self.skipped_ = {"empty": pairs.empty, "long": 0}
        self.control_characters_ = pairs.controls
        data = self._batches(who, units, train, device, generator(seed))
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, data, held, seed)
        return self

    def _split(
        self, who: str, pairs: Pairs, validation: Any, plan: Plan, seed: int, columns: Any, encoding: str
    ) -> tuple[Pairs, Pairs]:
        if validation is not None:
            both = isinstance(validation, tuple) and len(validation) == 2
            given = validation if both else (validation, None)
            return pairs, read_pairs(*given, who=f"{who}: validation", columns=columns, encoding=encoding)
        count = len(pairs.source)
        held = max(1, round(count * (plan.validation_fraction or 0.05)))
        if count - held < 1:
            raise DataError(f"{who}: {count} pair with words on both sides; expected at least two, one to hold out.")
        order = torch.randperm(count, generator=generator(seed)).tolist()
        parts = [sorted(order[held:]), sorted(order[:held])]
        train, rest = (Pairs([pairs.source[i] for i in p], [pairs.target[i] for i in p]) for p in parts)
        return train, rest

    def _batches(
        self, who: str, units: BPE, pairs: Pairs, device: torch.device, random: torch.Generator | None
    ) -> PairBatches:
        """The pairs as tokens; the number of those that are too long is noted at training."""
        sides = [self._tokens(units, side) for side in (pairs.source, pairs.target)]
        short = [max(len(s), len(t)) < self.longest for s, t in zip(*sides, strict=True)]
        if random is not None:
            self.skipped_["long"], self.n_pairs_ = short.count(False), sum(short)
        if not any(short):
            raise DataError(
                f"{who}: all {len(short)} pairs are longer than longest={self.longest} tokens; expected shorter ones. Split "
                "them, or raise longest."
            )
        if random is not None:
            self._warn(who)
        source, target = ([tokens for tokens, kept in zip(side, short, strict=True) if kept] for side in sides)
        ways = [(source, target, FORWARD)] + ([(target, source, BACKWARD)] if self.both_directions else [])
        return PairBatches(
            [[*s, way] for a, _, way in ways for s in a],
            [[*t, END] for _, b, _ in ways for t in b],
            [way for a, _, way in ways for _ in a],
            tokens=self.batch_size, device=device, generator=random,
        )  # fmt: skip

    def _warn(self, who: str) -> None:
        said = [
            f"{self.skipped_['empty']} pairs with an empty side" if self.skipped_["empty"] else "",
            f"{self.skipped_['long']} pairs longer than longest={self.longest} tokens" if self.skipped_["long"] else "",
        ]
        if any(said):
            left_out = " and ".join(part for part in said if part)
            warnings.warn(f"{who}: left out {left_out}; {self.n_pairs_} stay.", UserWarning, stacklevel=4)

    def _tokens(self, units: BPE, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of sentences; the blank in front makes a word the same piece wherever it stands."""
        return [[t + SPECIAL for t in row] for row in units.encode_many([f" {text}" for text in texts])]

    def _run(self, plan: Plan, data: PairBatches, held: Pairs, seed: int) -> None:
        who, units, device = "Translator.fit", BPE(self.merges_), torch.device(self.device_)
        watched = self._batches(f"{who}: validation", units, held, device, None)
        few = Pairs(held.source[:_MOST_TRANSLATED], held.target[:_MOST_TRANSLATED])

        def evaluate(module: nn.Module) -> dict[str, float]:
            nats = mean_nats(self.module_, watched, precision=self.precision_)
            bleu = self._bleu(few)
            return {"validation_loss": nats, "validation_bleu": bleu, "validation_score": bleu / 100}

        options: dict[str, Any] = {"plan": plan, "epochs": self.epochs, "learning_rate": self.learning_rate}
        keeper = keeper_of(
            plan, self.module_, data, epochs=self.epochs, learning_rate=self.learning_rate, random_state=seed,
            network=self.network, both_directions=bool(self.both_directions),
        )  # fmt: skip
        loss = partial(token_loss, label_smoothing=plan.label_smoothing or 0.0)
        records = supervised(Forced(self.module_, data), data, loss, evaluate=evaluate, keeper=keeper, **options)
        done = follow(
            records,
            self.module_,
            plan=plan,
            epochs=self.epochs,
            label="Translator",
            verbose=self.verbose,
            keeper=keeper,
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        kept = done.rows[done.best_epoch - 1]
        self.validation_loss_, self.validation_bleu_ = kept["validation_loss"], kept["validation_bleu"]

    def _bleu(self, pairs: Pairs) -> float:
        ways = [(pairs.source, pairs.target, "forward")]
        ways += [(pairs.target, pairs.source, "backward")] if self.both_directions else []
        found = [
            translation_scores(self._translated(source, way, Search(beam=1)), target)["bleu"]
            for source, target, way in ways
        ]
        return sum(found) / len(found)

    # --------------------------------------------------------------------------------------------- predict

    def predict(
        self, X: Any, *, direction: str = "forward", beam: int = 5, length_penalty: float = 1.0,
        coverage_penalty: float = 0.0, batch_size: int = 64, encoding: str = "utf-8",
    ) -> list[str]:  # fmt: skip
        """Translate; what comes out for a sentence does not depend on the others, their order or ``batch_size``.

        An empty sentence stays empty, control characters are blanks, and of a sentence longer than ``longest`` tokens the
        beginning is translated, with a warning.

        Args:
            X: One sentence, a list of them, or a file (a `Path`) with one a line.
            direction: "forward", as in training, or "backward" where both were learned.
            beam: Translations under way at a time; 1 is the greedy search.
            length_penalty: Of Wu et al. 2016: 0 prefers short translations, 1 the mean score of a token (nearly).
            coverage_penalty: Above 0 shuns translations that leave source tokens unseen.
            batch_size: Sentences side by side, for speed alone.
            encoding: Of the file.

        Returns:
            One translation a sentence; a list of one for a single sentence too.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: An option out of its range, or a direction that was not learned.
            FileNotFoundError, DataError: See `rosenblatt.data.pairs.read_sentences`.
        """
        self._check_fitted("predict")
        options = {"beam": beam, "length_penalty": length_penalty, "coverage_penalty": coverage_penalty}
        search = self._search("predict", direction, batch_size, **options)
        sentences = read_sentences(X, who="Translator.predict", encoding=encoding)
        return self._translated(sentences, direction, search, batch_size, "Translator.predict")

    def translate(self, X: Any, **options: Any) -> list[str]:
        """The same as `predict`.

        Args:
            X: As `predict`.
            **options: As `predict`.

        Raises:
            NotFittedError, ParameterError, FileNotFoundError, DataError: As `predict`.
        """
        return self.predict(X, **options)

    def _search(self, method: str, direction: str, batch_size: int, **options: Any) -> Search:
        for name, value in {**options, "batch_size": batch_size, "direction": direction}.items():
            parameter(f"Translator.{method}", name, value, _SEARCH[name])
        if direction == "backward" and not self.both_directions:
            raise ParameterError(
                f"Translator.{method}: direction='backward'; this model learned one direction. Fit with both_directions=True."
            )
        return Search(**options)

    def _found(self, sentences: Sequence[str], direction: str, search: Search, rows: int, who: str) -> list[Found]:
        """The best translation of each sentence; of an empty one nothing."""
        way = BACKWARD if direction == "backward" else FORWARD
        cleaned = [clean(sentence) for sentence in sentences]
        tokens = self._tokens(BPE(self.merges_), cleaned)
        if cut := sum(len(row) >= self.longest for row in tokens):
            warnings.warn(
                f"{who}: {cut} sentences are longer than longest={self.longest} tokens; their beginnings are translated. "
                "Split them.",
                UserWarning,
                stacklevel=4,
            )
        full = [i for i, text in enumerate(cleaned) if text]
        sources = [[*tokens[i][: self.longest - 1], way] for i in full]
        found = [Found((), 0.0)] * len(cleaned)
        for i, one in zip(full, translate(self.module_, sources, search, rows=rows), strict=True):
            found[i] = one
        return found

    def _translated(
        self, sentences: Sequence[str], direction: str, search: Search, rows: int = 64, who: str = "Translator.fit"
    ) -> list[str]:
        units = BPE(self.merges_)
        found = self._found(sentences, direction, search, rows, who)
        return [units.decode([t - SPECIAL for t in one.tokens]).strip() for one in found]

    def align(self, X: Any, *, direction: str = "forward", beam: int = 5, batch_size: int = 64) -> list[Alignment]:
        """Translate, and say for each word which word of the sentence it looked at.

        Attention is no proof of a word's cause; in the Transformer it is the mean of all heads and layers.

        Args:
            X: As `predict`, like the other options.
            direction: See there.
            beam: See there.
            batch_size: See there.

        Raises:
            NotFittedError, ParameterError, FileNotFoundError, DataError: As `predict`.
        """
        self._check_fitted("align")
        checked = self._search("align", direction, batch_size, beam=beam, length_penalty=1.0, coverage_penalty=0.0)
        sentences, units = read_sentences(X, who="Translator.align"), BPE(self.merges_)
        found = self._found(sentences, direction, replace(checked, look=True), batch_size, "Translator.align")
        read = self._tokens(units, [clean(text) for text in sentences])
        return [aligned(units, tokens[: self.longest - 1], one) for tokens, one in zip(read, found, strict=True)]

    # ----------------------------------------------------------------------------------------------- score

    def scores(self, X: Any, y: Any = None, *, columns: Sequence[str] | None = None, **options: Any) -> dict[str, Any]:
        """BLEU and chrF of translations, with sacrebleu's signatures.

        Args:
            X: Sentences, or pairs, as in `fit`.
            y: Their translations.
            columns: Of a table.
            **options: Those of `predict`.

        Raises:
            NotFittedError, MissingExtraError, ParameterError, FileNotFoundError, ColumnError, DataError: As `fit` and
                `predict`.
        """
        self._check_fitted("scores")
        pairs = read_pairs(X, y, who="Translator.score", columns=columns, encoding=options.get("encoding", "utf-8"))
        source, target = pairs.source, pairs.target
        if options.get("direction") == "backward":
            source, target = target, source
        return translation_scores(self.predict(source, **options), target)

    def score(self, X: Any, y: Any = None, **options: Any) -> float:
        """BLEU from 0 to 100 (sacrebleu, 13a).

        Args:
            X: As `scores`.
            y: As `scores`.
            **options: As `scores`.

        Raises:
            NotFittedError, MissingExtraError, ParameterError, FileNotFoundError, ColumnError, DataError: As `scores`.
        """
        return self.scores(X, y, **options)["bleu"]

    # ------------------------------------------------------------------------------- summary and model file

    def _title(self) -> str:
        return f"Translator(network={self.network!r})"

    def _heads(self) -> int:
        return max(1, self.hidden_size // 64)

    def _rebuild(self) -> nn.Module:
        sizes = {"layers": self.layers, "dropout": self.dropout}
        if self.network == "transformer":
            return Transformer(
                self.n_tokens_, width=self.hidden_size, heads=self._heads(), hidden=2 * self.hidden_size, **sizes
            )
        return AttentionGRU(self.n_tokens_, width=min(self.hidden_size, 256), hidden=self.hidden_size, **sizes)

    def _example_input(self) -> tuple[Tensor, Tensor]:
        tokens = torch.full((1, 16), END, device=self.device_)
        return tokens, tokens

    def _check_restored(self) -> None:
        size = BPE(self.merges_).size + SPECIAL
        if size != self.n_tokens_:
            raise ValueError(f"n_tokens_ is {self.n_tokens_}; its units are {size}")
