"""`FaceSwap`: the face of one person with the pose and expression of another, said openly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import NONE, SEED, Number, Of
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.resident import Resident
from rosenblatt.errors import ConsentError, DataError, ParameterError, ShapeError
from rosenblatt.estimators.base import Estimator
from rosenblatt.estimators.face_frames import FrameSwapper
from rosenblatt.metrics.face_swap import SwapJudgement, motion_kept, picture_similarity
from rosenblatt.metrics.flicker import flicker
from rosenblatt.models.face_swap import MULTIPLE, FaceSwapper
from rosenblatt.train.checkpoint import fingerprint
from rosenblatt.train.face_swap import Distortion, SwapObjective, settle
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

OWN_PLAN = replace(STANDARD, optimizer="adamw", weight_decay=1e-4, schedule="cosine", warmup=0.02, ema=0.99)
"""What this system does where the user's plan says nothing."""

_STEPS, _BLOCK, _LEAST = 10_000, 64, 16


class FaceSwap(FrameSwapper, Estimator):
    """Draw the faces of one person as another's, with pose and expression kept: one encoder, a decoder for each person.

    Use it with some hundreds of frames of each of two or more persons who agreed to it. Without a statement of their consent
    nothing is learned or drawn; swapped pictures carry a visible mark unless it is switched off, and the files that the
    command line writes say in their metadata what they are.

    Args:
        width: Channels at half the side; 2 and 4 times as many at a quarter and an eighth.
        code_size: Z, channels of the code in each cell of 8 x 8 pixels. More keep more detail, and more of the person.
        warp: Standard deviation of the local warp in training, a share of the side.
        colour: Largest change of gain, contrast and brightness in training.
        epochs: Passes over the faces; None makes 10,000 steps of them, but 20 at least and 2,000 at most.
        batch_size: Faces a step.
        learning_rate: Top of the schedule.
        random_state: Seed of weights, order, warps and colours.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; this system's own choices are AdamW, the cosine schedule and averaged weights. With
            ``early_stopping`` or ``target`` the last part of each person's faces is held out and judged by SSIM.

    Attributes:
        module_: The network, a plain ``nn.Module`` on faces N 3 H W from 0 to 1.
        identities_: Names of the persons.
        sample_shape_: (H, W, 3) of the faces.
        integer_input_: Whether faces came as uint8.
        history_, device_, precision_, n_iter_, best_epoch_: The training record.

    Reference:
        The "deepfakes" code of 2017; Perov et al. 2020, arXiv:2005.05535, section 3 (shared encoder, decoders, blending).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> light, dark = (rng.integers(low, low + 60, (12, 16, 16, 3), np.uint8) for low in (180, 20))
        >>> model = FaceSwap(width=8, code_size=8, epochs=30, random_state=0, verbose=0)
        >>> model.fit(light, dark, consent=True).transform(light, to="B").mean() < 128
        np.True_
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "width": Number(4, integer=True),
        "code_size": Number(1, integer=True),
        "warp": Number(0, 0.2),
        "colour": Number(0, 0.9),
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
        width: int = 32,
        code_size: int = 16,
        warp: float = 0.02,
        colour: float = 0.25,
        epochs: int | None = None,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.width = width
        self.code_size = code_size
        self.warp = warp
        self.colour = colour
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ----------------------------------------------------------------------------------------------------------- fit

    def fit(
        self,
        A: ArrayLike,
        B: ArrayLike,
        *more: ArrayLike,
        names: Sequence[str] | None = None,
        masks: Sequence[ArrayLike | None] | None = None,
        consent: bool = False,
    ) -> FaceSwap:
        """Learn to draw each of two or more persons.

        Args:
            A: Aligned faces of a person, N H W 3, uint8 or floats from 0 to 1, sides multiples of 8; see
                `rosenblatt.data.face_detection.align_faces`. Frames of a film in their order.
            B: The same of another.
            *more: The same of others.
            names: Of the persons; "A", "B", "C" and so on where None.
            masks: For each person where the face is, N H W from 0 to 1, or None for an oval in the middle.
            consent: True states that every person shown agreed to this use. It is not kept in the model file.

        Raises:
            ConsentError: ``consent`` is not True.
            ParameterError, DeviceError: An argument is wrong, or the device is not there.
            ShapeError: Other axes, faces of several sizes, or sides that are no multiples of 8.
            NonFiniteError, DataError: NaN, values outside the range, a single face, all alike, or twice the same person.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        self._state_consent("fit", consent)
        plan = (self.plan or Plan()).over(OWN_PLAN)
        sets = self._read_sets((A, B, *more))
        labels = _names(names, len(sets))
        covers = self._read_masks(masks, sets)
        device = choose_device(self.device)
        self.identities_ = labels
        self.sample_shape_, self.integer_input_ = tuple(map(int, sets[0].shape[1:])), sets[0].dtype == np.uint8
        seed = draw_seed(self.random_state)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        self._run(plan, [_four(x, m) for x, m in zip(sets, covers, strict=True)], seed)
        return self

    def _state_consent(self, method: str, consent: Any) -> None:
        if consent is True or getattr(self, "_consented", False):
            self._consented = True
            return
        raise ConsentError(
            f"FaceSwap.{method}: consent={consent!r}; expected consent=True, which states that every person shown agreed to "
            "having their face learned and swapped. Without it this is not done."
        )

    def _read_sets(self, given: Sequence[ArrayLike]) -> list[np.ndarray]:
        sets = []
        for letter, X in zip(_LETTERS, given, strict=False):
            sets.append(self._read(f"FaceSwap.fit: {letter}", X))
            first, last = sets[0], sets[-1]
            if last.shape[1:] != first.shape[1:]:
                raise ShapeError(
                    f"FaceSwap.fit: faces of {letter} are {last.shape[1:]}, those of A {first.shape[1:]}; expected one size. "
                    "Align them anew with one size."
                )
            if last.dtype != first.dtype:
                raise DataError(f"FaceSwap.fit: {letter} holds {last.dtype}, A {first.dtype}; expected one type.")
            _refuse_alike(letter, last)
            for other, before in zip(_LETTERS, sets[:-1], strict=False):
                if before.shape == last.shape and (before == last).all():
                    raise DataError(f"FaceSwap.fit: {letter} holds the same faces as {other}; expected another person.")
        return sets

    def _read(self, who: str, X: ArrayLike) -> np.ndarray:
        faces = as_pictures(X, who=who)
        height, width, channels = faces.shape[1:]
        if channels != 3:
            raise ShapeError(
                f"{who}: faces with {channels} channels; expected 3. Use np.repeat(X[..., :1], 3, axis=3) for grey."
            )
        if height % MULTIPLE or width % MULTIPLE or min(height, width) < _LEAST:
            raise ShapeError(
                f"{who}: faces of {height} x {width} pixels; expected sides that are multiples of {MULTIPLE}, at least {_LEAST}. "
                "Resize them, for instance to 64 x 64."
            )
        if faces.dtype != np.uint8 and (faces.min() < 0 or faces.max() > 1):
            raise DataError(
                f"{who}: values from {faces.min():g} to {faces.max():g}; expected floats from 0 to 1, or uint8. Use X / 255, or "
                "X.astype('uint8')."
            )
        return faces

    def _read_masks(self, masks: Any, sets: list[np.ndarray]) -> list[np.ndarray]:
        given = [None] * len(sets) if masks is None else list(masks)
        if len(given) != len(sets):
            raise ShapeError(f"FaceSwap.fit: {len(given)} masks for {len(sets)} persons; expected one each, or None.")
        found = []
        for letter, mask, faces in zip(_LETTERS, given, sets, strict=False):
            if mask is None:
                found.append(np.broadcast_to(oval(faces.shape[1], faces.shape[2]), faces.shape[:3]))
                continue
            array = np.asarray(mask, dtype=np.float32)
            if array.shape != faces.shape[:3]:
                raise ShapeError(
                    f"FaceSwap.fit: masks of {letter} {array.shape}; expected {faces.shape[:3]}, one a face."
                )
            _validate.finite("FaceSwap.fit", array.reshape(len(array), -1), name=f"masks of {letter}")
            if array.min() < 0 or array.max() > 1:
                raise DataError(
                    f"FaceSwap.fit: masks of {letter} from {array.min():g} to {array.max():g}; expected 0 to 1. Divide by 255?"
                )
            found.append(array)
        return found

    def _run(self, plan: Plan, sets: list[Tensor], seed: int) -> None:
        device = torch.device(self.device_)
        learn, held = self._hold_out(plan, sets)
        faces, identity = _joined(learn, device)
        # as many of each person in an epoch, whoever has more faces
        rows = _balanced([len(x) for x in learn])
        data = Resident(
            rows, identity.cpu()[rows], device=device, batch_size=self.batch_size, generator=generator(seed)
        )
        steps = len(data)
        epochs = int(self.epochs or min(2000, max(20, -(-_STEPS // steps))))
        objective = SwapObjective(
            self.module_, faces, identity, Distortion(self.warp, self.colour), lambda: data.turn / epochs
        )
        watched = None if held is None else _joined(held, device)

        def evaluate(_: nn.Module) -> dict[str, float]:
            return {} if watched is None else {"validation_score": objective.score(*watched)}

        keeper = keeper_of(
            plan, objective, data, epochs=epochs, learning_rate=self.learning_rate, random_state=self.random_state,
            faces=fingerprint(faces), warp=self.warp, colour=self.colour,
        )  # fmt: skip
        records = supervised(
            objective, data, objective.loss, plan=plan, epochs=epochs, learning_rate=self.learning_rate, evaluate=evaluate,
            keeper=keeper,
        )  # fmt: skip
        done = follow(
            records, objective, plan=plan, epochs=epochs, label="FaceSwap", verbose=self.verbose, keeper=keeper
        )
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        settle(objective, seed)

    def _hold_out(self, plan: Plan, sets: list[Tensor]) -> tuple[list[Tensor], list[Tensor] | None]:
        """The last part of each person's faces: neighbours in a film are too alike to be held out singly."""
        if not plan.early_stopping and plan.target is None:
            return sets, None
        counts = [max(1, round(len(x) * (plan.validation_fraction or 0.1))) for x in sets]
        for letter, x, count in zip(_LETTERS, sets, counts, strict=False):
            if len(x) - count < 2:
                raise DataError(
                    f"FaceSwap.fit: {letter} has {len(x)} faces, of which {count} would be held out; expected more. Set "
                    "Plan(validation_fraction=...) lower, or leave early_stopping out."
                )
        pairs = list(zip(sets, counts, strict=True))
        return [x[:-count] for x, count in pairs], [x[-count:] for x, count in pairs]

    # ---------------------------------------------------------------------------------------------------- aligned faces

    def transform(
        self, X: ArrayLike, to: str | int | None = None, *, source: str | int | None = None, consent: bool = False
    ) -> np.ndarray:
        """Draw aligned faces as another person.

        What is passed on is how each face differs from the mean of its own person, so a face of somebody whom the model
        does not know is drawn as if it were the most similar one. The faces carry no mark: they are numbers on the way to a
        picture. `swap` and `swap_frames` mark theirs.

        Args:
            X: Faces like those of ``fit``, (N, H, W, 3).
            to: Name or number of the person to draw; None takes the second.
            source: Whose faces X are, one person's; None takes the person whose decoder draws them best.
            consent: As ``fit``; needed once for a model that was loaded from a file.

        Returns:
            Faces of the shape and type of X.

        Raises:
            NotFittedError: Before ``fit``.
            ConsentError: A loaded model, and ``consent`` is not True.
            ShapeError, DataError, NonFiniteError: X is not like the faces of ``fit``.
            ParameterError: There is no such person.
        """
        self._check_fitted("transform")
        self._state_consent("transform", consent)
        number = self._person("transform", to)
        faces = self._like("transform", X)
        own = self._whose(faces) if source is None else self._person("transform", source)
        return self._restored(self._draw(faces, number, own)[..., :3])

    def _whose(self, faces: np.ndarray) -> int:
        """The person whose decoder draws the faces with the least squared error."""
        few = faces[:: -(-len(faces) // _BLOCK)]
        wanted = few / 255 if self.integer_input_ else few
        persons = range(len(self.identities_))
        return min(persons, key=lambda k: float(np.square(self._draw(few, k, k)[..., :3] - wanted).mean()))

    def _like(self, method: str, X: ArrayLike) -> np.ndarray:
        who = f"FaceSwap.{method}: X"
        faces = self._read(who, X)
        if faces.shape[1:] != self.sample_shape_ or (faces.dtype == np.uint8) != self.integer_input_:
            kind = "uint8" if self.integer_input_ else "floats from 0 to 1"
            raise ShapeError(
                f"{who} is {faces.dtype} of shape {faces.shape}; expected {kind} of (N, "
                f"{', '.join(map(str, self.sample_shape_))}), as in fit."
            )
        return faces

    def _person(self, method: str, to: str | int | None) -> int:
        if to is None:
            return 1
        known = [*self.identities_, *range(len(self.identities_))]
        if isinstance(to, bool) or to not in known:
            raise ParameterError(
                f"FaceSwap.{method}: to={to!r}; expected one of {', '.join(map(repr, self.identities_))}, or a number from 0 to "
                f"{len(self.identities_) - 1}.{_validate.nearest(to, self.identities_)}"
            )
        return self.identities_.index(to) if isinstance(to, str) else int(to)

    @torch.no_grad()
    def _draw(self, faces: np.ndarray, number: int, source: int) -> np.ndarray:
        """Colours and mask (N, H, W, 4) from 0 to 1, float32; in full precision, in blocks of one size."""
        parts, device = [], torch.device(self.device_)
        for start in range(0, len(faces), _BLOCK):
            x = torch.from_numpy(faces[start : start + _BLOCK]).to(device).permute(0, 3, 1, 2)
            x = x.float() / 255 if self.integer_input_ else x
            with autocast(device, "fp32"):
                drawn = self.module_(x, number) if number == source else self.module_.swap(x, number, source)
                parts.append(drawn.float().sigmoid().permute(0, 2, 3, 1).cpu())
        return torch.cat(parts).numpy()

    def _restored(self, drawn: np.ndarray) -> np.ndarray:
        return np.rint(drawn * 255).astype(np.uint8) if self.integer_input_ else np.ascontiguousarray(drawn)

    # -------------------------------------------------------------------------------------------------------- scores

    def reconstruct(self, X: ArrayLike, identity: str | int, *, consent: bool = False) -> np.ndarray:
        """Faces of a person drawn by the decoder of that person."""
        return self.transform(X, to=identity, source=identity, consent=consent)

    def score(self, A: ArrayLike, B: ArrayLike, *more: ArrayLike) -> float:
        """Mean SSIM of faces and their reconstructions by their own decoders, the mean over persons; 1 at best.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError: Not a set for each person, or faces unlike those of ``fit``.
        """
        self._check_fitted("score")
        sets = (A, B, *more)
        if len(sets) != len(self.identities_):
            raise ShapeError(f"FaceSwap.score: {len(sets)} sets; expected {len(self.identities_)}, one a person.")
        values = []
        for number, X in enumerate(sets):
            faces = self._like("score", X)
            values.append(
                float(picture_similarity(faces, self._restored(self._draw(faces, number, number)[..., :3])).mean())
            )
        return float(np.mean(values))

    def judge(
        self,
        X: ArrayLike,
        to: str | int | None = None,
        *,
        classifier: Any = None,
        label: Any = None,
        consent: bool = False,
    ) -> SwapJudgement:
        """Scores of aligned frames of a film drawn as another person.

        Args:
            X: Frames in their order, that the model has not learned from.
            to: As `transform`.
            classifier: Anything with ``predict``, trained on real faces of the persons.
            label: What it calls the wanted person; None takes the name.
            consent: As `transform`.

        Raises:
            As `transform`.
        """
        drawn = self.transform(X, to, consent=consent)
        faces = self._like("judge", X)
        wanted = self.identities_[self._person("judge", to)] if label is None else label
        share = None if classifier is None else float(np.mean(np.asarray(classifier.predict(drawn)) == wanted))
        levels = [x if x.dtype == np.uint8 else np.rint(x * 255).astype(np.uint8) for x in (faces, drawn)]
        other = np.random.default_rng(0).permutation(len(drawn))
        return SwapJudgement(
            n=len(drawn), identity=share, motion=motion_kept(faces, drawn), motion_by_chance=motion_kept(faces, drawn[other]),
            flicker=flicker(*levels), flicker_of_source=flicker(levels[0], levels[0]),
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- shared

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def _example_input(self) -> Tensor:
        height, width, _ = self.sample_shape_
        return torch.zeros(1, 3, height, width, device=self.device_)

    def _title(self) -> str:
        return f"FaceSwap of {', '.join(self.identities_)}"

    def _rebuild(self) -> nn.Module:
        return FaceSwapper(tuple(self.sample_shape_[:2]), self.width, self.code_size, len(self.identities_))

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()

    def _check_restored(self) -> None:
        shape = tuple(self.sample_shape_)
        if len(shape) != 3 or shape[2] != 3 or shape[0] % MULTIPLE or shape[1] % MULTIPLE:
            raise ValueError(f"sample_shape_ is {shape}")
        if len(set(self.identities_)) != len(self.identities_) or len(self.identities_) < 2:
            raise ValueError(f"identities_ are {self.identities_}")


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def oval(height: int, width: int) -> np.ndarray:
    """Where an aligned face is, float32 (H, W): an ellipse from the brows to the chin, with a soft rim of two pixels."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((x - (width - 1) / 2) / (0.36 * width), (y - 0.54 * (height - 1)) / (0.44 * height))
    return ((1 - distance) * 0.36 * width / 2 + 0.5).clip(0, 1).astype(np.float32)


def _refuse_alike(letter: str, faces: np.ndarray) -> None:
    if len(faces) < 2:
        raise DataError(f"FaceSwap.fit: {letter} holds one face; expected at least 2, better hundreds.")
    if (faces == faces[:1]).all():
        raise DataError(
            f"FaceSwap.fit: all {len(faces)} faces of {letter} are equal; expected poses and expressions. Check it."
        )


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    if count > len(_LETTERS):
        raise ParameterError(f"FaceSwap.fit: {count} persons; expected 2 to {len(_LETTERS)}.")
    found = list(_LETTERS[:count]) if names is None else [str(name) for name in names]
    if len(found) != count or len(set(found)) != count:
        raise ParameterError(f"FaceSwap.fit: names={names!r} for {count} persons; expected as many, all different.")
    return found


def _four(faces: np.ndarray, mask: np.ndarray) -> Tensor:
    """uint8 (N, 4, H, W): colours and mask."""
    levels = faces if faces.dtype == np.uint8 else np.rint(faces * 255).astype(np.uint8)
    cover = np.rint(mask * 255).astype(np.uint8)[..., None]
    return torch.from_numpy(np.concatenate([levels, cover], 3)).permute(0, 3, 1, 2).contiguous()


def _joined(sets: list[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(x) for x in sets])
    return torch.cat(sets).to(device), torch.arange(len(sets)).repeat_interleave(lengths).to(device)


def _balanced(counts: list[int]) -> Tensor:
    """Numbers of the faces in an epoch: the larger sets once, the smaller ones again from their start until all are level."""
    starts, most = np.cumsum([0, *counts[:-1]]), max(counts)
    return torch.from_numpy(np.concatenate([s + np.arange(most) % c for s, c in zip(starts, counts, strict=True)]))
