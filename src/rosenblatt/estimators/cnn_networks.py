"""The networks of `CNNClassifier` by name: how each is built, and how it is trained if nobody says otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from rosenblatt.errors import ShapeError
from rosenblatt.models import alexnet, alexnet_2012
from rosenblatt.models.airbench import Airbench
from rosenblatt.models.alexnet import AlexNet
from rosenblatt.models.alexnet_2012 import AlexNet2012
from rosenblatt.models.lenet5 import LeNet5
from rosenblatt.models.quick import Quick
from rosenblatt.models.resnet import ResNet
from rosenblatt.models.robust import Robust
from rosenblatt.train.plan import STANDARD, Plan

Build = Callable[[int, int, tuple[int, int]], nn.Module]


@dataclass(frozen=True)
class Network:
    """A network of the catalogue.

    Attributes:
        build: (channels, classes, (height, width)) -> network.
        rate: Top of the learning rate's schedule.
        plan: Its own plan.
        epochs: Passes over the data.
        least: Shortest side of the pictures that it takes.
        ten_crops: Whether it is tested on ten patches of each picture.
    """

    build: Build
    rate: float
    plan: Plan
    epochs: int = 8
    least: int = 4
    ten_crops: bool = False


_MODERN = Plan(optimizer="adam", schedule="onecycle").over(STANDARD)
_FEW = Plan(
    optimizer="muon", momentum=0.6, schedule="linear", warmup=0.15, label_smoothing=0.1, augment="altflip+shift",
    test_views="flip+shift",
).over(STANDARD)  # fmt: skip
_SGD = Plan(optimizer="sgd", momentum=0.9, nesterov=False, weight_decay=5e-4)

NETWORKS = {
    "quick": Network(lambda c, k, shape: Quick(c, k, side=min(shape)), 1e-2, _MODERN),
    "lenet5": Network(lambda c, k, shape: LeNet5(c, k), 3e-3, _MODERN),
    "robust": Network(
        lambda c, k, shape: Robust(c, k, shape=shape), 2e-3,
        Plan(ema=0.995, schedule="cosine", warmup=0.15).over(_MODERN),
    ),
    "resnet": Network(lambda c, k, shape: ResNet(c, k, side=min(shape)), 3e-3, _MODERN, least=8),
    "airbench": Network(lambda c, k, shape: Airbench(c, k, side=min(shape)), 2e-2, _FEW, epochs=20),
    "alexnet": Network(
        lambda c, k, shape: AlexNet(c, k), 1e-2,
        Plan(schedule="cosine", warmup=0.05, gradient_clip=1.0).over(_SGD.over(STANDARD)), least=alexnet.SMALLEST,
    ),
    "alexnet-2012": Network(
        lambda c, k, shape: AlexNet2012(c, k, shape=shape), 1e-2,
        Plan(schedule="steps", augment="crop+flip+pca").over(_SGD.over(STANDARD)),
        epochs=90, least=alexnet_2012.SMALLEST, ten_crops=True,
    ),
}  # fmt: skip

_OWN = Network(lambda c, k, shape: nn.Identity(), 1e-3, _MODERN, least=1)


def network_of(network: str | nn.Module) -> Network:
    """The entry of a name; for a user's own module one that builds copies of it."""
    return _OWN if isinstance(network, nn.Module) else NETWORKS[network]


def build(network: str | nn.Module, channels: int, classes: int, shape: tuple[int, int]) -> nn.Module:
    """A new network, or a copy of the user's own with the weights that it has."""
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    return NETWORKS[network].build(channels, classes, shape)


def refuse_misfit(who: str, module: nn.Module, example: torch.Tensor, classes: int) -> None:
    """Refuse a user's own network that does not take the pictures, or does not give one number a class.

    Raises:
        ShapeError: With what it was given and what came.
    """
    given = tuple(example.shape[1:])
    try:
        with torch.no_grad():
            output = module.eval()(example)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ShapeError(
            f"{who}: network does not take a batch of pictures (N, C, H, W) = (1, {given}): {reason}"
        ) from (error)
    got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if got != (1, classes):
        raise ShapeError(f"{who}: network gives {got} for one picture; expected (1, {classes}), one number a class.")
    if not any(p.requires_grad for p in module.parameters()):
        raise ShapeError(f"{who}: network has no parameters that could be trained; expected some.")
