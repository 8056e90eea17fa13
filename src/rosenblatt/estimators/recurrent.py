"""`RNNClassifier`: recurrent networks that put sequences (texts, or series of numbers) into classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import BOOL, NONE, SEED, Choice, Number, Of
from rosenblatt.data.sequences import (
    Buckets,
    Sequences,
    encode_texts,
    learn_symbols,
    read_sequences,
    scale_of_steps,
)
from rosenblatt.errors import DataError, ShapeError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.estimators.cnn_inputs import split
from rosenblatt.losses.classification import cross_entropy
from rosenblatt.models.recurrent import CELLS, RecurrentClassifier
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

UNITS = ("characters", "words", "bytes")
_STEPS_AT_ONCE = 1 << 16


class RNNClassifier(ClassifierMixin, Estimator):
    """Recurrent classifier of sequences of any length: texts, or series of numbers.

    Use it where the order of the steps matters and a few hundred sequences or more are at hand.

    Args:
        units: What a text is read by: "characters", "words" or "bytes"; unknown ones are allowed, as one symbol.
        cell: "lstm", "gru" or "elman".
        hidden_size: Width of the recurrent layers, in each direction.
        layers: Recurrent layers.
        bidirectional: Whether sequences are read from both ends.
        dropout: On the inputs and outputs of the layers, one mask for all steps of a sequence.
        weight_drop: Share of the recurrent weights dropped in training.
        layer_norm: Whether each layer's outputs are normalised.
        vocabulary: Characters or words at most, the most frequent ones.
        epochs: Passes over the sequences.
        batch_size: Sequences a step, of like length.
        learning_rate: Top of the schedule.
        random_state: Seed of weights, order and dropout.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; own choices: Adam, the one-cycle schedule, gradients clipped at 1.

    Attributes:
        classes_: Class labels, sorted.
        module_: The network, a plain ``nn.Module`` on padded sequences: (N, T) tokens with 0, or (N, T, F) numbers with NaN.
        symbols_: Characters or words by their token (from 2 on); None where X was numbers.
        n_inputs_: Numbers a step, or tokens of the vocabulary.
        input_mean_, input_deviation_: Numbers become (x - mean) / deviation, feature by feature.
        history_, device_, precision_, n_iter_, best_epoch_: The training record.

    Reference:
        Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; the others stand in `rosenblatt.models.recurrent`.

    Example:
        >>> texts = ["one two", "two one", "two two", "one one"] * 20
        >>> starts = [text.split()[0] for text in texts]
        >>> model = RNNClassifier(hidden_size=16, epochs=10, learning_rate=0.01, random_state=0, verbose=0).fit(texts, starts)
        >>> model.predict(["one two two", "two one"]).tolist()
        ['one', 'two']
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "units": Choice(UNITS),
        "cell": Choice(tuple(CELLS)),
        "hidden_size": Number(1, integer=True),
        "layers": Number(1, integer=True),
        "bidirectional": BOOL,
        "dropout": Number(0, 1, open_high=True),
        "weight_drop": Number(0, 1, open_high=True),
        "layer_norm": BOOL,
        "vocabulary": Number(1, integer=True),
        "epochs": Number(1, integer=True),
        "batch_size": Number(1, integer=True),
        "learning_rate": Number(0, open_low=True),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _own_plan = Plan(optimizer="adam", schedule="onecycle", gradient_clip=1.0).over(STANDARD)

    def __init__(
        self,
        *,
        units: str = "characters",
        cell: str = "lstm",
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        layer_norm: bool = False,
        vocabulary: int = 20000,
        epochs: int = 15,
        batch_size: int = 32,
        learning_rate: float = 0.005,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.units = units
        self.cell = cell
        self.hidden_size = hidden_size
        self.layers = layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.weight_drop = weight_drop
        self.layer_norm = layer_norm
        self.vocabulary = vocabulary
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, lengths: Any = None
    ) -> RNNClassifier:
        """Train from scratch.

        Args:
            X: Texts; or numbers (N, T, F) or (N, T); or a list of arrays (T, F) or (T,).
            y: Labels (N,), numbers or text.
            sample_weight: Weights (N,), or None.
            lengths: (N,) real steps of each row of an array, whose other steps are padding; None takes all.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            ShapeError, NonFiniteError, DataError, LabelError: The data is not as above, or has one class.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        who, plan = "RNNClassifier.fit", (self.plan or Plan()).over(self._own_plan)
        parts = read_sequences(X, lengths, who=who)
        labels = _validate.class_labels(who, y, len(parts), noun="sequence")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        weight = _validate.weights(who, sample_weight, np.empty((len(parts), 1)), np.float32)
        seed, device = draw_seed(self.random_state), choose_device(self.device)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        train, held = split(plan, codes, seed)
        self._learn_inputs([parts[row] for row in train])
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, self._sequences(parts).to(device), codes.astype(np.int64), weight, train, held, seed)
        return self

    def _learn_inputs(self, parts: list[Any]) -> None:
        """Vocabulary of texts, or scale of numbers, from the sequences that are trained on."""
        self.symbols_ = self.input_mean_ = self.input_deviation_ = None
        if isinstance(parts[0], str):
            self.symbols_ = learn_symbols(parts, self.units, self.vocabulary)
            self.n_inputs_ = 2 + (256 if self.units == "bytes" else len(self.symbols_))
        else:
            self.input_mean_, self.input_deviation_ = scale_of_steps(parts)
            self.n_inputs_ = len(self.input_mean_)

    def _sequences(self, parts: list[Any]) -> Sequences:
        if self.symbols_ is not None:
            return Sequences.of(encode_texts(parts, self.units, self.symbols_))
        return Sequences.of([(part - self.input_mean_) / self.input_deviation_ for part in parts])

    def _run(
        self, plan: Plan, data: Sequences, codes: np.ndarray, weight: np.ndarray | None, train: np.ndarray,
        held: np.ndarray | None, seed: int,
    ) -> None:  # fmt: skip
        batches = Buckets(
            data, torch.from_numpy(train), torch.from_numpy(codes[train]),
            None if weight is None else torch.from_numpy(weight[train]), batch_size=self.batch_size,
            generator=generator(seed),
        )  # fmt: skip

        def evaluate(_: nn.Module) -> dict[str, float]:
            if held is None:
                return {}
            found = self._logits(data, torch.from_numpy(held)).argmax(1).numpy()
            return {"validation_score": float((found == codes[held]).mean())}

        keeper = keeper_of(
            plan, self.module_, batches, epochs=self.epochs, learning_rate=self.learning_rate,
            random_state=self.random_state,
        )  # fmt: skip
        records = supervised(
            self.module_,
            batches,
            partial(cross_entropy, label_smoothing=plan.label_smoothing or 0.0),
            plan=plan,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            prepare=data.padded,
            evaluate=evaluate,
            keeper=keeper,
        )
        done = follow(
            records, self.module_, plan=plan, epochs=self.epochs, label="RNNClassifier", verbose=self.verbose,
            keeper=keeper,
        )  # fmt: skip
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped

    # --------------------------------------------------------------------------------------------- predict

    @torch.no_grad()
    def _logits(self, data: Sequences, rows: Tensor) -> Tensor:
        """Logits (n, K) in fp32; sequences of like length go together."""
        order = rows[data.lengths.cpu()[rows].argsort(stable=True)]
        module, found = self.module_.eval(), torch.empty(len(data), len(self.classes_))
        size = max(1, _STEPS_AT_ONCE // int(data.lengths.max()))
        for part in order.split(size):
            found[part] = module(data.padded(part.to(self.device_))).float().cpu()
        return found[rows]

    def decision_function(self, X: Any, *, lengths: Any = None) -> np.ndarray:
        """Logits (N, K) of the sequences; arguments and errors as `predict`."""
        self._check_fitted("decision_function")
        who = "RNNClassifier.decision_function"
        parts = read_sequences(X, lengths, who=who)
        if isinstance(parts[0], str) != (self.symbols_ is not None):
            saw, got = ("texts", "numbers") if self.symbols_ is not None else ("numbers", "texts")
            raise DataError(f"{who}: X holds {got}, fit saw {saw}; expected the same.")
        if self.symbols_ is None and parts[0].shape[1] != self.n_inputs_:
            raise ShapeError(f"{who}: {parts[0].shape[1]} features a step; expected {self.n_inputs_} as in fit.")
        data = self._sequences(parts).to(self.device_)
        return self._logits(data, torch.arange(len(data))).numpy()

    def predict_proba(self, X: Any, *, lengths: Any = None) -> np.ndarray:
        """Probabilities (N, K), columns as in ``classes_``; arguments and errors as `predict`."""
        self._check_fitted("predict_proba")
        return torch.softmax(torch.from_numpy(self.decision_function(X, lengths=lengths)).double(), 1).numpy()

    def predict(self, X: Any, *, lengths: Any = None) -> np.ndarray:
        """Labels (N,) of the sequences.

        Args:
            X: As in `fit`.
            lengths: As in `fit`.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: X is not like the data of ``fit``.
        """
        self._check_fitted("predict")
        return self.classes_[self.decision_function(X, lengths=lengths).argmax(1)]

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, lengths: Any = None) -> float:
        """Share of the sequences whose label is right.

        Args:
            X: As in `fit`.
            y: True labels (N,).
            sample_weight: Weights (N,), or None.
            lengths: As in `fit`.

        Raises:
            NotFittedError, ShapeError, NonFiniteError, DataError: As `predict`.
        """
        return float(accuracy_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def _victim(self, bounds: tuple[float, float] | None) -> Any:
        """Logits for `rosenblatt.attacks`: of tokens, or of numbers as they come."""
        from rosenblatt.estimators.attackable import sequence_victim, text_victim

        self._check_fitted("predict")
        return sequence_victim(self, bounds) if self.symbols_ is None else text_victim(self, bounds)

    # ------------------------------------------------------------------------------- summary and model file

    def _title(self) -> str:
        return f"RNNClassifier(cell={self.cell!r})"

    def _example_input(self) -> Tensor:
        if self.symbols_ is not None:
            return torch.ones(1, 8, dtype=torch.long, device=self.device_)
        return torch.zeros(1, 8, self.n_inputs_, device=self.device_)

    def _rebuild(self) -> nn.Module:
        return RecurrentClassifier(
            self.n_inputs_, len(self.classes_), tokens=self.symbols_ is not None, cell=self.cell,
            hidden_size=self.hidden_size, layers=self.layers, bidirectional=self.bidirectional, dropout=self.dropout,
            weight_drop=self.weight_drop, layer_norm=self.layer_norm,
        )  # fmt: skip

    def _check_restored(self) -> None:
        expect_shape("classes_", self.classes_, (None,))
        if self.symbols_ is None:
            expect_shape("input_mean_", self.input_mean_, (self.n_inputs_,))
            expect_shape("input_deviation_", self.input_deviation_, (self.n_inputs_,))
        elif self.units != "bytes" and len(self.symbols_) + 2 != self.n_inputs_:
            raise ValueError(f"symbols_ are {len(self.symbols_)}; n_inputs_={self.n_inputs_} wants two less")
