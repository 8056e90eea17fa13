"""`VariationalAutoencoder`: a distribution learned through a Gaussian code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import BOOL, NONE, SEED, Choice, Number, Of
from rosenblatt.data.resident import Resident
from rosenblatt.errors import DataError, LabelError, ParameterError, ShapeError
from rosenblatt.estimators.base import expect_shape
from rosenblatt.estimators.coder import Coder, CodeSummary
from rosenblatt.losses.elbo import standard_normal_kl
from rosenblatt.models.vae import VAE
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised
from rosenblatt.train.vae import Bound, VariationalObjective, importance_weighted

OWN_PLAN = replace(STANDARD, optimizer="adamw", weight_decay=1e-4, schedule="cosine", warmup=0.02, ema=0.999)
"""What this system does where the user's plan says nothing."""

_STEPS = 5000
"""Steps that a run has by default, within 20 to 500 epochs."""
_ACTIVE = 0.05
"""KL in nats above which a code unit counts as used."""


class VariationalAutoencoder(Coder):
    """Variational autoencoder: a decoder that turns normal noise into samples, and an encoder that finds the noise of each.

    Use it to sample, to fill the space between samples, and to ask how likely a sample is (``score_samples``, in nats, with
    all constants). For codes alone an `Autoencoder` reconstructs better.

    Args:
        code_size: Numbers of a code, Z.
        network: "dense", for tables and pictures, or "convolutional", for pictures.
        hidden_layer_sizes: Widths between input and code, mirrored behind it. Of "convolutional": channels at half the side
            and the width of the dense layer. None takes (256, 256), and (32, 256) for "convolutional".
        likelihood: "bernoulli" for zeros and ones, "gaussian" for numbers, "auto" takes the first where the data is such.
        noise: Standard deviation of the Gaussian likelihood, in the units of X; None learns it.
        beta: Weight of the KL term; above 1 the code is simpler, and the objective no bound of the likelihood.
        free_bits: KL in nats that each code unit has free, against units that are never used; with ``samples=1``.
        samples: Codes a sample in training, k: above 1 the importance-weighted bound is maximised.
        kl_warmup: Share of the run in which beta rises from zero.
        conditional: Learn p(x | label): ``fit`` takes the labels, and ``sample`` draws a class.
        dropout: Share of the hidden units dropped in training.
        epochs: Passes over the data; None makes 5,000 steps of them, but 20 at least and 500 at most.
        batch_size: Samples a step.
        learning_rate: Top of the schedule.
        random_state: Seed of weights, order, noise.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are AdamW, the cosine schedule and averaged weights.

    Attributes:
        module_: The network, a plain ``nn.Module`` on prepared rows.
        code_size_: Numbers of a code.
        likelihood_: "bernoulli" or "gaussian".
        noise_: Standard deviation of the Gaussian likelihood in the units of X, or None.
        kl_: Mean KL of each code unit in nats, on training samples.
        classes_: Labels, where conditional.
        reconstruction_error_, pca_error_: As `Autoencoder`.
        history_, device_, precision_, n_iter_, best_epoch_, stopped_: The training record.

    Reference:
        Kingma & Welling 2014, arXiv:1312.6114; Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519 (importance weights);
        Tucker et al. 2019, arXiv:1810.04152 (their gradient); Higgins et al. 2017 (beta); Kingma et al. 2016,
        arXiv:1606.04934 (free bits).

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X = (load_digits().data[:500] > 7).astype(np.uint8)
        >>> model = VariationalAutoencoder(code_size=4, epochs=30, random_state=0, verbose=0).fit(X)
        >>> model.likelihood_, model.sample(3).shape, bool(model.score(X) > -64 * np.log(2))
        ('bernoulli', (3, 64), True)
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "code_size": Number(1, integer=True),
        "network": Choice(("dense", "convolutional")),
        "hidden_layer_sizes": (Of((list, tuple, np.ndarray), "a sequence of widths"), Number(1, integer=True), NONE),
        "likelihood": Choice(("auto", "bernoulli", "gaussian")),
        "noise": (Number(0, open_low=True), NONE),
        "beta": Number(0),
        "free_bits": Number(0),
        "samples": Number(1, integer=True),
        "kl_warmup": Number(0, 1),
        "conditional": BOOL,
        "dropout": Number(0, 1, open_high=True),
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
        likelihood: str = "auto",
        noise: float | None = None,
        beta: float = 1.0,
        free_bits: float = 0.0,
        samples: int = 1,
        kl_warmup: float = 0.1,
        conditional: bool = False,
        dropout: float = 0.0,
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
        self.likelihood = likelihood
        self.noise = noise
        self.beta = beta
        self.free_bits = free_bits
        self.samples = samples
        self.kl_warmup = kl_warmup
        self.conditional = conditional
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, X: ArrayLike, y: Any = None) -> VariationalAutoencoder:
        """Train from scratch.

        Args:
            X: Table (N, D), or pictures N H W or N H W C; zeros and ones for the Bernoulli likelihood.
            y: Labels (N,), where ``conditional``; else not used.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong or does not go with another.
            ShapeError, NonFiniteError: The data is not as above.
            DataError: One sample, all samples equal, or other values than the likelihood has.
            LabelError: Labels are missing, or of one class.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        who = f"{type(self).__name__}.fit"
        self._check_switches()
        plan = self._complete_plan(OWN_PLAN)
        rows = self._read("fit", X, reset=True)
        self._refuse_constant(who, rows)
        self._refuse_network(who)
        labels = self._learn_labels(who, y, len(rows))
        device, seed = choose_device(self.device), draw_seed(self.random_state)
        train, held = self._split(plan, len(rows), seed)
        self._learn_likelihood(who, rows, train)
        self.code_size_ = int(self.code_size)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        prepared = self._join(self._prepare(rows), labels)
        self._run(plan, prepared[train], None if held is None else prepared[held], seed)
        self._look_back(rows, prepared, train, self._compared(len(rows), held))
        return self

    def _check_switches(self) -> None:
        name = type(self).__name__
        if self.free_bits and self.samples > 1:
            raise ParameterError(
                f"{name}: free_bits={self.free_bits!r} with samples={self.samples}; expected samples=1. The importance-weighted "
                "bound has no KL term to free. Set free_bits=0."
            )
        if self.noise is not None and self.likelihood == "bernoulli":
            raise ParameterError(
                f"{name}: noise={self.noise!r} with likelihood='bernoulli'; expected None. It belongs to 'gaussian'."
            )
        if self.network == "convolutional" and len(self._hidden()) != 2:
            raise ParameterError(
                f"{name}: hidden_layer_sizes={self.hidden_layer_sizes!r} with network='convolutional'; expected two integers: "
                "channels, and the width of the dense layer."
            )

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        if sizes is None:
            return [256, 256] if self.network == "dense" else [32, 256]
        return self._widths(sizes)

    def _learn_labels(self, who: str, y: Any, count: int) -> np.ndarray | None:
        vars(self).pop("classes_", None)
        if not self.conditional:
            return None
        if y is None:
            raise LabelError(f"{who}: conditional=True and y is None; expected one label a sample. Pass y.")
        labels = _validate.class_labels(who, y, count)
        self.classes_ = np.unique(labels)
        return self._one_hot(who, labels, count)

    def _one_hot(self, who: str, y: Any, count: int) -> np.ndarray | None:
        """Columns of the labels (N, K), or None where the network takes none."""
        if not self.conditional:
            if y is not None and not who.endswith((".fit", ".score")):
                raise ParameterError(f"{who}: y was given and conditional=False; expected no labels. Leave y out.")
            return None
        if y is None:
            raise LabelError(f"{who}: y is None and the model is conditional; expected one label a sample. Pass y.")
        labels = np.atleast_1d(np.asarray(y))
        labels = np.repeat(labels, count) if labels.shape == (1,) else labels
        if labels.shape != (count,):
            raise ShapeError(f"{who}: y {labels.shape}; expected one label a sample ({count},), or one for all.")
        _validate.known_labels(who, labels, self.classes_)
        return (labels[:, None] == self.classes_).astype(np.float32)

    @staticmethod
    def _join(prepared: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return prepared if labels is None else np.hstack([prepared, labels])

    def _learn_likelihood(self, who: str, rows: np.ndarray, train: np.ndarray) -> None:
        top = 255.0 if self.integer_input_ and rows.max() > 1 else 1.0
        binary = bool(((rows == 0) | (rows == top)).all())
        self.likelihood_ = self.likelihood if self.likelihood != "auto" else "bernoulli" if binary else "gaussian"
        if self.likelihood_ == "gaussian":
            self._learn_units(rows[train], bounded=False)
            return
        if not binary:
            self._refuse_not_binary(who, rows, top)
        self.offset_, self.scale_ = np.zeros(rows.shape[1], np.float32), 1 / top

    def _refuse_not_binary(self, who: str, rows: np.ndarray, top: float) -> None:
        other = rows[(rows != 0) & (rows != top)]
        if not len(other):
            return
        raise DataError(
            f"{who}: X holds {other[0]:g}; expected only 0 and {top:g} for the Bernoulli likelihood. "
            f"Use X > {top / 2:g}, or likelihood='gaussian'."
        )

    def _rebuild(self) -> nn.Module:
        noise = None
        if self.likelihood_ == "gaussian":
            noise = 0.3 if self.noise is None else float(self.noise) * self.scale_
        return VAE(
            self.n_features_in_, self.code_size_, labels=len(self.classes_) if self.conditional else 0,
            hidden=self._hidden(), shape=self._chw() if self.network == "convolutional" else None,
            dropout=float(self.dropout), noise=noise, learn_noise=self.noise is None,
        )  # fmt: skip

    def _run(self, plan: Plan, prepared: np.ndarray, held: np.ndarray | None, seed: int) -> None:
        steps = -(-len(prepared) // min(int(self.batch_size), len(prepared)))
        epochs, rate = int(self.epochs or min(500, max(20, -(-_STEPS // steps)))), float(self.learning_rate)
        bound = Bound(
            float(self.beta), float(self.free_bits), int(self.samples), round(float(self.kl_warmup) * epochs * steps)
        )
        objective = VariationalObjective(self.module_, bound).to(self.device_)
        watched = None if held is None else torch.from_numpy(held).to(self.device_)

        def evaluate(_: nn.Module) -> dict[str, float]:
            return {} if watched is None else {"validation_score": objective.score(watched, seed, self.precision_)}

        source = generator(seed)
        data = Resident(
            torch.from_numpy(prepared), torch.zeros(len(prepared)), device=self.device_, batch_size=int(self.batch_size),
            generator=source,
        )  # fmt: skip
        names = ("likelihood", "beta", "free_bits", "samples", "kl_warmup", "dropout")
        keeper = keeper_of(
            plan, objective, data, epochs=epochs, learning_rate=rate, random_state=self.random_state,
            **{name: getattr(self, name) for name in names},
        )  # fmt: skip
        records = supervised(
            objective,
            data,
            objective.loss,
            plan=plan,
            epochs=epochs,
            learning_rate=rate,
            evaluate=evaluate,
            keeper=keeper,
            prepare=self._augmentation(plan, source),
        )
        done = follow(
            records, objective, plan=plan, epochs=epochs, label=type(self).__name__, verbose=self.verbose, keeper=keeper
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        self.module_.eval()

    def _look_back(self, rows: np.ndarray, prepared: np.ndarray, train: np.ndarray, on: np.ndarray) -> None:
        """What the summary tells: used units, noise, and PCA beside."""

        def kl(x: Tensor) -> Tensor:
            features = self.n_features_in_
            return standard_normal_kl(
                *self.module_.encode(x[:, :features], x[:, features:] if self.conditional else None)
            )

        self.kl_ = self._through(kl, prepared[train[:10_000]]).mean(0)
        learned = self.likelihood_ == "gaussian"
        self.noise_ = float(self.module_.log_noise.detach().exp()) / self.scale_ if learned else None
        made = self._through(self._mean, prepared[on]) / np.float32(self.scale_) + self.offset_
        self.reconstruction_error_ = float(np.square(made - rows[on], dtype=np.float64).sum(1).mean())
        self.pca_error_ = self._pca_error(rows[train], rows[on], self.code_size_)

    # ------------------------------------------------------------------------------------------------- use

    def _mean(self, x: Tensor) -> Tensor:
        """Mean of p(x | z) at the mean code: deterministic."""
        return self._shown(self.module_(x))

    def _shown(self, out: Tensor) -> Tensor:
        return torch.sigmoid(out) if self.likelihood_ == "bernoulli" else out

    def _rows(self, method: str, X: ArrayLike, y: Any) -> np.ndarray:
        self._check_fitted(method)
        who = f"{type(self).__name__}.{method}"
        rows = self._read(method, X, reset=False)
        if self.likelihood_ == "bernoulli":
            self._refuse_not_binary(who, rows, round(1 / self.scale_))
        return self._join(self._prepare(rows), self._one_hot(who, y, len(rows)))

    def transform(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Mean codes (N, Z): deterministic.

        Args:
            X: Samples like those of ``fit``.
            y: Their labels, where conditional.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError, LabelError: X or y is not like the data of ``fit``.
        """
        features = self.n_features_in_ if hasattr(self, "n_features_in_") else 0

        def encode(x: Tensor) -> Tensor:
            return self.module_.encode(x[:, :features], x[:, features:] if self.conditional else None)[0]

        return self._through(encode, self._rows("transform", X, y))

    def predict(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Reconstructions, in the shape and units of X: the mean of p(x | z) at the mean code, the same at every call."""
        return self._restore(self._through(self._mean, self._rows("predict", X, y)))

    def inverse_transform(self, Z: ArrayLike, y: Any = None) -> np.ndarray:
        """Means of p(x | z) of codes (N, Z), in the shape and units of the data of ``fit``.

        Args:
            Z: Codes.
            y: Labels (N,), or one for all, where conditional.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError, LabelError: Codes of another length than ``code_size``; labels missing.
        """
        self._check_fitted("inverse_transform")
        codes = self._check_codes("inverse_transform", Z, self.code_size_)
        labels = self._one_hot(f"{type(self).__name__}.inverse_transform", y, len(codes))
        width = self.code_size_

        def decode(x: Tensor) -> Tensor:
            return self._shown(self.module_.decode(x[:, :width], x[:, width:] if self.conditional else None))

        return self._restore(self._through(decode, self._join(codes, labels)))

    def sample(
        self, n_samples: int = 1, y: Any = None, *, random_state: int | None = None, noisy: bool = False
    ) -> np.ndarray:
        """New samples: codes from the standard normal distribution, decoded.

        Args:
            n_samples: How many.
            y: Labels (N,), or one for all, where conditional.
            random_state: Seed; None draws anew.
            noisy: True draws from p(x | z) too; False gives its mean, which is what people look at.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError, LabelError: A count below 1; labels missing or unknown.
        """
        self._check_fitted("sample")
        _validate.parameter(f"{type(self).__name__}.sample", "n_samples", n_samples, Number(1, integer=True))
        source = np.random.default_rng(random_state)
        codes = source.standard_normal((int(n_samples), self.code_size_), dtype=np.float32)
        means = self.inverse_transform(codes, y)
        if not noisy:
            return means
        if self.likelihood_ == "bernoulli":
            top = np.float32(1 / self.scale_)
            return (source.random(means.shape) * top < means).astype(np.float32) * top
        return means + np.float32(self.noise_) * source.standard_normal(means.shape, dtype=np.float32)

    def interpolate(self, first: ArrayLike, second: ArrayLike, steps: int = 8, y: Any = None) -> np.ndarray:
        """Samples on the straight line between the codes of two samples, both ends included: (steps, ...).

        Args:
            first: One sample, without the axis of samples.
            second: Another.
            steps: How many, 2 at least.
            y: One label for all, where conditional.

        Raises:
            ParameterError: Fewer than two steps.
            ShapeError, NonFiniteError, DataError, LabelError: As `transform`.
        """
        _validate.parameter(f"{type(self).__name__}.interpolate", "steps", steps, Number(2, integer=True))
        ends = self.transform(np.stack([np.asarray(first), np.asarray(second)]), y)
        share = np.linspace(0, 1, int(steps), dtype=np.float32)[:, None]
        return self.inverse_transform((1 - share) * ends[0] + share * ends[1], y)

    def traverse(
        self, start: ArrayLike | None = None, *, units: Sequence[int] | None = None, reach: float = 3.0, steps: int = 7,
        y: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """What each code unit does: samples with one unit moved from -reach to reach, the others as they are.

        Args:
            start: One sample whose code is moved; None starts at the origin.
            units: Which units; None takes those in use, most used first.
            reach: In standard deviations of the prior.
            steps: Samples a unit.
            y: One label for all, where conditional.

        Returns:
            (units, steps, ...).

        Raises:
            ParameterError: A unit that is not there.
        """
        self._check_fitted("traverse")
        chosen = self.used_units() if units is None else np.asarray(units, dtype=int)
        if chosen.ndim != 1 or ((chosen < 0) | (chosen >= self.code_size_)).any() or not len(chosen):
            raise ParameterError(
                f"{type(self).__name__}.traverse: units={units!r}; expected numbers from 0 to {self.code_size_ - 1}."
            )
        base = np.zeros(self.code_size_, np.float32) if start is None else self.transform(np.asarray(start)[None], y)[0]
        codes = np.tile(base, (len(chosen), int(steps), 1))
        codes[np.arange(len(chosen)), :, chosen] = np.linspace(-reach, reach, int(steps))
        made = self.inverse_transform(codes.reshape(-1, self.code_size_), y)
        return made.reshape(len(chosen), int(steps), *made.shape[1:])

    def used_units(self) -> np.ndarray:
        """Numbers of the code units with a KL above 0.05 nats, most used first; of none the most used one."""
        order = np.argsort(-self.kl_, kind="stable")
        return order[: max(1, int((self.kl_ > _ACTIVE).sum()))]

    def score_samples(self, X: ArrayLike, y: Any = None, *, samples: int = 100, random_state: int = 0) -> np.ndarray:
        """Lower bound of the log-likelihood (N,) in nats, all constants included, of X as it is given.

        It is the importance-weighted bound with exactly ``samples`` codes: 1 gives the ELBO, more come closer.

        Args:
            X: Samples like those of ``fit``; of numbers it is the logarithm of their density, in their units.
            y: Their labels, where conditional.
            samples: Codes a sample, k.
            random_state: Seed of the codes: the result repeats itself.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: ``samples`` below 1.
            ShapeError, NonFiniteError, DataError, LabelError: X or y is not like the data of ``fit``.

        Reference:
            Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, eq. 8.
        """
        rows = self._rows("score_samples", X, y)
        _validate.parameter(f"{type(self).__name__}.score_samples", "samples", samples, Number(1, integer=True))
        device = torch.device(self.device_)
        source = generator(draw_seed(random_state), device)
        x = torch.from_numpy(rows).to(device)
        found = importance_weighted(self.module_.eval(), x, int(samples), source, self.precision_)
        units = self.n_features_in_ * math.log(self.scale_) if self.likelihood_ == "gaussian" else 0.0
        return found.double().cpu().numpy() + units

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean of `score_samples`, in nats a sample."""
        return float(self.score_samples(X, y if self.conditional else None).mean())

    def bits_per_dim(self, X: ArrayLike, y: Any = None, *, samples: int = 100) -> float:
        """Minus the mean of `score_samples` in bits a feature: divided by D ln 2."""
        nats = float(self.score_samples(X, y, samples=samples).mean())
        return -nats / (self.n_features_in_ * math.log(2))

    # ------------------------------------------------------------------------------------------------- show

    def summary(self) -> CodeSummary:
        """Layers, output shapes and parameter counts; used code units; the error beside that of PCA. Print it.

        Raises:
            NotFittedError: Before ``fit``.
        """
        table = super().summary()
        used = int((self.kl_ > _ACTIVE).sum())
        noise = "" if self.noise_ is None else f", noise {self.noise_:.4g}"
        notes = [
            f"{self.likelihood_} likelihood{noise}",
            f"{used} of {self.code_size_} code units in use, {float(self.kl_.sum()):.4g} nats in all",
            f"squared error a sample with {self.code_size_} codes: {self.reconstruction_error_:.4g}, "
            f"PCA {self.pca_error_:.4g}, on {self.error_on_}",
        ]
        if used == 0:
            notes.append("The code is NOT USED (posterior collapse): try kl_warmup=0.3, free_bits=0.1 or a lower beta.")
        return CodeSummary(table.title, table.rows, tuple(notes))

    def _title(self) -> str:
        return f"VariationalAutoencoder(network={self.network!r}, likelihood={self.likelihood_!r})"

    def _check_restored(self) -> None:
        super()._check_restored()
        expect_shape("kl_", self.kl_, (self.code_size_,))
        if self.likelihood_ not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood_ is {self.likelihood_!r}")
        if self.conditional:
            expect_shape("classes_", self.classes_, (None,))
