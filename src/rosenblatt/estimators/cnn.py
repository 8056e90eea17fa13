"""`CNNClassifier`: convolutional networks for pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt import _validate
from rosenblatt._types import ArrayLike, PathLike
from rosenblatt._validate import NONE, SEED, Choice, Number, Of
from rosenblatt.data.augment import IN_TURNS, KEPT, Augment, Colours, centre, ten_crops, views_of
from rosenblatt.data.folders import read_pictures
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.pretrained import DEVIATION, MEAN, read_weights, start_from
from rosenblatt.data.sources import PictureSource
from rosenblatt.data.streamed import Streamed
from rosenblatt.errors import DataError, DeviceError, ModelFileError, ShapeError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.estimators.cnn_inputs import Pictures, batches, blocks, inputs_of, sample_of, shape_of, split
from rosenblatt.estimators.cnn_networks import NETWORKS, build, network_of, refuse_misfit
from rosenblatt.estimators.defended import Defended, bounds_of, withstood
from rosenblatt.estimators.devices import fit_on_devices
from rosenblatt.losses.classification import cross_entropy
from rosenblatt.losses.penalty import map_criterion
from rosenblatt.metrics.ranking import top_k_accuracy
from rosenblatt.models.lenet5 import BACKGROUND, FOREGROUND, SIDE
from rosenblatt.train.defence import Defence
from rosenblatt.train.distributed import Rank, joined
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import Plan
from rosenblatt.train.precision import autocast, choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

_EVALUATION_BATCH = 1000
_TO_WHITEN = 2000  # pictures
_PIXELS = 1 << 22  # of a block in evaluation: large pictures go in smaller blocks


class CNNClassifier(ClassifierMixin, Estimator):
    """Convolutional network for pictures.

    Use it where what matters is local and may lie anywhere in the picture; a few hundred pictures a class are enough to
    start, a few dozen rarely are.

    Args:
        network: "quick" (small and modern, the default), "airbench" (for small photographs: learns in
            few passes, takes mirror images for the same), "robust" (for ``Plan(defence=...)``), "resnet", "lenet5" (LeCun et al.
            1998), "alexnet-2012"
            (Krizhevsky et al. 2012, as published), "alexnet" (its one-tower form, which takes published weights); or a
            torch module of your own, which is copied with the weights that it has.
        weights: Start from weights: a .safetensors or .pth file, or "imagenet" for the published ones of "alexnet".
        epochs: Passes over the training pictures; None takes 8, for "airbench" 20, for "alexnet-2012" 90.
        batch_size: Pictures a step.
        learning_rate: Top of the schedule; None takes the network's own: 2e-2 for "airbench", 1e-2 for "quick", "alexnet" and
            "alexnet-2012",
            3e-3 for "lenet5" and "resnet", 2e-3 for "robust", 1e-3 for a module.
        class_weight: None, "balanced", or a dict class -> weight.
        random_state: Seed of weights, order and augmentation.
        device: "auto", "cpu", "cuda", ...; for "alexnet-2012" also two with a comma, one for each tower.
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are Adam and the one-cycle schedule, for the AlexNets gradient
            descent with momentum (the page has them all).

    Attributes:
        classes_: Class labels, sorted.
        module_: The network, a plain ``nn.Module`` on prepared pictures (N, C, H, W).
        picture_shape_: (H, W, C) of the training pictures.
        crop_: (H, W) that the network sees: the whole picture, or what "crop" cuts out of it.
        input_scale_, input_offset_: Pixels become ``pixel * scale + offset``: a number a channel, or one a pixel.
        history_, device_, precision_, n_iter_, best_epoch_: The training record.

    Reference:
        LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791; Krizhevsky, Sutskever & Hinton 2012,
        doi:10.1145/3065386; He, Zhang, Ren & Sun 2015, arXiv:1512.03385.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> model = CNNClassifier(epochs=3, random_state=0, verbose=0).fit(digits.images[:1500], digits.target[:1500])
        >>> model.score(digits.images[1500:], digits.target[1500:]) > 0.9
        True
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "network": (Choice(tuple(NETWORKS)), Of(nn.Module, "a torch module")),
        "weights": (Of(str, "the path of a weight file, or 'imagenet'"), NONE),
        "epochs": (Number(1, integer=True), NONE),
        "batch_size": Number(1, integer=True),
        "learning_rate": (Number(0, open_low=True), NONE),
        "class_weight": (Choice(("balanced",)), Of(Mapping, "a dict class -> weight"), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }

    _defends: ClassVar[bool] = True

    def __init__(
        self,
        *,
        network: str | nn.Module = "quick",
        weights: str | None = None,
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.network = network
        self.weights = weights
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
        self, X: ArrayLike | PathLike | PictureSource, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> CNNClassifier:
        """Train from scratch, or from ``weights``.

        Args:
            X: Pictures N H W or N H W C, uint8 (0 to 255) or floats, or a list of pictures of one size; or the path of
                a folder with one sub-folder of pictures a class, of a list, of tar shards or of ImageNet's folder, or a
                source, as `rosenblatt.data.sources.open_pictures` opens them. What does not fit into memory is streamed,
                and ``history_`` has the share of the time that was spent waiting for it (``data_wait``).
            y: Labels (N,), numbers or text; None where X has its own; the name of the column of labels for a list.
            sample_weight: Weights (N,), or None.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            ShapeError, NonFiniteError, DataError, LabelError: The data is not as above, or has one class.
            PictureError: Pictures on disk cannot be read.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
            WorkerError: A process of ``Plan(devices=N)`` failed or was killed.
        """
        self._check_parameters()
        plan = (self.plan or Plan()).over(network_of(self.network).plan)
        with joined(plan, str(self.device)) as rank:
            self._fit(plan, X, y, sample_weight, rank)
        return self

    def _fit(self, plan: Plan, X: Any, y: Any, sample_weight: Any, rank: Rank | None) -> None:
        who, chosen = f"{type(self).__name__}.fit", network_of(self.network)
        device, second = self._devices() if rank is None else (rank.device, None)
        pictures, y = inputs_of(who, X, y)
        codes, weight = self._check_targets(who, y, len(pictures), sample_weight)
        self.picture_shape_ = shape_of(pictures)
        self.integer_input_ = isinstance(pictures, PictureSource) or pictures.dtype == np.uint8
        self.crop_ = tuple(int(s * KEPT) if "crop" in str(plan.augment) else s for s in self.picture_shape_[:2])
        self._refuse_small(who, chosen.least)

        seed = draw_seed(self.random_state)
        if rank is not None:
            rank.same(len(codes), "numbers of pictures")
            seed = int(rank.agree({"seed": seed})["seed"])
        train, held = split(plan, codes, seed)
        sample = sample_of(pictures, train)
        self._learn_scale(sample)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        if isinstance(self.network, nn.Module):
            refuse_misfit(who, self.module_, self._example_input(), len(self.classes_))
        if self.weights is not None:
            start_from(self.module_, read_weights(self.weights, network=self.network), who=who)
        elif hasattr(self.module_, "whiten"):
            few = sample[:: max(1, len(sample) // _TO_WHITEN)]
            self.module_.whiten(self._preparation()(torch.from_numpy(few).permute(0, 3, 1, 2).to(device)))
        if (plan.devices or 1) > 1 and rank is None:
            fit_on_devices(self, plan, pictures, codes, weight, seed)
            return
        if second is not None:
            self.module_.two_devices(device, second)
        with _own_generator(second, seed):
            self._run(plan, pictures, codes, weight, train, held, seed, sample, rank)

    def _devices(self) -> tuple[torch.device, torch.device | None]:
        first, comma, second = str(self.device).partition(",")
        if comma and self.network != "alexnet-2012":
            raise DeviceError(f"device={self.device!r} names two; expected one, except for network='alexnet-2012'.")
        return choose_device(first), choose_device(second) if comma else None

    def _refuse_small(self, who: str, least: int) -> None:
        if min(self.crop_) < least:
            height, width, _ = self.picture_shape_
            need = -(-least * height // self.crop_[0])
            raise ShapeError(
                f"{who}: pictures of {height} x {width} pixels; expected at least {need} x {need} for {self.network!r}, "
                "which sees no less at a time. Resize them, or take network='quick'."
            )

    def _check_targets(
        self, who: str, y: ArrayLike, count: int, sample_weight: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        labels = _validate.class_labels(who, y, count, noun="picture")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        weight = _validate.weights(who, sample_weight, np.empty((count, 1)))
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
            weight = by_class[codes] if weight is None else weight * by_class[codes]
        return codes.astype(np.int64), None if weight is None else weight.astype(np.float32)

    def _learn_scale(self, sample: np.ndarray) -> None:
        """What each network's source does to its pixels, learned from some of the training pictures.

        LeNet-5 maps the grey range to [-0.1, 1.175], "robust" to [0, 1]; AlexNet-2012 takes the mean picture away and nothing
        else; published weights want the colours that they were learned on; all others are standardised channel by channel.
        """
        channels = sample.shape[-1]
        low, high = (0.0, 255.0) if self.integer_input_ else (float(sample.min()), float(sample.max()))
        reach = high - low if high > low else 1.0
        if self.network == "lenet5":
            scale = np.full(channels, (FOREGROUND - BACKGROUND) / reach)
            offset = BACKGROUND - low * scale
        elif self.network == "robust":
            scale = np.full(channels, 1 / reach)
            offset = -low * scale
        elif self.network == "alexnet-2012":
            scale = np.full(channels, 255 / reach)
            mean = torch.from_numpy(sample.mean(0, dtype=np.float64)).permute(2, 0, 1)[None]
            offset = -centre(mean, self.crop_)[0].permute(1, 2, 0).numpy() * scale
        elif self.network == "alexnet" and self.weights is not None and channels == 3:
            scale = 1 / (reach * np.array(DEVIATION))
            offset = -(low / reach + np.array(MEAN)) / np.array(DEVIATION)
        else:
            pixels = sample.reshape(-1, channels)
            mean, deviation = pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64)
            deviation = np.where(deviation > 1e-12, deviation, 1.0)
            scale, offset = 1 / deviation, -mean / deviation
        self.input_scale_, self.input_offset_ = scale.astype(np.float32), offset.astype(np.float32)

    def _run(
        self,
        plan: Plan,
        pictures: Pictures,
        codes: np.ndarray,
        weight: np.ndarray | None,
        train: np.ndarray,
        held: np.ndarray | None,
        seed: int,
        sample: np.ndarray,
        rank: Rank | None,
    ) -> None:
        source, chosen = generator(seed), network_of(self.network)
        options: dict[str, Any] = {"device": self.device_, "batch_size": self.batch_size, "generator": source}
        if rank is not None:
            options["part"] = rank.part
        words = plan.augment or "none"
        data = batches(pictures, codes, weight, train, mirror=IN_TURNS in words, **options)
        if isinstance(data, Streamed):  # the stream does not know what it showed in the last epoch
            words = words.replace(IN_TURNS, "flip")
        colours = Colours.of(sample) if {"colour", "pca"} & set(words.split("+")) else None
        noise = source if rank is None else rank.noise
        augment, prepare = Augment(words, noise, size=self.crop_, colours=colours), self._preparation()
        loss, objective = augment.loss(self._loss(plan)), None
        if plan.defence is not None:
            objective = self._objective(Defence.parse(plan.defence), augment, prepare, loss)

        def evaluate(_: nn.Module) -> dict[str, float]:
            row = {"data_wait": data.wait_share} if isinstance(data, Streamed) else {}
            if held is None:
                return row
            score = self._accuracy(pictures, codes, held)
            if objective is None:
                return {**row, "validation_score": score}
            x = pictures.take(held) if isinstance(pictures, PictureSource) else pictures[held]
            score_under = withstood(self, objective.defence, objective.bounds, x, self.classes_[codes[held]])
            return {**row, "validation_score": score_under, "validation_clean": score}

        epochs, rate = self.epochs or chosen.epochs, self.learning_rate or chosen.rate
        identity = {"network": self.network if isinstance(self.network, str) else type(self.network).__name__}
        keeper = keeper_of(
            plan,
            self.module_,
            data,
            epochs=epochs,
            learning_rate=rate,
            rank=rank,
            random_state=self.random_state,
            **identity,
        )
        records = supervised(
            self.module_,
            data,
            loss,
            plan=plan,
            epochs=epochs,
            learning_rate=rate,
            prepare=lambda batch: prepare(augment(batch)),
            evaluate=evaluate,
            keeper=keeper,
            rank=rank,
            objective=objective,
        )
        verbose = self.verbose if rank is None or rank.number == 0 else 0
        done = follow(
            records, self.module_, plan=plan, epochs=epochs, label=type(self).__name__, verbose=verbose, keeper=keeper
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped

    def _objective(self, defence: Defence, augment: Augment, prepare: Callable[..., Tensor], loss: Any) -> Defended:
        """The loss under a defence; its inputs are pixels of 0 to 1 where they were 8 bits, after augmentation."""
        scale = 255.0 if self.integer_input_ else 1.0
        return Defended(
            defence, loss=loss, enter=lambda batch: centre(augment(batch), self.crop_).float() / scale,
            prepare=lambda x: prepare(x * scale), bounds=bounds_of(defence, self.integer_input_),
        )  # fmt: skip

    def _loss(self, plan: Plan) -> Any:
        if self.network == "lenet5":
            return map_criterion
        return partial(cross_entropy, label_smoothing=plan.label_smoothing or 0.0)

    def _preparation(self) -> Callable[[Tensor], Tensor]:
        """Function from raw pixels (N, C, H, W) on the device to what the network takes."""
        scale = torch.from_numpy(self.input_scale_).to(self.device_).view(1, -1, 1, 1)
        # one number a channel, or one a pixel of the patch: both end in the channels
        offset = torch.from_numpy(self.input_offset_).to(self.device_)
        offset = offset.permute(2, 0, 1)[None] if offset.ndim == 3 else offset.view(1, -1, 1, 1)
        size = getattr(self, "crop_", self.picture_shape_[:2])  # files of older versions do not have it

        def prepare(batch: Tensor) -> Tensor:
            x = centre(batch, size).float() * scale + offset
            if self.network == "lenet5":
                x = _to_field(x)
            return x.contiguous(memory_format=torch.channels_last)

        return prepare

    # --------------------------------------------------------------------------------------------- predict

    @torch.no_grad()
    def _logits(self, parts: Iterable[Tensor], *, ten: bool = False, views: str = "none") -> Tensor:
        """Logits (N, K) of the central patch, or their mean over ``views``.

        With ``ten`` the logarithm of the mean probability over ten patches.
        """
        device, prepare = torch.device(self.device_), self._preparation()
        self.module_.eval()

        def forward(x: Tensor) -> Tensor:
            with autocast(device, self.precision_):
                return self.module_(prepare(x)).float()

        done = []
        for part in parts:
            x = part.to(device)
            if ten and tuple(x.shape[2:]) != tuple(self.crop_):
                chances = [torch.softmax(forward(patch), 1) for patch in ten_crops(x, self.crop_)]
                done.append(torch.stack(chances).mean(0).log().cpu())
            else:
                done.append(torch.stack([share * forward(view) for share, view in views_of(x, views)]).sum(0).cpu())
        return torch.cat(done)

    def _block(self) -> int:
        height, width, _ = self.picture_shape_
        return max(1, min(_EVALUATION_BATCH, _PIXELS // (height * width)))

    def _accuracy(self, pictures: Pictures, codes: np.ndarray, rows: np.ndarray) -> float:
        logits = self._logits(blocks(pictures, rows, self._block()))
        return float((logits.argmax(1).numpy() == codes[rows]).mean())

    def decision_function(self, X: ArrayLike | PathLike | PictureSource) -> np.ndarray:
        """Logits (N, K) of the pictures; LeNet-5's are its negative penalties.

        Of "alexnet-2012", trained on patches, they are logarithms of the mean probabilities over ten patches of each
        picture: the corners, the centre, and their mirror images (Krizhevsky et al. 2012, section 4.1). With
        ``Plan.test_views`` they are means over mirrored and moved pictures.
        """
        self._check_fitted("decision_function")
        pictures = self._same_kind("decision_function", X)
        chosen = network_of(self.network)
        views = (self.plan or Plan()).over(chosen.plan).test_views or "none"
        return self._logits(blocks(pictures, None, self._block()), ten=chosen.ten_crops, views=views).numpy()

    def predict_proba(self, X: ArrayLike | PathLike | PictureSource) -> np.ndarray:
        """Probabilities (N, K), columns as in ``classes_``: the softmax of the logits."""
        self._check_fitted("predict_proba")
        return torch.softmax(torch.from_numpy(self.decision_function(X)).double(), 1).numpy()

    def predict(self, X: ArrayLike | PathLike | PictureSource) -> np.ndarray:
        """Labels (N,) of the pictures; X may be a folder or a file of pictures.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, DataError: Pictures of another size or another number type than those of ``fit``.
        """
        self._check_fitted("predict")
        return self.classes_[self.decision_function(X).argmax(1)]

    def score(
        self, X: ArrayLike | PathLike | PictureSource, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Accuracy on pictures and their labels, or on a folder, list or shards that have their own."""
        X, y = self._labelled("score", X, y)
        return float(super().score(X, y, sample_weight))

    def top_k_score(self, X: ArrayLike | PathLike | PictureSource, y: Any = None, *, k: int = 5) -> float:
        """Share of pictures whose class is among the k most probable; see `rosenblatt.metrics.ranking`.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError, ShapeError, DataError, LabelError: As in ``score``.
        """
        X, y = self._labelled("top_k_score", X, y)
        return top_k_accuracy(y, self.decision_function(X), self.classes_, k)

    def _labelled(self, method: str, X: Any, y: Any) -> tuple[Pictures, Any]:
        self._check_fitted(method)
        height, width, channels = self.picture_shape_
        options = {"size": (height, width), "channels": channels} if isinstance(X, (str, Path)) else {}
        return inputs_of(f"{type(self).__name__}.{method}", X, y, **options)

    def _same_kind(self, method: str, X: Any) -> Any:
        """Pictures like those of ``fit``: an array, or a source."""
        who = f"{type(self).__name__}.{method}"
        if isinstance(X, PictureSource):
            if X.form != tuple(self.picture_shape_):
                raise ShapeError(f"{who}: pictures are read as {X.form}; expected {self.picture_shape_} as in fit.")
            return X
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

    def _victim(self, bounds: tuple[float, float] | None) -> Any:
        """Logits of the central patch for `rosenblatt.attacks`."""
        from rosenblatt.estimators.attackable import picture_victim

        self._check_fitted("attack")
        return picture_victim(self, self._preparation(), partial(self._same_kind, "attack"), bounds)

    def _example_input(self) -> Tensor:
        height, width, channels = self.picture_shape_
        return self._preparation()(torch.zeros(1, channels, height, width, device=self.device_))

    def _title(self) -> str:
        own = isinstance(self.network, nn.Module)
        return f"CNNClassifier(network={type(self.network).__name__ if own else repr(self.network)})"

    # ------------------------------------------------------------------------------------------ model file

    def save(self, path: PathLike, *, overwrite: bool = True) -> Path:
        """Write the fitted estimator into one safetensors file (see `Estimator.save`).

        Raises:
            ModelFileError: The network is a module of your own, whose code no model file holds.
            NotFittedError, OutputError: As for every estimator.
        """
        if isinstance(self.network, nn.Module):
            raise ModelFileError(
                f"save: network is your own {type(self.network).__name__}, and a model file holds no code; expected one of "
                f"{', '.join(NETWORKS)}. Keep model.module_.state_dict() yourself, or pickle the estimator."
            )
        return super().save(path, overwrite=overwrite)

    def _rebuild(self) -> nn.Module:
        shape = tuple(getattr(self, "crop_", self.picture_shape_[:2]))
        return build(self.network, self.picture_shape_[2], len(self.classes_), shape)

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()

    def _check_restored(self) -> None:
        height, width, channels = self.picture_shape_
        crop = tuple(getattr(self, "crop_", (height, width)))
        if len(crop) != 2 or not (0 < crop[0] <= height and 0 < crop[1] <= width):
            raise ValueError(f"crop_ is {crop}; expected two sides of at most {height} and {width}")
        expect_shape("input_scale_", self.input_scale_, (channels,))
        per_pixel = self.network == "alexnet-2012"
        expect_shape("input_offset_", self.input_offset_, (*crop, channels) if per_pixel else (channels,))
        expect_shape("classes_", self.classes_, (None,))


def _own_generator(device: torch.device | None, seed: int) -> AbstractContextManager[Any]:
    """Dropout on a second GPU draws from a state of its own, and leaves that GPU's global one as it was."""
    if device is None or device.type != "cuda":
        return nullcontext()
    return PrivateRandom(seed + 1, device)


def _to_field(x: Tensor) -> Tensor:
    """Into the middle of LeNet-5's 32 x 32 field: as they are from 28 pixels on, resized to 28 otherwise."""
    height, width = x.shape[2:]
    if not (28 <= height <= SIDE and 28 <= width <= SIDE):
        x = F.interpolate(x, (28, 28), mode="bilinear", antialias=height > 28 or width > 28)
        height = width = 28
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return F.pad(x, (left, SIDE - width - left, top, SIDE - height - top), value=BACKGROUND)
