"""`GAN`: learn to draw samples like the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import NONE, SEED, Choice, Number, Of
from rosenblatt.data.differentiable import STEPS, DifferentiableAugment
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.resident import Resident
from rosenblatt.errors import DataError, ParameterError, ShapeError, TrainingWarning
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.losses.adversarial import LOSSES
from rosenblatt.metrics.distribution import Moments, frechet_distance
from rosenblatt.metrics.extractors import extractor
from rosenblatt.metrics.generated import Judgement, judge
from rosenblatt.models.gan import (
    DCCritic,
    DCGenerator,
    Players,
    ResidualCritic,
    StyleGenerator,
    TableCritic,
    TableGenerator,
    stages,
)
from rosenblatt.train.adversarial import adversarial, diagnose
from rosenblatt.train.eager import eager
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of

NETWORKS = ("style", "dcgan")
_PLANS = {
    # momentum 0: Karras et al. 2017, appendix A.1; 0.5: Radford et al. 2015, section 4
    "style": Plan(optimizer="adam", momentum=0.0, schedule="linear", early_stopping=True, patience=10**6),
    "dcgan": Plan(optimizer="adam", momentum=0.5, early_stopping=True, patience=10**6),
}
_RATES, _WIDTHS = {"style": 1e-3, "dcgan": 2e-4}, {"style": 16, "dcgan": 64}
_TABLE_RATE, _TABLE_WIDTH = 3e-3, 128
_JUDGED, _BETWEEN = 2000, 20_000
_BATCH = 64


class GAN(Estimator):
    """A generator that learns to draw pictures, or rows of a table, like those of the data, against a critic.

    Use it where samples are wanted rather than likelihoods, and some thousands of pictures are there (a few hundred with
    ``augment="adaptive"``). The weights of the best epoch are kept, by the Frechet distance of samples to the data, not
    those of the last one; `diagnose` says in words what went wrong.

    Args:
        network: "style" (mapping network and modulated convolutions against a residual critic) or "dcgan" (Radford et al.
            2015). Tables have dense layers whatever this says.
        loss: "relativistic" (with R1 and R2; Huang et al. 2024), "non-saturating", "wasserstein" (with gradient penalty) or
            "hinge" (with spectral normalisation).
        code_size: Z, numbers in a code.
        width: Channels at full size; None takes 16 for "style", 64 for "dcgan", 128 for tables.
        augment: What the critic sees of both sides: None (as they are), steps of `data.differentiable` joined by "+", or
            "adaptive" (all steps but flips, as often as the critic overfits).
        epochs: Passes over the data.
        batch_size: Samples a step.
        learning_rate: Of both sides; None takes 1e-3 for "style", 2e-4 for "dcgan", 3e-3 for tables.
        random_state: Seed of weights, order, codes and augmentation.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are Adam and the best epoch's weights.

    Attributes:
        module_: Both players, ``module_.generator`` with averaged weights and ``module_.critic``.
        sample_shape_: (S, S, C) of pictures, (D,) of rows.
        classes_: Labels, where y was given.
        history_, device_, precision_, n_iter_, best_epoch_: The training record; ``validation_score`` is minus the Frechet
            distance in the features named by ``judged_by_``.

    Reference:
        Goodfellow et al. 2014, arXiv:1406.2661; Radford et al. 2015, arXiv:1511.06434; Karras et al. 2019,
        arXiv:1912.04958; Huang et al. 2024, arXiv:2501.05441.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = rng.normal([5, -5], [1, 0.1], (512, 2))
        >>> model = GAN(epochs=60, code_size=8, width=32, random_state=0, verbose=0).fit(rows)
        >>> bool(abs(model.sample(500, random_state=0).mean(0) - [5, -5]).max() < 0.5)
        True
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "network": Choice(NETWORKS),
        "loss": Choice(tuple(LOSSES)),
        "code_size": Number(1, integer=True),
        "width": (Number(4, integer=True), NONE),
        "augment": (Of(str, "'adaptive' or steps joined by '+'"), NONE),
        "epochs": Number(1, integer=True),
        "batch_size": Number(2, integer=True),
        "learning_rate": (Number(0, open_low=True), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }

    def __init__(
        self,
        *,
        network: str = "style",
        loss: str = "relativistic",
        code_size: int = 64,
        width: int | None = None,
        augment: str | None = None,
        epochs: int = 50,
        batch_size: int = 64,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.network = network
        self.loss = loss
        self.code_size = code_size
        self.width = width
        self.augment = augment
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> GAN:
        """Train from scratch.

        Args:
            X: Square pictures N S S or N S S C, uint8 or floats from 0 to 1; or rows (N, D) of numbers.
            y: Labels (N,): samples can then be asked for by label.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            ShapeError: Other axes, or a side that does not halve down to 4 to 7 pixels.
            NonFiniteError, DataError: NaN, values outside the range, a single sample, or all alike.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        plan = (self.plan or Plan()).over(_PLANS[self.network]).over(STANDARD)
        device = choose_device(self.device)
        x = self._read(X)
        codes = self._labels(y, len(x))
        seed = draw_seed(self.random_state)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, x, codes, seed)
        for line in self.diagnose():
            warnings.warn(f"GAN: {line}", TrainingWarning, stacklevel=2)
        return self

    def _read(self, X: ArrayLike) -> Tensor:
        who, array = "GAN.fit", np.asarray(X)
        if array.ndim == 2:
            rows = array.astype(np.float64)
            _validate.finite(who, rows)
            self._refuse_alike(who, rows)
            self.sample_shape_, self.integer_input_ = (rows.shape[1],), False
            deviation = rows.std(0)
            self.column_mean_, self.column_deviation_ = rows.mean(0), np.where(deviation > 0, deviation, 1.0)
            return torch.from_numpy(((rows - self.column_mean_) / self.column_deviation_).astype(np.float32))
        pictures = as_pictures(X, who=who)
        self._refuse_range(who, pictures)
        self._refuse_alike(who, pictures)
        self.sample_shape_, self.integer_input_ = tuple(map(int, pictures.shape[1:])), pictures.dtype == np.uint8
        self._refuse_side(who)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _refuse_range(self, who: str, pictures: np.ndarray) -> None:
        if pictures.dtype == np.uint8:
            return
        low, high = float(pictures.min()), float(pictures.max())
        if low < 0 or high > 1:
            raise DataError(
                f"{who}: X holds values from {low:g} to {high:g}; expected floats from 0 to 1, or uint8. Use "
                "(X - low) / (high - low) with the ends of your scale."
            )

    def _refuse_alike(self, who: str, array: np.ndarray) -> None:
        if len(array) < 2:
            raise DataError(f"{who}: X holds {len(array)} sample; expected at least 2, better thousands.")
        if (array == array[:1]).all():
            raise DataError(f"{who}: all {len(array)} samples are equal; there is no distribution to learn. Check X.")

    def _refuse_side(self, who: str) -> None:
        height, width, _ = self.sample_shape_
        try:
            fits = height == width and bool(stages(height))
        except ValueError:
            fits = False
        if not fits:
            sides = [s for s in range(8, 513) if _halves(s)]
            near = min(sides, key=lambda s: (abs(s - max(height, width)), s))
            raise ShapeError(
                f"{who}: pictures of {height} x {width} pixels; expected squares whose side halves down to 4 to 7, such as "
                f"28, 32, 64, 128. Resize or crop them to {near} x {near}."
            )

    def _labels(self, y: ArrayLike | None, count: int) -> np.ndarray:
        if y is None:
            if hasattr(self, "classes_"):
                del self.classes_
            return np.zeros(count, np.int64)
        self.classes_, codes = np.unique(_validate.class_labels("GAN.fit", y, count), return_inverse=True)
        return codes.astype(np.int64)

    def _run(self, plan: Plan, x: Tensor, codes: np.ndarray, seed: int) -> None:
        source, rate = generator(seed), self.learning_rate or self._own_rate()
        data = Resident(x, torch.from_numpy(codes), device=self.device_, batch_size=self.batch_size, generator=source)
        adaptive = self.augment == "adaptive"
        words = "+".join(s for s in STEPS if s != "flip") if adaptive else self.augment or "none"
        if words != "none" and len(self.sample_shape_) == 1:
            raise ParameterError(f"augment={self.augment!r} with a table; expected None.")
        keeper = keeper_of(
            plan, self.module_, data, epochs=self.epochs, learning_rate=rate, random_state=self.random_state,
            network=self.network, loss=self.loss, augment=self.augment, code_size=self.code_size,
        )  # fmt: skip
        records = adversarial(
            self.module_, data, LOSSES[self.loss], code_size=self.code_size, plan=plan, epochs=self.epochs,
            learning_rate=rate, prepare=self._prepare, augment=DifferentiableAugment(words, 0.0 if adaptive else 1.0),
            adaptive=adaptive, evaluate=self._judge_epochs(x, codes, keeper), keeper=keeper,
        )  # fmt: skip
        done = follow(
            records, self.module_, plan=plan, epochs=self.epochs, label="GAN", verbose=self.verbose, keeper=keeper
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped

    def _own_rate(self) -> float:
        return _TABLE_RATE if len(self.sample_shape_) == 1 else _RATES[self.network]

    def _judge_epochs(self, x: Tensor, codes: np.ndarray, keeper: Keeper | None) -> Any:
        """A function that scores the generator after an epoch, anew where 20,000 samples were seen since."""
        chosen = np.random.default_rng(0).permutation(len(x))[:_JUDGED]
        of = (lambda a: a) if len(self.sample_shape_) == 1 else extractor("random")
        self.judged_by_ = (
            "the columns, standardised" if len(self.sample_shape_) == 1 else f"{of.name} [{of.fingerprint}]"
        )
        real = x[torch.from_numpy(chosen)]
        rows = real.numpy() if real.ndim == 2 else of(_bytes(real))
        wanted = Moments.of(rows)
        labels = self.classes_[codes[chosen]] if hasattr(self, "classes_") else None
        every = -(-_BETWEEN // len(x))
        rows_before = keeper.state["followed"]["rows"] if keeper is not None and keeper.state else []
        epoch, value = len(rows_before), rows_before[-1]["validation_score"] if rows_before else 0.0

        def evaluate(_: nn.Module) -> dict[str, float]:
            nonlocal epoch, value
            epoch += 1
            if (epoch - 1) % every == 0 or epoch == self.epochs:
                drawn = self._draw(len(chosen), labels, seed=0)
                features = drawn.numpy() if drawn.ndim == 2 else of(_bytes(self._restored(drawn)))
                value = -frechet_distance(wanted, Moments.of(features))
            return {"validation_score": value}

        return evaluate

    def _prepare(self, batch: Tensor) -> Tensor:
        if batch.ndim == 2:
            return batch
        x = batch.float() / (127.5 if self.integer_input_ else 0.5) - 1
        return x.contiguous(memory_format=torch.channels_last)

    # ---------------------------------------------------------------------------------------------- sample

    def sample(
        self,
        n: int = 1,
        y: Any = None,
        *,
        truncation: float = 1.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Draw samples.

        Args:
            n: How many.
            y: A label, or n labels, of a GAN that was trained with labels; None draws labels evenly.
            truncation: Below 1 styles are pulled to their mean: less varied, more like the data ("style" only).
            random_state: Seed of the codes.

        Returns:
            Pictures (n, S, S) or (n, S, S, C) in the type of the data, or rows (n, D).

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: A number out of range, or ``truncation`` without a mapping network.
            LabelError: A label that was not there in ``fit``.
        """
        self._check_fitted("sample")
        _validate.parameter("GAN.sample", "n", n, Number(1, integer=True))
        self._check_truncation("GAN.sample", truncation)
        drawn = self._draw(n, y, seed=draw_seed(random_state), truncation=truncation)
        return self._shown(drawn)

    def draw_codes(self, n: int, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Codes (n, Z) from the normal distribution that samples are made of; see `decode`."""
        return self._normal(n, draw_seed(random_state)).numpy()

    def _normal(self, n: int, seed: int) -> Tensor:
        """Codes (n, Z), one after the other: what torch draws together depends on how many there are."""
        source = generator(seed)
        return torch.stack([torch.randn(self.code_size, generator=source) for _ in range(n)])

    def decode(self, codes: ArrayLike, y: Any = None, *, truncation: float = 1.0) -> np.ndarray:
        """Samples of given codes (N, Z): the same codes give the same samples.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError: Codes of another size.
            LabelError: A label that was not there in ``fit``.
        """
        self._check_fitted("decode")
        self._check_truncation("GAN.decode", truncation)
        z = self._codes("GAN.decode", codes)
        return self._shown(self._decode(z, self._wanted_labels("GAN.decode", y, len(z)), truncation))

    def _check_truncation(self, who: str, truncation: float) -> None:
        _validate.parameter(who, "truncation", truncation, Number(0, 1))
        if truncation != 1 and not hasattr(self.module_.generator, "mean_style"):
            raise ParameterError(
                f"{who}: truncation={truncation:g} without a mapping network; expected network='style'."
            )

    def _codes(self, who: str, codes: ArrayLike) -> Tensor:
        z = np.asarray(codes, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != self.code_size:
            raise ShapeError(f"{who}: codes of shape {z.shape}; expected (N, {self.code_size}).")
        _validate.finite(who, z, name="codes")
        return torch.from_numpy(z)

    def _wanted_labels(self, who: str, y: Any, n: int) -> np.ndarray:
        if not hasattr(self, "classes_"):
            if y is not None:
                raise ParameterError(f"{who}: y={y!r}, but this GAN was trained without labels; expected y=None.")
            return np.zeros(n, np.int64)
        if y is None:
            return np.arange(n) % len(self.classes_)
        labels = np.asarray([y] * n if np.ndim(y) == 0 else y)
        if len(labels) != n:
            raise ShapeError(f"{who}: {len(labels)} labels for {n} samples; expected one each, or a single one.")
        _validate.known_labels(who, labels, self.classes_)
        return np.searchsorted(self.classes_, labels)

    def _draw(self, n: int, y: Any, *, seed: int, truncation: float = 1.0) -> Tensor:
        z = self._normal(n, seed)
        return self._decode(z, self._wanted_labels("GAN.sample", y, n), truncation)

    @torch.no_grad()
    def _decode(self, z: Tensor, codes: np.ndarray, truncation: float = 1.0) -> Tensor:
        """Samples in the network's own scale, in blocks of one size each, so that a sample does not depend on n."""
        parts, network = [], self.module_.generator
        y = torch.from_numpy(np.asarray(codes, np.int64))
        for a, b in zip(z.split(_BATCH), y.split(_BATCH), strict=True):
            full = torch.cat([a, a.new_zeros(_BATCH - len(a), a.shape[1])])
            labels = torch.cat([b, b.new_zeros(_BATCH - len(b))]).to(self.device_)
            with autocast(torch.device(self.device_), self.precision_):
                if truncation == 1:
                    out = network(full.to(self.device_), labels)
                else:
                    w = network.mean_style.lerp(network.style(full.to(self.device_), labels).float(), truncation)
                    out = network.paint([w] * len(network.blocks))
            parts.append(out.float().cpu()[: len(a)])
        return torch.cat(parts)

    def _restored(self, drawn: Tensor) -> Tensor:
        """From -1 to 1 to the scale of the data: 0 to 255 or 0 to 1."""
        unit = (drawn.clamp(-1, 1) + 1) / 2
        return (unit * 255).round().byte() if self.integer_input_ else unit

    def _shown(self, drawn: Tensor) -> np.ndarray:
        if drawn.ndim == 2:
            return drawn.double().numpy() * self.column_deviation_ + self.column_mean_
        pictures = self._restored(drawn).permute(0, 2, 3, 1).contiguous().numpy()
        return pictures[..., 0] if pictures.shape[3] == 1 else pictures

    # --------------------------------------------------------------------------------------- latent space

    def interpolate(self, start: ArrayLike, end: ArrayLike, steps: int = 10, y: Any = None) -> np.ndarray:
        """Samples on the great circle between two codes (Z,), both ends included (Shoemake 1985).

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, ParameterError: Codes of another size, or fewer than 2 steps.
        """
        self._check_fitted("interpolate")
        _validate.parameter("GAN.interpolate", "steps", steps, Number(2, integer=True))
        a, b = self._codes("GAN.interpolate", np.stack([np.ravel(start), np.ravel(end)])).double()
        angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
        share = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
        if float(angle.sin()) < 1e-6:
            path = torch.lerp(a[None], b[None], share)
        else:
            path = (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
        return self.decode(path.float().numpy(), y)

    def mix_styles(self, coarse: ArrayLike, fine: ArrayLike, *, at: int | None = None) -> np.ndarray:
        """Pictures whose coarse blocks follow one code and whose fine blocks another (Karras et al. 2018, section 3.1).

        Args:
            coarse: Codes (N, Z) of shape and pose.
            fine: Codes (N, Z) of colour and detail.
            at: First block that follows ``fine``; None takes the middle.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: There is no mapping network, or no such block.
            ShapeError: Codes of another size.
        """
        self._check_fitted("mix_styles")
        network = self.module_.generator
        if not hasattr(network, "mean_style"):
            raise ParameterError("GAN.mix_styles: there is no mapping network; expected network='style' and pictures.")
        count = len(network.blocks)
        _validate.parameter("GAN.mix_styles", "at", at, (Number(1, count - 1, integer=True), NONE))
        cut = count // 2 if at is None else at
        a, b = (self._codes("GAN.mix_styles", codes).to(self.device_) for codes in (coarse, fine))
        y = torch.zeros(len(a), dtype=torch.long, device=self.device_)
        with torch.no_grad():
            one, two = network.style(a, y), network.style(b, y)
            drawn = network.paint([one] * cut + [two] * (count - cut)).float().cpu()
        return self._shown(drawn)

    def project(self, X: ArrayLike, *, steps: int = 200, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Codes whose samples come nearest to given pictures, found by gradient descent from several starts.

        Args:
            X: Pictures or rows like those of ``fit``.
            steps: Of Adam.
            y: Labels.

        Returns:
            Codes (N, Z), and the mean squared error (N,) of their samples on a scale of 0 to 1 (rows: standardised).

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, DataError: X is not like the data of ``fit``.
        """
        self._check_fitted("project")
        target = self._prepare(self._like("GAN.project", X).to(self.device_))
        codes = torch.from_numpy(self._wanted_labels("GAN.project", y, len(target))).to(self.device_)
        network, starts = self.module_.generator, 4
        z = torch.randn(starts, len(target), self.code_size, generator=generator(0)).to(self.device_).requires_grad_()
        optimizer = eager(torch.optim.Adam)([z], lr=0.1)

        def errors() -> Tensor:
            drawn = network(z.flatten(0, 1), codes.repeat(starts)).float()
            return (drawn - target.repeat(starts, *[1] * (target.ndim - 1))).square().flatten(1).mean(1)

        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 0.1 * min(1.0, 2 * (1 - step / steps))
            optimizer.zero_grad()
            errors().sum().backward()
            optimizer.step()
        with torch.no_grad():
            found = errors().view(starts, -1)
        network.zero_grad(set_to_none=True)
        best = found.argmin(0)
        scale = 1.0 if target.ndim == 2 else 0.25
        rows = torch.arange(len(target))
        return z.detach()[best, rows].cpu().numpy(), (scale * found[best, rows]).cpu().numpy()

    def nearest(self, samples: ArrayLike, X: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """The training sample nearest to each sample: whether the generator repeats what it was shown.

        Args:
            samples: Drawn ones.
            X: The data of ``fit``.

        Returns:
            Rows of X (N,), and distances (N,): Euclidean, divided by the median distance of each of these rows of X to its
            own nearest neighbour in X. Far below 1 the sample is a copy.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, DataError: They are not like the data of ``fit``.
        """
        self._check_fitted("nearest")
        drawn, data = (self._like("GAN.nearest", part).float().flatten(1) for part in (samples, X))
        distances = torch.cdist(drawn, data)
        value, row = distances.min(1)
        own = torch.cdist(data[row], data)
        own[torch.arange(len(row)), row] = float("inf")
        scale = own.min(1).values.median().clamp_min(1e-12)
        return row.numpy(), (value / scale).numpy()

    def _like(self, who: str, X: ArrayLike) -> Tensor:
        if len(self.sample_shape_) == 1:
            rows = np.asarray(X, dtype=np.float64)
            if rows.ndim != 2 or rows.shape[1:] != self.sample_shape_:
                raise ShapeError(f"{who}: X has the shape {rows.shape}; expected (N, {self.sample_shape_[0]}).")
            _validate.finite(who, rows)
            return torch.from_numpy(((rows - self.column_mean_) / self.column_deviation_).astype(np.float32))
        pictures = as_pictures(X, who=who)
        if pictures.shape[1:] != self.sample_shape_ or (pictures.dtype == np.uint8) != self.integer_input_:
            kind = "uint8" if self.integer_input_ else "floats from 0 to 1"
            raise ShapeError(
                f"{who}: X is {pictures.dtype} of shape {pictures.shape}; expected {kind} of (N, "
                f"{', '.join(map(str, self.sample_shape_))})."
            )
        self._refuse_range(who, pictures)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    # ---------------------------------------------------------------------------------------------- scores

    def judge(self, X: ArrayLike, *, n: int | None = None, by: Any = "auto", split: str = "unnamed split") -> Judgement:
        """FID, KID, precision, recall, density and coverage of samples against data that should be new to the model.

        Args:
            X: Data like that of ``fit``.
            n: Samples; None draws as many as X holds.
            by: What measures pictures; see `rosenblatt.metrics.extractors.extractor`.
            split: What X is, for the record.
        """
        self._check_fitted("judge")
        real = self._like("GAN.judge", X)
        drawn = self._draw(n or len(real), None, seed=0)
        if real.ndim == 2:
            return judge(real.numpy(), drawn.numpy(), split=split)
        return judge(_bytes(real), _bytes(self._restored(drawn)), by=by, split=split)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Minus the Frechet distance of as many samples to X; see `judge` for what it depends on."""
        return -self.judge(X).fid

    def diagnose(self) -> list[str]:
        """What went wrong in training, in words, from measured signals; an empty list where nothing did.

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("diagnose")
        return diagnose(self.history_, self.best_epoch_)

    # ---------------------------------------------------------------------------------------------- shared

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def _example_input(self) -> Any:
        return torch.zeros(1, self.code_size, device=self.device_)

    def _title(self) -> str:
        return f"GAN(network={self.network!r}, loss={self.loss!r}); best epoch {self.best_epoch_} by {self.judged_by_}"

    # ------------------------------------------------------------------------------------------ model file

    def _rebuild(self) -> nn.Module:
        classes = len(self.classes_) if hasattr(self, "classes_") else 0
        spectral = LOSSES[self.loss].spectral
        if len(self.sample_shape_) == 1:
            columns, width = self.sample_shape_[0], self.width or _TABLE_WIDTH
            return Players(
                TableGenerator(columns, self.code_size, width, classes),
                TableCritic(columns, width, classes, spectral=spectral),
            )
        side, _, channels = self.sample_shape_
        width = self.width or _WIDTHS[self.network]
        kinds = (StyleGenerator, ResidualCritic) if self.network == "style" else (DCGenerator, DCCritic)
        return Players(
            kinds[0](side, channels, self.code_size, width, classes),
            kinds[1](side, channels, width, classes, spectral=spectral),
        )

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()

    def _check_restored(self) -> None:
        if len(self.sample_shape_) == 1:
            expect_shape("column_mean_", self.column_mean_, self.sample_shape_)
            expect_shape("column_deviation_", self.column_deviation_, self.sample_shape_)


def _halves(side: int) -> bool:
    try:
        return bool(stages(side))
    except ValueError:
        return False


def _bytes(x: Tensor) -> np.ndarray:
    """uint8 (N, H, W, C) of pictures (N, C, H, W), uint8 or from 0 to 1."""
    x = x if x.dtype == torch.uint8 else (x * 255).round().byte()
    return x.permute(0, 2, 3, 1).contiguous().numpy()
