"""`SemanticGAN`: photographs from label maps (GauGAN)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import BOOL, NONE, SEED, Choice, Number, Of, Words
from rosenblatt.data.label_maps import JITTER, Palette, as_label_maps, palette
from rosenblatt.data.resident import Resident
from rosenblatt.errors import ParameterError, ShapeError, TrainingWarning
from rosenblatt.estimators.base import Estimator
from rosenblatt.estimators.semantic_inputs import (
    PERCEPTUAL,
    PRESETS,
    Preset,
    as_batch,
    check_weights,
    perceptual_of,
    preset_of,
    read_both,
    read_photos,
    refuse_unlearnable,
)
from rosenblatt.estimators.semantic_scores import EpochScore, SemanticJudgement, as_bytes, hold_out
from rosenblatt.metrics.generated import judge
from rosenblatt.metrics.segmentation import agreement
from rosenblatt.models.semantic_gan import MultiscaleCritic, SemanticGenerator, SemanticPlayers
from rosenblatt.train.adversarial import play
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.segmenter import train_segmenter
from rosenblatt.train.semantic import SemanticGame, SemanticLoss, diagnose_semantic
from rosenblatt.train.supervised import keeper_of

# appendix A: Adam without momentum
_PLAN = Plan(optimizer="adam", momentum=0.0, schedule="linear", early_stopping=True, patience=10**6)


class SemanticGAN(Estimator):
    """A generator of photographs from label maps, with scale and shift of its normalisations read off the map (GauGAN).

    Use it where pictures are to show given things in given places: paint a map, render it, repaint a part, render again.
    Some hundreds of pairs are enough for one kind of scene.

    Args:
        preset: Size of the networks, 64 (learns on two cores), 128, 256 (as published) or 512; None takes that of the
            photographs' shorter side.
        width: Channels of the generator at full size; None takes the preset's.
        style: Train a style encoder: renderings then follow a reference photograph or a seed.
        code_size: Z, numbers in a style.
        perceptual: Network of the perceptual loss, "vgg19" or "squeezenet"; "auto" takes the first whose weights are on this
            machine, and none where none are; None uses none.
        weights: Of feature matching, perceptual loss and the style's divergence, beside 1 of the critic.
        palette: Colours of the classes where label maps are colours, "facades" or a tuple of (r, g, b).
        classes: K; None takes the palette's, the channels' or one more than the largest id.
        ignore: The id of pixels that nobody cares for.
        augment: The same random change of map and photograph, "flip", "zoom" or both joined by "+"; or "none".
        epochs: Passes over the pairs.
        batch_size: Pairs a step.
        learning_rate: Of the generator, the critic's is four times as large; None takes the preset's.
        random_state: Seed of weights, order, styles and augmentation.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are Adam without momentum, a linear schedule and the best epoch's
            weights.

    Attributes:
        module_: Both players, ``module_.generator`` with averaged weights and ``module_.critic``.
        shape_: (H, W) of maps and photographs.
        n_classes_: K.
        class_names_: Names of the classes.
        perceptual_: Name of the perceptual network that was used, or None.
        history_, device_, precision_, n_iter_, best_epoch_: The training record; ``validation_score`` is minus the kernel
            distance in the features named by ``judged_by_``.

    Reference:
        Park, Liu, Wang & Zhu 2019, arXiv:1903.07291; critic and feature matching Wang et al. 2018, arXiv:1711.11585.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.repeat(rng.integers(0, 2, (8, 1, 16)), 16, 1)
        >>> photos = np.uint8([[200, 40, 40], [30, 60, 220]])[labels]
        >>> model = SemanticGAN(epochs=1, width=4, style=False, perceptual=None, random_state=0, verbose=0)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # that one epoch is too little
        ...     _ = model.fit(labels, photos)
        >>> model.transform(labels[:3]).shape
        (3, 16, 16, 3)
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "preset": (Choice(tuple(PRESETS)), NONE),
        "width": (Number(1, integer=True), NONE),
        "style": BOOL,
        "code_size": Number(1, integer=True),
        "perceptual": Choice(("auto", *PERCEPTUAL, None)),
        "palette": (Of((str, tuple), "a name or a tuple of colours"), NONE),
        "classes": (Number(2, integer=True), NONE),
        "ignore": Number(integer=True),
        "augment": Words(JITTER),
        "epochs": Number(1, integer=True),
        "batch_size": Number(1, integer=True),
        "learning_rate": (Number(0, open_low=True), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }

    def __init__(
        self,
        *,
        preset: int | None = None,
        width: int | None = None,
        style: bool = True,
        code_size: int = 64,
        perceptual: str | None = "auto",
        weights: tuple[float, float, float] = (10.0, 2.0, 0.05),
        palette: str | tuple[tuple[int, int, int], ...] | None = None,
        classes: int | None = None,
        ignore: int = 255,
        augment: str = "flip+zoom",
        epochs: int = 100,
        batch_size: int = 8,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.preset = preset
        self.width = width
        self.style = style
        self.code_size = code_size
        self.perceptual = perceptual
        self.weights = weights
        self.palette = palette
        self.classes = classes
        self.ignore = ignore
        self.augment = augment
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, labels: ArrayLike, photos: ArrayLike) -> SemanticGAN:
        """Train from scratch.

        Of 20 pairs and more, ``plan.validation_fraction`` (at least 8) are held out, by which the best epoch is found.

        Args:
            labels: Label maps: ids (N, H, W), one channel a class (N, H, W, K), or colours (N, H, W, 3) of the palette.
            photos: The photographs of the same places, uint8 or floats from 0 to 1, (N, H, W, 3).

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            ShapeError: Maps and photographs of unequal numbers or sizes, or sides that do not halve down to 4 to 7.
            LabelError: Ids out of range, with their place.
            NonFiniteError, DataError: NaN, values outside the range, a single pair, or all photographs equal.
            FetchError: The weights of a perceptual network that was asked for are not here.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        weights, colours, who = check_weights(self.weights), self._colours(), "SemanticGAN.fit"
        plan = (self.plan or Plan()).over(_PLAN).over(STANDARD)
        device = choose_device(self.device)
        maps, pictures, count = read_both(
            labels, photos, classes=self.classes, colours=colours, ignore=self.ignore, who=who
        )
        refuse_unlearnable(pictures, who)
        self.shape_, self.n_classes_ = tuple(map(int, pictures.shape[1:3])), count
        self.integer_input_ = pictures.dtype == np.uint8
        self.class_names_ = list(map(str, range(count))) if colours is None else list(colours.names)
        seed = draw_seed(self.random_state)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        self.perceptual_, network = perceptual_of(self.perceptual if weights[1] else None)
        if network is not None:
            network = network.to(device, memory_format=torch.channels_last)
        loss = SemanticLoss(*weights, network, PERCEPTUAL.get(self.perceptual_, ()))
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, maps, pictures, loss, seed)
        for line in self.diagnose():
            warnings.warn(f"SemanticGAN: {line}", TrainingWarning, stacklevel=2)
        return self

    def _run(self, plan: Plan, maps: np.ndarray, pictures: np.ndarray, loss: SemanticLoss, seed: int) -> None:
        order = torch.randperm(len(maps), generator=generator(seed))
        rows, held = hold_out(order, plan.validation_fraction or 0.1)
        rate = self.learning_rate or self._preset().learning_rate
        x, y = as_batch(pictures), torch.from_numpy(maps)
        data = Resident(x[rows], y[rows], device=self.device_, batch_size=self.batch_size, generator=generator(seed))
        keeper = keeper_of(
            plan, self.module_, data, epochs=self.epochs, learning_rate=rate, random_state=self.random_state,
            weights=self.weights, perceptual=self.perceptual_, augment=self.augment,
        )  # fmt: skip
        game = SemanticGame(
            self.module_, data, loss, plan=plan, epochs=self.epochs, learning_rate=rate, prepare=self._prepare,
            words=self.augment,
        )  # fmt: skip
        scored = EpochScore(
            self._prepare(x), y[held], self._rendered, epochs=self.epochs, styles=self.style,
            rows=keeper.state["followed"]["rows"] if keeper is not None and keeper.state else (),
        )  # fmt: skip
        self.judged_by_ = scored.name
        records = play(game, epochs=self.epochs, evaluate=scored, keeper=keeper)
        done = follow(
            records, self.module_, plan=plan, epochs=self.epochs, label="SemanticGAN", verbose=self.verbose,
            keeper=keeper,
        )  # fmt: skip
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped

    def _prepare(self, batch: Tensor) -> Tensor:
        x = batch.float() / (127.5 if self.integer_input_ else 0.5) - 1
        return x.contiguous(memory_format=torch.channels_last)

    # ------------------------------------------------------------------------------------------- transform

    def transform(
        self,
        labels: ArrayLike,
        *,
        style: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> np.ndarray:
        """Photographs of label maps.

        Args:
            labels: Label maps as in ``fit``, of the same size.
            style: A photograph (H, W, 3), or one a map (N, H, W, 3), whose style is taken; None draws a style a map.
            random_state: Seed of drawn styles; the first map's style does not depend on how many follow.

        Returns:
            Photographs (N, H, W, 3) in the type of those of ``fit``.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError: Another size.
            LabelError: Ids that were not there in ``fit``.
            ParameterError: A style for a model without a style encoder.
        """
        who = "SemanticGAN.transform"
        self._check_fitted("transform")
        maps = self._maps(who, labels)
        if style is None:
            return self._shown(self._rendered(maps, draw_seed(random_state)))
        codes = self.encode_style(style)
        if len(codes) not in (1, len(maps)):
            raise ShapeError(f"{who}: {len(codes)} styles for {len(maps)} maps; expected one, or one each.")
        return self.render(labels, np.resize(codes, (len(maps), self.code_size)))

    def encode_style(self, photos: ArrayLike) -> np.ndarray:
        """Codes (N, Z) of the styles of photographs: the means that the style encoder gives.

        Args:
            photos: One (H, W, 3) or several (N, H, W, 3), of the size and kind of those of ``fit``.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: The model was trained without a style encoder.
            ShapeError, DataError: Photographs of another size or kind.
        """
        who = "SemanticGAN.encode_style"
        self._check_fitted("encode_style")
        self._need_styles(who)
        array = np.asarray(photos)
        x = self._prepare(as_batch(self._photos(who, array[None] if array.ndim == 3 else array)))
        network = self.module_.generator
        with torch.no_grad(), autocast(torch.device(self.device_), self.precision_):
            return torch.cat([network.encode(one[None].to(self.device_))[0].cpu() for one in x]).numpy()

    def render(self, labels: ArrayLike, codes: ArrayLike) -> np.ndarray:
        """Photographs of label maps in styles of given codes (N, Z), such as points between two of `encode_style`.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError: The model was trained without a style encoder.
            ShapeError, LabelError: Maps or codes of another size, or unknown ids.
        """
        who = "SemanticGAN.render"
        self._check_fitted("render")
        self._need_styles(who)
        maps, z = self._maps(who, labels), np.asarray(codes, dtype=np.float32)
        if z.shape != (len(maps), self.code_size):
            raise ShapeError(f"{who}: codes of shape {z.shape}; expected ({len(maps)}, {self.code_size}).")
        _validate.finite(who, z, name="codes")
        return self._shown(self._render(maps, torch.from_numpy(z)))

    def _need_styles(self, who: str) -> None:
        if self.module_.generator.encoder is None:
            raise ParameterError(f"{who}: this model has no style encoder; expected style=True in its fit.")

    def _drawn_codes(self, count: int, seed: int) -> Tensor | None:
        if not self.style:
            return None
        source = generator(seed)
        # one by one: what a generator gives in one piece depends on the length of the piece
        return torch.stack([torch.randn(self.code_size, generator=source) for _ in range(count)])

    @torch.no_grad()
    def _render(self, maps: Tensor, codes: Tensor | None) -> Tensor:
        """Photographs from -1 to 1; one by one, so that none depends on the others."""
        network, found = self.module_.generator, []
        with autocast(torch.device(self.device_), self.precision_):
            for number, one in enumerate(maps):
                z = None if codes is None else codes[number][None].to(self.device_)
                found.append(network(one[None].to(self.device_), z).float().cpu())
        return torch.cat(found)

    def _rendered(self, maps: Tensor, seed: int) -> Tensor:
        return self._render(maps, self._drawn_codes(len(maps), seed))

    def _restored(self, drawn: Tensor) -> Tensor:
        unit = (drawn.clamp(-1, 1) + 1) / 2
        return (unit * 255).round().byte() if self.integer_input_ else unit

    def _shown(self, drawn: Tensor) -> np.ndarray:
        return self._restored(drawn).permute(0, 2, 3, 1).contiguous().numpy()

    def _maps(self, who: str, labels: ArrayLike) -> Tensor:
        maps, _ = as_label_maps(labels, classes=self.n_classes_, colours=self._colours(), ignore=self.ignore, who=who)
        if maps.shape[1:] != self.shape_:
            raise ShapeError(
                f"{who}: label maps of {maps.shape[1]} x {maps.shape[2]} pixels; expected {self.shape_[0]} x "
                f"{self.shape_[1]}. Use rosenblatt.data.label_maps.resize_label_maps(labels, {self.shape_})."
            )
        return torch.from_numpy(maps)

    def _photos(self, who: str, photos: Any) -> np.ndarray:
        pictures = read_photos(photos, who)
        if pictures.shape[1:3] != self.shape_ or (pictures.dtype == np.uint8) != self.integer_input_:
            kind = "uint8" if self.integer_input_ else "floats from 0 to 1"
            raise ShapeError(
                f"{who}: photographs are {pictures.dtype} of shape {pictures.shape}; expected {kind} of (N, "
                f"{self.shape_[0]}, {self.shape_[1]}, 3)."
            )
        return pictures

    # ---------------------------------------------------------------------------------------------- scores

    def judge(
        self,
        labels: ArrayLike,
        photos: ArrayLike,
        *,
        by: Any = "auto",
        split: str = "unnamed split",
        segmenter: Callable[[np.ndarray], np.ndarray] | None = None,
        random_state: int = 0,
    ) -> SemanticJudgement:
        """Distances of renderings to photographs that are new to the model, and whether a segmenter sees what the maps say.

        Args:
            labels: Label maps as in ``fit``.
            photos: Their photographs.
            by: What measures pictures; see `rosenblatt.metrics.extractors.extractor`.
            split: What the data is, for the record.
            segmenter: uint8 photographs (N, H, W, 3) -> ids (N, H, W), such as `segmenter_of` trains.
            random_state: Seed of the styles.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, LabelError, DataError: They are not like the data of ``fit``, or fewer than 6.
        """
        who = "SemanticGAN.judge"
        self._check_fitted("judge")
        maps, pictures = self._maps(who, labels), self._photos(who, photos)
        if len(maps) != len(pictures):
            raise ShapeError(f"{who}: {len(maps)} label maps and {len(pictures)} photographs; expected as many.")
        drawn = as_bytes(self._restored(self._rendered(maps, random_state)))
        found = judge(as_bytes(as_batch(pictures)), drawn, by=by, split=split)
        read = None if segmenter is None else agreement(maps.numpy(), segmenter(drawn), classes=self.n_classes_)
        return SemanticJudgement(found, read)

    def segmenter_of(self, labels: ArrayLike, photos: ArrayLike, **options: Any) -> Callable[[np.ndarray], np.ndarray]:
        """A small segmenter trained on real pairs, for `judge`; ``options`` are those of `train_segmenter`.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, LabelError, DataError: They are not like the data of ``fit``.
        """
        who = "SemanticGAN.segmenter_of"
        self._check_fitted("segmenter_of")
        maps, pictures = self._maps(who, labels).numpy(), self._photos(who, photos)
        return train_segmenter(as_bytes(as_batch(pictures)), maps, classes=self.n_classes_, **options)

    def score(self, labels: ArrayLike, photos: ArrayLike) -> float:
        """Minus the kernel distance (KID) of renderings to photographs; see `judge` for what it depends on."""
        return -self.judge(labels, photos).pictures.kid

    def diagnose(self) -> list[str]:
        """What went wrong in training, in words, from measured signals; an empty list where nothing did.

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("diagnose")
        return diagnose_semantic(self.history_, self.best_epoch_)

    # ------------------------------------------------------------------------------------------ model file

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def _colours(self) -> Palette | None:
        return palette(self.palette, who=type(self).__name__)

    def _preset(self) -> Preset:
        return preset_of(self.shape_, self.preset)

    def _example_input(self) -> Any:
        return torch.zeros((1, *self.shape_), dtype=torch.long, device=self.device_)

    def _title(self) -> str:
        said = "with" if self.style else "without"
        return (
            f"SemanticGAN of {self.n_classes_} classes at {self.shape_[0]} x {self.shape_[1]} pixels, {said} style encoder; "
            f"best epoch {self.best_epoch_} by {self.judged_by_}"
        )

    def _rebuild(self) -> nn.Module:
        sizes = self._preset()
        return SemanticPlayers(
            SemanticGenerator(
                self.shape_, self.n_classes_, width=self.width or sizes.width, hidden=sizes.hidden,
                code=self.code_size if self.style else 0,
            ),
            MultiscaleCritic(self.n_classes_, width=sizes.critic, layers=sizes.layers, scales=sizes.scales),
        )  # fmt: skip

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()
