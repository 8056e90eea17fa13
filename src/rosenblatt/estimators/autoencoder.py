"""`Autoencoder`: a nonlinear PCA, with the classic constraints on the code as switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rosenblatt._types import ArrayLike
from rosenblatt._validate import BOOL, NONE, SEED, Choice, Number, Of
from rosenblatt.backprop.engine import covers
from rosenblatt.data.corrupt import CORRUPTIONS, HIDING
from rosenblatt.data.resident import Resident
from rosenblatt.errors import ParameterError, ShapeError
from rosenblatt.estimators.coder import Coder, CodeSummary
from rosenblatt.layers.activations import activation as make_activation
from rosenblatt.models.autoencoder import ConvAutoencoder, DenseAutoencoder
from rosenblatt.train.autoencoder import Objective, Recipe, chain_of, compiled, compiled_keeper
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision, has_bf16
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

OWN_PLAN = replace(STANDARD, schedule="onecycle")
"""What this system does where the user's plan says nothing."""

_ENGINE_WORK = 4e6
"""Weights of a network from which bf16 products in PyTorch beat the compiled engine's fp32 ones, where there is bf16."""
_STEPS = 3000
"""Steps that a run has by default, within 20 to 500 epochs: small data needs more passes."""


class Autoencoder(Coder):
    """Autoencoder: learns to code samples in a few numbers, and to unfold them again.

    Use it where PCA's straight directions are too few: it takes the same role (``transform``, ``inverse_transform``), and
    ``summary()`` says what PCA of the same size reaches on the same data. ``score_samples`` finds samples unlike those it
    was trained on. The switches are independent: any network with any corruption and any constraint on the code.

    Args:
        code_size: Numbers of a code, Z. More than the features make sense with a corruption or a constraint only.
        network: "dense", for tables and pictures, or "convolutional", for pictures.
        hidden_layer_sizes: Widths between input and code, mirrored behind it. Of "convolutional": channels at half the side
            and the width of the dense layer. None takes (256, 64), and (32, 256) for "convolutional".
        activation: Function of the hidden dense layers.
        code_activation: Function of the code; None takes "linear", and "logistic" where ``sparse="kl"`` needs it.
        loss: "squared_error", or "log_loss" for values from 0 to 1 (cross-entropy, logistic output).
        output: "linear" or "logistic", which bounds reconstructions to 0 and 1; None takes "linear" for "squared_error".
        corruption: What is done to the inputs, which the network has to undo: None, "masking" (a share set to zero),
            "gaussian", "salt" (a share set to the extremes), or "pixels" and "patches", which hide a share and count the loss
            there alone.
        level: Share, or of "gaussian" the standard deviation beside data of mean variance 1.
        sparse: None, "l1", "kl" (mean activation of each unit near ``sparsity``) or "top-k" (all but the largest set to 0).
        sparsity: Wanted mean activation of "kl", share of the units that "top-k" keeps.
        sparse_weight: Weight of the penalties "l1" and "kl" beside the loss, which is summed over features.
        contract: Weight of the contractive penalty, the squared norm of the encoder's Jacobian: exact where the encoder is one
            dense layer (``hidden_layer_sizes=()``), else estimated with one random direction a sample and step.
        tied: The dense decoder's matrices are the encoder's, transposed.
        epochs: Passes over the data; None makes 3,000 steps of them, but 20 at least and 500 at most.
        batch_size: Samples a step.
        learning_rate: Top of the schedule.
        random_state: Seed of weights, order, corruption.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are Adam and the one-cycle schedule.

    Attributes:
        module_: The network, a plain ``nn.Module`` on prepared rows.
        code_size_: Numbers of a code.
        engine_: "compiled" (dense networks without penalties, on a CPU, see `rosenblatt.backprop.engine`) or "torch".
        contraction_: "exact", "estimated" or "none": how the contractive penalty was computed.
        reconstruction_error_, pca_error_: Mean over samples of the squared error, summed over features, of the network and of
            PCA with as many components, in the units of X; on held-out samples where the plan holds some out (``error_on_``).
        history_, device_, precision_, n_iter_, best_epoch_, stopped_: The training record.

    Reference:
        Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647; Vincent et al. 2010, JMLR 11:3371 (denoising); Rifai et al.
        2011, ICML (contractive); Makhzani & Frey 2014, arXiv:1312.5663 (top-k); He et al. 2022, arXiv:2111.06377 (masked).

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X = load_digits().data[:600] / 16
        >>> model = Autoencoder(code_size=4, epochs=80, batch_size=32, random_state=0, verbose=0).fit(X)
        >>> model.transform(X).shape, model.reconstruction_error_ < model.pca_error_
        ((600, 4), True)
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "code_size": Number(1, integer=True),
        "network": Choice(("dense", "convolutional")),
        "hidden_layer_sizes": (Of((list, tuple, np.ndarray), "a sequence of widths"), Number(1, integer=True), NONE),
        "activation": Of(str, "an activation's name"),
        "code_activation": (Of(str, "an activation's name"), NONE),
        "loss": Choice(("squared_error", "log_loss")),
        "output": (Choice(("linear", "logistic")), NONE),
        "corruption": (Choice(CORRUPTIONS), NONE),
        "level": Number(0),
        "sparse": (Choice(("l1", "kl", "top-k")), NONE),
        "sparsity": Number(0, 1, open_low=True, open_high=True),
        "sparse_weight": Number(0),
        "contract": Number(0),
        "tied": BOOL,
        "epochs": (Number(1, integer=True), NONE),
        "batch_size": Number(1, integer=True),
        "learning_rate": Number(0, open_low=True),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }

    def __init__(
        self,
        *,
        code_size: int = 16,
        network: str = "dense",
        hidden_layer_sizes: Sequence[int] | int | None = None,
        activation: str = "silu",
        code_activation: str | None = None,
        loss: str = "squared_error",
        output: str | None = None,
        corruption: str | None = None,
        level: float = 0.3,
        sparse: str | None = None,
        sparsity: float = 0.1,
        sparse_weight: float = 0.1,
        contract: float = 0.0,
        tied: bool = False,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.code_size = code_size
        self.network = network
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.code_activation = code_activation
        self.loss = loss
        self.output = output
        self.corruption = corruption
        self.level = level
        self.sparse = sparse
        self.sparsity = sparsity
        self.sparse_weight = sparse_weight
        self.contract = contract
        self.tied = tied
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, X: ArrayLike, y: Any = None) -> Autoencoder:
        """Train from scratch.

        Args:
            X: Table (N, D), or pictures N H W or N H W C, uint8 (0 to 255) or floats.
            y: Not used; scikit-learn's pipelines pass it.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong or does not go with another.
            ShapeError, NonFiniteError: The data is not as above.
            DataError: One sample, all samples equal, or values outside 0 to 1 where the output is logistic.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        who = f"{type(self).__name__}.fit"
        self._check_switches()
        plan = self._complete_plan(OWN_PLAN)
        rows = self._read("fit", X, reset=True)
        self._refuse_constant(who, rows)
        self._refuse_network(who)
        if self.corruption == "patches" and self._chw() is None:
            raise ShapeError(f"{who}: X is a table; expected pictures for corruption='patches'. Use 'pixels'.")
        device, seed = choose_device(self.device), draw_seed(self.random_state)
        train, held = self._split(plan, len(rows), seed)
        learned = rows if held is None else rows[train]
        bounded = self._output() == "logistic"
        if bounded:
            self._refuse_out_of_range(who, rows, self._why_bounded())
        self._learn_units(learned, bounded=bounded)
        self.code_size_ = int(self.code_size)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self.device_, self.engine_ = str(device), self._engine(plan, device)
        self.precision_ = "fp32" if self.engine_ == "compiled" else choose_precision(plan.precision, device)
        exact = self.network == "dense" and not self._hidden()
        self.contraction_ = "none" if not self.contract else "exact" if exact else "estimated"
        self._run(plan, self._prepare(learned), None if held is None else self._prepare(rows[held]), seed)
        self._compare(learned, rows[self._compared(len(rows), held)])
        return self

    def _check_switches(self) -> None:
        """Refuse pairs of switches that mean nothing together."""
        name = type(self).__name__
        make_activation(self.activation)
        if self.code_activation is not None:
            make_activation(self.code_activation)
        if self.loss == "log_loss" and self.output == "linear":
            raise ParameterError(
                f"{name}: loss='log_loss' with output='linear'; expected 'logistic'. Leave output out."
            )
        if self.sparse == "kl" and self.code_activation not in (None, "logistic", "sigmoid"):
            raise ParameterError(
                f"{name}: sparse='kl' with code_activation={self.code_activation!r}; expected 'logistic', whose values are "
                "shares. Leave code_activation out."
            )
        if self.tied and self.network != "dense":
            raise ParameterError(f"{name}: tied=True with network={self.network!r}; expected 'dense'. Set tied=False.")
        if self.corruption not in (None, "gaussian") and not 0 < self.level < 1:
            raise ParameterError(
                f"{name}: level={self.level!r} with corruption={self.corruption!r}; expected a share between 0 and 1."
            )
        if self.network == "convolutional" and len(self._hidden()) != 2:
            raise ParameterError(
                f"{name}: hidden_layer_sizes={self.hidden_layer_sizes!r} with network='convolutional'; expected two integers: "
                "channels, and the width of the dense layer."
            )

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        if sizes is None:
            return [256, 64] if self.network == "dense" else [32, 256]
        return self._widths(sizes)

    def _output(self) -> str:
        return self.output or ("logistic" if self.loss == "log_loss" else "linear")

    def _why_bounded(self) -> str:
        return "loss='log_loss'" if self.loss == "log_loss" else "output='logistic'"

    def _code_function(self) -> str:
        return self.code_activation or ("logistic" if self.sparse == "kl" else "linear")

    def _rebuild(self) -> nn.Module:
        keep = max(1, round(self.sparsity * self.code_size_)) if self.sparse == "top-k" else None
        options: dict[str, Any] = {
            "code_activation": make_activation(self._code_function()),
            "output": torch.sigmoid if self._output() == "logistic" else None,
            "keep": keep,
        }
        if self.network == "dense":
            function = make_activation(self.activation)
            return DenseAutoencoder(
                self.n_features_in_,
                self.code_size_,
                self._hidden(),
                activation=function,
                tied=bool(self.tied),
                **options,
            )
        width, features = self._hidden()
        return ConvAutoencoder(self._chw(), self.code_size_, width=width, features=features, **options)

    def _engine(self, plan: Plan, device: torch.device) -> str:
        """Which of the two loops trains this network, or would."""
        names = {self.activation, self._code_function()}
        loss = self._output() == ("logistic" if self.loss == "log_loss" else "linear")
        plain = self.network == "dense" and not self.tied and self.sparse is None and not self.contract
        parts, augmented = (plan.accumulate or 1) > 1, (plan.augment or "none") != "none"
        asked = parts or augmented or plan.ema is not None or plan.gradient_clip is not None or plan.precision == "bf16"
        output = "logistic" if self.loss == "log_loss" else "identity"
        known = all(covers(name, output, self.loss, np.float32) for name in names)
        if device.type != "cpu" or not (plain and loss and known) or asked or self.corruption in HIDING:
            return "torch"
        work = sum(p.numel() for p in self.module_.parameters())
        return "torch" if plan.precision != "fp32" and has_bf16(device) and work > _ENGINE_WORK else "compiled"

    def _recipe(self, prepared: np.ndarray) -> Recipe:
        salt = self.corruption == "salt"
        return Recipe(
            loss=self.loss, corruption=self.corruption, level=float(self.level), shape=self._chw(), sparse=self.sparse,
            low=float(prepared.min()) if salt else 0.0, high=float(prepared.max()) if salt else 1.0,
            target=float(self.sparsity), sparse_weight=float(self.sparse_weight), contract=float(self.contract),
            exact=self.contraction_ == "exact",
        )  # fmt: skip

    def _run(self, plan: Plan, prepared: np.ndarray, held: np.ndarray | None, seed: int) -> None:
        objective = Objective(self.module_, self._recipe(prepared))
        watched = None if held is None else torch.from_numpy(held).to(self.device_)

        def evaluate(_: nn.Module) -> dict[str, float]:
            return {} if watched is None else {"validation_score": objective.score(watched, seed)}

        epochs, rate = self._epochs(len(prepared)), float(self.learning_rate)
        if self.engine_ == "compiled":
            function = self._code_function()
            output = "logistic" if self.loss == "log_loss" else "identity"
            chain = chain_of(self.module_, self.activation, function, self.loss, output)
            size = min(int(self.batch_size), len(prepared))
            numbers = {"epochs": epochs, "learning_rate": rate, "batch_size": size}
            keeper = compiled_keeper(
                plan, prepared, chain, random_state=self.random_state, **numbers, **self._identity()
            )
            records = compiled(
                objective, chain, prepared, plan=plan, seed=seed, evaluate=evaluate, keeper=keeper, **numbers
            )
        else:
            x, source = torch.from_numpy(prepared), generator(seed)
            data = Resident(
                x, torch.zeros(len(x)), device=self.device_, batch_size=int(self.batch_size), generator=source
            )
            keeper = keeper_of(
                plan, objective, data, epochs=epochs, learning_rate=rate, random_state=self.random_state,
                **self._identity(),
            )  # fmt: skip
            records = supervised(
                objective, data, objective.loss, plan=plan, epochs=epochs, learning_rate=rate, evaluate=evaluate,
                keeper=keeper, prepare=self._augmentation(plan, source),
            )  # fmt: skip
        done = follow(
            records, objective, plan=plan, epochs=epochs, label=type(self).__name__, verbose=self.verbose, keeper=keeper
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        self.module_.eval()

    def _epochs(self, count: int) -> int:
        steps = -(-count // int(self.batch_size))
        return int(self.epochs or min(500, max(20, -(-_STEPS // steps))))

    def _identity(self) -> dict[str, Any]:
        """What else a checkpoint must agree on."""
        names = ("loss", "corruption", "level", "sparse", "sparsity", "sparse_weight", "contract", "activation")
        return {name: getattr(self, name) for name in names}

    def _compare(self, train: np.ndarray, rows: np.ndarray) -> None:
        """This network and PCA, fitted to the same samples, on the same samples."""
        self.reconstruction_error_ = float(self._errors(rows).mean())
        self.pca_error_ = self._pca_error(train, rows, self.code_size_)

    # ------------------------------------------------------------------------------------------------- use

    def _rows(self, method: str, X: ArrayLike) -> np.ndarray:
        self._check_fitted(method)
        rows = self._read(method, X, reset=False)
        if self._output() == "logistic":
            self._refuse_out_of_range(f"{type(self).__name__}.{method}", rows, self._why_bounded())
        return rows

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Codes (N, Z) of samples like those of ``fit``.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: X is not like the data of ``fit``.
        """
        rows = self._rows("transform", X)
        return self._through(self.module_.encode, self._prepare(rows))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Reconstructions of samples, in their shape and units: ``inverse_transform(transform(X))``."""
        rows = self._rows("predict", X)
        return self._restore(self._through(self.module_, self._prepare(rows)))

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Samples of codes (N, Z), in the shape and the units of the data of ``fit``.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: Codes of another length than ``code_size``, or no finite numbers.
        """
        self._check_fitted("inverse_transform")
        codes = self._check_codes("inverse_transform", Z, self.code_size_)
        return self._restore(self._through(self.module_.decode, codes))

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Minus the squared error of each sample's reconstruction, summed over features, in the units of X.

        The lower, the less the sample is like those of ``fit``; a threshold comes from the scores of samples known as good.
        """
        return -self._errors(self._rows("score_samples", X))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Share of the variance around the mean of X that reconstructions explain: 1 is perfect."""
        rows = self._rows("score", X)
        spread = float(np.square(rows - rows.mean(0), dtype=np.float64).sum(1).mean())
        return 1 - float(self._errors(rows).mean()) / spread if spread > 0 else float("nan")

    def _errors(self, rows: np.ndarray) -> np.ndarray:
        made = self._through(self.module_, self._prepare(rows)) / np.float32(self.scale_) + self.offset_
        return np.square(made - rows, dtype=np.float64).sum(1)

    # ------------------------------------------------------------------------------------------------- show

    def summary(self) -> CodeSummary:
        """Layers, output shapes and parameter counts, and the error beside that of PCA; print it.

        Raises:
            NotFittedError: Before ``fit``.
        """
        table = super().summary()
        mine, theirs = self.reconstruction_error_, self.pca_error_
        said = f"squared error a sample with {self.code_size_} codes: {mine:.4g}, PCA {theirs:.4g}, on {self.error_on_}"
        notes = [said, f"trained by the {self.engine_} loop, {self.precision_}"]
        if mine >= theirs:
            notes.append(
                "The network LOSES to PCA here: use PCA, or train longer, or lift the constraints on the code."
            )
        if self.contraction_ != "none":
            notes.append(f"contractive penalty: {self.contraction_}")
        return CodeSummary(table.title, table.rows, tuple(notes))

    def _title(self) -> str:
        return f"Autoencoder(network={self.network!r})"
