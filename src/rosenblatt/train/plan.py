"""`Plan`: everything about a training run that is not one of the few arguments of an estimator."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from os import PathLike, fspath
from typing import Any

from rosenblatt._validate import BOOL, NONE, Choice, Number, Of, Rule, Words, parameter
from rosenblatt.train.defence import Defence

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "muon")
SCHEDULES = ("constant", "linear", "cosine", "onecycle", "steps")
AUGMENTATIONS = ("shift", "rotate", "crop", "flip", "altflip", "colour", "pca", "cutout", "mixup")
TEST_VIEWS = ("none", "flip", "flip+shift")
PRECISIONS = ("auto", "fp32", "bf16")

_SHARE = Number(0, 1, open_high=True)
_RULES: dict[str, tuple[Rule, ...]] = {
    "optimizer": (Choice(OPTIMIZERS), NONE),
    "momentum": (_SHARE, NONE),
    "nesterov": (BOOL, NONE),
    "weight_decay": (Number(0), NONE),
    "schedule": (Choice(SCHEDULES), NONE),
    "warmup": (_SHARE, NONE),
    "label_smoothing": (_SHARE, NONE),
    "gradient_clip": (Number(0, open_low=True), NONE),
    "ema": (_SHARE, NONE),
    "augment": (Words(AUGMENTATIONS), NONE),
    "test_views": (Choice(TEST_VIEWS), NONE),
    "precision": (Choice(PRECISIONS), NONE),
    "early_stopping": (BOOL, NONE),
    "validation_fraction": (Number(0, 1, open_low=True, open_high=True), NONE),
    "patience": (Number(1, integer=True), NONE),
    "min_delta": (Number(0), NONE),
    "target": (Number(), NONE),
    "accumulate": (Number(1, integer=True), NONE),
    "defence": (Of(str, "a rosenblatt.Defence, or its text"), NONE),
    "devices": (Number(1, integer=True), NONE),
    "sharded": (BOOL, NONE),
    "checkpoint": (Of(str, "the path of a folder"), NONE),
    "checkpoint_every": (Number(1, integer=True), NONE),
    "checkpoint_keep": (Number(1, integer=True), NONE),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train: the options that most fits never need.

    A field left at None takes the system's own choice (each estimator's page lists it), so a plan names only what it
    changes. Plans are frozen, compare by value, and survive ``clone``, ``repr``, pickle, ``GridSearchCV`` and the
    model file.

    Args:
        optimizer: "sgd", "adam", "adamw" (decoupled decay, Loshchilov & Hutter 2019), "rmsprop" or "muon" (filters and
            hidden matrices by orthogonalised momentum, the rest by Adam; see `rosenblatt.train.muon`).
        momentum: Momentum of "sgd", first-moment decay of the others.
        nesterov: Nesterov's form of momentum for "sgd".
        weight_decay: Decay of weight matrices and filters per unit of learning rate; biases and norms are never decayed.
        schedule: "constant", "linear" (to zero), "cosine" (to zero), "onecycle" (up, then down to zero; Smith 2018) or
            "steps" (a tenth after each quarter of the run).
        warmup: Share of all steps over which the learning rate rises from near zero.
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al. 2016).
        gradient_clip: Largest Euclidean norm of the whole gradient; longer ones are scaled down to it.
        ema: Decay per step of an exponential moving average of the weights, which is what is evaluated and kept.
        augment: "none", or words joined by "+": "shift" (up to a fourteenth of the side), "rotate", "crop" (seven
            eighths of the side), "flip" (left-right), "altflip" (left-right in turns: half of the pictures in one epoch,
            the other half in the next), "colour", "pca", "cutout", "mixup"; see `rosenblatt.data.augment`.
        test_views: What pictures are shown as in prediction, "none" (as they are), "flip" (also mirrored) or "flip+shift"
            (also moved by a pixel); the answers are averaged.
        precision: "auto", "fp32" or "bf16" (autocast). "auto" takes bf16 where the hardware computes in it.
        early_stopping: Hold out ``validation_fraction`` of the training data, stop when its score has not improved by
            ``min_delta`` for ``patience`` epochs, and restore the weights of the best epoch.
        validation_fraction: Share of the training data held out.
        patience: Epochs without improvement before stopping.
        min_delta: Improvement that counts.
        target: Hold out ``validation_fraction`` of the training data, and stop as soon as its score reaches this.
        accumulate: Parts in which each batch passes through the network, one after the other; their gradients add up to
            those of the batch, so memory is needed for one part and the step is the same. What is drawn or measured
            within a batch (augmentation, dropout, batch statistics) is so within each part. Where memory runs out, the
            number is doubled by itself, with a warning.
        defence: What the network is to withstand: a `rosenblatt.Defence` or its text, as "pgd,eps=0.3" (adversarial training),
            "trades,eps=0.3,beta=6", "fast,eps=0.3" or "noise,eps=0.25" (for randomized smoothing). With ``early_stopping`` or
            ``target`` the validation score is then the accuracy under attack, or noise. It is kept as text.
        devices: Processes that share the run, each with a device of its own (a GPU, or a share of the processor's cores);
            each batch is cut among them and the result is that of one device. 1 makes ``torchrun`` go unnoticed.
        sharded: Each of them holds a share of every weight, gradient and moment, for networks that do not fit.
        checkpoint: Folder of the run's checkpoints. A run that was killed and is started again in the same way goes on
            after the last one; a finished one is read back. Needs an integer ``random_state``.
        checkpoint_every: Epochs from one checkpoint to the next.
        checkpoint_keep: How many of them stay.

    Raises:
        ParameterError: A value outside its range; unknown words get the nearest suggestion.

    Example:
        >>> Plan(schedule="cosine", label_smoothing=0.1)
        Plan(schedule='cosine', label_smoothing=0.1)
    """

    optimizer: str | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    warmup: float | None = None
    label_smoothing: float | None = None
    gradient_clip: float | None = None
    ema: float | None = None
    augment: str | None = None
    test_views: str | None = None
    precision: str | None = None
    early_stopping: bool | None = None
    validation_fraction: float | None = None
    patience: int | None = None
    min_delta: float | None = None
    target: float | None = None
    accumulate: int | None = None
    defence: str | Defence | None = None
    devices: int | None = None
    sharded: bool | None = None
    checkpoint: str | None = None
    checkpoint_every: int | None = None
    checkpoint_keep: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.checkpoint, PathLike):  # text compares by value and goes into the model file
            object.__setattr__(self, "checkpoint", fspath(self.checkpoint))
        if isinstance(self.defence, Defence):
            object.__setattr__(self, "defence", str(self.defence))
        for name, rules in _RULES.items():
            parameter("Plan", name, getattr(self, name), rules)
        if self.defence is not None:
            Defence.parse(str(self.defence))

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self.said().items())
        return f"Plan({said})"

    def said(self) -> dict[str, Any]:
        """The fields that this plan names."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def over(self, default: Plan) -> Plan:
        """This plan, with what it leaves open taken from another."""
        return replace(default, **self.said())


STANDARD = Plan(
    optimizer="adam",
    momentum=0.9,
    nesterov=True,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    label_smoothing=0.0,
    augment="none",
    test_views="none",
    precision="auto",
    early_stopping=False,
    validation_fraction=0.1,
    patience=5,
    min_delta=0.0,
    accumulate=1,
    checkpoint_every=1,
    checkpoint_keep=2,
)
"""What holds where neither the user nor the system says anything; None remains for clip, ema, target and checkpoint (off)."""
