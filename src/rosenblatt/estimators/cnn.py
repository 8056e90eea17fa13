"""`CNNClassifier`: convolutional networks for pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt import _validate
from rosenblatt._types import ArrayLike, PathLike
from rosenblatt._validate import NONE, SEED, Choice, Number, Of
from rosenblatt.data.folders import read_folder, read_pictures
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.resident import Resident
from rosenblatt.errors import DataError, ShapeError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.losses.classification import cross_entropy
from rosenblatt.losses.penalty import map_criterion
from rosenblatt.models.lenet5 import BACKGROUND, FOREGROUND, SIDE, LeNet5
from rosenblatt.models.quick import Quick
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import supervised

NETWORKS = ("quick", "lenet5")
_RATES = {"quick": 1e-2, "lenet5": 3e-3}
_EVALUATION_BATCH = 1000


class CNNClassifier(ClassifierMixin, Estimator):
    """Convolutional network for pictures.

    Use it where what matters is local and may lie anywhere in the picture; a few hundred pictures a class are enough to
    start, a few dozen rarely are.

    Args:
        network: "quick" (small and modern, the default) or "lenet5" (LeCun et al. 1998, as published).
        epochs: Passes over the training pictures.
        batch_size: Pictures a step.
        learning_rate: Top of the schedule; None takes 1e-2 for "quick" and 3e-3 for "lenet5".
        class_weight: None, "balanced", or a dict class -> weight.
        random_state: Seed of weights, order and augmentation.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are Adam and the one-cycle schedule.

    Attributes:
        classes_: Class labels, sorted.
        module_: The network, a plain ``nn.Module`` on prepared pictures (N, C, H, W).
        picture_shape_: (H, W, C) of the training pictures.
        input_scale_, input_offset_: Pixels become ``pixel * scale + offset``, one number a channel.
        history_, device_, precision_, n_iter_, best_epoch_: The training record.

    Reference:
        LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> model = CNNClassifier(epochs=3, random_state=0, verbose=0).fit(digits.images[:1500], digits.target[:1500])
        >>> model.score(digits.images[1500:], digits.target[1500:]) > 0.9
        True
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "network": Choice(NETWORKS),
        "epochs": Number(1, integer=True),
        "batch_size": Number(1, integer=True),
        "learning_rate": (Number(0, open_low=True), NONE),
        "class_weight": (Choice(("balanced",)), Of(Mapping, "a dict class -> weight"), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _own_plan = Plan(optimizer="adam", schedule="onecycle").over(STANDARD)

    def __init__(
        self,
        *,
        network: str = "quick",
        epochs: int = 8,
        batch_size: int = 128,
        learning_rate: float | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.network = network
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(
        self, X: ArrayLike | PathLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> CNNClassifier:
        """Train from scratch.

        Args:
            X: Pictures N H W or N H W C, uint8 (0 to 255) or floats, or a list of pictures of one size; or the path of
                a folder with one sub-folder of pictures a class, as `rosenblatt.data.folders.read_folder` reads it.
            y: Labels (N,), numbers or text; None where X is a folder, whose sub-folders name them.
            sample_weight: Weights (N,), or None.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            ShapeError, NonFiniteError, DataError, LabelError: The data is not as above, or has one class.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        who = f"{type(self).__name__}.fit"
        plan = (self.plan or Plan()).over(self._own_plan)
        X, y = _from_folder(who, X, y)
        pictures = as_pictures(X, who=who)
        codes, weight = self._check_targets(who, y, pictures, sample_weight)
        self.picture_shape_ = tuple(int(n) for n in pictures.shape[1:])
        self.integer_input_ = pictures.dtype == np.uint8
        _refuse_small(who, self.network, self.picture_shape_)

        seed = draw_seed(self.random_state)
        train, held = _split(plan, codes, seed)
        self._learn_scale(pictures[train])
        device = choose_device(self.device)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, pictures, codes, weight, train, held, seed)
        return self

    def _check_targets(
        self, who: str, y: ArrayLike, pictures: np.ndarray, sample_weight: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        labels = _validate.class_labels(who, y, len(pictures), noun="picture")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        weight = _validate.weights(who, sample_weight, pictures.reshape(len(pictures), -1))
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
            weight = by_class[codes] if weight is None else weight * by_class[codes]
        return codes.astype(np.int64), None if weight is None else weight.astype(np.float32)

    def _learn_scale(self, pictures: np.ndarray) -> None:
        """LeNet-5 maps the grey range to [-0.1, 1.175] as published; the others are standardised channel by channel."""
        channels = pictures.shape[-1]
        if self.network == "lenet5":
            low, high = (0.0, 255.0) if self.integer_input_ else (float(pictures.min()), float(pictures.max()))
            scale = np.full(channels, (FOREGROUND - BACKGROUND) / (high - low if high > low else 1.0))
            self.input_scale_ = scale.astype(np.float32)
            self.input_offset_ = (BACKGROUND - low * scale).astype(np.float32)
            return
        sample = pictures[:: max(1, len(pictures) // 10_000)].reshape(-1, channels)
        mean, deviation = sample.mean(0, dtype=np.float64), sample.std(0, dtype=np.float64)
        deviation = np.where(deviation > 1e-12, deviation, 1.0)
        self.input_scale_ = (1 / deviation).astype(np.float32)
        self.input_offset_ = (-mean / deviation).astype(np.float32)

    def _run(
        self,
        plan: Plan,
        pictures: np.ndarray,
        codes: np.ndarray,
        weight: np.ndarray | None,
        train: np.ndarray,
        held: np.ndarray | None,
        seed: int,
    ) -> None:
        source = generator(seed)
        x, y = torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(codes)
        w = None if weight is None else torch.from_numpy(weight)
        rows = torch.from_numpy(train)
        data = Resident(
            x[rows], y[rows], None if w is None else w[rows],
            device=self.device_, batch_size=self.batch_size, generator=source,
        )  # fmt: skip
        augment, prepare = _augmentation(plan.augment or "none", source), self._preparation()
        records = supervised(
            self.module_,
            data,
            self._loss(plan),
            plan=plan,
            epochs=self.epochs,
            learning_rate=self.learning_rate or _RATES[self.network],
            prepare=lambda batch: prepare(augment(batch)),
            evaluate=None if held is None else lambda _: {"validation_score": self._accuracy(x[held], y[held])},
        )
        done = follow(
            records, self.module_, plan=plan, epochs=self.epochs, label=type(self).__name__, verbose=self.verbose
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped

    def _loss(self, plan: Plan) -> Any:
        if self.network == "lenet5":
            return map_criterion
        return partial(cross_entropy, label_smoothing=plan.label_smoothing or 0.0)

    def _preparation(self) -> Callable[[Tensor], Tensor]:
        """Function from raw pixels (N, C, H, W) on the device to what the network takes."""
        scale = torch.from_numpy(self.input_scale_).to(self.device_).view(1, -1, 1, 1)
        offset = torch.from_numpy(self.input_offset_).to(self.device_).view(1, -1, 1, 1)

        def prepare(batch: Tensor) -> Tensor:
            x = batch.float() * scale + offset
            if self.network == "lenet5":
                x = _to_field(x)
            return x.contiguous(memory_format=torch.channels_last)

        return prepare

    # --------------------------------------------------------------------------------------------- predict

    @torch.no_grad()
    def _logits(self, x: Tensor) -> Tensor:
        device, prepare = torch.device(self.device_), self._preparation()
        self.module_.eval()
        parts = []
        for batch in x.split(_EVALUATION_BATCH):
            with autocast(device, self.precision_):
                parts.append(self.module_(prepare(batch.to(device))).float().cpu())
        return torch.cat(parts)

    def _accuracy(self, x: Tensor, y: Tensor) -> float:
        return float((self._logits(x).argmax(1) == y.cpu()).double().mean())

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Logits (N, K) of the pictures; LeNet-5's are its negative penalties."""
        self._check_fitted("decision_function")
        pictures = self._same_kind("decision_function", X)
        return self._logits(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities (N, K), columns as in ``classes_``: the softmax of the logits."""
        self._check_fitted("predict_proba")
        return torch.softmax(torch.from_numpy(self.decision_function(X)).double(), 1).numpy()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Labels (N,) of the pictures; X may be a folder or a file of pictures.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, DataError: Pictures of another size or another number type than those of ``fit``.
        """
        self._check_fitted("predict")
        return self.classes_[self.decision_function(X).argmax(1)]

    def score(
        self, X: ArrayLike | PathLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Accuracy on pictures and their labels, or on a folder with one sub-folder a class."""
        self._check_fitted("score")
        who = f"{type(self).__name__}.score"
        height, width, channels = self.picture_shape_
        X, y = _from_folder(who, X, y, size=(height, width), channels=channels)
        return float(super().score(X, y, sample_weight))

    def _same_kind(self, method: str, X: ArrayLike) -> np.ndarray:
        who = f"{type(self).__name__}.{method}"
        if isinstance(X, (str, Path)):
            height, width, channels = self.picture_shape_
            X = read_pictures(X, size=(height, width), channels=channels, who=who).pictures
        pictures = as_pictures(X, who=who)
        if pictures.shape[1:] != self.picture_shape_:
            raise ShapeError(
                f"{who}: pictures of shape {pictures.shape[1:]}; expected {self.picture_shape_} as in fit. Resize them."
            )
        if (pictures.dtype == np.uint8) != self.integer_input_:
            saw, got = ("uint8", "floats") if self.integer_input_ else ("floats", "integers")
            raise DataError(
                f"{who}: X holds {got}, fit saw {saw}; expected the same. Convert X to the scale used in fit."
            )
        return pictures

    def _example_input(self) -> Tensor:
        height, width, channels = self.picture_shape_
        return self._preparation()(torch.zeros(1, channels, height, width, device=self.device_))

    def _title(self) -> str:
        return f"CNNClassifier(network={self.network!r})"

    # ------------------------------------------------------------------------------------------ model file

    def _rebuild(self) -> nn.Module:
        height, width, channels = self.picture_shape_
        if self.network == "lenet5":
            return LeNet5(channels, len(self.classes_))
        return Quick(channels, len(self.classes_), side=min(height, width))

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()

    def _check_restored(self) -> None:
        channels = self.picture_shape_[2]
        expect_shape("input_scale_", self.input_scale_, (channels,))
        expect_shape("input_offset_", self.input_offset_, (channels,))
        expect_shape("classes_", self.classes_, (None,))


def _from_folder(who: str, X: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """Pictures and labels of a folder; arrays pass."""
    if isinstance(X, (str, Path)):
        if y is not None:
            raise DataError(f"{who}: y is given with a folder; expected y=None, the sub-folders name the classes.")
        folder = read_folder(X, who=who, **options)
        return folder.pictures, folder.labels
    if y is None:
        raise DataError(f"{who}: y is None; expected labels (N,). Only a folder of pictures has its own.")
    return X, y


def _refuse_small(who: str, network: str, shape: tuple[int, ...]) -> None:
    if min(shape[:2]) < 4:
        raise ShapeError(f"{who}: pictures of {shape[0]} x {shape[1]} pixels; expected at least 4 x 4 for {network!r}.")


def _split(plan: Plan, codes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows to train on and, where the plan stops early, rows held out, stratified where the classes allow it."""
    rows = np.arange(len(codes))
    if not plan.early_stopping:
        return rows, None
    stratify = codes if np.bincount(codes).min() > 1 else None
    try:
        train, held = train_test_split(
            rows, test_size=plan.validation_fraction, random_state=seed % 2**32, stratify=stratify
        )
    except ValueError as error:
        raise DataError(
            f"early stopping: {len(codes)} pictures cannot be split with validation_fraction={plan.validation_fraction} ({error})"
        ) from error
    return train, held


def _to_field(x: Tensor) -> Tensor:
    """Into the middle of LeNet-5's 32 x 32 field: as they are from 28 pixels on, resized to 28 otherwise."""
    height, width = x.shape[2:]
    if not (28 <= height <= SIDE and 28 <= width <= SIDE):
        x = F.interpolate(x, (28, 28), mode="bilinear", antialias=height > 28 or width > 28)
        height = width = 28
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return F.pad(x, (left, SIDE - width - left, top, SIDE - height - top), value=BACKGROUND)


def _augmentation(kind: str, source: torch.Generator) -> Any:
    """Function on a batch of raw pixels (N, C, H, W)."""

    def shift(x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        reach = max(1, min(height, width) // 14)
        padded = F.pad(x.float(), (reach,) * 4, mode="replicate").to(x.dtype)
        offset = torch.randint(0, 2 * reach + 1, (count, 2), generator=source, device=source.device).to(x.device)
        row = (torch.arange(height, device=x.device) + offset[:, :1])[:, :, None]  # N H 1
        column = (torch.arange(width, device=x.device) + offset[:, 1:])[:, None, :]  # N 1 W
        picture = torch.arange(count, device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[picture, row, column].permute(0, 3, 1, 2)

    def flip(x: Tensor) -> Tensor:
        mirrored = torch.rand(len(x), generator=source, device=source.device).to(x.device) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(3), x)

    wanted = [step for name, step in (("shift", shift), ("flip", flip)) if name in kind]

    def augment(x: Tensor) -> Tensor:
        for step in wanted:
            x = step(x)
        return x

    return augment
