"""`LanguageModel`: predicts the next character, byte or token of a text, and writes on from a prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt._validate import NONE, SEED, Choice, Number, Of
from rosenblatt.data.bpe import BPE
from rosenblatt.data.text import Bytes, Characters, TokenWindows, Units, pieces, read_text
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.estimators.base import Estimator
from rosenblatt.layers.sampling import check_sampling
from rosenblatt.models.gpt import GPT
from rosenblatt.models.language import RecurrentLanguageModel
from rosenblatt.models.recurrent import CELLS
from rosenblatt.train.follow import follow
from rosenblatt.train.language import Carried, mean_nats, next_token, tokens_after
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

TRANSFORMER = "transformer"
UNITS = ("characters", "bytes", "bpe")
_RATES = {"elman": 2e-3, "gru": 6e-3, "lstm": 8e-3, TRANSFORMER: 1e-3}


class LanguageModel(Estimator):
    """Language model of a text: learns what comes next, and writes on.

    Use it for texts of some hundred thousand characters or more. The last part of the text is held out and shows, epoch by
    epoch, how well the model knows text that it has not seen.

    Args:
        units: "characters" of the text, "bytes" (every script) or "bpe" (frequent pieces of words; needs the extra ``text``).
        cell: "lstm", "gru", "elman" or "transformer" (a small decoder-only one).
        hidden_size: Width of the layers.
        layers: Recurrent layers, or blocks of the Transformer.
        context: Tokens of a training window: how far back a gradient reaches, and all that a Transformer sees.
        dropout: On inputs and outputs of the layers; of recurrent ones the same mask at all steps.
        weight_drop: Share of the recurrent weights dropped in training.
        vocabulary: Pieces of "bpe".
        epochs: Passes over the text.
        batch_size: Windows a step.
        learning_rate: Top of the schedule; None takes 8e-3 for "lstm", 6e-3 for "gru", 2e-3 for "elman", 1e-3 for "transformer".
        random_state: Seed of weights, order, dropout and, if not given to ``sample``, of its draws.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; own choices: Adam, cosine schedule with a short warm-up, gradients clipped at 1; the last tenth
            of the text is held out (``validation_fraction``) whether or not training stops early.

    Attributes:
        module_: The network, a plain ``nn.Module``: (tokens, state) -> (logits, state).
        symbols_: The characters, where units are those; ``pieces_`` the tokenizer as JSON, where they are pieces.
        n_tokens_: Size of the vocabulary.
        validation_loss_: Nats a token on the held-out end of the text, with the kept weights.
        history_, n_iter_, best_epoch_, device_, precision_: The training record.

    Reference:
        Mikolov et al. 2010; Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Radford et al. 2019; the models'
        files have the others.

    Example:
        >>> model = LanguageModel(hidden_size=32, context=16, batch_size=4, learning_rate=0.01, random_state=0, verbose=0)
        >>> model.fit("to be or not " * 80).sample("to be", 12, temperature=0)
        'to be or not to b'
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "units": Choice(UNITS),
        "cell": Choice((*CELLS, TRANSFORMER)),
        "hidden_size": Number(1, integer=True),
        "layers": Number(1, integer=True),
        "context": Number(2, integer=True),
        "dropout": Number(0, 1, open_high=True),
        "weight_drop": Number(0, 1, open_high=True),
        "vocabulary": Number(256, integer=True),
        "epochs": Number(1, integer=True),
        "batch_size": Number(1, integer=True),
        "learning_rate": (Number(0, open_low=True), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _own_plan = Plan(optimizer="adam", schedule="cosine", warmup=0.05, gradient_clip=1.0, validation_fraction=0.1).over(
        STANDARD
    )

    def __init__(
        self,
        *,
        units: str = "characters",
        cell: str = "lstm",
        hidden_size: int = 256,
        layers: int = 1,
        context: int = 64,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        vocabulary: int = 2000,
        epochs: int = 8,
        batch_size: int = 32,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.units = units
        self.cell = cell
        self.hidden_size = hidden_size
        self.layers = layers
        self.context = context
        self.dropout = dropout
        self.weight_drop = weight_drop
        self.vocabulary = vocabulary
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, X: Any, y: Any = None, *, encoding: str = "utf-8") -> LanguageModel:
        """Train from scratch.

        Args:
            X: The text; or the path of a file, or a list of paths (see `rosenblatt.data.text.read_text`).
            y: Not used; a text is its own target.
            encoding: Of the files.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            MissingExtraError: "bpe" without the package tokenizers.
            FileNotFoundError, DataError: No such file, not in this encoding, or too short.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        if self.cell == TRANSFORMER and self.hidden_size % self._heads():
            raise ParameterError(
                f"LanguageModel: hidden_size={self.hidden_size}; expected a multiple of 64, or less than 128, for a transformer."
            )
        who, plan = "LanguageModel.fit", (self.plan or Plan()).over(self._own_plan)
        text = read_text(X, who=who, encoding=encoding)
        train, held = self._split(who, text, plan)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        self.seed_ = seed % 2**32
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, train, torch.from_numpy(held).to(device), seed)
        return self

    def _split(self, who: str, text: str, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """Tokens to learn from, and of the held-out end; pieces are learned from the former alone."""
        cut = round(len(text) * (1 - (plan.validation_fraction or 0.1)))
        self._learn_units(text, cut)
        units = self._units()
        train, held = units.encode(text[:cut], who=who), units.encode(text[cut:], who=who)
        least = 2 * self.context + 1
        if len(train) < least or len(held) < 2:
            raise DataError(
                f"{who}: the text has {len(train)} {self._noun()} to learn from and {len(held)} held out; expected at least "
                f"{least} (two windows of context={self.context} and one more) and 2. Give more text, or a smaller context. "
                "If X was meant as the path of a file, there is none of this name."
            )
        return train, held

    def _learn_units(self, text: str, cut: int) -> None:
        for name in ("symbols_", "pieces_"):  # of an earlier fit
            if hasattr(self, name):
                delattr(self, name)
        if self.units == "characters":
            self.symbols_ = Characters.of(text).symbols
        elif self.units == "bpe":
            self.pieces_ = BPE.of(text[:cut].splitlines(keepends=True), self.vocabulary).description
        self.n_tokens_ = self._units().size

    def _units(self) -> Units:
        if self.units == "characters":
            return Characters(self.symbols_)
        return BPE(self.pieces_) if self.units == "bpe" else Bytes()

    def _noun(self) -> str:
        return "tokens" if self.units == "bpe" else self.units

    def _run(self, plan: Plan, train: np.ndarray, held: Tensor, seed: int) -> None:
        recurrent = self.cell != TRANSFORMER
        data = TokenWindows(
            train, batch_size=self.batch_size, steps=self.context, carry=recurrent, device=self.device_,
            generator=generator(seed),
        )  # fmt: skip

        def evaluate(_: nn.Module) -> dict[str, float]:
            nats = self._nats(held)
            return {"validation_loss": nats, "validation_score": -nats}

        rate = self.learning_rate or _RATES[self.cell]
        keeper = keeper_of(
            plan, self.module_, data, epochs=self.epochs, learning_rate=rate, random_state=self.random_state,
            context=self.context,
        )  # fmt: skip
        records = supervised(
            Carried(self.module_, data),
            data,
            partial(next_token, label_smoothing=plan.label_smoothing or 0.0),
            plan=plan,
            epochs=self.epochs,
            learning_rate=rate,
            evaluate=evaluate,
            keeper=keeper,
        )
        done = follow(
            records, self.module_, plan=plan, epochs=self.epochs, label="LanguageModel", verbose=self.verbose,
            keeper=keeper,
        )  # fmt: skip
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        self.validation_loss_ = done.rows[done.best_epoch - 1]["validation_loss"]

    # ----------------------------------------------------------------------------------------------- score

    def _nats(self, tokens: Tensor) -> float:
        return mean_nats(
            self.module_, tokens, steps=self.context, carry=self.cell != TRANSFORMER, precision=self.precision_
        )

    def _measured(self, method: str, X: Any, encoding: str) -> tuple[float, int, int]:
        """Nats a token, tokens and characters of a text."""
        self._check_fitted(method)
        who = f"LanguageModel.{method}"
        text = read_text(X, who=who, encoding=encoding)
        tokens = self._units().encode(text, who=who)
        if len(tokens) < 2:
            raise DataError(f"{who}: the text has one {self._noun()[:-1]}; expected two or more.")
        return self._nats(torch.from_numpy(tokens).to(self.device_)), len(tokens) - 1, len(text)

    def perplexity(self, X: Any, *, encoding: str = "utf-8") -> float:
        """Perplexity of a token: as uncertain as between so many equally likely ones.

        Args:
            X: Text, path or paths, as in `fit`.
            encoding: Of the files.

        Raises:
            NotFittedError: Before ``fit``.
            FileNotFoundError, DataError: As in `fit`; or characters that training had not.
        """
        return math.exp(self._measured("perplexity", X, encoding)[0])

    def bits_per_character(self, X: Any, *, encoding: str = "utf-8") -> float:
        """Bits that a character of the text costs: comparable between units.

        Args:
            X: As in `perplexity`.
            encoding: Of the files.

        Raises:
            NotFittedError, FileNotFoundError, DataError: As in `perplexity`.
        """
        nats, tokens, characters = self._measured("bits_per_character", X, encoding)
        return nats * tokens / math.log(2) / max(1, characters - 1)

    def score(self, X: Any, y: Any = None, *, encoding: str = "utf-8") -> float:
        """Minus the bits per character: higher is better.

        Args:
            X: As in `perplexity`.
            y: Not used.
            encoding: Of the files.

        Raises:
            NotFittedError, FileNotFoundError, DataError: As in `perplexity`.
        """
        nats, tokens, characters = self._measured("score", X, encoding)
        return -nats * tokens / math.log(2) / max(1, characters - 1)

    # ---------------------------------------------------------------------------------------------- sample

    def sample(self, prompt: str = "", length: int = 200, **options: Any) -> str:
        """The prompt and what the model writes after it.

        Args:
            prompt: Where to start; empty starts as after a line's end.
            length: Units to write.
            **options: Those of `stream`.

        Raises:
            NotFittedError, ParameterError, DataError: As `stream`.
        """
        self._check_fitted("sample")
        return prompt + "".join(self.stream(prompt, length, **options))

    def stream(
        self, prompt: str = "", length: int = 200, *, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, repetition_penalty: float = 1.0, random_state: int | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """What the model writes after the prompt, piece by piece as it is drawn.

        Args:
            prompt: Where to start.
            length: Units to write.
            temperature: Above 1 bolder, below 1 safer, 0 the likeliest always.
            top_k: Draw among this many of the likeliest.
            top_p: Draw among the likeliest that reach this probability.
            repetition_penalty: Above 1 shuns what was written before.
            random_state: Seed of the draws; None takes that of ``fit``.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: An option out of its range.
            DataError: A prompt with characters that training had not.
        """
        self._check_fitted("stream")
        who = "LanguageModel.sample"
        if not isinstance(prompt, str):
            raise ParameterError(f"{who}: prompt is a {type(prompt).__name__}; expected text.")
        if not Number(0, integer=True).accepts(length):
            raise ParameterError(f"{who}: length={length!r}; expected an integer >= 0.")
        check_sampling(who, temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty)
        units = self._units()
        start = units.encode(prompt, who=who).tolist() if prompt else [self._first()]
        seed = self.seed_ if random_state is None else draw_seed(random_state)
        drawn = tokens_after(
            self.module_.eval(), start, length=length, device=self.device_, generator=generator(seed, self.device_),
            context=self.context if self.cell == TRANSFORMER else None, temperature=temperature, top_k=top_k, top_p=top_p,
            repetition_penalty=repetition_penalty,
        )  # fmt: skip
        return pieces(units, drawn)

    def _first(self) -> int:
        """The token that stands before a text: a line's end, where there is one."""
        if self.units == "characters":
            return max(0, self.symbols_.find("\n"))
        return int(self._units().encode("\n", who="LanguageModel")[-1])

    # ------------------------------------------------------------------------------- summary and model file

    def _title(self) -> str:
        return f"LanguageModel(units={self.units!r}, cell={self.cell!r})"

    def _example_input(self) -> Tensor:
        return torch.zeros(1, self.context, dtype=torch.long, device=self.device_)

    def _heads(self) -> int:
        return max(1, self.hidden_size // 64)

    def _rebuild(self) -> nn.Module:
        if self.cell == TRANSFORMER:
            return GPT(
                self.n_tokens_, context=self.context, width=self.hidden_size, layers=self.layers, heads=self._heads(),
                dropout=self.dropout,
            )  # fmt: skip
        return RecurrentLanguageModel(
            self.n_tokens_, cell=self.cell, hidden_size=self.hidden_size, layers=self.layers, dropout=self.dropout,
            weight_drop=self.weight_drop, layer_norm=True,
        )  # fmt: skip

    def _check_restored(self) -> None:
        if self._units().size != self.n_tokens_:
            raise ValueError(f"n_tokens_ is {self.n_tokens_}; its units are {self._units().size}")
